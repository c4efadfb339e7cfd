"""Arrays come back from a file as they were, bit for bit."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hyperfitting.records.arrays import Counts, Floats
from hyperfitting.records.record import FieldError, Record, read

shapes = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


class Both(Record):
    """Two arrays of a file."""

    floats: Floats
    counts: Counts


def again(floats, counts=None):
    both = Both(floats=floats, counts=np.arange(2) if counts is None else counts)
    return read(Both, json.loads(json.dumps(both.model_dump(mode="json"), allow_nan=False)))


@given(arrays("float64", shapes, elements=st.floats(width=64)), arrays("int64", shapes))
def test_every_bit_comes_back(floats, counts):
    found = again(floats, counts)
    for before, after in ((floats, found.floats), (counts, found.counts)):
        assert after.dtype == before.dtype
        assert after.shape == before.shape
        assert after.tobytes() == before.tobytes()
        assert after.flags.writeable


def test_views_come_back_in_their_order():
    floats = np.arange(12.0).reshape(3, 4)
    assert again(floats.T).floats.tolist() == floats.T.tolist()
    assert again(floats[:, ::-2]).floats.tolist() == floats[:, ::-2].tolist()


@pytest.mark.parametrize(
    "content",
    [
        None,
        [1.0],
        {"type": "float64", "shape": [1]},
        {"type": "object", "shape": [1], "bytes": ""},
        {"type": "float64", "shape": [1], "bytes": "?"},
        {"type": "float64", "shape": [2], "bytes": "AAAAAAAA8D8="},
        {"type": "float64", "shape": ["x"], "bytes": "AAAAAAAA8D8="},
        {"type": "float64", "shape": [None], "bytes": "AAAAAAAA8D8="},
        {"type": "float64", "shape": [1], "bytes": "AAAA"},
        {"type": "int64", "shape": [1], "bytes": "AQAAAAAAAAA="},
    ],
)
def test_anything_else_is_refused(content):
    whole = again(np.ones(1)).model_dump(mode="json")
    with pytest.raises(FieldError, match="floats"):
        read(Both, whole | {"floats": content})

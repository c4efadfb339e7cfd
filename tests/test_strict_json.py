"""JSON that says one thing: no key twice, no number that is none, no endless nesting."""

import pytest

from hyperfitting.errors import InputError
from hyperfitting.storage import read_json, read_jsonl
from hyperfitting.strict_json import parse_json


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"a": 1, "b": 2, "a": 3}', "'a' stands twice"), ('[{"x": {"a": 1, "a": 1}}]', "'a' stands"),
     ('{"a": NaN}', "NaN is no number"), ('{"a": -Infinity}', "-Infinity is no number"),
     ("[" * 100_000, "too deep"), ("{", "Expecting")],
)  # fmt: skip
def test_what_says_two_things_or_none_is_refused(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        parse_json(text)
    path = tmp_path / "file.json"
    path.write_text(text)
    for read in (read_json, read_jsonl):
        with pytest.raises(InputError, match=rf"file\.json cannot be read: .*{said}"):
            read(path)


def test_somebody_elses_numbers_may_be_none():
    assert parse_json('{"a": Infinity, "b": 1}', is_ours=False) == {"a": float("inf"), "b": 1}
    with pytest.raises(ValueError, match="stands twice"):
        parse_json('{"a": 1, "a": NaN}', is_ours=False)

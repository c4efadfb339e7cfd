"""Every record of the package is read as it was written, and what does not fit has its full name.

The records are found, and built from their annotations: a new one is tested without a new line.
"""

import json
import re

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hyperfitting.errors import InputError
from hyperfitting.records.record import (
    FieldError,
    FileRecord,
    as_json,
    read,
    read_file,
    read_rows,
    write_file,
)
from hyperfitting.storage import write_json
from tests.records.building import ROWS, Place, changed, kinds, places, records

KINDS = kinds()
FILES = [kind for kind in KINDS if issubclass(kind, FileRecord)]
few = settings(
    max_examples=12, deadline=None,
    phases=[Phase.generate],  # shrinking a whole file takes minutes, and the field is named anyway
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large,
                           HealthCheck.function_scoped_fixture],
)  # fmt: skip


def named(kinds):
    return pytest.mark.parametrize("kind", kinds, ids=lambda kind: kind.__name__)


def written(record):
    return json.loads(json.dumps(as_json(record), allow_nan=False))


def test_records_are_found():
    names = {kind.__name__ for kind in KINDS}
    assert {"Estimate", "OfArm", "Judgements", "TaskResults", "RunManifest"} <= names
    assert set(ROWS) <= set(KINDS)


@named(KINDS)
@few
@given(data=st.data())
def test_what_is_written_is_read_again(kind, data):
    record = data.draw(records(kind))
    assert read(kind, written(record)) == record
    assert list(written(read(kind, written(record)))) == list(written(record))


@named(KINDS)
@few
@given(data=st.data())
def test_a_field_that_is_missing_is_named_in_full(kind, data):
    content = written(data.draw(records(kind)))
    needed = [place for place in places(kind, content) if place.field.is_required]
    if not needed:  # every field has a default
        assert read(kind, {}) is not None
        return
    place: Place = data.draw(st.sampled_from(needed))
    without = changed(content, place.steps, lambda mapping, key: mapping.pop(key))
    with pytest.raises(FieldError) as error:
        read_rows(kind, [content, without], "rows")
    assert str(error.value) == f"rows[1].{place.path} is missing"


@named(KINDS)
@few
@given(data=st.data())
def test_a_number_that_is_null_or_a_text_is_named_in_full(kind, data):
    content = written(data.draw(records(kind)))
    numbers = [place for place in places(kind, content) if place.field.annotation in (int, float)]
    if not numbers:
        return
    place: Place = data.draw(st.sampled_from(numbers))
    wanted = "a whole number" if place.field.annotation is int else "a number"
    for wrong, said in ((None, "null"), ("x", "'x'")):
        damaged = changed(content, place.steps, lambda m, key, wrong=wrong: m.update({key: wrong}))
        with pytest.raises(FieldError) as error:
            read(kind, damaged, "here")
        given_as = re.escape(f"here.{place.path} is {said}")
        assert re.match(f"{given_as}(, {wanted} is needed|: )", str(error.value))


@named([kind for kind in KINDS if kind not in ROWS])
@few
@given(data=st.data())
def test_a_file_may_say_more_than_this_version_reads(kind, data):
    record, more = data.draw(records(kind)), {"of a later version": [1]}
    found = read(kind, written(record) | more)
    if kind.model_config["extra"] == "allow":  # kept, for the files that are written again
        assert found.model_extra == more
        assert {**written(record), **more} == written(found)
    else:
        assert found == record


@named(FILES)
@few
@given(data=st.data())
def test_a_file_is_read_of_its_version_or_without_one_and_not_of_a_newer(kind, data, tmp_path):
    record, path = data.draw(records(kind)), tmp_path / "file.json"
    write_file(path, record)
    assert read_file(kind, path, "again") == record
    without = written(record)
    del without["version"]
    write_json(path, without)
    assert read_file(kind, path, "again").version == 1
    write_json(path, without | {"version": kind.VERSION + 1})
    with pytest.raises(InputError) as error:
        read_file(kind, path, "again")
    assert error.value.given.startswith(f"{path} was written by a newer hyperfitting")
    assert "\n" not in error.value.given
    assert error.value.needed == "a newer hyperfitting"


@named(FILES)
def test_a_file_that_does_not_fit_is_refused_with_its_path_and_its_cure(kind, tmp_path):
    path = tmp_path / "file.json"
    wrong = {
        "the file is a list, a mapping is needed": [],
        "version is null, a whole number is needed": {"version": None},
    }
    for words, content in wrong.items():
        write_json(path, content)
        with pytest.raises(InputError) as error:
            read_file(kind, path, "write it again")
        assert words in error.value.given
        assert error.value.given.startswith(str(path))
        assert error.value.hint == "write it again"

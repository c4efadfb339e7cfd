"""Some damage to the files of a study: no traceback, no silence, every refusal names the file."""

import pytest

from hyperfitting.errors import InputError
from hyperfitting.judge.store import Answer, AnswerFile
from hyperfitting.storage import read_json, read_jsonl
from tests.faults.kinds import DAMAGES

ANSWER = Answer(
    key="k", context_index=0, order="ab", status="unusable", verdict=None, reason=None, raw=[],
    requests=1, prompt_tokens=7, answer_tokens=1, model="m", answered_by=None, date="2026",
)  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """An answer file of two answers, and another one."""
    first, second = tmp_path / "answers.jsonl", tmp_path / "others.jsonl"
    for path, key in ((first, "k"), (second, "other")):
        file = AnswerFile(path)
        file.add(ANSWER.__class__(**vars(ANSWER) | {"key": key}))
        file.add(ANSWER.__class__(**vars(ANSWER) | {"key": "last"}))
    return first, second


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_answer_is_refused_or_asked_again_and_never_another(files, damage):
    path, other = files
    before, after = AnswerFile(path).answers, AnswerFile(other).answers
    DAMAGES[damage](path, other)
    try:
        found = AnswerFile(path).answers
    except InputError as error:
        said = str(error)
    else:
        said = str(path)
        assert all((before | after)[key] == answer for key, answer in found.items())
    assert str(path) in said


def test_a_changed_digit_of_an_answer_is_refused(files):
    path, other = files
    assert DAMAGES["digit"](path, other)
    with pytest.raises(InputError, match="damaged in line"):
        AnswerFile(path)


@pytest.mark.parametrize("read", [read_json, read_jsonl])
def test_brackets_beyond_any_depth_are_a_message(tmp_path, read):
    path = tmp_path / "deep.json"
    path.write_text("{}")
    DAMAGES["deep"](path, path)
    with pytest.raises(InputError, match=r"deep\.json cannot be read"):
        read(path)


def test_damage_leaves_the_sample_as_it_is(tmp_path):
    sample = tmp_path / "sample.json"
    sample.write_text('{"a": [1, 2]}')
    for name, damage in DAMAGES.items():
        copy = tmp_path / "copy.json"
        copy.unlink(missing_ok=True)
        copy.hardlink_to(sample)
        damage(copy, sample)
        assert sample.read_text() == '{"a": [1, 2]}', name

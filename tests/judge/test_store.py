"""The lines of answers.jsonl: each as it was written, or refused by its number."""

import json
import os

import pytest

from hyperfitting.errors import InputError
from hyperfitting.judge.store import Answer, AnswerFile
from hyperfitting.seals import DIGEST, content_digest

VERDICT = {"winner": "A", "coherence_a": 7, "coherence_b": 3, "diversity_a": 6, "diversity_b": 2}


def answer(key, /, **changes):
    said = {
        "key": key, "context_index": 0, "order": "ab", "status": "usable", "verdict": VERDICT,
        "reason": None, "raw": [], "requests": 1, "prompt_tokens": 7, "answer_tokens": 1,
        "model": "m", "answered_by": None, "date": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return said | changes


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sealed(row):
    return row | {DIGEST: content_digest(row)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.jsonl"


WRONG = {
    "date": (5, "date is 5, a text is needed"),
    "order": ("zz", "order is 'zz'"),
    "status": ("weird", "status is 'weird'"),
    "answered_by": ([1], "answered_by is a list, a text is needed"),
    "requests": (True, "requests is True, a whole number is needed"),
    "context_index": (1.5, "context_index is 1.5, a whole number is needed"),
    "raw": (["x", 7], "raw[1] is 7, a text is needed"),
    "key": (None, "key is null, a text is needed"),
    "verdict": (None, "its status is usable, which does not fit its verdict"),
}


@pytest.mark.parametrize("is_sealed", [True, False])
@pytest.mark.parametrize("field", WRONG)
def test_a_field_of_another_type_is_named_with_its_line(path, field, is_sealed):
    value, said = WRONG[field]
    rows = [answer("a"), answer("b", **{field: value})]
    with pytest.raises(InputError) as error:
        AnswerFile(write(path, map(sealed, rows) if is_sealed else rows))
    assert error.value.given.startswith(f"{path} is damaged in line 2: {said}")
    assert error.value.hint == "delete that line; its question will be asked again"


@pytest.mark.parametrize(
    ("line", "said"),
    [("7", "it is no JSON object"), ("{", "it is no JSON: "), ("[" * 100_000, "it is no JSON: "),
     ("{}", "context_index is missing|key is missing"), ('{"key": NaN}', "NaN is no number"),
     ('{"key": "a", "key": "b"}', "the key 'key' stands twice")],
)  # fmt: skip
def test_a_line_that_is_no_answer_is_named_in_words(path, line, said):
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=f"line 1: .*({said})") as error:
        AnswerFile(path)
    assert "Error(" not in str(error.value)


def test_a_line_without_digest_beside_lines_with_one_is_refused(path):
    changed = answer("b", verdict=VERDICT | {"winner": "B"})
    write(path, [sealed(answer("a")), changed, sealed(answer("c"))])
    with pytest.raises(InputError, match="line 2: it has no digest, and 2 other lines have one"):
        AnswerFile(path)


def test_a_file_of_an_earlier_version_is_read_and_gets_digests_with_the_next_answer(path):
    write(path, [answer("a", prompt_tokens=400.0, answer_tokens=5.5), answer("b")])
    with path.open("a") as torn:
        torn.write('{"key": ')
    file = AnswerFile(path)
    assert (file.without_digest, len(file.answers)) == (2, 2)
    file.add(Answer(**answer("c")))
    again = AnswerFile(path)
    assert (again.without_digest, again.answers) == (0, file.answers)
    assert list(again.answers) == ["a", "b", "c"]
    assert again.answers["a"].prompt_tokens == 400
    assert again.answers["a"].answer_tokens is None


def test_halves_of_characters_that_a_judge_wrote_are_kept(path):
    odd = answer("a", status="unusable", verdict=None, reason="\ud800", raw=["x\udfff"])
    AnswerFile(path).add(Answer(**odd))
    assert AnswerFile(path).answers["a"] == Answer(**odd)


def test_a_pipe_in_its_place_is_told_with_what_to_do(path):
    os.mkfifo(path)
    with pytest.raises(InputError, match="cannot be read: it is a device, a pipe") as error:
        AnswerFile(path)
    assert "--out FOLDER" in error.value.hint
    assert "Errno" not in str(error.value)

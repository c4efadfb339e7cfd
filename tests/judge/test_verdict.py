import json

import pytest

from hyperfitting.judge.verdict import NoVerdictError, read_verdict
from tests.judge.serving import verdict

GOOD = verdict("A", (7, 3), (2, 9)) | {"reasoning": "A says {more}."}
LINE = json.dumps(GOOD)


@pytest.mark.parametrize(
    "answer",
    [
        LINE,
        f"```json\n{json.dumps(GOOD, indent=2)}\n```",
        f"My verdict {{in short}} is\n\n{LINE}\n\nI hope {{this}} helps.",
        f"<think>First I thought {json.dumps(verdict('B'))}.</think>\n{LINE}",
        json.dumps(GOOD | {"confidence": {"winner": "B"}}),
        json.dumps({"note": "no verdict"}) + LINE,
        LINE.replace('"A"', '" a "'),
        "{ " + LINE,
    ],
)
def test_one_valid_object_is_read_wherever_it_stands(answer):
    found = read_verdict(answer)
    assert found._asdict() == GOOD


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("", "no JSON object"),
        ("A is better: 7 to 3", "no JSON object"),
        (LINE[:-1], "no JSON object"),
        (LINE + LINE, "2 verdicts"),
        (LINE + json.dumps(verdict("B")), "2 verdicts"),
        (json.dumps(GOOD | {"winner": "C"}), "winner is none"),
        (json.dumps(GOOD | {"winner": "A or B"}), "winner is none"),
        (json.dumps(GOOD | {"winner": None}), "winner is none"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "diversity_b"}), "diversity_b missing"),
        (json.dumps(GOOD | {"coherence_a": 11}), "coherence_a is no whole number"),
        (json.dumps(GOOD | {"coherence_a": 0}), "coherence_a is no whole number"),
        (json.dumps(GOOD | {"coherence_b": 7.5}), "coherence_b is no whole number"),
        (json.dumps(GOOD | {"coherence_b": "7"}), "coherence_b is no whole number"),
        (json.dumps(GOOD | {"diversity_a": True}), "diversity_a is no whole number"),
        (json.dumps(GOOD | {"diversity_a": None}), "diversity_a is no whole number"),
        (LINE.replace("{", '{"winner": "B", ', 1), "no JSON object"),  # a key twice
        (json.dumps([GOOD, GOOD]), "2 verdicts"),
        (json.dumps({"verdict": GOOD}), "winner"),
        ('{"a":' * 2_000, "no JSON object"),
        ('{"a":' + "[" * 20_000, "no JSON object"),
        ("[" * 20_000 + "{}", "missing"),
        (LINE + "x" * 50_000, "more than 50,000"),
    ],
)
def test_anything_else_is_no_verdict(answer, says):
    with pytest.raises(NoVerdictError, match=says):
        read_verdict(answer)

"""What an arm is called: names on disk, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperfitting.records import HUMAN, ORIGINAL, Arm
from hyperfitting.records.arms import GREEDY, SAMPLED

WORDS = st.sampled_from(["late_stage_lora", "hyperfitted", "tuned", "best_val_checkpoint"])
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
SETTINGS = st.dictionaries(
    st.text(min_size=1, max_size=8), VALUES | st.lists(st.text()), max_size=3
)


def arms():
    """Every arm that a study can hold, settings with lists included."""

    @st.composite
    def one(draw):
        settings = draw(SETTINGS)
        settings.pop("matched_to", None)
        tuned = Arm.named(draw(WORDS), draw(st.none() | st.integers(0, 9)), settings)
        start = draw(st.sampled_from([tuned, ORIGINAL, HUMAN, ORIGINAL.matched(tuned)]))
        ways = [start, start.sampled(), start.decoded("min_p", {"min_p": 0.1})]
        return draw(st.sampled_from(ways))

    return one()


@given(arms())
def test_an_arm_is_read_back_from_what_files_hold(arm):
    assert Arm.of_json(arm.to_json()) == arm
    assert hash(Arm.of_json(arm.to_json())) == hash(arm)
    assert Arm.named(arm.name, arm.seed, arm.parameters) == arm


@pytest.mark.parametrize(
    ("name", "parameters", "arm"),
    [
        ("original", {}, ORIGINAL),
        ("original_sampled", {}, Arm("original", decoding=SAMPLED)),
        (
            "late_stage_lora",
            {"last_blocks": 2},
            Arm("late_stage_lora", None, (("last_blocks", 2),)),
        ),
        (
            "hyperfitted+min_p",
            {"last_blocks": 2, "min_p": 0.1},
            Arm("hyperfitted", None, (("last_blocks", 2), ("min_p", 0.1)), "min_p"),
        ),
        (
            "original_entropy_matched_sampled",
            {"matched_to": "full_lora", "last_blocks": 2},
            Arm("original", None, (("last_blocks", 2),), SAMPLED, "full_lora"),
        ),
    ],
)
def test_names_on_disk(name, parameters, arm):
    assert Arm.named(name, None, parameters) == arm
    assert arm.to_json() == {"arm": name, "seed": None, "parameters": parameters}


def test_what_arms_are_to_each_other():
    tuned = Arm("late_stage_lora", 1, (("last_blocks", 2),))
    matched = ORIGINAL.matched(tuned)
    assert matched.name == "original_entropy_matched"
    assert matched.match == tuned
    assert matched.sampled().match == tuned.sampled()
    assert matched.sampled().match.greedy() == tuned
    with pytest.raises(ValueError, match="matched to no arm"):
        _ = tuned.match
    of_it = [tuned, tuned.sampled(), tuned.decoded("guard", {"window": 7}), matched]
    assert all(arm.is_of(tuned) for arm in [*of_it, matched.sampled(), tuned.best_val()])
    others = [ORIGINAL, HUMAN, Arm("late_stage_lora", 0, tuned.settings), Arm("full_lora", 1)]
    assert not any(arm.is_of(tuned) for arm in [*others, ORIGINAL.matched(others[2])])


def test_kinds():
    tuned = Arm("hyperfitted", 0)
    kinds = {
        ORIGINAL: "", HUMAN: "", tuned: "trained tuned",
        tuned.best_val(): "trained tuned best_val checkpoint",
        tuned.sampled(): "trained control sampled", ORIGINAL.sampled(): "control sampled",
        tuned.decoded("beam"): "trained control decoded",
        ORIGINAL.decoded("beam"): "control decoded",
        ORIGINAL.matched(tuned): "trained control",
        tuned.at_strength(0.5): "trained control",
        tuned.kept_at(0.5): "trained control checkpoint",
    }  # fmt: skip
    for arm, expected in kinds.items():
        every = ("trained", "tuned", "best_val", "control", "sampled", "decoded", "checkpoint")
        assert [kind for kind in every if getattr(arm, f"is_{kind}")] == sorted(
            expected.split(), key=every.index
        ), arm
    kept = Arm.of_json(tuned.kept_at(0.5).to_json())
    assert (kept, kept.name, kept.at_loss) == (tuned.kept_at(0.5), "hyperfitted", 0.5)
    assert (kept.is_of(tuned), tuned.is_of(kept), tuned.at_loss) == (True, False, None)
    assert tuned.sampled().greedy() == tuned
    assert tuned.decoding == GREEDY
    assert tuned.variant == Arm("hyperfitted")


def test_a_line_of_progress_tells_arms_of_one_name_apart():
    tuned = Arm("late_half", 1)
    assert ORIGINAL.in_full == "original"
    assert tuned.in_full == "late_half (seed 1)"
    assert tuned.at_strength(0.5).in_full == "late_half (strength=0.5, seed 1)"
    assert ORIGINAL.decoded("min_p", {"min_p": 0.1}).in_full == "original+min_p (min_p=0.1)"

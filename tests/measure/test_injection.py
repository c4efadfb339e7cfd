"""What static injection says, on rows whose answer is known."""

import pytest

from hyperfitting.measure.gain import Gain, Share
from hyperfitting.measure.injection import Injected, injection_in_words

SHOWN = Gain(0.4, 0.3, 0.5, None)
NOT_SHOWN = Gain(0.002, -0.01, 0.014, "no gain is shown on these contexts")
SAME = Gain(0.0, 0.0, 0.0, "no context has a gain")


def row(kind, strength, share, p=0.001, beyond=None, agreement=0.3, equal=0.0):
    ends = (None, None, None) if share is None else (share, share - 0.1, share + 0.1)
    ttr = 0.2 + 0.4 * (share or 0)
    p = p if strength else None
    return Injected(kind, strength, ttr, Share(*ends, None), p, beyond, agreement, equal)


START = row("promoted", 0.0, 0.0, agreement=0.27)


def words(*rows, found=SHOWN, same=False):
    return injection_in_words([START, *rows], found, same_texts=same)


def test_a_shift_that_does_nothing_is_rejected():
    text = words(row("promoted", 0.5, 0.02, p=0.3), row("random", 0.5, 0.0, p=1))
    assert text.startswith("No strength moves the original's TTR towards the tuned model")
    away = words(row("promoted", 0.5, -0.6), row("random", 0.5, 0.0, p=1))
    assert away.startswith("No strength moves")


def test_promoted_tokens_that_do_more_than_random_ones_matter():
    more = Gain(0.2, 0.1, 0.3, None)
    text = words(row("promoted", 1.0, 0.95, beyond=more), row("random", 1.0, 0.1))
    assert text.startswith(
        "At strength 1 the shift of the promoted tokens alone gives 95% [85%, 105%] of the gain in "
        "TTR, the same values on random tokens 10% [0%, 20%]: it matters which tokens are shifted."
    )


@pytest.mark.parametrize(
    ("beyond", "random"),
    [(Gain(-0.15, -0.2, -0.1, None), 1.32), (Gain(0.01, -0.1, 0.1, "no gain is shown"), 0.9)],
)
def test_a_random_control_that_gives_as_much_is_looked_at(beyond, random):
    text = words(row("promoted", 1.0, 0.95, beyond=beyond), row("random", 1.0, random))
    assert f"the same values on random tokens {random:.0%}" in text
    assert "not shown to do more than random ones" in text
    assert "it matters which" not in text.split("does not show that ")[0]


def test_without_a_random_control_that_is_said():
    assert "without a random control" in words(row("promoted", 1.0, 0.9))


def test_without_a_gain_no_share_is_spoken_of():
    text = words(row("promoted", 1.0, None), row("random", 1.0, None), found=NOT_SHOWN)
    assert text.startswith(
        "No gain in TTR to locate: tuned minus original +0.002 [-0.010, +0.014], no gain is shown"
    )
    assert "% of the gain" not in text


def test_texts_that_equal_the_tuned_models_are_said():
    promoted = row("promoted", 1.0, 0.2, equal=0.9)
    everything = row("all", 1.0, 1.0, equal=1.0, agreement=1.0)
    text = words(promoted, everything)
    assert text.startswith(
        "At strength 1 the shift of all tokens gives the tuned model's texts, every one of them"
    )
    assert text.endswith("at 0.270 of the positions, with a shift at most at every one "
                         "(all tokens, strength 1).")  # fmt: skip
    by_chance = row("random", 1.0, 1.0, equal=1.0)
    assert "every one of them" not in words(promoted, by_chance)


def test_a_tuned_model_that_writes_the_originals_texts_leaves_nothing_to_a_shift():
    equal = row("promoted", 0.5, None, equal=1.0, agreement=1.0)
    start = START._replace(agreement=1.0, equal_texts=1.0)
    text = injection_in_words([start, equal], SAME, same_texts=True)
    assert text == (
        "The tuned model writes the original's texts, all of them: there is nothing in them for a "
        "shift to explain. On human text both models choose alike at every position."
    )


def test_whether_ttr_follows_the_strength_is_said_as_it_is():
    rises = [row("promoted", s, s, p=0.9) for s in (0.1, 0.5, 1.0)]
    assert "Rank correlation of strength and TTR +1.00; TTR rises with strength" in words(*rises)
    turns = [row("promoted", s, share, p=0.9) for s, share in ((0.1, 0.5), (0.5, 0.2), (1, 0.6))]
    assert "TTR is not monotonic" in words(*turns)
    assert "no shift raises that" in words(row("promoted", 1.0, 0.1, agreement=0.2))
    assert injection_in_words([START], SHOWN, same_texts=False).startswith("No strength moves")

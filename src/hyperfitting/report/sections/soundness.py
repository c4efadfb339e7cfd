"""Is it text at all? What of a tuned arm's texts was lost, beside how varied they are. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from hyperfitting.records import HUMAN, ORIGINAL, Arm, Measurement
from hyperfitting.report.load import Study
from hyperfitting.report.tables import cell, number

COHERENCE, NONWORDS = "coherence_original_nats", "nonwords"
# How far an arm may be from human text before its text counts as broken (ours, decision 24). On
# the built-in model human text has -4.2 nats a token, hyperfitted -3.9, models that were trained
# on shuffled tokens -8.3.
COHERENCE_MARGIN = 1.5  # nats per token below the human mean; above it is no loss
# Words of human text that do not exist: .1 %; shuffled tokens have 30 %. Two words in a hundred
# are about one or two in a continuation of 96 tokens.
NONWORDS_MARGIN = 0.02  # share above the upper end of the human interval


@dataclass(frozen=True)
class Soundness:
    """What two measures say of an arm's texts, each in words with its numbers."""

    broken_text: Sequence[str] = ()  # the likelihood was lost
    broken_words: Sequence[str] = ()  # words do not exist
    intact: Sequence[str] = ()
    unknown: Sequence[str] = ()
    is_varied: bool = True  # more than the original

    @property
    def is_broken(self) -> bool:
        """Whether either measure is further from human text than is allowed."""
        return bool(self.broken_text or self.broken_words)

    @property
    def lost_in_words(self) -> str:
        """What was lost with its numbers, then what was not; empty where nothing was."""
        lost = [*self.broken_text, *self.broken_words]
        if not lost:
            return ""
        what = "the text is broken" if self.broken_text else "words are broken"
        return "; ".join([f"{what}: {', '.join(lost)}", *self.intact, *self.unknown])

    @property
    def in_words(self) -> str:
        """What goes on after a sentence's "TTR 0.684", from its comma on."""
        if self.is_broken:
            return f", {'but' if self.is_varied else 'and'} {self.lost_in_words}"
        if not self.intact:
            return f", whether the text is intact is not known: {', '.join(self.unknown)}"
        by = "both measures" if not self.unknown else "one measure"
        found = f", and the text is intact by {by}: {', '.join(self.intact)}"
        return "; ".join([found, *self.unknown])


def soundness(study: Study, arm: Arm) -> Soundness:
    """What two measures say of an arm: likelihood under the original, words that exist."""
    found: dict[str, list[str]] = {}
    for name, words in (_coherence(study, arm), _nonwords(study, arm)):
        found.setdefault(name, []).append(words)
    own, original = study.cell(arm, "ttr"), study.cell(ORIGINAL, "ttr")
    is_varied = True
    if own and original and own.mean is not None and original.mean is not None:
        is_varied = own.mean > original.mean
    return Soundness(is_varied=is_varied, **found)


def _coherence(study: Study, arm: Arm) -> tuple[str, str]:
    own, human = study.cell(arm, COHERENCE), study.cell(HUMAN, COHERENCE)
    if own is None or human is None or own.mean is None or human.mean is None:
        return "unknown", f"coherence not known ({_why(own, human)})"
    words = f"coherence {number(own.mean, 2)} (human {number(human.mean, 2)})"
    is_lost = own.mean < human.mean - COHERENCE_MARGIN
    return "broken_text" if is_lost else "intact", words


def _nonwords(study: Study, arm: Arm) -> tuple[str, str]:
    own, human = study.cell(arm, NONWORDS), study.cell(HUMAN, NONWORDS)
    if own is None or human is None or own.mean is None or human.mean is None:
        return "unknown", f"words that do not exist not known ({_why(own, human)})"
    upper = human.mean if human.high is None else human.high
    words = f"{_percent(own.mean)} of words do not exist (human {_percent(human.mean)})"
    return "broken_words" if own.mean > upper + NONWORDS_MARGIN else "intact", words


def _why(own: Measurement | None, human: Measurement | None) -> str:
    """Why there is no value of an arm, or none of human text."""
    missing = next((row for row in (own, human) if row is None or row.mean is None), None)
    return cell(missing).reason


def _percent(share: float) -> str:
    return f"{number(100 * share, 1)} %"


def broken_in_words(study: Study, arms: Sequence[Arm]) -> str:
    """That the texts of some of these arms are broken, as the end of a sentence; else empty."""
    found = ((study.label(arm), soundness(study, arm)) for arm in arms)
    return "".join(f"; of {name}, {each.lost_in_words}" for name, each in found if each.is_broken)


def verdicts(study: Study) -> list[str]:
    """One short line on every tuned arm: its TTR, and whether its text is intact."""
    return [
        f"{study.label(arm)}: TTR {number(ttr.mean, 3)}{soundness(study, arm).in_words}."
        for arm in study.tuned
        if (ttr := study.cell(arm, "ttr")) and ttr.mean is not None
    ]


def measures_in_words(study: Study) -> str:
    """How the two measures are read; empty where neither was taken."""
    if not any(row.metric in (COHERENCE, NONWORDS) for row in study.rows):
        return ""
    return (
        "TTR alone does not tell varied text from word salad. Coherence: what the original, given "
        "the context, says of a text; one that it would loop on itself is likely to it, so nearer "
        "to human is better, not higher. Words that do not exist: in no English word list, no "
        "training window, not in the context nor in another held-out text; words with a capital "
        "may be names and are left out. Text counts as broken more than "
        f"{COHERENCE_MARGIN} nats below human text, words more than {100 * NONWORDS_MARGIN:.0f} "
        "points above its interval."
    )

"""At the end: what was gained, what was lost, and where it is, in three sentences. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from hyperfitting.diagnose.advice import RARELY, value
from hyperfitting.export.words import to_run
from hyperfitting.records import HUMAN, ORIGINAL, Arm
from hyperfitting.records.diagnosed import Looped
from hyperfitting.records.exported import ExportFile
from hyperfitting.report.load import Study
from hyperfitting.report.tables import cell, number


class Chats(NamedTuple):
    """Answers to the same chats, before and after training."""

    before: Looped
    after: Looped


def sentences(
    study: Study, arm: Arm, about: ExportFile, page: str, folder: str, chats: Chats | None = None
) -> list[str]:
    """Gained, lost, and where; `arm` is the tuned model at the strength that was exported.

    `chats` is None where the model has no chat template.
    """
    return [_gained(study, arm, chats), _lost(study, arm), _where(about, page, folder)]


def _mean(study: Study, arm: Arm, metric: str) -> float | None:
    row = study.cell(arm, metric)
    return None if row is None else row.mean


def _shares(study: Study, arms: Sequence[Arm], metric: str, decimals: int = 0) -> list[str]:
    """Percentages, a dash where there is none."""
    found = [_mean(study, arm, metric) for arm in arms]
    return [
        number(None if value is None else 100 * value, decimals) + " %" * (value is not None)
        for value in found
    ]


def loops(study: Study, arm: Arm) -> float | None:
    """The share of the tuned model's greedy texts that loop; None where it was not measured."""
    return _mean(study, arm, "looped_rate")


def _gained(study: Study, arm: Arm, chats: Chats | None) -> str:
    """What the loops were and are, after texts and in answers to chats."""
    before, after = _shares(study, (ORIGINAL, arm), "looped_rate")
    ttr = [cell(study.cell(each, "ttr")).value for each in (ORIGINAL, arm, HUMAN)]
    shares = _mean(study, ORIGINAL, "looped_rate"), loops(study, arm)
    is_less = None not in shares and (shares[1] or 0.0) < (shares[0] or 0.0)
    often, through = shares[1] or 0.0, ""
    if chats is not None:
        was, now = value(chats.before.looped), value(chats.after.looped)
        is_less, often = is_less or now < was, max(often, now)
        through = (
            f"; {100 * now:.0f} % of its answers to {chats.after.looped.n} chats loop, "
            f"{100 * was:.0f} % did"
        )
    head = "Gained" if is_less else "Nothing gained against loops"
    if often > RARELY:
        head += ", and it still loops" if is_less else ", it still loops"
    return (
        f"{head}: {after} of its greedy texts loop, {before} did; their TTR is {ttr[1]}, it was "
        f"{ttr[0]}, and human text has {ttr[2]} ({study.info.num_contexts} held-out texts, one "
        f"training){through}."
    )


def _lost(study: Study, arm: Arm) -> str:
    perplexity = [cell(study.cell(each, "val_ppl")).value for each in (ORIGINAL, arm)]
    words = _shares(study, (arm,), "nonwords", 1)[0]
    copies = _shares(study, (arm,), "overlap_gt_10")[0]
    longest = number(_mean(study, arm, "overlap_max"), 0)
    return (
        f"Lost: perplexity on held-out texts is {perplexity[1]}, it was {perplexity[0]}; {words} "
        f"of its words do not exist; {copies} of its texts recite more than 10 tokens of what it "
        f"was trained on, the longest {longest}."
    )


def _where(about: ExportFile, page: str, folder: str) -> str:
    found = about.verification
    at = "" if about.strength == 1 else f" at strength {about.strength:g}"
    if found is None:
        left = " && ".join(to_run(about, folder))
        return f"It is in {folder}{at}, {about.unread}{f': {left}' * bool(left)}."
    state = "verified" if found.is_verified else f"NOT verified ({'; '.join(found.refused)})"
    return f"It is in {folder}{at}, {state}; decode it greedily. The page: {page}."

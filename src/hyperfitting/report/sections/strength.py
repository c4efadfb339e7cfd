"""How much of the training does it take? Tuned models at strengths below and above their own."""

from collections.abc import Mapping
from math import isnan
from typing import NamedTuple

from hyperfitting.config import ReportConfig
from hyperfitting.measure.text import ROUNDING
from hyperfitting.records import HUMAN, ORIGINAL, Arm
from hyperfitting.report.load import Study
from hyperfitting.report.tables import Content, Table, cell, metric_table

TITLE = "How much of it does it take?"
METRICS = ("ttr", "bigram_repetition", "looped_rate", "coherence_original_nats", "nonwords",
           "val_ppl", "prediction_entropy_nats", "top1_agreement_tf")  # fmt: skip

LOOPS = "looped_rate"
MARGIN_TTR, MARGIN_LOOPS = 0.03, 0.05
METRIC_WORDS = {"ttr": "TTR", LOOPS: "loops", "val_ppl": "validation perplexity",
                "nonwords": "words that do not exist"}  # fmt: skip


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None where no strength was asked for."""
    table = strengths(study)
    said = [found.in_words(study) for arm in study.tuned if (found := suggested(study, arm))]
    return {"table": table, "suggested": said} if table.rows else None


class Suggested(NamedTuple):
    """The weakest strength at which a tuned model does what it does as a whole."""

    whole: Arm
    arm: Arm  # at that strength; the whole where less does not do

    def in_words(self, study: Study) -> str:
        """The suggestion with the figures that it rests on."""
        name = study.label(self.whole)
        if self.arm == self.whole:
            return f"{name}: no weaker strength that was measured does as well: take the whole (1)."
        at = f"{self.arm.full_strength:g}"
        each = [
            f"{METRIC_WORDS[metric]} {cell(study.cell(self.arm, metric)).value} "
            f"({cell(study.cell(self.whole, metric)).value} of the whole)"
            for metric in METRIC_WORDS
            if study.has(self.arm, metric) and study.has(self.whole, metric)
        ]
        return (
            f"{name}: strength {at} has at most {MARGIN_TTR:g} of TTR less and at most "
            f"{100 * MARGIN_LOOPS:g} texts of a hundred more that loop: {', '.join(each)}. "
            f"`hyperfit export RUN --strength {at} --out DIR` writes it."
        )


def suggested(study: Study, tuned: Arm) -> Suggested | None:
    """The strength to use, from the measured ones; None where none was measured beside the whole.

    None also where it was not measured how many texts loop.

    The weakest whose TTR lies at most `MARGIN_TTR` below that of the whole, and whose texts loop at
    most `MARGIN_LOOPS` more often (ours).
    """
    scaled = [arm for arm in study.shown if arm.strength and arm.at_strength(None) == tuned]
    weaker = sorted((a for a in scaled if a.full_strength < 1), key=lambda a: a.full_strength)
    if not weaker:
        return None

    def value(arm: Arm, metric: str) -> float:
        row = study.cell(arm, metric)
        return row.mean if row is not None and row.mean is not None else float("nan")

    if isnan(value(tuned, "ttr")) or isnan(value(tuned, LOOPS)):
        return None
    for arm in weaker:  # of what was not measured every comparison is false
        is_varied = value(arm, "ttr") >= value(tuned, "ttr") - MARGIN_TTR - ROUNDING
        if is_varied and value(arm, LOOPS) <= value(tuned, LOOPS) + MARGIN_LOOPS + ROUNDING:
            return Suggested(tuned, arm)
    return Suggested(tuned, tuned)


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [strengths(study)]


def strengths(study: Study) -> Table:
    """Every arm that was scored at several strengths, from the lowest to the highest."""
    scaled = [arm for arm in study.shown if arm.strength is not None]
    arms = [HUMAN, ORIGINAL] if scaled else []
    for tuned in study.tuned:
        own = [arm for arm in scaled if arm.at_strength(None) == tuned]
        if own:
            arms += sorted([*own, tuned], key=lambda arm: (arm.full_strength, arm == tuned))
    shown = [(name, None) for name in METRICS if any(study.has(arm, name) for arm in arms)]
    return metric_table(study, "update_strength", arms, shown)

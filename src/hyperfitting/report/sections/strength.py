"""How much of the training does it take? Tuned models at strengths below and above their own."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records import HUMAN, ORIGINAL
from hyperfitting.report.load import Study
from hyperfitting.report.tables import Content, Table, metric_table

TITLE = "How much of it does it take?"
METRICS = ("ttr", "bigram_repetition", "looped_rate", "coherence_original_nats", "nonwords",
           "val_ppl", "prediction_entropy_nats", "top1_agreement_tf")  # fmt: skip


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None where no strength was asked for."""
    table = strengths(study)
    return {"table": table} if table.rows else None


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

"""While training: how each arm was trained, and what was monitored."""

from collections.abc import Mapping, Sequence

from hyperfitting.config import ReportConfig
from hyperfitting.records.study import TunedEntry
from hyperfitting.report.load import Study
from hyperfitting.report.tables import MISSING, Cell, Content, Table, interval, number
from hyperfitting.untrusted import printable

TITLE = "While training"


def content(study: Study, svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    table = trainings(study)
    foreign = [run.checkpoint for run in study.runs if run.checkpoint]
    if not table and not foreign and "training_curves" not in svgs:
        return None
    return {
        "table": table,
        "foreign": [printable(name) for name in foreign],
        "monitor_contexts": next(
            (r.num_contexts for rows in study.curves.values() for r in rows), 0
        ),
        "has_loss_interval": any(run.final_loss_interval is not None for run in study.runs),
        "stopped_by": {run.stopped_by for run in study.runs},
    }


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [trainings(study)]


def trainings(study: Study) -> Table:
    """How each arm was trained; empty where all checkpoints come from elsewhere."""
    header = [
        ("arm", ""), ("trained parameters", ""), ("windows", ""), ("epochs", ""),
        ("stopped by", ""), ("final loss", "nats per token"),
        ("training time", "s, prefix cache included, monitoring not"),
    ]  # fmt: skip
    rows = [
        [
            Cell(study.label(run.arm)),
            Cell(number(run.trainable_params, 0)),
            Cell(number(run.num_train, 0)),
            Cell(number(run.epochs, 0)),
            Cell(run.stopped_by or MISSING),
            final_loss([run]),
            Cell(number(run.train_seconds, 1)),
        ]
        for run in study.runs
        if run.trainable_params is not None and run.arm.at_loss is None
    ]
    return Table("trainings", header, rows)


def final_loss(runs: Sequence[TunedEntry]) -> Cell:
    """The final loss of one training over its windows, or mean and range of several."""
    recorded = [run for run in runs if run.final_loss is not None]
    known = [run.final_loss for run in recorded if run.final_loss is not None]
    if not known:
        return Cell(MISSING, reason="not recorded for this checkpoint")
    mean = number(sum(known) / len(known), 3)
    if len(known) > 1:
        return Cell(
            mean, note=f"{len(known)} runs, {number(min(known), 3)} to {number(max(known), 3)}"
        )
    found = recorded[0].final_loss_interval
    if found is None:
        return Cell(mean, reason="its interval was not recorded")
    reason = f"{found.confidence:.0%} interval over {found.n} training windows"
    return Cell(mean, interval(found.low, found.high, 3), found.n, reason)

"""At equal training loss: what differs between methods where none was trained further?"""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records import HUMAN, ORIGINAL, Arm, PairedTest
from hyperfitting.records.study import TunedEntry
from hyperfitting.report.load import Study
from hyperfitting.report.tables import (
    MISSING,
    Cell,
    Content,
    Table,
    difference,
    metric_table,
    number,
    p_phrase,
)

TITLE = "What differs at equal training loss?"
METRICS = ("ttr", "bigram_repetition", "looped_rate", "coherence_original_nats", "nonwords",
           "val_ppl")  # fmt: skip


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None where no checkpoint at a training loss was scored."""
    table = at_equal_loss(study)
    if not table:
        return None
    return {
        "table": table,
        "answers": [_answer(study, test) for test in study.tests if _is_answer(test)],
        "absent": _absent(study),
    }


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [at_equal_loss(study)]


def at_equal_loss(study: Study) -> Table:
    """The checkpoints at each training loss, the largest loss first, methods beside each other."""
    kept = sorted(study.at_loss, key=lambda arm: -(arm.at_loss or 0.0))
    arms = [HUMAN, ORIGINAL, *kept] if kept else []
    shown = [(name, None) for name in METRICS if any(study.has(arm, name) for arm in arms)]
    table = metric_table(study, "at_equal_loss", arms, shown)
    own = [("loss reached", "nats per token"), ("epoch", "")]
    return Table(
        table.name,
        [table.header[0], *own, *table.header[1:]],
        [
            [row[0], *_reached(study, arm), *row[1:]]
            for arm, row in zip(arms, table.rows, strict=True)
        ],
        [table.origins[0], "", "", *table.origins[1:]] if table.origins else (),
    )


def _trainings(study: Study, arm: Arm) -> list[TunedEntry]:
    return [run for run in study.runs if arm in (run.arm, run.arm.variant)]


def _reached(study: Study, arm: Arm) -> tuple[Cell, Cell]:
    """The mean training loss of the checkpoint's last epoch, and that epoch; means over seeds."""
    runs = _trainings(study, arm) if arm.at_loss is not None else []
    losses = [run.epoch_loss for run in runs if run.epoch_loss is not None]
    epochs = [run.epochs for run in runs if run.epochs is not None]
    if not losses or not epochs:
        return Cell(MISSING), Cell(MISSING)
    several = len(epochs) > 1
    note = f"{len(epochs)} runs, {min(epochs)} to {max(epochs)}" if several else ""
    mean = sum(epochs) / len(epochs)
    return (
        Cell(number(sum(losses) / len(losses), 3)),
        Cell(number(mean, 1 if several else 0), note=note),
    )


def _is_answer(test: PairedTest) -> bool:
    return test.metric == "ttr" and test.arms[0].at_loss is not None


def _answer(study: Study, test: PairedTest) -> str:
    """How two methods differ in variety at one training loss."""
    a, b = (study.label(arm) for arm in test.arms)
    p = f"no p ({test.reason})" if test.p_holm is None else p_phrase(test.p_holm)
    return f"{a} minus {b}: TTR {difference(test).text}, {p}."


def _absent(study: Study) -> list[str]:
    """Per training loss: which trainings have no checkpoint there."""
    scored = {run.arm for run in study.runs}
    results = [run.arm for run in study.runs if not run.arm.is_checkpoint]
    found = []
    for loss in dict.fromkeys(arm.at_loss for arm in study.at_loss):
        without = [arm for arm in results if loss and arm.kept_at(loss) not in scored]
        if without:
            found.append(f"At {loss:g} not reached: {', '.join(map(study.label, without))}.")
    return found

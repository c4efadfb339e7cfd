"""When training ends, apart from its last epoch."""

from collections.abc import Sequence

from hyperfitting.config import TrainConfig
from hyperfitting.records import MonitorRow

PLATEAU_EVALUATIONS = 10  # definitions, section 7.4
PLATEAU_RISE = 0.01


def ttr_is_flat(ttrs: Sequence[float]) -> bool:
    """True when the best of the last 10 TTRs exceeds the best before them by 0.01 at most.

    A TTR that has not risen yet is no plateau: at a small rate the first epochs change nothing.
    """
    if len(ttrs) <= PLATEAU_EVALUATIONS:
        return False
    before, recent = ttrs[:-PLATEAU_EVALUATIONS], ttrs[-PLATEAU_EVALUATIONS:]
    has_risen = max(before) > ttrs[0] + PLATEAU_RISE
    return has_risen and max(recent) <= max(before) + PLATEAU_RISE


def reason_to_stop(
    config: TrainConfig, train_loss: float, rows: Sequence[MonitorRow]
) -> str | None:
    """Why training ends after this epoch, or None."""
    if config.target_loss is not None and train_loss <= config.target_loss:
        return "target_loss"
    if config.stop == "ttr_plateau" and ttr_is_flat(
        [row.ttr for row in rows if row.ttr is not None]
    ):
        return "ttr_plateau"
    return None

"""When training ends, apart from its last epoch."""

from collections.abc import Callable, Sequence

from hyperfitting.config import TrainConfig
from hyperfitting.config.training import PLATEAU_EVALUATIONS
from hyperfitting.records import MonitorRow
from hyperfitting.train.memorised import Memorised

PLATEAU_RISE = 0.01
# Of `memorised`; chosen on curves of two models, docs/early-stopping.md.
BY_HEART = 0.99  # share of training tokens that are ranked first
SURE_NATS = 0.25  # entropy on them: a model that only just knows them still gains variety
EPOCHS_KNOWN = 2  # in a row: Gemma has both when its texts still become more varied, once
LOSS_TO_LOOK = 0.5  # nats per token: above it no model is near those, and no look is spent
WINDOWS_LOOKED_AT = 32


def ttr_is_flat(ttrs: Sequence[float]) -> bool:
    """True when the best of the last 10 TTRs exceeds the best before them by 0.01 at most.

    A TTR that has not risen yet is no plateau: at a small rate the first epochs change nothing.
    """
    if len(ttrs) <= PLATEAU_EVALUATIONS:
        return False
    before, recent = ttrs[:-PLATEAU_EVALUATIONS], ttrs[-PLATEAU_EVALUATIONS:]
    has_risen = max(before) > ttrs[0] + PLATEAU_RISE
    return has_risen and max(recent) <= max(before) + PLATEAU_RISE


def knows_its_texts(config: TrainConfig, train_loss: float, look: Callable[[], Memorised]) -> bool:
    """Whether a model knows its training texts by heart after an epoch.

    `look` says how well it knows the tokens; it is asked only where the rule needs it and the
    epoch's mean loss says that it may be time. Else nobody asks, and the answer is no.
    """
    if config.stop != "memorised" or train_loss > LOSS_TO_LOOK:
        return False
    known = look()
    return known.top1 >= BY_HEART and known.entropy <= SURE_NATS


def reason_to_stop(
    config: TrainConfig, train_loss: float, rows: Sequence[MonitorRow], epochs_known: int
) -> str | None:
    """Why training ends after this epoch, or None.

    `epochs_known` is the number of epochs, up to this one and in a row, after which the model knew
    its texts by heart.
    """
    if config.target_loss is not None and train_loss <= config.target_loss:
        return "target_loss"
    if config.stop == "ttr_plateau" and ttr_is_flat(
        [row.ttr for row in rows if row.ttr is not None]
    ):
        return "ttr_plateau"
    if config.stop == "memorised" and epochs_known >= EPOCHS_KNOWN:
        return "memorised"
    return None

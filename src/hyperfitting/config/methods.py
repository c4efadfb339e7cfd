"""What each method trains: the one table that everything else about methods is derived from.

Read without torch. To add a method, add its file and a line to `METHODS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from hyperfitting.config import MethodName

Trains = Literal["everything", "blocks and final norm", "adapters"]


BlockSetting = Literal["first_blocks", "last_blocks"]


@dataclass(frozen=True)
class Method:
    """A way to train: which tensors, and of which blocks.

    `blocks` maps (number of blocks, k) to the 0-based indices that train; `setting` names the
    setting of `TrainConfig` that holds k, None where every block trains. `is_late` says that
    nothing below them does, so that what enters them can be cached.
    """

    arm: str
    label: str
    trains: Trains
    blocks: Callable[[int, int], range]
    setting: BlockSetting | None = None
    is_late: bool = False


def _all(count: int, k: int) -> range:
    return range(count)


def _first(count: int, k: int) -> range:
    return range(k)


def _last(count: int, k: int) -> range:
    return range(count - k, count)


METHODS: Mapping[MethodName, Method] = {
    "full_sft": Method("hyperfitted", "all parameters", "everything", _all),
    "full_lora": Method("full_lora", "LoRA on every block", "adapters", _all),
    "late_stage_lora": Method(
        "late_stage_lora",
        "LoRA on the last blocks",
        "adapters",
        _last,
        "last_blocks",
        is_late=True,
    ),
    # The control of definitions, section 8.1: blocks above those that train hand gradients down,
    # so nothing can be cached.
    "early_stage_lora": Method(
        "early_stage_lora", "LoRA on the first blocks", "adapters", _first, "first_blocks"
    ),
    "late_stage_sft": Method(
        "late_stage_sft",
        "all of the last blocks and the final norm",
        "blocks and final norm",
        _last,
        "last_blocks",
        is_late=True,
    ),
}

"""Every training method: the one table that all else about methods is derived from.

Read without torch. A new method is a line in `METHODS`; where it trains something that no method
trains yet, also a function in `train/methods.py`'s table `SET_UP`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# Nested mappings in the shape of `config.RunConfig`.
Settings = Mapping[str, Any]

EVERYTHING = "everything"  # what full fine-tuning trains
SOME_AT_A_TIME = "everything, some blocks at a time"  # what LISA trains
BlockSetting = Literal["first_blocks", "last_blocks"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to train: which tensors, of which blocks, with which defaults, and how it is drawn.

    `trains` is a key of `train.methods.SET_UP`. `blocks` maps (number of blocks, k) to the 0-based
    indices that train; `setting` names the setting of `TrainConfig` that holds k, None where every
    block trains. `relative_rate` is the learning rate `auto` as a share of the trained weights'
    size (`train/rate.py`). `is_late` says that nothing below them does, so that what enters them
    can be cached. `defaults` stand between the plain defaults and the user's settings; `tuned`
    above them, for the built-in model; where a method has none, the plain defaults hold. `colour`
    and `marker` are a figure's; None takes what arms without their own have.
    """

    arm: str
    label: str
    trains: str
    blocks: Callable[[int, int], range]
    relative_rate: float
    setting: BlockSetting | None = None
    is_late: bool = False
    defaults: Settings = field(default_factory=dict)
    tuned: Settings = field(default_factory=dict)
    colour: str | None = None
    marker: str | None = None

    @property
    def has_adapters(self) -> bool:
        """Whether the weights of the model stay as they are."""
        return self.trains == "adapters"


def _all(count: int, k: int) -> range:
    return range(count)


def _first(count: int, k: int) -> range:
    return range(k)


def _last(count: int, k: int) -> range:
    return range(count - k, count)


def _last_half(count: int, k: int) -> range:
    return _last(count, max(1, count // 2))


def _recipe(epochs: int, *, by_heart: bool = True, **more: int) -> Settings:
    """What a method trains with where nothing else is asked: small batches of a few short windows.

    It ends when they are known by heart, after `epochs` at most, or after all of them; `more` are
    settings of `train`.
    Tuned on SmolLM2-135M with 60 documents of `builtin:fiction`'s training side, none of which is
    reported on; see docs/log.md.
    """
    return {
        "data": {"window_tokens": 128, "max_train": 32},
        "train": {
            "epochs": epochs,
            "batch_size": 2,
            "stop": "memorised" if by_heart else "epochs",
            **more,
        },
        "monitor": {"every_epochs": epochs, "num_contexts": 8, "num_windows": 8},
    }


def _tuned(learning_rate: float, rank: int | None = None, **more: int) -> Settings:
    """What the built-in model is trained with.

    Tuned on 60 documents of the training side that neither these runs train on nor the demo's
    held-out contexts contain; see docs/log.md.
    """
    lora = {"lora": {"rank": rank, "alpha": 2 * rank}} if rank else {}
    train = {"learning_rate": learning_rate, "epochs": 14, "batch_size": 4, **lora, **more}
    return {
        "data": {"window_tokens": 256, "max_train": 2_000},
        "train": train,
        "monitor": {"every_epochs": 7, "num_contexts": 32, "num_windows": 32},
    }


# On SmolLM2 not told apart from `full_sft` in variety, in half the time; with fewer last blocks it
# is (docs/results/smollm2.md).
DEFAULT_METHOD = "late_half_sft"

# Colours are told apart with any colour vision, on white and on black (Okabe and Ito).
METHODS: Mapping[str, Method] = {
    "full_sft": Method(
        arm="hyperfitted",
        label="every parameter",
        trains=EVERYTHING,
        blocks=_all,
        relative_rate=3.3e-4,
        defaults=_recipe(8),
        tuned=_tuned(1.5e-3),
        colour="#0c8f68",
        marker="o",
    ),
    # Pan et al., arXiv 2403.17919. A block trains in few of the steps: so ten times the rate, and
    # others every 4 steps, with which all 30 of SmolLM2's have their turn several times.
    "lisa": Method(
        arm="lisa",
        label="every parameter, a few random blocks at a time",
        trains=SOME_AT_A_TIME,
        blocks=_all,
        relative_rate=3.3e-3,
        defaults=_recipe(16, lisa_interval=4),
        tuned=_tuned(1.5e-3, lisa_interval=20),
    ),
    "full_lora": Method(
        arm="full_lora",
        label="a LoRA on every block",
        trains="adapters",
        blocks=_all,
        relative_rate=5.6e-5,
        defaults=_recipe(10, by_heart=False),
        tuned=_tuned(3e-3, rank=32),
        colour="#3a8fd0",
        marker="s",
    ),
    "late_stage_lora": Method(
        arm="late_stage_lora",
        label="a LoRA on the last blocks",
        trains="adapters",
        blocks=_last,
        relative_rate=1.1e-4,
        setting="last_blocks",
        is_late=True,
        defaults=_recipe(24, by_heart=False),
        tuned=_tuned(3e-3, rank=64),
        colour="#d55e00",
        marker="^",
    ),
    # The control of definitions, section 8.1, trained as the line above: blocks above those that
    # train hand gradients down, so nothing can be cached.
    "early_stage_lora": Method(
        arm="early_stage_lora",
        label="a LoRA on the first blocks, a control",
        trains="adapters",
        blocks=_first,
        relative_rate=1.1e-4,
        setting="first_blocks",
        defaults=_recipe(24, by_heart=False),
        tuned=_tuned(3e-3, rank=64),
        colour="#ad9a00",
        marker="v",
    ),
    "late_stage_sft": Method(
        arm="late_stage_sft",
        label="all of the last blocks and the final norm",
        trains="blocks and final norm",
        blocks=_last,
        relative_rate=5e-4,
        setting="last_blocks",
        is_late=True,
        defaults=_recipe(32),
        tuned=_tuned(1.5e-3),
        colour="#a8639a",
        marker="D",
    ),
    # Five of SmolLM2's 30 blocks are not enough for varied text in words, fifteen are.
    "late_half_sft": Method(
        arm="late_half",
        label="all of the last half of the blocks and the final norm",
        trains="blocks and final norm",
        blocks=_last_half,
        relative_rate=1e-3,
        is_late=True,
        defaults=_recipe(12),
        tuned=_tuned(1.5e-3),
        colour="#555555",
        marker="h",
    ),
}

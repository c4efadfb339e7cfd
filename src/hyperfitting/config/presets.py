"""Protocols by name, and the settings of the built-in texts and of the demo.

`resolve.py` puts them between the plain defaults and what the user gives; what depends on the
method stands in `methods.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hyperfitting.config.methods import METHODS, Settings


@dataclass(frozen=True)
class Preset:
    """A published protocol: its settings, those of single methods, and which it is about.

    `method` is the one that trains where none is given; `methods` None: all may.
    """

    method: str
    settings: Settings
    of_method: Mapping[str, Settings] = field(default_factory=dict)
    methods: tuple[str, ...] | None = None


def _protocol(epochs: int, learning_rate: float, every_epochs: int) -> Settings:
    """2,000 windows of 256 tokens, 8 a step, a constant rate, all epochs."""
    return {
        "data": {"window_tokens": 256, "max_train": 2_000},
        "train": {
            "epochs": epochs,
            "learning_rate": learning_rate,
            "batch_size": 8,
            "stop": "epochs",
            "lora": {"rank": 16, "alpha": 32},
        },
        "monitor": {"every_epochs": every_epochs, "num_contexts": 32, "num_windows": 32},
    }


def _rate(learning_rate: float) -> Settings:
    return {"train": {"learning_rate": learning_rate}}


# Protocols by name (`--preset`); they win over everything that is tuned. The paper states neither
# rates nor ranks: ours for adapters, those of Carlsson et al.'s code for whole weights.
PRESETS: Mapping[str, Preset] = {
    "paper": Preset(
        "late_stage_lora",
        _protocol(epochs=260, learning_rate=2e-4, every_epochs=10),
        {name: _rate(5e-6) for name, method in METHODS.items() if not method.has_adapters},
    ),
    "carlsson": Preset(
        "full_sft",
        _protocol(epochs=20, learning_rate=1e-6, every_epochs=1),
        methods=("full_sft",),
    ),
}

# Documents held out per built-in corpus (definitions, section 1.2), and the window that the
# built-in model is trained with: the news are short.
BUILTIN_CORPORA: Mapping[str, Settings] = {
    "builtin:fiction": {"data": {"num_heldout": 60}},
    "builtin:news": {"data": {"num_heldout": 40}},
}
BUILTIN_MODEL_ON: Mapping[str, Settings] = {"builtin:news": {"data": {"window_tokens": 192}}}

DEMO_DEFAULTS: Settings = {
    "model": {"name": "builtin"},
    "data": {"source": "builtin:fiction", "num_train": 80},
    "train": {"stop": "epochs", "seed": 0},
    "monitor": {"num_contexts": 16, "num_windows": 16},
    # Fewer draws than `evaluate` and `explain` take: the demo is to end within minutes.
    "evaluate": {"natural_tokens": 128, "sampling_seeds": 1, "batch_size": 256},
    "explain": {
        "batch_size": 256,
        "resamples": 500,
        "strengths": (0.1, 1.0),
        "random_draws": 1,
        "swap_blocks": (0, 1, 3, 5, 12),
        "only": (
            "provenance",
            "static_bias",
            "joint_null",
            "overrides",
            "tokens",
            "lens",
            "block_swap",
            "geometry",
        ),
    },
}

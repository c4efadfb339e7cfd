"""Protocols by name, and the settings of the built-in texts and of the demo.

`resolve.py` puts them between the plain defaults and what the user gives; what depends on the
method stands in `methods.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hyperfitting.config.methods import Settings


@dataclass(frozen=True)
class Preset:
    """A published protocol: its settings, and the methods it is about (None: all)."""

    settings: Settings
    methods: tuple[str, ...] | None = None


# Protocols by name (`--preset`); they win over everything that is tuned. The paper states no rate.
PRESETS: Mapping[str, Preset] = {
    "paper": Preset({"train": {"epochs": 260, "stop": "epochs"}}),
    "carlsson": Preset(
        {"train": {"learning_rate": 1e-6, "epochs": 20, "stop": "epochs"}}, ("full_sft",)
    ),
}

# Documents held out and window length per built-in corpus (definitions, section 1.2).
BUILTIN_CORPORA: Mapping[str, Settings] = {
    "builtin:fiction": {"data": {"num_heldout": 60, "window_tokens": 256}},
    "builtin:news": {"data": {"num_heldout": 40, "window_tokens": 192}},
}

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

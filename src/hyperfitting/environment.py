"""What a number may depend on besides its settings."""

import platform
from importlib.metadata import version

import torch

from hyperfitting import __version__
from hyperfitting.records.origins import Environment

PACKAGES = ("torch", "transformers", "peft", "tokenizers", "numpy", "scipy")


def environment() -> Environment:
    """Versions and machine facts that a number may depend on."""
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        threads=torch.get_num_threads(),
        packages={"hyperfitting": __version__} | {name: version(name) for name in PACKAGES},
    )

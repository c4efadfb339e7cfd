"""hyperfitting: stop a causal language model from looping, and show why it works.

`verbs` holds the functions behind the commands, `run_config` makes what `verbs.train` takes. Both
are imported when they are first asked for.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperfitting import verbs
    from hyperfitting.config.resolve import run_config

try:
    __version__ = version("hyperfitting")
except PackageNotFoundError:  # a checkout on the path, not installed
    __version__ = "0+checkout"
__all__ = ["__version__", "run_config", "verbs"]


def __getattr__(name: str) -> Any:
    if name == "verbs":
        return import_module("hyperfitting.verbs")
    if name == "run_config":
        return import_module("hyperfitting.config.resolve").run_config
    raise AttributeError(f"hyperfitting has no {name!r}")

"""hyperfitting: stop a causal language model from looping, and show why it works.

`verbs` holds the functions behind the commands, `run_config` makes what `verbs.train` takes. Both
are imported when they are first asked for.
"""

TYPE_CHECKING = False  # typing's own would cost the command's first instant
if TYPE_CHECKING:
    from hyperfitting import verbs
    from hyperfitting.config.resolve import run_config

    __version__: str

__all__ = ["__version__", "run_config", "verbs"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return _version()
    if name == "verbs":
        from importlib import import_module

        return import_module("hyperfitting.verbs")
    if name == "run_config":
        from hyperfitting.config.resolve import run_config

        return run_config
    raise AttributeError(f"hyperfitting has no {name!r}")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hyperfitting")
    except PackageNotFoundError:  # a checkout on the path, not installed
        return "0+checkout"

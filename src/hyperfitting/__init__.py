"""hyperfitting: stop a causal language model from looping, and show why it works.

The command line `hyperfit` calls the functions of `hyperfitting.verbs`.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("hyperfitting")
except PackageNotFoundError:  # a checkout on the path, not installed
    __version__ = "0+checkout"
__all__ = ["__version__"]

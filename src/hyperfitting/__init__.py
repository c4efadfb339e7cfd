"""hyperfitting: stop a causal language model from looping, and show why it works.

The command line `hyperfit` calls the functions of `hyperfitting.verbs`.
"""

from importlib.metadata import version

__version__ = version("hyperfitting")
__all__ = ["__version__"]

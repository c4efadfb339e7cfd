"""The programs under recipes/, as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

RECIPES = Path(__file__).parent.parent / "recipes"


def recipe_of(name: str) -> ModuleType:
    """The recipe `name`.py, loaded anew."""
    if str(RECIPES) not in sys.path:  # one may use another
        sys.path.append(str(RECIPES))
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

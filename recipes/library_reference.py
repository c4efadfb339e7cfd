"""The library's functions with their docstrings, as `docs/library.md`.

python recipes/library_reference.py      write the file anew; a test holds it to the code
"""

import inspect
import re
from pathlib import Path

from hyperfitting import run_config, verbs

PAGE = Path(__file__).parent.parent / "docs" / "library.md"
SHORT = re.compile(r"(?:[a-z_]+\.)+(?=[A-Z])|'")  # modules before a type's name
HEAD = """# From Python

The commands are functions of `hyperfitting.verbs`, each imported when it is first asked for. A
config is one of `hyperfitting.config`, or `hyperfitting.run_config(...)`; progress is silent unless
a `Progress` is given. Kernels are pure functions of `hyperfitting.measure` ([modules](modules.md)).
`python recipes/library_reference.py` writes this page.

```python
from hyperfitting import run_config, verbs
from hyperfitting.config.export import ExportConfig

run = verbs.train(run_config("builtin", "builtin:fiction", "full_lora"), "my-run")
verbs.evaluate(run.path)
verbs.export(run.path, ExportConfig(format="adapter"), "exported")
```
"""


def entry(name: str, function: object) -> str:
    """One function: its signature and docstring."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    parameters = ", ".join(SHORT.sub("", str(p)) for p in signature.parameters.values())
    return f"\n## {name}\n\n```python\n{name}({parameters})\n```\n\n{_as_markdown(function)}\n"


def _as_markdown(function: object) -> str:
    """A docstring, its sections as headings in bold and what they list as a list."""
    lines = []
    for line in inspect.getdoc(function).splitlines():  # type: ignore[union-attr]
        if line in ("Args:", "Raises:", "Returns:"):
            lines.append(f"**{line[:-1]}**\n")
        elif line.startswith("        "):
            lines.append(f"  {line.strip()}")
        elif line.startswith("    "):
            lines.append(f"- {line.strip()}")
        else:
            lines.append(line)
    return "\n".join(lines)


def page() -> str:
    """The page as Markdown."""
    functions = {"run_config": run_config} | {name: getattr(verbs, name) for name in verbs.__all__}
    return HEAD + "".join(entry(name, function) for name, function in functions.items())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

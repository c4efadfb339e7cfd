"""Every module of the package with the first line of its docstring, as `docs/modules.md`.

python recipes/module_tree.py      write the file anew; a test holds it to the code
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE, PAGE = ROOT / "src" / "hyperfitting", ROOT / "docs" / "modules.md"
HEAD = """# Modules

Every module by its folder, with the first line of what it says of itself. What may import what
stands in `tests/test_layers.py`. `python recipes/module_tree.py` writes this page.
"""


def first_line(path: Path) -> str:
    """The first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{path} has no docstring"
    return docstring.splitlines()[0]


def page() -> str:
    """The page as Markdown."""
    folders = sorted({path.parent for path in SOURCE.rglob("*.py")})
    parts = [HEAD]
    for folder in folders:
        name = folder.relative_to(SOURCE.parent).as_posix()
        parts.append(f"\n## {name}/\n\n{first_line(folder / '__init__.py')}\n\n")
        modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
        parts += [f"- `{path.name}`: {first_line(path)}\n" for path in modules]
    return "".join(parts).replace("\n\n\n", "\n\n").rstrip("\n") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

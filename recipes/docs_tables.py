"""The tables of methods, families and decoders in README and docs, from the tables in the code.

    python recipes/docs_tables.py      write them anew; a test holds the documents to the code

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from hyperfitting.config import TrainConfig
from hyperfitting.config.layers import Layer
from hyperfitting.config.methods import METHODS, Method
from hyperfitting.config.resolve import resolve_run
from hyperfitting.generate.decoder import Parameter
from hyperfitting.generate.decoders import DECODERS
from hyperfitting.models.anatomy import FAMILIES

ROOT = Path(__file__).parent.parent
FILES = (ROOT / "README.md", ROOT / "docs" / "training.md", ROOT / "docs" / "decoding.md")
PLACE = re.compile(r"(<!-- table: ([\w ]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in [head, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:], ""])


def _trains(method: Method) -> str:
    if method.setting is None:
        return method.label
    count = TrainConfig.model_fields[method.setting].default
    return f"{method.label} (`--{method.setting.replace('_', '-')}`, {count})"


def methods() -> str:
    """What each method trains, and the name of its arm."""
    rows = [(f"`{name}`", _trains(m), f"`{m.arm}`") for name, m in METHODS.items()]
    return _table(("method", "trains", "arm"), rows)


def _rate(method: Method) -> str:
    """What `train.learning_rate=auto` is."""
    size = "weights / A" if method.has_adapters else "weights"
    return f"{method.relative_rate:.1e} × {size}".replace("e-0", "e-")


def trained() -> str:
    """What each method trains, what is left of it, and its defaults."""
    rows = []
    for name, method in METHODS.items():
        given = {"model.name": "m", "data.source": "d", "train.method": name}
        config = resolve_run([Layer("", given)]).config.train
        rows.append((
            f"`{name}`", _trains(method), "`adapter/`" if method.has_adapters else "`model/`",
            _rate(method), ("" if config.stop == "epochs" else "at most ") + str(config.epochs),
        ))  # fmt: skip
    return _table(("method", "trains", "result", "default rate", "epochs"), rows)


def _default(parameter: Parameter) -> str:
    return f"{parameter.name} {parameter.default:g}"


def decoders() -> str:
    """The rule of each decoder, its defaults, its source, who made it and whether it draws."""
    rows = []
    for name, decoder in DECODERS.items():
        by = "transformers" if decoder.work.startswith("transformers") else "here"
        defaults = ", ".join(map(_default, decoder.parameters)) or "–"
        draws = "no" if decoder.is_deterministic else "yes"
        rows.append((f"`{name}`", decoder.rule, defaults, decoder.source, by, draws))
    head = ("decoder", "rule", "default", "source of the rule; of the default", "made", "draws")
    return _table(head, rows)


def families() -> str:
    """The model types whose parts are known, as a config calls them."""
    return f"{', '.join(f'`{name}`' for name in FAMILIES)}\n"


TABLES: Mapping[str, Callable[[], str]] = {
    "methods": methods,
    "methods and defaults": trained,
    "decoders": decoders,
    "families": families,
}


def filled(text: str) -> str:
    """The document with every table as the code has it."""
    return PLACE.sub(lambda place: f"{place[1]}{TABLES[place[2]]()}{place[3]}", text)


if __name__ == "__main__":
    for file in FILES:
        file.write_text(filled(file.read_text(encoding="utf-8")), encoding="utf-8")

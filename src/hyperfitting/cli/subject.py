"""What `evaluate` and `explain` take alike: runs or two checkpoints, and the texts.

Loads no torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyperfitting.cli.common import settings_among, split_folders
from hyperfitting.config.layers import OVERRIDE, Layer
from hyperfitting.errors import InputError

if TYPE_CHECKING:
    from hyperfitting.compare.subject import Subject

Folders = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN|KEY=VALUE", help="Run or study folders."),
]
Base = Annotated[
    str | None,
    typer.Option(
        help="The original, with --tuned; default: the one an adapter names.", show_default=False
    ),
]
Tuned = Annotated[
    str | None,
    typer.Option(help="Any tuned checkpoint: model or PEFT adapter.", show_default=False),
]
TextField = Annotated[
    str | None, typer.Option(help="Column with the text, with --data.", show_default=False)
]
Out = Annotated[
    Path | None, typer.Option(help="New folder; needed for several runs and for --tuned.")
]


def read_subject(
    arguments: Sequence[str],
    given: Sequence[Layer],
    *,
    base: str | None,
    tuned: str | None,
    data: Sequence[str],
    text_field: str | None,
    out: Path | None,
) -> tuple["Subject", list[Layer]]:
    """What is compared, and the layers of settings that are the verb's own.

    Raises:
        InputError: an option is missing, or one that has no effect is given.
    """
    from hyperfitting.compare.subject import Runs

    if tuned is None and base is None:
        folders, _ = split_folders(arguments)
        return Runs(folders=tuple(folders), data=tuple(data), text_field=text_field), list(given)
    missing = [
        name for name, value in (("--tuned", tuned), ("--data", data), ("--out", out)) if not value
    ]
    if missing or tuned is None:
        raise InputError(
            f"{' and '.join(missing)} is missing",
            needed="--base MODEL --tuned MODEL --data DATA --out FOLDER",
        )
    if runs := [each for each in arguments if each not in settings_among(arguments)]:
        raise InputError(f"both a run ({runs[0]}) and --tuned are given", needed="one of them")
    if len(data) > 1:
        raise InputError(f"{len(data)} sources of texts are given with --tuned", needed="one")
    return _checkpoints(given, base=base, tuned=tuned, source=data[0], text_field=text_field)


def _checkpoints(
    given: Sequence[Layer], *, base: str | None, tuned: str, source: str, text_field: str | None
) -> tuple["Subject", list[Layer]]:
    """Two checkpoints from their options and settings; the other settings are the verb's."""
    from hyperfitting.config import CheckpointsConfig
    from hyperfitting.config.layers import build, leaf_fields

    flags: dict[str, tuple[str, Any]] = {
        "model.name": ("--base", base or _named_base(tuned, given)),
        "tuned": ("--tuned", tuned),
        "data.source": ("--data", source),
        "data.text_field": ("--text-field", text_field),
    }
    known = {key for key, _ in leaf_fields(CheckpointsConfig)}
    groups = {key.split(".")[0] for key in known if "." in key}

    def is_theirs(key: str) -> bool:
        return key in known or key.split(".")[0] in groups

    named = [Layer(f"flag {flag}", {k: v}) for k, (flag, v) in flags.items() if v is not None]
    theirs = [_kept(layer, [k for k in layer.leaves if is_theirs(k)]) for layer in given]
    rest = [_kept(layer, [k for k in layer.leaves if not is_theirs(k)]) for layer in given]
    # As everywhere: a file, then flags, then key=value.
    last = [layer for layer in theirs if layer.source == OVERRIDE]
    first = [layer for layer in theirs if layer.source != OVERRIDE]
    return build(CheckpointsConfig, [*first, *named, *last]).config, rest


def _kept(layer: Layer, keys: Sequence[str]) -> Layer:
    return Layer(layer.source, {key: layer.leaves[key] for key in keys})


def _named_base(tuned: str, given: Sequence[Layer]) -> str:
    """The base that the adapter of --tuned names.

    Raises:
        InputError: it is a whole model, which does not tell what it was trained from.
    """
    from hyperfitting.config import ModelConfig
    from hyperfitting.config.layers import peek
    from hyperfitting.models.tuned import adapter_base

    found = adapter_base(ModelConfig(name=tuned, revision=peek(given, "tuned_revision")))
    if found is None:
        raise InputError(
            f"{tuned} is a whole model, which does not name its base", needed="--base MODEL"
        )
    return found.name

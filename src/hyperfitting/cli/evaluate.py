"""`hyperfit evaluate`: score tuned models beside their original and the human text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyperfitting.cli.common import (
    AsJson,
    ConfigFile,
    Device,
    TrustRemoteCode,
    layers,
    print_json,
    run_verb,
    split_folders,
)
from hyperfitting.config.layers import Layer
from hyperfitting.errors import InputError

if TYPE_CHECKING:
    from hyperfitting.config import CheckpointsConfig

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
DataSource = Annotated[
    str | None, typer.Option("--data", help="Texts, with --tuned.", show_default=False)
]
DataSources = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="Texts, by default those of the runs; several compare domains.",
        show_default=False,
    ),
]
TextField = Annotated[
    str | None, typer.Option(help="Column with the text, with --tuned.", show_default=False)
]


def checkpoints_config(
    arguments: list[str] | None,
    base: str | None,
    tuned: str | None,
    data: str | None,
    text_field: str | None,
    out: Path | None,
    config: Path | None,
    flags: Mapping[str, tuple[str, Any]],
) -> tuple["CheckpointsConfig", list[Layer], Path]:
    """What --base and --tuned ask for: the checkpoints, the verb's own settings, the folder.

    Raises:
        InputError: an option is missing, or a run folder is given too.
    """
    from hyperfitting.config import CheckpointsConfig
    from hyperfitting.config.layers import build, leaf_fields

    missing = [
        name for name, value in (("--tuned", tuned), ("--data", data), ("--out", out)) if not value
    ]
    if missing or tuned is None or out is None:
        raise InputError(
            f"{' and '.join(missing)} is missing",
            needed="--base MODEL --tuned MODEL --data DATA --out FOLDER",
        )
    folders = [argument for argument in arguments or [] if "=" not in argument]
    if folders:
        raise InputError(f"both a run ({folders[0]}) and --tuned are given", needed="one of them")
    original = base or _named_base(tuned, layers(config, flags, arguments))
    named: dict[str, tuple[str, Any]] = {
        "model.name": ("--base", original),
        "tuned": ("--tuned", tuned),
        "data.source": ("--data", data),
        "data.text_field": ("--text-field", text_field),
    }
    known = {key for key, _ in leaf_fields(CheckpointsConfig)}
    about, rest = [], []
    for layer in layers(config, {**named, **flags}, arguments):
        ours = {k: v for k, v in layer.leaves.items() if k in known or k.startswith("data.")}
        about.append(Layer(layer.source, ours))
        own = {k: v for k, v in layer.leaves.items() if k not in ours or k in flags}
        rest.append(Layer(layer.source, own))
    return build(CheckpointsConfig, about).config, rest, out


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


def evaluate(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]... [KEY=VALUE]...", help="Run or study folders."),
    ] = None,
    base: Base = None,
    tuned: Tuned = None,
    data: DataSources = None,
    text_field: TextField = None,
    decoders: Annotated[
        str | None,
        typer.Option(help="Beside greedy, for example min_p:0.1,guard.", show_default=False),
    ] = None,
    mauve_features: Annotated[
        str | None,
        typer.Option(help="MAUVE's model: gpt2-large, a folder, builtin.", show_default=False),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Tasks of lm-evaluation-harness, for example arc_easy or my-task.yaml.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder; needed for several runs and for --tuned.")
    ] = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Generate, measure and test; a lone run keeps the result in its own folder.

    Example: hyperfit evaluate run-a run-b --out comparison natural_tokens=128
    Other decoders and texts: hyperfit evaluate my-run --decoders min_p,guard --data ag_news
    Checkpoints of your own: hyperfit evaluate --base A --tuned B --data texts.jsonl --out study
    """

    def work() -> None:
        from hyperfitting import verbs
        from hyperfitting.cli.show import study_summary
        from hyperfitting.config import EvaluateConfig, ReportConfig
        from hyperfitting.config.layers import build
        from hyperfitting.progress import ConsoleProgress
        from hyperfitting.report.load import read_study
        from hyperfitting.storage import read_json

        flags = {
            "device": ("--device", device),
            "trust_remote_code": ("--trust-remote-code", trust_remote_code),
            "decoders": ("--decoders", decoders),
            "mauve_features": ("--mauve-features", mauve_features),
            "tasks": ("--tasks", tasks),
        }
        progress = ConsoleProgress()
        if tuned is not None or base is not None:
            if len(data or []) > 1:
                raise InputError(
                    f"{len(data or [])} sources of texts are given with --tuned", needed="one"
                )
            source = data[0] if data else None
            checkpoints, rest, place = checkpoints_config(
                runs, base, tuned, source, text_field, out, config, flags
            )
            settings = build(EvaluateConfig, rest).config
            study = verbs.evaluate_checkpoints(checkpoints, settings, place, progress)
        else:
            folders, overrides = split_folders(runs or [])
            settings = build(EvaluateConfig, layers(config, flags, overrides)).config
            study = verbs.evaluate(
                folders, settings, out, progress, data=data or (), text_field=text_field
            )
        verbs.report(study.path, ReportConfig(), progress)
        if as_json:
            print_json(read_json(study.measurements_file))
        else:
            study_summary(study, read_study(study), progress.seconds)

    run_verb(work)

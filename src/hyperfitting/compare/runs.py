"""Open run folders: their base model, held-out set and results, told apart by what differs."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from hyperfitting.compare.comparison import Comparison, Here, TunedModel
from hyperfitting.compare.kept import NOTHING, Kept, facts_of
from hyperfitting.config import ModelConfig
from hyperfitting.config.layers import flatten
from hyperfitting.data.store import load_dataset
from hyperfitting.errors import InputError
from hyperfitting.models.load import load_result, load_tokenizer, require_tokenizer
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.records.arms import NULL
from hyperfitting.records.manifest import RunManifest
from hyperfitting.runs import RunFolder

NO_DIFFERENCE = ("keep_at_loss",)  # settings that change no weight
# What runs must share to be compared.
SHARED = {
    "model_digest": "base models",
    "contexts_digest": "held-out contexts",
    "heldout_digest": "held-out windows",
}


def open_runs(
    folders: Sequence[Path], here: Here, kept: Kept = NOTHING, progress: Progress | None = None
) -> Comparison:
    """Read the runs' manifests and data; `kept` says which of their checkpoints are arms too.

    Raises:
        InputError: a run that did not finish, or runs that differ in base model or held-out set,
            or that do not differ in anything.
    """
    runs = [RunFolder(path) for path in folders]
    runs, manifests = nulls_last(runs, [run.whole() for run in runs])
    require_shared(
        runs, manifests, SHARED, "runs of one base model on one data set and split",
        hint=hint_of_dates(runs, manifests)
        or "hyperfit evaluate --data SOURCE compares runs of different texts on the same ones",
    )  # fmt: skip
    model, tuned = opened(runs, manifests, here, kept, progress)
    first = manifests[0]
    data = first.config["data"] | {
        "contexts_digest": first.contexts_digest,
        "template_date": first.template_date,
    }
    return Comparison(model, first.model_digest, tuned, load_dataset(runs[0].windows_file), data)


def nulls_last(
    runs: Sequence[RunFolder], manifests: Sequence[RunManifest]
) -> tuple[list[RunFolder], list[RunManifest]]:
    """The runs in their order, but for those on nulls: a study's texts are those of the first."""
    pairs = zip(runs, manifests, strict=True)
    ordered = sorted(pairs, key=lambda pair: pair[1].settings.data.null != "none")
    return [run for run, _ in ordered], [manifest for _, manifest in ordered]


def hint_of_dates(runs: Sequence[RunFolder], manifests: Sequence[RunManifest]) -> str | None:
    """How runs become comparable whose chat template wrote the dates of different days."""
    days = [manifest.template_date for manifest in manifests]
    if len(set(days)) == 1:
        return None
    named = (f"{day or 'no date'} in {run.path}" for day, run in zip(days, runs, strict=True))
    first = next(day for day in days if day)
    return (
        f"the model's chat template writes the date into every text: {', '.join(named)}; train "
        f"again those of another day with data.template_date={first}"
    )


def require_shared(
    runs: Sequence[RunFolder],
    manifests: Sequence[RunManifest],
    shared: Mapping[str, str],
    needed: str,
    hint: str | None = None,
) -> None:
    """Refuse runs that differ in what `shared` names.

    Raises:
        InputError: they do.
    """
    for key, name in shared.items():
        if len({getattr(manifest, key) for manifest in manifests}) > 1:
            raise InputError(
                f"the runs {', '.join(str(run.path) for run in runs)} have different {name}",
                needed=needed,
                hint=hint if key != "model_digest" else None,
            )


def opened(
    runs: Sequence[RunFolder],
    manifests: Sequence[RunManifest],
    here: Here,
    kept: Kept,
    progress: Progress | None,
) -> tuple[ModelConfig, list[TunedModel]]:
    """The base model and the runs' results, then checkpoints, to be loaded on this machine.

    Raises:
        InputError: another tokenizer than in training, or a checkpoint that was not kept.
    """
    model = here.put(manifests[0].base_model())
    tokenizer = load_tokenizer(model)
    for manifest in manifests:
        require_tokenizer(tokenizer, manifest.tokenizer_digest, model)
    tuned = [
        TunedModel(arm, partial(load_result, run, model), facts_of(manifest), run.path)
        for run, manifest, arm in zip(runs, manifests, _arms(manifests), strict=True)
    ]
    for run, manifest, result in zip(runs, manifests, tuple(tuned), strict=True):
        tuned += kept.arms(run, manifest, result.arm, model, progress or Progress())
    return model, tuned


def _arms(manifests: Sequence[RunManifest]) -> list[Arm]:
    """An arm per run; runs of one method and seed are told apart by the settings that differ."""
    keys = [(manifest.arm, manifest.seed) for manifest in manifests]
    settings = [
        {k: v for k, v in flatten(manifest.config["train"]).items() if k not in NO_DIFFERENCE}
        | {"trained_on": manifest.settings.data.source, NULL: manifest.settings.data.null}
        for manifest in manifests
    ]
    arms = []
    sources = {own["trained_on"] for own in settings}
    for (name, seed), own in zip(keys, settings, strict=True):
        same_name = [s for s, (other, _) in zip(settings, keys, strict=True) if other == name]
        marks = [NULL] if own[NULL] != "none" else []  # also of one that is alone
        differing = marks + sorted(
            key
            for key in own
            # A setting that one of them does not know (of an older version) tells nothing apart.
            if key not in ("seed", NULL)
            and all(key in each for each in same_name)
            and (
                len({repr(each[key]) for each in same_name}) > 1
                or (key == "trained_on" and len(sources) > 1)
            )
        )
        arms.append(Arm(name, seed, tuple((key, own[key]) for key in differing)))
    repeated = next((arm for arm in arms if arms.count(arm) > 1), None)
    if repeated:
        raise InputError(
            f"several of the runs are {repeated.name} with the same seed and settings",
            needed="runs that differ in method, seed or a setting of training",
        )
    return arms

"""Open run folders: their base model, held-out set and results, told apart by what differs."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hyperfitting.compare.comparison import Comparison, Here, TunedModel
from hyperfitting.compare.kept import NOTHING, Kept
from hyperfitting.config import ModelConfig
from hyperfitting.config.telling import of_training, of_windows
from hyperfitting.data.store import load_dataset
from hyperfitting.errors import InputError
from hyperfitting.models.load import load_result, load_tokenizer, require_tokenizer
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.records.arms import NULL
from hyperfitting.records.manifest import RunManifest
from hyperfitting.records.study import TrainingFacts
from hyperfitting.runs import RunFolder

WINDOWS = "windows_digest"  # of runs whose windows differ though their settings do not
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
    return Comparison(model, first.known_base, tuned, load_dataset(runs[0].windows_file), data)


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
        TunedModel(arm, partial(load_result, run, model), TrainingFacts.of(manifest), run.path)
        for run, manifest, arm in zip(runs, manifests, _arms(manifests), strict=True)
    ]
    for run, manifest, result in zip(runs, manifests, tuple(tuned), strict=True):
        tuned += kept.arms(run, manifest, result.arm, model, progress or Progress())
    return model, tuned


def _arms(manifests: Sequence[RunManifest]) -> list[Arm]:
    """An arm per run; runs of one method and seed are told apart by the settings that differ."""
    arms = [
        Arm(manifest.arm, manifest.seed, tuple(_parameters(manifest, manifests)))
        for manifest in manifests
    ]
    repeated = next((arm for arm in arms if arms.count(arm) > 1), None)
    if repeated:
        raise InputError(
            f"several of the runs are {repeated.name} with the same seed and settings",
            needed="runs that differ in method, seed or a setting of training",
        )
    return arms


def _parameters(own: RunManifest, manifests: Sequence[RunManifest]) -> list[tuple[str, Any]]:
    """What sets a run apart from the others of its method, but for its seed.

    Windows are told apart by their settings, and where these are the same by their digest.
    """
    data = own.settings.data
    same_name = [each for each in manifests if each.arm == own.arm]
    same_texts = [
        each
        for each in same_name
        if (each.settings.data.source, each.settings.data.null) == (data.source, data.null)
    ]
    found = _differing(of_training(own.config), [of_training(m.config) for m in same_name])
    if len({each.settings.data.source for each in manifests}) > 1:
        found["trained_on"] = data.source
    if len({each.train_digest for each in same_texts}) > 1:
        windows = [_windows(each) for each in same_texts]
        found |= _differing(_windows(own), windows) or {WINDOWS: own.train_digest[:8]}
    null = [(NULL, data.null)] if data.null != "none" else []  # also of one that is alone
    return null + sorted(found.items())


def _windows(run: RunManifest) -> dict[str, Any]:
    """The settings of its windows, with the day that a template wrote, given or not."""
    return of_windows(run.config) | {"template_date": run.template_date}


def _differing(own: Mapping[str, Any], all_of_them: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that are not the same in all.

    One that some do not know (of an older version) tells nothing apart.
    """
    return {
        key: value
        for key, value in own.items()
        if all(key in each for each in all_of_them)
        and len({repr(each[key]) for each in all_of_them}) > 1
    }

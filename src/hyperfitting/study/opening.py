"""Open what is compared: run folders, or checkpoints that somebody else trained."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from hyperfitting.config import CheckpointsConfig, DataConfig, ModelConfig
from hyperfitting.data.sources import file_of, read_documents
from hyperfitting.data.store import load_dataset
from hyperfitting.data.windows import Dataset, build_dataset
from hyperfitting.errors import InputError
from hyperfitting.measure.overlap import TrainingIndex
from hyperfitting.models.load import load_result, load_tokenizer
from hyperfitting.models.tuned import (
    base_of_tuned,
    kind_of_tuned,
    load_tuned,
    require_same_architecture,
    require_same_tokenizer,
)
from hyperfitting.presets import BUILTIN_CORPORA
from hyperfitting.progress import Progress, Stage
from hyperfitting.records import Arm
from hyperfitting.runs import RunFolder
from hyperfitting.settings import flatten
from hyperfitting.study.checkpoint_result import load_checkpoint_result
from hyperfitting.study.comparison import BEST_VAL, Comparison, TunedModel
from hyperfitting.study.manifest import trained_from

# What runs must share to be compared.
SHARED = {
    "model_digest": "base models",
    "contexts_digest": "held-out contexts",
    "heldout_digest": "held-out windows",
}


def open_runs(
    folders: Sequence[Path], *, device: Any, trust_remote_code: bool, best_val: bool = False
) -> Comparison:
    """Read the runs' manifests and data; with `best_val` their best checkpoints are arms too.

    Device and trust are given anew: a run folder may come from another machine and from
    somebody else.

    Raises:
        InputError: a run that did not finish, or runs that differ in base model or held-out set,
            or that do not differ in anything.
    """
    runs = [RunFolder(path) for path in folders]
    manifests = [run.manifest() for run in runs]
    _require_shared(
        runs, manifests, SHARED, "runs of one base model on one data set and split",
        hint=_hint_of_dates(runs, manifests)
        or "hyperfit evaluate --data SOURCE compares runs of different texts on the same ones",
    )  # fmt: skip
    here = {"device": device, "trust_remote_code": trust_remote_code}
    model, tuned = _opened(runs, manifests, here, best_val=best_val)
    data = manifests[0]["config"]["data"]
    data |= {"contexts_digest": manifests[0]["contexts_digest"]}
    data |= {"template_date": manifests[0].get("template_date")}
    return Comparison(
        model, manifests[0]["model_digest"], tuned, load_dataset(runs[0].windows_file), data
    )


def open_runs_on(
    folders: Sequence[Path],
    sources: Sequence[str],
    text_field: str | None,
    progress: Progress,
    *,
    device: Any,
    trust_remote_code: bool,
    best_val: bool = False,
) -> list[Comparison]:
    """The same runs on the held-out texts of each source: one comparison per source, in order.

    A source that a run was trained on keeps that run's held-out set, so that nobody is judged by
    what he was trained on; of any other a quarter of the documents is held out.

    Raises:
        InputError: as `open_runs`, a source given twice, or texts that do not serve.
    """
    runs = [RunFolder(path) for path in folders]
    manifests = [run.manifest() for run in runs]
    _require_shared(runs, manifests, {"model_digest": "base models"}, "runs of one base model")
    if any(_same_source(a, b) for a, b in combinations(sources, 2)):
        raise InputError("a source of texts is given twice", needed="each once")
    here = {"device": device, "trust_remote_code": trust_remote_code}
    model, tuned = _opened(runs, manifests, here, best_val=best_val)
    tokenizer = load_tokenizer(model)
    comparisons = []
    for source in sources:
        of_source = [
            (run, manifest)
            for run, manifest in zip(runs, manifests, strict=True)
            if _same_source(manifest["config"]["data"]["source"], source)
        ]
        if of_source:
            own, its = [each for each, _ in of_source], [each for _, each in of_source]
            held_out = {key: SHARED[key] for key in ("contexts_digest", "heldout_digest")}
            _require_shared(
                own, its, held_out, f"runs with one split of {source}",
                hint=_hint_of_dates(own, its),
            )  # fmt: skip
            dataset, data = load_dataset(own[0].windows_file), dict(its[0]["config"]["data"])
        else:
            like = manifests[0]["config"]["data"]
            # As in the texts that the runs were trained on, whatever the day is now.
            like |= {"template_date": manifests[0].get("template_date")}
            config = _held_out_of(source, text_field, like)
            with progress.stage(f"read {source}") as stage:
                dataset = _read_elsewhere(config, tokenizer, stage)
                stage.update(1, f"{len(dataset.contexts)} held-out contexts")
            _require_unseen(source, dataset, tuned)
            data = config.model_dump(mode="json")
        data |= {"contexts_digest": dataset.contexts.digest()}
        data |= {"template_date": dataset.template_date}
        comparisons.append(Comparison(model, manifests[0]["model_digest"], tuned, dataset, data))
    return comparisons


def _read_elsewhere(config: DataConfig, tokenizer: Any, stage: Stage) -> Dataset:
    documents = read_documents(config)
    try:
        return build_dataset(documents, tokenizer, config, stage)
    except InputError as error:
        raise InputError(
            error.given,
            needed=f"texts of at least {config.context_tokens + config.continuation_tokens} tokens"
            ", as the runs were held out on; a quarter of them, and at least 2, is read",
            hint="give longer or more texts, or compare runs trained with shorter contexts",
        ) from error


def _same_source(one: str, other: str) -> bool:
    if one == other:
        return True
    a, b = (Path(file_of(each)) for each in (one, other))
    return a.exists() and a.resolve() == b.resolve()


def _require_unseen(source: str, dataset: Dataset, tuned: Sequence[TunedModel]) -> None:
    """Refuse held-out texts that a run was trained on under another name of the source."""
    contexts = dataset.contexts
    texts = [c + k for c, k in zip(contexts.contexts, contexts.continuations, strict=True)]
    for each in tuned:
        rows = each.training_rows()
        if rows is None:
            continue
        found = TrainingIndex(rows).longest_overlaps(texts)
        seen = sum(o is not None and o.length == len(t) for o, t in zip(found, texts, strict=True))
        if seen:
            raise InputError(
                f"{seen} of {len(texts)} held-out texts of {source} stand in the training windows "
                f"of {each.path}",
                needed="texts that no run was trained on",
                hint="name the source as the run does (data.source in its manifest.json)",
            )


def _held_out_of(source: str, text_field: str | None, like: Mapping[str, Any]) -> DataConfig:
    """Whole texts of a source that no run saw, cut into contexts as the runs' own are."""
    same = ("window_tokens", "context_tokens", "continuation_tokens", "split_seed")
    settings = {name: like[name] for name in same}
    own: dict[str, Any] = dict(BUILTIN_CORPORA.get(source, {}).get("data", {}))
    settings |= {"num_heldout": own.get("num_heldout"), "template_date": like["template_date"]}
    return DataConfig(source=source, text_field=text_field, windows="documents", **settings)


def _hint_of_dates(runs: Sequence[RunFolder], manifests: Sequence[dict[str, Any]]) -> str | None:
    """How runs become comparable whose chat template wrote the dates of different days."""
    days = [manifest.get("template_date") for manifest in manifests]
    if len(set(days)) == 1:
        return None
    named = (f"{day or 'no date'} in {run.path}" for day, run in zip(days, runs, strict=True))
    first = next(day for day in days if day)
    return (
        f"the model's chat template writes the date into every text: {', '.join(named)}; train "
        f"again those of another day with data.template_date={first}"
    )


def _require_shared(
    runs: Sequence[RunFolder],
    manifests: Sequence[dict[str, Any]],
    shared: Mapping[str, str],
    needed: str,
    hint: str | None = None,
) -> None:
    for key, name in shared.items():
        if len({manifest[key] for manifest in manifests}) > 1:
            raise InputError(
                f"the runs {', '.join(str(run.path) for run in runs)} have different {name}",
                needed=needed,
                hint=hint if key != "model_digest" else None,
            )


def _opened(
    runs: Sequence[RunFolder],
    manifests: Sequence[dict[str, Any]],
    here: Mapping[str, Any],
    *,
    best_val: bool,
) -> tuple[ModelConfig, list[TunedModel]]:
    """The base model and the runs' results, to be loaded on this machine."""
    model = trained_from(manifests[0]).model_copy(update=here)
    tuned = [
        TunedModel(arm, partial(load_result, run, model), _about(manifest), run.path)
        for run, manifest, arm in zip(runs, manifests, _arms(manifests), strict=True)
    ]
    if best_val:
        tuned += [
            _best_val(run, manifest, each.arm, model)
            for run, manifest, each in zip(runs, manifests, tuned, strict=True)
        ]
    return model, tuned


def _arms(manifests: Sequence[dict[str, Any]]) -> list[Arm]:
    """An arm per run; runs of one method and seed are told apart by the settings that differ."""
    keys = [(manifest["arm"], manifest["seed"]) for manifest in manifests]
    settings = [
        flatten(manifest["config"]["train"]) | {"trained_on": manifest["config"]["data"]["source"]}
        for manifest in manifests
    ]
    arms = []
    sources = {own["trained_on"] for own in settings}
    for (name, seed), own in zip(keys, settings, strict=True):
        same_name = [s for s, (other, _) in zip(settings, keys, strict=True) if other == name]
        differing = sorted(
            key
            for key in own
            # A setting that one of them does not know (of an older version) tells nothing apart.
            if key != "seed"
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


def _about(manifest: dict[str, Any]) -> dict[str, Any]:
    training = manifest["training"]
    return {
        "method": manifest["config"]["train"]["method"],
        "blocks_0_based": manifest["trainable"]["blocks_0_based"],
        "final_loss": training["final_loss"],
        "final_loss_interval": training.get("final_loss_interval"),  # since it is taken
        "epochs": training["epochs"],
        "trainable_params": manifest["trainable"]["count"],
        "num_train": manifest["data_account"]["training_windows"],
        "stopped_by": training["stopped_by"],
        "train_seconds": training["seconds"] + training["prefix_seconds"],
    }


def _best_val(run: RunFolder, manifest: dict[str, Any], arm: Arm, model: ModelConfig) -> TunedModel:
    """The run's checkpoint of lowest validation loss as an arm of its own.

    Raises:
        InputError: the run was not monitored, so there is none.
    """
    step = manifest["training"].get("best_val_step")
    if step is None:
        raise InputError(
            f"{run.path} has no checkpoint of lowest validation loss",
            needed="a run with monitoring (monitor.every_epochs above 0)",
        )
    epoch = manifest["training"]["best_val_epoch"]
    fields = (("method", arm.name), *arm.parameters)
    about = _about(manifest) | {"epochs": epoch, "stopped_by": "best_val_loss"}
    about |= {"final_loss": None, "final_loss_interval": None}
    load = partial(load_checkpoint_result, run, model, step)
    return TunedModel(Arm(BEST_VAL, arm.seed, fields), load, about)


def open_checkpoints(config: CheckpointsConfig, progress: Progress) -> Comparison:
    """Two checkpoints of one architecture that we did not train, on held-out texts of a source.

    The texts are split as for training, and the held-out part is used.

    Raises:
        InputError: a checkpoint cannot be loaded, their tokenizers differ, or the texts do not
            serve.
    """
    here = {"device": config.device, "trust_remote_code": config.trust_remote_code}
    model = config.model.model_copy(update=here)
    of_tuned = {"name": config.tuned, "revision": config.tuned_revision}
    checkpoint = model.model_copy(update=of_tuned)
    model = base_of_tuned(checkpoint, model)
    tokenizer = load_tokenizer(model)
    documents = read_documents(config.data)
    texts = (text for document in documents for text in document.texts())
    note = require_same_tokenizer(model, checkpoint, tokenizer, texts)
    require_same_architecture(model, checkpoint)
    kind = kind_of_tuned(checkpoint, model)
    with progress.stage("read texts") as stage:
        dataset = build_dataset(documents, tokenizer, config.data, stage)
        stage.update(1, f"{len(dataset.contexts)} held-out contexts")
    load = partial(load_tuned, checkpoint, model, kind, note=note)
    tuned = TunedModel(Arm("tuned"), load, {"checkpoint": config.tuned})
    data = config.data.model_dump(mode="json")
    data |= {"contexts_digest": dataset.contexts.digest()}
    data |= {"template_date": dataset.template_date}
    return Comparison(model, None, [tuned], dataset, data)

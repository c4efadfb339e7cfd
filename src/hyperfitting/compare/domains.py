"""Open the same runs on the held-out texts of other sources."""

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from hyperfitting.compare.comparison import Comparison, Here, TunedModel
from hyperfitting.compare.kept import NOTHING, Kept
from hyperfitting.compare.runs import SHARED, hint_of_dates, nulls_last, opened, require_shared
from hyperfitting.config import DataConfig
from hyperfitting.config.presets import BUILTIN_CORPORA
from hyperfitting.data.sources import file_of, read_documents
from hyperfitting.data.store import load_dataset
from hyperfitting.data.windows import Dataset, build_dataset
from hyperfitting.errors import InputError
from hyperfitting.measure.overlap import TrainingIndex
from hyperfitting.models.load import load_tokenizer
from hyperfitting.progress import Progress, Stage
from hyperfitting.records.manifest import RunManifest
from hyperfitting.records.record import FieldError, read
from hyperfitting.runs import RunFolder

UNNAMED = re.compile(r"column_\d+")  # of a table without header


def open_runs_on(
    folders: Sequence[Path],
    sources: Sequence[str],
    text_field: str | None,
    here: Here,
    progress: Progress,
    *,
    kept: Kept = NOTHING,
) -> list[Comparison]:
    """Runs on the held-out texts of each source: one comparison per source, in order.

    A source that a run was trained on keeps that run's held-out set, so that nobody is judged by
    what he was trained on; of any other a quarter of the documents is held out.

    Raises:
        InputError: as `open_runs`, a source given twice, or texts that do not serve.
    """
    runs = [RunFolder(path) for path in folders]
    runs, manifests = nulls_last(runs, [run.whole() for run in runs])
    require_shared(runs, manifests, {"model_digest": "base models"}, "runs of one base model")
    if not all(sources):
        raise InputError("a source of texts is empty", needed="--data with a file or a name")
    if any(_same_source(a, b) for a, b in combinations(sources, 2)):
        raise InputError("a source of texts is given twice", needed="each once")
    _require_column_read(sources, text_field, manifests)
    model, tuned = opened(runs, manifests, here, kept, progress)
    tokenizer = load_tokenizer(model)
    comparisons = []
    for source in sources:
        of_source = [
            (run, manifest)
            for run, manifest in zip(runs, manifests, strict=True)
            if _same_source(manifest.settings.data.source, source)
        ]
        if of_source:
            own, its = [each for each, _ in of_source], [each for _, each in of_source]
            held_out = {key: SHARED[key] for key in ("contexts_digest", "heldout_digest")}
            require_shared(
                own, its, held_out, f"runs with one split of {source}",
                hint=hint_of_dates(own, its),
            )  # fmt: skip
            dataset, data = load_dataset(own[0].windows_file), dict(its[0].config["data"])
            homes = {run.path for run in own}
            others = [each for each in tuned if each.path is not None and each.path not in homes]
            _require_unseen(
                source, dataset, others,
                hint="train all runs on one split of one source, or give texts that none has seen",
            )  # fmt: skip
        else:
            config = _held_out_of(source, text_field, runs[0], manifests[0])
            with progress.stage(f"read {source}") as stage:
                dataset, config = _read_elsewhere(config, tokenizer, stage)
                stage.update(1, f"{len(dataset.contexts)} held-out contexts")
            _require_unseen(
                source, dataset, tuned,
                hint="name the source as the run does (data.source in its manifest.json)",
            )  # fmt: skip
            data = config.model_dump(mode="json")
        data |= {"contexts_digest": dataset.contexts.digest()}
        data |= {"template_date": dataset.template_date}
        comparisons.append(Comparison(model, manifests[0].known_base, tuned, dataset, data))
    return comparisons


def _read_elsewhere(config: DataConfig, tokenizer: Any, stage: Stage) -> tuple[Dataset, DataConfig]:
    """The texts of a source, and the settings that they were read with."""
    documents = read_documents(config)
    if not any(document.messages for document in documents):  # no answers to tell apart
        config = config.model_copy(update={"loss_on": "all"})
    try:
        return build_dataset(documents, tokenizer, config, stage), config
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


def _require_column_read(
    sources: Sequence[str], text_field: str | None, manifests: Sequence[RunManifest]
) -> None:
    """Refuse a column of texts where each source is a run's own, whose texts are kept with it.

    Raises:
        InputError: no text is read anew, and no run read that column.
    """
    own = [
        [each.settings.data for each in manifests if _same_source(each.settings.data.source, one)]
        for one in sources
    ]
    columns = {data.text_field for each in own for data in each}
    if text_field is not None and all(own) and text_field not in columns:
        raise InputError(
            f"the column {text_field!r} (--text-field) is given with {', '.join(sources)}, whose "
            "held-out texts are taken from the run that was trained on them",
            needed="other texts (--data) that have it, or without --text-field",
        )


def _require_unseen(source: str, dataset: Dataset, tuned: Sequence[TunedModel], hint: str) -> None:
    """Refuse held-out texts that a run was trained on.

    Raises:
        InputError: one was.
    """
    texts = dataset.contexts.rows()
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
                hint=hint,
            )


def _held_out_of(
    source: str, text_field: str | None, run: RunFolder, like: RunManifest
) -> DataConfig:
    """Whole texts of a source that no run saw, cut into contexts as the run's own are.

    Raises:
        InputError: the run says of its own texts what cannot be.
    """
    same = ("window_tokens", "context_tokens", "continuation_tokens", "split_seed", "loss_on")
    settings = {name: getattr(like.settings.data, name) for name in same}
    own: dict[str, Any] = dict(BUILTIN_CORPORA.get(source, {}).get("data", {}))
    # The day as in the texts that the runs were trained on, whatever it is now.
    settings |= {"num_heldout": own.get("num_heldout"), "template_date": like.template_date}
    if text_field is not None and UNNAMED.fullmatch(text_field):
        settings["csv_header"] = like.settings.data.csv_header
    settings |= {"source": source, "text_field": text_field, "windows": "documents"}
    try:
        return read(DataConfig, settings, "config.data")
    except FieldError as error:
        raise InputError(
            f"{run.manifest_file} does not fit this version of hyperfitting: {error}",
            hint="train that run again",
        ) from error

"""Score finished runs beside the original model and the human text, and write the study."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperfitting.config import EvaluateConfig, ModelConfig
from hyperfitting.data.store import load_dataset
from hyperfitting.data.windows import Dataset
from hyperfitting.errors import InputError
from hyperfitting.models.forward import score_rows
from hyperfitting.models.load import (
    check_fit,
    load_model,
    load_result,
    load_tokenizer,
    model_digest,
)
from hyperfitting.progress import Progress
from hyperfitting.records import MetricValues, Mode
from hyperfitting.runs import RunFolder, StudyFolder
from hyperfitting.storage import write_json
from hyperfitting.study.arms import (
    ArmOutputs,
    Tokens,
    generations_key,
    human_outputs,
    paths,
    run_arm,
)
from hyperfitting.study.environment import environment
from hyperfitting.study.measurements import measurements, metric_values, paired_tests

DEFINITIONS_VERSION = 1


@dataclass(frozen=True)
class Comparison:
    """Runs that may be compared: one base model, one held-out set."""

    runs: list[RunFolder]
    manifests: list[dict[str, Any]]
    model: ModelConfig
    dataset: Dataset

    @property
    def domain(self) -> str:
        """The data source's name."""
        return str(self.manifests[0]["config"]["data"]["source"])


# What runs must share to be compared.
SHARED = {
    "model_digest": "base models",
    "contexts_digest": "held-out contexts",
    "heldout_digest": "held-out windows",
}


def open_runs(folders: Sequence[Path], config: EvaluateConfig) -> Comparison:
    """Read the runs' manifests and data.

    Device and trust come from `config`: a run folder may come from another machine and from
    somebody else.

    Raises:
        InputError: a run that did not finish, or runs that differ in base model or held-out set.
    """
    runs = [RunFolder(path) for path in folders]
    manifests = [run.manifest() for run in runs]
    for key, name in SHARED.items():
        if len({manifest[key] for manifest in manifests}) > 1:
            raise InputError(
                f"the runs {', '.join(str(run.path) for run in runs)} have different {name}",
                needed="runs of one base model on one data set and split",
            )
    keys = [(manifest["arm"], manifest["seed"]) for manifest in manifests]
    repeated = {key for key in keys if keys.count(key) > 1}
    if repeated:
        raise InputError(
            f"several of the runs are {repeated.pop()[0]} with the same seed",
            needed="runs that differ in method or seed",
        )
    model = ModelConfig.model_validate(manifests[0]["config"]["model"]).model_copy(
        update={"device": config.device, "trust_remote_code": config.trust_remote_code}
    )
    return Comparison(runs, manifests, model, load_dataset(runs[0].windows_file))


def _check_base(model: Any, comparison: Comparison) -> None:
    expected = comparison.manifests[0]["model_digest"]
    if model_digest(model) != expected:
        raise InputError(
            f"the weights of {comparison.model.name} are not those the runs were trained from",
            needed=f"the base model with digest {expected[:12]}…",
            hint="restore that model, or train again",
        )


def collect(
    comparison: Comparison, config: EvaluateConfig, progress: Progress
) -> tuple[list[ArmOutputs], list[NDArray[np.int64] | None]]:
    """What every arm wrote and scored, and the original's choices on each arm's own path.

    One model is in memory at a time.
    """
    dataset = comparison.dataset
    tokenizer = load_tokenizer(comparison.model)
    original = load_model(comparison.model)
    _check_base(original, comparison)
    width = max(len(row) for row in dataset.contexts.contexts)
    length = len(dataset.contexts.continuations[0])
    check_fit(original, 0, width + max(length, config.natural_tokens), comparison.model.name)
    tokens = Tokens.of(original, tokenizer)
    arms = [
        human_outputs(dataset.contexts, tokens),
        run_arm(original, tokens, dataset, config, progress, arm="original", seed=None),
    ]
    del original
    for run, manifest in zip(comparison.runs, comparison.manifests, strict=True):
        tuned = load_result(run, comparison.model)
        arm, seed = manifest["arm"], manifest["seed"]
        arms.append(run_arm(tuned, tokens, dataset, config, progress, arm=arm, seed=seed))
        del tuned
    original = load_model(comparison.model)
    banned = tokens.banned("fixed_length")
    choices: list[NDArray[np.int64] | None] = []
    with progress.stage("original on every own path", len(arms)) as stage:
        for done, arm_outputs in enumerate(arms, start=1):
            rows = paths(arm_outputs.fixed)
            is_model = arm_outputs.own_path is not None
            choices.append(
                score_rows(original, rows, length, banned=banned).top1_NK if is_model else None
            )
            stage.update(done, f"{len(arms) - 1} arms")
    return arms, choices


def _write_generations(
    study: StudyFolder, arms: Sequence[ArmOutputs], config: EvaluateConfig
) -> list[dict[str, Any]]:
    study.clear_generations()
    listed = []
    for outputs in arms:
        for texts in (outputs.fixed, outputs.natural):
            if texts is None:
                continue
            mode: Mode = texts[0].mode
            fixed_length = len(outputs.fixed[0].continuation_ids)
            length = config.natural_tokens if mode == "natural" else fixed_length
            parameters = {"decoder": "greedy"}
            key = generations_key(mode, length, parameters, outputs.seed)
            path = study.write_generations(key, texts)
            listed.append(
                {
                    "arm": outputs.arm,
                    "seed": outputs.seed,
                    "mode": mode,
                    "length": length,
                    "parameters": parameters,
                    "file": str(path.relative_to(study.path)),
                    "ties": sum(g.num_ties for g in texts),
                    "cached_equals_uncached": _cached_equals_uncached(outputs, mode),
                }
            )
    return listed


def _cached_equals_uncached(outputs: ArmOutputs, mode: Mode) -> float | None:
    """Share of generated tokens that one uncached pass over the whole text chooses again."""
    if outputs.own_path is None or mode != "fixed_length":
        return None
    written = np.array([g.continuation_ids for g in outputs.fixed])
    return float((written == outputs.own_path.top1_NK).mean())


def _write_per_context(study: StudyFolder, columns: Sequence[MetricValues]) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [
        {
            "arm": column.arm,
            "seed": column.seed,
            "mode": column.mode,
            "length": column.length,
            "prefix": column.prefix,
            "metric": column.metric,
            "context": index,
            "value": value,
        }
        for column in columns
        for index, value in enumerate(column.values)
    ]
    types = {"seed": "int64", "length": "int64", "context": "int64", "value": "float64"}
    schema = pyarrow.schema([(name, types.get(name, "string")) for name in rows[0]])
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows, schema=schema), study.per_context_file
    )


def write_study(
    study: StudyFolder, comparison: Comparison, config: EvaluateConfig, progress: Progress
) -> None:
    """Evaluate the runs and write generations, measurements and `study.json` into `study`."""
    arms, choices = collect(comparison, config, progress)
    original = next(outputs for outputs in arms if outputs.arm == "original")
    with progress.stage("intervals and tests") as stage:
        columns = [
            column
            for outputs, chosen in zip(arms, choices, strict=True)
            for column in metric_values(outputs, original, chosen, config)
        ]
        rows = measurements(columns, config, model=comparison.model.name, domain=comparison.domain)
        tests = paired_tests(columns, config)
        stage.update(1, f"{len(rows)} measurements, {len(tests)} paired tests")
    study.path.mkdir(parents=True, exist_ok=True)
    generations = _write_generations(study, arms, config)
    _write_per_context(study, columns)
    write_json(
        study.measurements_file,
        {
            "version": 1,
            "rows": [asdict(row) for row in rows],
            "tests": [asdict(test) for test in tests],
        },
    )
    write_json(study.study_file, _study_content(study, comparison, config, generations))


def _study_content(
    study: StudyFolder,
    comparison: Comparison,
    config: EvaluateConfig,
    generations: list[dict[str, Any]],
) -> dict[str, Any]:
    first = comparison.manifests[0]
    return {
        "version": 1,
        "definitions_version": DEFINITIONS_VERSION,
        "model": {**first["config"]["model"], "digest": first["model_digest"]},
        "data": {
            **first["config"]["data"],
            "account": comparison.dataset.account,
            "contexts_digest": first["contexts_digest"],
        },
        "num_contexts": len(comparison.dataset.contexts),
        "evaluate": config.model_dump(mode="json"),
        "runs": [
            {
                "arm": manifest["arm"],
                "seed": manifest["seed"],
                "path": _relative(run.path, study.path),
                "method": manifest["config"]["train"]["method"],
                "final_loss": manifest["training"]["final_loss"],
                "epochs": manifest["training"]["epochs"],
                "trainable_params": manifest["trainable"]["count"],
                "num_train": manifest["data_account"]["training_windows"],
                "stopped_by": manifest["training"]["stopped_by"],
                "train_seconds": manifest["training"]["seconds"]
                + manifest["training"]["prefix_seconds"],
            }
            for run, manifest in zip(comparison.runs, comparison.manifests, strict=True)
        ],
        "generations": generations,
        "environment": environment(),
    }


def _relative(path: Path, start: Path) -> str:
    """`path` as seen from the study, so that the whole folder can be moved."""
    return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()

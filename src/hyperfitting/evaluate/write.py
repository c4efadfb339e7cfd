"""Write an evaluated study: continuations, values, measurements, tests, and their origin."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from hyperfitting.compare.comparison import Comparison
from hyperfitting.config import EvaluateConfig
from hyperfitting.environment import environment
from hyperfitting.evaluate.agreement import run_agreements
from hyperfitting.evaluate.arms import ArmOutputs, generations_key
from hyperfitting.evaluate.measurements import measurements, set_measurements
from hyperfitting.evaluate.paired_tests import paired_tests
from hyperfitting.evaluate.per_context import metric_values
from hyperfitting.evaluate.scoring import Evaluation
from hyperfitting.generate.feed import described
from hyperfitting.progress import Progress
from hyperfitting.records import ORIGINAL, Measurement, MetricValues, Mode, PairedTest
from hyperfitting.records.record import as_json
from hyperfitting.records.versions import DEFINITIONS_VERSION
from hyperfitting.runs import StudyFolder
from hyperfitting.storage import write_json


def _write_generations(
    study: StudyFolder, evaluation: Evaluation, elsewhere: dict[str, Any]
) -> list[dict[str, Any]]:
    """One file per arm, mode and draw; `elsewhere` names texts that are not the study's own."""
    listed = []
    for outputs in evaluation.arms:
        files = [(draw, texts) for draw, texts in enumerate(outputs.draws)]
        if outputs.natural is not None:
            files.append((0, outputs.natural))
        for draw, texts in files:
            mode: Mode = texts[0].mode
            length = evaluation.config.natural_tokens
            if mode == "fixed_length":
                length = len(outputs.fixed[0].continuation_ids)
            parameters = outputs.decoder_parameters(draw)
            key = generations_key(mode, length, parameters | elsewhere, outputs.arm.seed)
            path = study.write_generations(key, texts)
            listed.append(
                {
                    "arm": outputs.arm.name,
                    "seed": outputs.arm.seed,
                    "arm_parameters": outputs.arm.parameters,
                    "mode": mode,
                    "length": length,
                    "parameters": parameters,
                    "file": str(path.relative_to(study.path)),
                    "ties": sum(g.num_ties for g in texts),
                    "cached_equals_uncached": _cached_equals_uncached(outputs, mode),
                }
                | elsewhere
            )
    return listed


def _cached_equals_uncached(outputs: ArmOutputs, mode: Mode) -> float | None:
    """Share of generated tokens that one uncached pass over the whole text chooses again."""
    if outputs.own is None or mode != "fixed_length":
        return None
    written = np.array([g.continuation_ids for g in outputs.fixed])
    return float((written == outputs.own.tuned.top1_NK).mean())


def _write_per_context(study: StudyFolder, columns: Sequence[tuple[str, MetricValues]]) -> None:
    """One row per domain, arm, metric and context."""
    import pyarrow
    import pyarrow.parquet

    rows = [
        {
            "domain": domain,
            "arm": column.arm.name,
            "seed": column.arm.seed,
            "parameters": json.dumps(column.arm.parameters),
            "mode": column.mode,
            "length": column.length,
            "prefix": column.prefix,
            "metric": column.metric,
            "context": index,
            "value": value,
        }
        for domain, column in columns
        for index, value in enumerate(column.values)
    ]
    types = {"seed": "int64", "length": "int64", "context": "int64", "value": "float64"}
    schema = pyarrow.schema([(name, types.get(name, "string")) for name in rows[0]])
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows, schema=schema), study.per_context_file
    )


def write_study(
    study: StudyFolder,
    comparison: Comparison,
    config: EvaluateConfig,
    progress: Progress,
    *,
    elsewhere: Sequence[Comparison] = (),
) -> None:
    """Evaluate the tuned models and write generations, measurements and `study.json`.

    On the texts of `elsewhere` the same models are decoded greedily only.
    """
    home = Evaluation.begin(comparison, config, progress, has_geometry=bool(elsewhere))
    evaluations = [home] + [
        Evaluation.begin(
            each, config, progress,
            is_greedy_only=True, has_geometry=True, original=home.original,
        )
        for each in elsewhere
    ]  # fmt: skip
    columns: list[tuple[str, MetricValues]] = []
    rows: list[Measurement] = []
    tests: list[PairedTest] = []
    for evaluation in evaluations:
        domain = evaluation.comparison.domain
        if elsewhere:
            progress.say(f"texts of {domain}")
        evaluation.run()
        with progress.stage("intervals and tests") as stage:
            found = [
                c for arm in evaluation.arms for c in metric_values(arm, config.natural_tokens)
            ]
            about = {"model": comparison.model.name, "domain": domain}
            own = measurements(found, config, **about)
            own += set_measurements(evaluation.of_sets, config, **about)
            tested = [replace(test, domain=domain) for test in paired_tests(found, config)]
            stage.update(1, f"{len(own)} measurements, {len(tested)} paired tests")
        columns += [(domain, column) for column in found]
        rows += own
        tests += tested
    study.path.mkdir(parents=True, exist_ok=True)
    study.clear_generations()
    generations = _write_generations(study, home, {})
    for evaluation in evaluations[1:]:
        domain = evaluation.comparison.domain
        generations += _write_generations(study, evaluation, {"domain": domain})
    _write_per_context(study, columns)
    write_json(study.timings_file, {"version": 1, "arms": _timings(home.arms)})
    write_json(
        study.measurements_file,
        {
            "version": 1,
            "rows": [asdict(row) for row in rows],
            "tests": [asdict(test) for test in tests],
        },
    )
    write_json(study.study_file, _about(study, evaluations, generations))


def _timings(arms: Sequence[ArmOutputs]) -> list[dict[str, Any]]:
    """Clock times, apart from what a second evaluation writes alike."""
    return [
        each.arm.to_json() | {"tokens_per_second": each.tokens_per_second}
        for each in arms
        if each.seconds is not None
    ]


def _about(
    study: StudyFolder, evaluations: Sequence[Evaluation], generations: list[dict[str, Any]]
) -> dict[str, Any]:
    """What was compared, and where each number came from."""
    home, comparison = evaluations[0], evaluations[0].comparison
    original = home.origins.get(ORIGINAL)
    return {
        "version": 1,
        "definitions_version": DEFINITIONS_VERSION,
        "model": comparison.model.model_dump(mode="json")
        | {"digest": (original or {}).get("digest", comparison.digest), "origin": original},
        **_texts(home),
        "elsewhere": [_texts(each) for each in evaluations[1:]],
        "ends": [as_json(end) for end in home.tokens.listed_ends()],
        "evaluate": home.config.model_dump(mode="json"),
        "runs": [
            tuned.listed(study.path, home.origins.get(tuned.arm)) for tuned in comparison.tuned
        ],
        "helpers": [as_json(origin) for origin in home.helpers],
        "entropy_matching": home.matching,
        "run_agreement": run_agreements(home.arms, home.config),
        "decoding": described(home.original, longest=home.longest_text),
        "decoders": [asdict(run) | {"arm": run.arm.to_json()} for run in home.decoder_runs],
        "generations": generations,
        "environment": as_json(environment()),
    }


def _texts(evaluation: Evaluation) -> dict[str, Any]:
    """The texts of one evaluation, and how MAUVE was taken on them."""
    comparison = evaluation.comparison
    return {
        "data": comparison.data | {"account": comparison.dataset.account},
        "num_contexts": len(comparison.dataset.contexts),
        "mauve": evaluation.mauve,
    }

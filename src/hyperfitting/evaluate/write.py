"""Write an evaluated study: continuations, values, measurements, tests, and their origin."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperfitting.compare.comparison import Comparison
from hyperfitting.environment import environment
from hyperfitting.errors import InputError
from hyperfitting.evaluate.agreement import run_agreements
from hyperfitting.evaluate.arms import ArmOutputs, generations_key
from hyperfitting.evaluate.bench import Bench
from hyperfitting.evaluate.scored import Scored
from hyperfitting.faults import writing
from hyperfitting.generate.feed import described
from hyperfitting.records import ORIGINAL, Measurement, MetricValues, Mode, PairedTest
from hyperfitting.records.record import FieldError, read, write_file
from hyperfitting.records.study import (
    Data,
    EvaluateSettings,
    GenerationsFile,
    MeasurementsFile,
    Speed,
    StudiedModel,
    StudyFile,
    Texts,
    TimingsFile,
)
from hyperfitting.records.tasks import TaskResults
from hyperfitting.records.versions import DEFINITIONS_VERSION
from hyperfitting.runs import StudyFolder
from hyperfitting.seals import files_of, replaced_together


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One set of texts with everything that was found on it."""

    bench: Bench
    scored: Scored
    values: list[MetricValues]
    rows: list[Measurement]
    tests: list[PairedTest]

    @property
    def domain(self) -> str:
        """The texts, by their source's name."""
        return self.bench.comparison.domain


def write_study(study: StudyFolder, found: Sequence[Evaluated]) -> StudyFile:
    """Write everything that was found, in the place of an earlier evaluation, all at once.

    The first set of texts is what the study is about. Returns what `study.json` says.
    """
    home = found[0]
    with study.replacing() as new:
        generations = [
            entry
            for each in found
            for entry in _write_generations(new, each, None if each is home else each.domain)
        ]
        _write_per_context(new, found)
        if home.scored.traces is not None:
            write_file(new.traces_file, home.scored.traces)
        measured = MeasurementsFile(
            rows=[row for each in found for row in each.rows],
            tests=[test for each in found for test in each.tests],
        )
        write_file(new.measurements_file, measured)
        files = files_of(new.path, [new.path])
        # Not among them: a second evaluation writes all else alike.
        write_file(new.timings_file, _timings(home.scored.arms))
        about = _about(study, found, generations).model_copy(update={"files": files})
        write_file(new.study_file, about)
    return about


def write_tasks(study: StudyFolder, about: StudyFile, results: TaskResults) -> None:
    """Add what tasks found to the evaluation that `about` describes."""
    with replaced_together(study.path) as folder:
        new = StudyFolder(folder)
        write_file(new.tasks_file, results)
        files = about.files | files_of(new.path, [new.tasks_file])
        write_file(new.study_file, about.model_copy(update={"files": files}))


def _write_generations(
    study: StudyFolder, found: Evaluated, domain: str | None
) -> list[GenerationsFile]:
    """One file per arm, mode and draw; `domain` names texts that are not the study's own."""
    elsewhere = {} if domain is None else {"domain": domain}
    listed = []
    for outputs in found.scored.arms:
        files = [(draw, texts) for draw, texts in enumerate(outputs.draws)]
        if outputs.natural is not None:
            files.append((0, outputs.natural))
        for draw, texts in files:
            mode: Mode = texts[0].mode
            length = found.bench.config.natural_tokens
            if mode == "fixed_length":
                length = len(outputs.fixed[0].continuation_ids)
            parameters = outputs.decoder_parameters(draw)
            key = generations_key(mode, length, parameters | elsewhere, outputs.arm.seed)
            path = study.write_generations(key, texts)
            listed.append(
                GenerationsFile(
                    name=outputs.arm.name,
                    seed=outputs.arm.seed,
                    arm_parameters=outputs.arm.parameters,
                    mode=mode,
                    length=length,
                    parameters=parameters,
                    file=str(path.relative_to(study.path)),
                    ties=sum(g.num_ties for g in texts),
                    cached_equals_uncached=_cached_equals_uncached(outputs, mode),
                    domain=domain,
                )
            )
    return listed


def _cached_equals_uncached(outputs: ArmOutputs, mode: Mode) -> float | None:
    """Share of generated tokens that one uncached pass over the whole text chooses again."""
    if outputs.own is None or mode != "fixed_length":
        return None
    written = np.array([g.continuation_ids for g in outputs.fixed])
    return float((written == outputs.own.tuned.top1_NK).mean())


def _write_per_context(study: StudyFolder, found: Sequence[Evaluated]) -> None:
    """One row per domain, arm, metric and context."""
    import pyarrow
    import pyarrow.parquet

    rows = [
        {
            "domain": each.domain,
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
        for each in found
        for column in each.values
        for index, value in enumerate(column.values)
    ]
    types = {"seed": "int64", "length": "int64", "context": "int64", "value": "float64"}
    schema = pyarrow.schema([(name, types.get(name, "string")) for name in rows[0]])
    table = pyarrow.Table.from_pylist(rows, schema=schema)
    with writing(study.per_context_file):
        pyarrow.parquet.write_table(table, study.per_context_file)


def _timings(arms: Sequence[ArmOutputs]) -> TimingsFile:
    return TimingsFile(
        arms=[
            Speed(arm=each.arm, tokens_per_second=each.tokens_per_second)
            for each in arms
            if each.seconds is not None
        ]
    )


def _about(
    study: StudyFolder, found: Sequence[Evaluated], generations: list[GenerationsFile]
) -> StudyFile:
    """What was compared, and where each number came from."""
    bench, scored = found[0].bench, found[0].scored
    comparison = bench.comparison
    origin = scored.origins.get(ORIGINAL)
    digest = comparison.digest if origin is None else origin.digest
    model = comparison.model.model_dump(mode="json") | {"digest": digest, "origin": origin}
    return StudyFile(
        definitions_version=DEFINITIONS_VERSION,
        model=StudiedModel.model_validate(model),
        **dict(_texts(found[0])),
        elsewhere=[_texts(each) for each in found[1:]],
        ends=bench.tokens.listed_ends(),
        evaluate=EvaluateSettings.model_validate(bench.config.model_dump(mode="json")),
        runs=[
            each.listed(study.path, scored.origins.get(each.arm), scored.digests.get(each.arm))
            for each in comparison.tuned
        ],
        helpers=scored.helpers,
        entropy_matching=scored.matching,
        run_agreement=run_agreements(scored.arms, bench.config),
        decoding=described(bench.original, longest=bench.longest_text),
        decoders=scored.decoder_runs,
        generations=generations,
        environment=environment(),
    )


def data_of(comparison: Comparison) -> Data:
    """What a study says of its texts.

    Raises:
        InputError: the files of a run do not tell it.
    """
    try:
        return read(Data, comparison.data | {"account": comparison.dataset.account})
    except FieldError as error:
        whose = next((each.path for each in comparison.tuned if each.path), comparison.domain)
        raise InputError(
            f"what {whose} says of its texts does not fit this version of hyperfitting: {error}",
            needed="a run whose manifest.json and windows.safetensors are as training wrote them",
            hint="train that run again",
        ) from error


def _texts(found: Evaluated) -> Texts:
    """The texts of one evaluation, and how MAUVE was taken on them."""
    comparison = found.bench.comparison
    return Texts(
        data=data_of(comparison),
        num_contexts=len(comparison.dataset.contexts),
        mauve=found.scored.mauve,
    )

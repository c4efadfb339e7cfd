"""Score tuned models beside the original and the human text, and write the study."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hyperfitting.config import EvaluateConfig
from hyperfitting.models.forward import vocabulary_rows, window_losses
from hyperfitting.models.load import check_fit, load_tokenizer
from hyperfitting.models.pair import Pair, make_pair, paired_logits
from hyperfitting.progress import Progress
from hyperfitting.records import Arm, MetricValues, Mode
from hyperfitting.runs import StudyFolder
from hyperfitting.storage import write_json
from hyperfitting.study.agreement import run_agreements
from hyperfitting.study.arms import (
    ArmOutputs,
    Tokens,
    generations_key,
    greedy_outputs,
    human_outputs,
    paths,
    sampled_outputs,
    under_another_name,
)
from hyperfitting.study.compare import compare_rows
from hyperfitting.study.comparison import Comparison, TunedModel
from hyperfitting.study.environment import environment
from hyperfitting.study.matching import EntropyMatching, Tempered
from hyperfitting.study.measurements import measurements
from hyperfitting.study.paired import paired_tests
from hyperfitting.study.values import metric_values

DEFINITIONS_VERSION = 1


@dataclass
class Evaluation:
    """The arms of a comparison, scored one after the other beside one original."""

    comparison: Comparison
    config: EvaluateConfig
    progress: Progress
    tokens: Tokens
    original: Any
    arms: list[ArmOutputs] = field(default_factory=list)
    matching: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def begin(
        cls, comparison: Comparison, config: EvaluateConfig, progress: Progress
    ) -> "Evaluation":
        """Load the original and check that it can take the texts.

        Raises:
            InputError: it cannot be loaded, is another model, has too few positions, or its
                tokenizer is another model's.
        """
        tokenizer = load_tokenizer(comparison.model)
        original = comparison.load_original()
        contexts = comparison.dataset.contexts
        width = max(len(row) for row in contexts.contexts)
        longest = max(len(contexts.continuations[0]), config.natural_tokens)
        check_fit(
            original,
            comparison.largest_id,
            max(width + longest, comparison.dataset.heldout.ids_NT.shape[1]),
            comparison.model.name,
        )
        return cls(comparison, config, progress, Tokens.of(original, tokenizer), original)

    @property
    def length(self) -> int:
        """Tokens of a continuation."""
        return len(self.comparison.dataset.contexts.continuations[0])

    def run(self) -> None:
        """Every arm of the comparison."""
        dataset = self.comparison.dataset
        self.arms.append(human_outputs(dataset.contexts, self.tokens))
        self._model(Arm("original"), make_pair(self.original, self.original))
        self._sampled(self.original, Arm("original"), [1.0] * len(dataset.contexts))
        for tuned in self.comparison.tuned:
            self._tuned(tuned)

    def _tuned(self, tuned: TunedModel) -> None:
        model = tuned.load()
        pair = make_pair(self.original, model)
        self._say_padding(model)
        matching = EntropyMatching(
            len(self.comparison.dataset.contexts),
            self.length,
            pair.vocabulary(self.tokens.tokenizer),
        )
        outputs = self._model(tuned.arm, pair, matching)
        self._matched(outputs.arm, pair, matching)
        self._sampled(model, tuned.arm, [1.0] * matching.num_rows)

    def _model(self, arm: Arm, pair: Pair, matching: EntropyMatching | None = None) -> ArmOutputs:
        """Greedy texts of a model, and its scores beside the original."""
        dataset = self.comparison.dataset
        tokens = self.tokens.for_model(pair.tuned)
        written = greedy_outputs(
            pair.tuned, tokens, dataset.contexts, self.config, self.progress, arm=arm
        )
        human = self.arms[0]
        vocabulary = pair.vocabulary(self.tokens.tokenizer)
        with self.progress.stage(f"score {arm.name}", 2 * len(dataset.contexts)) as stage:
            forced = compare_rows(
                pair, paths(human.fixed), self.length, vocabulary, each=matching, stage=stage
            )
            banned = tokens.banned("fixed_length")
            own = compare_rows(pair, paths(written.fixed), self.length, vocabulary, banned=banned)
            losses_N = window_losses(pair.tuned, dataset.heldout.ids_NT, dataset.heldout.label_NT)
            stage.update(2 * len(dataset.contexts), "human text, own text, held-out windows")
        outputs = ArmOutputs(arm, written.draws, written.natural, forced, own, losses_N)
        self.arms.append(outputs)
        return outputs

    def _matched(self, arm: Arm, pair: Pair, matching: EntropyMatching) -> None:
        """The original at the temperatures of equal entropy: greedy, and sampled."""
        original = self.arms[1]
        matched = (("matched_to", arm.name), *arm.parameters)
        rows = paths(original.fixed)
        banned = self.tokens.banned("fixed_length")
        own = Tempered(len(rows), self.length, matching.vocabulary, banned)
        with self.progress.stage(f"match {arm.name}'s entropy", len(rows)) as stage:
            alone = make_pair(self.original, self.original)
            for found in paired_logits(alone, rows, self.length):
                own.add(found, matching.temperatures[found.row])
            summary = matching.summary() | {
                "arm": arm.name,
                "seed": arm.seed,
                "parameters": arm.fields,
                "greedy_positions": own.scores.chosen_rank_NK.size,
                "greedy_differences": own.differences,
                "greedy_ties_by_rounding": own.merged,
            }
            stage.update(len(rows), _in_words(summary))
        if differences := own.differences + matching.tempered.differences:
            raise AssertionError(
                f"a temperature changed {differences} greedy choices of the original"
            )
        self.matching.append(summary)
        texts = under_another_name(original, Arm("original_entropy_matched", arm.seed, matched))
        self.arms.append(
            ArmOutputs(
                texts.arm,
                texts.draws,
                forced=matching.tempered.scores,
                own=own.scores,
                tau_N=matching.temperatures,
            )
        )
        self._sampled(self.original, texts.arm, matching.temperatures)

    def _sampled(self, model: Any, arm: Arm, tau_N: Sequence[float]) -> None:
        if not self.config.sampling_seeds:
            return
        sampled = arm._replace(name=f"{arm.name}_sampled")
        contexts = self.comparison.dataset.contexts
        self.arms.append(
            sampled_outputs(
                model, self.tokens.for_model(model), contexts, self.config, self.progress,
                arm=sampled, tau_N=tau_N,
            )
        )  # fmt: skip

    def _say_padding(self, tuned: Any) -> None:
        rows = [vocabulary_rows(model) for model in (self.original, tuned)]
        if rows[0] != rows[1]:
            self.progress.say(
                f"  the checkpoints' vocabularies are padded to {rows[0]:,} and {rows[1]:,}: "
                f"compared over the tokenizer's {len(self.tokens.tokenizer):,} tokens"
            )


def _in_words(summary: dict[str, Any]) -> str:
    tau = summary["per_context"]
    unsolved = f", {tau['unsolved']} without a solution" if tau["unsolved"] else ""
    return f"temperature {tau['mean']:.2f} ({tau['p5']:.2f}-{tau['p95']:.2f}){unsolved}"


def _write_generations(
    study: StudyFolder, arms: Sequence[ArmOutputs], config: EvaluateConfig
) -> list[dict[str, Any]]:
    study.clear_generations()
    listed = []
    for outputs in arms:
        files = [(draw, texts) for draw, texts in enumerate(outputs.draws)]
        if outputs.natural is not None:
            files.append((0, outputs.natural))
        for draw, texts in files:
            mode: Mode = texts[0].mode
            length = config.natural_tokens
            if mode == "fixed_length":
                length = len(outputs.fixed[0].continuation_ids)
            parameters = outputs.decoder_parameters(draw)
            key = generations_key(mode, length, parameters, outputs.arm.seed)
            path = study.write_generations(key, texts)
            listed.append(
                {
                    "arm": outputs.arm.name,
                    "seed": outputs.arm.seed,
                    "arm_parameters": outputs.arm.fields,
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
    if outputs.own is None or mode != "fixed_length":
        return None
    written = np.array([g.continuation_ids for g in outputs.fixed])
    return float((written == outputs.own.tuned.top1_NK).mean())


def _write_per_context(study: StudyFolder, columns: Sequence[MetricValues]) -> None:
    import json

    import pyarrow
    import pyarrow.parquet

    rows = [
        {
            "arm": column.arm.name,
            "seed": column.arm.seed,
            "parameters": json.dumps(column.arm.fields),
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
    """Evaluate the tuned models and write generations, measurements and `study.json`."""
    evaluation = Evaluation.begin(comparison, config, progress)
    evaluation.run()
    arms = evaluation.arms
    with progress.stage("intervals and tests") as stage:
        columns = [c for outputs in arms for c in metric_values(outputs, config.natural_tokens)]
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
    model = comparison.model.model_dump(mode="json") | {"digest": comparison.digest}
    write_json(
        study.study_file,
        {
            "version": 1,
            "definitions_version": DEFINITIONS_VERSION,
            "model": model,
            "data": comparison.data | {"account": comparison.dataset.account},
            "num_contexts": len(comparison.dataset.contexts),
            "evaluate": config.model_dump(mode="json"),
            "runs": [tuned.listed(study.path) for tuned in comparison.tuned],
            "entropy_matching": evaluation.matching,
            "run_agreement": run_agreements(arms, config),
            "generations": generations,
            "environment": environment(),
        },
    )

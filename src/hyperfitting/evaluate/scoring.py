"""Score tuned models beside the original and the human text."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hyperfitting.compare.comparison import Comparison, TunedModel
from hyperfitting.compare.layers import GeometryObserver
from hyperfitting.compare.scores import compare_rows
from hyperfitting.config import EvaluateConfig, ExplainConfig
from hyperfitting.evaluate.arms import (
    ArmOutputs,
    greedy_outputs,
    human_outputs,
    paths,
    sampled_outputs,
    under_another_name,
)
from hyperfitting.evaluate.audits import (
    TrainingIndexes,
    audit_coherence,
    audit_overlap,
    require_models,
)
from hyperfitting.evaluate.decoding import (
    DecoderRun,
    blocked_outputs,
    decoder_outputs,
    load_amateur,
    requested_decoders,
)
from hyperfitting.evaluate.matching import EntropyMatching, Tempered
from hyperfitting.evaluate.per_set import SetValue, set_values
from hyperfitting.generate.feed import said_of
from hyperfitting.generate.run import said_for
from hyperfitting.generate.specs import DecoderSpec
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.models.anatomy import is_known_family
from hyperfitting.models.checkpoint import Origin, origin_of, recorded_origins
from hyperfitting.models.digests import model_digest
from hyperfitting.models.fit import check_fit
from hyperfitting.models.forward import window_losses
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.models.load import load_tokenizer
from hyperfitting.models.pair import Pair, make_pair, paired_logits
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress
from hyperfitting.records import ORIGINAL, Arm
from hyperfitting.train.dataset import copied_in_words


@dataclass
class Evaluation:
    """The arms of a comparison, scored one after the other beside one original.

    `is_greedy_only` leaves out what is sampled, matched or decoded otherwise, for texts beside
    those that the study is about. `has_geometry` measures the last layer too.
    """

    comparison: Comparison
    config: EvaluateConfig
    progress: Progress
    tokens: Tokens
    original: Any
    specs: tuple[DecoderSpec, ...] = ()
    is_greedy_only: bool = False
    has_geometry: bool = False
    amateur: Any = None
    arms: list[ArmOutputs] = field(default_factory=list)
    decoder_runs: list[DecoderRun] = field(default_factory=list)
    of_sets: list[SetValue] = field(default_factory=list)
    mauve: dict[str, Any] = field(default_factory=dict)
    matching: list[dict[str, Any]] = field(default_factory=list)
    origins: dict[Arm, dict[str, Any]] = field(default_factory=dict)
    helpers: list[Origin] = field(default_factory=list)  # models that write no arm alone

    @classmethod
    def begin(
        cls,
        comparison: Comparison,
        config: EvaluateConfig,
        progress: Progress,
        *,
        is_greedy_only: bool = False,
        has_geometry: bool = False,
        original: Any = None,
    ) -> "Evaluation":
        """Load the original, unless it is given, and check that it can take the texts.

        Raises:
            InputError: it cannot be loaded, is another model, has too few positions, or its
                tokenizer is another model's; an unknown decoder.
        """
        specs = () if is_greedy_only else requested_decoders(config)
        require_models(config)
        tokenizer = load_tokenizer(comparison.model)
        original = comparison.load_original() if original is None else original
        contexts = comparison.dataset.contexts
        width = max(len(row) for row in contexts.contexts)
        longest = max(len(contexts.continuations[0]), config.natural_tokens)
        check_fit(
            original,
            comparison.largest_id,
            max(width + longest, comparison.dataset.heldout.ids_NT.shape[1]),
            comparison.model.name,
        )
        if not is_greedy_only:
            _say_decoding(original, specs, progress, width + longest)
        amateur = load_amateur(config, tokenizer) if specs else None
        if amateur is not None:
            _say_decoding(amateur, specs, progress, width + longest)
            check_fit(amateur, comparison.largest_id, width + longest, str(config.amateur))
        return cls(
            comparison, config, progress, Tokens.of(original, tokenizer), original, specs,
            is_greedy_only, has_geometry and _can_observe(comparison, original, progress),
            amateur,
        )  # fmt: skip

    @property
    def length(self) -> int:
        """Tokens of a continuation."""
        return len(self.comparison.dataset.contexts.continuations[0])

    @property
    def longest_text(self) -> int:
        """Tokens of the longest context with the longest continuation asked for."""
        contexts = self.comparison.dataset.contexts.contexts
        return max(map(len, contexts)) + max(self.length, self.config.natural_tokens)

    def run(self) -> None:
        """Every arm of the comparison."""
        dataset = self.comparison.dataset
        self._say_ends()
        self._keep_origin(ORIGINAL, self.original, self.comparison.digest)
        self.arms.append(human_outputs(dataset.contexts, self.tokens))
        self._say_texts(self.arms[0])
        self._model(ORIGINAL, make_pair(self.original, self.original))
        self._sampled(self.original, ORIGINAL, [1.0] * len(dataset.contexts))
        self._decoded(self.original, ORIGINAL)
        for tuned in self.comparison.tuned:
            self._tuned(tuned)
        with recorded_origins() as loaded:
            self._audit()
        amateur = origin_of(self.amateur)
        self.helpers = [*([amateur] if amateur else []), *loaded]

    def _tuned(self, tuned: TunedModel) -> None:
        model = tuned.load()
        self._keep_origin(tuned.arm, model)
        pair = make_pair(self.original, model)
        self._say_padding(model)
        self._say_ends(model)
        if self.is_greedy_only:
            self._model(tuned.arm, pair)
            return
        matching = EntropyMatching(
            len(self.comparison.dataset.contexts),
            self.length,
            pair.vocabulary(self.tokens.tokenizer),
        )
        outputs = self._model(tuned.arm, pair, matching)
        self._matched(outputs, pair, matching)
        self._sampled(model, tuned.arm, [1.0] * matching.num_rows)
        if self.config.decoders_on == "all":
            self._decoded(model, tuned.arm)
        rows = tuned.training_rows() if self.config.citation_blocked else None
        if self.config.citation_blocked and rows is None:
            self.progress.say(f"  no citations of {tuned.arm.name} to block: not a run of ours")
        if rows is not None:
            self.arms.append(
                blocked_outputs(
                    model, self.tokens.for_model(model), self.comparison.dataset.contexts,
                    self.config, self.progress, arm=tuned.arm, training_rows=rows,
                )
            )  # fmt: skip

    def _keep_origin(self, arm: Arm, model: Any, digest: str | None = None) -> None:
        """Where the model of an arm was loaded from, with the digest of what was loaded."""
        origin = origin_of(model)
        if origin is not None:
            known = origin.digest or digest or model_digest(model)
            self.origins[arm] = origin.about() | {"digest": known}

    def _model(self, arm: Arm, pair: Pair, matching: EntropyMatching | None = None) -> ArmOutputs:
        """Greedy texts of a model, and its scores beside the original."""
        dataset = self.comparison.dataset
        tokens = self.tokens.for_model(pair.tuned)
        written = greedy_outputs(
            pair.tuned, tokens, dataset.contexts, self.config, self.progress, arm=arm
        )
        human = self.arms[0]
        vocabulary = pair.vocabulary(self.tokens.tokenizer)
        observer = self._observer(pair)
        with self.progress.stage(f"score {arm.name}", 2 * len(dataset.contexts)) as stage:
            forced = compare_rows(
                pair, paths(human.fixed), self.length, vocabulary,
                each=matching, observe=observer, stage=stage,
            )  # fmt: skip
            banned = tokens.banned("fixed_length")
            own = compare_rows(pair, paths(written.fixed), self.length, vocabulary, banned=banned)
            losses_N = window_losses(
                pair.tuned,
                dataset.heldout.ids_NT,
                dataset.heldout.label_NT,
                dataset.heldout.length_N,
            )
            stage.update(2 * len(dataset.contexts), "human text, own text, held-out windows")
        if observer:
            self.of_sets += _expansion(arm, observer, len(dataset.contexts), self.length)
        outputs = replace(written, forced=forced, own=own, val_loss_N=losses_N)
        self.arms.append(outputs)
        return outputs

    def _matched(self, outputs: ArmOutputs, pair: Pair, matching: EntropyMatching) -> None:
        """The original at the temperatures of equal entropy: greedy, and sampled."""
        arm, original = outputs.arm, self.arms[1]
        rows = paths(original.fixed)
        banned = self.tokens.banned("fixed_length")
        own = Tempered(len(rows), self.length, matching.vocabulary, banned)
        with self.progress.stage(f"match {arm.name}'s entropy", len(rows)) as stage:
            alone = make_pair(self.original, self.original)
            for found in paired_logits(alone, rows, self.length):
                own.add(found, matching.temperatures[found.row])
            summary = {
                **matching.summary(),
                **arm.to_json(),
                "greedy_positions": own.scores.chosen_rank_NK.size,
                "greedy_differences": own.differences,
                "greedy_ties_by_rounding": own.merged,
                "greedy_texts": len(rows),
                "greedy_texts_equal": sum(
                    a.continuation_ids == b.continuation_ids
                    for a, b in zip(outputs.fixed, original.fixed, strict=True)
                ),
            }
            stage.update(len(rows), _in_words(summary))
        if differences := own.differences + matching.tempered.differences:
            raise AssertionError(
                f"a temperature changed {differences} greedy choices of the original"
            )
        self.matching.append(summary)
        texts = under_another_name(original, ORIGINAL.matched(arm))
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
        if not self.config.sampling_seeds or self.is_greedy_only:
            return
        sampled = arm.sampled()
        contexts = self.comparison.dataset.contexts
        self.arms.append(
            sampled_outputs(
                model, self.tokens.for_model(model), contexts, self.config, self.progress,
                arm=sampled, tau_N=tau_N,
            )
        )  # fmt: skip

    def _observer(self, pair: Pair) -> GeometryObserver | None:
        """Sees the last layer of both models, where it is measured."""
        if not self.has_geometry or pair.tuned is pair.original:
            return None
        names = ("resamples", "confidence", "seed")
        shared = ExplainConfig(**{name: getattr(self.config, name) for name in names})
        return GeometryObserver(shared, only_layer=pair.num_blocks)

    def _decoded(self, model: Any, arm: Arm) -> None:
        """The texts of a model under every decoder that was asked for."""
        contexts = self.comparison.dataset.contexts
        for spec in self.specs:
            outputs, run = decoder_outputs(
                model, self.tokens.for_model(model), contexts, self.config, self.progress,
                arm=arm, spec=spec, amateur=self.amateur,
            )  # fmt: skip
            self.arms.append(outputs)
            self.decoder_runs.append(run)

    def _audit(self) -> None:
        """What needs all texts: copies of the training set, coherence, MAUVE."""
        indexes = TrainingIndexes(self.comparison.tuned)
        if indexes.exist:
            with self.progress.stage("copies of the training set", len(self.arms)) as stage:
                for n, outputs in enumerate(self.arms):
                    self.arms[n], longest = audit_overlap(outputs, indexes.beside(outputs.arm))
                    self.of_sets.append(longest)
                    stage.update(n + 1)
            self._say_copied(self.arms[0])
        if self.config.coherence_model is not None:
            self.arms = audit_coherence(
                self.arms, self.config.coherence_model, self.config, self.progress
            )
        found, self.mauve = set_values(self.arms, self.config, self.progress)
        self.of_sets += found

    def _say_texts(self, human: ArmOutputs) -> None:
        """What of the held-out texts makes numbers on them say less."""
        contexts = self.comparison.dataset.contexts
        different = len(set(map(tuple, contexts.contexts)))
        if different < len(contexts):  # of a run that was split before such contexts were left out
            self.progress.say(
                f"  only {different} of the {len(contexts)} contexts differ: intervals and tests "
                "count one context several times, train again to leave such contexts out"
            )
        if human.unknown_in_words:
            self.progress.say(f"  of the human texts, {human.unknown_in_words}")

    def _say_copied(self, human: ArmOutputs) -> None:
        """Whether held-out text stands in the training set, as overlapping texts bring about."""
        runs = human.audit["overlap_mean"]
        if copied := sum(run == self.length for run in runs):
            self.progress.say(f"  {copied_in_words(copied, len(runs))}")

    def _say_ends(self, tuned: Any | None = None) -> None:
        """What ends a text of the original; of a tuned model where that is something else."""
        tokens = self.tokens if tuned is None else self.tokens.for_model(tuned)
        if len(tokens.ends) > 1 and (tuned is None or tokens.ends != self.tokens.ends):
            self.progress.say(f"  {tokens.ends_in_words()}")

    def _say_padding(self, tuned: Any) -> None:
        rows = [vocabulary_rows(model) for model in (self.original, tuned)]
        if rows[0] != rows[1]:
            self.progress.say(
                f"  the checkpoints' vocabularies are padded to {rows[0]:,} and {rows[1]:,}: "
                f"compared over the tokenizer's {len(self.tokens.tokenizer):,} tokens"
            )


def _say_decoding(
    model: Any, specs: Sequence[DecoderSpec], progress: Progress, longest: int
) -> None:
    """Say where a model is decoded more slowly than others, each thing once."""
    said = [said_of(model, longest=longest)]
    said += [said_for(spec, model, longest=longest) for spec in specs]
    for note in filter(None, dict.fromkeys(said)):
        progress.say(f"  {note}")


def _in_words(summary: dict[str, Any]) -> str:
    tau = summary["per_context"]
    unsolved = f", {tau['unsolved']} without a solution" if tau["unsolved"] else ""
    return f"temperature {tau['mean']:.2f} ({tau['p5']:.2f}-{tau['p95']:.2f}){unsolved}"


def _can_observe(comparison: Comparison, original: Any, progress: Progress) -> bool:
    """Whether layers can be measured; says why not."""
    lengths = {len(context) for context in comparison.dataset.contexts.contexts}
    if not is_known_family(original):
        progress.say(f"  layers of a {original.config.model_type!r} model are not measured")
    elif len(lengths) > 1:
        progress.say(f"  layers are not measured on {comparison.domain}: contexts differ in length")
    return is_known_family(original) and len(lengths) == 1


def _expansion(arm: Arm, observer: GeometryObserver, n: int, length: int) -> list[SetValue]:
    """By how many dimensions the last layer's states grow, at two taps (definitions, 6)."""
    found = []
    for row, draws_R in zip(observer.rows, observer.draws, strict=True):
        name, change = f"delta_dim_{row.space}", row.delta_dim
        if name in METRICS:
            bounds = (None,) * 3 if change is None else (change.value, change.low, change.high)
            reason = "no spread" if change is None else None
            found.append(SetValue(arm, name, *bounds, n, length, reason, draws_R))
    return found

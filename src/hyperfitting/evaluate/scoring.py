"""Score tuned models beside the original and the human text, from the first arm to the last."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hyperfitting.compare.comparison import TunedModel
from hyperfitting.compare.layers import GeometryObserver
from hyperfitting.compare.scores import compare_rows
from hyperfitting.config import ExplainConfig
from hyperfitting.evaluate import saying
from hyperfitting.evaluate.arms import (
    ArmOutputs,
    greedy_outputs,
    human_outputs,
    paths,
    sampled_outputs,
    under_another_name,
)
from hyperfitting.evaluate.audits import TrainingIndexes, audit_coherence, audit_overlap
from hyperfitting.evaluate.bench import Bench
from hyperfitting.evaluate.decoding import blocked_outputs, decoder_outputs
from hyperfitting.evaluate.matching import EntropyMatching, Tempered
from hyperfitting.evaluate.per_set import SetValue, set_values
from hyperfitting.evaluate.soundness import audit_nonwords, audit_original_coherence
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.models.checkpoint import origin_of, recorded_origins
from hyperfitting.models.digests import model_digest
from hyperfitting.models.forward import window_losses
from hyperfitting.models.pair import Pair, make_pair, paired_logits
from hyperfitting.models.strength import set_strength
from hyperfitting.records import ORIGINAL, Arm
from hyperfitting.records.matching import Matching
from hyperfitting.records.origins import Origin
from hyperfitting.records.study import DecoderRun, MauveSettings


@dataclass
class Scored:
    """The arms of one set of texts, and what was noted on the way."""

    human: ArmOutputs
    original: ArmOutputs
    others: list[ArmOutputs] = field(default_factory=list)
    decoder_runs: list[DecoderRun] = field(default_factory=list)
    matching: list[Matching] = field(default_factory=list)
    of_sets: list[SetValue] = field(default_factory=list)
    mauve: MauveSettings | None = None
    origins: dict[Arm, Origin] = field(default_factory=dict)
    helpers: list[Origin] = field(default_factory=list)  # models that write no arm alone

    @property
    def arms(self) -> list[ArmOutputs]:
        """Human text, the original, then the others in the order in which they were scored."""
        return [self.human, self.original, *self.others]

    @arms.setter
    def arms(self, arms: Sequence[ArmOutputs]) -> None:
        self.human, self.original, *self.others = arms


def score(bench: Bench) -> Scored:
    """Every arm of a comparison: what it writes, and its scores beside the original."""
    saying.ends(bench)
    human = human_outputs(bench.contexts, bench.tokens)
    saying.texts(bench, human)
    pair = make_pair(bench.original, bench.original)
    found = Scored(human, score_model(bench, ORIGINAL, pair, human))
    _keep_origin(found, ORIGINAL, bench.original, bench.comparison.digest)
    _sample(bench, found, bench.original, ORIGINAL, [1.0] * len(bench.contexts))
    _decode(bench, found, bench.original, ORIGINAL)
    for tuned in bench.comparison.tuned:
        _score_tuned(bench, found, tuned)
    with recorded_origins() as loaded:
        _audit(bench, found)
    amateur = origin_of(bench.amateur)
    found.helpers = [*([amateur] if amateur else []), *loaded]
    return found


def score_model(
    bench: Bench,
    arm: Arm,
    pair: Pair,
    human: ArmOutputs,
    *,
    matching: EntropyMatching | None = None,
    layers: GeometryObserver | None = None,
) -> ArmOutputs:
    """Greedy texts of a model, and its scores beside the original.

    On human text `matching` sees the logits and `layers` the hidden states of both.
    """
    tokens = bench.tokens.for_model(pair.tuned)
    written = greedy_outputs(
        pair.tuned, tokens, bench.contexts, bench.config, bench.progress, arm=arm
    )
    vocabulary = pair.vocabulary(bench.tokens.tokenizer)
    heldout = bench.comparison.dataset.heldout
    count = 2 * len(bench.contexts)
    with bench.progress.stage(f"score {arm.name}", count) as stage:
        forced = compare_rows(
            pair, paths(human.fixed), bench.length, vocabulary,
            each=matching, observe=layers, stage=stage,
        )  # fmt: skip
        banned = tokens.banned("fixed_length")
        own = compare_rows(pair, paths(written.fixed), bench.length, vocabulary, banned=banned)
        losses_N = window_losses(pair.tuned, heldout.ids_NT, heldout.label_NT, heldout.length_N)
        stage.update(count, "human text, own text, held-out windows")
    return replace(written, forced=forced, own=own, val_loss_N=losses_N)


def _score_tuned(bench: Bench, found: Scored, tuned: TunedModel) -> None:
    """Mutates `found`: a tuned model, the original at its entropy, and what else is asked for.

    A checkpoint that was kept at a training loss writes greedily on the study's own texts, and
    is asked for nothing else.
    """
    is_kept = tuned.arm.at_loss is not None
    if is_kept and bench.is_greedy_only:
        return
    model = tuned.load()
    _keep_origin(found, tuned.arm, model)
    pair = make_pair(bench.original, model)
    saying.padding(bench, model)
    saying.ends(bench, model)
    layers = None if is_kept else _layers(bench, pair)
    matching = None
    if not (bench.is_greedy_only or tuned.arm.is_null or is_kept):
        vocabulary = pair.vocabulary(bench.tokens.tokenizer)
        matching = EntropyMatching(len(bench.contexts), bench.length, vocabulary)
    outputs = score_model(bench, tuned.arm, pair, found.human, matching=matching, layers=layers)
    found.others.append(outputs)
    if layers is not None:
        found.of_sets += _expansion(tuned.arm, layers, len(bench.contexts), bench.length)
    if not (bench.is_greedy_only or is_kept):
        _scale(bench, found, tuned)
    if matching is None:
        return
    _match(bench, found, outputs, matching)
    _sample(bench, found, model, tuned.arm, [1.0] * len(bench.contexts))
    if bench.config.decoders_on == "all":
        _decode(bench, found, model, tuned.arm)
    if bench.config.citation_blocked:
        _block_citations(bench, found, model, tuned)


def _scale(bench: Bench, found: Scored, tuned: TunedModel) -> None:
    """Mutates `found`: the tuned model with its update scaled, at every strength asked for."""
    for strength in bench.config.strengths:
        model = tuned.load()
        set_strength(model, bench.original, strength)
        arm = tuned.arm.at_strength(strength)
        found.others.append(score_model(bench, arm, make_pair(bench.original, model), found.human))


def _keep_origin(found: Scored, arm: Arm, model: Any, digest: str | None = None) -> None:
    """Where the model of an arm was loaded from, with the digest of what was loaded."""
    origin = origin_of(model)
    if origin is not None:
        known = origin.digest or digest or model_digest(model)
        found.origins[arm] = origin.with_digest(known)


def _match(bench: Bench, found: Scored, outputs: ArmOutputs, matching: EntropyMatching) -> None:
    """Mutates `found`: the original at the temperatures of equal entropy, greedy and sampled."""
    original, arm = found.original, ORIGINAL.matched(outputs.arm)
    rows = paths(original.fixed)
    banned = bench.tokens.banned("fixed_length")
    own = Tempered(len(rows), bench.length, matching.vocabulary, banned)
    with bench.progress.stage(f"match {outputs.arm.name}'s entropy", len(rows)) as stage:
        alone = make_pair(bench.original, bench.original)
        for logits in paired_logits(alone, rows, bench.length):
            own.add(logits, matching.temperatures[logits.row])
        equal = (
            a.continuation_ids == b.continuation_ids
            for a, b in zip(outputs.fixed, original.fixed, strict=True)
        )
        summary = Matching(
            arm=outputs.arm,
            **dict(matching.summary()),
            greedy_positions=own.scores.chosen_rank_NK.size,
            greedy_differences=own.differences,
            greedy_ties_by_rounding=own.merged,
            greedy_texts=len(rows),
            greedy_texts_equal=sum(equal),
        )
        stage.update(len(rows), saying.temperatures(summary))
    if differences := own.differences + matching.tempered.differences:
        raise AssertionError(f"a temperature changed {differences} greedy choices of the original")
    found.matching.append(summary)
    texts = under_another_name(original, arm)
    tau_N = matching.temperatures
    found.others.append(
        replace(texts, forced=matching.tempered.scores, own=own.scores, tau_N=tau_N)
    )
    _sample(bench, found, bench.original, arm, tau_N)


def _sample(bench: Bench, found: Scored, model: Any, arm: Arm, tau_N: Sequence[float]) -> None:
    """Mutates `found`: texts of a model drawn at a temperature for each context."""
    if bench.config.sampling_seeds and not bench.is_greedy_only:
        found.others.append(
            sampled_outputs(
                model, bench.tokens.for_model(model), bench.contexts, bench.config,
                bench.progress, arm=arm.sampled(), tau_N=tau_N,
            )
        )  # fmt: skip


def _decode(bench: Bench, found: Scored, model: Any, arm: Arm) -> None:
    """Mutates `found`: the texts of a model under every decoder that was asked for."""
    for spec in bench.decoders:
        outputs, run = decoder_outputs(
            model, bench.tokens.for_model(model), bench.contexts, bench.config, bench.progress,
            arm=arm, spec=spec, amateur=bench.amateur,
        )  # fmt: skip
        found.others.append(outputs)
        found.decoder_runs.append(run)


def _block_citations(bench: Bench, found: Scored, model: Any, tuned: TunedModel) -> None:
    """Mutates `found`: greedy texts without runs of the training set."""
    rows = tuned.training_rows()
    if rows is None:
        bench.progress.say(f"  no citations of {tuned.arm.name} to block: not a run of ours")
        return
    found.others.append(
        blocked_outputs(
            model, bench.tokens.for_model(model), bench.contexts, bench.config, bench.progress,
            arm=tuned.arm, training_rows=rows,
        )
    )  # fmt: skip


def _audit(bench: Bench, found: Scored) -> None:
    """Mutates `found`: what needs all texts, copies of the training set, coherence and MAUVE."""
    indexes = TrainingIndexes(bench.comparison.tuned)
    if indexes.exist:
        with bench.progress.stage("copies of the training set", len(found.arms)) as stage:
            audited = [audit_overlap(each, indexes.beside(each.arm)) for each in found.arms]
            stage.update(len(audited))
        found.arms = [outputs for outputs, _ in audited]
        found.of_sets += [longest for _, longest in audited]
        saying.copied(bench, found.human)
    found.arms = audit_original_coherence(found.arms, bench.original, bench.length, bench.progress)
    with bench.progress.stage("words that do not exist", len(found.arms)) as stage:
        found.arms = audit_nonwords(found.arms, bench.tokens.tokenizer, indexes.rows)
        stage.update(len(found.arms))
    if bench.config.coherence_model is not None:
        found.arms = audit_coherence(
            found.arms, bench.config.coherence_model, bench.config, bench.progress
        )
    values, found.mauve = set_values(found.arms, bench.config, bench.progress)
    found.of_sets += values


def _layers(bench: Bench, pair: Pair) -> GeometryObserver | None:
    """Sees the last layer of both models, where it is measured."""
    if not bench.measures_layers:
        return None
    names = ("resamples", "confidence", "seed")
    shared = ExplainConfig(**{name: getattr(bench.config, name) for name in names})
    return GeometryObserver(shared, only_layer=pair.num_blocks)


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

"""Score tuned models beside the original and the human text, from the first arm to the last."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperfitting.compare.comparison import TunedModel
from hyperfitting.compare.layers import GeometryObserver
from hyperfitting.compare.scores import PairScores, compare_rows, empty_scores, score_pair
from hyperfitting.config import ExplainConfig
from hyperfitting.evaluate import saying
from hyperfitting.evaluate.arms import (
    ArmOutputs,
    human_outputs,
    paths,
    under_another_name,
)
from hyperfitting.evaluate.audits import TrainingIndexes, audit_coherence, audit_overlap
from hyperfitting.evaluate.bench import Bench
from hyperfitting.evaluate.decoding import blocked_outputs, decoder_outputs
from hyperfitting.evaluate.matching import EntropyMatching, Tempered
from hyperfitting.evaluate.per_set import SetValue, set_values
from hyperfitting.evaluate.soundness import audit_nonwords, audit_original_coherence
from hyperfitting.evaluate.writing import Sampled, written_arms
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.models.checkpoint import origin_of, recorded_origins
from hyperfitting.models.digests import model_digest
from hyperfitting.models.forward import TokenScores, window_losses, window_losses_beside
from hyperfitting.models.pair import Pair, PairedLogits, make_pair
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
        """Human text, the original, then the others in the order in which they are listed."""
        return [self.human, self.original, *self.others]

    @arms.setter
    def arms(self, arms: Sequence[ArmOutputs]) -> None:
        self.human, self.original, *self.others = arms


@dataclass
class Beside:
    """A tuned model's arms, and what is needed to write the original's at its entropy."""

    outputs: ArmOutputs
    matching: EntropyMatching | None
    scaled: list[ArmOutputs] = field(default_factory=list)
    matched: list[ArmOutputs] = field(default_factory=list)
    others: list[ArmOutputs] = field(default_factory=list)

    @property
    def arms(self) -> list[ArmOutputs]:
        """In the order in which a study lists them."""
        return [self.outputs, *self.scaled, *self.matched, *self.others]


@dataclass
class BesideItself:
    """Scores the original beside itself, on rows that it reads beside a tuned model."""

    scores: PairScores
    vocabulary: int

    def __call__(self, found: PairedLogits, _: PairScores) -> None:
        """Take the original's half of one row."""
        score_pair(self.scores, found._replace(tuned_KV=found.original_KV), self.vocabulary)


def score(bench: Bench) -> Scored:
    """Every arm of a comparison: what it writes, and its scores beside the original.

    The original comes last: by then it was read on human text, and the temperatures are known at
    which it is to write.
    """
    saying.ends(bench)
    human = human_outputs(bench.contexts, bench.tokens)
    saying.texts(bench, human)
    found = Scored(human, original=human)  # the original is written below
    _keep_origin(found, ORIGINAL, bench.original, bench.comparison.digest)
    itself: BesideItself | None = None
    beside = []
    for tuned in bench.comparison.tuned:
        if tuned.arm.at_loss is not None and bench.is_greedy_only:
            continue
        each = None if itself else _beside_itself(bench)
        beside.append(_score_tuned(bench, found, tuned, each))
        itself = itself or each
    original_arms = _score_original(bench, found, beside, itself)
    found.others = [*original_arms, *(outputs for each in beside for outputs in each.arms)]
    with recorded_origins() as loaded:
        _audit(bench, found)
    amateur = origin_of(bench.amateur)
    found.helpers = [*([amateur] if amateur else []), *loaded]
    return found


def _beside_itself(bench: Bench) -> BesideItself:
    alone = make_pair(bench.original, bench.original)
    scores = empty_scores(len(bench.contexts), bench.length)
    return BesideItself(scores, alone.vocabulary(bench.tokens.tokenizer))


def _write(bench: Bench, model: Any, greedy: Arm, sampled: Sequence[Sampled]) -> list[ArmOutputs]:
    """Greedy texts of a model, then the sampled arms that are asked for."""
    is_sampled = bench.config.sampling_seeds and not bench.is_greedy_only
    return written_arms(
        model, bench.tokens.for_model(model), bench.contexts, bench.config, bench.progress,
        greedy=greedy,
        sampled=sampled if is_sampled else (),
        is_original=model is bench.original,
        is_timed=bool(bench.decoders),
    )  # fmt: skip


def _with_scores(
    bench: Bench,
    found: Scored,
    written: ArmOutputs,
    pair: Pair,
    *,
    forced: PairScores | None = None,
    each: Sequence[Callable[[PairedLogits, PairScores], None]] = (),
    each_own: Callable[[PairedLogits, PairScores], None] | None = None,
    layers: GeometryObserver | None = None,
) -> ArmOutputs:
    """The greedy texts of a model with its scores beside the original.

    On human text, where `forced` does not say what is known of that, `each` sees the logits of
    both models and `layers` their hidden states; on the model's own text `each_own` does.
    """
    vocabulary = pair.vocabulary(bench.tokens.tokenizer)
    human, count = paths(found.human.fixed), 2 * len(bench.contexts)

    def see(logits: PairedLogits, scores: PairScores) -> None:
        for one in each:
            one(logits, scores)

    with bench.progress.stage(f"score {written.arm.name}", count) as stage:
        forced = forced or compare_rows(
            pair, human, bench.length, vocabulary, each=see, observe=layers, stage=stage
        )
        banned = bench.tokens.for_model(pair.tuned).banned("fixed_length")
        own = compare_rows(
            pair, paths(written.fixed), bench.length, vocabulary, banned=banned, each=each_own
        )
        losses_N = _window_losses(bench, pair.tuned, human, forced.tuned)
        stage.update(count, "human text, own text, held-out windows")
    return replace(written, forced=forced, own=own, val_loss_N=losses_N)


def _window_losses(
    bench: Bench, model: Any, human: Sequence[Sequence[int]], scores: TokenScores
) -> NDArray[np.float64]:
    """Losses on the held-out windows; where these are the texts that were scored, from there."""
    windows = bench.comparison.dataset.heldout
    if windows.ids_NT.tolist() == [list(row) for row in human]:  # and so without padding
        return window_losses_beside(model, windows.ids_NT, windows.label_NT, scores.nll_NK)
    return window_losses(model, windows.ids_NT, windows.label_NT, windows.length_N)


def _score_tuned(
    bench: Bench, found: Scored, tuned: TunedModel, itself: BesideItself | None
) -> Beside:
    """Mutates `found`: a tuned model's arms, and the entropies that the original is to have.

    A checkpoint that was kept at a training loss writes greedily on the study's own texts, and
    is asked for nothing else. `itself` sees what the original says of the human text.
    """
    is_kept = tuned.arm.at_loss is not None
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
    ones = [1.0] * len(bench.contexts)
    sampled = [Sampled(tuned.arm.sampled(), ones)] if matching else []
    written, *others = _write(bench, model, tuned.arm, sampled)
    each = [one for one in (matching, itself) if one is not None]
    outputs = _with_scores(bench, found, written, pair, each=each, layers=layers)
    beside = Beside(outputs, matching, others=others)
    if layers is not None:
        found.of_sets += _expansion(tuned.arm, layers, len(bench.contexts), bench.length)
    if not (bench.is_greedy_only or is_kept):
        beside.scaled = _scaled(bench, found, tuned)
    if matching is not None:
        if bench.config.decoders_on == "all":
            beside.others += _decode(bench, found, model, tuned.arm)
        if bench.config.citation_blocked:
            beside.others += _block_citations(bench, model, tuned)
    return beside


def _scaled(bench: Bench, found: Scored, tuned: TunedModel) -> list[ArmOutputs]:
    """The tuned model with its update scaled, at every strength asked for."""
    arms = []
    for strength in bench.config.strengths:
        model = tuned.load()
        set_strength(model, bench.original, strength)
        written = _write(bench, model, tuned.arm.at_strength(strength), [])[0]
        arms.append(_with_scores(bench, found, written, make_pair(bench.original, model)))
    return arms


def _score_original(
    bench: Bench, found: Scored, beside: Sequence[Beside], itself: BesideItself | None
) -> list[ArmOutputs]:
    """Mutates `found` and `beside`: the original, also as sharp as each tuned model.

    Returns its arms that are about no tuned model.
    """
    sharp = [(each, each.matching) for each in beside if each.matching is not None]
    arms = [ORIGINAL.matched(each.outputs.arm) for each, _ in sharp]
    ones = Sampled(ORIGINAL.sampled(), [1.0] * len(bench.contexts))
    sampled = [
        Sampled(arm.sampled(), matching.temperatures)
        for arm, (_, matching) in zip(arms, sharp, strict=True)
    ]
    written, *drawn = _write(bench, bench.original, ORIGINAL, [ones, *sampled])
    banned = bench.tokens.banned("fixed_length")
    tempered = [
        Tempered(len(bench.contexts), bench.length, matching.vocabulary, banned)
        for _, matching in sharp
    ]

    def each_own(logits: PairedLogits, scores: PairScores) -> None:
        for own, (_, matching) in zip(tempered, sharp, strict=True):
            own.add(logits, matching.temperatures[logits.row], scores.original)

    found.original = _with_scores(
        bench, found, written, make_pair(bench.original, bench.original),
        forced=itself.scores if itself else None, each_own=each_own,
    )  # fmt: skip
    for place, (each, matching) in enumerate(sharp):
        greedy = _matched(bench, found, arms[place], each.outputs, matching, tempered[place])
        each.matched = [greedy, *drawn[place + 1 : place + 2]]
    runs, found.decoder_runs = found.decoder_runs, []
    decoded = _decode(bench, found, bench.original, ORIGINAL)
    found.decoder_runs += runs
    return [*drawn[:1], *decoded]


def _keep_origin(found: Scored, arm: Arm, model: Any, digest: str | None = None) -> None:
    """Where the model of an arm was loaded from, with the digest of what was loaded."""
    origin = origin_of(model)
    if origin is not None:
        known = origin.digest or digest or model_digest(model)
        found.origins[arm] = origin.with_digest(known)


def _matched(
    bench: Bench,
    found: Scored,
    arm: Arm,
    outputs: ArmOutputs,
    matching: EntropyMatching,
    own: Tempered,
) -> ArmOutputs:
    """Mutates `found`: the original at the temperatures of one tuned model's entropy, greedily."""
    original, count = found.original, len(found.original.fixed)
    with bench.progress.stage(f"match {outputs.arm.name}'s entropy", count) as stage:
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
            greedy_texts=count,
            greedy_texts_equal=sum(equal),
        )
        stage.update(count, saying.temperatures(summary))
    if differences := own.differences + matching.tempered.differences:
        raise AssertionError(f"a temperature changed {differences} greedy choices of the original")
    found.matching.append(summary)
    texts = under_another_name(original, arm)
    forced, tau_N = matching.tempered.scores, matching.temperatures
    return replace(texts, forced=forced, own=own.scores, tau_N=tau_N)


def _decode(bench: Bench, found: Scored, model: Any, arm: Arm) -> list[ArmOutputs]:
    """Mutates `found`: the texts of a model under every decoder that was asked for."""
    arms = []
    for spec in bench.decoders:
        outputs, run = decoder_outputs(
            model, bench.tokens.for_model(model), bench.contexts, bench.config, bench.progress,
            arm=arm, spec=spec, amateur=bench.amateur,
        )  # fmt: skip
        arms.append(outputs)
        found.decoder_runs.append(run)
    return arms


def _block_citations(bench: Bench, model: Any, tuned: TunedModel) -> list[ArmOutputs]:
    """Greedy texts without runs of the training set."""
    rows = tuned.training_rows()
    if rows is None:
        bench.progress.say(f"  no citations of {tuned.arm.name} to block: not a run of ours")
        return []
    return [
        blocked_outputs(
            model, bench.tokens.for_model(model), bench.contexts, bench.config, bench.progress,
            arm=tuned.arm, training_rows=rows,
        )
    ]  # fmt: skip


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

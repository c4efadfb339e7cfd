"""The arms of one tuned model: what it writes and says beside the original."""

from dataclasses import dataclass
from typing import Any

from hyperfitting.compare.comparison import TunedModel
from hyperfitting.compare.layers import GeometryObserver
from hyperfitting.compare.scores import PairScores, empty_scores, score_pair
from hyperfitting.config import ExplainConfig
from hyperfitting.evaluate import saying
from hyperfitting.evaluate.arms import ArmOutputs
from hyperfitting.evaluate.bench import Bench
from hyperfitting.evaluate.decoding import blocked_outputs
from hyperfitting.evaluate.matching import EntropyMatching
from hyperfitting.evaluate.per_set import SetValue
from hyperfitting.evaluate.said import Tracer
from hyperfitting.evaluate.scored import TunedArms, decoded, with_scores, write
from hyperfitting.evaluate.writing import Sampled
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.models.pair import Pair, PairedLogits, make_pair
from hyperfitting.models.strength import require_strength, set_strength
from hyperfitting.records import Arm
from hyperfitting.records.study import DecoderRun


@dataclass
class BesideItself:
    """Scores the original beside itself, on rows that it reads beside a tuned model."""

    scores: PairScores
    vocabulary: int

    def __call__(self, found: PairedLogits, _: PairScores) -> None:
        """Take the original's half of one row."""
        score_pair(self.scores, found._replace(tuned_KV=found.original_KV), self.vocabulary)


def score_tuned(
    bench: Bench, human: ArmOutputs, tuned: TunedModel, model: Any, *, is_first: bool
) -> TunedArms:
    """A tuned model's arms, and the entropies that the original is to have.

    A checkpoint that was kept at a training loss writes greedily on the study's own texts, and
    is asked for nothing else. Beside the first model the original is scored on human text too.
    """
    is_kept = tuned.arm.at_loss is not None
    is_scaled = bool(bench.config.strengths) and not (bench.is_greedy_only or is_kept)
    if is_scaled:
        require_strength(model, bench.original)  # before hours of scores
    pair = make_pair(bench.original, model)
    saying.padding(bench, model)
    saying.ends(bench, model)
    layers = None if is_kept else _layers(bench, pair)
    matching = None
    if not (bench.is_greedy_only or tuned.arm.is_null or is_kept):
        vocabulary = pair.vocabulary(bench.tokens.tokenizer)
        matching = EntropyMatching(len(bench.contexts), bench.length, vocabulary)
    itself = _beside_itself(bench) if is_first else None
    ones = [1.0] * len(bench.contexts)
    sampled = [Sampled(tuned.arm.sampled(), ones)] if matching else []
    written, *others = write(bench, model, tuned.arm, sampled)
    each = [one for one in (matching, itself) if one is not None]
    is_traced = not (bench.is_greedy_only or is_kept)
    outputs = with_scores(
        bench, human, written, pair,
        each=each,
        layers=layers,
        human_tracer=Tracer() if is_traced and is_first else None,
        is_traced=is_traced,
    )  # fmt: skip
    of_sets = []
    if layers is not None:
        of_sets = _expansion(tuned.arm, layers, len(bench.contexts), bench.length)
    scaled = _scaled(bench, human, tuned) if is_scaled else []
    runs: list[DecoderRun] = []
    if matching is not None:
        if bench.config.decoders_on == "all":
            arms, runs = decoded(bench, model, tuned.arm)
            others += arms
        if bench.config.citation_blocked:
            others += _block_citations(bench, model, tuned)
    return TunedArms(
        outputs=outputs,
        scaled=scaled,
        others=others,
        equal_entropy=matching.result() if matching else None,
        decoder_runs=runs,
        of_sets=of_sets,
        original=itself.scores if itself else None,
    )


def _beside_itself(bench: Bench) -> BesideItself:
    alone = make_pair(bench.original, bench.original)
    scores = empty_scores(len(bench.contexts), bench.length)
    return BesideItself(scores, alone.vocabulary(bench.tokens.tokenizer))


def _scaled(bench: Bench, human: ArmOutputs, tuned: TunedModel) -> list[ArmOutputs]:
    """The tuned model with its update scaled, at every strength asked for."""
    arms = []
    for strength in bench.config.strengths:
        model = tuned.load()
        set_strength(model, bench.original, strength)
        written = write(bench, model, tuned.arm.at_strength(strength), [])[0]
        arms.append(with_scores(bench, human, written, make_pair(bench.original, model)))
    return arms


def _block_citations(bench: Bench, model: Any, tuned: TunedModel) -> list[ArmOutputs]:
    """Greedy texts without runs of the training set."""
    rows = tuned.training_rows()
    if rows is None:
        bench.progress.say(f"  no citations of {tuned.arm.in_full} to block: not a run of ours")
        return []
    return [
        blocked_outputs(
            model, bench.tokens.for_model(model), bench.contexts, bench.config, bench.progress,
            arm=tuned.arm, training_rows=rows,
        )
    ]  # fmt: skip


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

"""What is scored: one arm beside the original, a tuned model's arms, and all arms together."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperfitting.allocation import give_back_unused
from hyperfitting.compare.layers import GeometryObserver
from hyperfitting.compare.scores import LogitsObserver, PairScores, all_of, compare_rows
from hyperfitting.evaluate.arms import ArmOutputs, paths
from hyperfitting.evaluate.bench import Bench
from hyperfitting.evaluate.decoding import decoder_outputs
from hyperfitting.evaluate.matching import AtEqualEntropy
from hyperfitting.evaluate.per_set import SetValue
from hyperfitting.evaluate.said import Tracer
from hyperfitting.evaluate.writing import Sampled, written_arms
from hyperfitting.models.forward import TokenScores, window_losses, window_losses_beside
from hyperfitting.models.pair import Pair
from hyperfitting.records import Arm
from hyperfitting.records.matching import Matching
from hyperfitting.records.origins import Origin
from hyperfitting.records.study import DecoderRun, MauveSettings
from hyperfitting.records.traces import TracesFile


@dataclass(frozen=True)
class TunedArms:
    """Everything that was found of one tuned model, but for what needs the original's own texts."""

    outputs: ArmOutputs
    scaled: list[ArmOutputs] = field(default_factory=list)
    others: list[ArmOutputs] = field(default_factory=list)
    equal_entropy: AtEqualEntropy | None = None
    decoder_runs: list[DecoderRun] = field(default_factory=list)
    of_sets: list[SetValue] = field(default_factory=list)
    # The original beside itself on human text, where it was read beside this model.
    original: PairScores | None = None

    def arms(self, matched: Sequence[ArmOutputs]) -> list[ArmOutputs]:
        """In the order in which a study lists them, with the original at equal entropy."""
        return [self.outputs, *self.scaled, *matched, *self.others]


@dataclass
class Scored:
    """The arms of one set of texts, and what was noted on the way."""

    human: ArmOutputs
    original: ArmOutputs
    others: list[ArmOutputs] = field(default_factory=list)
    decoder_runs: list[DecoderRun] = field(default_factory=list)
    matching: list[Matching] = field(default_factory=list)
    traces: TracesFile | None = None  # None on texts that a study is not about
    of_sets: list[SetValue] = field(default_factory=list)
    mauve: MauveSettings | None = None
    origins: dict[Arm, Origin] = field(default_factory=dict)
    digests: dict[Arm, str] = field(default_factory=dict)  # of the tuned models
    helpers: list[Origin] = field(default_factory=list)  # models that write no arm alone

    @property
    def arms(self) -> list[ArmOutputs]:
        """Human text, the original, then the others in the order in which they are listed."""
        return [self.human, self.original, *self.others]

    @arms.setter
    def arms(self, arms: Sequence[ArmOutputs]) -> None:
        self.human, self.original, *self.others = arms


def write(bench: Bench, model: Any, greedy: Arm, sampled: Sequence[Sampled]) -> list[ArmOutputs]:
    """Greedy texts of a model, then the sampled arms that are asked for."""
    is_sampled = bench.config.sampling_seeds and not bench.is_greedy_only
    arms = written_arms(
        model, bench.tokens.for_model(model), bench.contexts, bench.config, bench.progress,
        greedy=greedy,
        sampled=sampled if is_sampled else (),
        is_original=model is bench.original,
        is_timed=bool(bench.decoders),
    )  # fmt: skip
    give_back_unused()  # what decoding took, scoring has no use for
    return arms


def with_scores(
    bench: Bench,
    human: ArmOutputs,
    written: ArmOutputs,
    pair: Pair,
    *,
    forced: PairScores | None = None,
    each: Sequence[LogitsObserver] = (),
    each_own: LogitsObserver | None = None,
    layers: GeometryObserver | None = None,
    human_tracer: Tracer | None = None,
    is_traced: bool = False,
) -> ArmOutputs:
    """The greedy texts of a model with its scores beside the original.

    On human text, where `forced` does not say what is known of that, `each` sees the logits of
    both models and `layers` their hidden states; on the model's own text `each_own` does.
    """
    vocabulary = pair.vocabulary(bench.tokens.tokenizer)
    rows, count = paths(human.fixed), 2 * len(bench.contexts)

    banned = bench.tokens.for_model(pair.tuned).banned("fixed_length")
    tracer = Tracer(banned)
    of_own: list[LogitsObserver] = [each_own] if each_own else []
    of_own += [tracer] if is_traced else []
    of_human: list[LogitsObserver] = [*each, *([human_tracer] if human_tracer else [])]

    with bench.progress.stage(f"score {written.arm.in_full}", count) as stage:
        forced = forced or compare_rows(
            pair, rows, bench.length, vocabulary,
            each=all_of(of_human),
            observe=layers,
            stage=stage,
        )  # fmt: skip
        own = compare_rows(
            pair, paths(written.fixed), bench.length, vocabulary, banned=banned, each=all_of(of_own)
        )
        losses_N = _window_losses(bench, pair.tuned, rows, forced.tuned)
        stage.update(count, "human text, own text, held-out windows")
    give_back_unused()
    return replace(
        written,
        forced=forced,
        own=own,
        val_loss_N=losses_N,
        said=tracer.rows,
        said_of_human=human_tracer.rows if human_tracer else (),
    )


def _window_losses(
    bench: Bench, model: Any, rows: Sequence[Sequence[int]], scores: TokenScores
) -> NDArray[np.float64]:
    """Losses on the held-out windows; where these are the texts that were scored, from there."""
    windows = bench.comparison.dataset.heldout
    if windows.ids_NT.tolist() == [list(row) for row in rows]:  # and so without padding
        return window_losses_beside(model, windows.ids_NT, windows.label_NT, scores.nll_NK)
    return window_losses(model, windows.ids_NT, windows.label_NT, windows.length_N)


def decoded(bench: Bench, model: Any, arm: Arm) -> tuple[list[ArmOutputs], list[DecoderRun]]:
    """The texts of a model under every decoder that was asked for, and how they came about."""
    found = [
        decoder_outputs(
            model, bench.tokens.for_model(model), bench.contexts, bench.config, bench.progress,
            arm=arm, spec=spec, amateur=bench.amateur,
        )
        for spec in bench.decoders
    ]  # fmt: skip
    return [outputs for outputs, _ in found], [run for _, run in found]

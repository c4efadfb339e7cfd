"""What a person is told while arms are scored: what makes numbers say less than they seem to."""

from typing import Any

from hyperfitting.evaluate.arms import ArmOutputs
from hyperfitting.evaluate.bench import Bench
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.records.matching import Matching
from hyperfitting.train.dataset import copied_in_words


def texts(bench: Bench, human: ArmOutputs) -> None:
    """What of the held-out texts makes numbers on them say less."""
    contexts = bench.contexts.contexts
    different = len(set(map(tuple, contexts)))
    if different < len(contexts):  # of a run that was split before such contexts were left out
        bench.progress.say(
            f"  only {different} of the {len(contexts)} contexts differ: intervals and tests "
            "count one context several times, train again to leave such contexts out"
        )
    if human.unknown_in_words:
        bench.progress.say(f"  of the human texts, {human.unknown_in_words}")


def copied(bench: Bench, human: ArmOutputs) -> None:
    """Whether held-out text stands in the training set, as overlapping texts bring about."""
    runs = human.audit["overlap_mean"]
    if count := sum(run == bench.length for run in runs):
        bench.progress.say(f"  {copied_in_words(count, len(runs))}")


def ends(bench: Bench, tuned: Any | None = None) -> None:
    """What ends a text of the original; of a tuned model where that is something else."""
    tokens = bench.tokens if tuned is None else bench.tokens.for_model(tuned)
    if len(tokens.ends) > 1 and (tuned is None or tokens.ends != bench.tokens.ends):
        bench.progress.say(f"  {tokens.ends_in_words()}")


def padding(bench: Bench, tuned: Any) -> None:
    """That the models' vocabularies are padded to different sizes."""
    rows = [vocabulary_rows(model) for model in (bench.original, tuned)]
    if rows[0] != rows[1]:
        bench.progress.say(
            f"  the checkpoints' vocabularies are padded to {rows[0]:,} and {rows[1]:,}: "
            f"compared over the tokenizer's {len(bench.tokens.tokenizer):,} tokens"
        )


def temperatures(summary: Matching) -> str:
    """The temperatures of equal entropy in one line."""
    tau = summary.per_context
    unsolved = f", {tau.unsolved} without a solution" if tau.unsolved else ""
    return f"temperature {tau.mean:.2f} ({tau.p5:.2f}-{tau.p95:.2f}){unsolved}"

"""The arms of the original, also as sharp as each tuned model: greedy, drawn and decoded."""

from collections.abc import Sequence
from dataclasses import replace

from hyperfitting.compare.scores import PairScores
from hyperfitting.evaluate import saying
from hyperfitting.evaluate.arms import ArmOutputs, under_another_name
from hyperfitting.evaluate.bench import Bench
from hyperfitting.evaluate.matching import AtEqualEntropy, Tempered
from hyperfitting.evaluate.scored import Scored, TunedArms, decoded, with_scores, write
from hyperfitting.evaluate.writing import Sampled
from hyperfitting.models.pair import PairedLogits, make_pair
from hyperfitting.records import ORIGINAL, Arm
from hyperfitting.records.matching import Matching
from hyperfitting.records.origins import Origin


def with_original(
    bench: Bench, human: ArmOutputs, tuned: Sequence[TunedArms], origins: dict[Arm, Origin]
) -> Scored:
    """All arms of a set of texts: the original's, and beside them those of the tuned models."""
    sharp = [(each, each.equal_entropy) for each in tuned if each.equal_entropy is not None]
    arms = [ORIGINAL.matched(each.outputs.arm) for each, _ in sharp]
    ones = Sampled(ORIGINAL.sampled(), [1.0] * len(bench.contexts))
    sampled = [
        Sampled(arm.sampled(), equal.tau_N) for arm, (_, equal) in zip(arms, sharp, strict=True)
    ]
    written, *drawn = write(bench, bench.original, ORIGINAL, [ones, *sampled])
    banned = bench.tokens.banned("fixed_length")
    tempered = [
        Tempered(len(bench.contexts), bench.length, equal.vocabulary, banned) for _, equal in sharp
    ]

    def each_own(logits: PairedLogits, scores: PairScores) -> None:
        for each, (_, equal) in zip(tempered, sharp, strict=True):
            each.add(logits, equal.tau_N[logits.row], scores.original)

    known = next((each.original for each in tuned if each.original is not None), None)
    original = with_scores(
        bench, human, written, make_pair(bench.original, bench.original),
        forced=known, each_own=each_own, is_traced=not bench.is_greedy_only,
    )  # fmt: skip
    beside = {each.outputs.arm: list[ArmOutputs]() for each in tuned}
    matching = []
    for place, (each, equal) in enumerate(sharp):
        own = tempered[place]
        texts = under_another_name(original, arms[place])
        greedy = replace(texts, forced=equal.forced, own=own.scores, tau_N=equal.tau_N)
        beside[each.outputs.arm] = [greedy, *drawn[place + 1 : place + 2]]
        matching.append(_matching(bench, original, each.outputs, equal, own))
    others, runs = decoded(bench, bench.original, ORIGINAL)
    of_tuned = [arm for each in tuned for arm in each.arms(beside[each.outputs.arm])]
    return Scored(
        human=human,
        original=original,
        others=[*drawn[:1], *others, *of_tuned],
        decoder_runs=[*runs, *(run for each in tuned for run in each.decoder_runs)],
        matching=matching,
        of_sets=[value for each in tuned for value in each.of_sets],
        origins=origins,
    )


def _matching(
    bench: Bench,
    original: ArmOutputs,
    outputs: ArmOutputs,
    matched: AtEqualEntropy,
    own: Tempered,
) -> Matching:
    """How the original was brought to a tuned model's entropy; no greedy choice changes by that."""
    count = len(original.fixed)
    with bench.progress.stage(f"match {outputs.arm.in_full}'s entropy", count) as stage:
        equal = (
            a.continuation_ids == b.continuation_ids
            for a, b in zip(outputs.fixed, original.fixed, strict=True)
        )
        summary = Matching(
            arm=outputs.arm,
            **dict(matched.found),
            greedy_positions=own.scores.chosen_rank_NK.size,
            greedy_differences=own.differences,
            greedy_ties_by_rounding=own.merged,
            greedy_texts=count,
            greedy_texts_equal=sum(equal),
        )
        stage.update(count, saying.temperatures(summary))
    if differences := own.differences + matched.differences:
        raise AssertionError(f"a temperature changed {differences} greedy choices of the original")
    return summary

"""Is it text at all? Likelihood under the original, and words that do not exist, of every arm.

Shape letters: N contexts, K tokens of a continuation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from hyperfitting.compare.scores import PairScores
from hyperfitting.data.word_list import english_words
from hyperfitting.evaluate.arms import ArmOutputs, paths
from hyperfitting.evaluate.audits import with_audit
from hyperfitting.measure.words import (
    KnownWords,
    judged_words,
    known_words,
    nonword_share,
)
from hyperfitting.models.forward import nll_rows
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Progress

COHERENCE, NONWORDS = "coherence_original_nats", "nonwords"
Row = tuple[int, ...]  # the tokens of a context and of its continuation


def audit_original_coherence(
    arms: Sequence[ArmOutputs], original: CausalLM, length: int, progress: Progress
) -> list[ArmOutputs]:
    """Add the mean log-likelihood of each continuation under the original model.

    In nats per token, given the context; at most 0 (definitions, section 2.8). Texts that were
    scored beside the original, or drawn from it, are not run again. A loop is likely: nearer to
    human text is better, not higher.
    """
    known: dict[Row, float] = {}
    human = arms[0].fixed
    for outputs in arms:
        if outputs.forced is not None and not outputs.arm.matched_to:
            known |= _likelihoods(paths(human), outputs.forced)
        if outputs.own is not None and not outputs.arm.matched_to:
            known |= _likelihoods(paths(outputs.fixed), outputs.own)
        for texts, nll_N in zip(outputs.draws, outputs.original_nll or (), strict=False):
            known |= {tuple(row): -nll for row, nll in zip(paths(texts), nll_N, strict=True)}
    written = [text for outputs in arms for texts in outputs.draws for text in texts]
    assert {len(text.continuation_ids) for text in written} == {length}, "texts of fixed length"
    rows = {tuple(row) for row in paths(written)}
    missing = sorted(rows - known.keys())
    if missing:
        with progress.stage("log-likelihood under the original", len(missing)) as stage:
            nll_NK = nll_rows(original, missing, length, stage=stage)
            known |= dict(zip(missing, (-nll_NK.mean(axis=1)).tolist(), strict=True))
            stage.update(len(missing), f"{len(missing)} texts")
    found = []
    for outputs in arms:
        draws = [[known[tuple(row)] for row in paths(texts)] for texts in outputs.draws]
        found.append(with_audit(outputs, {COHERENCE: draws}))
    return found


def _likelihoods(rows: Iterable[Sequence[int]], scores: PairScores) -> dict[Row, float]:
    """What the original says of rows that both models read."""
    mean_N = -scores.original.nll_NK.mean(axis=1)
    return dict(zip(map(tuple, rows), mean_N.tolist(), strict=True))


def words_beside(
    human: ArmOutputs, tokenizer: Any, training_rows: Iterable[Sequence[int]]
) -> KnownWords | str:
    """What counts as a word beside these human texts; or why no word is looked up.

    `training_rows` are the tokens of the training windows of every run; none for checkpoints.
    """
    pairs = [(text.context, text.continuation) for text in human.fixed]
    return known_words(english_words(), pairs, (_text(tokenizer, row) for row in training_rows))


def audit_nonwords(arms: Sequence[ArmOutputs], known: KnownWords | str) -> list[ArmOutputs]:
    """Add the share of each continuation's words that do not exist (definitions, section 2.9).

    The human texts are the first arm. Where these are in no language that the list is of, no arm
    has a value, and the note says why.
    """
    if isinstance(known, str):
        nothing: list[float | None] = [None] * len(arms[0].fixed)
        return [_noted(outputs, {NONWORDS: [nothing]}, known) for outputs in arms]
    found = []
    for outputs in arms:
        draws = [
            [
                nonword_share(judged_words(text.context, text.continuation), known, index)
                for index, text in enumerate(texts)
            ]
            for texts in outputs.draws
        ]
        found.append(with_audit(outputs, {NONWORDS: draws}))
    return found


def _noted(
    outputs: ArmOutputs, columns: dict[str, list[list[float | None]]], reason: str
) -> ArmOutputs:
    """An arm with columns that are undefined for one reason."""
    notes = dict.fromkeys(columns, reason)
    return replace(with_audit(outputs, columns), notes={**outputs.notes, **notes})


def _text(tokenizer: Any, row: Sequence[int]) -> str:
    return str(tokenizer.decode(list(row), skip_special_tokens=True))

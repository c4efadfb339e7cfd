"""Some texts token by token: the record of what both models say there, and of what stands out.

Shape letters: K tokens of a continuation.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperfitting.evaluate.arms import ArmOutputs
from hyperfitting.evaluate.audits import TrainingIndexes
from hyperfitting.evaluate.said import Said
from hyperfitting.measure.overlap import LONG_RUN, TrainingIndex, long_runs
from hyperfitting.measure.text import loop_start
from hyperfitting.measure.words import KnownWords, broken_spans
from hyperfitting.models.tokens import Tokens
from hyperfitting.records import Arm, Generation
from hyperfitting.records.arrays import Floats
from hyperfitting.records.traces import ArmTraces, TextTrace, TracesFile

DIGITS = 5  # of a probability


def traces_file(
    arms: Sequence[ArmOutputs], tokens: Tokens, indexes: TrainingIndexes, known: KnownWords | str
) -> TracesFile:
    """The first texts of human authors, of the original and of each tuned arm's first training.

    The human texts are the first arm; they are read beside the first tuned model.
    """
    human = next((each.said_of_human for each in arms if each.said_of_human), ())
    seen: set[Arm] = set()
    found = []
    for outputs in arms:
        arm, said = outputs.arm, human if outputs.arm.name == "human" else outputs.said
        if not said or arm.variant in seen:
            continue
        seen.add(arm.variant)
        index = indexes.beside(arm) if indexes.exist and arm.is_tuned else None
        words = None if isinstance(known, str) else known
        texts = [
            text_trace(text, each, tokens, arm, index, words)
            for text, each in zip(outputs.fixed, said, strict=False)
        ]
        found.append(ArmTraces(arm=arm, texts=texts))
    written = [text for each in found for text in each.texts]
    return TracesFile(words=words_by_id(tokens, written), arms=found, long_run=LONG_RUN)


def text_trace(
    text: Generation,
    said: Said,
    tokens: Tokens,
    arm: Arm,
    index: TrainingIndex | None,
    known: KnownWords | None,
) -> TextTrace:
    """The record of one text; of the training set copies are marked where `index` is given."""
    ids = text.continuation_ids
    pieces = tokens.pieces(text.context_ids, ids)
    spans: list[tuple[int, int]] = []
    if known is not None:
        spans = broken_spans(text.context, text.continuation, known, text.context_index)
    is_original = arm.name == "original"
    return TextTrace(
        context=text.context_index,
        pieces=pieces,
        rank=said.rank_K.tolist(),
        original=_rounded(said.original_K),
        tuned=None if is_original else _rounded(said.tuned_K),
        original_top=said.original_top_KH.tolist(),
        original_top_p=_rounded(said.original_top_p_KH),
        tuned_top=None if is_original else said.tuned_top_KH.tolist(),
        tuned_top_p=None if is_original else _rounded(said.tuned_top_p_KH),
        loop=None if arm.name == "human" else loop_start(ids),
        recited=[] if index is None else long_runs(index.match_lengths([ids])[0]),
        broken=_places(pieces, spans),
    )


def _rounded(values: Floats) -> Any:
    return np.clip(values, 0.0, 1.0).round(DIGITS).tolist()


def _places(pieces: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[int]:
    """The tokens that have a character in one of these spans."""
    ends = np.cumsum([len(piece) for piece in pieces])
    return [
        place
        for place, (piece, end) in enumerate(zip(pieces, ends.tolist(), strict=True))
        if piece and any(end - len(piece) < stop and start < end for start, stop in spans)
    ]


def words_by_id(tokens: Tokens, traces: Sequence[TextTrace]) -> dict[str, str]:
    """How each token that is named reads inside of a text."""
    ids = {
        i
        for trace in traces
        for top in (trace.original_top, trace.tuned_top or [])
        for place in top
        for i in place
    }
    anchor = tokens.tokenizer.encode("a", add_special_tokens=False)
    head = tokens.tokenizer.decode(anchor)
    found = {}
    for i in sorted(ids):
        both = tokens.tokenizer.decode([*anchor, i])
        found[str(i)] = both[len(head) :] if both.startswith(head) else both
    return found

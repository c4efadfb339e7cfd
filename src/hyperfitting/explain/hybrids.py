"""What hybrids of both models write and choose: together where they can be, else one by one.

Shape letters: N contexts, K tokens of a continuation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperfitting.explain.subject import Subject, Texts, write_texts
from hyperfitting.generate.feed import feed_of
from hyperfitting.generate.ways import even_batches
from hyperfitting.models.forward import choose_rows
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.models.routed import HybridParts, can_route, routed
from hyperfitting.progress import Stage


class Seen(NamedTuple):
    """Greedy texts of one hybrid, and its choices on human text, [N, K]."""

    texts: Texts
    top1_NK: NDArray[np.int64]


def see_hybrids(part: Subject, hybrids: Sequence[HybridParts], stage: Stage) -> list[Seen]:
    """Greedy texts and choices of every hybrid.

    Float32 sums may differ in the last bit between both ways, as between widths of a batch.
    """
    texts = _together(part, hybrids, stage) if _can_write_together(part) else None
    found = []
    for place, hybrid in enumerate(hybrids):
        found.append(_one(part, hybrid, None if texts is None else texts[place]))
        stage.update(place + 1 if texts is None else (len(hybrids) + place + 1) // 2)
    return found


def _can_write_together(part: Subject) -> bool:
    """Whether both models are fed in our way, and all contexts have one length."""
    feeds = {feed_of(model) for model in (part.pair.original, part.pair.tuned)}
    feed = next(iter(feeds))
    is_ours = len(feeds) == 1 and feed.cache == "roomy" and feed.batches
    return is_ours and len({len(c) for c in part.contexts.contexts}) == 1 and can_route(part.pair)


def _together(part: Subject, hybrids: Sequence[HybridParts], stage: Stage) -> list[Texts]:
    """The texts of every hybrid, in batches that hold several of them."""
    count, size = len(part.contexts), part.config.batch_size
    feed = feed_of(part.pair.original)  # a hybrid is fed as both are
    rows = [(hybrid, context) for hybrid in hybrids for context in part.contexts.contexts]
    written: Texts = []
    for places in even_batches(len(rows), size):
        batch = rows[places.start : places.stop]
        with routed(part.pair, [hybrid for hybrid, _ in batch]) as model:
            contexts = [context for _, context in batch]
            written += write_texts(
                model, contexts, part.tokens, part.config, part.length, feed=feed
            )
        stage.update(len(written) // count // 2)
    return [written[i * count : (i + 1) * count] for i in range(len(hybrids))]


def _one(part: Subject, hybrid: HybridParts, texts: Texts | None) -> Seen:
    """What one hybrid chooses, and writes where that is not known."""
    head_of = hybrid.head_of(part.pair)
    # Choices are among the tokens that both models have a logit for, as in `forced`.
    unknown = range(part.pair.num_logits, vocabulary_rows(head_of))
    with hybrid.made(part.pair) as model:
        if texts is None:
            tokens = part.tokens.for_model(head_of)
            texts = write_texts(model, part.contexts.contexts, tokens, part.config, part.length)
        top1_NK = choose_rows(model, part.human_rows, part.length, banned=unknown)
    return Seen(texts, top1_NK)

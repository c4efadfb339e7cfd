"""Batched, cached decoding on float32 logits; how a token is chosen stands in `choose.py`.

Our own loop (`ways.py`), so that nothing in a checkpoint's generation config (a repetition penalty,
a temperature) changes the decoder unseen, and so that ties are settled and counted. Knows token
ids only, no text.
"""

from collections.abc import Collection, Sequence

from hyperfitting.generate.choose import Chooser, greedy
from hyperfitting.generate.step import Feed
from hyperfitting.generate.texts import Decoded, Stop
from hyperfitting.generate.ways import Way, write_ways
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Stage


def decode(
    model: CausalLM,
    contexts: Sequence[Sequence[int]],
    choose: Chooser = greedy,
    *,
    max_new_tokens: int,
    banned: Sequence[int] = (),
    ends: Collection[int] = (),
    batch_size: int = 32,
    stage: Stage | None = None,
    stop: Stop | None = None,
    feed: Feed | None = None,
) -> list[Decoded]:
    """Continue every context, one token a step as `choose` says; greedily by default.

    `banned` tokens are never chosen. A text stops after its first token in `ends`; without
    `ends` every text gets exactly `max_new_tokens`; `stop` may end others. `feed` is how the model
    is fed, where that was proved before; by default it is proved now. Batches are about equally
    wide: float32 sums may differ in the last bit between widths (definitions, section 8.4).
    """
    way = Way(choose=choose, max_new_tokens=max_new_tokens, banned=banned, ends=ends, stop=stop)
    found = write_ways(model, contexts, [way], batch_size=batch_size, stage=stage, feed=feed)
    return found[0].texts

"""Continue every context in several ways at once: the loop of all decoding.

Contexts are run once and their rows repeated, one for each way, so that the ways share every
product of the steps that follow: on a CPU three ways take little more than half of three
decodings. Where a model's cache does not take repeated rows, one way is written after the other.

Shape letters: B rows of a batch, P rows of all ways, V vocabulary.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from hyperfitting.generate.choose import Chooser
from hyperfitting.generate.feed import feed_of, searching_feed_of
from hyperfitting.generate.step import Feed, together
from hyperfitting.generate.stepper import Stepper
from hyperfitting.generate.texts import Decoded, Stop, Written
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Stage


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to continue every context; `ends`, `banned` and `stop` as in `decode.decode`.

    `max_new_tokens` is at least 1. `is_heard`: note how likely the model itself finds its texts.
    """

    choose: Chooser
    max_new_tokens: int
    banned: Sequence[int] = ()
    ends: Collection[int] = ()
    stop: Stop | None = None
    is_heard: bool = False


class Continued(NamedTuple):
    """The continuations of every context in one way."""

    texts: list[Decoded]
    # Of each step, over all batches, the first with the contexts; of what ways share, equal parts.
    seconds: list[float]
    # Mean of each text's tokens in nats, with nothing banned; empty where that was not heard.
    nll: list[float]


def write_ways(
    model: CausalLM,
    contexts: Sequence[Sequence[int]],
    ways: Sequence[Way],
    *,
    batch_size: int,
    stage: Stage | None = None,
    feed: Feed | None = None,
) -> list[Continued]:
    """Continue every context in each way; at most `batch_size` rows run together.

    What a context gets in one way depends on no other way, but for the last bits of float32 sums
    (definitions, section 8.4). `feed`: how the model is fed, where that was proved before.
    """
    feed = feed or feed_of(model)
    most = batch_size if len(ways) == 1 or _takes_repeated(model, contexts, feed) else 1
    if len(ways) > most:
        return [
            written
            for start in range(0, len(ways), most)
            for written in write_ways(
                model, contexts, ways[start : start + most],
                batch_size=batch_size, stage=stage, feed=feed,
            )
        ]  # fmt: skip
    found = [Continued([], [], []) for _ in ways]
    for rows in even_batches(len(contexts), max(1, batch_size // len(ways))):
        batch = contexts[rows.start : rows.stop]
        for one, more in zip(found, _write_batch(model, batch, rows, ways, feed), strict=True):
            one.texts.extend(more.texts)
            one.nll.extend(more.nll)
            one.seconds[:] = _summed(one.seconds, more.seconds)
        if stage:
            stage.update(rows.stop)
    return found


def even_batches(count: int, size: int) -> list[range]:
    """As few batches of at most `size` as there can be, none more than one wider than another.

    A narrow rest would cost nearly as many seconds as a full batch.
    """
    number = -(-count // size)
    ends = [count * batch // max(1, number) for batch in range(number + 1)]
    return [range(start, end) for start, end in pairwise(ends)]


def _takes_repeated(model: CausalLM, contexts: Sequence[Sequence[int]], feed: Feed) -> bool:
    """Whether contexts can run once for several ways."""
    is_one_group = len(together(contexts, feed)) == 1
    return is_one_group and feed.cache != "none" and searching_feed_of(model) == feed


class _Growing:
    """The texts of one way in one batch."""

    def __init__(
        self, way: Way, contexts: Sequence[Sequence[int]], rows: range, logits_BV: Tensor
    ) -> None:
        self.way, self.rows, self.banned = way, rows, list(way.banned)
        self.written = Written(
            contexts, way.max_new_tokens,
            vocabulary=logits_BV.shape[-1], ends=way.ends, device=logits_BV.device,
        )  # fmt: skip
        self.nll_B = torch.zeros(len(rows), dtype=torch.float64)
        self.seconds: list[float] = []

    def choose(self, logits_BV: Tensor) -> tuple[Tensor, bool]:
        """The next token of each text, and whether any text goes on. Changes the logits."""
        step, open_B = self.written.step, self.written.open_B.clone()
        total_B = logits_BV.logsumexp(dim=-1) if self.way.is_heard else None
        logits_BV[:, self.banned] = -torch.inf
        token_B, tied_B = self.way.choose(logits_BV, self.rows, step, self.written.seen())
        # V where a logit is NaN, which is refused in the end: a GPU would be lost by feeding it.
        fed_B = token_B.clamp(max=logits_BV.shape[-1] - 1)
        if total_B is not None:
            nll_B = total_B - logits_BV.gather(-1, fed_B[:, None])[:, 0]
            self.nll_B += (nll_B * open_B).cpu().double()
        goes_on = self.written.append(token_B, tied_B, self.way.stop)
        return fed_B, goes_on and step + 1 < self.way.max_new_tokens

    def continued(self) -> Continued:
        """What was written."""
        nll_B = self.nll_B / self.written.length_B.cpu()
        return Continued(
            self.written.decoded(), self.seconds, nll_B.tolist() if self.way.is_heard else []
        )


@torch.no_grad()
def _write_batch(
    model: CausalLM,
    contexts: Sequence[Sequence[int]],
    rows: range,
    ways: Sequence[Way],
    feed: Feed,
) -> list[Continued]:
    mark = time.perf_counter()
    stepper, size = Stepper(model, contexts, feed), len(rows)
    logits_PV = stepper.logits()
    growing = [_Growing(way, contexts, rows, logits_PV) for way in ways]
    if len(ways) > 1:
        logits_PV = logits_PV.repeat(len(ways), 1)
        stepper.take(torch.arange(size, device=logits_PV.device).repeat(len(ways)))
    left = growing
    while left:
        parts = torch.split(logits_PV, size)
        chosen = [each.choose(part_BV) for each, part_BV in zip(left, parts, strict=True)]
        goes_on = [on for _, on in chosen]
        here = left
        left = [each for each, on in zip(here, goes_on, strict=True) if on]
        if left:
            if len(left) < len(here):
                kept = torch.tensor(goes_on, device=logits_PV.device).repeat_interleave(size)
                stepper.take(kept.nonzero()[:, 0])
            stepper.append(torch.cat([token_B for token_B, on in chosen if on]))
        now = time.perf_counter()
        for each in here:
            each.seconds.append((now - mark) / len(here))
        mark = now
        if left:
            logits_PV = stepper.logits()
    return [each.continued() for each in growing]


def _summed(some: Sequence[float], more: Sequence[float]) -> list[float]:
    longest = max(len(some), len(more))
    padded = ([*each, *[0.0] * (longest - len(each))] for each in (some, more))
    return [a + b for a, b in zip(*padded, strict=True)]

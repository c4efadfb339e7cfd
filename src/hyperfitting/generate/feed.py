"""Find out how a loaded model is to be fed, and prove it on that model before its first text.

A ladder: our cache, then the cache that the model itself makes, then none (every token runs the
whole row anew). Each is tried with position ids, where the model takes them, and without; the
first whose logits are those of each row alone without a cache is used. Rows of unequal length are
padded together where that was proved as well.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch

from hyperfitting.faults import is_memory
from hyperfitting.generate.step import Feed, Rows
from hyperfitting.models.anatomy import base_of
from hyperfitting.models.interface import accepted_arguments, rope_switch
from hyperfitting.models.proof import Kept, Probe, probe, runs_in_batches, undisturbed
from hyperfitting.models.types import CausalLM
from hyperfitting.records.origins import DecodingFacts

CACHES: tuple[Literal["roomy", "own"], ...] = ("roomy", "own")
ALONE = Feed("none", positions=False, batches=False, pads=False)  # as the truth was computed
PAIR, UNEQUAL, SHORT = (0, 1), (0, 2), (2,)  # rows of the probe


def feed_of(model: CausalLM) -> Feed:
    """How this model is fed when it decodes.

    Raises:
        InputError: the model is not causal, or cannot be run on tokens alone.
    """
    return _feeds(model)


def searching_feed_of(model: CausalLM) -> Feed:
    """How a model is fed in a search that copies rows, so that its cache takes them in any order.

    Raises:
        InputError: as `feed_of`.
    """
    return _searching_feeds(model)


def said_of(model: CausalLM, feed: Feed | None = None, *, longest: int = 0) -> str | None:
    """What a user should know of how texts of up to `longest` tokens are decoded.

    None where it is as usual.
    """
    feed = feed or feed_of(model)
    said = []
    if feed.cache == "none":
        said.append(
            "without a cache, as none gives the logits that the whole text gives: each token runs "
            "the whole text anew, about as many times the work as a text has tokens"
        )
    if not feed.batches:
        said.append("one text at a time, as in a batch its logits are others")
    elif not feed.pads:
        said.append("texts of one length together only, as filled up its logits are others")
    switch = rope_switch(base_of(model).config)
    if switch is not None and longest > switch:
        said.append(
            f"anew where a text passes {switch} tokens, since its rope changes there; such texts "
            "run together with those of their length only"
        )
    kind = base_of(model).config.model_type
    return f"a {kind!r} model is decoded {'; '.join(said)}" if said else None


def described(model: CausalLM, *, longest: int = 0) -> DecodingFacts:
    """How a model's texts of up to `longest` tokens are decoded, as study files list it."""
    feed = feed_of(model)
    return DecodingFacts(
        cache={"roomy": "ours", "own": "the model's", "none": "none"}[feed.cache],
        position_ids=feed.positions,
        together="any lengths" if feed.pads else "one length" if feed.batches else "one text",
        note=said_of(model, longest=longest),
    )


def _found(model: CausalLM) -> tuple[Feed, bool]:
    batches = runs_in_batches(model)
    truth = probe(model)
    with undisturbed(model):
        feed = _first(model, _ladder(model, batches), truth)
        return _padding(model, feed, truth), truth.proves


def _ladder(model: CausalLM, batches: bool) -> Iterator[Feed]:
    """Feeds to try, the best first."""
    arguments = accepted_arguments(model)
    positions = (True, False) if "position_ids" in arguments else (False,)
    # Handed to a model that does not take it by name, our cache would be swallowed unseen.
    caches = [cache for cache in CACHES if cache == "own" or "past_key_values" in arguments]
    cached = [Feed(cache, False, True, False) for cache in caches if batches]
    cached += [Feed(cache, False, False, False) for cache in caches]
    for feed in [*cached, Feed("none", False, batches, False)]:
        yield from (replace(feed, positions=given) for given in positions)


def _first(model: CausalLM, feeds: Iterator[Feed], truth: Probe) -> Feed:
    """The first that is proved; what the truth was computed with needs no proof."""
    proved = (
        feed
        for feed in feeds
        if _follows(model, feed, truth, PAIR if feed.batches else PAIR[:1])
        and _follows(model, feed, truth, SHORT)
    )
    return next(proved, ALONE)


def _padding(model: CausalLM, feed: Feed, truth: Probe) -> Feed:
    """The feed with padding, where that was proved too."""
    padded = replace(feed, pads=True)
    differ = len(truth.rows[0]) > len(truth.rows[2])
    can = feed.batches and differ and "attention_mask" in accepted_arguments(model)
    return padded if can and _follows(model, padded, truth, UNEQUAL) else feed


def _follows(
    model: CausalLM, feed: Feed, truth: Probe, places: tuple[int, ...], *, swapped: bool = False
) -> bool:
    """Whether rows of the probe, decoded so, get the logits of each alone at every step."""
    ids = [truth.rows[p] for p in places]
    starts = [len(row) - truth.steps for row in ids]
    try:
        rows = Rows(model, [row[:start] for row, start in zip(ids, starts, strict=True)], feed)
        for step in range(truth.steps + 1):
            found = rows.logits()
            for n, place in enumerate(places):
                if not truth.agrees(found[n], truth.logits[place][step - truth.steps - 1]):
                    return False
            if step < truth.steps:
                token = [row[start + step] for row, start in zip(ids, starts, strict=True)]
                rows.append(torch.tensor(token, device=rows.ids_BT.device))
                if swapped:
                    order = torch.arange(len(places) - 1, -1, -1, device=rows.ids_BT.device)
                    rows.take(order)
                    places, ids, starts = places[::-1], ids[::-1], starts[::-1]
    except (
        Exception
    ) as error:  # a model's own code raises anything where it is fed otherwise than it wants
        if is_memory(error):
            raise
        return False
    return True


def _found_for_search(model: CausalLM) -> tuple[Feed, bool]:
    feed = feed_of(model)
    if feed.cache == "none":
        return feed, False  # found again at no cost
    truth = probe(model)
    with undisturbed(model):
        if feed.batches and _follows(model, feed, truth, PAIR, swapped=True):
            return feed, truth.proves
        rest = (f for f in _ladder(model, runs_in_batches(model)) if f.cache == "none")
        feed = _first(model, rest, truth)
        return _padding(model, feed, truth), truth.proves


_feeds, _searching_feeds = Kept(_found), Kept(_found_for_search)

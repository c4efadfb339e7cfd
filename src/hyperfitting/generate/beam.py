"""Beam search, by transformers, proved on the model: its scores must be the model's own.

Shape letters: B rows of a batch, T tokens of a row, V vocabulary.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import torch
from transformers import GenerationConfig

from hyperfitting.errors import InputError
from hyperfitting.faults import is_memory
from hyperfitting.generate.feed import PAIR, SHORT, UNEQUAL, feed_of
from hyperfitting.generate.step import Feed, together
from hyperfitting.generate.texts import Decoded
from hyperfitting.models.anatomy import base_of
from hyperfitting.models.interface import crosses_switch, logits_of, rope_switch
from hyperfitting.models.proof import Kept, Probe, probe, undisturbed
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Stage

PROOF_BEAMS = 4
CACHES: tuple[Literal["own", "none"], ...] = ("own", "none")  # transformers' or the model's own


@contextmanager
def _without_own_settings(model: CausalLM) -> Iterator[None]:
    """Hide the checkpoint's generation config, which would fill whatever is left open."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


@torch.no_grad()
def beam_search(
    model: CausalLM,
    contexts: Sequence[Sequence[int]],
    *,
    beams: int,
    length_penalty: float = 1.0,
    max_new_tokens: int,
    banned: Sequence[int] = (),
    ends: Collection[int] = (),
    batch_size: int = 32,
    stage: Stage | None = None,
) -> list[Decoded]:
    """Continue every context by the best of `beams` continuations: transformers' `generate`.

    Score: sum of ln p divided by length^length_penalty, p over the tokens not `banned` (by its
    `renormalize_logits`; otherwise banned tokens keep their mass). Ties are not counted (0). At
    most `batch_size` rows, beams counted, run together (or those of one text). Deterministic.
    For `banned` and `ends` see `decode`.

    Raises:
        InputError: the model is not causal, or its scores are not those of decoding without a
            cache.
    """
    model = base_of(model)  # an adapter stays active in it
    feed = beam_feed_of(model)
    config = GenerationConfig(
        num_beams=beams,
        length_penalty=length_penalty,
        do_sample=False,
        max_new_tokens=max_new_tokens,
        suppress_tokens=sorted(banned) or None,
        renormalize_logits=True,
        eos_token_id=sorted(ends) or None,
        pad_token_id=0,  # masked before a context, cut after an end
        bos_token_id=None,
        return_dict_in_generate=True,
        output_scores=True,
    )
    texts = max(1, batch_size // beams)
    decoded: dict[int, Decoded] = {}
    switch = rope_switch(model.config)
    for group in together(contexts, feed, None if switch is None else switch - max_new_tokens):
        longest = max(len(contexts[n]) for n in group)
        passes = crosses_switch(model.config, [longest, longest + max_new_tokens])
        config.use_cache = feed.cache != "none" and not passes  # keys would be of the short rope
        for start in range(0, len(group), texts):
            places = group[start : start + texts]
            ids, _ = _generated(model, [contexts[n] for n in places], config)
            written = [Decoded(_until_end(row, ends), 0) for row in ids]
            decoded.update(zip(places, written, strict=True))
            if stage:
                stage.update(len(decoded))
    return [decoded[n] for n in range(len(contexts))]


def _generated(
    model: CausalLM, batch: Sequence[Sequence[int]], config: GenerationConfig
) -> tuple[list[list[int]], list[float]]:
    """Continuations by `generate` and their scores; shorter contexts filled up on the left."""
    width = max(map(len, batch))
    rows = [[0] * (width - len(row)) + list(row) for row in batch]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in batch]
    with _without_own_settings(model):
        output = model.generate(
            input_ids=torch.tensor(rows, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            generation_config=config,
        )
    return output.sequences[:, width:].tolist(), output.sequences_scores.tolist()


def beam_feed_of(model: CausalLM) -> Feed:
    """How transformers' search may run this model.

    Raises:
        InputError: the model is not causal, or in no way are the scores of beams its own.
    """
    return _feeds(base_of(model))


def _found(model: CausalLM) -> tuple[Feed, bool]:
    """The first way in which the scores of all beams are those of each text alone."""
    truth = probe(model)
    pads = feed_of(model).pads
    with undisturbed(model):
        for cache in CACHES:
            feed = Feed(cache, positions=False, batches=True, pads=False)
            if all(_scores_right(model, feed, truth, places) for places in (PAIR, SHORT)):
                padded = replace(feed, pads=True)
                can = pads and _scores_right(model, padded, truth, UNEQUAL)
                return (padded if can else feed), truth.proves
    raise InputError(
        f"transformers' beam search gives scores of a {model.config.model_type!r} model that its "
        "own logits do not give",
        needed="another decoder, such as greedy or contrastive_search",
    )


def _scores_right(model: CausalLM, feed: Feed, truth: Probe, places: tuple[int, ...]) -> bool:
    config = GenerationConfig(
        num_beams=PROOF_BEAMS, num_return_sequences=PROOF_BEAMS, length_penalty=0.0,
        do_sample=False, max_new_tokens=truth.steps, eos_token_id=None, bos_token_id=None,
        pad_token_id=0, use_cache=feed.cache != "none", renormalize_logits=True,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    prompts = [truth.rows[place][: -truth.steps] for place in places]
    try:
        texts, scores = _generated(model, prompts, config)
    except Exception as error:  # transformers' and the model's own code raise anything
        if is_memory(error):
            raise
        return False
    for n, (ids, score) in enumerate(zip(texts, scores, strict=True)):
        row = [*prompts[n // PROOF_BEAMS], *ids]
        logits_TV = logits_of(model, torch.tensor([row], device=model.device), len(ids) + 1)[0]
        logp_TV = logits_TV[:-1].log_softmax(dim=-1)
        exact = float(sum(logp_TV[t, token] for t, token in enumerate(ids)))
        # ln p moves by at most twice what a logit does.
        if not abs(score - exact) <= 2 * truth.allowed * len(ids):
            return False
    return True


_feeds = Kept(_found)


def _until_end(ids: list[int], ends: Collection[int]) -> list[int]:
    for place, token in enumerate(ids):
        if token in ends:
            return ids[: place + 1]
    return ids

"""Carry out a decoder of the table.

Shape letters: N contexts.
"""

from collections.abc import Collection, Sequence
from typing import Any

from hyperfitting.errors import InputError
from hyperfitting.generate.beam import beam_feed_of, beam_search
from hyperfitting.generate.choose import Chooser, greedy
from hyperfitting.generate.contrastive import Adaptive, Constant, Plan, contrastive_search
from hyperfitting.generate.contrastive_decoding import Contrast
from hyperfitting.generate.decode import Decoded, decode
from hyperfitting.generate.decoders import DECODERS
from hyperfitting.generate.feed import said_of, searching_feed_of
from hyperfitting.generate.filters import filtered
from hyperfitting.generate.guard import Guard
from hyperfitting.generate.mirostat import Mirostat
from hyperfitting.generate.specs import DecoderSpec
from hyperfitting.progress import Stage

SEARCHES = ("contrastive_search", "adaptive_contrastive_search")


def chooser(
    spec: DecoderSpec, seeds_N: Sequence[Sequence[int]] | None = None, amateur: Any = None
) -> Chooser | None:
    """What `decode` chooses with; None for a decoder that searches.

    Raises:
        InputError: contrastive decoding without an amateur model.
        ValueError: a decoder that draws, without seeds.
    """
    values: dict[str, Any] = dict(spec.parameters)
    if DECODERS[spec.name].kind != "alone":
        return filtered(spec.parameters, seeds_N)
    if spec.name == "mirostat":
        return Mirostat(**values, seeds_N=seeds_N)
    if spec.name == "guard":
        return Guard(**values, seeds_N=seeds_N)
    if spec.name == "contrastive_decoding":
        if amateur is None:
            raise InputError(
                "contrastive decoding compares with an amateur model, and none was given",
                needed="a smaller model with the same vocabulary",
            )
        return Contrast(**values, amateur=amateur)
    return greedy if spec.name == "greedy" else None


def said_for(spec: DecoderSpec, model: Any, *, longest: int = 0) -> str | None:
    """What a user should know of how this decoder runs this model; None where it is as usual.

    `longest` counts the tokens of the longest text, context and continuation.

    Raises:
        InputError: it cannot.
    """
    if spec.name == "beam":
        return said_of(model, beam_feed_of(model), longest=longest)
    if spec.name in SEARCHES:
        return said_of(model, searching_feed_of(model), longest=longest)
    return said_of(model, longest=longest)


def run_decoder(
    spec: DecoderSpec,
    model: Any,
    contexts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    seeds_N: Sequence[Sequence[int]] | None = None,
    amateur: Any = None,
    banned: Sequence[int] = (),
    ends: Collection[int] = (),
    batch_size: int = 32,
    stage: Stage | None = None,
) -> list[Decoded]:
    """Continue every context with a decoder; `banned`, `ends`, `batch_size` as in `decode`.

    `seeds_N` holds one seed (a sequence of integers) for each context where the decoder draws:
    what a context gets depends on its seed and never on its batch. `batch_size` counts rows
    that run together, so candidates and beams make fewer contexts.

    Raises:
        InputError: no amateur model where one is needed, or one with another vocabulary.
        ValueError: no seeds where they are needed, or a number of them that is not N.
    """
    if seeds_N is not None and len(seeds_N) != len(contexts):
        raise ValueError(f"{len(seeds_N)} seeds for {len(contexts)} contexts")
    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens, "banned": banned, "ends": ends,
        "batch_size": batch_size, "stage": stage,
    }  # fmt: skip
    values: dict[str, Any] = dict(spec.parameters)
    if spec.name == "beam":
        return beam_search(model, contexts, **values, **options)
    choose = chooser(spec, seeds_N, amateur)
    if choose is not None:
        return decode(model, contexts, choose, **options)
    plan: Plan = Constant(**values) if spec.name == "contrastive_search" else Adaptive(**values)
    return contrastive_search(model, contexts, plan, **options)

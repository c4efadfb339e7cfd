"""Carry out a decoder of the table.

Shape letters: N contexts.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from hyperfitting.errors import InputError
from hyperfitting.generate.choose import Chooser
from hyperfitting.generate.decode import decode
from hyperfitting.generate.decoder import load
from hyperfitting.generate.decoders import DECODERS
from hyperfitting.generate.feed import said_of
from hyperfitting.generate.filters import filtered
from hyperfitting.generate.specs import DecoderSpec
from hyperfitting.generate.texts import Decoded
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Stage


def chooser(
    spec: DecoderSpec,
    seeds_N: Sequence[Sequence[int]] | None = None,
    amateur: CausalLM = None,
    *,
    texts_V: Sequence[str] | None = None,
    ends: Collection[int] = (),
) -> Chooser:
    """What `decode` chooses with, of a decoder that does not search.

    Raises:
        InputError: a decoder that compares with an amateur model, without one.
        ValueError: a decoder that draws, without seeds; or one that reads tokens, without texts.
    """
    decoder = DECODERS[spec.name]
    if decoder.combines:
        return filtered(spec, seeds_N, texts_V=texts_V, ends=ends)
    needs: dict[str, Any] = {} if decoder.is_deterministic else {"seeds_N": seeds_N}
    if decoder.needs_amateur:
        if amateur is None:
            raise InputError(
                f"{spec.name.replace('_', ' ')} compares with an amateur model, and none was given",
                needed="a smaller model with the same vocabulary",
            )
        needs["amateur"] = amateur
    make: Callable[..., Chooser] = load(decoder.work)
    return make(**spec.parameters, **needs)


def said_for(spec: DecoderSpec, model: CausalLM, *, longest: int = 0) -> str | None:
    """What a user should know of how this decoder runs this model; None where it is as usual.

    `longest` counts the tokens of the longest text, context and continuation.

    Raises:
        InputError: it cannot.
    """
    return said_of(model, load(DECODERS[spec.name].feed)(model), longest=longest)


def run_decoder(
    spec: DecoderSpec,
    model: CausalLM,
    contexts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    seeds_N: Sequence[Sequence[int]] | None = None,
    texts_V: Sequence[str] | None = None,
    amateur: CausalLM = None,
    banned: Sequence[int] = (),
    ends: Collection[int] = (),
    batch_size: int = 32,
    stage: Stage | None = None,
) -> list[Decoded]:
    """Continue every context with a decoder; `banned`, `ends`, `batch_size` as in `decode`.

    `seeds_N` holds one seed (a sequence of integers) for each context where the decoder draws:
    what a context gets depends on its seed and never on its batch. `batch_size` counts rows
    that run together, so candidates and beams make fewer contexts. `texts_V` is the text of each
    token, where the decoder `needs_texts`.

    Raises:
        InputError: no amateur model where one is needed, or one with another vocabulary.
        ValueError: no seeds where they are needed, or a number of them that is not N; no texts
            where they are needed.
    """
    if seeds_N is not None and len(seeds_N) != len(contexts):
        raise ValueError(f"{len(seeds_N)} seeds for {len(contexts)} contexts")
    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens, "banned": banned, "ends": ends,
        "batch_size": batch_size, "stage": stage,
    }  # fmt: skip
    decoder = DECODERS[spec.name]
    if decoder.kind == "search":
        search: Callable[..., list[Decoded]] = load(decoder.work)
        return search(model, contexts, **spec.parameters, **options)
    choose = chooser(spec, seeds_N, amateur, texts_V=texts_V, ends=ends)
    return decode(model, contexts, choose, **options)

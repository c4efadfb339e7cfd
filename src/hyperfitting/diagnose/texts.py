"""What a model writes greedily and by other decoders, and what it makes of human text.

Shape letters: N contexts.
"""

import math
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from hyperfitting.config.diagnose import DiagnoseConfig
from hyperfitting.data.word_list import english_words
from hyperfitting.generate.both_modes import BothModes, write_in_both_modes
from hyperfitting.generate.decoders import DECODERS
from hyperfitting.generate.run import run_decoder
from hyperfitting.generate.specs import DecoderSpec
from hyperfitting.measure.intervals import mean_estimate, share_estimate
from hyperfitting.measure.text import ending, loop_period, loop_start, type_token_ratio
from hyperfitting.measure.words import KnownWords, judged_words, known_words, nonword_share
from hyperfitting.models.forward import TokenScores, nll_rows, score_rows
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.models.tokens import Tokens
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Progress
from hyperfitting.records.diagnosed import Arithmetic, Looped, Reading, Tried
from hyperfitting.records.estimates import MeanEstimate, undefined_mean


class Prompts(NamedTuple):
    """Beginnings of texts, and how their authors went on; none where the prompts are a chat's."""

    title: str
    contexts: list[list[int]]
    continuations: list[list[int]]
    length: int


def greedy_texts(
    model: CausalLM,
    tokens: Tokens,
    prompts: Prompts,
    config: DiagnoseConfig,
    progress: Progress,
    title: str,
) -> BothModes:
    """Greedy continuations of a fixed length, and such that may end themselves."""
    with progress.stage(title, len(prompts.contexts)) as stage:
        texts = write_in_both_modes(
            model, prompts.contexts, tokens, length=prompts.length,
            natural=config.natural_tokens, batch_size=config.batch_size, stage=stage,
        )  # fmt: skip
        loops = sum(loop_period(text.ids) is not None for text in texts.fixed)
        stage.update(len(prompts.contexts), f"{loops} of {len(prompts.contexts)} texts loop")
    return texts


def looped(
    texts: BothModes, prompts: Prompts, ends: Sequence[int], arithmetic: Arithmetic
) -> Looped:
    """How many texts loop, in rounds of how many tokens, and from where."""
    fixed: list[list[int]] = [text.ids for text in texts.fixed]
    periods = [period for ids in fixed if (period := loop_period(ids)) is not None]
    starts = [start for ids in fixed if (start := loop_start(ids)) is not None]
    return Looped(
        prompts=prompts.title,
        arithmetic=arithmetic,
        looped=share_estimate([loop_period(ids) is not None for ids in fixed]),
        ttr=mean_estimate([type_token_ratio(ids) for ids in fixed]),
        ended=share_estimate([ending(text.ids, ends) == "ended" for text in texts.natural]),
        period=float(median(periods)) if periods else None,
        onset=float(median(starts)) if starts else None,
    )


class Words(NamedTuple):
    """Which words exist beside these prompts; or why none is looked up."""

    known: KnownWords | str

    def share(self, tokens: Tokens, prompts: Prompts, texts: Sequence[list[int]]) -> MeanEstimate:
        """The share of words that do not exist, over texts."""
        if isinstance(self.known, str):
            return undefined_mean(self.known)
        shares = []
        for index, (context, ids) in enumerate(zip(prompts.contexts, texts, strict=True)):
            words = judged_words(*tokens.texts(context, ids))
            shares.append(nonword_share(words, self.known, index))
        return mean_estimate(shares)


def words_beside(tokens: Tokens, prompts: Prompts) -> Words:
    """The words of the English list and of the human texts."""
    both = zip(prompts.contexts, prompts.continuations, strict=True)
    pairs = [tokens.texts(context, ids) for context, ids in both]
    return Words(known_words(english_words(), pairs, []))


def coherence(
    model: CausalLM, prompts: Prompts, texts: Sequence[list[int]], progress: Progress
) -> MeanEstimate:
    """Mean log-likelihood of texts under the model itself, nats per token."""
    rows = [[*context, *ids] for context, ids in zip(prompts.contexts, texts, strict=True)]
    with progress.stage("likelihood of the texts", len(rows)) as stage:
        nll_NK = nll_rows(model, rows, prompts.length, stage=stage)
    return mean_estimate((-nll_NK.mean(axis=1)).tolist())


def reading(
    model: CausalLM, tokens: Tokens, prompts: Prompts, words: Words, progress: Progress
) -> tuple[Reading, TokenScores]:
    """What the model makes of the human texts, and the scores of every token."""
    rows = [[*a, *b] for a, b in zip(prompts.contexts, prompts.continuations, strict=True)]
    with progress.stage("read human texts", len(rows)) as stage:
        scores = score_rows(model, rows, prompts.length, stage=stage)
    nll, entropy = (values.mean(axis=1).tolist() for values in (scores.nll_NK, scores.entropy_NK))
    human: Any = prompts.continuations
    return (
        Reading(
            guessing=math.log(vocabulary_rows(model)),
            nll=mean_estimate(nll),
            entropy=mean_estimate(entropy),
            human_ttr=mean_estimate([type_token_ratio(ids) for ids in human]),
            human_coherence=mean_estimate([-value for value in nll]),
            human_nonwords=words.share(tokens, prompts, human),
        ),
        scores,
    )


def tried(
    model: CausalLM,
    tokens: Tokens,
    prompts: Prompts,
    spec: DecoderSpec,
    words: Words,
    config: DiagnoseConfig,
    progress: Progress,
) -> Tried:
    """The same prompts by one decoder."""
    count = len(prompts.contexts)
    with progress.stage(f"try {spec.text}", count) as stage:
        start = time.perf_counter()
        decoded = run_decoder(
            spec, model, prompts.contexts,
            max_new_tokens=prompts.length,
            seeds_N=[[config.seed, n] for n in range(count)],
            texts_V=tokens.text_of_each() if spec.needs_texts else None,
            banned=tokens.banned("fixed_length"),
            batch_size=config.batch_size,
            stage=stage,
        )  # fmt: skip
        seconds = time.perf_counter() - start
    texts = [text.ids for text in decoded]
    return of_texts(
        model, tokens, prompts, texts, words, progress, name=_short(spec),
        is_deterministic=spec.is_deterministic, seconds=seconds,
    )  # fmt: skip


def _short(spec: DecoderSpec) -> str:
    """A decoder as a user writes it: without parameters that have their usual values."""
    usual = {part.name: part.default for part in DECODERS[spec.name].parameters}
    if len(spec.parts) > 1 or any(usual.get(k) != v for k, v in spec.parameters.items()):
        return spec.text
    return spec.name


def of_texts(
    model: CausalLM,
    tokens: Tokens,
    prompts: Prompts,
    texts: Sequence[list[int]],
    words: Words,
    progress: Progress,
    *,
    name: str,
    is_deterministic: bool,
    seconds: float,
) -> Tried:
    """The figures of texts that one decoder wrote."""
    return Tried(
        decoder=name,
        is_deterministic=is_deterministic,
        looped=share_estimate([loop_period(ids) is not None for ids in texts]),
        ttr=mean_estimate([type_token_ratio(ids) for ids in texts]),
        coherence=coherence(model, prompts, texts, progress),
        nonwords=words.share(tokens, prompts, texts),
        milliseconds=1000 * seconds / (len(texts) * prompts.length),
    )

"""Arms that decode otherwise than greedily: the decoders of the table, and the citation blocker.

Shape letters: N contexts.
"""

import time
from collections.abc import Sequence
from typing import Any

from hyperfitting.config import EvaluateConfig, ModelConfig
from hyperfitting.data.windows import Contexts
from hyperfitting.errors import InputError
from hyperfitting.evaluate.arms import ArmOutputs, draws_of, generations_of
from hyperfitting.generate.citation import CitationBlocked, CitationBlocker
from hyperfitting.generate.contrastive_decoding import require_same_vocabulary
from hyperfitting.generate.decode import decode
from hyperfitting.generate.run import run_decoder
from hyperfitting.generate.specs import DecoderSpec, parse_decoder, parse_decoders
from hyperfitting.generate.stop import rule_of
from hyperfitting.generate.texts import Decoded
from hyperfitting.models.load import load_model, load_tokenizer
from hyperfitting.models.tokens import Tokens, token_texts
from hyperfitting.progress import Progress
from hyperfitting.records import Arm, Generation, Mode
from hyperfitting.records.arms import CITATION_BLOCKED
from hyperfitting.records.study import DecoderRun, Stopped

# Contexts decoded once more alone, to see whether the batch matters (definitions, section 8.4).
ALONE = 8


def requested_decoders(config: EvaluateConfig) -> tuple[DecoderSpec, ...]:
    """The decoders of a config; greedy is left out, because every model is decoded greedily.

    Raises:
        InputError: an unknown decoder or parameter, a stop without patterns, contrastive decoding
            without an amateur, or an amateur that nothing uses.
    """
    specs = parse_decoders(config.decoders) if config.decoders.strip() else ()
    for spec in specs:
        if spec.name == "stop":
            rule_of(**spec.parameters)
    contrasts = any(spec.needs_amateur for spec in specs)
    if contrasts and config.amateur is None:
        raise InputError(
            "contrastive decoding compares with an amateur model, and none was given",
            needed="a smaller model with the same vocabulary: amateur=MODEL",
        )
    if config.amateur is not None and not contrasts:
        raise InputError(
            f"the amateur {config.amateur} is given, which no decoder uses",
            needed="contrastive_decoding among the decoders, or no amateur",
        )
    return tuple(spec for spec in specs if spec.name != "greedy")


def load_amateur(config: EvaluateConfig, tokenizer: Any) -> Any:
    """The amateur model of contrastive decoding, None where none is asked for.

    Raises:
        InputError: it cannot be loaded, or has another vocabulary.
    """
    if config.amateur is None:
        return None
    amateur = ModelConfig(
        name=config.amateur, device=config.device, trust_remote_code=config.trust_remote_code
    )
    require_same_vocabulary(tokenizer.get_vocab(), load_tokenizer(amateur).get_vocab())
    return load_model(amateur)


def decoder_outputs(
    model: Any,
    tokens: Tokens,
    contexts: Contexts,
    config: EvaluateConfig,
    progress: Progress,
    *,
    arm: Arm,
    spec: DecoderSpec,
    amateur: Any = None,
) -> tuple[ArmOutputs, DecoderRun]:
    """Continuations of every context: fixed length for each sampling seed, natural for the first.

    What a context gets depends on its seed (sampling seed, context) alone. A deterministic
    decoder writes once; some contexts are decoded again alone.
    """
    here = arm.decoded(spec.name, spec.parameters)
    count = len(contexts)
    num_seeds = 1 if spec.is_deterministic else max(1, config.sampling_seeds)
    length = contexts.length
    texts_V = tokens.text_of_each() if spec.needs_texts else None

    def write(rows: Sequence[list[int]], mode: Mode, draws: int, batch_size: int) -> list[Decoded]:
        return run_decoder(
            spec, model, list(rows) * draws,
            max_new_tokens=config.natural_tokens if mode == "natural" else length,
            seeds_N=[[seed, n] for seed in range(draws) for n in range(len(rows))],
            texts_V=texts_V,
            amateur=amateur,
            banned=tokens.banned(mode),
            ends=tokens.ends if mode == "natural" else (),
            batch_size=batch_size,
        )  # fmt: skip

    with progress.stage(f"decode {here.in_full}", count) as stage:
        start = time.perf_counter()
        decoded = write(contexts.contexts, "fixed_length", num_seeds, config.batch_size)
        seconds = time.perf_counter() - start
        natural = stopped = None
        if config.natural_tokens:
            written = write(contexts.contexts, "natural", 1, config.batch_size)
            natural = generations_of(written, contexts, tokens, arm=here, mode="natural")
            if spec.name == "stop":
                whole = run_decoder(
                    parse_decoder("greedy"), model, contexts.contexts,
                    max_new_tokens=config.natural_tokens, banned=tokens.banned("natural"),
                    ends=tokens.ends, batch_size=config.batch_size,
                )  # fmt: skip
                stopped = stopped_texts(spec, written, whole, contexts.continuations)
        alone = None
        few = min(ALONE, count)
        if spec.is_deterministic:
            again = write(contexts.contexts[:few], "fixed_length", 1, 1)
            alone = sum(a.ids == b.ids for a, b in zip(again, decoded, strict=False)) / few
        seeds = "" if spec.is_deterministic else f" x {num_seeds} sampling seeds"
        stage.update(count, f"{spec.text}, {count} contexts{seeds}")
    draws = draws_of(decoded, contexts, tokens, arm=here)
    outputs = ArmOutputs(here, draws, natural, is_drawn=not spec.is_deterministic, seconds=seconds)
    run = DecoderRun(
        arm=here,
        decoder=spec.text,
        is_deterministic=spec.is_deterministic,
        alone_equals_batch=alone,
        alone_n=0 if alone is None else few,
        stopped=stopped,
    )
    return outputs, run


def stopped_texts(
    spec: DecoderSpec,
    written: Sequence[Decoded],
    whole: Sequence[Decoded],
    human: Sequence[Sequence[int]],
) -> Stopped:
    """How often the decoder `stop` ended a text, what it saved, and how often it would be wrong.

    `whole` are the same texts as greedy decoding writes them; `human` those of the authors.
    """
    rule = rule_of(**spec.parameters)
    ended = sum(len(a.ids) < len(b.ids) for a, b in zip(written, whole, strict=True))
    tokens = sum(len(text.ids) for text in whole)
    return Stopped(
        share=ended / len(whole),
        tokens_saved=1 - sum(len(text.ids) for text in written) / tokens,
        human_share=sum(rule.first_stop(ids) is not None for ids in human) / len(human),
        n=len(whole),
    )


def blocked_outputs(
    model: Any,
    tokens: Tokens,
    contexts: Contexts,
    config: EvaluateConfig,
    progress: Progress,
    *,
    arm: Arm,
    training_rows: Sequence[Sequence[int]],
) -> ArmOutputs:
    """Greedy continuations without a training 5-gram's continuation at the end of a word."""
    here = arm.decoded(CITATION_BLOCKED)
    texts, starts_word = token_texts(tokens.tokenizer, len(tokens.tokenizer))
    # A token that is no letter or digit ends a word as a space does; a text may always end.
    starts = [
        (start or not text[:1].isalnum()) and i not in tokens.ends
        for i, (start, text) in enumerate(zip(starts_word, texts, strict=True))
    ]
    choose = CitationBlocked(CitationBlocker(training_rows, starts_word_V=starts))

    def write(mode: Mode, most: int) -> list[Generation]:
        decoded = decode(
            model, contexts.contexts, choose,
            max_new_tokens=most, banned=tokens.banned(mode),
            ends=tokens.ends if mode == "natural" else (), batch_size=config.batch_size,
        )  # fmt: skip
        return generations_of(decoded, contexts, tokens, arm=here, mode=mode)

    with progress.stage(f"decode {here.in_full}", len(contexts)) as stage:
        start = time.perf_counter()
        fixed = write("fixed_length", contexts.length)
        seconds = time.perf_counter() - start
        natural = write("natural", config.natural_tokens) if config.natural_tokens else None
        stage.update(len(contexts), f"{len(contexts)} contexts, {len(training_rows)} windows")
    return ArmOutputs(here, [fixed], natural, seconds=seconds)

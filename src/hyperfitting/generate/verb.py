"""Continue a user's prompts with any model and decoder."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypedDict

from hyperfitting.config import GenerateConfig, ModelConfig, require_effect
from hyperfitting.data.borders import borders_of
from hyperfitting.errors import InputError
from hyperfitting.generate.contrastive_decoding import require_same_vocabulary
from hyperfitting.generate.run import run_decoder, said_for
from hyperfitting.generate.specs import DecoderSpec, parse_decoder
from hyperfitting.models.fit import check_fit
from hyperfitting.models.load import (
    load_model,
    load_original,
    load_result,
    load_tokenizer,
    require_tokenizer,
)
from hyperfitting.models.strength import at_strength
from hyperfitting.models.tokens import Tokens
from hyperfitting.models.tuned import (
    adapter_base,
    base_of_tuned,
    kind_of_tuned,
    load_tuned,
    require_same_tokenizer,
)
from hyperfitting.models.types import CausalLM, Tokenizer
from hyperfitting.progress import Progress
from hyperfitting.runs import RunFolder


class Continued(TypedDict):
    """A prompt and how a model went on; `ended` where the text ended itself."""

    prompt: str
    continuation: str
    token_ids: list[int]
    ended: bool


def _require_own(config: ModelConfig, own: ModelConfig) -> None:
    """Refuse to be told another base of a run than the one that it was trained from.

    Raises:
        InputError: it is.
    """
    for name in ("revision", "quantization"):
        given, trained = getattr(config, name), getattr(own, name)
        if name in config.model_fields_set and given not in (None, trained):
            raise InputError(
                f"model.{name} is {given}, and the run {config.name} was trained from {own.name} "
                f"with model.{name}={trained}",
                needed=f"without model.{name}: a run knows its base",
            )


def open_model(
    config: ModelConfig, texts: Sequence[str] = (), *, strength: float = 1.0
) -> tuple[CausalLM, Tokenizer]:
    """A model and its tokenizer: a run, an adapter on the base it names, or a whole checkpoint.

    An adapter's own tokenizer must read `texts` as its base's does. What was trained of a run or
    adapter counts `strength` times.

    Raises:
        InputError: it cannot be loaded, a run's base is no longer what it was trained from, or a
            strength is given of a model that names no original.
    """
    run = RunFolder(Path(config.name))
    if run.manifest_file.exists():
        manifest = run.whole()
        own = manifest.base_model()
        _require_own(config, own)
        kept = {key: getattr(own, key) for key in ("name", "revision", "quantization")}
        base = config.model_copy(update=kept)
        tokenizer = load_tokenizer(base)
        require_tokenizer(tokenizer, manifest.tokenizer_digest, base)
        known = manifest.known_base
        model = load_result(run, base, known=known)
        return at_strength(model, partial(load_original, base, known), strength), tokenizer
    named = adapter_base(config)
    if named is None:
        if strength != 1:
            raise InputError(
                f"the strength {strength:g} is given, and {config.name} names no original",
                needed="a run, or an adapter that names its base",
            )
        return load_model(config), load_tokenizer(config)
    base = base_of_tuned(config, config.model_copy(update={"name": named.name, "revision": None}))
    kind = kind_of_tuned(config, base)
    if kind == "model":
        return load_model(config), load_tokenizer(config)
    tokenizer = load_tokenizer(base)
    note = require_same_tokenizer(base, config, tokenizer, texts)
    tuned = load_tuned(config, base, kind, note=note)
    return at_strength(tuned, partial(load_model, base), strength), tokenizer


def encode_prompts(
    prompts: Sequence[str], model: CausalLM, tokens: Tokens, new_tokens: int, name: str
) -> list[list[int]]:
    """Prompts as the tokens that the model goes on with.

    Raises:
        InputError: a prompt without tokens, or one that leaves no room for `new_tokens`.
    """
    borders = borders_of(tokens.tokenizer)
    contexts = [borders.encode_prompt(prompt) for prompt in prompts]
    for prompt, ids in zip(prompts, contexts, strict=True):
        if not ids:
            raise InputError(f"the prompt {prompt!r} has no tokens", needed="a text")
    longest, of_prompt = max((len(ids), n + 1) for n, ids in enumerate(contexts))
    check_fit(
        model, max(map(max, contexts)), longest + new_tokens, name,
        hint=f"prompt {of_prompt} has {longest} tokens: shorten it, or lower max_new_tokens",
    )  # fmt: skip
    return contexts


def generate(
    prompts: Sequence[str], config: GenerateConfig, progress: Progress | None = None
) -> list[Continued]:
    """Continue prompts: one entry per prompt and sample, with tokens and how it ended.

    Raises:
        InputError: an unknown decoder, a model that cannot be loaded or has too few positions, or
            an amateur with another vocabulary.
    """
    progress = progress or Progress()
    if not prompts or isinstance(prompts, str):
        raise InputError(f"the prompts are {prompts!r}", needed="a list with at least one text")
    spec = parse_decoder(config.decoder)
    drawing = (not spec.is_deterministic, "a decoder that draws", "decoder=min_p or another such")
    require_effect(config, ("seed", *drawing), ("num_samples", *drawing))
    model, tokenizer = open_model(config.model, prompts, strength=config.strength)
    tokens = Tokens.of(model, tokenizer)
    amateur = _amateur(config, spec, tokenizer)
    contexts = encode_prompts(prompts, model, tokens, config.max_new_tokens, config.model.name)
    longest = max(map(len, contexts))
    count = config.num_samples
    rows = [context for context in contexts for _ in range(count)]
    seeds = [[config.seed, n, s] for n in range(len(contexts)) for s in range(count)]
    full = longest + config.max_new_tokens
    notes = (said_for(spec, m, longest=full) for m in (model, amateur) if m)
    for note in filter(None, dict.fromkeys(notes)):
        progress.say(f"  {note}")
    with progress.stage(f"generate, {spec.text}", len(rows)) as stage:
        decoded = run_decoder(
            spec, model, rows,
            max_new_tokens=config.max_new_tokens, seeds_N=seeds, amateur=amateur,
            texts_V=tokens.text_of_each() if spec.needs_texts else None,
            banned=tokens.banned("natural"), ends=tokens.ends,
            batch_size=config.batch_size, stage=stage,
        )  # fmt: skip
        stage.update(len(rows), f"{sum(len(text.ids) for text in decoded):,} tokens")
    return [
        {
            "prompt": prompts[n // count],
            "continuation": tokens.texts(rows[n], text.ids)[1],
            "token_ids": text.ids,
            "ended": bool(text.ids) and text.ids[-1] in tokens.ends,
        }
        for n, text in enumerate(decoded)
    ]


def _amateur(config: GenerateConfig, spec: DecoderSpec, tokenizer: Tokenizer) -> CausalLM:
    if config.amateur is None:
        return None
    if not spec.needs_amateur:
        raise InputError(
            f"--amateur is given, which {spec.name} does not use",
            needed="--decoder contrastive_decoding, or no amateur",
        )
    named = {"name": config.amateur, "revision": None}  # model.revision is the expert's
    model, other = open_model(config.model.model_copy(update=named))
    require_same_vocabulary(tokenizer.get_vocab(), other.get_vocab())
    return model

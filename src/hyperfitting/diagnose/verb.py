"""Find out why a model loops and what would help, in minutes and without training."""

import math
import shlex
import time
from pathlib import Path
from typing import Any

from hyperfitting.config import require_effect
from hyperfitting.config.diagnose import DiagnoseConfig
from hyperfitting.data.borders import borders_of
from hyperfitting.data.sources import read_documents
from hyperfitting.data.template import ANY_DAY, ChatTemplate
from hyperfitting.data.windows import build_dataset
from hyperfitting.diagnose import advice
from hyperfitting.diagnose.ends import look_at_ends, unread_settings
from hyperfitting.diagnose.texts import (
    Prompts,
    greedy_texts,
    looped,
    of_texts,
    reading,
    tried,
    words_beside,
)
from hyperfitting.environment import environment
from hyperfitting.errors import InputError
from hyperfitting.generate.decoders import DECODERS
from hyperfitting.generate.specs import parse_decoders
from hyperfitting.generate.verb import open_model
from hyperfitting.measure.intervals import mean_estimate
from hyperfitting.measure.ranks import top1_agreement
from hyperfitting.models.devices import cast_weights
from hyperfitting.models.fit import check_fit
from hyperfitting.models.forward import choose_rows
from hyperfitting.models.load import is_quantized
from hyperfitting.models.located import locate
from hyperfitting.models.merged import STORED, stored_dtype
from hyperfitting.models.tokens import Tokens
from hyperfitting.models.types import CausalLM, Tokenizer
from hyperfitting.progress import Progress, in_number
from hyperfitting.records.diagnosed import (
    Arithmetic,
    Diagnosis,
    Finding,
    Looped,
    Reading,
    Tried,
)
from hyperfitting.runs import RunFolder

LONG = 60.0  # seconds from which on it is said how long the rest takes
ASK = "Go on with this text:\n\n"


def diagnose(config: DiagnoseConfig, progress: Progress | None = None) -> Diagnosis:
    """Look at a model's ends and template, its loops, its precision and what decoders would do.

    Raises:
        InputError: a model that cannot be loaded, texts that do not serve, or an unknown decoder.
    """
    progress = progress or Progress()
    specs = parse_decoders(config.decoders) if config.decoders.strip() else ()
    if needy := next((spec for spec in specs if DECODERS[spec.name].needs_amateur), None):
        raise InputError(f"{needy.name} compares with a second model", needed="other decoders")
    if ending := next((spec for spec in specs if DECODERS[spec.name].only_ends), None):
        raise InputError(
            f"{ending.name} only ends texts, and texts of one length are compared",
            needed="other decoders",
        )
    draws = any(not spec.is_deterministic for spec in specs)
    require_effect(config, ("seed", draws, "a decoder that draws", "decoders=min_p"))
    with progress.stage("load"):
        model, tokenizer = open_model(config.model)
    tokens = Tokens.of(model, tokenizer)
    static = look_at_ends(model, tokens) + unread_settings(config.model)
    prompts = _prompts(config, tokenizer, progress)
    _require_fit(model, prompts, config)
    chat, refused = _chat(model, prompts, tokens, config)
    static += refused
    words = words_beside(tokens, prompts)
    read, scores = reading(model, tokens, prompts, words, progress)

    start = time.monotonic()
    texts = greedy_texts(model, tokens, prompts, config, progress, "greedy texts")
    both = time.monotonic() - start
    halves = _halves(config) if config.precision and not is_quantized(model) else []
    rounds = (chat is not None) + len(halves)
    _foretell(progress, rounds * both + len(specs) * texts.seconds, len(specs))
    greedy = [looped(texts, prompts, tokens.ends, "float32")]
    if chat is not None:
        greedy.append(_answers(model, tokens, chat, config, progress))
    found = [
        of_texts(
            model, tokens, prompts, [text.ids for text in texts.fixed], words, progress,
            name="greedy", is_deterministic=True, seconds=texts.seconds,
        )
    ]  # fmt: skip
    found += [tried(model, tokens, prompts, spec, words, config, progress) for spec in specs]
    if config.precision and is_quantized(model):
        says = "its weights are quantised: not run in 16 bits"
        static.append(Finding(name="precision", level="note", says=says))
    for name in halves:
        half = _in_16_bits(model, tokens, prompts, config, scores.top1_NK, progress, name)
        if isinstance(half, Looped):
            greedy.append(half)
        else:
            static.append(half)
    return _concluded(
        config, prompts, tokens, static=static, greedy=greedy, read=read, found=found,
        is_chat=chat is not None,
    )  # fmt: skip


def answers_to_chats(
    config: DiagnoseConfig, progress: Progress, *, strength: float = 1.0
) -> Looped | None:
    """How many greedy answers loop, through the chat template alone; None where there is none.

    The chats are those of `diagnose`. `config.model` may be a run, at a strength.

    Raises:
        InputError: as `diagnose`.
    """
    with progress.stage("load"):
        model, tokenizer = open_model(config.model, strength=strength)
    tokens = Tokens.of(model, tokenizer)
    chat, _ = _chat(model, _prompts(config, tokenizer, progress), tokens, config)
    return None if chat is None else _answers(model, tokens, chat, config, progress)


def _answers(
    model: CausalLM, tokens: Tokens, chat: Prompts, config: DiagnoseConfig, progress: Progress
) -> Looped:
    texts = greedy_texts(model, tokens, chat, config, progress, "greedy answers to a chat")
    return looped(texts, chat, tokens.ends, "float32")


def _foretell(progress: Progress, seconds: float, decoders: int) -> None:
    """Say about how long the rest takes, from what greedy texts took, where that is long."""
    if seconds >= LONG:
        most = f", most of it for {decoders} decoders" if decoders else ""
        minutes = in_number(math.ceil(seconds / 60), "minute")
        progress.say(f"about {minutes} more{most}")


def _prompts(config: DiagnoseConfig, tokenizer: Tokenizer, progress: Progress) -> Prompts:
    """The beginnings of held-out texts."""
    with progress.stage("read texts") as stage:
        dataset = build_dataset(read_documents(config.data), tokenizer, config.data, stage)
        chosen = dataset.contexts.first(config.contexts)
        stage.update(1, f"{len(chosen)} texts")
    return Prompts(config.data.source, chosen.contexts, chosen.continuations, chosen.length)


def _require_fit(model: CausalLM, prompts: Prompts, config: DiagnoseConfig) -> None:
    """Refuse prompts that the model cannot read.

    Raises:
        InputError: a token without an embedding, or more positions than there are.
    """
    widest = max(map(len, prompts.contexts)) + max(prompts.length, config.natural_tokens)
    check_fit(
        model, max(map(max, prompts.contexts)), widest, config.model.name,
        hint="lower natural_tokens, data.context_tokens or data.continuation_tokens",
    )  # fmt: skip


def _chat(
    model: CausalLM, prompts: Prompts, tokens: Tokens, config: DiagnoseConfig
) -> tuple[Prompts | None, list[Finding]]:
    """The same beginnings as a user's messages; None where it cannot be asked so, and why."""
    tokenizer = tokens.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        return None, []
    lead = len(borders_of(tokenizer).lead)
    try:
        template = ChatTemplate(tokenizer, ANY_DAY)
        contexts = []
        for context in prompts.contexts:
            asked = ASK + str(tokenizer.decode(context[lead:], skip_special_tokens=True))
            text = template.text([{"role": "user", "content": asked}], prompt=True)
            contexts.append(template.tokens(text))
    except Exception:
        return None, []  # `look_at_ends` says so: the template is a foreign program
    chat = Prompts("its chat template", contexts, [], prompts.length)
    try:
        _require_fit(model, chat, config)
    except InputError as error:
        says = f"a chat cannot be run: {error.given}"
        return None, [Finding(name="chat", level="problem", says=says, advice=error.needed)]
    return chat, []


def _halves(config: DiagnoseConfig) -> list[Arithmetic]:
    """The types of 16 bits that are tried: that of the checkpoint first, which holds no more."""
    return ["float16", "bfloat16"] if stored_dtype(config.model) == "float16" else ["bfloat16"]


def _in_16_bits(
    model: CausalLM,
    tokens: Tokens,
    prompts: Prompts,
    config: DiagnoseConfig,
    top1_NK: Any,
    progress: Progress,
    name: Arithmetic,
) -> Looped | Finding:
    """The same texts in 16 bits, and how often it chooses as in float32; or why it cannot be run.

    Mutates `model`, whose weights are float32 afterwards: those that the type holds.
    """
    cast_weights(model, STORED[name])
    try:
        texts = greedy_texts(model, tokens, prompts, config, progress, f"greedy texts in {name}")
        rows = [[*a, *b] for a, b in zip(prompts.contexts, prompts.continuations, strict=True)]
        with progress.stage(f"choices in {name}"):
            agreement = top1_agreement(choose_rows(model, rows, prompts.length), top1_NK)
    except InputError as error:  # numbers beyond the type
        says = f"in {name} {error.given}"
        return Finding(name="precision", level="problem", says=says, advice="run it in float32")
    finally:
        cast_weights(model, STORED["float32"])
    found = looped(texts, prompts, tokens.ends, name)
    return found.model_copy(update={"top1": mean_estimate(agreement.tolist())})


def _concluded(
    config: DiagnoseConfig,
    prompts: Prompts,
    tokens: Tokens,
    *,
    static: list[Finding],
    greedy: list[Looped],
    read: Reading,
    found: list[Tried],
    is_chat: bool,
) -> Diagnosis:
    """All figures with what they mean."""
    diagnosis = Diagnosis(
        model=config.model.name,
        texts=prompts.title,
        contexts=len(prompts.contexts),
        tokens=prompts.length,
        ends=tokens.listed_ends(),
        greedy=greedy,
        reading=read,
        tried=found,
        findings=static,
        advice="",
        environment=environment(),
    )
    in_full = [each for each in greedy if each.arithmetic == "float32"]
    findings = [
        *static,
        *(advice.loop_finding(each) for each in in_full),
        advice.ending_finding(in_full[-1], static, config.natural_tokens, is_chat=is_chat),
        *advice.precision_findings(diagnosis),
        advice.looks_finding(diagnosis),
    ]
    diagnosis = diagnosis.model_copy(update={"findings": findings})
    return diagnosis.model_copy(update={"advice": advice.advice(diagnosis, _fix(config))})


def _fix(config: DiagnoseConfig) -> str:
    """The command that trains loops away from this model, on these texts; or what comes before it.

    A run or an adapter is no model that `fix` takes: it is trained from its base.
    """
    model, data = config.model, config.data
    found, is_run = locate(model), RunFolder(Path(model.name)).manifest_file.exists()
    if is_run or (found.has_adapter and not found.has_weights):
        return "`hyperfit fix MODEL`, with the model that it was trained from,"
    words = ["hyperfit", "fix", model.name, "--data", data.source]
    words += ["--text-field", data.text_field] if data.text_field is not None else []
    words += ["--trust-remote-code"] if model.trust_remote_code else []
    words += ["--out", "fixed"]
    words += [f"revision={model.revision}"] if model.revision is not None else []
    return f"`{shlex.join(words)}`"

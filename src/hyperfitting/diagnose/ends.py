"""Ends of texts, chat templates and what the checkpoint has other programs decode with."""

from collections.abc import Sequence

from hyperfitting.config import ModelConfig
from hyperfitting.data.borders import OF_TURN, borders_of
from hyperfitting.data.template import ANY_DAY, ChatTemplate
from hyperfitting.errors import InputError
from hyperfitting.models.interface import embedding_rows, vocabulary_rows
from hyperfitting.models.located import locate
from hyperfitting.models.merged import AGAINST_REPETITION, odd_settings
from hyperfitting.models.tokenizers import PROBE
from hyperfitting.models.tokens import Tokens, declared_ends
from hyperfitting.models.types import CausalLM, Tokenizer
from hyperfitting.records.diagnosed import Finding

GENERATION_CONFIG = "generation_config.json"
LENGTHS = ("max_new_tokens", "max_length")
EXCHANGE = (
    {"role": "user", "content": "Who has the key?"},
    {"role": "assistant", "content": "Nobody."},
)


def look_at_ends(model: CausalLM, tokens: Tokens) -> list[Finding]:
    """Everything about ends, template and settings that needs no text of the model."""
    tokenizer = tokens.tokenizer
    return [
        _vocabulary(model, tokenizer),
        _round_trip(tokenizer),
        _ends(model, tokens),
        *_padding(tokenizer),
        *_template(model, tokens),
        _settings(model),
    ]


def _vocabulary(model: CausalLM, tokenizer: Tokenizer) -> Finding:
    rows, largest = embedding_rows(model), max(tokenizer.get_vocab().values())
    if largest >= rows:
        return Finding(
            name="tokenizer", level="problem",
            says=f"the tokenizer has a token {largest:,}, the model embeddings of 0 to "
            f"{rows - 1:,}",
            advice="take the tokenizer that the model was trained with",
        )  # fmt: skip
    return Finding(
        name="tokenizer", level="fine",
        says=f"{len(tokenizer):,} tokens, {rows:,} embeddings",
    )  # fmt: skip


def _round_trip(tokenizer: Tokenizer) -> Finding:
    """Whether texts come back from their tokens; another tokenizer's class breaks that."""
    borders = borders_of(tokenizer)
    for text in PROBE:
        again = str(tokenizer.decode(borders.encode(text)))
        if "".join(again.split()) != "".join(text.split()):
            return Finding(
                name="round trip", level="note",
                says=f"a text does not come back from its tokens: {text[:30]!r} becomes "
                f"{again[:30]!r}",
                advice="if the model writes odd characters, look whether tokenizer_config.json "
                "names another tokenizer class than the model was trained with",
            )  # fmt: skip
    return Finding(name="round trip", level="fine", says="texts come back from their tokens")


def _ends(model: CausalLM, tokens: Tokens) -> Finding:
    rows = vocabulary_rows(model)
    if beyond := [i for i in declared_ends(model) if not 0 <= i < rows]:
        return Finding(
            name="ends", level="problem",
            says=f"the generation config stops at token {beyond[0]}, and the model has 0 to "
            f"{rows - 1:,}",
            advice="name tokens that it has in eos_token_id of generation_config.json",
        )  # fmt: skip
    if tokens.ends:
        return Finding(name="ends", level="fine", says=tokens.ends_in_words())
    end = tokens.tokenizer.eos_token
    why = "the tokenizer has none, nor has the generation config"
    if end is not None:
        why = f"the tokenizer's, {end}, is beyond the {rows:,} tokens that the model has rows for"
    return Finding(
        name="ends", level="problem", says=f"no token ends a text: {why}",
        advice="give the model a row for it (resize_token_embeddings) and train it, or name one of "
        "its tokens as eos_token",
    )  # fmt: skip


def _padding(tokenizer: Tokenizer) -> list[Finding]:
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id != tokenizer.eos_token_id:
        return []
    return [
        Finding(
            name="padding", level="note",
            says=f"{tokenizer.pad_token} pads and ends texts: trainers that leave padding out of "
            "the loss by its id never train the end, and a chat fine-tune then never stops",
            advice="before training it further: another pad token, or labels that keep the end "
            "(hyperfit train pads by position)",
        )
    ]  # fmt: skip


def _template(model: CausalLM, tokens: Tokens) -> list[Finding]:
    """Whether a chat ends its turns, stops at that end, and opens a text once."""
    tokenizer = tokens.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        return [Finding(name="template", level="fine", says="no chat template: a base model")]
    try:
        template = ChatTemplate(tokenizer, ANY_DAY)
        text = template.text(EXCHANGE)
    except Exception as error:
        return [
            Finding(
                name="template", level="problem",
                says=f"the chat template refuses a plain exchange: {str(error)[:100]}",
                advice="give a template that takes user and assistant messages",
            )
        ]  # fmt: skip
    closers = [end for end, why in tokens.reasons.items() if OF_TURN in why]
    return [_turn(model, tokenizer, closers), *_opened_twice(tokenizer, template, text)]


def _turn(model: CausalLM, tokenizer: Tokenizer, closers: Sequence[int]) -> Finding:
    if not closers:
        return Finding(
            name="template", level="problem",
            says="nothing in the chat template surely closes the assistant's turn: whoever is "
            "trained on it never learns to stop",
            advice="end each assistant message with the end token in chat_template",
        )  # fmt: skip
    declared = model.generation_config.eos_token_id
    declared = declared if isinstance(declared, list) else [declared]
    name = str(tokenizer.convert_ids_to_tokens(closers[0]))
    if not set(closers) & {*declared, tokenizer.eos_token_id}:
        return Finding(
            name="template", level="problem",
            says=f"a turn closes with {name}, at which neither the generation config nor the "
            "tokenizer stops: other programs go on behind the answer",
            advice=f"add the id of {name} to eos_token_id in generation_config.json",
        )  # fmt: skip
    return Finding(
        name="template", level="fine", says=f"a turn closes with {name}, and stops there"
    )


def _opened_twice(tokenizer: Tokenizer, template: ChatTemplate, text: str) -> list[Finding]:
    """Whether tokenising a rendered chat as any text opens it twice."""
    lead = borders_of(tokenizer).lead
    alone = template.tokens(text)
    if not lead or alone[: len(lead)] != lead:
        return []
    name = str(tokenizer.convert_ids_to_tokens(lead[0]))
    return [
        Finding(
            name="opened twice", level="note",
            says=f"template and tokenizer both open a text with {name}: a rendered chat that is "
            "tokenised like any text opens with it twice",
            advice="tokenise rendered chats with add_special_tokens=False, or let "
            "apply_chat_template tokenise",
        )
    ]  # fmt: skip


def unread_settings(model: ModelConfig) -> list[Finding]:
    """That a generation config is there and cannot be read: other programs pass over it."""
    checkpoint = locate(model)
    if GENERATION_CONFIG not in checkpoint.files:
        return []
    try:
        checkpoint.read(GENERATION_CONFIG)
    except InputError as error:
        says = f"{error.given}: programs pass over it, with the ends that it names"
        return [Finding(name="settings", level="problem", says=says, advice=error.needed)]
    return []


def _lengths(model: CausalLM) -> list[str]:
    """After how many tokens other programs stop."""
    given = model.generation_config.to_diff_dict()
    return [f"{name}={given[name]}" for name in LENGTHS if given.get(name)]


def _settings(model: CausalLM) -> Finding:
    """What the checkpoint has other programs decode with; greedy decoding here has none of it."""
    shown = [*odd_settings(model), *_lengths(model)]
    if not shown:
        return Finding(
            name="settings", level="fine", says="the generation config decodes greedily, unchanged"
        )
    penalises = any(each.startswith(AGAINST_REPETITION) for each in shown)
    penalty = getattr(model.generation_config, "repetition_penalty", None)
    rewards = isinstance(penalty, int | float) and penalty < 1
    advice = "a penalty hides loops, and damages texts that repeat for a reason"
    if rewards:
        advice = "a repetition penalty below 1 rewards what was said: it makes loops"
    return Finding(
        name="settings", level="note",
        says=f"the generation config has {', '.join(shown)}: other programs decode by it, and what "
        "is measured here is greedy decoding without",
        advice=advice if penalises else None,
    )  # fmt: skip

"""Why a document is left out or cannot be held out: words, hints and the refusals with them."""

from collections.abc import Mapping
from typing import NamedTuple

from hyperfitting.config import DataConfig
from hyperfitting.errors import InputError
from hyperfitting.progress import in_number


class Reason(NamedTuple):
    """How a message says it, after "N documents", and what to do about it."""

    words: str
    hint: str


LONGER = "use longer windows (data.window_tokens=...)"
ROLES = "name the roles system, user and assistant"

# Keys of a run's `data_account`. The words may use settings of the data.
DROPPED: Mapping[str, Reason] = {
    "empty": Reason(
        "are empty", "leave empty rows out; if all are, choose the column with --text-field"
    ),
    "duplicate": Reason("repeat another", "give more texts"),
    "same_window": Reason(
        "open with the same {window_tokens} tokens as another (a shared system prompt?)", LONGER
    ),
    "too_short": Reason(
        "are shorter than a window",
        "use shorter windows (data.window_tokens=..., with data.context_tokens and "
        "data.continuation_tokens), or --windows documents",
    ),
    "nothing_to_train_on": Reason(
        "have no answer within the first {window_tokens} tokens", f"{LONGER}, or --loss-on all"
    ),
    "no_answer": Reason(
        "have no message of the role assistant", f"{ROLES}, or train with --loss-on all"
    ),
    "message_says_nothing": Reason(
        "hold a message with neither content nor calls", "leave such messages out"
    ),
    "no_answer_to_learn": Reason(
        "mark every answer as not to be learnt", "leave such conversations out"
    ),
    "control_token_in_content": Reason(
        "hold a message with a control token of the tokenizer written out in it, which would "
        "become that token",
        "take such tokens out of the content: the chat template writes them",
    ),
    "marked_up": Reason(
        "are texts that open or close with a control token of the tokenizer written out, as "
        "rendered chats do: it would be learnt letter by letter",
        "give conversations in a `messages` column; take such tokens out of texts, which are "
        "opened and closed by the tokenizer's own",
    ),
    "control_token_in_text": Reason(
        "hold a control token written out, such as </s>, which the tokenizer takes for the token",
        "take it out of the texts, or write it otherwise",
    ),
    "tool_calls_not_written": Reason(
        "hold tool calls that the chat template does not write",
        "take a model whose template writes calls, or write them into the content",
    ),
    "tools_not_written": Reason(
        "have functions in the column `tools` that the chat template does not write",
        "take a model whose template writes them, or rename the column to train without them",
    ),
}

UNTESTABLE: Mapping[str, Reason] = {
    "short": Reason(
        "have fewer than {needed} tokens",
        "ask for shorter contexts (data.context_tokens=..., data.continuation_tokens=...)",
    ),
    "same_context": Reason(
        "open with the same context as another (a shared heading or prompt?), which would be one "
        "context counted several times",
        "ask for longer contexts (data.context_tokens=...), or take the heading off",
    ),
    "no_answer": Reason("have no message of the role assistant", ROLES),
    "answer_not_found": Reason(
        "do not show where their last answer begins: the chat template writes it otherwise than "
        "after its generation prompt, and rewrites it",
        "take a model whose template keeps answers as they are given",
    ),
    "answer_not_to_learn": Reason(
        "mark their last answer as not to be learnt", "end conversations with an answer to learn"
    ),
    "short_answer": Reason(
        "have a last answer of fewer than {continuation_tokens} tokens before a control token",
        "ask for shorter continuations (data.continuation_tokens=...)",
    ),
    "answer_beyond_window": Reason(
        "have a last answer that does not fit in the first {window_tokens} tokens", LONGER
    ),
}


def _words(reason: Reason, config: DataConfig) -> str:
    needed = config.context_tokens + config.continuation_tokens
    return reason.words.format(needed=needed, **config.model_dump())


def counted(
    reasons: Mapping[str, Reason], counts: Mapping[str, int], config: DataConfig
) -> tuple[list[str], list[str]]:
    """Each reason with its count, and the hints, the most frequent first."""
    found = [key for key in reasons if counts.get(key)]
    found.sort(key=lambda key: -counts[key])
    parts = [f"{counts[key]} {_words(reasons[key], config)}" for key in found]
    return parts, list(dict.fromkeys(reasons[key].hint for key in found))


def needed_tokens(config: DataConfig) -> int:
    """Fewest tokens a document must have to be a training window."""
    return config.window_tokens if config.windows == "fixed" else 2


def nothing_usable(
    config: DataConfig, account: Mapping[str, int], longest: int | None, roles: set[str]
) -> InputError:
    """The refusal of a source of which no document is left; `longest` is in tokens."""
    parts, hints = counted(DROPPED, account, config)
    if account.get("no_answer") and roles:
        parts.append(f"the roles are {', '.join(sorted(map(repr, roles)))}")
    of_all = f"of {account['read']} documents, {'; '.join(parts)}"
    hint = "; ".join(hints)
    if account["empty"] + account["duplicate"] == account["read"]:
        return InputError(
            f"{config.source} holds no text", needed="documents with text", hint=hint or None
        )
    if account.get("too_short"):
        return InputError(
            (f"{of_all}; " if len(parts) > 1 else "")
            + f"no document of {config.source} fills one window: the longest has {longest} tokens",
            needed=f"at least {needed_tokens(config)} tokens",
            hint=hint,
        )
    return InputError(
        f"no window of {config.source} holds a token to train on: {of_all}",
        needed="documents with text, and answers inside the window",
        hint=hint,
    )


def too_few(
    config: DataConfig,
    account: Mapping[str, int],
    usable: int,
    longest: int,
    untestable: Mapping[str, int],
    wanted: tuple[int, int],
) -> InputError:
    """The refusal of a source that cannot be split; `wanted` documents held out and trained on."""
    testable = usable - sum(untestable.values())
    parts, hints = counted(UNTESTABLE, untestable, config)
    dropped, of_dropped = counted(DROPPED, account, config)
    given = (
        f"{config.source} has {in_number(usable, 'usable document')}, {testable} of them fit to "
        f"test on (the longest has {longest} tokens)"
    )
    if parts:
        given += f"; not to test on: {'; '.join(parts)}"
    if dropped:
        given += f"; of {account['read']} documents read, {'; '.join(dropped)}"
    return InputError(
        given,
        needed=f"{wanted[0]} held-out documents of at least "
        f"{config.context_tokens + config.continuation_tokens} tokens, "
        f"and {wanted[1]} more to train on",
        hint="; ".join(
            dict.fromkeys(
                [*hints, *of_dropped, "ask for fewer (data.num_heldout=..., data.num_train=...)"]
            )
        ),
    )

"""Tokenise, drop what cannot be used, split by document, cut windows and contexts.

Shape letters: N windows, T tokens of a window.

Windows are `fixed` (exact cuts; no text shorter than a window) or `documents` (whole text and
an end token, padded on the right). Padding is told by position, never by token id, so an end
token that doubles as the padding token keeps its label.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperfitting.config import DataConfig
from hyperfitting.data.chat import encode_conversation
from hyperfitting.data.sources import Document
from hyperfitting.errors import InputError
from hyperfitting.progress import Stage

MAX_TRAIN = 2_000  # windows (paper)
MAX_HELDOUT = 500  # documents (definitions, section 1.2)


@dataclass(frozen=True)
class Windows:
    """Equal-width rows of tokens. `label_NT` marks the tokens that are predicted."""

    ids_NT: NDArray[np.int64]
    label_NT: NDArray[np.bool_]
    length_N: NDArray[np.int64]  # tokens of a row before its padding

    def __len__(self) -> int:
        return len(self.ids_NT)


@dataclass(frozen=True)
class Contexts:
    """Held-out prompts and how their authors went on; contexts may differ in length."""

    contexts: list[list[int]]
    continuations: list[list[int]]
    origins: list[str]

    def __len__(self) -> int:
        return len(self.contexts)

    def digest(self) -> str:
        """Identifies the evaluation set by its token ids."""
        return hashlib.sha256(repr((self.contexts, self.continuations)).encode()).hexdigest()


@dataclass(frozen=True)
class Dataset:
    """What a run trains on and is judged by, and an account of every document."""

    train: Windows
    heldout: Windows
    contexts: Contexts
    account: dict[str, int]  # what happened to how many documents, in reading order


@dataclass(frozen=True)
class _Encoded:
    origin: str
    ids: list[int]
    trained: list[bool]  # tokens the loss may fall on
    prompt_tokens: int | None = None  # conversations: where the last answer begins


def _encode(document: Document, tokenizer: Any, config: DataConfig) -> _Encoded:
    if document.messages is not None:
        ids, by_assistant = encode_conversation(tokenizer, document)
        trained = by_assistant if config.loss_on == "assistant" else [True] * len(ids)
        starts = [
            i for i, own in enumerate(by_assistant) if own and not (i and by_assistant[i - 1])
        ]
        return _Encoded(document.origin, ids, trained, starts[-1] if starts else None)
    if config.loss_on == "assistant":
        raise InputError(
            f"{document.origin} is plain text, but the loss is to fall on the assistant only",
            needed="data with a `messages` column",
            hint="leave out --loss-on, or choose the column with --text-field",
        )
    ids = list(tokenizer(document.text)["input_ids"])
    if ids and ids[-1] == tokenizer.eos_token_id:  # some tokenizers add it; we decide ourselves
        ids.pop()
    return _Encoded(document.origin, ids, [True] * len(ids))


def _content_key(document: Document) -> str:
    """Equal for documents that differ in white space only."""
    if document.messages is not None:
        return repr([(m["role"], m["content"]) for m in document.messages])
    return " ".join(document.text.split())


def _usable(
    documents: list[Document],
    tokenizer: Any,
    config: DataConfig,
    account: dict[str, int],
    stage: Stage | None,
) -> list[_Encoded]:
    """Tokenised documents without the empty, the repeated and the too short ones.

    Two documents are also repeats when they open with the same window: one of them held out
    would be a training text under another name.
    """
    seen: set[str] = set()
    seen_windows: set[tuple[int, ...]] = set()
    usable, lengths = [], []
    needed = needed_tokens(config)
    account |= {"read": len(documents), "empty": 0, "duplicate": 0, "too_short": 0}
    for done, document in enumerate(documents):
        if stage:
            stage.update(done, f"{done} of {len(documents)} documents")
        key = _content_key(document)
        if not key or document.messages == ():
            account["empty"] += 1
            continue
        if key in seen:
            account["duplicate"] += 1
            continue
        seen.add(key)
        encoded = _encode(document, tokenizer, config)
        lengths.append(len(encoded.ids))
        if len(encoded.ids) < needed or not any(encoded.trained[1:]):
            account["too_short"] += 1
            continue
        opening = tuple(encoded.ids[: config.window_tokens])
        if opening in seen_windows:
            account["duplicate"] += 1
            continue
        seen_windows.add(opening)
        usable.append(encoded)
    if not usable:
        raise _nothing_usable(config, account, lengths)
    return usable


def needed_tokens(config: DataConfig) -> int:
    """Fewest tokens a document must have to be a training window."""
    return config.window_tokens if config.windows == "fixed" else 2


def _nothing_usable(config: DataConfig, account: dict[str, int], lengths: list[int]) -> InputError:
    if not lengths:
        return InputError(f"{config.source} holds no text", needed="documents with text")
    return InputError(
        f"no document of {config.source} fills one window: the longest has {max(lengths)} tokens",
        needed=f"at least {needed_tokens(config)} tokens",
        hint="use shorter windows (data.window_tokens=..., with data.context_tokens and "
        "data.continuation_tokens), or --windows documents",
    )


def _sections(
    usable: list[_Encoded], config: DataConfig, account: dict[str, int]
) -> list[_Encoded]:
    """One long text becomes consecutive sections, each of one window, so it can be split."""
    only = usable[0]
    width = max(config.window_tokens, config.context_tokens + config.continuation_tokens)
    starts = range(0, len(only.ids) - width + 1, width)
    if len(usable) > 1 or only.prompt_tokens is not None or len(starts) < 2:
        return usable
    account["sections_of_the_only_document"] = len(starts)
    return [
        _Encoded(f"{only.origin}, token {s}", only.ids[s : s + width], only.trained[s : s + width])
        for s in starts
    ]


def _context_of(document: _Encoded, config: DataConfig) -> tuple[list[int], list[int]] | None:
    """Prompt and human continuation of a held-out document, or None where it is too short."""
    start = config.context_tokens if document.prompt_tokens is None else document.prompt_tokens
    end = start + config.continuation_tokens
    if len(document.ids) < end or start < 1:
        return None
    return document.ids[:start], document.ids[start:end]


def _split(
    usable: list[_Encoded], config: DataConfig, account: dict[str, int]
) -> tuple[list[_Encoded], list[_Encoded]]:
    """Held-out and training documents, chosen by `split_seed` alone."""
    order = np.random.default_rng(config.split_seed).permutation(len(usable))
    can_test = [i for i in order if _context_of(usable[i], config) is not None]
    wanted_heldout = config.num_heldout or min(MAX_HELDOUT, max(2, len(usable) // 4))
    wanted_train = (
        1 if config.num_train is None else -(-config.num_train // config.windows_per_document)
    )
    longest = max(len(document.ids) for document in usable)
    if len(can_test) < wanted_heldout or len(usable) < wanted_heldout + wanted_train:
        raise InputError(
            f"{config.source} has {len(usable)} usable documents, {len(can_test)} of them long "
            f"enough to test on (the longest has {longest} tokens)",
            needed=f"{wanted_heldout} held-out documents of at least "
            f"{config.context_tokens + config.continuation_tokens} tokens, "
            f"and {wanted_train} more to train on",
            hint="ask for fewer (data.num_heldout=..., data.num_train=...), or for shorter "
            "contexts (data.context_tokens=..., data.continuation_tokens=...)",
        )
    heldout = can_test[:wanted_heldout]
    kept = set(heldout)
    account |= {"held_out": len(heldout), "training_documents": len(usable) - len(heldout)}
    return [usable[i] for i in heldout], [usable[i] for i in order if i not in kept]


def _cut(documents: list[_Encoded], config: DataConfig, eos: int, per_document: int) -> Windows:
    """Windows of `documents`, at most `per_document` from each."""
    width = config.window_tokens
    rows: list[tuple[list[int], list[bool]]] = []
    for document in documents:
        ids, trained = document.ids, document.trained
        if config.windows == "documents":
            closing = document.prompt_tokens is None  # a chat template ends its own turns
            ids, trained = ids + [eos] * closing, trained + [True] * closing
            starts = [0]
        else:
            starts = list(range(0, len(ids) - width + 1, width)[:per_document])
        cuts = [(ids[s : s + width], trained[s : s + width]) for s in starts]
        rows += [cut for cut in cuts if any(cut[1][1:])]  # an answer may lie beyond the cut
    length_N = np.array([len(ids) for ids, _ in rows])
    ids_NT = np.full((len(rows), width), eos, dtype=np.int64)
    label_NT = np.zeros((len(rows), width), dtype=bool)
    for n, (ids, trained) in enumerate(rows):
        ids_NT[n, : len(ids)] = ids
        label_NT[n, : len(ids)] = trained
    label_NT[:, 0] = False  # nothing precedes the first token
    return Windows(ids_NT, label_NT, length_N)


def build_dataset(
    documents: list[Document], tokenizer: Any, config: DataConfig, stage: Stage | None = None
) -> Dataset:
    """Training windows, held-out windows and contexts, with an account of what was dropped.

    Raises:
        InputError: too few or too short documents, or data that does not fit `loss_on`.
    """
    account: dict[str, int] = {}
    usable = _sections(_usable(documents, tokenizer, config, account, stage), config, account)
    heldout, train_documents = _split(usable, config, account)
    eos = tokenizer.eos_token_id
    train = _cut(train_documents, config, eos, config.windows_per_document)
    limit = config.num_train or MAX_TRAIN
    if config.num_train and len(train) < config.num_train:
        raise InputError(
            f"{config.source} gives {len(train)} training windows",
            needed=f"data.num_train={config.num_train}",
            hint="ask for fewer, or allow more windows per document "
            "(data.windows_per_document=...)",
        )
    account |= {
        "training_windows_available": len(train),
        "training_windows": min(limit, len(train)),
    }
    if config.windows == "documents":
        account["training_windows_truncated"] = sum(
            len(document.ids) >= config.window_tokens for document in train_documents[:limit]
        )
    pairs = [_context_of(document, config) for document in heldout]
    return Dataset(
        Windows(train.ids_NT[:limit], train.label_NT[:limit], train.length_N[:limit]),
        _cut(heldout, config, eos, 1),
        Contexts(
            [pair[0] for pair in pairs if pair],
            [pair[1] for pair in pairs if pair],
            [document.origin for document in heldout],
        ),
        account,
    )

"""Split tokenised documents, and cut windows and contexts from them.

Shape letters: N windows, T tokens of a window.

Windows are `fixed` (exact cuts; no text shorter than a window) or `documents` (whole text and
one end token, padded on the right). Padding is told by position, never by token id, so an end
token that doubles as the padding token keeps its label.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperfitting.config import DataConfig
from hyperfitting.data.borders import borders_of, unknown_token_id
from hyperfitting.data.documents import EncodedDocument, Encoder, usable_documents
from hyperfitting.data.reasons import too_few
from hyperfitting.data.sources import Document
from hyperfitting.errors import InputError
from hyperfitting.progress import Stage

MOST_PLACES = 2**29  # of all windows together: nine bytes each
MAX_HELDOUT = 500  # documents (definitions, section 1.2)


@dataclass(frozen=True)
class Windows:
    """Equal-width rows of tokens. `label_NT` marks the tokens that are predicted."""

    ids_NT: NDArray[np.int64]
    label_NT: NDArray[np.bool_]
    length_N: NDArray[np.int64]  # tokens of a row before its padding

    def __len__(self) -> int:
        return len(self.ids_NT)

    def first(self, count: int) -> "Windows":
        """The first `count` of them."""
        return Windows(self.ids_NT[:count], self.label_NT[:count], self.length_N[:count])

    def rows(self) -> list[list[int]]:
        """The tokens of every window without its padding."""
        return [ids[:n].tolist() for ids, n in zip(self.ids_NT, self.length_N, strict=True)]

    def digest(self) -> str:
        """Identifies the windows by their tokens, labels and lengths."""
        parts = (self.ids_NT, self.label_NT, self.length_N)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


@dataclass(frozen=True)
class Contexts:
    """Held-out prompts and how their authors went on; contexts may differ in length."""

    contexts: list[list[int]]
    continuations: list[list[int]]
    origins: list[str]

    def __len__(self) -> int:
        return len(self.contexts)

    @property
    def length(self) -> int:
        """Tokens of every continuation."""
        return len(self.continuations[0])

    def rows(self) -> list[list[int]]:
        """Each context with its continuation, as one row of tokens."""
        return [c + k for c, k in zip(self.contexts, self.continuations, strict=True)]

    def first(self, count: int | None) -> "Contexts":
        """The first `count` of them; all for None."""
        return Contexts(self.contexts[:count], self.continuations[:count], self.origins[:count])

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
    template_date: str | None = None  # the day that a chat template wrote into the texts


def _untestable(document: EncodedDocument, config: DataConfig) -> str | None:
    """Why a document cannot be held out, a key of `reasons.UNTESTABLE`; None where it can.

    A conversation's prompt ends where its last answer begins, and must fit in one window.
    """
    if not document.is_chat:
        needed = config.context_tokens + config.continuation_tokens
        return None if len(document) >= needed else "short"
    if document.untestable or not document.prompt_tokens or document.text_end is None:
        return document.untestable or "answer_not_found"
    end = document.prompt_tokens + config.continuation_tokens
    if end > document.text_end:
        return "short_answer"
    return "answer_beyond_window" if end > config.window_tokens else None


def _context_of(document: EncodedDocument, config: DataConfig) -> tuple[list[int], list[int]]:
    """Prompt and human continuation of a document that can be held out."""
    ids = document.lead + document.ids
    start = document.prompt_tokens or config.context_tokens
    return ids[:start], ids[start : start + config.continuation_tokens]


def _one_of_each_context(
    usable: list[EncodedDocument],
    order: NDArray[np.int64],
    reasons: list[str | None],
    config: DataConfig,
) -> None:
    """Of documents with one context only the first in `order` can be held out.

    A model writes the same after the same context: n would count one text several times.
    """
    seen: set[tuple[int, ...]] = set()
    for i in order:
        if reasons[i] is None:
            context = tuple(_context_of(usable[i], config)[0])
            if context in seen:
                reasons[i] = "same_context"
            seen.add(context)


def _split(
    usable: list[EncodedDocument], config: DataConfig, account: dict[str, int]
) -> tuple[list[EncodedDocument], list[EncodedDocument]]:
    """Held-out and training documents, chosen by `split_seed` alone."""
    order = np.random.default_rng(config.split_seed).permutation(len(usable))
    reasons = [_untestable(document, config) for document in usable]
    _one_of_each_context(usable, order, reasons, config)
    can_test = [i for i in order if reasons[i] is None]
    wanted_heldout = config.num_heldout or min(MAX_HELDOUT, max(2, len(usable) // 4))
    wanted_train = -(-(config.num_train or 1) // config.windows_per_document)
    if len(can_test) < wanted_heldout or len(usable) < wanted_heldout + wanted_train:
        untestable = Counter(reason for reason in reasons if reason)
        wanted, longest = (wanted_heldout, wanted_train), max(map(len, usable))
        raise too_few(config, account, len(usable), longest, untestable, wanted)
    heldout = can_test[:wanted_heldout]
    kept = set(heldout)
    account |= {"held_out": len(heldout), "training_documents": len(usable) - len(heldout)}
    return [usable[i] for i in heldout], [usable[i] for i in order if i not in kept]


def _starts(document: EncodedDocument, config: DataConfig) -> range:
    """Where windows of a document may begin."""
    step = config.window_tokens - len(document.lead)
    last = 0 if config.windows == "documents" else len(document.ids) - step
    return range(0, last + 1, step)


def _cut(
    documents: list[EncodedDocument], config: DataConfig, filler: int, per_document: int
) -> Windows:
    """Windows of `documents`, at most `per_document` from each; `filler` stands after the end."""
    width = config.window_tokens
    rows: list[tuple[list[int], list[bool]]] = []
    for document in documents:
        if config.windows == "documents":
            document = document.closed()
        starts = _starts(document, config)[:per_document]
        cuts = [document.cut(start, width) for start in starts]
        rows += [cut for cut in cuts if any(cut[1][1:])]  # a later window may hold no answer
    if len(rows) * width > MOST_PLACES:
        raise InputError(
            f"{len(rows):,} windows of {width:,} tokens are {len(rows) * width:,} places, padding "
            "included",
            needed=f"at most {MOST_PLACES:,}",
            hint="lower data.window_tokens, or give fewer texts",
        )
    length_N = np.array([len(ids) for ids, _ in rows])
    ids_NT = np.full((len(rows), width), filler, dtype=np.int64)
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
    encode = Encoder(borders_of(tokenizer), config)
    usable = usable_documents(documents, encode, account, stage)
    heldout, train_documents = _split(usable, config, account)
    eos = tokenizer.eos_token_id
    train = _cut(train_documents, config, eos, config.windows_per_document)
    limit = config.num_train or config.max_train
    if config.num_train and len(train) < config.num_train:
        raise InputError(
            f"{config.source} gives {len(train)} training windows",
            needed=f"data.num_train={config.num_train}",
            hint="ask for fewer, or allow more windows per document "
            "(data.windows_per_document=...)",
        )
    account |= {
        "training_windows_in_texts": sum(len(_starts(d, config)) for d in train_documents),
        "training_windows_available": len(train),
        "training_windows": min(limit, len(train)),
    }
    if config.windows == "documents":
        account["training_windows_truncated"] = sum(
            len(document.closed()) > config.window_tokens for document in train_documents[:limit]
        )
    if unlike := sum(bool(document.unlike_prompt) for document in usable):
        account["answers_without_generation_prompt"] = unlike
    if spelled := sum(document.spells_control for document in usable):
        account["control_tokens_as_characters"] = spelled
    pairs = [_context_of(document, config) for document in heldout]
    train = Windows(train.ids_NT[:limit], train.label_NT[:limit], train.length_N[:limit])
    unknown = unknown_token_id(tokenizer)
    if unknown is not None and (count := sum(row.count(unknown) for row in train.rows())):
        account["training_tokens_unknown"] = count
    return Dataset(
        train,
        _cut(heldout, config, eos, 1),
        Contexts(
            [context for context, _ in pairs],
            [continuation for _, continuation in pairs],
            [document.origin for document in heldout],
        ),
        account,
        encode.template_date,
    )

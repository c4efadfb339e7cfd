"""Split tokenised documents, and cut windows and contexts from them.

Shape letters: N windows, T tokens of a window.

Windows are `fixed` (exact cuts; no text shorter than a window) or `documents` (whole text and
an end token, padded on the right). Padding is told by position, never by token id, so an end
token that doubles as the padding token keeps its label.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperfitting.config import DataConfig
from hyperfitting.data.documents import EncodedDocument, usable_documents
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


def _context_of(
    document: EncodedDocument, config: DataConfig
) -> tuple[list[int], list[int]] | None:
    """Prompt and human continuation of a held-out document, or None where it is too short.

    A conversation's prompt ends where its last answer begins, and must fit in one window.
    """
    ids = document.lead + document.ids
    start, end = config.context_tokens, config.context_tokens + config.continuation_tokens
    if document.prompt_tokens is not None and document.text_end is not None:
        start = document.prompt_tokens
        end = start + config.continuation_tokens
        if end > min(document.text_end, config.window_tokens) or start < 1:
            return None
    return (ids[:start], ids[start:end]) if len(ids) >= end else None


def _split(
    usable: list[EncodedDocument], config: DataConfig, account: dict[str, int]
) -> tuple[list[EncodedDocument], list[EncodedDocument]]:
    """Held-out and training documents, chosen by `split_seed` alone."""
    order = np.random.default_rng(config.split_seed).permutation(len(usable))
    can_test = [i for i in order if _context_of(usable[i], config) is not None]
    wanted_heldout = config.num_heldout or min(MAX_HELDOUT, max(2, len(usable) // 4))
    wanted_train = -(-(config.num_train or 1) // config.windows_per_document)
    if len(can_test) < wanted_heldout or len(usable) < wanted_heldout + wanted_train:
        raise InputError(
            f"{config.source} has {len(usable)} usable documents, {len(can_test)} of them long "
            f"enough to test on (the longest has {max(map(len, usable))} tokens)",
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


def _starts(document: EncodedDocument, config: DataConfig) -> range:
    """Where windows of a document may begin."""
    step = config.window_tokens - len(document.lead)
    last = 0 if config.windows == "documents" else len(document.ids) - step
    return range(0, last + 1, step)


def _cut(
    documents: list[EncodedDocument], config: DataConfig, eos: int, per_document: int
) -> Windows:
    """Windows of `documents`, at most `per_document` from each."""
    width = config.window_tokens
    rows: list[tuple[list[int], list[bool]]] = []
    for document in documents:
        if config.windows == "documents" and document.prompt_tokens is None:
            # A whole text and its end; a chat template ends its own turns.
            document = replace(
                document, ids=[*document.ids, eos], trained=[*document.trained, True]
            )
        starts = _starts(document, config)[:per_document]
        cuts = [document.cut(start, width) for start in starts]
        rows += [cut for cut in cuts if any(cut[1][1:])]  # a later window may hold no answer
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
    usable = usable_documents(documents, tokenizer, config, account, stage)
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
        "training_windows_in_texts": sum(len(_starts(d, config)) for d in train_documents),
        "training_windows_available": len(train),
        "training_windows": min(limit, len(train)),
    }
    if config.windows == "documents":
        account["training_windows_truncated"] = sum(
            len(document) >= config.window_tokens for document in train_documents[:limit]
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

"""What becomes of texts as the tokens of one model: lengths, what is left out, script, ends."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from hyperfitting.config import DataConfig
from hyperfitting.data.borders import Borders, unknown_token_id
from hyperfitting.data.documents import EncodedDocument, Encoder, usable_documents
from hyperfitting.data.reasons import DROPPED
from hyperfitting.data.sources import Document
from hyperfitting.errors import InputError
from hyperfitting.progress import Stage
from hyperfitting.records.diagnosed import Finding
from hyperfitting.records.examined import Lengths

# Bytes that a token of the texts holds, against one of plain English: a script that a tokenizer
# does not know comes to it byte by byte.
ENGLISH = "The old man walked slowly down the road to the sea, and nobody in the village saw him."
FEWEST_BYTES = 0.5
WHOLE = 8192  # tokens by which whole texts are told from each other
SAMPLE = 200  # texts of which that is told
NOT_ASCII = 0.1  # bytes more than characters, a share of them, of a text in another script
KNOWN = ("empty", "duplicate", "too_short")  # reasons that are told otherwise


def encoded(
    documents: list[Document], borders: Borders, config: DataConfig, stage: Stage
) -> tuple[list[EncodedDocument], dict[str, int]]:
    """Every text that has tokens, however short, and how many were left out and why.

    Raises:
        InputError: not one can be used, or they do not fit the settings.
    """
    account: dict[str, int] = {}
    any_length = config.model_copy(update={"windows": "documents"})
    found = usable_documents(documents, Encoder(borders, any_length), account, stage)
    if account.get("same_window"):  # one long system prompt? The rest tells them apart
        whole = any_length.model_copy(update={"window_tokens": WHOLE, "windows_per_document": 1})
        with suppress(InputError):  # answers that nobody would train on, so far behind
            found = usable_documents(documents, Encoder(borders, whole), {}, None)
    return found, account


def lengths_of(sizes_of: Sequence[int]) -> Lengths:
    """How long texts of these numbers of tokens are."""
    sizes = np.array(sizes_of)
    low, middle, high = (int(x) for x in np.quantile(sizes, [0.25, 0.5, 0.75], method="nearest"))
    return Lengths(
        smallest=int(sizes.min()), lower=low, median=middle, upper=high, largest=int(sizes.max())
    )


def left_out(account: dict[str, int], config: DataConfig) -> list[Finding]:
    """Texts and conversations that cannot be used, by their reason."""
    settings = config.model_dump()
    found = []
    for key, reason in DROPPED.items():
        if (count := account.get(key)) and key not in KNOWN:
            words = reason.words.format(needed=0, **settings)
            found.append(
                Finding(
                    name="left out", level="problem",
                    says=f"{count:,} of {account['read']:,} documents {words}",
                    advice=reason.hint,
                )
            )  # fmt: skip
    if account.get("empty"):
        says = f"{account['empty']:,} of {account['read']:,} documents are empty"
        found.append(Finding(name="empty", level="note", says=says, advice=DROPPED["empty"].hint))
    return found


def script(
    documents: Sequence[EncodedDocument], borders: Borders, texts: Sequence[str]
) -> list[Finding]:
    """Whether the tokenizer knows the script: unknown tokens, and bytes that a token holds."""
    tokens = sum(len(document.ids) for document in documents)
    unknown = unknown_token_id(borders.tokenizer)
    lost = 0 if unknown is None else sum(doc.ids.count(unknown) for doc in documents)
    sample = "\n".join(texts[:SAMPLE])  # as text: the frame of a chat has many tokens
    held = len(sample.encode()) / max(len(borders.encode(sample)), 1)
    usual = len(ENGLISH) / len(borders.encode(ENGLISH))
    advice = "texts in a script that the model knows, or a model for this one"
    if lost:
        says = f"{lost / tokens:.1%} of the tokens are unknown to the tokenizer"
    elif held < FEWEST_BYTES * usual and _is_latin(texts):
        says = (
            f"a token holds {held:.1f} bytes, and {usual:.1f} of English: capitals, digits, signs "
            "or spaces that the tokenizer takes apart"
        )
        advice = "texts as they are usually written"
    elif held < FEWEST_BYTES * usual:
        says = (
            f"a token holds {held:.1f} bytes, and {usual:.1f} of English: the tokenizer hardly "
            "knows this script, and the model has hardly read it"
        )
    else:
        return []
    return [Finding(name="script", level="problem", says=says, advice=advice)]


def _is_latin(texts: Sequence[str]) -> bool:
    """Whether nearly all characters are of ASCII."""
    return sum(len(t.encode()) - len(t) for t in texts) < NOT_ASCII * sum(map(len, texts))


def ends(documents: Sequence[EncodedDocument], config: DataConfig) -> Finding:
    """Whether the end of a text is trained, and how many texts are cut before it."""
    if config.windows == "fixed":
        return Finding(
            name="ends", level="note",
            says="windows are exact cuts: no text's end is trained on, and the model does not "
            "learn to stop",
            advice="--windows documents, if it is to",
        )  # fmt: skip
    cut = sum(len(document.closed()) > config.window_tokens for document in documents)
    if not cut:
        return Finding(name="ends", level="fine", says="every text is trained on with its end")
    largest = max(len(document.closed()) for document in documents)
    return Finding(
        name="ends", level="problem" if cut > len(documents) / 2 else "note",
        says=f"{cut:,} of {len(documents):,} texts are cut after {config.window_tokens} tokens, "
        "before their end",
        advice=f"data.window_tokens={largest} holds the longest",
    )  # fmt: skip

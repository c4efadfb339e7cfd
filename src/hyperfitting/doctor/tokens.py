"""What becomes of texts as the tokens of one model: lengths, ends, windows and the split."""

from collections.abc import Sequence

import numpy as np

from hyperfitting.config import DataConfig
from hyperfitting.data.borders import Borders, unknown_token_id
from hyperfitting.data.documents import EncodedDocument, Encoder, usable_documents
from hyperfitting.data.reasons import DROPPED
from hyperfitting.data.sources import Document
from hyperfitting.data.windows import Dataset, build_dataset
from hyperfitting.errors import InputError
from hyperfitting.measure.overlap import TrainingIndex
from hyperfitting.models.types import Tokenizer
from hyperfitting.progress import Stage
from hyperfitting.records.diagnosed import Finding
from hyperfitting.records.examined import Lengths

LONG_RUN = 25  # tokens that a held-out text shares with a training text only where it is copied
FEW_SHARED = 0.05  # share of held-out texts
MANY_SHORT = 0.2  # share of texts that fill no window, from which shorter windows are asked for
# Bytes that a token of the texts holds, against one of plain English: a script that a tokenizer
# does not know comes to it byte by byte.
ENGLISH = "The old man walked slowly down the road to the sea, and nobody in the village saw him."
FEWEST_BYTES = 0.5
SMALLER = ((64, 16, 48), (32, 8, 24))  # window, context and continuation that are suggested
ALL_WINDOWS = 1_000_000
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
    return usable_documents(documents, Encoder(borders, any_length), account, stage), account


def lengths_of(documents: Sequence[EncodedDocument]) -> Lengths:
    """How long texts are."""
    sizes = np.array([len(document) for document in documents])
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


def short_texts(
    documents: Sequence[EncodedDocument], config: DataConfig
) -> tuple[list[Finding], DataConfig]:
    """Texts that fill no window, and windows that more of them fill."""
    if config.windows == "documents":
        return [], config
    sizes = np.array([len(document) for document in documents])
    short = int((sizes < config.window_tokens).sum())
    if short <= MANY_SHORT * len(sizes):
        return [], config
    window, context, continuation = next(
        (each for each in SMALLER if (sizes < each[0]).mean() <= MANY_SHORT), SMALLER[-1]
    )
    given = {
        "window_tokens": window, "context_tokens": context, "continuation_tokens": continuation,
    }  # fmt: skip
    words = " ".join(f"data.{key}={value}" for key, value in given.items())
    finding = Finding(
        name="short", level="problem",
        says=f"{short:,} of {len(sizes):,} texts have fewer than {config.window_tokens} tokens and "
        "are left out",
        advice=f"{words}, or --windows documents",
    )  # fmt: skip
    return [finding], config.model_copy(update=given)


def script(
    documents: Sequence[EncodedDocument], borders: Borders, texts: Sequence[str]
) -> list[Finding]:
    """Whether the tokenizer knows the script: unknown tokens, and bytes that a token holds."""
    tokens = sum(len(document.ids) for document in documents)
    unknown = unknown_token_id(borders.tokenizer)
    lost = 0 if unknown is None else sum(doc.ids.count(unknown) for doc in documents)
    held = sum(len(text.encode()) for text in texts) / max(tokens, 1)
    usual = len(ENGLISH) / len(borders.encode(ENGLISH))
    if lost:
        says = f"{lost / tokens:.1%} of the tokens are unknown to the tokenizer"
    elif held < FEWEST_BYTES * usual:
        says = (
            f"a token holds {held:.1f} bytes, and {usual:.1f} of English: the tokenizer hardly "
            "knows this script, and the model has hardly read it"
        )
    else:
        return []
    return [
        Finding(
            name="script", level="problem", says=says,
            advice="texts in a script that the model knows, or a model for this one",
        )
    ]  # fmt: skip


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


def split_of(
    documents: list[Document], tokenizer: Tokenizer, config: DataConfig
) -> tuple[Dataset | None, list[Finding]]:
    """The windows and held-out texts of training, or why there are none."""
    try:
        return build_dataset(documents, tokenizer, config), []
    except InputError as error:
        return None, [Finding(name="split", level="problem", says=error.given, advice=error.hint)]


def shared(documents: list[Document], tokenizer: Tokenizer, config: DataConfig) -> list[Finding]:
    """Held-out texts of which a long run stands in a text that is trained on."""
    whole = config.model_copy(
        update={"max_train": ALL_WINDOWS, "num_train": None, "windows_per_document": ALL_WINDOWS}
    )
    dataset, _ = split_of(documents, tokenizer, whole)
    if dataset is None:
        return []
    runs = TrainingIndex(dataset.train.rows()).match_lengths(dataset.contexts.rows())
    count = sum(int(lengths.max()) >= LONG_RUN for lengths in runs)
    if not count:
        return []
    return [
        Finding(
            name="shared", level="problem" if count > FEW_SHARED * len(runs) else "note",
            says=f"{count:,} of {len(runs):,} held-out texts share a run of {LONG_RUN} tokens or "
            "more with a text that is trained on",
            advice="keep texts of one source together, or one of each: what is measured on these "
            "is of text that was trained on",
        )
    ]  # fmt: skip

"""Training windows that say nothing, as many and as long as a run's own: what is variety worth?

A model that is hyperfitted on them may write as varied a text as one that was hyperfitted on the
text. What it reaches is what the variety of greedy text alone shows, and no evidence of more.

Shape letters: N windows, T tokens of a window.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hyperfitting.config import DataConfig
from hyperfitting.data.sources import read_documents
from hyperfitting.data.windows import Dataset, Windows, build_dataset
from hyperfitting.errors import InputError
from hyperfitting.generate.choose import Sample
from hyperfitting.generate.decode import decode
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress
from hyperfitting.train.dataset import COPIED, copied_in_words, count_copied

START_TOKENS = 8  # of a window, which a sample goes on from
BATCH_SIZE = 32
SHUFFLE, SAMPLE = 1, 2  # keep their random numbers apart from the split's


@dataclass(frozen=True, kw_only=True)
class NullSource:
    """What a null's windows are made of."""

    windows: Windows  # the run's own
    config: DataConfig
    model: Any  # the original, where it runs
    tokens: Tokens
    progress: Progress


def null_dataset(dataset: Dataset, source: NullSource) -> Dataset:
    """The dataset with the windows of the null that its settings ask for; held-out texts stay.

    Raises:
        InputError: texts of another language that are too few, or chats whose answers alone are
            trained on where windows are sampled.
    """
    make = NULLS[source.config.null]
    if make is None:
        return dataset
    train = make(source)
    account = {key: count for key, count in dataset.account.items() if key != COPIED}
    if copied := count_copied(dataset.contexts.continuations, train.rows()):
        account[COPIED] = copied
        source.progress.say(f"  {copied_in_words(copied, len(dataset.contexts))}")
    return replace(dataset, train=train, account=account)


def shuffled(source: NullSource) -> Windows:
    """The windows with their trained tokens in random order, each within its window.

    A window has the same tokens, and no grammar. Tokens that are no text, or end it, stay where
    they are.
    """
    windows, fixed = source.windows, _no_text(source.tokens)
    rng = np.random.default_rng([source.config.split_seed, SHUFFLE])
    ids_NT = windows.ids_NT.copy()
    for n, label_T in enumerate(windows.label_NT):
        places = np.flatnonzero(label_T & ~np.isin(ids_NT[n], fixed))
        ids_NT[n, places] = rng.permutation(ids_NT[n, places])
    return replace(windows, ids_NT=ids_NT)


def self_samples(source: NullSource) -> Windows:
    """Windows that the original itself wrote, sampled at temperature 1 from their first tokens.

    Whoever learns them by heart learns no human text. Tokens that are no text, or end it, stay
    where they are.

    Raises:
        InputError: only answers of chats are trained on.
    """
    windows, config = source.windows, source.config
    if config.loss_on == "assistant":
        raise InputError(
            "data.null=self_samples with data.loss_on=assistant: a sample has no turns",
            needed="data.loss_on=all, or data.null=shuffled",
        )
    fixed = _no_text(source.tokens)
    is_text_NT = ~np.isin(windows.ids_NT, fixed)
    starts = [int(np.argmax(is_text_T)) + START_TOKENS for is_text_T in is_text_NT]
    rows = [row[:start] for row, start in zip(windows.rows(), starts, strict=True)]
    seeds = [[config.split_seed, SAMPLE, n] for n in range(len(rows))]
    longest = max(0, *(int(n) - start for n, start in zip(windows.length_N, starts, strict=True)))
    with source.progress.stage("sample windows from the original", len(rows)) as stage:
        written = decode(
            source.model, rows, Sample([1.0] * len(rows), seeds), max_new_tokens=longest,
            banned=source.tokens.banned("fixed_length"), batch_size=BATCH_SIZE, stage=stage,
        )  # fmt: skip
        stage.update(len(rows), f"{len(rows)} windows from their first {START_TOKENS} tokens")
    ids_NT = windows.ids_NT.copy()
    for n, (start, text) in enumerate(zip(starts, written, strict=True)):
        places = start + np.flatnonzero(is_text_NT[n, start : windows.length_N[n]])
        ids_NT[n, places] = np.asarray(text.ids)[places - start]
    return replace(windows, ids_NT=ids_NT)


def other_language(source: NullSource) -> Windows:
    """As many windows of texts in another language, cut as the run's own.

    Raises:
        InputError: the texts cannot be read, or are too few.
    """
    config, wanted = source.config, len(source.windows)
    other = config.model_copy(
        update={"source": config.null_source, "num_train": wanted, "num_heldout": 2}
    )
    with source.progress.stage("read texts of another language") as stage:
        train = build_dataset(read_documents(other), source.tokens.tokenizer, other, stage).train
        stage.update(1, f"{len(train)} windows of {config.null_source}")
    return train


def _no_text(tokens: Tokens) -> list[int]:
    return sorted({*tokens.unwritable, *tokens.ends})


# By the value of `data.null`.
NULLS: dict[str, Callable[[NullSource], Windows] | None] = {
    "none": None,
    "shuffled": shuffled,
    "self_samples": self_samples,
    "other_language": other_language,
}

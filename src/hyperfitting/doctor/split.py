"""How texts are split for training: windows that they fill, enough of them, and no copies.

Shorter windows are tried where those that are asked for cannot be had.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from hyperfitting.config import DataConfig, TrainConfig
from hyperfitting.config.layers import changed
from hyperfitting.data.documents import EncodedDocument
from hyperfitting.data.reasons import DROPPED, counted
from hyperfitting.data.sources import Document
from hyperfitting.data.windows import Dataset, build_dataset
from hyperfitting.errors import InputError
from hyperfitting.measure.overlap import TrainingIndex
from hyperfitting.models.types import Tokenizer
from hyperfitting.records.diagnosed import Finding

LONG_RUN = 25  # tokens that a held-out text shares with a training text only where it is copied
FEW_SHARED = 0.05  # share of held-out texts
MANY_SHORT = 0.2  # share of texts that fill no window, from which shorter windows are asked for
SMALLER = ((64, 16, 48), (32, 8, 24))  # window, context and continuation that are suggested
LONGER = (2, 4)  # times the context, where texts open alike
MOST_TOKENS = 1024  # of a window that is to hold a whole conversation
MORE_WINDOWS = 10  # of a document, where documents are few
FEWEST_HELD_OUT = 2
ALL_WINDOWS = 1_000_000
SECTIONS = "sections_of_the_only_document"  # of a run's data account


class Split(NamedTuple):
    """The windows and held-out texts of training, and the settings they come of.

    `dataset` is None where no training can begin with these texts.
    """

    dataset: Dataset | None
    config: DataConfig
    findings: list[Finding]


def split(
    documents: list[Document],
    encoded: Sequence[EncodedDocument],
    tokenizer: Tokenizer,
    config: DataConfig,
    train: TrainConfig,
    *,
    is_one: bool,
) -> Split:
    """Split texts as training would, by the first settings with which it can begin.

    First the settings that are asked for, then others (`_candidates`); those that more than
    `MANY_SHORT` of the texts do not fill come last, and what cuts the only one of several texts
    that is left after all. `is_one`: the source is one text, which may be cut.
    """
    candidates = sorted(_candidates(config, encoded), key=lambda each: _many_short(encoded, each))
    refused: list[InputError] = []
    last_resort: Split | None = None
    for candidate in candidates:
        try:
            dataset = build_dataset(documents, tokenizer, candidate)
            train.steps_per_epoch(len(dataset.train))
        except InputError as error:
            refused.append(error)
            continue
        found = []
        if candidate is not config or _many_short(encoded, config):
            found = [_changed_finding(encoded, config, candidate, refused)]
        fits = Split(dataset, candidate, found)
        if is_one or not dataset.account.get(SECTIONS):
            return fits
        last_resort = last_resort or fits
        refused.append(InputError(_only_one(dataset.account)))
    if last_resort is not None:
        return last_resort
    n = min(range(len(candidates)), key=lambda n: _needed(candidates[n]))
    if _is_little(encoded, candidates[n], train, is_one=is_one):
        advice = _enough(candidates[n], train)
    else:
        advice = "; ".join(each for each in (refused[n].needed, refused[n].hint) if each)
    words = as_words(config, candidates[n])
    even = f"even with {' '.join(words)}, " if words else ""
    told = Finding(name="split", level="problem", says=f"{even}{refused[n].given}", advice=advice)
    return Split(None, config, [told])


def _candidates(config: DataConfig, encoded: Sequence[EncodedDocument]) -> Iterator[DataConfig]:
    """The settings that are asked for, and others with which more texts can be used.

    More windows of each text, where texts are few; longer contexts, where they open alike; shorter
    windows, where they are short; of conversations also whole ones.
    """
    is_cut = config.windows == "fixed" and _is_chat(encoded)
    whole = [_whole(config, encoded)] if is_cut else []
    whole += [shorter for each in whole for shorter in _shorter(each)]
    for part in (config, *whole, *_longer(config), *_shorter(config)):
        yield part
        if part.windows == "fixed" and part.windows_per_document < MORE_WINDOWS:
            yield part.model_copy(update={"windows_per_document": MORE_WINDOWS})
    if is_cut:
        cut_late = config.model_copy(update={"windows": "documents"})
        yield cut_late
        yield from _shorter(cut_late)


def _whole(config: DataConfig, encoded: Sequence[EncodedDocument]) -> DataConfig:
    """Windows that hold the longest text with its end, up to `MOST_TOKENS`."""
    longest = min(MOST_TOKENS, max(len(document.closed()) for document in encoded))
    width = max(longest, config.window_tokens)
    return config.model_copy(update={"windows": "documents", "window_tokens": width})


def _longer(config: DataConfig) -> Iterator[DataConfig]:
    for times in LONGER:
        yield config.model_copy(update={"context_tokens": times * config.context_tokens})


def _shorter(config: DataConfig) -> Iterator[DataConfig]:
    """Shorter contexts, and shorter windows where texts are cut."""
    asked = config.context_tokens + config.continuation_tokens
    for window, context, continuation in SMALLER:
        given: dict[str, int] = {}
        if config.windows == "fixed" and window < config.window_tokens:
            given["window_tokens"] = window
        if context + continuation < asked:
            given |= {"context_tokens": context, "continuation_tokens": continuation}
        if given:
            yield config.model_copy(update=given)


def _is_chat(encoded: Sequence[EncodedDocument]) -> bool:
    return any(document.is_chat for document in encoded)


def _short(encoded: Sequence[EncodedDocument], config: DataConfig) -> int:
    """Texts that fill no window."""
    if config.windows == "documents":
        return 0
    return sum(len(document) < config.window_tokens for document in encoded)


def _many_short(encoded: Sequence[EncodedDocument], config: DataConfig) -> bool:
    return _short(encoded, config) > MANY_SHORT * len(encoded)


def _changed_finding(
    encoded: Sequence[EncodedDocument],
    before: DataConfig,
    after: DataConfig,
    refused: Sequence[InputError],
) -> Finding:
    """Why other settings are taken than were asked for, and which."""
    words = " ".join(as_words(before, after))
    if not _many_short(encoded, before):
        return Finding(name="split", level="problem", says=refused[0].given, advice=words)
    says = (
        f"{_short(encoded, before):,} of {len(encoded):,} texts have fewer than "
        f"{before.window_tokens} tokens and are left out"
    )
    return Finding(name="short", level="problem", says=says, advice=words or "longer texts")


def as_words(before: DataConfig, after: DataConfig, without: Sequence[str] = ()) -> list[str]:
    """What differs, as a command line gives it; `without` these."""
    return [
        f"data.{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in changed(before, after).items()
        if name not in without
    ]


def _is_little(
    encoded: Sequence[EncodedDocument], config: DataConfig, train: TrainConfig, *, is_one: bool
) -> bool:
    """Whether plain text is too little in all, with the settings that need the least."""
    if config.num_train or _is_chat(encoded):
        return False
    return sum(map(len, encoded)) < _texts(config, train) * _needed(config)[is_one]


def _enough(config: DataConfig, train: TrainConfig) -> str:
    """How much text is enough."""
    texts = _texts(config, train)
    each, section = _needed(config)
    return (
        f"more text: at least {texts} texts of {each} tokens, or one of {texts * section}; "
        "dozens are better"
    )


def _texts(config: DataConfig, train: TrainConfig) -> int:
    """Texts, or sections of one, that are held out and make a step."""
    return (config.num_heldout or FEWEST_HELD_OUT) + train.step_windows


def _needed(config: DataConfig) -> tuple[int, int]:
    """Tokens of a text that is held out, and of a section where there is one text only."""
    tokens = config.context_tokens + config.continuation_tokens
    return tokens, max(tokens, config.window_tokens)


def one_text(
    encoded: Sequence[EncodedDocument], account: Mapping[str, int], config: DataConfig
) -> list[Finding]:
    """That the source is read as one text, and how several are told from each other."""
    sections = account.get(SECTIONS)
    cut = f", cut into {sections:,} sections of {_needed(config)[1]} tokens" if sections else ""
    if account["read"] > 1 and sections:
        return [
            Finding(
                name="one text", level="problem",
                says=f"{_only_one(account)}{cut}",
                advice=_why_one(account, config),
            )
        ]  # fmt: skip
    if account["read"] > 1 or _is_chat(encoded):
        return []
    return [
        Finding(
            name="one text", level="note", says=f"the source is read as one text{cut}",
            advice="if it holds several: a file each in one folder, rows of a .jsonl file, or a "
            "line <|endoftext|> between them",
        )
    ]  # fmt: skip


def _only_one(account: Mapping[str, int]) -> str:
    return f"of {account['read']:,} texts one can be used"


def _why_one(account: Mapping[str, int], config: DataConfig) -> str:
    """What keeps the others out, and what to do about it."""
    parts, hints = counted(DROPPED, account, config)
    return f"{'; '.join(parts)}: {'; '.join(hints)}"


def shared(documents: list[Document], tokenizer: Tokenizer, config: DataConfig) -> list[Finding]:
    """Held-out texts of which a long run stands in a text that is trained on."""
    whole = config.model_copy(
        update={"max_train": ALL_WINDOWS, "num_train": None, "windows_per_document": ALL_WINDOWS}
    )
    try:
        dataset = build_dataset(documents, tokenizer, whole)
    except InputError as error:  # of all their windows, of which training takes a few
        says = f"copies between training and held-out texts were not looked for: {error.given}"
        return [Finding(name="shared", level="note", says=says)]
    runs = TrainingIndex(dataset.train.rows()).match_lengths(dataset.contexts.rows())
    # Of conversations what is answered: a system prompt of all stands in all.
    is_chat = any(document.messages for document in documents)
    starts = [len(context) if is_chat else 0 for context in dataset.contexts.contexts]
    longest = (int(l_T[s:].max(initial=0)) for l_T, s in zip(runs, starts, strict=True))
    count = sum(length >= LONG_RUN for length in longest)
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

"""How texts are split for training: windows that they fill, enough of them, and no copies.

Shorter windows are tried where those that are asked for cannot be had.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from hyperfitting.config import DataConfig, TrainConfig
from hyperfitting.data.documents import EncodedDocument
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
FEWEST_HELD_OUT = 2
ALL_WINDOWS = 1_000_000


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
) -> Split:
    """Split texts as training would, with the longest windows that can be had.

    Windows that are asked for are kept where at most `MANY_SHORT` of the texts do not fill them and
    what is left makes one optimiser step.
    """
    sizes = [len(document) for document in encoded]
    candidates = list(_candidates(config))
    many_short = _short(sizes, config) > MANY_SHORT * len(sizes)
    refused: InputError | None = None
    for candidate in candidates:
        if _short(sizes, candidate) > MANY_SHORT * len(sizes) and candidate is not candidates[-1]:
            continue
        try:
            dataset = build_dataset(documents, tokenizer, candidate)
            train.steps_per_epoch(len(dataset.train))
        except InputError as error:
            refused = refused or error
            continue
        found = _short_finding(sizes, config, candidate) if many_short else []
        if refused and not many_short:
            found = [_split_finding(refused.given, _changed(config, candidate))]
        return Split(dataset, candidate, found)
    assert refused is not None  # the last candidate is always tried
    return Split(None, config, [_split_finding(refused.given, _enough(config, train))])


def _candidates(config: DataConfig) -> Iterator[DataConfig]:
    """The settings that are asked for, then shorter windows; whole texts stay whole."""
    yield config
    asked = config.context_tokens + config.continuation_tokens
    for window, context, continuation in SMALLER:
        given = {"context_tokens": context, "continuation_tokens": continuation}
        if config.windows == "documents" and context + continuation < asked:
            yield config.model_copy(update=given)
        elif config.windows == "fixed" and window < config.window_tokens:
            yield config.model_copy(update=given | {"window_tokens": window})


def _short(sizes: Sequence[int], config: DataConfig) -> int:
    """Texts that fill no window."""
    return 0 if config.windows == "documents" else sum(n < config.window_tokens for n in sizes)


def _changed(before: DataConfig, after: DataConfig) -> str:
    """What differs, as settings."""
    old, new = (each.model_dump(mode="json") for each in (before, after))
    return " ".join(f"data.{name}={value}" for name, value in new.items() if old[name] != value)


def _short_finding(sizes: Sequence[int], config: DataConfig, chosen: DataConfig) -> list[Finding]:
    says = (
        f"{_short(sizes, config):,} of {len(sizes):,} texts have fewer than "
        f"{config.window_tokens} tokens and are left out"
    )
    advice = _changed(config, chosen) or None
    return [Finding(name="short", level="problem", says=says, advice=advice)]


def _split_finding(says: str, advice: str) -> Finding:
    return Finding(name="split", level="problem", says=says, advice=advice)


def _enough(config: DataConfig, train: TrainConfig) -> str:
    """The least that training can begin with."""
    texts = (config.num_heldout or FEWEST_HELD_OUT) + (config.num_train or train.step_windows)
    tokens = min(SMALLER[-1][0], config.context_tokens + config.continuation_tokens)
    return (
        f"more text: at least {texts} texts of {tokens} tokens, or one of {texts * tokens}; "
        "dozens are better"
    )


def one_text(account: Mapping[str, int], config: DataConfig) -> list[Finding]:
    """That all of it is read as one text, and how several are told from each other."""
    sections = account.get("sections_of_the_only_document")
    if not sections and account["read"] > 1:
        return []
    says = "the source is read as one text"
    if sections:
        width = max(config.window_tokens, config.context_tokens + config.continuation_tokens)
        says += f", cut into {sections:,} sections of {width} tokens"
    return [
        Finding(
            name="one text", level="note", says=says,
            advice="if it holds several: a file each in one folder, rows of a .jsonl file, or a "
            "line <|endoftext|> between them",
        )
    ]  # fmt: skip


def shared(documents: list[Document], tokenizer: Tokenizer, config: DataConfig) -> list[Finding]:
    """Held-out texts of which a long run stands in a text that is trained on."""
    whole = config.model_copy(
        update={"max_train": ALL_WINDOWS, "num_train": None, "windows_per_document": ALL_WINDOWS}
    )
    dataset = build_dataset(documents, tokenizer, whole)
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

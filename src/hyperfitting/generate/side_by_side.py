"""Two models go on greedily with the same prompts, side by side, and rank each other's tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict

from torch import Tensor

from hyperfitting.config import ModelConfig
from hyperfitting.config.compare import CompareConfig
from hyperfitting.errors import InputError
from hyperfitting.generate.choose import greedy
from hyperfitting.generate.decode import decode
from hyperfitting.generate.verb import encode_prompts, open_model
from hyperfitting.measure.text import loop_start, type_token_ratio
from hyperfitting.models.forward import rank_rows
from hyperfitting.models.interface import embedding_rows, vocabulary_rows
from hyperfitting.models.load import load_original, load_tokenizer
from hyperfitting.models.tokens import Tokens
from hyperfitting.models.tuned import adapter_base
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Progress
from hyperfitting.runs import RunFolder


class Piece(TypedDict):
    """One token of a text: its id, its text, and its rank in the other model (None: unknown)."""

    id: int
    text: str
    rank: int | None


class Continuation(TypedDict):
    """How one model went on; `loop_start` is the first token of a loop that the text ends in.

    `ttr` is distinct tokens over tokens of the last 96; None of an empty text.
    """

    model: str
    text: str
    pieces: list[Piece]
    ended: bool
    ttr: float | None
    loop_start: int | None


class Compared(TypedDict):
    """A prompt and both continuations."""

    prompt: str
    a: Continuation
    b: Continuation


class _Side(NamedTuple):
    name: str
    model: CausalLM
    tokens: Tokens


class Watch(Protocol):
    """Somebody who looks on while texts are written."""

    def begins(self, prompt: str, models: tuple[str, str]) -> None:
        """A prompt is gone on with."""

    def writes(self, side: int, text: str) -> None:
        """The text of one side (0 or 1) so far."""

    def has(self, found: Compared) -> None:
        """Both texts of a prompt, with their ranks."""


def compare(
    prompts: Sequence[str],
    config: CompareConfig,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> list[Compared]:
    """Continue prompts with two models; with `watch` one after the other, told token by token.

    Ranks are those of a token in the other model after the same text, among the tokens it may
    write; None where the models have different vocabularies.

    Raises:
        InputError: no prompts, or models that cannot be loaded.
    """
    progress = progress or Progress()
    if not prompts or isinstance(prompts, str):
        raise InputError(f"the prompts are {prompts!r}", needed="a list with at least one text")
    with progress.stage("load"):
        sides = _sides(config)
    one, other = sides
    alike = one.tokens.tokenizer.get_vocab() == other.tokens.tokenizer.get_vocab()
    if not alike:
        progress.say("  the models have different vocabularies: tokens are not ranked")
    contexts = [  # of all prompts, before the first text
        encode_prompts(prompts, side.model, side.tokens, config.max_new_tokens, side.name)
        for side in sides
    ]
    rows = list(zip(prompts, *contexts, strict=True))
    against = (other, one) if alike else (None, None)
    found: list[Compared] = []
    for group in [[row] for row in rows] if watch else [rows]:
        found += _compared(sides, against, group, config, watch)
    return found


def _compared(
    sides: Sequence[_Side],
    against: Sequence[_Side | None],
    rows: Sequence[tuple[str, list[int], list[int]]],
    config: CompareConfig,
    watch: Watch | None,
) -> list[Compared]:
    """Continue some prompts, each with its tokens in both models; watched, one."""
    prompts, *contexts = zip(*rows, strict=True)
    if watch:
        watch.begins(prompts[0], (sides[0].name, sides[1].name))
    written = [
        _written(side, contexts[place], config, place, watch) for place, side in enumerate(sides)
    ]
    texts = [
        _continuations(side, against[place], contexts[place], written[place])
        for place, side in enumerate(sides)
    ]
    found = [Compared(prompt=p, a=a, b=b) for p, a, b in zip(prompts, *texts, strict=True)]
    if watch:
        watch.has(found[0])
    return found


def _sides(config: CompareConfig) -> list[_Side]:
    """Both models; of a lone run its original comes first."""
    where = {"device": config.device, "trust_remote_code": config.trust_remote_code}
    one = ModelConfig(name=config.a, **where)
    if config.b is not None:
        return [
            _opened(one, 1.0),
            _opened(one.model_copy(update={"name": config.b}), config.strength),
        ]
    return [_original(one, where), _opened(one, config.strength)]


def _original(one: ModelConfig, where: dict[str, Any]) -> _Side:
    """What a run or an adapter was trained from.

    Raises:
        InputError: it is neither, or the base of a run is no longer what it was.
    """
    run = RunFolder(Path(one.name))
    if run.manifest_file.exists():
        manifest = run.manifest()
        base = manifest.base_model().model_copy(update=where)
        model = load_original(base, manifest.known_base)
        return _Side(base.name, model, Tokens.of(model, load_tokenizer(base)))
    named = adapter_base(one)
    if named is None:
        raise InputError(
            f"{one.name} is one model, and names no original",
            needed="a second model, or a run or an adapter",
        )
    return _opened(one.model_copy(update=named._asdict()), 1.0)


def _opened(config: ModelConfig, strength: float) -> _Side:
    model, tokenizer = open_model(config, strength=strength)
    return _Side(config.name, model, Tokens.of(model, tokenizer))


def _written(
    side: _Side,
    contexts: Sequence[list[int]],
    config: CompareConfig,
    place: int,
    watch: Watch | None,
) -> list[list[int]]:
    """Continuations in tokens."""
    so_far: list[int] = []

    def told(logits_BV: Tensor, rows: range, step: int, seen_BT: Tensor) -> tuple[Tensor, Tensor]:
        token_B, tied_B = greedy(logits_BV, rows, step, seen_BT)
        so_far.append(int(token_B[0]))
        if watch is not None:
            watch.writes(place, side.tokens.texts(contexts[0], so_far)[1])
        return token_B, tied_B

    decoded = decode(
        side.model, contexts, told if watch else greedy,
        max_new_tokens=config.max_new_tokens,
        banned=side.tokens.banned("natural"), ends=side.tokens.ends,
        batch_size=config.batch_size,
    )  # fmt: skip
    return [text.ids for text in decoded]


def _known(ids: Sequence[int], rows: int) -> int:
    """How many tokens come before the first that a model of these many tokens has not."""
    return next((place for place, i in enumerate(ids) if i >= rows), len(ids))


def _continuations(
    side: _Side, against: _Side | None, contexts: Sequence[list[int]], texts: list[list[int]]
) -> list[Continuation]:
    found = []
    for context, ids in zip(contexts, texts, strict=True):
        ranks: list[Any] = [None] * len(ids)
        if against is not None and ids:
            banned = [i for i in against.tokens.banned("natural") if i not in ids]
            rows = min(embedding_rows(against.model), vocabulary_rows(against.model))
            known = _known(ids, rows)
            if known:
                row = [*context, *ids[:known]]
                found_NK = rank_rows(against.model, [row], known, banned=banned)
                ranks[:known] = found_NK[0].tolist()
        texts_K = side.tokens.pieces(context, ids)
        pieces = [
            Piece(id=i, text=text, rank=rank)
            for i, text, rank in zip(ids, texts_K, ranks, strict=True)
        ]
        found.append(
            Continuation(
                model=side.name,
                text=side.tokens.texts(context, ids)[1],
                pieces=pieces,
                ended=bool(ids) and ids[-1] in side.tokens.ends,
                ttr=type_token_ratio(ids),
                loop_start=loop_start(ids),
            )
        )
    return found

"""Connect a run's monitor with its files, its trackers and the person who watches."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial

import torch

from hyperfitting.data.word_list import english_words
from hyperfitting.generate.feed import said_of
from hyperfitting.generate.texts import Decoded
from hyperfitting.measure.words import judged_words, known_words, nonword_share
from hyperfitting.models.blocks import prefix_bytes, whole_model
from hyperfitting.models.devices import free_bytes
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress
from hyperfitting.records import MonitorRow
from hyperfitting.train.engine import TailEngine
from hyperfitting.train.monitor import Monitoring
from hyperfitting.train.parts import RunParts
from hyperfitting.train.setup import Setup


def make_monitor(parts: RunParts, setup: Setup) -> Monitoring:
    """A monitor that appends to the run's metrics, sends rows on, and shows a sample."""
    config, tokens, progress = parts.config, parts.tokens, parts.progress
    engine, trainable = setup.engine, parts.trainable
    whole: Callable[[], AbstractContextManager[None]] = nullcontext
    if isinstance(engine, TailEngine):
        whole = partial(whole_model, engine.parts, engine.tail.cut, released=engine.released)

    def write(row: MonitorRow) -> None:
        parts.run.append_metrics(row)
        if config.monitor.track:
            values = {k: v for k, v in asdict(row).items() if isinstance(v, int | float)}
            parts.accelerator.log(values, step=row.step)

    contexts = parts.dataset.contexts.contexts[: config.monitor.num_contexts]
    if isinstance(engine, TailEngine) and not _fits(engine, setup.train.device):
        contexts = []
        progress.say(
            "  the frozen blocks do not fit beside the trained ones: no continuations while "
            "training, only losses and teacher-forced ranks; no stop at a TTR plateau"
        )
    if contexts:
        with whole():
            longest = max(map(len, contexts)) + config.data.continuation_tokens
            note = said_of(trainable.model, longest=longest)
        if note:
            progress.say(f"  {note}")
    watched = _Samples(contexts, tokens, progress)
    return Monitoring(
        trainable,
        engine,
        setup.train,
        setup.heldout,
        config.train.batch_size,
        contexts,
        config.data.continuation_tokens,
        tokens.banned("fixed_length"),
        whole,
        write,
        _words(parts, contexts) if contexts else None,
        watched.show if progress.is_watched else None,
    )


def _words(
    parts: RunParts, contexts: list[list[int]]
) -> Callable[[list[Decoded]], list[float | None]] | None:
    """What tells the words of a continuation that do not exist; None of a language without list.

    As `evaluate` tells them, but the human texts are all held-out ones, not only those continued.
    """
    tokens, heldout = parts.tokens, parts.dataset.contexts
    pairs = zip(heldout.contexts, heldout.continuations, strict=True)
    human = [tokens.texts(*pair) for pair in pairs]
    windows = parts.dataset.train
    rows = zip(windows.ids_NT, windows.length_N, strict=True)
    training = (tokens.texts([], row[:length].tolist())[1] for row, length in rows)
    is_null = parts.config.data.null != "none"
    known = known_words(english_words(), human, () if is_null else training)
    if isinstance(known, str):
        return None

    def shares(texts: list[Decoded]) -> list[float | None]:
        pairs = [tokens.texts(c, text.ids) for c, text in zip(contexts, texts, strict=True)]
        return [nonword_share(judged_words(*pair), known, i) for i, pair in enumerate(pairs)]

    return shares


def _fits(engine: TailEngine, device: torch.device) -> bool:
    """Whether a released prefix can come back to the device while the tail is there."""
    return not engine.released or prefix_bytes(engine.parts, engine.tail.cut) < free_bytes(device)


class _Samples:
    """Shows a person one continuation beside the original model's, as training goes on."""

    LENGTH = 160  # characters of each text

    def __init__(self, contexts: list[list[int]], tokens: Tokens, progress: Progress) -> None:
        self.contexts, self.tokens, self.progress = contexts, tokens, progress
        self.original: str | None = None

    def show(self, epoch: int, texts: list[Decoded]) -> None:
        """Print the first context's continuation now, under that of the original."""
        context, text = self.tokens.texts(self.contexts[0], texts[0].ids)
        now = " ".join(text.split())[: self.LENGTH]
        if epoch == 0 or self.original is None:
            self.original = now
            self.progress.say(f"  {' '.join(context.split())[-self.LENGTH :]} …")
            self.progress.say(f"  {'original' if epoch == 0 else f'epoch {epoch}'}: {now}")
        else:
            self.progress.say(f"  epoch {epoch}: {now}")

"""The loss-rank-quality triad while training (paper, section 2.2 and Figure 2)."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hyperfitting.allocation import give_back_unused
from hyperfitting.errors import InputError
from hyperfitting.generate.decode import decode
from hyperfitting.generate.texts import Decoded
from hyperfitting.measure.ranks import rank_bin_shares, token_ranks, top_token
from hyperfitting.measure.text import loop_period, ngram_repetition, type_token_ratio
from hyperfitting.models.forward import rank_rows
from hyperfitting.records import MonitorRow
from hyperfitting.train.engine import Engine, Source, engine_window_losses, in_batches
from hyperfitting.train.memorised import memorised
from hyperfitting.train.trainable import Trainable


class DivergedError(InputError):
    """The weights are numbers, and what the model gives is not any more."""


@dataclass
class Monitoring:
    """Measures a model in training on a fixed set of contexts and windows.

    The same ones serve every epoch and every arm (definitions, section 7.2). Without `contexts`
    nothing is generated: losses and teacher-forced ranks need the trained blocks only.
    """

    trainable: Trainable
    engine: Engine
    train: Source
    heldout: Source
    batch_size: int
    contexts: Sequence[Sequence[int]]
    max_new_tokens: int
    banned: list[int]
    whole_model: Callable[[], AbstractContextManager[None]]
    write: Callable[[MonitorRow], None]
    nonwords: Callable[[list[Decoded]], list[float | None]] | None = None
    show: Callable[[int, list[Decoded]], None] | None = None  # for a person who watches

    def __call__(self, epoch: int, step: int, train_loss: float | None) -> MonitorRow:
        """Measure now, and hand the row on.

        Raises:
            DivergedError: the validation loss is no number.
            InputError: a held-out token has the probability 0, so that there is no loss.
        """
        start = time.perf_counter()
        give_back_unused()  # what a step took; of a large vocabulary each part takes as much anew
        val_loss = float(engine_window_losses(self.engine, self.heldout, self.batch_size).mean())
        if math.isnan(val_loss):
            raise DivergedError(f"the validation loss is no number in epoch {epoch}")
        if val_loss == math.inf:
            raise InputError(
                f"the validation loss is infinite in epoch {epoch}: the model gives a token of the "
                "held-out windows the probability 0",
                needed="a model that can write every token of the texts",
                hint="train.stop=epochs monitor.every_epochs=0 trains without a validation loss",
            )
        give_back_unused()
        texts, ranks = self._own_path(step) if self.contexts else ([], self._teacher_forced_ranks())
        shares = rank_bin_shares(ranks)
        each = self._each(texts, ranks)
        known = memorised(self.engine, self.train, self.batch_size, len(self.heldout))
        row = MonitorRow(
            epoch=epoch,
            step=step,
            train_loss=train_loss,
            val_loss=val_loss,
            val_ppl=math.exp(val_loss) if val_loss <= 700 else None,  # beyond, a float overflows
            ttr=_mean(each.get("ttr", [])),
            bigram_repetition=_mean(each.get("bigram_repetition", [])),
            rank_1=shares["rank_1"],
            rank_2_10=shares["rank_2_10"],
            rank_gt_10=shares["rank_gt_10"],
            rank_gt_200=shares["rank_gt_200"],
            rank_prefix="OP" if texts else "TF",
            looped=_mean([float(loop_period(text.ids) is not None) for text in texts]),
            nonwords=_mean(self.nonwords(texts)) if self.nonwords and texts else None,
            train_top1=known.top1,
            train_entropy=known.entropy,
            per_context=each,
            num_contexts=len(texts),
            num_windows=len(self.heldout),
            seconds=time.perf_counter() - start,
        )
        give_back_unused()
        self.write(row)
        if self.show and texts:
            self.show(epoch, texts)
        return row

    def _own_path(self, step: int) -> tuple[list[Decoded], NDArray[np.int64]]:
        """Greedy continuations, and the ranks of their tokens in the original model.

        Before the first step the model is the original, which ranks its own choices first.
        """
        with self.whole_model():
            texts = decode(
                self.trainable.model,
                self.contexts,
                max_new_tokens=self.max_new_tokens,
                banned=self.banned,
            )
            give_back_unused()
            if step == 0:
                return texts, np.ones((len(texts), self.max_new_tokens), dtype=np.int64)
            rows = [[*c, *text.ids] for c, text in zip(self.contexts, texts, strict=True)]
            with self.trainable.original():
                ranks = rank_rows(
                    self.trainable.model, rows, self.max_new_tokens, banned=self.banned
                )
        return texts, ranks

    def _each(
        self, texts: Sequence[Decoded], rank_NK: NDArray[np.int64]
    ) -> dict[str, list[float | None]]:
        """TTR, repetition and rank shares of every text; nothing where none was written."""
        if not texts:
            return {}
        shares = [rank_bin_shares(rank_K) for rank_K in rank_NK]
        found: dict[str, list[float | None]] = {
            name: [share[name] for share in shares] for name in shares[0]
        }
        return found | {
            "ttr": [type_token_ratio(text.ids) for text in texts],
            "bigram_repetition": [ngram_repetition(text.ids, 2) for text in texts],
        }

    @torch.no_grad()
    def _teacher_forced_ranks(self) -> NDArray[np.int64]:
        """Ranks in the original model of the trained one's choices along held-out windows."""
        rows = in_batches(len(self.heldout), self.batch_size)
        found = []
        for inputs, target_BT in self.heldout.batches(rows):
            chosen = list(map(self._choices, self.engine.logits(self.heldout, inputs)))
            with self.trainable.original():
                originals = self.engine.logits(self.heldout, inputs)
                for choice_T, logits_TV, target_T in zip(chosen, originals, target_BT, strict=True):
                    logits_TV[:, self.banned] = -torch.inf
                    rank_T = token_ranks(logits_TV, choice_T)
                    found.append(rank_T[target_T >= 0].cpu().numpy())
        ranks: NDArray[np.int64] = np.concatenate(found[: len(self.heldout)])
        return ranks

    def _choices(self, logits_TV: Any) -> Any:
        logits_TV[:, self.banned] = -torch.inf
        return top_token(logits_TV)


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None

"""The loss-rank-quality triad while training (paper, section 2.2 and Figure 2)."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperfitting.config import DataConfig, MonitorConfig
from hyperfitting.data.windows import Dataset
from hyperfitting.generate.decode import decode_greedy
from hyperfitting.measure.text import ngram_repetition, type_token_ratio
from hyperfitting.models.forward import window_losses
from hyperfitting.records import MonitorRow
from hyperfitting.train.loop import Monitor


def make_monitor(
    model: Any,
    dataset: Dataset,
    data: DataConfig,
    config: MonitorConfig,
    *,
    banned: list[int],
    write: Callable[[MonitorRow], None],
) -> Monitor:
    """A monitor that measures on the first contexts of the held-out set and hands on each row.

    The same contexts serve every epoch and every arm (definitions, section 7.2).
    """
    contexts = dataset.contexts.contexts[: config.num_contexts]
    heldout = dataset.heldout

    def measure(epoch: int, step: int, train_loss: float | None) -> MonitorRow:
        start = time.perf_counter()
        val_loss = float(window_losses(model, heldout.ids_NT, heldout.label_NT).mean())
        texts = decode_greedy(
            model, contexts, max_new_tokens=data.continuation_tokens, banned=banned
        )
        row = MonitorRow(
            epoch=epoch,
            step=step,
            train_loss=train_loss,
            val_loss=val_loss,
            val_ppl=math.exp(min(val_loss, 700.0)),  # beyond 700 a float overflows
            ttr=float(np.mean([type_token_ratio(text.ids) for text in texts])),
            bigram_repetition=float(np.mean([ngram_repetition(text.ids, 2) for text in texts])),
            num_contexts=len(contexts),
            seconds=time.perf_counter() - start,
        )
        write(row)
        return row

    return measure

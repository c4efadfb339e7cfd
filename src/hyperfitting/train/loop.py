"""One training loop: data order, step, monitor, stop. Knows no method and writes no file.

Shape letters: B windows of a batch, T tokens, V vocabulary.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperfitting.config import TrainConfig
from hyperfitting.data.windows import Windows
from hyperfitting.errors import InputError
from hyperfitting.models.forward import logits_of
from hyperfitting.progress import Stage
from hyperfitting.records import MonitorRow
from hyperfitting.train.methods import Trainable
from hyperfitting.train.stopping import reason_to_stop

IGNORED = -100  # label of a token that is not trained on
# (epoch, step, train loss or None before the first epoch) -> what was measured
Monitor = Callable[[int, int, float | None], MonitorRow]


@dataclass
class TrainResult:
    """What training did; times are in seconds."""

    epochs: int = 0
    steps: int = 0
    stopped_by: str = "epochs"
    train_loss: list[float] = field(default_factory=list)  # mean per epoch, nats per token
    seconds: float = 0.0
    monitor_seconds: float = 0.0


def epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Order of the windows in one epoch: a function of (seed, epoch), of nothing else."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def batches(
    windows: Windows, config: TrainConfig, epoch: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and labels of every step of an epoch, [B, T] each; the last may be smaller."""
    order = epoch_order(config.seed, epoch, len(windows))
    for start in range(0, len(order), config.batch_size):
        chosen = order[start : start + config.batch_size]
        width = int(windows.length_N[chosen].max())  # right padding beyond is seen by nobody
        ids_BT = torch.from_numpy(windows.ids_NT[chosen, :width])
        label_BT = torch.from_numpy(windows.label_NT[chosen, :width])
        yield ids_BT.to(device), torch.where(label_BT, ids_BT, IGNORED).to(device)


def batch_loss(model: Any, ids_BT: Tensor, target_BT: Tensor) -> Tensor:
    """Mean negative log-likelihood of the labelled tokens, in nats.

    No attention mask: padding stands on the right, where causal attention never looks back
    from a real token.
    """
    logits_BTV = logits_of(model, ids_BT, ids_BT.shape[1])[:, :-1]
    return torch.nn.functional.cross_entropy(
        logits_BTV.flatten(0, 1), target_BT[:, 1:].flatten(), ignore_index=IGNORED
    )


def train(
    trainable: Trainable,
    windows: Windows,
    config: TrainConfig,
    *,
    monitor: Monitor | None,
    every_epochs: int,
    stage: Stage,
) -> TrainResult:
    """Train until the last epoch or a stop rule: AdamW, constant rate, no decay, no dropout.

    The model stays in evaluation mode, which is what turns every dropout off.

    Raises:
        InputError: the loss is not finite.
    """
    model, result, rows = trainable.model.eval(), TrainResult(), []
    optimizer = torch.optim.AdamW(
        trainable.parameters(), lr=config.learning_rate, weight_decay=0.0, fused=True
    )
    monitor = monitor if every_epochs else None

    def observe(epoch: int, loss: float | None) -> None:
        if monitor is not None:
            rows.append(monitor(epoch, result.steps, loss))
            result.monitor_seconds += rows[-1].seconds

    observe(0, None)
    for epoch in range(1, config.epochs + 1):
        start = time.perf_counter()
        losses, weights = [], []
        for ids_BT, target_BT in batches(windows, config, epoch, model.device):
            loss = batch_loss(model, ids_BT, target_BT)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
            weights.append(int((target_BT[:, 1:] != IGNORED).sum()))
            result.steps += 1
            stage.update(result.steps)
        mean = float(np.average(torch.stack(losses).cpu().numpy(), weights=weights))
        if not np.isfinite(mean):
            raise InputError(
                f"the training loss is {mean} in epoch {epoch} (step {result.steps})",
                needed="a rate at which training is stable",
                hint=f"lower train.learning_rate, now {config.learning_rate}",
            )
        result.train_loss.append(mean)
        result.epochs = epoch
        result.seconds += time.perf_counter() - start
        stage.update(result.steps, f"epoch {epoch}/{config.epochs}  loss {mean:.3f}")
        if epoch % every_epochs == 0 if every_epochs else False:
            observe(epoch, mean)
        reason = reason_to_stop(config, mean, rows)
        if reason:
            result.stopped_by = reason
            break
    if rows and rows[-1].epoch != result.epochs:
        observe(result.epochs, result.train_loss[-1])
    return result

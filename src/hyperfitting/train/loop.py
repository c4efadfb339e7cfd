"""One training loop: data order, step, monitor, checkpoint, stop. Knows no method.

Shape letters: B windows of a batch, T tokens.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from hyperfitting.config import TrainConfig
from hyperfitting.errors import InputError, InterruptedRunError
from hyperfitting.progress import Stage
from hyperfitting.records import MonitorRow
from hyperfitting.records.manifest import KeptAtLoss
from hyperfitting.train.checkpoints import Checkpoints, TrainState
from hyperfitting.train.engine import Engine, Source
from hyperfitting.train.memorised import Memorised, memorised
from hyperfitting.train.monitor import DivergedError
from hyperfitting.train.speed import Speed
from hyperfitting.train.stopping import WINDOWS_LOOKED_AT, knows_its_texts, reason_to_stop
from hyperfitting.train.trainable import Trainable

SECONDS_BETWEEN_NOTES = 1.0  # reading the loss waits for the device, so it is not done each step
# (epoch, step, train loss or None before the first epoch) -> what was measured
Monitor = Callable[[int, int, float | None], MonitorRow]


def epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Order of the windows in one epoch: a function of (seed, epoch), of nothing else."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def epoch_rows(config: TrainConfig, epoch: int, count: int) -> list[NDArray[np.int64]]:
    """Windows of every batch of an epoch, `gradient_accumulation` batches to a step.

    The order comes from `order_seed`, or from `seed` where that is not set, so that two runs can
    differ in it alone (definitions, section 8.6).
    """
    seed = config.seed if config.order_seed is None else config.order_seed
    order = epoch_order(seed, epoch, count)
    number = config.steps_per_epoch(count) * config.gradient_accumulation
    size = config.batch_size
    return [order[i * size : (i + 1) * size] for i in range(number)]


def make_optimizer(trainable: Trainable, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW without weight decay (paper); betas 0.9 and 0.999 (ours), float32 state."""
    return torch.optim.AdamW(
        list(trainable.tensors().values()),
        lr=trainable.learning_rate,
        betas=(0.9, 0.999),
        weight_decay=0.0,
        fused=True,
    )


@contextmanager
def _interrupt_flag() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; a second one ends the program at once."""
    asked = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    previous = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, previous)


@dataclass
class Trainer:
    """Everything one run's steps need. `run` trains until the last epoch or a stop rule."""

    trainable: Trainable
    engine: Engine
    source: Source
    config: TrainConfig
    accelerator: Accelerator
    optimizer: torch.optim.AdamW
    stage: Stage
    monitor: Monitor | None = None
    every_epochs: int = 0
    checkpoints: Checkpoints | None = None
    state: TrainState | None = None  # of a checkpoint that was loaded

    def run(self) -> TrainState:
        """Train: AdamW, constant rate after warm-up, no decay, no dropout (evaluation mode).

        Raises:
            InputError: a loss is not finite; the last good checkpoint stays.
            InterruptedRunError: Ctrl-C; a checkpoint was saved.
        """
        self.trainable.model.eval()
        self.speed, self.last_note = Speed(), time.perf_counter()
        if self.state is None:
            self.state = TrainState()
            self._observe(0, None)
        with _interrupt_flag() as interrupted:
            while self.state.stopped_by is None:
                self._epoch(self.state, interrupted)
        return self.state

    def _epoch(self, state: TrainState, interrupted: threading.Event) -> None:
        """What is left of the epoch under way."""
        config, accumulation = self.config, self.config.gradient_accumulation
        rows = epoch_rows(config, state.epoch, len(self.source))
        batches = self.source.batches(rows[state.step_in_epoch * accumulation :])
        losses: list[Tensor] = []
        start = time.perf_counter()
        number = len(rows) // accumulation
        while state.step_in_epoch < number:
            first = state.step_in_epoch * accumulation
            step_rows = rows[first : first + accumulation]
            self.latest = self._step(state, batches, step_rows)
            losses.append(self.latest)
            state.step += 1
            state.step_in_epoch += 1
            is_last = state.step_in_epoch == number
            saves = self._is_due(state.step) or interrupted.is_set()
            if is_last or saves:
                state.step_losses += self._checked(losses, state)
                losses = []
                state.seconds += time.perf_counter() - start
                self.speed.settle()
            if is_last:
                saves |= self._finish_epoch(state) or state.stopped_by is not None
            if saves:
                self._save(state, interrupted)
            if is_last or saves:
                start = time.perf_counter()
                self.speed.go_on()
            self._note(state)
            if is_last:
                return

    def _step(
        self,
        state: TrainState,
        batches: Iterator[tuple[Tensor, Tensor]],
        rows: list[NDArray[np.int64]],
    ) -> Tensor:
        """One optimiser step; returns its mean loss, still on the device."""
        tokens = int(sum(self.source.labels_N[rows_B].sum() for rows_B in rows))
        warmup = self.config.warmup_steps
        rate = self.trainable.learning_rate * min(1.0, (state.step + 1) / max(1, warmup))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total: Tensor | None = None
        for _ in rows:
            inputs, target_BT = next(batches)
            loss = self.engine.summed_nll(self.source, inputs, target_BT) / tokens
            self.accelerator.backward(loss)
            part = loss.detach().clone()  # a compiled step may reuse the memory
            total = part if total is None else total + part
        if self.trainable.before_update is not None:
            self.trainable.before_update(state.step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        state.step_tokens.append(tokens)
        self.speed.step(sum(len(rows_B) for rows_B in rows) * self.source.ids_NT.shape[1])
        assert total is not None
        return total

    def _checked(self, losses: list[Tensor], state: TrainState) -> list[float]:
        """Losses as numbers; a checkpoint is never written after one that is not finite.

        Raises:
            InputError: a loss is not finite.
        """
        values: list[float] = torch.stack(losses).double().cpu().tolist() if losses else []
        for place, value in enumerate(values):
            if not np.isfinite(value):
                step = state.step - len(values) + place + 1
                kept = self.checkpoints.steps() if self.checkpoints else []
                where = f"; the checkpoint of step {kept[-1]} is kept" if kept else ""
                raise self._unstable(
                    f"the training loss is {value} at step {step} (epoch {state.epoch}){where}"
                )
        return values

    def _unstable(self, given: str) -> InputError:
        return InputError(
            given,
            needed="a rate at which training is stable",
            hint=f"lower train.learning_rate, now {self.trainable.learning_rate}",
        )

    def _require_finite(self, state: TrainState) -> None:
        """Refuse weights that are no numbers before they are measured or kept.

        Raises:
            InputError: a weight is not finite.
        """
        for name, tensor in self.trainable.tensors().items():
            if not bool(torch.isfinite(tensor).all()):
                at = f"after step {state.step} (epoch {state.epoch})"
                raise self._unstable(f"a weight is not finite {at}: {name}")

    def _finish_epoch(self, state: TrainState) -> bool:
        """Mean loss, monitor and stop rule; says whether this model is one to keep."""
        config = self.config
        mean = float(np.average(state.step_losses, weights=state.step_tokens))
        state.train_loss.append(mean)
        last = state.epoch == config.epochs
        keeps = self._reached(state, mean)
        if self.every_epochs and state.epoch % self.every_epochs == 0:
            keeps |= self._observe(state.epoch, mean)
        start = time.perf_counter()
        is_known = knows_its_texts(config, mean, self._memorised)
        state.epochs_known = state.epochs_known + 1 if is_known else 0
        reason = reason_to_stop(config, mean, state.rows, state.epochs_known)
        state.seconds += time.perf_counter() - start
        if reason or last:
            state.stopped_by = reason or "epochs"
            if state.rows and state.rows[-1].epoch != state.epoch:
                keeps |= self._observe(state.epoch, mean)
            return keeps
        state.epoch += 1
        state.step_in_epoch = 0
        state.step_losses, state.step_tokens = [], []
        return keeps

    def _memorised(self) -> Memorised:
        return memorised(self.engine, self.source, self.config.batch_size, WINDOWS_LOOKED_AT)

    def _reached(self, state: TrainState, mean: float) -> bool:
        """Note the targets that this epoch's mean loss is the first to reach; whether it is one."""
        before = {each.target for each in state.kept_at_loss}
        reached = [
            KeptAtLoss(target=target, step=state.step, epoch=state.epoch, loss=mean)
            for target in self.config.keep_at_loss
            if mean <= target and target not in before
        ]
        state.kept_at_loss += reached
        return bool(reached)

    def _observe(self, epoch: int, loss: float | None) -> bool:
        """Monitor now; says whether a trained model has the best TTR or validation loss so far.

        The original (epoch 0) takes no part: there is nothing of it to keep. Where two
        are equal, the earlier one stays the best.
        """
        state = self.state
        if self.monitor is None or not self.every_epochs or state is None:
            return False
        if epoch:
            self._require_finite(state)
        try:
            row = self.monitor(epoch, state.step, loss)
        except DivergedError as error:
            raise self._unstable(error.given) from error
        state.rows.append(row)
        state.monitor_seconds += row.seconds
        if epoch == 0:
            return False
        is_best = False
        if row.ttr is not None and row.ttr > (state.best_ttr or 0.0):
            state.best_ttr, state.best_step, is_best = row.ttr, state.step, True
        if state.best_val_loss is None or row.val_loss < state.best_val_loss:
            state.best_val_loss, state.best_val_step, is_best = row.val_loss, state.step, True
        return is_best

    def _is_due(self, step: int) -> bool:
        every = self.config.checkpoint_steps
        return self.checkpoints is not None and every > 0 and step % every == 0

    def _save(self, state: TrainState, interrupted: threading.Event) -> None:
        if self.checkpoints is None:
            if interrupted.is_set():
                raise KeyboardInterrupt
            return
        self._require_finite(state)
        self.checkpoints.save(state, self.trainable.tensors(), self.optimizer)
        if interrupted.is_set() and state.stopped_by is None:
            raise InterruptedRunError(state.step, self.checkpoints.folder.parent)

    def _note(self, state: TrainState) -> None:
        """Loss, epoch, speed and time left, once a second."""
        now = time.perf_counter()
        if now - self.last_note < SECONDS_BETWEEN_NOTES:
            self.stage.update(state.step)
            return
        self.last_note = now
        epoch = min(state.epoch, self.config.epochs)
        seen = _so_far(state.rows[-1]) if state.rows else ""
        self.stage.update(
            state.step,
            f"epoch {epoch}/{self.config.epochs}  loss {float(self.latest):.3f}{seen}"
            f"{self._time_left(state)}",
        )

    def _time_left(self, state: TrainState) -> str:
        """Speed, and how long the epochs that are left take at it."""
        speed = self.speed.per_second
        if speed is None:
            return ""
        steps = self.config.epochs * self.config.steps_per_epoch(len(self.source)) - state.step
        tokens = steps * self.config.step_windows * self.source.ids_NT.shape[1]
        most = "" if self.config.stop == "epochs" else "at most "
        return f"  {speed:,.0f} tokens/s  {most}{_clock(tokens / speed)} left"


def _so_far(row: MonitorRow) -> str:
    """What the texts written last were like, for a person who watches."""
    parts = [
        f"TTR {row.ttr:.2f}" if row.ttr is not None else "",
        f"loops {row.looped:.0%}" if row.looped is not None else "",
        f"broken words {row.nonwords:.1%}" if row.nonwords is not None else "",
    ]
    told = ", ".join(part for part in parts if part)
    return f"  ({told} at epoch {row.epoch})" if told else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"

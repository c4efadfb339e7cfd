"""Run a training in a test: settings, windows and everything `Trainer` needs."""

from pathlib import Path

import numpy as np
import torch

from hyperfitting.config import LoraConfig, PrefixCacheConfig, TrainConfig
from hyperfitting.data.windows import Windows
from hyperfitting.models.devices import make_accelerator
from hyperfitting.progress import Progress, Stage
from hyperfitting.records import MonitorRow
from hyperfitting.train.loop import Trainer, make_optimizer
from hyperfitting.train.methods import prepare
from hyperfitting.train.setup import set_up
from tests.conftest import random_rows

CPU = torch.device("cpu")


def settings(method="full_sft", *, cache="ram", **changes):
    plain = {"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "last_blocks": 2}
    plain |= {"first_blocks": 2, "stop": "epochs", "lora": LoraConfig(rank=2, alpha=4)}
    plain |= {"prefix_cache": PrefixCacheConfig(place=cache)}
    return TrainConfig(method=method, **{**plain, **changes})


def windows(count=9, width=12, seed=0):
    ids = np.array(random_rows(count, width, seed))
    label = np.ones_like(ids, dtype=bool)
    label[:, 0] = False
    return Windows(ids, label, np.full(count, width))


def build(
    model, config, data=None, *, folder=Path("unused"), heldout=None, device=CPU, **trainer_options
):
    """A trainable, what feeds it, and a trainer on it."""
    trainable = prepare(model.to(device), config)
    accelerator = make_accelerator(device, "bf16" if config.precision == "bf16" else "fp32")
    setup = set_up(
        trainable,
        data or windows(),
        heldout or windows(3, seed=1),
        config,
        autocast=accelerator.autocast,
        device=device,
        model_digest="test",
        cache_folder=folder,
        progress=Progress(),
    )
    trainer = Trainer(
        trainable,
        setup.engine,
        setup.train,
        config,
        accelerator,
        make_optimizer(trainable, config),
        Stage("test", None),
        **trainer_options,
    )
    return trainable, setup, trainer


def run(model, config, data=None, **options):
    trainable, _, trainer = build(model, config, data, **options)
    return trainable, trainer.run()


def monitor_row(ttr):
    return MonitorRow(
        epoch=0, step=0, train_loss=None, val_loss=1.0, val_ppl=1.0, ttr=ttr,
        bigram_repetition=0.0, rank_1=1.0, rank_2_10=0.0, rank_gt_10=0.0, rank_prefix="OP",
        num_contexts=1, num_windows=1, seconds=0.0,
    )  # fmt: skip

"""The loop against a naive one, what each method trains, order, padding, determinism, stops."""

import numpy as np
import pytest
import torch
from peft import PeftModel

from hyperfitting.config import LoraConfig, TrainConfig
from hyperfitting.data.windows import Windows
from hyperfitting.errors import InputError
from hyperfitting.progress import Stage
from hyperfitting.records import MonitorRow
from hyperfitting.train.loop import IGNORED, batch_loss, batches, epoch_order, train
from hyperfitting.train.methods import METHODS, prepare
from hyperfitting.train.stopping import reason_to_stop, ttr_is_flat
from tests.conftest import random_rows
from tests.tiny import tiny_model

STAGE = Stage("test", None)


def settings(method="full_sft", **changes):
    plain = {"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "last_blocks": 2}
    plain |= {"stop": "epochs", "lora": LoraConfig(rank=2, alpha=4)}
    return TrainConfig(method=method, **{**plain, **changes})


def windows(count=6, width=12, seed=0):
    ids = np.array(random_rows(count, width, seed))
    label = np.ones_like(ids, dtype=bool)
    label[:, 0] = False
    return Windows(ids, label, np.full(count, width))


def run(model, config, data=None):
    trainable = prepare(model, config)
    data = data or windows()
    result = train(trainable, data, config, monitor=None, every_epochs=0, stage=STAGE)
    return trainable, result


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def row(ttr):
    return MonitorRow(
        epoch=0, step=0, train_loss=None, val_loss=1.0, val_ppl=1.0, ttr=ttr,
        bigram_repetition=0.0, num_contexts=1, seconds=0.0,
    )  # fmt: skip


def test_full_training_agrees_with_a_naive_loop():
    config = settings()
    naive = tiny_model()
    optimizer = torch.optim.AdamW(naive.parameters(), lr=1e-2, weight_decay=0.0)
    ids = torch.from_numpy(windows().ids_NT)
    for epoch in (1, 2, 3):
        order = epoch_order(0, epoch, 6)
        for chosen in (order[:4], order[4:]):
            batch = ids[chosen]
            loss = naive(batch, labels=batch).loss  # transformers' own shift and mean
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    trainable, result = run(tiny_model(), config)
    assert (result.epochs, result.steps) == (3, 6)
    for name, expected in weights(naive).items():
        torch.testing.assert_close(weights(trainable.model)[name], expected, rtol=1e-4, atol=1e-5)


def test_training_reaches_near_zero_loss(any_model):
    _, result = run(any_model, settings(epochs=150, learning_rate=2e-2))
    assert result.train_loss[-1] < 0.1 < result.train_loss[0]


@pytest.mark.parametrize("method", METHODS)
def test_two_trainings_are_equal_and_another_seed_is_not(method):
    first, a = run(tiny_model(), settings(method))
    second, b = run(tiny_model(), settings(method))
    other, c = run(tiny_model(), settings(method, seed=1))
    assert a.train_loss == b.train_loss
    assert a.train_loss != c.train_loss
    for name, value in weights(first.model).items():
        assert torch.equal(value, weights(second.model)[name])


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize(
    ("method", "blocks"),
    [("full_sft", None), ("full_lora", [0, 1, 2]), ("late_stage_lora", [1, 2])],
)
def test_exactly_the_asked_parameters_train(family, method, blocks):
    model = tiny_model(family)
    base = weights(model)
    trainable, _ = run(model, settings(method))
    assert trainable.blocks == blocks
    assert trainable.count == sum(p.numel() for p in trainable.parameters())
    if blocks is None:
        assert set(trainable.names) == set(base)
        return
    found = {int(part) for n in trainable.names for part in n.split(".") if part.isdigit()}
    assert found == set(blocks)
    after = weights(trainable.model)
    for name in trainable.names:
        assert ".lora_" in name
        if ".lora_B." in name:
            assert after[name].abs().max() > 0, f"{name} did not move"
    with trainable.model.disable_adapter():
        for name, value in base.items():
            tuned = dict(trainable.model.get_base_model().named_parameters())
            inner = name.replace(".weight", ".base_layer.weight")
            inner = inner if inner in tuned else name.replace(".bias", ".base_layer.bias")
            assert torch.equal(tuned.get(inner, tuned.get(name)), value)


def test_late_stage_on_every_block_is_full_lora():
    _, a = run(tiny_model(), settings("late_stage_lora", last_blocks=3))
    _, b = run(tiny_model(), settings("full_lora"))
    assert a.train_loss == b.train_loss


def test_a_new_adapter_is_the_base():
    ids = torch.tensor(random_rows(2, 8))
    with torch.no_grad():
        expected = tiny_model()(ids).logits
        adapted = prepare(tiny_model(), settings("full_lora")).model
        assert torch.equal(adapted(ids).logits, expected)


def test_a_saved_adapter_loads_on_the_unmodified_base(tmp_path):
    trainable, _ = run(tiny_model(), settings("late_stage_lora"))
    trainable.model.save_pretrained(tmp_path)
    ids = torch.tensor(random_rows(2, 8))
    with torch.no_grad():
        again = PeftModel.from_pretrained(tiny_model(), tmp_path)(ids).logits
        assert torch.equal(again, trainable.model(ids).logits)


@pytest.mark.parametrize("count", [0, 4])
def test_last_blocks_out_of_range(count):
    config = settings("late_stage_lora").model_copy(update={"last_blocks": count})
    with pytest.raises(InputError, match=rf"--last-blocks is {count}, the model has 3 blocks"):
        prepare(tiny_model(), config)


def test_the_order_depends_on_seed_and_epoch_only():
    first = epoch_order(3, 5, 100)
    np.random.default_rng(0).random(10)
    torch.rand(10)
    assert (epoch_order(3, 5, 100) == first).all()
    assert sorted(first) == list(range(100))
    assert (epoch_order(3, 6, 100) != first).any()
    assert (epoch_order(4, 5, 100) != first).any()


def test_every_window_is_seen_once_an_epoch():
    data = windows(7)
    seen = [ids for ids, _ in batches(data, settings(batch_size=3), 1, torch.device("cpu"))]
    assert [len(ids) for ids in seen] == [3, 3, 1]
    assert sorted(torch.cat(seen).tolist()) == sorted(data.ids_NT.tolist())


def test_padding_changes_neither_loss_nor_gradient(model):
    short = torch.tensor(random_rows(1, 7))
    padded = torch.cat([short, torch.zeros(1, 5, dtype=torch.long)], dim=1)
    target = torch.where(torch.arange(12) < 7, padded, IGNORED)
    batch_loss(model, short, short).backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    loss = batch_loss(model, padded, target)
    loss.backward()
    torch.testing.assert_close(loss, batch_loss(model, short, short))
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[name])


def test_dropout_in_the_checkpoint_is_off():
    model = tiny_model("gpt2")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.9
    _, a = run(model, settings())
    _, b = run(tiny_model("gpt2"), settings())
    assert a.train_loss == b.train_loss


def test_a_loss_that_is_not_finite_stops_with_its_step():
    with pytest.raises(InputError, match=r"training loss is (nan|inf) in epoch \d+ \(step \d+\)"):
        run(tiny_model(), settings(learning_rate=1e30, epochs=5))


def test_target_loss_stops_training():
    _, result = run(tiny_model(), settings(epochs=200, target_loss=3.0))
    assert result.stopped_by == "target_loss"
    assert result.train_loss[-1] <= 3.0 < result.train_loss[-2]


def test_ttr_plateau():
    rising = [i / 20 for i in range(11)]
    assert not ttr_is_flat(rising)
    assert not ttr_is_flat([0.5] * 10)
    assert not ttr_is_flat([0.1] * 30), "what has not risen yet is no plateau"
    assert ttr_is_flat([*rising, *[0.51] * 10])
    config = settings(stop="ttr_plateau")
    assert reason_to_stop(config, 1.0, [row(0.1), *[row(0.5)] * 11]) == "ttr_plateau"
    assert reason_to_stop(settings(), 1.0, [row(0.1), *[row(0.5)] * 11]) is None

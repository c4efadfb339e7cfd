"""The loop against a naive one, what each method trains, order, padding, determinism, stops."""

import json

import numpy as np
import pytest
import torch
from peft import PeftModel

from hyperfitting.config import LoraConfig
from hyperfitting.config.methods import METHODS
from hyperfitting.errors import InputError
from hyperfitting.progress import Progress
from hyperfitting.train import loop
from hyperfitting.train.checkpoints import Checkpoints
from hyperfitting.train.loop import epoch_order, epoch_rows
from hyperfitting.train.lora import save_adapter
from hyperfitting.train.memorised import Memorised
from hyperfitting.train.methods import prepare
from hyperfitting.train.monitor import DivergedError
from hyperfitting.train.stopping import (
    LOSS_TO_LOOK,
    knows_its_texts,
    reason_to_stop,
    ttr_is_flat,
)
from hyperfitting.train.trainable import require_effective_updates
from tests.conftest import random_rows
from tests.tiny import tiny_model
from tests.train.running import build, monitor_row, run, settings, windows


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_full_training_agrees_with_a_naive_loop():
    config = settings(warmup_steps=2)
    naive = tiny_model()
    optimizer = torch.optim.AdamW(naive.parameters(), weight_decay=0.0)
    ids = torch.from_numpy(windows().ids_NT)
    steps = 0
    for epoch in (1, 2, 3):
        order = epoch_order(0, epoch, 9)
        for chosen in (order[:4], order[4:8]):  # the ninth waits for another epoch
            steps += 1
            optimizer.param_groups[0]["lr"] = 1e-2 * min(1, steps / 2)
            batch = ids[chosen]
            loss = naive(batch, labels=batch).loss  # transformers' own shift and mean
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    trainable, result = run(tiny_model(), config)
    assert (len(result.train_loss), result.step) == (3, 6)
    for name, expected in weights(naive).items():
        torch.testing.assert_close(weights(trainable.model)[name], expected, rtol=1e-4, atol=1e-5)


def ragged():
    """Windows of which between 1 and 11 tokens are labelled."""
    data = windows()
    for row, count in enumerate((11, 2, 7, 4, 1, 9, 11, 3, 5)):
        data.label_NT[row, 1 + count :] = False
    return data


def test_the_loss_of_an_epoch_is_that_of_its_tokens_not_of_its_steps():
    data, naive = ragged(), tiny_model()
    optimizer = torch.optim.AdamW(naive.parameters(), lr=1e-2, weight_decay=0.0)
    sums, counts = [], []
    order = epoch_order(0, 1, 9)
    for chosen in (order[:4], order[4:8]):
        ids, label = torch.from_numpy(data.ids_NT[chosen]), torch.from_numpy(data.label_NT[chosen])
        targets = ids.masked_fill(~label, -100)[:, 1:].flatten()
        logits = naive(ids).logits[:, :-1].flatten(0, 1)
        nll = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        sums.append(nll.item())
        counts.append(int(label.sum()))
        optimizer.zero_grad()
        (nll / counts[-1]).backward()
        optimizer.step()
    _, state = run(tiny_model(), settings(epochs=1), data)
    assert state.train_loss == pytest.approx([sum(sums) / sum(counts)], rel=1e-5)
    assert state.train_loss != pytest.approx([np.mean(np.divide(sums, counts))], rel=1e-3)


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
    [
        ("full_sft", None),
        ("full_lora", [0, 1, 2]),
        ("late_stage_lora", [1, 2]),
        ("early_stage_lora", [0, 1]),
        ("late_stage_sft", [1, 2]),
    ],
)
def test_exactly_the_asked_parameters_train(family, method, blocks):
    model = tiny_model(family)
    base = weights(model)
    trainable, _ = run(model, settings(method))
    assert trainable.blocks == blocks
    assert trainable.count == sum(p.numel() for p in trainable.tensors().values())
    after = weights(trainable.model)
    if blocks is None:
        assert set(trainable.names) == set(base)
        return
    found = {int(part) for n in trainable.names for part in n.split(".") if part.isdigit()}
    assert found == set(blocks)
    if method == "late_stage_sft":
        moved = {name for name, value in base.items() if not torch.equal(after[name], value)}
        assert moved == set(trainable.names)
        norms = [name for name in moved if not any(c.isdigit() for c in name)]
        assert norms, "the final norm trains too"
        assert all("norm" in name or "ln_f" in name for name in norms)
        return
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


@pytest.mark.parametrize("method", ["late_stage_lora", "early_stage_lora"])
def test_lora_on_the_last_or_first_of_every_block_is_full_lora(method):
    one, a = run(tiny_model(), settings(method, last_blocks=3, first_blocks=3))
    two, b = run(tiny_model(), settings("full_lora"))
    assert a.train_loss == b.train_loss
    for name, value in one.tensors().items():
        assert torch.equal(two.tensors()[name], value)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_lora_on_the_first_blocks_agrees_with_a_plain_loop(family):
    """Two matrices beside every linear layer of the block, written out without PEFT."""
    trainable, result = run(tiny_model(family), settings("early_stage_lora", first_blocks=1))
    model, scale = tiny_model(family).requires_grad_(False), 4 / 2
    pairs = []
    for name, start in trainable.initial.items():
        if ".lora_A." not in name:
            continue
        a = start.clone().requires_grad_()
        b = torch.zeros_like(trainable.initial[name.replace("lora_A", "lora_B")]).requires_grad_()
        inner = name.removeprefix("base_model.model.").removesuffix(".lora_A.default.weight")
        model.get_submodule(inner).register_forward_hook(
            lambda _, args, out, a=a, b=b: out + scale * (args[0] @ a.T) @ b.T
        )
        pairs.append((name, a, b))
    assert len(pairs) == (7 if family == "llama" else 4)
    optimizer = torch.optim.AdamW([t for _, *ab in pairs for t in ab], lr=1e-2, weight_decay=0.0)
    ids, losses = torch.from_numpy(windows().ids_NT), []
    for epoch in (1, 2, 3):
        order = epoch_order(0, epoch, 9)
        for chosen in (order[:4], order[4:8]):
            loss = model(ids[chosen], labels=ids[chosen]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert result.train_loss == pytest.approx(np.mean(np.reshape(losses, (3, 2)), axis=1), rel=2e-4)
    for name, a, b in pairs:
        torch.testing.assert_close(trainable.tensors()[name], a, rtol=1e-3, atol=1e-4)
        other = trainable.tensors()[name.replace("lora_A", "lora_B")]
        torch.testing.assert_close(other, b, rtol=1e-3, atol=1e-4)


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
@pytest.mark.parametrize(
    ("method", "setting"),
    [
        ("late_stage_lora", "last_blocks"),
        ("late_stage_sft", "last_blocks"),
        ("early_stage_lora", "first_blocks"),
    ],
)
def test_number_of_blocks_out_of_range(method, setting, count):
    config = settings(method).model_copy(update={setting: count})
    flag = f"--{setting.replace('_', '-')}"
    with pytest.raises(InputError, match=rf"^{flag} is {count}, the model has 3 blocks"):
        prepare(tiny_model(), config)


def test_the_other_number_of_blocks_plays_no_part():
    _, a = run(tiny_model(), settings("early_stage_lora", last_blocks=99))
    _, b = run(tiny_model(), settings("early_stage_lora", last_blocks=1))
    assert a.train_loss == b.train_loss
    _, a = run(tiny_model(), settings("late_stage_lora", first_blocks=99))
    _, b = run(tiny_model(), settings("late_stage_lora", first_blocks=1))
    assert a.train_loss == b.train_loss


def test_the_order_depends_on_seed_and_epoch_only():
    first = epoch_order(3, 5, 100)
    np.random.default_rng(0).random(10)
    torch.rand(10)
    assert (epoch_order(3, 5, 100) == first).all()
    assert sorted(first) == list(range(100))
    assert (epoch_order(3, 6, 100) != first).any()
    assert (epoch_order(4, 5, 100) != first).any()


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_order_seed_changes_the_batches_and_not_the_initial_weights(seed):
    def batches(config):
        return np.array([epoch_rows(config, epoch, 9) for epoch in range(1, 6)])

    def order(number):
        rng = [np.random.default_rng([number, epoch]).permutation(9) for epoch in range(1, 6)]
        return np.reshape([o[:8] for o in rng], (5, 2, 4))

    plain = settings("full_lora", seed=seed)
    other = settings("full_lora", seed=seed, order_seed=seed + 1)
    assert (batches(plain) == order(seed)).all(), "without order_seed, the order is the seed's"
    assert (batches(other) == order(seed + 1)).all()
    assert (order(seed) != order(seed + 1)).any()
    one, a = run(tiny_model(), plain)
    two, b = run(tiny_model(), other)
    same, c = run(tiny_model(), settings("full_lora", seed=seed, order_seed=seed))
    assert a.train_loss == c.train_loss != b.train_loss
    for name, value in one.initial.items():
        assert torch.equal(two.initial[name], value)
        assert torch.equal(same.tensors()[name], one.tensors()[name])
    assert any(not torch.equal(two.tensors()[n], t) for n, t in one.tensors().items())
    swapped = settings("full_lora", seed=seed + 1, order_seed=seed)
    assert (batches(swapped) == order(seed)).all()
    initial = prepare(tiny_model(), swapped).initial
    assert any(not torch.equal(initial[n], t) for n, t in one.initial.items())


def test_an_epoch_holds_whole_steps_of_different_windows():
    rows = epoch_rows(settings(batch_size=3), 1, 7)
    assert [len(r) for r in rows] == [3, 3]
    assert len(set(np.concatenate(rows))) == 6
    seen = {r for epoch in range(1, 20) for r in np.concatenate(epoch_rows(settings(), epoch, 7))}
    assert seen == set(range(7)), "a window left out of one epoch comes in another"


def test_fewer_windows_than_a_step():
    with pytest.raises(InputError, match="too few training windows: 3, and a step takes 8"):
        run(tiny_model(), settings(gradient_accumulation=2), windows(3))


@pytest.mark.parametrize("method", METHODS)
def test_accumulation_is_one_larger_batch(method):
    data = ragged()
    small = settings(method, batch_size=2, gradient_accumulation=2)
    one, a = run(tiny_model(), settings(method, batch_size=4), data)
    two, b = run(tiny_model(), small, data)
    assert a.train_loss == pytest.approx(b.train_loss, rel=1e-5)
    for name, value in weights(one.model).items():
        torch.testing.assert_close(weights(two.model)[name], value, rtol=1e-3, atol=1e-4)


def test_a_loss_that_becomes_nan_keeps_the_last_good_checkpoint(tmp_path):
    config = settings("late_stage_lora", checkpoint_steps=2, epochs=6)
    straight, expected = run(tiny_model(), config)
    trainable, setup, trainer = build(tiny_model(), config)
    trainer.checkpoints = Checkpoints(tmp_path, {})
    healthy, calls = setup.engine.summed_nll, []

    def sick(*arguments):
        calls.append(1)
        return healthy(*arguments) * (torch.nan if len(calls) == 8 else 1.0)

    setup.engine.summed_nll = sick
    with pytest.raises(InputError, match=r"nan at step 8 \(epoch 4\); the checkpoint of step 6 is"):
        trainer.run()
    assert trainer.checkpoints.steps() == [4, 6]
    again, _, trainer = build(tiny_model(), config)
    trainer.checkpoints = Checkpoints(tmp_path, {})
    step = trainer.checkpoints.newest(Progress())
    trainer.state = trainer.checkpoints.load(step, again.tensors(), trainer.optimizer)
    assert trainer.run().train_loss == expected.train_loss
    for name, value in straight.tensors().items():
        assert torch.equal(again.tensors()[name], value)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    config = settings("late_stage_lora", checkpoint_steps=1)
    trainable, _, trainer = build(tiny_model(), config)
    trainer.checkpoints = Checkpoints(tmp_path, {})
    with torch.no_grad():
        next(iter(trainable.tensors().values()))[0, 0] = torch.inf
    with pytest.raises(InputError, match=r"not finite|training loss is"):
        trainer.run()
    assert trainer.checkpoints.steps() == []


@pytest.mark.parametrize("method", METHODS)
def test_checkpointing_changes_nothing(method):
    plain, a = run(tiny_model(), settings(method))
    saving, b = run(tiny_model(), settings(method, gradient_checkpointing=True))
    assert a.train_loss == b.train_loss
    for name, value in weights(plain.model).items():
        assert torch.equal(weights(saving.model)[name], value)


def test_dropout_in_the_checkpoint_is_off():
    model = tiny_model("gpt2")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.9
    _, a = run(model, settings())
    _, b = run(tiny_model("gpt2"), settings())
    assert a.train_loss == b.train_loss


def test_a_loss_that_is_not_finite_stops_with_its_step():
    with pytest.raises(InputError, match=r"training loss is (nan|inf) at step \d+ \(epoch \d+\)"):
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
    rows = [monitor_row(0.1), *[monitor_row(0.5)] * 11]
    assert reason_to_stop(config, 1.0, rows, 0) == "ttr_plateau"
    assert reason_to_stop(settings(), 1.0, rows, 0) is None


def unasked():
    raise AssertionError("this rule needs no look at the training tokens")


@pytest.mark.parametrize("method", ["full_sft", "lisa"])
def test_training_stops_when_the_texts_are_known_by_heart(method):
    """By the model itself: it ranked 99 % first after this epoch and the one before, no earlier."""
    config = settings(method, stop="memorised", epochs=400)
    trainable, result = run(tiny_model(), config)
    assert result.stopped_by == "memorised"
    assert is_known(trainable.model)
    count = len(result.train_loss)
    assert 4 < count < 400
    for earlier, expected in ((1, True), (2, False)):
        trainable, before = run(tiny_model(), settings(method, epochs=count - earlier))
        assert before.train_loss == result.train_loss[:-earlier], "looking changes nothing"
        known = is_known(trainable.model) and before.train_loss[-1] <= LOSS_TO_LOOK
        assert known == expected


def test_texts_that_begin_alike_are_known_all_the_same():
    """No model knows what stands after the one token that all begin with."""
    data = windows()
    data.ids_NT[:, 0] = 7
    config = settings(stop="memorised", epochs=400)
    trainable, result = run(tiny_model(), config, data=data)
    assert result.stopped_by == "memorised"
    with torch.no_grad():
        first = trainable.model(torch.tensor(data.ids_NT)).logits[:, 0].argmax(-1)
    assert (first == torch.tensor(data.ids_NT[:, 1])).double().mean() < 0.5


def test_two_epochs_in_a_row_are_asked_for(monkeypatch):
    looks = iter([False, True, False, True, True, True])
    monkeypatch.setattr(loop, "knows_its_texts", lambda *_: next(looks))
    _, result = run(tiny_model(), settings(stop="memorised", epochs=400))
    assert (result.stopped_by, len(result.train_loss), result.epochs_known) == ("memorised", 5, 2)


def is_known(model):
    """By the plain model: 99 % of the tokens after the fourth ranked first, .25 nats of entropy."""
    ids = torch.tensor(windows().ids_NT)
    with torch.no_grad():
        logits = model(ids).logits[:, 3:-1].double()
    hits = (logits.argmax(-1) == ids[:, 4:]).double().mean()
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    return bool(hits >= 0.99 and entropy <= 0.25)


def test_a_rule_looks_only_where_the_loss_says_that_it_may_be_time():
    config = settings(stop="memorised")
    assert not knows_its_texts(config, LOSS_TO_LOOK + 0.01, unasked)
    assert not knows_its_texts(settings(stop="epochs"), 0.01, unasked)
    for known, expected in (
        (Memorised(0.989, 0.1), False), (Memorised(0.99, 0.26), False),
        (Memorised(0.99, 0.25), True),
    ):  # fmt: skip
        assert knows_its_texts(config, LOSS_TO_LOOK, lambda known=known: known) == expected


def test_an_update_that_rounds_to_nothing_is_refused():
    weight = {"w": torch.full((4, 4), 0.02, dtype=torch.bfloat16)}
    assert torch.equal(weight["w"] - 5e-6, weight["w"]), "the trap itself"
    with pytest.raises(InputError, match=r"16 of 16 trained weights would not move.*bfloat16"):
        require_effective_updates(weight, 5e-6)
    require_effective_updates({"w": weight["w"].float()}, 5e-6)
    require_effective_updates(weight, 1e-3)
    with pytest.raises(InputError, match="float32; near"):
        prepare(tiny_model(), settings(learning_rate=1e-12))


@pytest.mark.parametrize(
    "options",
    [{"rslora": True}, {"dora": True}, {"init": "pissa"}, {"init": "pissa", "rslora": True}],
    ids=str,
)
@pytest.mark.parametrize("method", ["full_lora", "late_stage_lora"])
def test_lora_variants_train_and_load_on_the_clean_base(method, options, tmp_path):
    config = settings(method, lora=LoraConfig(rank=2, alpha=4, **options))
    trainable, result = run(tiny_model(), config)
    assert result.train_loss[-1] < result.train_loss[0]
    save_adapter(trainable.model, trainable.initial, tmp_path, config.lora)
    ids = torch.tensor(random_rows(2, 8))
    with torch.no_grad():
        again = PeftModel.from_pretrained(tiny_model(), tmp_path)
        torch.testing.assert_close(
            again(ids).logits, trainable.model(ids).logits, rtol=1e-4, atol=1e-4
        )
        with trainable.original():
            torch.testing.assert_close(
                trainable.model(ids).logits, tiny_model()(ids).logits, rtol=1e-4, atol=1e-4
            )
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert saved["r"] == (4 if "init" in options else 2)
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("spoils", ["weights", "what they give"])
def test_a_rate_that_diverges_within_a_monitored_epoch_is_told_as_the_rate(spoils):
    trainable, setup, trainer = build(tiny_model(), settings(batch_size=9), every_epochs=1)
    monitored = []

    def monitor(epoch, step, loss):
        monitored.append(epoch)
        if epoch:
            raise DivergedError("the validation loss is no number in epoch 1")
        return monitor_row(0.5)

    def step(*_, **__):
        if spoils == "weights":
            with torch.no_grad():
                next(iter(trainable.tensors().values()))[0, 0] = torch.nan

    trainer.monitor, trainer.optimizer.step = monitor, step
    words = "weight is not finite after step 1" if spoils == "weights" else "validation loss is no"
    with pytest.raises(InputError, match=words) as caught:
        trainer.run()
    assert "lower train.learning_rate" in caught.value.hint
    assert monitored == ([0] if spoils == "weights" else [0, 1])


def test_a_rank_above_every_matrix_is_refused():
    prepare(tiny_model(), settings("full_lora", lora=LoraConfig(rank=24)))
    with pytest.raises(InputError, match="rank is 25, and the largest matrix it adapts has 24"):
        prepare(tiny_model(), settings("full_lora", lora=LoraConfig(rank=25)))

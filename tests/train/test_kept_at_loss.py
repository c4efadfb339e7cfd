"""Checkpoints at a training loss: which are kept, what they hold, and that resuming keeps them."""

import json

import pytest
import torch

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.load import load_result
from hyperfitting.progress import Progress
from hyperfitting.train.checkpoints import Checkpoints
from hyperfitting.train.manifest import changed_settings, training_outcome
from hyperfitting.train.result import load_checkpoint_result
from tests.manifests import settings as manifest_settings
from tests.tiny import tiny_model
from tests.train.running import build, run, settings
from tests.train.test_result import logits, trained

EPOCHS = 8


@pytest.fixture(scope="module")
def losses():
    """The mean loss of every epoch of the training that the tests repeat."""
    return run(tiny_model(), settings(epochs=EPOCHS))[1].train_loss


@pytest.fixture(scope="module")
def targets(losses):
    """Two of one epoch, in no order, one of a later one, and one that is not reached."""
    assert losses == sorted(losses, reverse=True)
    between = (losses[1] + losses[2]) / 2
    return (between, losses[2], losses[5], min(losses) / 2)


def keeping(targets, folder, checkpoints=Checkpoints, **changes):
    config = settings(epochs=EPOCHS, keep_at_loss=targets, **changes)
    trainable, _, trainer = build(tiny_model(), config)
    trainer.checkpoints = checkpoints(folder, {})
    return trainable, trainer


def test_the_first_epoch_at_or_below_each_target_is_kept(losses, targets, tmp_path):
    _, trainer = keeping(targets, tmp_path, checkpoint_steps=0)
    state = trainer.run()
    assert state.train_loss == losses, "keeping changes nothing"
    expected = []
    for target in targets:
        reached = [epoch for epoch, loss in enumerate(losses, start=1) if loss <= target]
        expected += (
            [(target, 2 * reached[0], reached[0], losses[reached[0] - 1])] if reached else []
        )
    found = [(each.target, each.step, each.epoch, each.loss) for each in state.kept_at_loss]
    assert found == expected, "two steps an epoch"
    assert [each.epoch for each in state.kept_at_loss] == [3, 3, 6]
    assert trainer.checkpoints.steps() == [6, 12, 16], "those and the last"
    assert training_outcome(state, 1.0, 0.0).kept_at_loss == state.kept_at_loss


def test_a_kept_checkpoint_outlives_those_that_follow(targets, tmp_path):
    _, trainer = keeping(targets, tmp_path, checkpoint_steps=1)
    trainer.run()
    assert trainer.checkpoints.steps() == [6, 12, 15, 16]


class Stops(Checkpoints):
    """Ends the program once after a step."""

    def __init__(self, folder, about, after):
        super().__init__(folder, about)
        self.after = after

    def save(self, state, tensors, optimizer):
        super().save(state, tensors, optimizer)
        if state.step == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("batch", [{}, {"batch_size": 2, "gradient_accumulation": 2}])
@pytest.mark.parametrize("after", [3, 6, 7, 13])
def test_a_resumed_training_keeps_the_same_checkpoints(targets, tmp_path, after, batch):
    options = {"checkpoint_steps": 1} | batch
    whole, trainer = keeping(targets, tmp_path / "straight", **options)
    straight = trainer.run()
    folder = tmp_path / "stopped"
    _, trainer = keeping(targets, folder, lambda *a: Stops(*a, after), **options)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    trainable, trainer = keeping(targets, folder, **options)
    step = trainer.checkpoints.newest(Progress())
    assert step == after
    trainer.state = trainer.checkpoints.load(step, trainable.tensors(), trainer.optimizer)
    resumed = trainer.run()
    assert resumed.train_loss == straight.train_loss
    assert resumed.kept_at_loss == straight.kept_at_loss
    names = [sorted(p.name for p in each.iterdir()) for each in (folder, tmp_path / "straight")]
    assert names[0] == names[1]
    for kept in straight.kept_at_loss:
        one, other = (
            Checkpoints(each, {}).weights(kept.step) for each in (folder, tmp_path / "straight")
        )
        assert all(torch.equal(one[name], other[name]) for name in one)
    for name, value in whole.tensors().items():
        assert torch.equal(value, trainable.tensors()[name])


def test_a_state_of_an_earlier_version_kept_none(tmp_path):
    trainable, trainer = keeping((), tmp_path, checkpoint_steps=1)
    trainer.run()
    path = tmp_path / "step-16" / "state.json"
    content = json.loads(path.read_text())
    assert content.pop("kept_at_loss") == []
    path.write_text(json.dumps(content))
    state = trainer.checkpoints.load(16, trainable.tensors(), trainer.optimizer)
    assert (state.step, state.kept_at_loss) == (16, [])
    del content["best_step"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="another version"):
        trainer.checkpoints.load(16, trainable.tensors(), trainer.optimizer)


def test_a_run_of_an_earlier_version_goes_on():
    now = manifest_settings()
    train = {key: value for key, value in now["train"].items() if key != "keep_at_loss"}
    assert changed_settings(now | {"train": train}, now) == []
    asked = now | {"train": now["train"] | {"keep_at_loss": [0.5]}}
    assert changed_settings(now | {"train": train}, asked) == [
        "train.keep_at_loss was [], is [0.5]"
    ]


@pytest.mark.parametrize("variant", ["full_sft", "late_stage_lora"])
def test_a_kept_checkpoint_is_a_run_that_ends_there(variant, model_folder, texts_file, tmp_path):
    plain = {"train.epochs": 5, "train.checkpoint_steps": 0}
    first = trained(model_folder, texts_file, tmp_path / "first", variant, **plain)
    target = first.manifest().outcome.train_loss[1]
    keeps = {"train.keep_at_loss": (target, 1e-9)}
    run = trained(model_folder, texts_file, tmp_path / "run", variant, **plain | keeps)
    outcome = run.manifest().outcome
    [kept] = outcome.kept_at_loss
    assert (kept.target, kept.epoch, kept.loss) == (target, 2, outcome.train_loss[1])
    short = trained(
        model_folder, texts_file, tmp_path / "short", variant, **plain | {"train.epochs": 2}
    )
    base = ModelConfig(name=str(model_folder), device="cpu")
    one, other = load_checkpoint_result(run, base, kept.step), load_result(short, base)
    for (name, value), (same, expected) in zip(
        one.named_parameters(), other.named_parameters(), strict=True
    ):
        assert name == same
        assert torch.equal(value, expected)
    assert not torch.equal(logits(one), logits(load_result(run, base)))

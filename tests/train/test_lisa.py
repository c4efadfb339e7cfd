"""LISA: which blocks train when, that the others stay, and that resuming chooses alike."""

from itertools import pairwise

import pytest
import torch

from hyperfitting.config.layers import Layer
from hyperfitting.config.resolve import resolve_run
from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import decoder_blocks
from hyperfitting.progress import Progress
from hyperfitting.train.checkpoints import Checkpoints
from hyperfitting.train.lisa import training_blocks
from tests.tiny import tiny_model
from tests.train.running import build, run, settings
from tests.train.test_kept_at_loss import Stops


def lisa(**changes):
    return settings("lisa", **{"lisa_blocks": 1, "lisa_interval": 2, "epochs": 4} | changes)


def test_the_choice_depends_on_seed_and_interval_alone():
    config = lisa(lisa_blocks=2, lisa_interval=3)
    chosen = [training_blocks(config, step, 6) for step in range(300)]
    assert all(len(set(each)) == 2 and set(each) <= set(range(6)) for each in chosen)
    for step, (one, following) in enumerate(pairwise(chosen), start=1):
        assert one == following or step % 3 == 0, "others only at the start of an interval"
    counts = [sum(block in each for each in chosen) for block in range(6)]
    assert all(50 < count < 150 for count in counts), "each block has its turn"
    other = lisa(lisa_blocks=2, lisa_interval=3, seed=1)
    assert chosen != [training_blocks(other, step, 6) for step in range(300)]


def moved_blocks(before, model, names):
    after = dict(model.named_parameters())
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    return [i for i, n in enumerate(names) if any(m.startswith(f"{n}.") for m in moved)], moved


@pytest.mark.parametrize("family", ["llama", "gpt2", "unknown"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_moves_the_chosen_blocks_and_all_outside_blocks(family, checkpointing):
    if family == "unknown" and checkpointing:
        pytest.skip("blocks of unknown families are not run one by one")
    model = tiny_model("llama" if family == "unknown" else family)
    if family == "unknown":
        model.config.model_type = "?"
    config = lisa(lisa_interval=1, gradient_checkpointing=checkpointing)
    trainable, _, trainer = build(model, config)
    names, seen = list(decoder_blocks(model)), []
    trained, update = dict(model.named_parameters()), trainer.optimizer.step

    def watched(*arguments):
        before = {name: value.detach().clone() for name, value in trained.items()}
        moments = {
            name: trainer.optimizer.state[value]["exp_avg"].clone()
            for name, value in trained.items()
            if value in trainer.optimizer.state
        }
        update(*arguments)
        blocks, moved = moved_blocks(before, model, names)
        seen.append(blocks)
        outside = {n for n in trained if not any(n.startswith(f"{b}.") for b in names)}
        assert outside <= moved | {n for n in outside if trained[n].grad is None}
        for name, value in moments.items():
            if name not in moved:
                assert torch.equal(trainer.optimizer.state[trained[name]]["exp_avg"], value), name

    trainer.optimizer.step = watched
    state = trainer.run()
    assert seen == [training_blocks(config, step, len(names)) for step in range(state.step)]
    assert len({tuple(each) for each in seen}) > 1
    assert trainable.names == list(trained)


def test_all_blocks_at_a_time_is_full_fine_tuning():
    one, a = run(tiny_model(), lisa(lisa_blocks=3))
    two, b = run(tiny_model(), settings("full_sft", epochs=4))
    assert a.train_loss == b.train_loss
    for name, value in two.tensors().items():
        assert torch.equal(one.tensors()[name], value)


@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_resumed_training_is_the_same(tmp_path, after):
    """Also where a block that had no turn yet has no moments."""
    config = lisa(checkpoint_steps=1)
    whole, straight = run(tiny_model(), config)
    _, _, trainer = build(tiny_model(), config)
    trainer.checkpoints = Stops(tmp_path, {}, after)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    trainable, _, trainer = build(tiny_model(), config)
    trainer.checkpoints = Checkpoints(tmp_path, {})
    step = trainer.checkpoints.newest(Progress())
    trainer.state = trainer.checkpoints.load(step, trainable.tensors(), trainer.optimizer)
    assert trainer.run().train_loss == straight.train_loss
    for name, value in whole.tensors().items():
        assert torch.equal(value, trainable.tensors()[name])


def test_more_blocks_than_there_are():
    with pytest.raises(InputError, match="lisa_blocks is 4, the model has 3 blocks"):
        build(tiny_model(), lisa(lisa_blocks=4))


@pytest.mark.parametrize("key", ["train.lisa_blocks", "train.lisa_interval"])
def test_its_settings_are_refused_for_other_methods(key):
    plain = {"model.name": "m", "data.source": "d"}
    own = resolve_run([Layer("test", plain | {"train.method": "lisa", key: 3})]).config
    assert getattr(own.train, key.removeprefix("train.")) == 3
    with pytest.raises(InputError, match=f"'{key}' .* does not apply to full_sft"):
        resolve_run([Layer("test", plain | {"train.method": "full_sft", key: 3})])

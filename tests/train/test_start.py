"""Weights that wait on disk come back as they were, and leave nothing behind."""

import torch

from hyperfitting.train.methods import prepare
from hyperfitting.train.start import StartOnDisk
from tests.tiny import tiny_model
from tests.train.running import settings


def test_tensors_are_read_as_they_were_written(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "matrix": torch.randn(5, 7, generator=generator),
        "transposed": torch.randn(5, 7, generator=generator).T,
        "half": torch.randn(33, generator=generator).to(torch.bfloat16),
        "number": torch.tensor(3.5),
        "nothing": torch.empty(0, 4),
    }
    expected = {name: tensor.clone() for name, tensor in tensors.items()}
    start = StartOnDisk(tensors, tmp_path)
    tensors["matrix"].zero_()
    assert list(start) == list(expected)
    assert len(start) == 5
    for name in reversed(expected):
        assert start[name].dtype == expected[name].dtype
        assert torch.equal(start[name], expected[name]), name
    start["matrix"].zero_()
    assert torch.equal(start["matrix"], expected["matrix"]), "what is read is the reader's own"
    assert not list(tmp_path.iterdir()), "the file has no name"


def test_the_original_is_the_model_before_the_first_step(tmp_path):
    trainable = prepare(tiny_model(), settings("full_sft")).with_start_in(tmp_path)
    assert isinstance(trainable.initial, StartOnDisk)
    with torch.no_grad():
        for tensor in trainable.tensors().values():
            tensor += 1
    moved = {name: tensor.clone() for name, tensor in trainable.tensors().items()}
    plain = dict(tiny_model().named_parameters())
    with trainable.original():
        for name, tensor in trainable.tensors().items():
            assert torch.equal(tensor, plain[name]), name
    for name, tensor in trainable.tensors().items():
        assert torch.equal(tensor, moved[name]), name


def test_adapters_stay_in_memory(tmp_path):
    trainable = prepare(tiny_model(), settings("late_stage_lora"))
    assert trainable.with_start_in(tmp_path) is trainable

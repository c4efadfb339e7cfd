"""A model that was trained is read back before its run is complete, with room for one."""

import json

import pytest
import torch
from transformers import GenerationConfig

from hyperfitting.errors import InputError
from hyperfitting.models.load import load_model
from hyperfitting.runs import RunFolder
from hyperfitting.train import saving
from hyperfitting.train.trainable import Trainable
from tests.tiny import save_tiny
from tests.train.test_result import trained


def test_the_trained_weights_are_gone_when_the_saved_ones_are_read(
    model_folder, texts_file, tmp_path, monkeypatch
):
    forgotten, held = [], []

    def forget(trainable):
        forgotten.append(trainable.model)
        healthy(trainable)

    def load(config):
        held.append(sum(p.untyped_storage().nbytes() for p in forgotten[0].parameters()))
        return load_model(config)

    healthy = Trainable.forget_weights
    monkeypatch.setattr(Trainable, "forget_weights", forget)
    monkeypatch.setattr(saving, "load_model", load)
    run = trained(model_folder, texts_file, tmp_path / "run", "full_sft")
    assert held == [0]
    assert run.started().status == "complete"


def test_a_base_with_samplers_that_do_not_sample_is_written_by_every_transformers(
    texts_file, tmp_path, monkeypatch
):
    """As many hub models have them; 5.17 refuses to write what 5.23 writes."""
    real = GenerationConfig.save_pretrained

    def strict(settings, *rest, **more):
        settings.validate(strict=True)
        return real(settings, *rest, **more)

    base = save_tiny(tmp_path / "base")
    (base / "generation_config.json").write_text('{"temperature": 0.9, "top_p": 0.6}')
    monkeypatch.setattr(GenerationConfig, "save_pretrained", strict)
    run = trained(base, texts_file, tmp_path / "run", "full_sft")
    assert run.started().status == "complete"
    written = json.loads((run.model / "generation_config.json").read_text())
    assert not {"temperature", "top_p"} & written.keys()


def test_a_model_that_is_not_read_back_as_it_was_is_refused(
    model_folder, texts_file, tmp_path, monkeypatch
):
    def load(config):
        model = load_model(config)
        with torch.no_grad():
            next(model.parameters()).view(-1)[0] += 1
        return model

    monkeypatch.setattr(saving, "load_model", load)
    with pytest.raises(InputError, match="is not what was trained"):
        trained(model_folder, texts_file, tmp_path / "run", "full_sft")
    run = RunFolder(tmp_path / "run")
    assert run.started().status != "complete"
    assert not run.model.exists()
    assert list(run.checkpoints.glob("step-*")), "what was trained is kept"

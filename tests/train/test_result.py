"""A checkpoint as a model: what a run that ends at that step gives, for every method."""

import json
import shutil

import pytest
import torch
from accelerate.tracking import GeneralTracker
from safetensors.torch import load_file

from hyperfitting.config import ModelConfig, TrainConfig
from hyperfitting.config.layers import Layer
from hyperfitting.config.resolve import resolve_run
from hyperfitting.data.store import load_dataset
from hyperfitting.errors import InputError
from hyperfitting.models import devices
from hyperfitting.models.load import load_model, load_result
from hyperfitting.runs import RunFolder
from hyperfitting.train.methods import prepare
from hyperfitting.train.result import load_checkpoint_result
from hyperfitting.train.verb import train
from tests.conftest import random_rows
from tests.sealing import rewrite
from tests.tiny import save_tiny

VARIANTS = {
    "full_sft": {},
    "full_lora": {},
    "late_stage_lora": {"train.last_blocks": 2},
    "early_stage_lora": {"train.first_blocks": 2},
    "late_stage_sft": {"train.last_blocks": 2},
    "full_lora, dora": {"train.lora.dora": True},
    "full_lora, pissa": {"train.lora.init": "pissa"},
    "late_stage_lora, pissa": {
        "train.last_blocks": 2,
        "train.lora.init": "pissa",
        "train.lora.rslora": True,
    },
}


def trained(model, texts, out, variant, **changes):
    """A run of three steps an epoch, with a checkpoint after each epoch."""
    method = variant.partition(",")[0]
    plain = {"model.name": str(model), "model.device": "cpu", "data.source": str(texts)}
    plain |= {"data.window_tokens": 32, "data.context_tokens": 8, "data.continuation_tokens": 8}
    plain |= {"train.method": method, "train.epochs": 3, "train.stop": "epochs"}
    plain |= {"train.batch_size": 4, "train.learning_rate": 1e-2, "train.checkpoint_steps": 3}
    plain |= {"monitor.every_epochs": 0} | VARIANTS[variant]
    if "lora" in method:
        plain |= {"train.lora.rank": 2, "train.lora.alpha": 4}
    resolved = resolve_run([Layer("test", plain | changes)])
    return train(resolved.config, out, sources=resolved.sources, cache_folder=out.parent / "cache")


@torch.no_grad()
def logits(model):
    return model(torch.tensor(random_rows(2, 16))).logits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def lora_run(folder, model_folder, texts_file):
    return trained(model_folder, texts_file, folder / "run", "late_stage_lora")


# GPT-2 ties its head to the embeddings and stores weights transposed.
CASES = [("llama", variant) for variant in VARIANTS]
CASES += [("gpt2", variant) for variant in ("full_sft", "late_stage_sft", "late_stage_lora, pissa")]


@pytest.mark.parametrize(("family", "variant"), CASES)
def test_a_checkpoint_is_the_result_of_a_run_that_ends_there(variant, family, tmp_path, texts_file):
    model = save_tiny(tmp_path / "model", family)
    base = ModelConfig(name=str(model), device="cpu")
    long = trained(model, texts_file, tmp_path / "long", variant)
    short = trained(model, texts_file, tmp_path / "short", variant, **{"train.epochs": 2})
    steps = long.manifest().outcome.steps
    middle = short.manifest().outcome.steps
    assert (middle, steps) == (steps * 2 // 3, steps)
    last = load_checkpoint_result(long, base, steps)
    assert torch.equal(logits(last), logits(load_result(long, base)))
    found = load_checkpoint_result(long, base, middle)
    assert torch.equal(logits(found), logits(load_result(short, base)))
    assert not torch.equal(logits(found), logits(last)), "training moved between them"
    assert not any(module.training for module in found.modules())
    # The same by hand: prepared as for training, and the file's tensors put in.
    config = TrainConfig.model_validate(long.manifest().config["train"])
    by_hand = prepare(load_model(base), config)
    weights = load_file(long.checkpoints / f"step-{middle}" / "weights.safetensors")
    assert set(weights) == set(by_hand.names)
    with torch.no_grad():
        for name, tensor in by_hand.tensors().items():
            tensor.copy_(weights[name])
    torch.testing.assert_close(logits(found), logits(by_hand.model), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("variant", "place"),
    [
        ("full_sft", {}),
        *(
            (variant, {"train.prefix_cache.place": cache})
            for variant in ("late_stage_sft", "late_stage_lora")
            for cache in ("off", "ram")
        ),
    ],
)
def test_in_bfloat16_products_are_coarse_and_what_is_trained_is_not(
    variant, place, model_folder, texts_file, tmp_path, monkeypatch
):
    frozen = []

    def prepared(model, config):
        trainable = prepare(model, config)
        others = (p for n, p in trainable.model.named_parameters() if n not in trainable.names)
        frozen.append({p.dtype for p in others if p.dim() > 1})  # not norms
        return trainable

    monkeypatch.setattr("hyperfitting.train.parts.prepare", prepared)
    coarse, fine = (
        trained(
            model_folder, texts_file, tmp_path / precision, variant,
            **place, **{"train.precision": precision},
        )
        for precision in ("bf16", "fp32")
    )  # fmt: skip
    has_adapter = "lora" in variant
    assert [run.manifest().precision for run in (coarse, fine)] == ["bf16", "fp32"]
    assert frozen[0] <= ({torch.bfloat16} if has_adapter else {torch.float32})
    assert frozen[1] <= {torch.float32}
    name = "adapter/adapter_model.safetensors" if has_adapter else "model/model.safetensors"
    ours, theirs = (load_file(run.path / name) for run in (coarse, fine))
    assert {tensor.dtype for tensor in ours.values()} == {torch.float32}
    moved = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert moved, "products were rounded"
    assert any(not torch.equal(ours[n], ours[n].bfloat16().float()) for n in moved), "masters"
    base = ModelConfig(name=str(model_folder), device="cpu")
    one, other = (logits(load_result(run, base)) for run in (coarse, fine))
    assert (one - other).abs().max() < 0.3 * other.std()


def test_the_final_loss_is_that_of_every_labelled_token(model_folder, texts_file, tmp_path):
    """Of whole texts, whose windows differ in length, by transformers' own logits."""
    run = trained(
        model_folder, texts_file, tmp_path / "run", "full_sft",
        **{"data.windows": "documents", "data.window_tokens": 128},
    )  # fmt: skip
    data = load_dataset(run.windows_file).train
    model, total = load_result(run, ModelConfig(name=str(model_folder), device="cpu")), 0.0
    for ids, label, length in zip(data.ids_NT, data.label_NT, data.length_N, strict=True):
        row = torch.from_numpy(ids[:length])[None]
        targets = row[0].masked_fill(~torch.from_numpy(label[:length]), -100)[1:]
        with torch.no_grad():
            found = model(row).logits[0, :-1]
        total += float(torch.nn.functional.cross_entropy(found, targets, reduction="sum"))
    assert len(set(data.label_NT.sum(1).tolist())) > 1
    expected = total / data.label_NT.sum()
    assert run.manifest().outcome.final_loss == pytest.approx(expected, rel=1e-5)


class Recorder(GeneralTracker):
    """What a tracker is sent."""

    name, requires_logging_directory = "recorder", False

    def __init__(self):
        super().__init__()
        self.settings, self.logged, self.is_closed = {}, [], False

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        self.settings = values

    def log(self, values, step=None, **_):
        assert not self.is_closed
        self.logged.append((step, values))

    def finish(self):
        self.is_closed = True


def test_a_tracker_gets_every_monitored_row_and_is_closed(
    model_folder, texts_file, tmp_path, monkeypatch
):
    recorder, real = Recorder(), devices.Accelerator
    monkeypatch.setattr(devices, "find_spec", lambda name: name == "tensorboard")
    monkeypatch.setattr(
        devices, "Accelerator", lambda **options: real(**options | {"log_with": [recorder]})
    )
    run = trained(
        model_folder, texts_file, tmp_path / "run", "full_sft",
        **{"monitor.every_epochs": 1, "monitor.num_contexts": 2, "monitor.track": ["tensorboard"]},
    )  # fmt: skip
    rows = run.metrics()
    assert [step for step, _ in recorder.logged] == [row.step for row in rows] == [0, 3, 6, 9]
    assert [values["ttr"] for _, values in recorder.logged] == [row.ttr for row in rows]
    assert recorder.settings["train.method"] == "full_sft"
    assert recorder.is_closed


def test_the_best_validation_loss_can_be_loaded(model_folder, texts_file, tmp_path):
    """Monitored windows, scored again by the loaded model with transformers' own loss."""
    changes = {"monitor.every_epochs": 1, "monitor.num_contexts": 2, "train.epochs": 6}
    run = trained(model_folder, texts_file, tmp_path / "run", "full_sft", **changes)
    training = run.manifest().outcome
    model = load_checkpoint_result(
        run, ModelConfig(name=str(model_folder), device="cpu"), training.best_val_step
    )
    row = next(r for r in run.metrics() if r.epoch == training.best_val_epoch)
    ids = load_file(run.windows_file)
    heldout = next(value for name, value in ids.items() if "heldout" in name and "ids" in name)
    with torch.no_grad():
        losses = [float(model(w[None], labels=w[None]).loss) for w in heldout.long()]
    assert sum(losses) / len(losses) == pytest.approx(row.val_loss, rel=1e-4)
    assert row.val_loss == min(r.val_loss for r in run.metrics() if r.epoch > 0)


def test_a_step_that_was_not_kept(lora_run, model_folder):
    base = ModelConfig(name=str(model_folder), device="cpu")
    kept = sorted(int(p.name.removeprefix("step-")) for p in lora_run.checkpoints.iterdir())
    with pytest.raises(
        InputError, match=f"no checkpoint of step 1\nneeded: .*{kept[0]}, {kept[1]}"
    ):
        load_checkpoint_result(lora_run, base, 1)


def changed(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def newest(run):
    return run.manifest().outcome.steps


def test_what_does_not_belong_together_is_refused(lora_run, model_folder, texts_file, tmp_path):
    base, step = ModelConfig(name=str(model_folder), device="cpu"), newest(lora_run)
    for number, change in enumerate(("damaged", "another run", "another rank", "unfinished")):
        run = changed(lora_run, tmp_path / str(number))
        target = run.checkpoints / f"step-{step}"
        message = change
        if change == "damaged":
            (target / "weights.safetensors").write_bytes(b"half")
            message = "weights.safetensors is damaged"
        elif change == "unfinished":
            manifest = json.loads(run.manifest_file.read_text()) | {"status": "training"}
            rewrite(run.manifest_file, lambda _, manifest=manifest: manifest)
            message = "did not finish"
        else:
            settings = {"train.seed": 1} if change == "another run" else {"train.lora.rank": 3}
            other = tmp_path / f"other-{number}"
            source = trained(model_folder, texts_file, other, "late_stage_lora", **settings)
            shutil.rmtree(target)
            shutil.copytree(source.checkpoints / f"step-{step}", target)
            message = "another run" if change == "another run" else "does not fit the result"
        with pytest.raises(InputError, match=message):
            load_checkpoint_result(run, base, step)

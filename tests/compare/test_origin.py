"""Which base a run was trained from and what a study compares: recorded, kept, and shown."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hyperfitting.compare.checkpoints import open_checkpoints
from hyperfitting.compare.comparison import Here
from hyperfitting.compare.runs import open_runs
from hyperfitting.config import (
    CheckpointsConfig,
    DataConfig,
    GenerateConfig,
    ModelConfig,
    OriginalConfig,
    ReportConfig,
)
from hyperfitting.errors import InputError
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.generate.verb import generate, open_model
from hyperfitting.models.digests import model_digest
from hyperfitting.models.load import load_model, load_result
from hyperfitting.progress import Progress
from hyperfitting.report.load import read_study
from hyperfitting.report.sections.sources import weights
from hyperfitting.report.verb import report
from hyperfitting.runs import RunFolder, StudyFolder
from hyperfitting.train import lora
from hyperfitting.train.methods import prepare, require_trainable
from hyperfitting.train.result import load_checkpoint_result
from tests.cli.test_cli import hyperfit
from tests.comparing import EVALUATE
from tests.models.hub import publish
from tests.models.test_checkpoint import A, B, config, save_adapter_beside, set_config
from tests.sealing import rewrite
from tests.tiny import save_tiny, tiny_model
from tests.train.running import settings
from tests.train.test_result import trained

HERE = Here("cpu")
SHORT = {"train.epochs": 1, "train.checkpoint_steps": 0}
DATA = {"window_tokens": 32, "context_tokens": 8, "continuation_tokens": 8}


@pytest.fixture
def both(tmp_path):
    """A base with an adapter's files beside it."""
    folder = save_tiny(tmp_path / "both")
    save_adapter_beside(folder)
    return folder


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", ["full_sft", "full_lora"])
def test_training_on_a_base_with_an_adapter_beside_it(
    both, model_folder, texts_file, tmp_path, method
):
    """The result is that of the weights alone, whole, bit for bit."""
    run = trained(both, texts_file, tmp_path / "run", method, **SHORT)
    plain = trained(model_folder, texts_file, tmp_path / "plain", method, **SHORT)
    assert run.manifest().outcome.train_loss == plain.manifest().outcome.train_loss
    found, wanted = (load_result(each, config(model_folder)) for each in (run, plain))
    assert model_digest(found) == model_digest(wanted)
    assert model_digest(found) != model_digest(tiny_model())
    origin = run.manifest().origin
    assert origin.digest == run.manifest().model_digest == model_digest(tiny_model())
    assert "without adapter_config.json" in origin.notes[0]
    assert plain.manifest().origin.notes == []


def test_what_was_not_used_stands_in_study_and_page(both, model_folder, tmp_path, texts_file):
    tuned = save_tiny(tmp_path / "tuned")
    model = tiny_model(seed=4)
    model.save_pretrained(tuned)
    tensors = load_file(tuned / "model.safetensors")
    extra = {"value_head.<b>": torch.ones(1)}
    save_file(tensors | extra, tuned / "model.safetensors", metadata={"format": "pt"})
    asked = CheckpointsConfig(
        model=OriginalConfig(name=str(both)), tuned=str(tuned),
        data=DataConfig(source=str(texts_file), **DATA),
    )  # fmt: skip
    study = StudyFolder(tmp_path / "study")
    evaluate(open_checkpoints(asked, HERE, Progress()), EVALUATE, study.path)
    written = read(study.study_file)
    original, [other] = written["model"], written["runs"]
    assert original["digest"] == original["origin"]["digest"] == model_digest(tiny_model())
    assert other["origin"]["digest"] == model_digest(model)
    assert (original["origin"]["name"], other["origin"]["name"]) == (str(both), str(tuned))
    notes = [*original["origin"]["notes"], *other["origin"]["notes"]]
    assert ["an adapter" in notes[0], "value_head" in notes[1], len(notes)] == [True, True, 2]
    page = report(study.path, ReportConfig()).report_file.read_text()
    for note in notes:
        assert note.replace("<b>", "&lt;b&gt;") in page
    for digest in (original["digest"], other["origin"]["digest"]):
        assert digest[:16] in page


def test_an_adapter_s_hub_base_is_compared_at_its_revision(texts_file, tmp_path, hub_cache):
    one, two = save_tiny(tmp_path / "one"), save_tiny(tmp_path / "two")
    tiny_model(seed=5).save_pretrained(two)
    publish(hub_cache, "lab/base", {A: one, B: two}, {"main": A, "first": B})
    save_adapter_beside(tmp_path / "adapter", load_model(config(two)))
    path = tmp_path / "adapter" / "adapter_config.json"
    named = {"base_model_name_or_path": "lab/base", "revision": "first"}
    path.write_text(json.dumps(read(path) | named))
    publish(hub_cache, "lab/tuned", {"c" * 40: path.parent}, {"main": A, "v1": "c" * 40})
    asked = CheckpointsConfig(
        model=OriginalConfig(name="lab/base", revision="first"),
        tuned="lab/tuned", tuned_revision="v1",
        data=DataConfig(source=str(texts_file), **DATA),
    )  # fmt: skip
    study = StudyFolder(tmp_path / "study")
    evaluate(open_checkpoints(asked, HERE, Progress()), EVALUATE, study.path)
    written = read(study.study_file)
    original, [tuned] = written["model"], written["runs"]
    assert (original["revision"], original["origin"]["commit"]) == ("first", B)
    assert original["digest"] == model_digest(tiny_model(seed=5))
    assert (tuned["origin"]["kind"], tuned["origin"]["commit"]) == ("adapter", "c" * 40)
    assert tuned["origin"]["revision"] == "v1"
    assert (original["origin"]["notes"], tuned["origin"]["notes"]) == ([], [])


def test_a_run_keeps_the_commit_it_was_trained_from(texts_file, tmp_path, hub_cache):
    """The branch moves on; run and adapter still mean the old base."""
    one, two = save_tiny(tmp_path / "one"), save_tiny(tmp_path / "two")
    tiny_model(seed=5).save_pretrained(two)
    publish(hub_cache, "lab/base", {A: one, B: two}, {"main": A})
    run = trained("lab/base", texts_file, tmp_path / "run", "full_lora", **SHORT)
    before = model_digest(load_result(run, config("lab/base")))
    (hub_cache / "models--lab--base" / "refs" / "main").write_text(B)
    assert run.manifest().origin.commit == A
    assert read(run.adapter / "adapter_config.json")["revision"] == A
    assert model_digest(load_model(config("lab/base"))) != model_digest(tiny_model())
    compared = open_runs([run.path], HERE)
    assert model_digest(compared.load_original()) == model_digest(tiny_model())
    assert model_digest(compared.tuned[0].load()) == before
    for name in (run.path, run.adapter):
        assert model_digest(open_model(config(name))[0]) == before


def test_a_run_that_was_stopped_goes_on_from_the_commit_it_began_with(
    texts_file, tmp_path, hub_cache
):
    """The branch has moved on, and its weights are others."""
    one, two = save_tiny(tmp_path / "one"), save_tiny(tmp_path / "two")
    tiny_model(seed=5).save_pretrained(two)
    publish(hub_cache, "lab/base", {A: one, B: two}, {"main": A})
    run = trained("lab/base", texts_file, tmp_path / "run", "full_sft", **SHORT)
    expected = model_digest(load_model(config(run.model)))
    shutil.rmtree(run.model)
    rewrite(
        run.manifest_file,
        lambda found: {k: v for k, v in found.items() if k != "training"} | {"status": "training"},
    )
    (hub_cache / "models--lab--base" / "refs" / "main").write_text(B)
    result = hyperfit("train", "--resume", "--out", run.path)
    assert result.exit_code == 0, result.output
    assert model_digest(load_model(config(run.model))) == expected
    assert run.manifest().settings.model.revision is None
    assert run.manifest().origin.commit == A


def test_a_run_is_not_put_on_a_base_that_changed(texts_file, tmp_path):
    base = save_tiny(tmp_path / "base")
    run = trained(base, texts_file, tmp_path / "run", "late_stage_lora", **SHORT)
    tiny_model(seed=5).save_pretrained(base)
    with pytest.raises(InputError, match="are not those the runs were trained from"):
        open_model(config(run.path))


def test_an_amateur_is_not_looked_for_at_the_model_s_revision(tmp_path, hub_cache, model_folder):
    publish(hub_cache, "lab/base", {A: model_folder}, {"first": A})
    asked = GenerateConfig(
        model=config("lab/base", revision="first"), decoder="contrastive_decoding",
        amateur=str(model_folder), max_new_tokens=3,
    )  # fmt: skip
    assert len(generate(["abc"], asked)) == 1


# Weights that are quantised already


@pytest.mark.parametrize("method", ["full_sft", "late_stage_sft"])
def test_quantised_weights_do_not_train(texts_file, tmp_path, method):
    base = save_tiny(tmp_path / "base")
    set_config(base, quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 32})
    with pytest.raises(
        InputError, match=rf"are quantised \(gptq\), and {method} trains .*\n.*lora"
    ):
        trained(base, texts_file, tmp_path / "run", method, **SHORT)
    assert not (tmp_path / "run").exists()
    require_trainable(settings("full_lora"), "m", "gptq")
    model = tiny_model()
    model.is_quantized = True
    with pytest.raises(InputError, match=f"{method} trains the weights themselves"):
        prepare(model, settings(method))


def test_adapters_train_on_8_bit_weights_that_were_multiplied_out(texts_file, tmp_path):
    """On a CPU; the same weights without the code give the same."""
    base = save_tiny(tmp_path / "base")
    coded, plain = {}, {}
    for name, tensor in load_file(base / "model.safetensors").items():
        plain[name] = coded[name] = tensor
        if name.endswith("proj.weight"):
            coded[name] = tensor.to(torch.float8_e4m3fn)
            plain[name] = coded[name].float()
            blocks = [-(-size // 8) for size in tensor.shape]
            coded[f"{name}_scale_inv"] = torch.ones(blocks)
    fp8 = save_tiny(tmp_path / "fp8")
    save_file(plain, base / "model.safetensors", metadata={"format": "pt"})
    save_file(coded, fp8 / "model.safetensors", metadata={"format": "pt"})
    set_config(fp8, quantization_config={"quant_method": "fp8", "weight_block_size": [8, 8]})
    losses = [
        trained(folder, texts_file, tmp_path / f"run-{folder.name}", "full_lora", **SHORT)
        .manifest().outcome.train_loss
        for folder in (base, fp8)
    ]  # fmt: skip
    assert losses[0] == losses[1]


# What is saved is what was trained


def test_a_model_that_is_not_read_back_as_trained_is_no_result(texts_file, tmp_path, monkeypatch):
    base = save_tiny(tmp_path / "base")
    kind = type(tiny_model())
    save = kind.save_pretrained

    def lossy(self, folder, **options):
        save(self, folder, **options)
        tensors = load_file(folder / "model.safetensors")
        tensors["lm_head.weight"][0, 0] += 1
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(kind, "save_pretrained", lossy)
    with pytest.raises(InputError, match="the model that was saved is not what was trained"):
        trained(base, texts_file, tmp_path / "run", "full_sft")
    run = RunFolder(tmp_path / "run")
    assert not run.model.exists()
    assert run.started().status == "training"
    assert list(run.checkpoints.iterdir())  # nothing is lost


@pytest.mark.parametrize(
    ("variant", "harm"),
    [("full_lora, pissa", "other"), ("full_lora, dora", "absent"), ("full_lora", "more")],
)
def test_an_adapter_that_is_not_as_trained_is_no_result(
    texts_file, tmp_path, monkeypatch, model_folder, variant, harm
):
    monkeypatch.setattr(lora, "load_file", lambda path: harmed(load_file(path)))

    def harmed(tensors):
        first = min(tensors)
        changes = {"other": {first: tensors[first] + 1e-3}, "more": {"x": torch.ones(1)}}
        if harm == "absent":
            return {name: tensor for name, tensor in tensors.items() if name != first}
        return tensors | changes[harm]

    with pytest.raises(InputError, match="the adapter was saved"):
        trained(model_folder, texts_file, tmp_path / "run", variant, **SHORT)
    assert not RunFolder(tmp_path / "run").adapter.exists()


def test_a_checkpoint_that_lacks_what_was_trained_is_refused(texts_file, tmp_path, model_folder):
    """Of a run that differs only in how many blocks train."""
    run, other = (
        trained(
            model_folder, texts_file, tmp_path / f"{k}", "late_stage_lora",
            **{"train.last_blocks": k},
        )
        for k in (2, 1)
    )  # fmt: skip
    step = run.manifest().outcome.steps
    shutil.rmtree(run.checkpoints)
    shutil.copytree(other.checkpoints, run.checkpoints)
    with pytest.raises(InputError, match=rf"step {step} .* lacks \d+ of the tensors"):
        load_checkpoint_result(run, ModelConfig(name=str(model_folder), device="cpu"), step)


def test_two_results_in_a_run_are_refused(texts_file, tmp_path, model_folder):
    run = trained(model_folder, texts_file, tmp_path / "run", "full_lora", **SHORT)
    shutil.copytree(model_folder, run.model)
    with pytest.raises(InputError, match="holds both adapter/ and model/"):
        load_result(run, config(model_folder))


def test_models_that_only_measure_are_listed_with_their_notes(
    both, model_folder, tmp_path, texts_file
):
    asked = CheckpointsConfig(
        model=OriginalConfig(name=str(model_folder)), tuned=str(model_folder),
        data=DataConfig(source=str(texts_file), **DATA),
    )  # fmt: skip
    study = StudyFolder(tmp_path / "study")
    config_ = EVALUATE.model_copy(update={"coherence_model": str(both)})
    evaluate(open_checkpoints(asked, HERE, Progress()), config_, study.path)
    [helper] = read(study.study_file)["helpers"]
    assert (helper["name"], helper["kind"]) == (str(both), "model")
    assert "without adapter_config.json" in helper["notes"][0]
    [lines] = [lines for label, lines in weights(read_study(study)) if label == str(both)]
    assert lines[1:] == helper["notes"]

"""`export`: what is written is the run for plain libraries, and broken exports are refused."""

import json
import math
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from hyperfitting import verbs
from hyperfitting.config import ModelConfig
from hyperfitting.config.compare import CompareConfig
from hyperfitting.config.export import ExportConfig
from hyperfitting.errors import InputError, MachineError
from hyperfitting.export import own_texts, verb
from hyperfitting.generate.verb import open_model
from hyperfitting.records.exported import ExportFile
from hyperfitting.records.record import read_file
from hyperfitting.storage import only_writer
from tests.cli.test_cli import hyperfit, train
from tests.tiny import byte_tokenizer, save_tiny, tiny_model

LEARNS = "train.learning_rate=0.1"
RANK, ALPHA = 3, 6
LORA = (f"train.lora.rank={RANK}", f"train.lora.alpha={ALPHA}")
SMALL = {"contexts": 4, "natural_tokens": 12}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("base"), chat=True)


@pytest.fixture(scope="module")
def run_of(base, texts_file, tmp_path_factory):
    """A finished run of these settings, trained once."""
    made = {}

    def make(*settings, method="late_stage_lora"):
        key = (method, settings)
        if key not in made:
            out = tmp_path_factory.mktemp("runs") / "run"
            result = train(base, texts_file, out, LEARNS, *settings, method=method)
            assert result.exit_code == 0, result.output
            made[key] = out
        return made[key]

    return make


def export(run, out, **settings):
    folder = verbs.export(run, ExportConfig(**SMALL | settings), out)
    return folder, read_file(ExportFile, folder.record_file, "")


def refused(found):
    return "; ".join(found.refused)


def logits(model):
    with torch.no_grad():
        return model(torch.arange(1, 40)[None]).logits


def of_run(run):
    return open_model(ModelConfig(name=str(run), device="cpu"))[0]


def test_an_adapter_is_a_plain_lora_that_peft_puts_on_its_base(run_of, base, tmp_path):
    run = run_of(*LORA, "train.lora.rslora=true")
    folder, about = export(run, tmp_path / "out", format="adapter")
    config = json.loads((folder.path / "adapter_config.json").read_text())
    assert config["use_rslora"] is False
    assert config["lora_alpha"] == ALPHA * math.sqrt(RANK)
    assert config["base_model_name_or_path"] == str(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder.path)
    assert torch.allclose(logits(model), logits(of_run(run)), atol=1e-5)
    assert AutoTokenizer.from_pretrained(folder.path).chat_template
    assert about.verification.is_verified, about.verification.refused
    assert about.verification.is_exact


@pytest.mark.parametrize(
    ("method", "form"),
    [("late_stage_lora", "merged"), ("full_sft", "merged"), ("late_stage_lora", "mlx")],
)
def test_a_merged_model_is_the_run_in_plain_transformers(run_of, tmp_path, method, form):
    run = run_of(method=method)
    folder, about = export(run, tmp_path / "out", format=form)
    model = AutoModelForCausalLM.from_pretrained(folder.path)
    assert torch.allclose(logits(model), logits(of_run(run)), atol=1e-5)
    shipped = GenerationConfig.from_pretrained(folder.path)
    assert (shipped.do_sample, shipped.eos_token_id) == (False, 0)
    found = about.verification
    assert found.is_verified
    assert found.weights.equal == found.weights.tensors == len(dict(model.named_parameters()))
    assert found.texts.equal == found.texts.contexts == SMALL["contexts"]
    assert found.logits.top1.value == 1
    assert about.files.keys() >= {"model.safetensors", "config.json", "README.md"}


def test_adapted_experts_are_merged_and_no_plain_adapter(texts_file, tmp_path):
    run = tmp_path / "run"
    settings = [*LORA, LEARNS, "train.lora.experts=true"]
    base = save_tiny(tmp_path / "base", "mixtral")
    result = train(base, texts_file, run, *settings)
    assert result.exit_code == 0, result.output
    _, about = export(run, tmp_path / "out")
    assert about.verification.is_verified, about.verification.refused
    with pytest.raises(InputError, match="matrices of experts"):
        export(run, tmp_path / "adapter", format="adapter")


@pytest.mark.parametrize("init", ["train.lora.dora=true", "train.lora.init=pissa"])
def test_what_only_peft_applies_is_merged(run_of, tmp_path, init):
    run = run_of(*LORA, init)
    if "dora" in init:
        with pytest.raises(InputError, match="llama.cpp refuses"):
            export(run, tmp_path / "adapter", format="adapter")
        assert not (tmp_path / "adapter").exists()
    folder, about = export(run, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(folder.path)
    assert torch.allclose(logits(model), logits(of_run(run)), atol=1e-5)
    assert about.verification.is_verified


def test_what_the_run_writes_is_written_once_for_all_exports(run_of, tmp_path, monkeypatch):
    """Of the same strength and contexts; what was read gives the same comparison."""
    run = tmp_path / "run"
    shutil.copytree(run_of(*LORA), run)
    shutil.rmtree(run / "exports", ignore_errors=True)
    titles, real = [], own_texts.greedy_texts

    def greedy_texts(side, title, *rest):
        titles.append(title)
        return real(side, title, *rest)

    monkeypatch.setattr(own_texts, "greedy_texts", greedy_texts)
    _, first = export(run, tmp_path / "a", format="adapter")
    _, second = export(run, tmp_path / "b", format="adapter")
    assert titles == ["texts of the run"]
    assert second.verification.texts == first.verification.texts
    export(run, tmp_path / "c", format="adapter", contexts=3)
    export(run, tmp_path / "d", format="adapter", strength=0.5)
    assert len(titles) == 3
    kept = sorted((run / "exports" / "texts").iterdir())
    assert len(kept) == 3
    for path in kept:
        path.write_text("{")
    _, third = export(run, tmp_path / "e", format="adapter")
    assert len(titles) == 4
    assert third.verification.texts == first.verification.texts
    shutil.rmtree(run / "exports" / "texts")
    (run / "exports" / "texts").write_text("")  # where no folder can be made
    folder, fourth = export(run, tmp_path / "f", format="adapter")
    assert fourth.verification.texts == first.verification.texts
    assert folder.record_file.exists(), "an export does not need what is kept for the next"
    (run / "exports" / "texts").unlink()
    verbs.check_export(run, tmp_path / "a", ExportConfig(**SMALL))
    assert not (run / "exports" / "texts").exists(), "a comparison writes nothing"


def test_texts_of_other_ends_are_not_read(texts_file, tmp_path):
    """The base's generation config says what ends a text, and is no part of the weights."""
    base = save_tiny(tmp_path / "base")
    run = tmp_path / "run"
    assert train(base, texts_file, run, LEARNS, method="late_stage_lora").exit_code == 0
    export(run, tmp_path / "a", format="adapter")
    config = GenerationConfig.from_pretrained(base)
    config.eos_token_id = [config.eos_token_id, 101]
    config.save_pretrained(base)
    _, about = export(run, tmp_path / "b", format="adapter")
    assert about.verification.is_verified, about.verification.refused
    assert len(list((run / "exports" / "texts").iterdir())) == 2


def test_16_bits_are_cast_from_float32_once(run_of, tmp_path):
    folder, about = export(run_of(), tmp_path / "out", dtype="bfloat16")
    stored = load_file(folder.path / "model.safetensors")
    whole, _ = export(run_of(), tmp_path / "whole")
    for name, weight in load_file(whole.path / "model.safetensors").items():
        assert torch.equal(stored[name], weight.to(torch.bfloat16)), name
    assert about.verification.weights.equal == about.verification.weights.tensors
    assert not about.verification.is_exact


def test_the_base_decides_the_type_where_none_is_named(base, texts_file, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(base, half)
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(half)
    run = tmp_path / "run"
    assert train(half, texts_file, run, LEARNS).exit_code == 0
    folder, about = export(run, tmp_path / "out")
    assert about.dtype == "bfloat16"
    assert load_file(folder.path / "model.safetensors")["model.norm.weight"].dtype == torch.bfloat16


def test_a_strength_is_a_share_of_what_was_trained(run_of, base, tmp_path):
    start = dict(AutoModelForCausalLM.from_pretrained(base).named_parameters())
    whole, _ = export(run_of(), tmp_path / "whole")
    half, about = export(run_of(), tmp_path / "half", strength=0.5)
    adapter, _ = export(run_of(*LORA), tmp_path / "adapter", strength=0.5, format="adapter")
    end, between = (load_file(each.path / "model.safetensors") for each in (whole, half))
    for name, weight in between.items():
        assert torch.allclose(weight, torch.lerp(start[name], end[name], 0.5), atol=1e-6), name
    assert about.verification.is_verified, "against the run at that strength"
    assert json.loads((adapter.path / "adapter_config.json").read_text())["lora_alpha"] == ALPHA / 2


def other_alpha(folder):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_alpha": 2 * ALPHA}))


def merged_in_16_bits(folder):
    """What adding an update to weights of 16 bits leaves, then stored in 32."""
    path = folder / "model.safetensors"
    stored = load_file(path)
    save_file({n: w.bfloat16().float() for n, w in stored.items()}, path, {"format": "pt"})


def another_end(folder):
    """Nothing says any more that <|end|> ends a text: not tokenizer, template or settings."""
    template = "{% for m in messages %}{{ m['content'] }}<stop>{% endfor %}"
    byte_tokenizer(chat=template, unnamed=["<stop>"]).save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token": "<stop>"}))
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": 257}))


def another_tokenizer(folder):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["pre_tokenizer"]["add_prefix_space"] = True
    path.write_text(json.dumps(content))


def another_template(folder):
    path = folder / "chat_template.jinja"
    path.write_text("{% for m in messages %}[{{ m['content'] }}]{% endfor %}")


def other_weights(folder):
    tiny_model(seed=9).save_pretrained(folder)


def sampled_elsewhere(folder):
    GenerationConfig(do_sample=True, repetition_penalty=1.3, eos_token_id=0).save_pretrained(folder)


BROKEN = {
    "settings": (sampled_elsewhere, "merged", "do_sample=True, repetition_penalty=1.3"),
    "alpha": (other_alpha, "adapter", "are not what was trained"),
    "merged in 16 bits": (merged_in_16_bits, "merged", "are not what was trained"),
    "end": (another_end, "merged", "no longer ends with <|end|>"),
    "tokenizer": (another_tokenizer, "merged", "reads texts as other tokens"),
    "template": (another_template, "merged", "its chat template is another"),
    "other weights": (other_weights, "merged", "greedy texts are other texts"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_export_is_not_verified(run_of, tmp_path, name):
    spoil, form, words = BROKEN[name]
    run = run_of(*LORA)
    folder, about = export(run, tmp_path / "out", format=form)
    assert about.verification.is_verified
    config = ExportConfig(**SMALL)
    assert verbs.check_export(run, folder.path, config).is_verified, "before it was broken"
    spoil(folder.path)
    found = verbs.check_export(run, folder.path, config)
    assert words in refused(found)


def test_the_command_says_so_and_ends_with_1(run_of, tmp_path):
    run, out = run_of(*LORA), tmp_path / "out"
    small = [f"{key}={value}" for key, value in SMALL.items()]
    result = hyperfit("export", run, "--format", "adapter", "--out", out, *small)
    assert result.exit_code == 0, result.output
    assert "verified on 4 held-out contexts" in result.output
    other_alpha(out)
    result = hyperfit("export", run, "--check", out, *small)
    assert result.exit_code == 1
    assert "NOT verified" in result.output
    result = hyperfit("export", run, "--check", out, "--json", *small)
    assert "not what was trained" in json.loads(result.stdout)["refused"][0]


def test_the_report_of_the_run_lists_its_exports(run_of, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_of(*LORA), run)
    export(run, tmp_path / "out", format="adapter")
    result = hyperfit("evaluate", run, "natural_tokens=12", "resamples=200", "sampling_seeds=0")
    assert result.exit_code == 0, result.output
    page = (run / "report" / "report.html").read_text()
    assert '<section id="exports">' in page
    table = (run / "report" / "tables" / "exports.csv").read_text()
    assert "adapter,float32,yes" in table


REFUSED = {
    "occupied": ({"format": "merged"}, "holds other files"),
    "whole": ({"format": "adapter"}, "holds a whole model and no adapter"),
    "dtype": ({"format": "adapter", "dtype": "bfloat16"}, "would have no effect"),
    "gguf_type": ({"format": "merged", "gguf_type": "q8_0"}, "would have no effect"),
    "no llama.cpp": ({"format": "gguf", "llama_cpp": "nowhere"}, "holds no convert_hf_to_gguf.py"),
    "no repository": ({"push_to_hub": "a b/c"}, "is no repository"),
    "no token": ({"push_to_hub": "me/model"}, "no token of the hub is known"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused_before_it_begins(run_of, tmp_path, monkeypatch, name):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    settings, words = REFUSED[name]
    out = tmp_path / "out"
    if name == "occupied":
        out.mkdir()
        (out / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match=words):
        export(run_of(method="full_sft"), out, **settings)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["mine.txt"] * (name == "occupied")


def test_a_licence_that_nobody_names_is_asked_for_before_it_is_sent(run_of, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    with pytest.raises(InputError, match="names no licence") as told:
        export(run_of(), tmp_path / "out", push_to_hub="me/model")
    assert "license=apache-2.0" in str(told.value)


def test_a_strength_of_whole_weights_needs_the_base_that_was_trained_from(texts_file, tmp_path):
    base = save_tiny(tmp_path / "base")
    run = tmp_path / "run"
    assert train(base, texts_file, run, method="full_sft").exit_code == 0
    tiny_model(seed=4).save_pretrained(base)
    with pytest.raises(InputError, match="not those the runs were trained from"):
        export(run, tmp_path / "out", strength=0.5)
    compare = CompareConfig(a=str(run), max_new_tokens=2)
    with pytest.raises(InputError, match="not those the runs were trained from"):
        verbs.compare(["abc"], compare)


def test_a_comparison_refuses_settings_of_writing(run_of, tmp_path):
    with pytest.raises(InputError, match="--out instead of --check"):
        verbs.check_export(run_of(), tmp_path, ExportConfig(dtype="float16"))


def test_a_damaged_record_of_an_export_is_left_out_of_the_page(run_of, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_of(*LORA), run)
    (run / "exports").mkdir(exist_ok=True)
    (run / "exports" / "old.json").write_text("{")
    result = hyperfit("evaluate", run, "natural_tokens=12", "resamples=200", "sampling_seeds=0")
    assert result.exit_code == 0, result.output
    assert "this export is left out" in " ".join(result.output.split())
    export(run, tmp_path / "out", format="adapter")


def test_a_template_that_refuses_a_chat_is_compared_as_it_stands(texts_file, tmp_path):
    base = save_tiny(tmp_path / "base", chat="{{ raise_exception('no') }}")
    run = tmp_path / "run"
    assert train(base, texts_file, run).exit_code == 0
    folder, about = export(run, tmp_path / "out")
    assert about.verification.is_verified
    another_template(folder.path)
    found = verbs.check_export(run, folder.path, ExportConfig(**SMALL))
    assert "its chat template is another" in refused(found)


def test_a_base_that_changed_since_training_is_noticed(texts_file, tmp_path):
    base = save_tiny(tmp_path / "base")
    run = tmp_path / "run"
    assert train(base, texts_file, run).exit_code == 0
    tiny_model(seed=4).save_pretrained(base)
    with pytest.raises(InputError, match="not those the runs were trained from"):
        export(run, tmp_path / "out")
    shutil.rmtree(base)
    with pytest.raises(InputError, match="does not exist"):
        export(run, tmp_path / "out", format="adapter")


def test_a_full_disk_is_noticed_before_weights_are_written(run_of, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("hyperfitting.storage.shutil.disk_usage", lambda _: usage)
    with pytest.raises(MachineError, match="are free at"):
        export(run_of(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_killed_export_left_is_swept_by_the_next(run_of, tmp_path):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from hyperfitting.export.verb import _new_export\n"
        "with _new_export(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'weights').write_text('x'); os.kill(os.getpid(), 9)"
    )
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", code, str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert sorted(p.name.split("-")[0] for p in tmp_path.iterdir()) == [".out.tmp", "out"]
    folder, about = export(run_of(), out, format="adapter")
    assert about.verification.is_verified
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert not [p for p in folder.path.iterdir() if p.name.startswith(".")], "no lock is left"


def test_an_export_that_was_made_meanwhile_is_kept(run_of, tmp_path, monkeypatch):
    """Its folder was free when the other one began to load."""
    out = tmp_path / "out"
    load = verb._job

    def loads(*arguments):
        out.mkdir()
        (out / "export.json").write_text("theirs")
        return load(*arguments)

    monkeypatch.setattr(verb, "_job", loads)
    with pytest.raises(InputError, match="holds an export"):
        export(run_of(), out, format="adapter")
    assert (out / "export.json").read_text() == "theirs"


def test_a_foreign_adapter_that_names_another_base_is_told(run_of, tmp_path):
    folder, _ = export(run_of(), tmp_path / "out", format="adapter")
    check = ExportConfig(**SMALL)
    assert not verbs.check_export(run_of(), folder.path, check).notes
    settings = folder.path / "adapter_config.json"
    content = json.loads(settings.read_text())
    settings.write_text(json.dumps(content | {"base_model_name_or_path": "org/another"}))
    found = verbs.check_export(run_of(), folder.path, check)
    assert found.is_verified, "its weights are the run's"
    assert any("names org/another as its base" in note for note in found.notes)


def test_a_folder_that_another_process_exports_to_is_refused(run_of, tmp_path):
    out = tmp_path / "out"
    with only_writer(out), pytest.raises(InputError, match="is in use by process"):
        export(run_of(), out, format="adapter")
    assert not out.exists()

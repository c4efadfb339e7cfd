"""GGUF by an installed llama.cpp, or the commands for it; read back without one."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from hyperfitting import verbs
from hyperfitting.config.export import ExportConfig
from hyperfitting.errors import InputError
from hyperfitting.export.gguf import conversion
from hyperfitting.export.words import summary
from tests.cli.test_cli import hyperfit, train
from tests.export.test_export import LEARNS, SMALL, export, refused
from tests.tiny import END, save_tiny, tiny_model

FAKE = Path(__file__).parent / "fake_llama_cpp.py"
TYPES = ["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, texts_file):
    base = save_tiny(tmp_path_factory.mktemp("qwen2"), "qwen2")
    out = tmp_path_factory.mktemp("runs") / "run"
    assert train(base, texts_file, out, LEARNS).exit_code == 0
    return out


@pytest.fixture
def llama_cpp(tmp_path):
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    text = FAKE.read_text().replace("Path(__file__).resolve().parents[2]", repr(FAKE.parents[2]))
    (folder / "convert_hf_to_gguf.py").write_text(text.replace("PosixPath", "Path"))
    return folder


def test_without_llama_cpp_the_folder_is_ready_for_the_commands(run, tmp_path):
    folder, about = export(run, tmp_path / "out", format="gguf", gguf_type="q4_k_m")
    assert about.verification is None
    clone, prepare, build, first, second, rest = about.commands
    assert clone.startswith("git clone")
    assert prepare.startswith("cmake -B ../llama.cpp/build")
    assert build.endswith("-t llama-quantize")
    file = rest.removeprefix("rm ")
    assert f"convert_hf_to_gguf.py merged --outfile {file} --outtype f32" in first
    assert second.startswith(f"../llama.cpp/build/bin/llama-quantize {file} ")
    assert second.endswith("Q4_K_M")
    AutoModelForCausalLM.from_pretrained(folder.merged)
    assert "still to be converted" in folder.card.read_text()
    assert str(tmp_path) not in folder.card.read_text().replace(about.base.name, "")
    result = hyperfit(
        "export", run, "--format", "gguf", "--out", tmp_path / "again", "contexts=2",
    )  # fmt: skip
    assert result.exit_code == 0
    assert f"run: cd {tmp_path / 'again'}" in result.output
    assert "run: python ../llama.cpp/convert_hf_to_gguf.py merged" in result.output


@pytest.mark.parametrize("given", ["link", "."])
def test_card_and_commands_name_one_file(given, texts_file, tmp_path, monkeypatch):
    """However the base was named: by a link, or as the folder that the user stands in."""
    base = save_tiny(tmp_path / "real-base")
    (tmp_path / "link").symlink_to(base)
    monkeypatch.chdir(base if given == "." else tmp_path)
    assert train(given, texts_file, tmp_path / "run").exit_code == 0
    folder, about = export(tmp_path / "run", tmp_path / "out", format="gguf", gguf_type="f16")
    card = folder.card.read_text()
    [outfile] = re.findall(r"--outfile (\S+)", "\n".join(about.commands))
    assert f"llama-cli -m {outfile} " in card
    assert not outfile.startswith("-")


def test_the_commands_make_the_file_where_they_are_run(run, llama_cpp, tmp_path):
    """All but the clone, by a shell, with a converter beside the export."""
    folder, about = export(run, tmp_path / "out", format="gguf", gguf_type="f32")
    clone, *rest = about.commands
    assert clone.endswith(" ../llama.cpp")
    assert llama_cpp == tmp_path / "llama.cpp"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in rest:
        subprocess.run(line, shell=True, cwd=folder.path, check=True, env={"PATH": path})
    made = next(folder.path.glob("*.gguf"))
    assert f"llama-cli -m {made.name} " in folder.card.read_text()
    assert verbs.check_export(run, made, ExportConfig(**SMALL)).is_exact


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_has_its_commands(kind, tmp_path):
    config = ExportConfig(format="gguf", gguf_type=kind)
    planned = conversion(config, tmp_path / "merged", tmp_path / "x.gguf")
    assert planned.commands[-1].count(str(tmp_path / "x.gguf")) == 1
    assert len(planned.commands) == (2 if kind in TYPES[4:] else 1)


def test_a_converted_file_is_read_back_and_compared(run, llama_cpp, tmp_path):
    settings = {"format": "gguf", "llama_cpp": str(llama_cpp), "gguf_type": "f32"}
    folder, about = export(run, tmp_path / "out", **settings)
    found = about.verification
    # The file's tokenizer has one more entry: transformers reads none without merges.
    assert (found.weights.equal, found.is_exact) == (found.weights.tensors, True)
    assert found.texts.equal == found.texts.contexts
    assert [each for each in about.files if each.endswith(".gguf")]
    assert not folder.merged.exists()


def test_a_converter_that_spoils_the_weights_is_noticed(run, llama_cpp, tmp_path):
    script = llama_cpp / "convert_hf_to_gguf.py"
    text = script.read_text().replace(
        "write_gguf(AutoModelForCausalLM.from_pretrained(options.model)",
        "model = AutoModelForCausalLM.from_pretrained(options.model)\n"
        "model.model.layers[2].mlp.down_proj.weight.data *= 1.5\nwrite_gguf(model",
    )
    script.write_text(text)
    settings = {"format": "gguf", "llama_cpp": str(llama_cpp), "gguf_type": "f32"}
    _, about = export(run, tmp_path / "out", **settings)
    assert "model.layers.2.mlp.down_proj.weight" in refused(about.verification)


def test_a_file_that_cannot_be_read_back_is_kept_and_told(run, llama_cpp, tmp_path):
    script = llama_cpp / "convert_hf_to_gguf.py"
    script.write_text(
        "import sys\nfile = sys.argv[sys.argv.index('--outfile') + 1]\n"
        "open(file, 'wb').write(b'GGUF')"
    )
    settings = {"format": "gguf", "llama_cpp": str(llama_cpp), "gguf_type": "f32"}
    folder, about = export(run, tmp_path / "out", **settings)
    assert about.verification is None
    assert "not verified: it could not be read back here" in summary(about, folder.path)
    assert "Not verified: it could not be read back here." in folder.card.read_text()
    assert "still to be converted" not in folder.card.read_text()


def test_ollama_gets_a_modelfile_beside_the_weights(run, tmp_path):
    folder, about = export(run, tmp_path / "out", format="ollama")
    lines = folder.modelfile.read_text().splitlines()
    assert lines[0] == "FROM ."
    assert 'TEMPLATE """{{ .Prompt }}"""' in lines
    assert about.verification.is_verified
    assert "ollama create" in folder.card.read_text()


def test_ollama_reads_the_file_that_a_converter_made(run, llama_cpp, tmp_path):
    settings = {"format": "ollama", "llama_cpp": str(llama_cpp), "gguf_type": "f32"}
    folder, about = export(run, tmp_path / "out", **settings)
    [file] = [each for each in about.files if each.endswith(".gguf")]
    assert folder.modelfile.read_text().splitlines()[0] == f"FROM ./{file}"
    assert (folder.path / file).exists()
    found = about.verification
    assert (found.weights.equal, found.is_exact) == (found.weights.tensors, True)
    assert not folder.merged.exists()


def test_ollama_frames_the_messages_of_a_chat_model(texts_file, tmp_path):
    base, out = save_tiny(tmp_path / "chat", "qwen2", chat=True), tmp_path / "run"
    assert train(base, texts_file, out, LEARNS).exit_code == 0
    folder, about = export(out, tmp_path / "out", format="ollama")
    text = folder.modelfile.read_text()
    assert "<user>{{ .Content }}" in text or "<user>{{ .Prompt }}" in text
    assert "<assistant>" in text
    assert 'TEMPLATE """{{ .Prompt }}"""' not in text
    assert f'PARAMETER stop "{END}"' in text
    assert not any("does more than frame messages" in note for note in about.notes)


def test_a_tokenizer_file_that_converters_need_is_made_again(texts_file, tmp_path):
    base, tokenizer = tmp_path / "base", sentencepiece_like()
    tiny_model(vocab_size=len(tokenizer)).save_pretrained(base)
    tokenizer.save_pretrained(base)
    assert train(base, texts_file, tmp_path / "run", LEARNS).exit_code == 0
    for form in ("gguf", "ollama"):  # one is to be converted by the user, the other by Ollama
        folder, about = export(tmp_path / "run", tmp_path / form, format=form)
        made = (folder.merged if form == "gguf" else folder.path) / "tokenizer.model"
        reader = sentencepiece.SentencePieceProcessor(model_file=str(made))
        for text in ("abba cab", "\u00e9 b"):
            assert reader.encode(text) == tokenizer(text)["input_ids"]
        assert any("tokenizer.model: it was made" in each for each in about.notes)
    folder, about = export(tmp_path / "run", tmp_path / "merged")
    assert not (folder.path / "tokenizer.model").exists()  # transformers needs none


def sentencepiece_like():
    """Merges of characters, with bytes for what they do not have."""
    texts = [END, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "a", "b", "ab"]
    vocabulary = {text: number for number, text in enumerate(texts)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[("a", "b")], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([END, "<unk>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, unk_token="<unk>")


def test_what_the_converter_says_is_passed_on(run, llama_cpp, tmp_path):
    script = llama_cpp / "convert_hf_to_gguf.py"
    settings = {"format": "gguf", "llama_cpp": str(llama_cpp)}
    script.write_text("raise SystemExit('Model FooForCausalLM is not supported')")
    with pytest.raises(InputError, match="FooForCausalLM is not supported"):
        export(run, tmp_path / "out", **settings)
    script.write_text("import not_installed_here")
    with pytest.raises(InputError, match="lacks a package: .*not_installed_here") as told:
        export(run, tmp_path / "out", **settings)
    assert sys.executable in str(told.value)
    assert not (tmp_path / "out").exists()


def test_a_llama_cpp_that_was_not_built_has_no_quantizer(run, llama_cpp, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(InputError, match="there is no llama-quantize"):
        export(run, tmp_path / "out", format="gguf", llama_cpp=str(llama_cpp), gguf_type="q4_k_m")
    assert not (tmp_path / "out").exists()

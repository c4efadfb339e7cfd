"""What CONTRIBUTING.md promises: a new method or decoder is a file and a table's line.

Each test adds one that does not ship, in the documented places only, and follows it to the help,
the files and the page.
"""

import json
import subprocess
import sys
from dataclasses import dataclass

import torch

from hyperfitting.config.methods import METHODS, Method
from hyperfitting.generate.decoder import Decoder, Parameter
from hyperfitting.generate.decoders import DECODERS
from hyperfitting.records import Arm
from hyperfitting.report.figures.style import Look, look
from hyperfitting.train.methods import SET_UP, trained_blocks
from hyperfitting.train.trainable import account
from tests.cli.test_cli import hyperfit, train

QUICK = ("natural_tokens=0", "sampling_seeds=1", "resamples=100")


def help_with(line, verb):
    """What `hyperfit VERB --help` prints where a table has one line more."""
    code = f"{line}\nimport sys\nfrom hyperfitting.cli.main import app\napp(sys.argv[1:])"
    command = [sys.executable, "-c", code, verb, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return " ".join(shown.split())


def train_norms(model, method, config):
    """The norms inside the method's blocks."""
    indices, blocks = trained_blocks(model, method, config)
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        inside = any(name.startswith(f"{block}.") for block in blocks)
        parameter.requires_grad_(inside and "norm" in name)
    return account(model, indices, config, has_adapter=False)


def test_a_method_is_a_line_and_a_function(monkeypatch, model_folder, texts_file, tmp_path):
    method = Method(
        arm="last_norms", label="the norms of the last blocks", trains="norms",
        blocks=lambda count, k: range(count - k, count), relative_rate=0.1, setting="last_blocks",
        is_late=True,
        defaults={"train": {"epochs": 2}}, colour="#123456", marker="h",
    )  # fmt: skip
    line = (
        "from hyperfitting.config.methods import METHODS, Method\n"
        "METHODS['last_norm_sft'] = Method(arm='a', label='the norms of the last blocks', "
        "trains='norms', blocks=range, relative_rate=0.1, setting='last_blocks')"
    )
    shown = help_with(line, "train")
    assert "last_norm_sft (the norms of the last blocks)" in shown
    assert "late_stage_sft, last_norm_sft." in shown  # --last-blocks

    monkeypatch.setitem(METHODS, "last_norm_sft", method)
    monkeypatch.setitem(SET_UP, "norms", train_norms)
    run = tmp_path / "run"
    common = ("train.last_blocks=1", "train.learning_rate=0.1")
    result = train(model_folder, texts_file, run, *common, method="last_norm_sft")
    assert result.exit_code == 0, result.output
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["arm"] == "last_norms"
    assert manifest["config_sources"]["train.last_blocks"] == "override"
    trained = manifest["trainable"]["names"]
    assert len(trained) == 2
    assert all("norm" in name for name in trained)
    assert manifest["training"]["steps"] > 0
    assert "prefix" in result.output  # what enters these blocks is computed once

    for key in ("train.lora.rank=4", "train.first_blocks=1"):
        refused = train(model_folder, texts_file, tmp_path / "no", key, method="last_norm_sft")
        assert refused.exit_code == 2
        assert "does not apply to last_norm_sft" in refused.output
    refused = train(model_folder, texts_file, tmp_path / "no", method="no")
    assert "late_half_sft, last_norm_sft\n" in refused.output

    assert hyperfit("evaluate", run, *QUICK).exit_code == 0
    page = (run / "report" / "report.html").read_text()
    assert "last_norms" in page
    assert "#123456" in page
    assert look(Arm("last_norms", 0)) == Look("#123456", "h", "-", False)


@dataclass
class EveryNth:
    """The n-th most probable token."""

    n: int

    def __call__(self, logits_BV, rows, step, seen_BT):
        token_B = logits_BV.topk(self.n, dim=-1).indices[:, -1]
        return token_B, torch.zeros_like(token_B, dtype=torch.bool)


def test_a_decoder_is_a_line_and_a_file(monkeypatch, model_folder, texts_file, tmp_path):
    number = Parameter(name="n", default=2, low=1, has_low=True, is_integer=True, meaning="place")
    decoder = Decoder(
        kind="chooser", parameters=(number,), is_deterministic=True,
        work=f"{__name__}:EveryNth", rule="the n-th most probable", source="a test",
    )  # fmt: skip
    line = (
        "from hyperfitting.generate.decoders import DECODERS\nDECODERS['nth'] = DECODERS['greedy']"
    )
    assert "top_h, nth." in help_with(line, "generate")

    monkeypatch.setitem(DECODERS, "nth", decoder)

    def text(decoder):
        options = ("--prompt", "abc", "--decoder", decoder, "max_new_tokens=6", "--json")
        result = hyperfit("generate", model_folder, *options)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["texts"][0]["token_ids"]

    assert text("nth:1") == text("greedy")
    assert text("nth")[0] != text("greedy")[0]
    assert text("nth") == text("nth:2")
    refused = hyperfit("generate", model_folder, "--prompt", "abc", "--decoder", "nth:0")
    assert "needed: a whole number in [1, inf) (place)" in refused.output

    run = tmp_path / "run"
    assert train(model_folder, texts_file, run).exit_code == 0
    assert hyperfit("evaluate", run, "--decoders", "nth", *QUICK).exit_code == 0
    found = json.loads((run / "measurements.json").read_text())
    assert "original+nth" in json.dumps(found)
    assert "original+nth (n=2)" in (run / "report" / "report.html").read_text()

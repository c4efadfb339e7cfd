"""What was exported answers elsewhere as it was measured here."""

import json
import urllib.request
from datetime import date

import pytest

from hyperfitting.config import ModelConfig
from hyperfitting.data.template import ChatTemplate
from hyperfitting.generate.decode import decode
from hyperfitting.generate.verb import open_model
from hyperfitting.models.tokens import Tokens
from tests.cli.test_cli import train
from tests.export.test_export import LEARNS, export
from tests.served import transformers_serve
from tests.tiny import save_tiny

MESSAGES = [{"role": "user", "content": "who is there?"}]


@pytest.mark.slow
def test_transformers_serve_answers_greedily_from_the_merged_export(texts_file, tmp_path):
    base = save_tiny(tmp_path / "base", chat=True)
    run = tmp_path / "run"
    assert train(base, texts_file, run, LEARNS).exit_code == 0
    folder, about = export(run, tmp_path / "out")
    assert about.verification.is_verified
    model, tokenizer = open_model(ModelConfig(name=str(run)))
    tokens = Tokens.of(model, tokenizer)
    template = ChatTemplate(tokenizer, date(2024, 7, 26))
    context = template.tokens(template.text(MESSAGES, prompt=True))
    [here] = decode(
        model, [context], max_new_tokens=16, ends=tokens.ends, banned=tokens.banned("natural")
    )
    with transformers_serve(folder.path) as address:
        asked = {"model": str(folder.path), "messages": MESSAGES, "max_tokens": 16}
        request = urllib.request.Request(
            f"{address}/chat/completions", json.dumps(asked).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=120) as answer:
            there = json.load(answer)["choices"][0]["message"]["content"]
    assert there == tokens.texts(context, here.ids)[1]
    assert len(there) > 4

"""A whole small pipeline through tokenizers that open with nothing, one or two tokens or close."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from hyperfitting.compare.comparison import Here
from hyperfitting.compare.runs import open_runs
from hyperfitting.config import GenerateConfig
from hyperfitting.config.judge import JudgeConfig
from hyperfitting.evaluate import audits as quality
from hyperfitting.generate.verb import generate
from hyperfitting.judge.endpoint import Message
from hyperfitting.judge.local import LocalJudge
from hyperfitting.models import features
from hyperfitting.models.features import last_token_features
from hyperfitting.models.load import load_tokenizer
from hyperfitting.models.tokens import Tokens, end_token_ids, unwritable_token_ids
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.records.origins import TextEnd
from tests.comparing import EVALUATE, comparison, evaluated
from tests.data.templates import CHATML, START, STOP, chatml
from tests.evaluate.test_audits import written
from tests.tiny import END, byte_tokenizer, tiny_model
from tests.train.test_result import trained

# What a tokenizer puts around a text, and the ids of that before it and after it.
AROUND = {
    "nothing": (None, [], []),
    "one": (f"{END} $A", [0], []),
    "two": ("<|a|> <|b|> $A", [257, 258], []),
    "closed": (f"$A {END}", [], [0]),
    "two, closed": (f"<|a|> <|b|> $A {END}", [257, 258], [0]),
    "closed by another": ("<|a|> $A <|sep|>", [257], [258]),
}
WHOLE = {"data.windows": "documents", "data.window_tokens": 100, "train.epochs": 1}


@pytest.fixture(params=AROUND)
def around(request):
    return AROUND[request.param]


def model_folder_of(folder: Path, tokenizer) -> Path:
    tiny_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(around, tmp_path):
    return model_folder_of(tmp_path / "base", byte_tokenizer(around=around[0]))


def seen(monkeypatch, module, name):
    """The rows that a function of the module is given."""
    rows, real = [], getattr(module, name)

    def watch(model, given, *rest, **options):
        rows.extend(list(row) for row in given)
        return real(model, given, *rest, **options)

    monkeypatch.setattr(module, name, watch)
    return rows


def test_windows_contexts_prompts_coherence_and_features_agree(
    around, folder, texts_file, tmp_path, monkeypatch
):
    _, lead, tail = around
    plain = byte_tokenizer()
    run = trained(folder, texts_file, tmp_path / "run", "full_sft", **WHOLE)
    opened = open_runs([run.path], Here("cpu"))
    dataset, train = opened.dataset, opened.tuned[0].training_rows()
    ends = end_token_ids(tiny_model(), load_tokenizer(opened.model))
    whole = [row for row in train if len(row) < 100]
    assert whole
    for row in train:
        assert row[: len(lead)] == lead
        text = row[len(lead) :]
        assert all(i in range(1, 257) for i in text[:-1]), "nothing else inside a text"
    for row in whole:
        assert row[-1] == (tail[0] if tail else 0)
        assert row[-1] in ends, "decoding stops at the end that is trained"
        assert sum(i in ends for i in row[len(lead) :]) == 1
    texts = []
    for context, continuation in zip(
        dataset.contexts.contexts, dataset.contexts.continuations, strict=True
    ):
        assert context == lead + plain.encode(plain.decode(context[len(lead) :]))
        assert all(i in range(1, 257) for i in continuation)
        texts.append((plain.decode(context[len(lead) :]), plain.decode(continuation)))

    # `generate` opens the same text as the windows do, and decodes on from it.
    prompts = [context for context, _ in texts]
    config = GenerateConfig(model=opened.model, max_new_tokens=6)
    found = generate(prompts, config)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    banned = [i for i in unwritable_token_ids(model, load_tokenizer(opened.model)) if i not in ends]
    for one, context in zip(found, dataset.contexts.contexts, strict=True):
        output = model.generate(
            torch.tensor([context]), max_new_tokens=6, do_sample=False, suppress_tokens=banned,
            eos_token_id=ends, pad_token_id=0,
        )  # fmt: skip
        assert one["token_ids"] == output[0, len(context) :].tolist()

    # Coherence and MAUVE read context and continuation as the windows hold them.
    paths = [
        c + k
        for c, k in zip(dataset.contexts.contexts, dataset.contexts.continuations, strict=True)
    ]
    rows = seen(monkeypatch, quality, "nll_rows")
    arm = written(Arm("human"), [k for _, k in texts], contexts=[c for c, _ in texts])
    [judged] = quality.audit_coherence([arm], str(folder), EVALUATE, Progress())
    assert sorted(rows) == sorted(paths)
    for row, value in zip(paths, judged.audit["coherence_nats"], strict=True):
        log_p_TV = model(torch.tensor([row])).logits[0].log_softmax(dim=-1)
        width = len(dataset.contexts.continuations[0])
        places = range(len(row) - width, len(row))
        mean = np.mean([log_p_TV[t - 1, row[t]].item() for t in places])
        assert value == pytest.approx(mean, abs=1e-4)
    rows = seen(monkeypatch, features, "last_hidden_states")
    last_token_features([c + k for c, k in texts], str(folder), device="cpu", batch_size=4)
    assert rows == paths


# A base model with a chat template: texts end with one token, turns with another


def with_bias_towards(model, token):
    """The model wants to say `token` first of all."""
    bias = torch.zeros(model.lm_head.weight.shape[0])
    bias[token] = 1e4
    model.lm_head.bias = torch.nn.Parameter(bias)
    return model


@pytest.fixture
def base(tmp_path):
    return model_folder_of(tmp_path / "chat-base", chatml())


def test_a_model_that_ends_its_turn_has_ended_its_text(base):
    tokenizer = chatml()
    stop, start = (tokenizer.convert_tokens_to_ids(name) for name in (STOP, START))
    tokens = Tokens.of(tiny_model(), tokenizer)
    assert list(tokens.ends) == [0, stop]
    assert stop in tokens.banned("fixed_length")
    assert stop not in tokens.banned("natural")
    assert start in tokens.banned("natural")
    why = ["closes the assistant's turn in the chat template"]
    assert tokens.listed_ends()[1] == TextEnd(id=stop, token=STOP, why=why)
    assert "<|im_end|> (closes the assistant's turn" in tokens.ends_in_words()
    assert tokens.texts([5], [6, stop]) == tokens.texts([5], [6])


def test_it_ends_in_the_study_too(base):
    stop = chatml().convert_tokens_to_ids(STOP)
    compared = comparison(base, lambda: with_bias_towards(tiny_model(), stop))
    _, arms, _ = evaluated(compared)
    tokens = Tokens.of(tiny_model(), chatml())
    assert {g.ending for g in arms["tuned"].natural} == {"ended"}
    assert {len(g.continuation_ids) for g in arms["tuned"].natural} == {1}
    assert all(stop not in g.continuation_ids for g in arms["tuned"].fixed)
    assert {end.token for end in tokens.listed_ends()} == {END, STOP}


def test_an_end_that_is_no_special_token_is_not_part_of_the_text(tmp_path):
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<turn>", "</turn>"])
    tokenizer.chat_template = CHATML.replace(START, "<turn>").replace(STOP, "</turn>")
    tokens = Tokens.of(tiny_model(), tokenizer)
    stop = tokenizer.convert_tokens_to_ids("</turn>")
    assert stop in tokens.ends
    assert stop in tokens.banned("fixed_length")
    assert tokens.texts([5], [6, stop]) == tokens.texts([5], [6])


def test_an_end_that_the_model_has_no_row_for_is_none():
    assert list(Tokens.of(tiny_model(vocab_size=258), chatml()).ends) == [0]


def test_numbers_that_a_tokenizer_leaves_out_ban_none_of_its_words():
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["word"])
    vocabulary = tokenizer.get_vocab() | {"word": 259}
    del vocabulary[next(t for t, i in vocabulary.items() if i == 256)]
    tokenizer.get_vocab = lambda: vocabulary
    assert 259 not in unwritable_token_ids(tiny_model(), tokenizer)
    assert 258 in unwritable_token_ids(tiny_model(), tokenizer)


def test_the_manifest_says_what_ends_a_text(base, texts_file, tmp_path):
    run = trained(base, texts_file, tmp_path / "run", "full_sft", **WHOLE)
    assert [end.token for end in run.manifest().ends] == [END, STOP]
    assert run.manifest().template_date is None


def test_a_local_judge_without_a_template_opens_and_never_closes(around, folder):
    _, lead, _ = around
    config = JudgeConfig(a="a", b="b", model=str(folder), local=True, max_tokens=32, device="cpu")
    asked = LocalJudge(config).token_ids([Message("user", "one"), Message("user", "two")])
    assert asked == lead + byte_tokenizer().encode("one\ntwo")

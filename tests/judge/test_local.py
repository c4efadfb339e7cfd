"""A judge that runs here: in this process, and behind a real OpenAI-compatible server."""

import json

import pytest

from hyperfitting.data import limits
from hyperfitting.errors import InputError
from hyperfitting.generate.texts import Decoded
from hyperfitting.judge.local import LocalJudge
from hyperfitting.judge.reply import Message
from hyperfitting.judge.verb import judge
from tests.judge.model import ANSWER, save_tiny_judge
from tests.judge.serving import make_study
from tests.served import transformers_serve
from tests.tiny import byte_tokenizer, tiny_model


@pytest.fixture(scope="module")
def babbler(tmp_path_factory):
    """A random model with room for a prompt, which says nothing a verdict could be made of."""
    folder = tmp_path_factory.mktemp("babbler")
    tiny_model("mistral", max_position_embeddings=8192).save_pretrained(folder)
    byte_tokenizer(chat=True).save_pretrained(folder)
    return folder


def test_a_local_model_that_babbles_gives_no_verdict(tmp_path, settings, babbler):
    study = make_study(tmp_path / "study", ["alpha"])
    config = settings(model=str(babbler), local=True, max_tokens=32)
    entry = judge(study, config)
    assert entry.n == 0
    rows = [json.loads(line) for line in (study / "judge" / "answers.jsonl").open()]
    assert [row["status"] for row in rows] == ["unusable"] * 2
    assert all(row["requests"] == 2 and row["prompt_tokens"] > 1000 for row in rows)
    assert entry.judge.identity.startswith("local:")
    before = (study / "judge" / "answers.jsonl").read_bytes()
    judge(study, config)  # settled
    assert (study / "judge" / "answers.jsonl").read_bytes() == before


def test_the_conversation_goes_through_the_chat_template(settings, babbler):
    local = LocalJudge(settings(model=str(babbler), local=True, max_tokens=32))
    turns = [Message("user", "one"), Message("assistant", "two"), Message("user", "three")]
    shown = local.tokenizer.decode(local.token_ids(turns))
    end = local.tokenizer.eos_token
    assert shown == f"<user>one{end}<assistant>two{end}<user>three{end}<assistant>"
    local.tokenizer.chat_template = None
    assert local.tokenizer.decode(local.token_ids(turns)) == "one\ntwo\nthree"


def test_settings_a_local_judge_cannot_use_are_refused(tmp_path, settings, babbler, model_folder):
    study = make_study(tmp_path / "study", ["alpha"] * 5)
    with pytest.raises(InputError, match="decodes greedily"):
        judge(study, settings(model=str(babbler), local=True, temperature=0.7))
    with pytest.raises(InputError, match="one of the two"):
        judge(study, settings(model=str(babbler), local=True, endpoint="http://localhost:1/v1"))
    with pytest.raises(InputError, match="does not exist"):
        judge(study, settings(model=str(tmp_path / "none"), local=True))
    with pytest.raises(InputError, match="more than the 128 positions of the judge"):
        judge(study, settings(model=str(model_folder), local=True))


@pytest.fixture(scope="module")
def fixed_judge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    assert save_tiny_judge(folder) < 0.05
    return folder


def check_always_a(entry, pairs):
    """A judge that always says A has no preference but for the place."""
    assert (entry.n, entry.winner.ties) == (pairs, pairs)
    assert entry.position_flip_rate.percent == 100
    bias = entry.position_bias
    assert (bias.favour_first, bias.favour_second, bias.reversals) == (pairs, 0, pairs)
    assert (entry.coherence.ties, entry.diversity.ties) == (pairs, pairs)


@pytest.mark.slow
def test_a_trained_local_judge_answers(tmp_path, settings, fixed_judge):
    study = make_study(tmp_path / "study", ["alpha", "beta", "tie"])
    entry = judge(study, settings(model=str(fixed_judge), local=True, max_tokens=160))
    check_always_a(entry, 3)


@pytest.fixture
def real_server(fixed_judge):
    with transformers_serve(fixed_judge) as address:
        yield address


@pytest.mark.slow
def test_a_real_openai_compatible_server_answers(tmp_path, settings, fixed_judge, real_server):
    study = make_study(tmp_path / "study", ["alpha", "beta", "tie", "first"])
    config = settings(
        model=str(fixed_judge), endpoint=real_server, max_tokens=160, concurrency=2,
        timeout_seconds=120,
    )  # fmt: skip
    entry = judge(study, config)
    check_always_a(entry, 4)
    assert entry.usage.requests == 8
    assert entry.usage.answer_tokens >= 8 * len(ANSWER)  # bytes are tokens here
    assert judge(study, config).winner == entry.winner
    other = settings(model="no/such-model", endpoint=real_server, retries=0)
    with pytest.raises(InputError):
        judge(study, other)


THINKS = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>OPENS{% endif %}"
)
DRAFT = ANSWER.replace('"winner": "A"', '"winner": "B"')
# What the template opens, what the judge writes, and the verdict's winner; None for no verdict.
WRITTEN = {
    "opened by the template": ("<think>\n", f"At first {DRAFT}</think>{ANSWER}", "A"),
    "opened and never closed": ("<think>\n", f"At first {DRAFT}", None),
    "special tokens, opened": ("[THINK]", f"At first {DRAFT}[/THINK]{ANSWER}", "A"),
    "special tokens, unclosed": ("[THINK]", f"At first {DRAFT}", None),
    "special tokens of its own": ("", f"[THINK]At first {DRAFT}[/THINK]{ANSWER}", "A"),
    "special tokens of its own, unclosed": ("", f"[THINK]At first {DRAFT}", None),
    "closed by the template": ("<think>\n\n</think>\n\n", ANSWER, "A"),
    "plain": ("", ANSWER, "A"),
}


@pytest.mark.parametrize(("opens", "written", "winner"), WRITTEN.values(), ids=WRITTEN)
def test_a_local_judges_reasoning_is_told_from_its_answer(
    tmp_path, settings, babbler, monkeypatch, opens, written, winner
):
    study = make_study(tmp_path / "study", ["alpha"])
    folder = tmp_path / "thinker"
    tiny_model("mistral", max_position_embeddings=8192).save_pretrained(folder)
    tokenizer = byte_tokenizer(unnamed=["[THINK]", "[/THINK]"])
    tokenizer.add_special_tokens({"extra_special_tokens": ["[THINK]", "[/THINK]"]})
    tokenizer.chat_template = THINKS.replace("OPENS", opens)
    tokenizer.save_pretrained(folder)
    ids = [*tokenizer(written)["input_ids"], 0]

    def scripted(model, contexts, *, max_new_tokens, banned, ends):
        assert not set(ids) & set(banned)  # the judge must be able to write its marks
        assert set(ends) == {0}
        assert tokenizer.decode(contexts[0]).endswith(f"<assistant>{opens}")
        return [Decoded(ids[:max_new_tokens], 0)]

    monkeypatch.setattr("hyperfitting.judge.local.decode", scripted)
    config = settings(model=str(folder), local=True)
    entry = judge(study, config)
    rows = [json.loads(line) for line in (study / "judge" / "answers.jsonl").open()]
    assert [row["verdict"] and row["verdict"]["winner"] for row in rows] == [winner] * 2
    assert entry.n == (winner is not None)
    if winner is None:
        assert {row["reason"] for row in rows} == {"the reasoning has no end"}
    # A whole verdict in an answer that was cut is none.
    cut = judge(study, settings(model=str(folder), local=True, max_tokens=len(ids) - 1))
    assert cut.n == 0
    (reason,) = cut.unusable.reasons
    assert f"cut at the longest answer: max_tokens={len(ids) - 1} is too small" in reason


def test_a_judges_template_that_never_ends_is_stopped(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(limits.limited.__wrapped__, "__defaults__", (0.3, 2**28))
    tiny_model("mistral", max_position_embeddings=8192).save_pretrained(tmp_path)
    loops = "{% for a in range(99999) %}" * 2 + "{% endfor %}" * 2
    byte_tokenizer(chat=loops).save_pretrained(tmp_path)
    local = LocalJudge(settings(model=str(tmp_path), local=True))
    with pytest.raises(InputError, match="template of the judge .* longer than 0.3 seconds"):
        local.prompt([Message("user", "Which is better?")])

"""`diagnose` names what was planted, and the advice follows from the figures."""

import json
import math
import shlex

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from hyperfitting import verbs
from hyperfitting.config import DataConfig, ModelConfig
from hyperfitting.config.diagnose import DiagnoseConfig
from hyperfitting.diagnose import verb
from hyperfitting.diagnose.advice import advice, gap, helpful, why_unfit
from hyperfitting.errors import InputError
from hyperfitting.models.checkpoint import Checkpoint
from hyperfitting.models.devices import cast_weights
from hyperfitting.models.load import load_model
from hyperfitting.models.merged import odd_settings
from hyperfitting.progress import Progress
from hyperfitting.records.diagnosed import Reading
from hyperfitting.records.estimates import MeanEstimate
from tests.cli.test_cli import hyperfit
from tests.diagnose.planted import as_if_it_knew_texts, cyclic
from tests.tiny import CHAT_TEMPLATE, END, save_tiny, tiny_model

WITHOUT_END = CHAT_TEMPLATE.replace(END, "\n")


@pytest.fixture
def diagnosed(texts_file, tmp_path):
    data = DataConfig(
        source=str(texts_file), window_tokens=48, context_tokens=8, continuation_tokens=40,
        num_heldout=6,
    )  # fmt: skip

    def run(folder, **settings):
        config = DiagnoseConfig(
            model=ModelConfig(name=str(folder), device="cpu"), data=data,
            **{"contexts": 6, "natural_tokens": 12, "decoders": "", "precision": False} | settings,
        )  # fmt: skip
        return verbs.diagnose(config)

    return run


@pytest.fixture
def as_it_is():
    """What a planted model knows of texts counts."""


@pytest.fixture(autouse=True)
def knows_texts(request, monkeypatch):
    if "as_it_is" not in request.fixturenames:
        as_if_it_knew_texts(monkeypatch)


def named(found, name):
    return [each for each in found.findings if each.name == name]


def test_a_loop_is_found_with_its_round_and_onset(diagnosed, tmp_path):
    found = diagnosed(cyclic(tmp_path / "m", cycle=4))
    [loops] = named(found, "loops")
    assert loops.level == "problem"
    assert "100% of 6 greedy texts loop, a round has 4 tokens and the first begins after 0" in (
        loops.says
    )
    assert found.greedy[0].ttr.value == pytest.approx(4 / 40)
    assert found.advice.startswith("It loops: 100% of its greedy texts. No decoder was tried")


@pytest.mark.usefixtures("as_it_is")
def test_a_model_that_knows_no_text_is_named_before_its_loops(diagnosed, tmp_path):
    """Logits without shape: human text costs ln V, whatever comes of a decoder."""
    for name, settings in (("calm", {"sharpness": 0.1}), ("flat", {"sharpness": 0.0})):
        found = diagnosed(cyclic(tmp_path / name, **settings))
        assert found.reading.guessing == pytest.approx(math.log(260))
        [looks] = named(found, "looks")
        assert (looks.level, "as if it were untrained" in looks.says) == ("problem", True)
        assert found.advice.startswith("Human text costs it")
    damaged = diagnosed(cyclic(tmp_path / "damaged", sharpness=1000.0))
    assert "its weights, or its tokenizer, are not what was trained" in damaged.advice


@pytest.mark.usefixtures("as_it_is")
def test_only_far_more_than_guessing_is_damage():
    """A hyperfitted model may find human text dearer than a guess; it is sure of itself."""

    def said(nll, entropy, guessing=8.3):
        nats = {"nll": nll, "entropy": entropy, "human_coherence": -nll}
        others = {"human_ttr": 0.7, "human_nonwords": 0.0}
        values = {
            key: MeanEstimate(value=each, low=None, high=None, n=1, reason=None)
            for key, each in {**nats, **others}.items()
        }
        return why_unfit(Reading(guessing=guessing, **values))

    assert said(4.2, 3.7) is None
    assert said(8.9, 1.0) is None
    assert "untrained" in said(8.2, 8.0)
    assert "are not what was trained" in said(17.0, 1.0)


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (999_999, "stops at token 999999"),
        ([0, -1], "stops at token -1"),
    ],
)
def test_an_end_that_the_model_has_not_is_named(diagnosed, tmp_path, end, says):
    folder = cyclic(tmp_path / "m", sharpness=0.1)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))
    found = diagnosed(folder)
    [ends] = named(found, "ends")
    assert (ends.level, says in ends.says) == ("problem", True)
    assert ends.says in found.advice
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": "</s>"}))
    with pytest.raises(InputError, match="eos_token_id of the generation config is '</s>'"):
        diagnosed(folder)


def test_a_generation_config_that_cannot_be_read_is_named(diagnosed, tmp_path):
    folder = cyclic(tmp_path / "m", sharpness=0.1)
    (folder / "generation_config.json").write_text("{bad")
    found = diagnosed(folder)
    assert "generation_config.json" in named(found, "settings")[-1].says
    assert "programs pass over it" in found.advice


def test_lengths_of_a_generation_config_are_shown(diagnosed, tmp_path):
    folder = cyclic(tmp_path / "m", sharpness=0.1)
    GenerationConfig(max_new_tokens=5, eos_token_id=0).save_pretrained(folder)
    assert "max_new_tokens=5" in named(diagnosed(folder), "settings")[0].says


def test_a_healthy_model_is_left_alone(diagnosed, tmp_path):
    found = diagnosed(cyclic(tmp_path / "m", sharpness=0.1))
    assert found.greedy[0].looped.value == 0
    assert abs(gap(found.reading)) < 0.5
    assert "there is nothing to mend" in found.advice
    assert not [each for each in found.findings if each.level == "problem"]


def test_a_hyperfitted_model_is_known_by_its_confidence(diagnosed, tmp_path):
    found = diagnosed(cyclic(tmp_path / "m", sharpness=30))
    assert gap(found.reading) > 5
    assert "looks hyperfitted already" in found.advice
    assert "hyperfitted already" in named(found, "looks")[0].says


def test_word_salad_is_not_called_finished(diagnosed, tmp_path):
    found = diagnosed(cyclic(tmp_path / "m", sharpness=30))
    reading = found.reading.model_copy(update={"human_nonwords": estimate(0.002)})
    greedy = found.tried[0].model_copy(
        update={"nonwords": estimate(0.3), "coherence": found.reading.human_coherence}
    )
    said = advice(found.model_copy(update={"reading": reading, "tried": [greedy]}), "FIX")
    assert "is broken text" in said
    assert "30% of its words do not exist" in said
    assert "nothing more to train" not in said
    whole = greedy.model_copy(update={"nonwords": estimate(0.01)})
    said = advice(found.model_copy(update={"reading": reading, "tried": [whole]}), "FIX")
    assert "nothing more to train" in said


def test_an_end_that_the_model_has_no_row_for_is_a_problem(diagnosed, tmp_path):
    folder = cyclic(tmp_path / "m", sharpness=0.1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"eos_token": "<|new_end|>"})
    while tokenizer.eos_token_id < 260:  # as many rows as the model has
        tokenizer.add_tokens(f"<{len(tokenizer)}>")
        tokenizer.add_special_tokens({"eos_token": f"<|end{len(tokenizer)}|>"})
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").write_text("{}")
    config = json.loads((folder / "config.json").read_text()) | {"eos_token_id": None}
    (folder / "config.json").write_text(json.dumps(config))
    [ends] = named(diagnosed(folder), "ends")
    assert ends.level == "problem"
    assert "beyond the 260 tokens that the model has rows for" in ends.says


def test_a_template_without_an_end_is_named(diagnosed, tmp_path):
    found = diagnosed(cyclic(tmp_path / "m", sharpness=0.1, chat=WITHOUT_END))
    [template] = named(found, "template")
    assert template.level == "problem"
    assert "closes the assistant's turn" in template.says
    assert "It does not loop, but nothing in the chat template" in found.advice
    assert named(diagnosed(cyclic(tmp_path / "o", chat=True)), "template")[0].level == "fine"


def test_a_turn_that_closes_with_what_nothing_stops_at(diagnosed, tmp_path):
    template = CHAT_TEMPLATE.replace(END, "<turn>")
    found = diagnosed(cyclic(tmp_path / "m", chat=template, unnamed=["<turn>"]))
    [said] = named(found, "template")
    assert said.level == "problem"
    assert "closes with <turn>, at which neither" in said.says


def test_a_chat_that_never_stops_and_pads_with_its_end(diagnosed, tmp_path):
    folder = cyclic(tmp_path / "m", sharpness=0.1, chat=True, pad=True, positions=512)
    found = diagnosed(folder, natural_tokens=130)
    assert "pads and ends texts" in named(found, "padding")[0].says
    [ending] = named(found, "ending")
    assert ending.level == "problem"
    assert "It does not loop, but after its chat template: 0% of 6 texts end" in found.advice
    assert named(diagnosed(folder), "ending")[0].level == "note", "12 tokens are a short answer"
    other = diagnosed(cyclic(tmp_path / "o", sharpness=0.1, chat=True))
    assert not named(other, "padding")
    assert named(other, "ending")[0].level == "note", "answers may only be long"
    assert "nothing to mend" in other.advice


def test_loops_through_the_template_count_too(diagnosed, tmp_path):
    found = diagnosed(cyclic(tmp_path / "m", sharpness=0.1, chat=True))
    share = found.greedy[1].looped.model_copy(update={"value": 0.9})
    through = found.greedy[1].model_copy(update={"looped": share})
    looping = found.model_copy(update={"greedy": [found.greedy[0], through]})
    said = advice(looping, "FIX")
    assert "loops through its chat template (90% of its answers)" in said
    assert "Decoders were tried after plain text only" in said
    assert "Cheapest" not in said, "no decoder was tried where it loops"
    everywhere = looping.model_copy(
        update={"greedy": [g.model_copy(update={"looped": share}) for g in looping.greedy]}
    )
    said = advice(everywhere, "FIX")
    assert "90% through its chat template (no decoder tried there)" in said
    assert "decode with greedy" not in said


def test_a_template_with_tokens_that_the_model_has_not(diagnosed, tmp_path):
    names = [f"<extra{n}>" for n in range(8)]
    template = CHAT_TEMPLATE.replace("<{{ m['role'] }}>", names[-1])
    found = diagnosed(cyclic(tmp_path / "m", sharpness=0.1, chat=template, unnamed=names))
    assert named(found, "tokenizer")[0].level == "problem"
    assert "a chat cannot be run" in named(found, "chat")[0].says
    assert "take the tokenizer" in found.advice.lower()


def test_a_penalty_that_hides_loops_is_named_and_not_used(diagnosed, tmp_path):
    folder = cyclic(tmp_path / "m", cycle=4)
    GenerationConfig(repetition_penalty=1.3, eos_token_id=0).save_pretrained(folder)
    found = diagnosed(folder)
    [settings] = named(found, "settings")
    assert "repetition_penalty=1.3" in settings.says
    assert settings.advice.startswith("a penalty hides loops")
    GenerationConfig(repetition_penalty=0.8, eos_token_id=0).save_pretrained(folder)
    [settings] = named(diagnosed(folder), "settings")
    assert settings.advice == "a repetition penalty below 1 rewards what was said: it makes loops"
    assert found.greedy[0].looped.value == 1, "measured without it"


@pytest.mark.parametrize(
    "setting",
    [
        {"suppress_tokens": [5]}, {"begin_suppress_tokens": [5]}, {"bad_words_ids": [[5]]},
        {"sequence_bias": [[[5], -2.0]]}, {"num_beams": 4}, {"min_length": 10},
        {"encoder_no_repeat_ngram_size": 3}, {"guidance_scale": 1.5}, {"forced_eos_token_id": 0},
        {"exponential_decay_length_penalty": [3, 1.2]}, {"stop_strings": ["x"]},
    ],
    ids=lambda setting: next(iter(setting)),
)  # fmt: skip
def test_whatever_changes_greedy_text_is_named(setting):
    model = tiny_model()
    model.generation_config = GenerationConfig(**setting, eos_token_id=0, max_length=40)
    assert [each.partition("=")[0] for each in odd_settings(model)] == [*setting]
    model.generation_config = GenerationConfig(eos_token_id=0, max_length=40, use_cache=False)
    assert odd_settings(model) == []
    neutral = {"repetition_penalty": 1.0, "num_beams": 1, "suppress_tokens": [], "top_k": 9}
    model.generation_config = GenerationConfig(**neutral)
    assert odd_settings(model) == []


def test_samplers_count_only_where_they_are_used(diagnosed, tmp_path):
    folder = cyclic(tmp_path / "m")
    path = folder / "generation_config.json"
    path.write_text(json.dumps({"top_k": 7, "eos_token_id": 0}))
    assert named(diagnosed(folder), "settings")[0].level == "fine"
    GenerationConfig(do_sample=True, top_k=7, eos_token_id=0).save_pretrained(folder)
    assert "do_sample=True, top_k=7" in named(diagnosed(folder), "settings")[0].says


def test_a_model_that_16_bits_break(diagnosed, tmp_path):
    whole = diagnosed(cyclic(tmp_path / "a", sharpness=0.1), precision=True)
    assert named(whole, "precision")[0].level == "fine"
    assert whole.greedy[-1].top1.value > 0.95
    broken = diagnosed(cyclic(tmp_path / "b", sharpness=0.1, offset=64.0), precision=True)
    assert broken.greedy[0].looped.value == 0, "float32 does not mind"
    [precision] = named(broken, "precision")
    assert precision.level == "problem"
    assert broken.greedy[-1].top1.value < 0.5
    assert "Run it in float32." in broken.advice


def test_a_checkpoint_of_float16_is_tried_in_its_own_type_too(diagnosed, tmp_path):
    """Its logits are beyond what float16 holds; bfloat16 has room for them."""
    folder = cyclic(tmp_path / "m", sharpness=0.1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.model.norm.weight.data *= 4e4
    model.lm_head.weight.data *= 16.0
    model.to(torch.float16).save_pretrained(folder)
    own, half = named(diagnosed(folder, precision=True), "precision")
    assert own.says.startswith("in float16 this 'llama' model gives logits that are not numbers")
    assert (half.level, half.says.startswith("in bfloat16")) == ("fine", True)
    model.model.norm.weight.data /= 4e4
    model.to(torch.float16).save_pretrained(folder)
    found = diagnosed(folder, precision=True)
    assert [each.arithmetic for each in found.greedy] == ["float32", "float16", "bfloat16"]
    assert [each.level for each in named(found, "precision")] == ["fine", "fine"]


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gemma3_text"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_are_those_of_a_loader_that_is_asked_for_them(family, dtype, tmp_path):
    """Bit for bit: rotary frequencies and scales stay float32, as transformers leaves them."""
    folder = save_tiny(tmp_path / "m", family)
    model = load_model(ModelConfig(name=str(folder), device="cpu"))
    cast_weights(model, dtype)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    ids = torch.arange(1, 41)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, theirs(ids).logits)
    cast_weights(model, torch.float32)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_doubled_beginning_is_named(diagnosed, tmp_path):
    template = "<|begin|>" + CHAT_TEMPLATE
    folder = cyclic(tmp_path / "m", chat=template, around="<|begin|> $A")
    [twice] = named(diagnosed(folder), "opened twice")
    assert "both open a text with <|begin|>" in twice.says


def test_decoders_are_tried_on_the_same_prompts(diagnosed, tmp_path):
    found = diagnosed(cyclic(tmp_path / "m", cycle=4), decoders="no_repeat_ngram,top_p:0.99")
    by_name = {each.decoder: each for each in found.tried}
    assert set(by_name) == {"greedy", "no_repeat_ngram", "top_p:0.99"}
    assert by_name["greedy"].looped.value == 1
    assert by_name["no_repeat_ngram"].looped.value == 0
    assert by_name["no_repeat_ngram"].is_deterministic
    assert not by_name["top_p:0.99"].is_deterministic


def estimate(value, n=20):
    return MeanEstimate(value=value, low=value, high=value, n=n)


def test_the_advice_takes_a_decoder_only_where_it_writes_text(diagnosed, tmp_path):
    found = diagnosed(cyclic(tmp_path / "m", cycle=4), decoders="frequency,top_p")
    reading = found.reading.model_copy(
        update={"human_coherence": estimate(-4), "human_nonwords": estimate(0.0),
                "human_ttr": estimate(0.8)}
    )  # fmt: skip
    greedy, penalty, drawn = found.tried

    def said(**changes):
        better = {"looped": estimate(0.0), "coherence": estimate(-3.5), "nonwords": estimate(0.0)}
        one = penalty.model_copy(update=better | changes)
        other = drawn.model_copy(update=better)
        return advice(
            found.model_copy(update={"reading": reading, "tried": [greedy, one, other]}), "FIX"
        )

    assert "Cheapest: decode with frequency" in said()
    for changes in ({"nonwords": estimate(0.2)}, {"coherence": estimate(-6)},
                    {"looped": estimate(0.5)}):  # fmt: skip
        assert "Cheapest where chance is allowed: top_p" in said(**changes)
    assert helpful([greedy], reading) == []


def test_the_advice_ends_with_the_command_that_trains(diagnosed, texts_file, tmp_path, monkeypatch):
    folder = cyclic(tmp_path / "my model", cycle=4)
    said = diagnosed(folder, decoders="").advice
    words = shlex.split(said.partition("`")[2].partition("`")[0])
    assert "trains that away" in said
    given = []

    def fix(config, out, progress):
        given.append((config, out))
        raise InputError("enough")

    monkeypatch.setattr(verbs, "fix", fix)
    hyperfit(*words[1:])
    [(config, out)] = given
    assert (config.model, config.data, str(out)) == (str(folder), str(texts_file), "fixed")


def test_the_command_that_trains_has_what_model_and_texts_need(tmp_path):
    folder = cyclic(tmp_path / "m", cycle=4)
    model = ModelConfig(name=str(folder), trust_remote_code=True)
    data = DataConfig(source="a b.csv", text_field="story")
    said = verb._fix(DiagnoseConfig(model=model, data=data))
    assert f"fix {folder} --data 'a b.csv' --text-field story --trust-remote-code" in said
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    said = verb._fix(DiagnoseConfig(model=ModelConfig(name=str(adapter)), data=data))
    assert "the model that it was trained from" in said, "fix takes no adapter"
    (folder / "manifest.json").write_text("{}")
    assert "the model that it was trained from" in verb._fix(DiagnoseConfig(model=model, data=data))


def test_a_hub_model_that_is_no_safetensors_is_named_in_the_command(tmp_path, monkeypatch):
    """transformers asks the hub to convert such a repository; it is a whole model all the same."""
    files = frozenset({"config.json", "pytorch_model.bin"})
    monkeypatch.setattr(verb, "locate", lambda _: Checkpoint("a/b", "a/b", files, commit="c" * 40))
    model, data = ModelConfig(name="a/b"), DataConfig(source="t.jsonl")
    assert "fix a/b --data t.jsonl" in verb._fix(DiagnoseConfig(model=model, data=data))


def test_how_long_the_rest_takes_is_said_where_it_is_long():
    said = []

    class Told(Progress):
        def say(self, text):
            said.append(text)

    verb._foretell(Told(), 59.0, 10)
    assert said == []
    verb._foretell(Told(), 121.0, 10)
    verb._foretell(Told(), 60.0, 0)
    assert said == ["about 3 minutes more, most of it for 10 decoders", "about 1 minute more"]


def test_the_command_prints_findings_table_and_advice(texts_file, tmp_path):
    folder = cyclic(tmp_path / "m", cycle=4)
    texts = [f"data.{key}" for key in ("window_tokens=48", "context_tokens=8")]
    small = [*texts, "data.continuation_tokens=40", "contexts=3", "natural_tokens=8"]
    small += ["decoders=top_k", "precision=false"]
    result = hyperfit("diagnose", folder, "--data", texts_file, *small)
    assert result.exit_code == 0, result.output
    assert "100% of 3 greedy texts loop" in " ".join(result.output.split())
    assert "top_k" in result.output
    found = json.loads(hyperfit("diagnose", folder, "--data", texts_file, "--json", *small).stdout)
    assert found["advice"]
    assert [each["decoder"] for each in found["tried"]] == ["greedy", "top_k"]


def test_a_decoder_that_only_ends_texts_is_refused(diagnosed, tmp_path):
    with pytest.raises(InputError, match="stop only ends texts"):
        diagnosed(tmp_path / "never read", decoders="stop")


def test_a_decoder_that_needs_a_second_model_is_refused(diagnosed, tmp_path):
    with pytest.raises(InputError, match="compares with a second model"):
        diagnosed(cyclic(tmp_path / "m"), decoders="contrastive_decoding")

"""The table of decoders, what a user writes, and what holds for every one of them."""

import json
import re

import pytest
from transformers.generation.logits_process import LogitsProcessor

from hyperfitting.errors import InputError
from hyperfitting.generate.decoder import LARGEST, MOST, SMALLEST, load
from hyperfitting.generate.decoders import DECODERS
from hyperfitting.generate.filters import filtered
from hyperfitting.generate.run import run_decoder
from hyperfitting.generate.specs import DecoderSpec, parse_decoder, parse_decoders
from hyperfitting.generate.step import Feed
from tests.conftest import random_rows
from tests.tiny import tiny_model

CONTEXTS = [random_rows(1, length, seed=length)[0] for length in (5, 12, 8, 12, 3)]

# A newline, a colon inside a token, and characters that are nothing to any decoder.
TEXTS = ["\n", "a:b", *(chr(97 + n) for n in range(26))]


def run(name, model, contexts=CONTEXTS, seed=1, **options):
    spec = parse_decoder(name)
    if not spec.is_deterministic:
        options.setdefault("seeds_N", [[seed, n] for n in range(len(contexts))])
    if spec.needs_texts:
        options.setdefault("texts_V", TEXTS)
    if spec.needs_amateur:
        options["amateur"] = tiny_model(blocks=1, seed=3)
    return run_decoder(spec, model, contexts, max_new_tokens=12, **options)


@pytest.mark.parametrize("name", DECODERS)
def test_a_text_is_the_same_alone_and_in_any_batch(model, name):
    together = run(name, model, batch_size=100)
    assert [len(text.ids) for text in together] == [12] * 5
    assert run(name, model, batch_size=2) == together
    for n, context in enumerate(CONTEXTS):
        seeds = None if parse_decoder(name).is_deterministic else [[1, n]]
        assert run(name, model, [context], seeds_N=seeds) == [together[n]]


@pytest.mark.parametrize("name", DECODERS)
def test_bans_and_ends_are_kept(model, name):
    free = run(name, model)
    banned = [free[0].ids[0]]
    assert not any(banned[0] in text.ids for text in run(name, model, banned=banned))
    end = free[1].ids[4]
    for full, cut in zip(free, run(name, model, ends=[end]), strict=True):
        assert end not in cut.ids[:-1]
        if name != "beam":  # where a text that ends competes with longer ones
            stop = full.ids.index(end) + 1 if end in full.ids else 12
            assert cut.ids == full.ids[:stop]


def extremes():
    """Every number of every decoder at the ends of what is allowed."""
    for name, decoder in DECODERS.items():
        for each in decoder.parameters:
            for value in {each.low, each.high, SMALLEST, -SMALLEST, LARGEST, -LARGEST, MOST}:
                if each.allows(value) and name != "stop":  # whose sizes go together
                    yield name, each.name, f"{value:.0f}" if each.is_integer else repr(value)


@pytest.mark.parametrize(("name", "key", "value"), sorted(extremes()))
def test_every_number_that_is_allowed_leaves_logits_finite(model, name, key, value):
    spec = parse_decoder(f"{name}:{key}={value.replace('+', '')}")
    found = run(spec.text, model, [CONTEXTS[0] * 6])
    assert len(found[0].ids) == 12
    assert all(0 <= token < model.config.vocab_size for token in found[0].ids)


@pytest.mark.parametrize("name", DECODERS)
def test_only_decoders_that_draw_depend_on_seeds(model, name):
    if parse_decoder(name).is_deterministic:
        assert run(name, model) == run(name, model, seeds_N=[[n] for n in range(5)])
        return
    assert run(name, model) != run(name, model, seed=2)
    with pytest.raises(ValueError, match="a seed for every context"):
        run(name, model, seeds_N=None)
    with pytest.raises(ValueError, match="2 seeds for 5 contexts"):
        run(name, model, seeds_N=[[1], [2]])


@pytest.mark.parametrize("name", DECODERS)
def test_a_line_of_the_table_stands_for_what_does_it(model, name):
    decoder = DECODERS[name]
    assert all(each.allows(each.default) for each in decoder.parameters)
    assert isinstance(load(decoder.feed)(model), Feed)
    if decoder.combines:
        assert isinstance(part(name), LogitsProcessor)
    else:
        assert callable(load(decoder.work))


def part(name):
    """The processor of one filter or penalty, with its defaults."""
    processors = filtered(parse_decoder(name), [[0]], texts_V=TEXTS).processors
    [processor] = [getattr(each, "inner", each) for each in processors]
    return processor


def test_no_two_parts_have_a_parameter_of_one_name():
    parts = {name: decoder for name, decoder in DECODERS.items() if decoder.combines}
    names = [each.name for decoder in parts.values() for each in decoder.parameters]
    assert len(set(names)) == len(names)
    for name, decoder in parts.items():
        own = [each.name for each in decoder.parameters]
        assert not (own and name in names) or own[0] == name


def test_parts_act_in_transformers_order_however_they_are_written():
    order = ("repetition_penalty", "no_repeat_ngram", "frequency", "presence", "dry", "min_k",
             "temperature", "dynamic_temperature", "top_n_sigma", "top_h", "top_k", "top_p",
             "min_p", "typical", "epsilon", "p_less", "eta", "xtc", "adaptive_p")  # fmt: skip
    assert set(order) == {name for name, decoder in DECODERS.items() if decoder.combines}
    for texts in (order, order[::-1]):
        spec = parse_decoder("+".join(texts))
        processors = filtered(spec, [[0]], texts_V=TEXTS).processors
        done = [getattr(each, "inner", each) for each in processors]
        assert [type(each) for each in done] == [type(part(name)) for name in order]
        assert parse_decoder(spec.text) == spec
        assert parse_decoders(f"greedy,{spec.text},guard")[1] == spec


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ("greedy", "greedy", {}),
        ("min_p:0.05", "min_p", {"min_p": 0.05}),
        ("min_p", "min_p", {"min_p": 0.1}),
        ("top_k: 7", "top_k", {"top_k": 7}),
        ("top_p:0.9,temperature:0.7", "top_p", {"temperature": 0.7, "top_p": 0.9}),
        ("temperature:0.7+top_p:0.9", "top_p", {"temperature": 0.7, "top_p": 0.9}),
        ("no_repeat_ngram", "no_repeat_ngram", {"no_repeat_ngram": 3}),
        ("contrastive_search:alpha=0.5,k=5", "contrastive_search", {"alpha": 0.5, "k": 5}),
        ("contrastive_search:0.5", "contrastive_search", {"alpha": 0.5, "k": 10}),
        ("contrastive_search:k=5", "contrastive_search", {"alpha": 0.6, "k": 5}),
        ("guard", "guard", {"window": 7, "decay": 0.95, "temperature": 1.0}),
        ("guard,temperature:0.9", "guard", {"window": 7, "decay": 0.95, "temperature": 0.9}),
        ("dry", "dry", {"multiplier": 0.8, "base": 1.75, "allowed_length": 2, "breakers": 1}),
        (
            "dry:0.5+base:2",
            "dry",
            {"multiplier": 0.5, "base": 2.0, "allowed_length": 2, "breakers": 1},
        ),
        (
            "dry:breakers=0,base=2+min_p:0.2",
            "dry",
            {"min_p": 0.2, "multiplier": 0.8, "base": 2.0, "allowed_length": 2, "breakers": 0},
        ),
        ("p_less", "p_less", {}),
        ("temperature:0.7+p_less", "p_less", {"temperature": 0.7}),
        ("top_k:5+p_less", "top_k", {"top_k": 5, "p_less": True}),
        ("xtc:0.2,probability=1", "xtc", {"threshold": 0.2, "probability": 1.0}),
        (
            "repetition_penalty:1.3,normalised=1",
            "repetition_penalty",
            {"repetition_penalty": 1.3, "normalised": 1},
        ),
        ("beam:length_penalty=-0.5", "beam", {"beams": 5, "length_penalty": -0.5}),
    ],
)
def test_what_a_user_writes(text, name, parameters):
    spec = parse_decoder(text)
    assert spec == DecoderSpec(name, parameters)
    assert parse_decoder(spec.text) == spec
    assert parse_decoders(spec.text) == (spec,)
    assert json.loads(json.dumps(spec.parameters)) == parameters


def test_whole_numbers_stay_whole_and_large_ones_are_read_back():
    assert parse_decoder("top_k:5").text == "top_k:5"
    assert isinstance(parse_decoder("beam:4.0").parameters["beams"], int)
    spec = parse_decoder("temperature:1e20")
    assert parse_decoder(spec.text) == spec


def test_combinations_are_deterministic_where_nothing_draws():
    assert parse_decoder("repetition_penalty+no_repeat_ngram").is_deterministic
    assert not parse_decoder("repetition_penalty+temperature:0.5").is_deterministic


def test_a_list_of_decoders():
    text = "greedy,min_p:0.1,contrastive_search:alpha=0.6,k=4,top_p:0.9+temperature:0.7,guard"
    specs = parse_decoders(text)
    assert [spec.name for spec in specs] == [
        "greedy", "min_p", "contrastive_search", "top_p", "guard",
    ]  # fmt: skip
    assert specs[2].parameters == {"alpha": 0.6, "k": 4}
    assert [s.name for s in parse_decoders("top_p:0.9,temperature:0.7")] == ["top_p", "temperature"]
    assert len(parse_decoders("min_p:0.05,min_p:0.1")) == 2
    with pytest.raises(InputError, match="listed twice"):
        parse_decoders("min_p,min_p:0.1")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("mni_p:0.1", "did you mean 'min_p'"),
        ("", "no decoder ''"),
        ("alpha=0.5", "no decoder 'alpha=0.5'"),
        ("mirostat:5,0.1", "written key=value"),
        ("stop:min_count=1", r"a whole number in \[2, inf\)"),
        ("beam:101", r"in \[2, 100\]"),
        ("min_p:1.5", r"needed: a number in \(0, 1\]"),
        ("min_p:0", r"min_p is '0'"),
        ("min_p:", "min_p is ''"),
        ("min_p:nan", "min_p is 'nan'"),
        ("temperature:inf", "temperature is 'inf'"),
        ("temperature:-1", r"in \(0, inf\)"),
        ("temperature:1e-320", r"in \(0, inf\), 1e-20 to 1e\+20 in size"),
        ("frequency:1e300", "frequency is '1e300'"),
        ("top_k:3e9", r"a whole number in \[1, inf\), 1 to 2147483647 in size"),
        ("beam:length_penalty=11", r"a number in \[-1, 10\]"),
        ("top_k:2.5", r"a whole number in \[1, inf\)"),
        ("top_k:many", "top_k is 'many'"),
        ("contrastive_search:alhpa=0.5", "did you mean 'alpha'"),
        ("contrastive_search:k=5,k=6", "gives k of contrastive_search twice"),
        ("greedy:1", "needed: no parameter"),
        ("p_less:0.1", "no parameter '0.1'.*needed: no parameter"),
        ("dry:-1", r"multiplier of the decoder dry is '-1'.*in \(0, 1000\]"),
        ("dry:base=0.9", r"a number in \[1, 100\]"),
        ("dry:breakers=2", r"a whole number in \[0, 1\]"),
        ("dry:allowed_length=0", r"a whole number in \[1, inf\)"),
        ("min_k:0", r"a number in \(0, inf\)"),
        ("xtc:0.6", r"threshold of the decoder xtc is '0.6'.*\(0, 0.5\]"),
        ("xtc:probability=1.5", r"in \(0, 1\]"),
        ("frequency:0", "frequency is '0'"),
        ("presence:-1", "presence is '-1'"),
        ("dynamic_temperature:0", "low of the decoder dynamic_temperature is '0'"),
        ("adaptive_p:1.1", r"target of the decoder adaptive_p is '1.1'.*\[0, 1\]"),
        ("adaptive_p:decay=1", r"in \[0, 0.99\]"),
        ("repetition_penalty:1.2,normalised=2", r"a whole number in \[0, 1\]"),
        ("guard+top_k:5", "guard does not combine"),
        ("greedy,min_p", "greedy does not combine"),
        ("top_k:5+top_k:6", "names a decoder twice"),
    ],
)
def test_bad_input_is_told(text, part):
    with pytest.raises(InputError, match=re.compile(part, re.DOTALL)):
        parse_decoder(text)


def test_the_table_is_read_without_torch():
    import subprocess
    import sys

    code = "import sys, hyperfitting.generate.specs; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

"""Decoder arms against each context decoded alone, and against plain loops."""

import re

import numpy as np
import pytest
import torch

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.evaluate.decoding import blocked_outputs, load_amateur, requested_decoders
from hyperfitting.generate.run import run_decoder
from hyperfitting.generate.specs import DecoderSpec, parse_decoders
from hyperfitting.models.load import load_model
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress
from hyperfitting.records import ORIGINAL, Arm
from tests.comparing import (
    CONTINUATION,
    EVALUATE,
    changed,
    comparison,
    dataset,
    evaluated,
    ids,
)
from tests.conftest import random_rows
from tests.tiny import byte_tokenizer, save_tiny, tiny_model

LISTED = "greedy,beam:2,contrastive_search:k=4,contrastive_decoding,top_p:0.9+temperature:0.7,guard"
SPECS = [spec for spec in parse_decoders(LISTED) if spec.name != "greedy"]
CONFIG = EVALUATE.model_copy(update={"batch_size": 3, "natural_tokens": 7})
DATA = dataset(4)
TOKENIZER, END = byte_tokenizer(), 0
UNWRITABLE = [END, *range(len(TOKENIZER), 260)]
ORDER = 5


@pytest.fixture(scope="module")
def amateur(tmp_path_factory):
    folder = save_tiny(tmp_path_factory.mktemp("amateur"))
    tiny_model(blocks=1, seed=5).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def decoded(model_folder, amateur):
    """The original under every kind of decoder, beside a tuned model."""
    config = CONFIG.model_copy(update={"decoders": LISTED, "amateur": str(amateur)})
    return evaluated(comparison(model_folder, changed, data=DATA), config)


# What is asked for


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoders": "min_q:0.1"}, "no decoder 'min_q'.*did you mean 'min_p'"),
        ({"decoders": "min_p:0.1,min_p:0.1"}, "listed twice"),
        ({"decoders": "guard,contrastive_decoding"}, "amateur=MODEL"),
        ({"decoders": "min_p", "amateur": "small"}, "the amateur small is given, which no"),
        ({"decoders": "", "amateur": "small"}, "the amateur small is given, which no"),
    ],
)
def test_decoders_that_cannot_be_run_are_refused(changes, message):
    with pytest.raises(InputError, match=re.compile(message, re.DOTALL)):
        requested_decoders(EVALUATE.model_copy(update=changes))


def test_greedy_is_left_out_and_nothing_asked_is_nothing():
    asked = {"": [], " ": [], "greedy": [], "greedy,min_p:0.05,min_p:0.1": [0.05, 0.1]}
    for text, values in asked.items():
        specs = requested_decoders(EVALUATE.model_copy(update={"decoders": text}))
        assert specs == tuple(DecoderSpec("min_p", {"min_p": value}) for value in values)


def test_an_amateur_with_other_tokens_is_refused(tmp_path):
    other = save_tiny(tmp_path, unnamed=["<|tool|>"])
    asked = {"decoders": "contrastive_decoding", "amateur": str(other)}
    with pytest.raises(InputError, match="another vocabulary: 1 of 258"):
        load_amateur(EVALUATE.model_copy(update=asked), TOKENIZER)
    assert load_amateur(EVALUATE, TOKENIZER) is None


def test_an_amateur_with_too_few_positions_is_refused(model_folder, tmp_path):
    tiny_model("gpt2", n_positions=8).save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    config = CONFIG.model_copy(
        update={"decoders": "contrastive_decoding", "amateur": str(tmp_path)}
    )
    with pytest.raises(InputError, match="positions for 8"):
        evaluated(comparison(model_folder, changed, data=DATA), config)


# What is written


def alone(spec, model, context, seed, mode, amateur=None):
    """One context, decoded by itself."""
    is_natural = mode == "natural"
    [text] = run_decoder(
        spec, model, [context], seeds_N=[seed], amateur=amateur, batch_size=1,
        max_new_tokens=CONFIG.natural_tokens if is_natural else CONTINUATION,
        banned=UNWRITABLE[1:] if is_natural else UNWRITABLE, ends=[END] if is_natural else (),
    )  # fmt: skip
    return text.ids


@pytest.mark.parametrize("spec", SPECS, ids=[spec.name for spec in SPECS])
def test_each_context_has_what_it_gets_alone(decoded, amateur, spec):
    evaluation, arms, _ = decoded
    outputs = arms[f"original+{spec.name}"]
    assert outputs.arm == ORIGINAL.decoded(spec.name, spec.parameters)
    small = load_model(ModelConfig(name=str(amateur), device="cpu"))

    def expected(seed, mode):
        rows = enumerate(DATA.contexts.contexts)
        return [alone(spec, tiny_model(), row, [seed, n], mode, small) for n, row in rows]

    seeds = range(1 if spec.is_deterministic else CONFIG.sampling_seeds)
    assert [ids(draw) for draw in outputs.draws] == [expected(s, "fixed_length") for s in seeds]
    assert ids(outputs.natural) == expected(0, "natural")
    if len(seeds) > 1:
        assert ids(outputs.draws[0]) != ids(outputs.draws[1])
    [run] = [run for run in evaluation.decoder_runs if run.arm == outputs.arm]
    assert parse_decoders(run.decoder) == (spec,)
    checked = (1.0, len(DATA.contexts)) if spec.is_deterministic else (None, 0)
    assert (run.is_deterministic, run.alone_equals_batch, run.alone_n) == (
        spec.is_deterministic, *checked,
    )  # fmt: skip


def test_by_default_the_original_alone_is_decoded_otherwise(decoded):
    evaluation, arms, _ = decoded
    assert [name for name in arms if "+" in name] == [f"original+{spec.name}" for spec in SPECS]
    assert len(evaluation.decoder_runs) == len(SPECS)


def test_contrastive_decoding_is_the_loop_of_its_formula(decoded, amateur):
    _, arms, _ = decoded
    alpha = next(s for s in SPECS if s.name == "contrastive_decoding").parameters["alpha"]
    models = [tiny_model(), load_model(ModelConfig(name=str(amateur), device="cpu"))]
    for text in arms["original+contrastive_decoding"].fixed:
        row = list(text.context_ids)
        for _ in range(CONTINUATION):
            with torch.no_grad():
                big, small = (m(torch.tensor([row])).logits[0, -1].double() for m in models)
            big[UNWRITABLE] = -torch.inf
            p, q = big.log_softmax(-1), small.log_softmax(-1)
            unlikely = p < p.max() + np.log(alpha)
            row.append(int((p - q).masked_fill(unlikely, -torch.inf).argmax()))
        assert text.continuation_ids == row[len(text.context_ids) :]


def test_decoders_that_read_tokens_get_their_texts(model_folder):
    asked = "dry,xtc:probability=1,stop:4,min_pattern_size=1,min_count=2"
    config = CONFIG.model_copy(update={"decoders": asked, "natural_tokens": 12})
    evaluation, arms, columns = evaluated(comparison(model_folder, changed, data=DATA), config)
    rows, texts_V = DATA.contexts.contexts, [TOKENIZER.decode([n]) for n in range(len(TOKENIZER))]
    for spec in parse_decoders(asked):
        found = run_decoder(
            spec, tiny_model(), rows, seeds_N=[[0, n] for n in range(len(rows))], texts_V=texts_V,
            max_new_tokens=12, banned=UNWRITABLE[1:], ends=[END],
        )  # fmt: skip
        assert ids(arms[f"original+{spec.name}"].natural) == [text.ids for text in found]
    *others, stop = evaluation.decoder_runs
    assert [run.stopped for run in others] == [None, None]
    whole, written = (arms[name].natural for name in ("original", "original+stop"))
    lengths = [[len(text.continuation_ids) for text in arm] for arm in (whole, written)]
    assert stop.stopped.share == np.mean(np.less(lengths[1], lengths[0]))
    assert stop.stopped.tokens_saved == pytest.approx(1 - sum(lengths[1]) / sum(lengths[0]))
    assert stop.stopped.n == len(rows)
    for metric in ("looped_rate_vllm", "looped_rate_llama_cpp", "compression_ratio"):
        assert np.isfinite(columns["human", metric, None]).all()


# The citation blocker


def starts_word(token):
    """What is no letter or digit stands where a word has ended."""
    return not TOKENIZER.decode([token])[:1].isalnum()


def following(training, last):
    return {
        row[i + ORDER]
        for row in training
        for i in range(len(row) - ORDER)
        if row[i : i + ORDER] == last
    }


def talkative():
    """A tuned model that writes words."""
    model = changed()
    letters = [0.0 if starts_word(i) else 0.9 for i in range(len(TOKENIZER))]
    model.lm_head.bias = torch.nn.Parameter(torch.tensor([*letters, *[0.0] * 3]))
    return model


def blocked(model, training):
    return blocked_outputs(
        model, Tokens.of(model, TOKENIZER), DATA.contexts, CONFIG, Progress(),
        arm=Arm("tuned", 3, (("k", 1),)), training_rows=training,
    )  # fmt: skip


@torch.no_grad()
def by_hand(model, context, training):
    """Greedy, one token a pass, without a cache; and what was stopped, and what went on."""
    row, stopped, went_on = list(context), 0, 0
    for step in range(CONTINUATION):
        logits = model(torch.tensor([row])).logits[0, -1]
        logits[UNWRITABLE] = -torch.inf
        best, cited = int(logits.argmax()), following(training, row[-ORDER:])
        if step >= ORDER and best in cited:
            stopped, went_on = stopped + starts_word(best), went_on + (not starts_word(best))
            logits[[token for token in cited if starts_word(token)]] = -torch.inf
        row.append(int(logits.argmax()))
    return row[len(context) :], stopped, went_on


def test_no_training_5_gram_goes_on_at_the_end_of_a_word(model_folder):
    _, arms, _ = evaluated(comparison(model_folder, talkative, data=DATA), CONFIG)
    model, greedy = talkative(), arms["tuned"]
    own = ids(greedy.fixed)  # the model cites itself
    found = blocked(model, own)
    assert found.arm == Arm.named("tuned+citation_blocked", 3, {"k": 1})
    rows, stopped, went_on = zip(
        *(by_hand(model, context, own) for context in DATA.contexts.contexts), strict=True
    )
    assert ids(found.fixed) == list(rows)
    assert min(sum(stopped), sum(went_on)) > 1, "inside of a word a citation may go on"
    plain = blocked(model, random_rows(5, 30, seed=99))
    assert (ids(plain.fixed), ids(plain.natural)) == (own, ids(greedy.natural))

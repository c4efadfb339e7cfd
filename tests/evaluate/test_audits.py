"""Quality beside variety: naive searches, a loop over tokens, planted arms."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from hyperfitting.compare.comparison import TunedModel
from hyperfitting.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from hyperfitting.data.windows import Contexts
from hyperfitting.errors import InputError
from hyperfitting.evaluate.arms import ArmOutputs, human_outputs
from hyperfitting.evaluate.audits import audit_coherence, audit_overlap
from hyperfitting.evaluate.measurements import set_measurements
from hyperfitting.evaluate.per_context import metric_values
from hyperfitting.evaluate.per_set import OF_A_SET, set_values
from hyperfitting.evaluate.plan import check
from hyperfitting.measure.mauve import mauve
from hyperfitting.measure.overlap import TrainingIndex
from hyperfitting.models.features import last_token_features
from hyperfitting.models.load import load_model, load_tokenizer
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress
from hyperfitting.records import Arm, Generation
from hyperfitting.train.dataset import describe_data, read_dataset
from tests.comparing import EVALUATE, Said, comparison, dataset, evaluated
from tests.tiny import save_tiny, tiny_model

CONFIG = EVALUATE.model_copy(update={"mauve_seeds": 2})
ABOUT = {"model": "m", "domain": "d"}
HUMAN = Arm("human")


def written(arm, *draws, contexts=None):
    """An arm whose texts are given, as tokens or as text."""

    def generation(n, text):
        is_text = isinstance(text, str)
        context = contexts[n] if contexts else "once "
        return Generation(
            arm=arm.name, seed=arm.seed, context_index=n, mode="fixed_length", context_ids=[1],
            continuation_ids=list(text.encode()) if is_text else list(text),
            context=context, continuation=text if is_text else "", ending="truncated",
        )  # fmt: skip

    return ArmOutputs(arm, [[generation(n, text) for n, text in enumerate(d)] for d in draws])


# Copies of the training set


def naive_run(text, training):
    """The longest run of `text` in any row, by looking everywhere."""
    places = [(i, j) for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    fits = (
        j - i
        for i, j in places
        for row in training
        for k in range(len(row))
        if row[k : k + j - i] == text[i:j]
    )
    return max(fits, default=0)


def test_overlap_agrees_with_a_naive_search_over_every_draw():
    rng = np.random.default_rng(0)
    training = rng.integers(0, 3, (6, 14)).tolist()
    draws = rng.integers(0, 4, (2, 5, 9)).tolist()  # token 3 is in no training row
    draws[1][2] = training[4]  # a window copied whole
    draws[0][3], draws[1][3] = [3] * 9, [1, 3]  # nothing of it; too short for a 5-gram
    found, longest = audit_overlap(written(Arm("a", 1).sampled(), *draws), TrainingIndex(training))
    runs = np.array([[naive_run(text, training) for text in texts] for texts in draws])
    assert found.audit["overlap_mean"] == runs.mean(axis=0).tolist()
    assert found.audit["overlap_gt_10"] == (runs > 10).mean(axis=0).tolist()
    grams = {tuple(row[i : i + 5]) for row in training for i in range(len(row) - 4)}
    for n, share in enumerate(found.audit["fivegram_overlap"]):
        of_draw = [
            [tuple(text[i : i + 5]) in grams for i in range(len(text) - 4)]
            for text in (draws[0][n], draws[1][n])
        ]
        expected = np.mean([np.mean(each) for each in of_draw]) if all(of_draw) else None
        assert share == (None if expected is None else pytest.approx(expected))
    assert (runs[1, 2], longest.value, longest.n, longest.length) == (14, 14.0, 5, 9)
    assert longest.reason == f"{OF_A_SET}, of 2 sampling seeds"
    columns = {c.metric: c.values for c in metric_values(found, 0)}
    assert {name: columns[name] for name in found.audit} == found.audit


def run_config(folder, data):
    model = ModelConfig(name=str(folder), device="cpu")
    return RunConfig(model=model, data=data, train=TrainConfig(method="full_lora"))


def test_held_out_text_that_stands_in_training_windows_is_told(tmp_path, monkeypatch):
    """Overlapping texts: the next one holds what goes on in this one."""
    letters = np.random.default_rng(0).choice(list("abcdefgh"), 400)
    file = tmp_path / "chunks.jsonl"
    chunks = ["".join(letters[i : i + 40]) for i in range(0, 360, 12)]
    file.write_text("".join(json.dumps({"text": chunk}) + "\n" for chunk in chunks))
    data = DataConfig(
        source=str(file), window_tokens=40, context_tokens=12, continuation_tokens=12, num_heldout=6
    )
    folder = save_tiny(tmp_path / "m", "llama")
    config = run_config(folder, data)
    found = read_dataset(config, Progress())
    rows = found.train.rows()
    copied = sum(
        any(k == row[i : i + 12] for row in rows for i in range(29))
        for k in found.contexts.continuations
    )
    assert found.account["continuations_in_training_windows"] == copied > 0
    words = f"{copied} of 6 held-out continuations stand word for word"
    assert words in describe_data(found, config)
    told = Said()
    compared = comparison(folder, tiny_model, data=found)
    monkeypatch.setattr(TunedModel, "training_rows", lambda self: rows)
    evaluated(compared, progress=told)
    assert any(words in line for line in told.lines)


def test_nothing_is_told_of_texts_that_do_not_overlap(model_folder, texts_file):
    data = DataConfig(
        source=str(texts_file), window_tokens=32, context_tokens=8, continuation_tokens=16,
        num_heldout=3,
    )  # fmt: skip
    config = run_config(model_folder, data)
    found = read_dataset(config, Progress())
    assert "continuations_in_training_windows" not in found.account
    assert "word for word" not in describe_data(found, config)


def test_contexts_that_are_one_and_the_same_are_told(tmp_path):
    """A run that was split before such contexts were left out."""
    data = dataset(4)
    data.contexts.contexts[3] = data.contexts.contexts[0]
    told = Said()
    evaluated(comparison(save_tiny(tmp_path, "llama"), data=data), progress=told)
    assert any("only 3 of the 4 contexts differ" in line for line in told.lines)


# Coherence


@torch.no_grad()
def by_tokens(model, tokenizer, context, continuation):
    """Mean ln p of each token after the context's, one pass a token."""
    row = tokenizer(context + continuation)["input_ids"]
    first = max(1, len(tokenizer(context)["input_ids"]))
    values = [
        float(model(torch.tensor([row[:i]])).logits[0, -1].double().log_softmax(-1)[row[i]])
        for i in range(first, len(row))
    ]
    return np.mean(values) if values else None


def test_coherence_reads_whole_characters(tmp_path):
    """Contexts and texts that tokens cut inside a character, as bytes do Chinese."""
    name = str(save_tiny(tmp_path, "gpt2"))
    config = ModelConfig(name=name, device="cpu")
    model, tokenizer = load_model(config), load_tokenizer(config)
    texts = ["天地玄黄宇宙洪荒", "日月盈昃辰宿列张"]
    rows = [tokenizer(text)["input_ids"] for text in texts]
    contexts = Contexts([r[:7] for r in rows], [r[7:20] for r in rows], texts)
    human = human_outputs(contexts, Tokens.of(model, tokenizer))
    [found] = audit_coherence([human], name, CONFIG, Progress())
    expected = [by_tokens(model, tokenizer, text[:2], text[2:6]) for text in texts]
    assert found.audit["coherence_nats"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["builtin", "bytes"])
def test_coherence_is_the_loop_over_the_reference_s_own_tokens(name, tmp_path):
    """Both tokenizers differ from the one that wrote; one merges across the border."""
    name = "builtin" if name == "builtin" else str(save_tiny(tmp_path, "gpt2", bos=True))
    contexts = ["Once upon a ti", "The fox", "", "She said: wai"]
    texts = ["me there was", " ran  away é", "A dog barked.", "t"]
    again = [*texts[:3], "ting"]
    human = written(HUMAN, texts, contexts=contexts)
    arms = [human, written(Arm("a"), texts, again, contexts=contexts)]
    arms[0] = replace(human, audit={"kept": [1.0] * 4})
    found = audit_coherence(arms, name, CONFIG, Progress())
    config = ModelConfig(name=name, device="cpu")
    model, tokenizer = load_model(config), load_tokenizer(config)
    one, two = (
        [by_tokens(model, tokenizer, *pair) for pair in zip(contexts, draw, strict=True)]
        for draw in (texts, again)
    )
    assert found[0].audit["kept"] == [1.0] * 4
    assert found[0].audit["coherence_nats"] == pytest.approx(one, abs=1e-4)
    assert found[1].audit["coherence_nats"][:3] == pytest.approx(one[:3], abs=1e-4)
    assert max(one[:3]) < 0
    mean = None if None in (one[3], two[3]) else pytest.approx((one[3] + two[3]) / 2, abs=1e-4)
    assert found[1].audit["coherence_nats"][3] == mean
    if name == "builtin":
        whole, part = (len(tokenizer(contexts[3] + more)["input_ids"]) for more in ("t", ""))
        assert whole <= part, "merged across the border"
        assert one[3] is None


def test_a_reference_with_too_few_positions_is_refused(tmp_path):
    folder = save_tiny(tmp_path, "gpt2")  # 128 positions, a token a byte
    arms = [written(HUMAN, ["long " * 30])]
    with pytest.raises(InputError, match="positions for 128"):
        audit_coherence(arms, str(folder), CONFIG, Progress())


@pytest.mark.parametrize("name", ["coherence_model", "mauve_features"])
def test_a_missing_model_is_refused_before_anything_is_generated(model_folder, name):
    config = CONFIG.model_copy(update={name: "./gone"})
    with pytest.raises(InputError, match="does not exist"):
        check(config, Progress())


# MAUVE


def texts(count, seed, letters="abcdefgh "):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), 12)) for _ in range(count)]


def test_mauve_is_taken_of_whole_texts_against_the_human_ones(model_folder):
    count = 45
    contexts = texts(count, 1)
    contexts[7] = "x" * 150  # cut: the model has 128 positions
    human, other, third = texts(count, 2), texts(count, 3, "XYZ"), texts(count, 4, "xyz!")
    arms = [
        written(HUMAN, human, contexts=contexts),
        written(Arm("copy", 1), human, contexts=contexts),
        written(Arm("drawn", 2).sampled(), other, third, contexts=contexts),
    ]
    config = CONFIG.model_copy(update={"mauve_features": str(model_folder)})
    values, about = set_values(arms, config, Progress())
    assert len({id(v.arm) for v in values if v.metric == "distinct_2"}) == 3
    found = {v.arm.name: v for v in values if v.metric == "mauve"}

    def features(texts):
        whole = [c + t for c, t in zip(contexts, texts, strict=True)]
        return last_token_features(whole, str(model_folder), device="cpu", batch_size=7).feature_ND

    take = partial(mauve, seeds=2, base_seed=config.seed)
    expected = {
        "human": take(features(human)[:22], features(human)[22:44]).value,
        "copy": 1.0,
        "drawn_sampled": np.mean(
            [take(features(human), features(t)).value for t in (other, third)]
        ),
    }
    assert {name: v.value for name, v in found.items()} == pytest.approx(expected, abs=1e-4)
    assert {name: v.n for name, v in found.items()} == {
        "human": 22,
        "copy": 45,
        "drawn_sampled": 45,
    }
    assert found["drawn_sampled"].value < 0.9
    for value in found.values():
        assert 0 <= value.low <= value.value <= value.high + 1e-9 <= 1 + 1e-9
    assert "half the n: no ceiling for the arms" in found["human"].reason
    assert "45 texts a side: too high and noisy" in found["copy"].reason

    assert (about.features, about.token_limit) == (str(model_folder), 128)
    assert (about.texts_cut, about.kmeans_seeds, about.scaling) == (3, 2, 5.0)
    details = {each.arm.name: each for each in about.arms}
    assert [details[name].buckets for name in expected] == [2, 4, 4]
    assert [len(details[name].per_seed) for name in expected] == [1, 1, 2]
    assert details["copy"].arm.seed == 1
    assert details["copy"].small_sample is True


def test_fewer_than_20_texts_have_no_mauve(model_folder):
    config = CONFIG.model_copy(update={"mauve_features": str(model_folder)})
    for count, undefined in ((19, {"human", "a"}), (39, {"human"})):
        arms = [written(arm, texts(count, seed)) for seed, arm in enumerate((HUMAN, Arm("a")))]
        values, _ = set_values(arms, config, Progress())
        rows = {r.arm: r for r in set_measurements(values, config, **ABOUT) if r.metric == "mauve"}
        assert {arm for arm, row in rows.items() if row.mean is None} == undefined
        human, half = rows["human"], count // 2
        assert human.reason == f"{half} texts a side, at least 20 are needed"
        assert (human.low, human.high, human.n, human.undefined) == (None, None, 0, half)

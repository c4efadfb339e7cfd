"""Tuned checkpoints: which base an adapter names, what it asks for, and folders that hold both."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.checkpoint import origin_of
from hyperfitting.models.digests import model_digest
from hyperfitting.models.load import load_model
from hyperfitting.models.located import locate
from hyperfitting.models.tuned import (
    adapter_base,
    base_of_tuned,
    kind_of_tuned,
    load_tuned,
    require_same_tokenizer,
)
from tests.models.hub import publish
from tests.models.test_checkpoint import A, B, config, notes, save_adapter_beside
from tests.tiny import byte_tokenizer, save_tiny, tiny_model


@torch.no_grad()
def logits(model):
    return model(torch.arange(1, 13)[None]).logits


def change(folder, **settings):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.fixture
def adapter_on(tmp_path):
    """Makes an adapter's folder, with the loaded adapter for comparison."""

    def make(base, **settings):
        adapted = save_adapter_beside(tmp_path / "adapter", load_model(config(base)))
        change(tmp_path / "adapter", **settings)
        return tmp_path / "adapter", adapted

    return make


@pytest.fixture
def hub_base(tmp_path, hub_cache):
    """`lab/base`: `main` and `first` are different models."""
    one, two = save_tiny(tmp_path / "one"), save_tiny(tmp_path / "two")
    tiny_model(seed=5).save_pretrained(two)
    publish(hub_cache, "lab/base", {A: one, B: two}, {"main": A, "first": B})
    return {"main": one, "first": two}


# Which base


def test_the_revision_that_an_adapter_names_is_loaded(hub_base, adapter_on):
    named = {"base_model_name_or_path": "lab/base", "revision": "first"}
    folder, adapted = adapter_on(hub_base["first"], **named)
    tuned = config(folder)
    assert adapter_base(tuned) == ("lab/base", "first")
    base = base_of_tuned(tuned, config("lab/base"))
    found = load_tuned(tuned, base)
    assert base.revision == "first"
    assert torch.equal(logits(found), logits(adapted))
    assert notes(found) == []


def test_another_base_or_revision_than_the_adapter_names_is_said(hub_base, adapter_on):
    folder, _ = adapter_on(hub_base["main"], base_model_name_or_path="lab/base", revision=B)
    for name, revision, words in (
        (hub_base["main"], None, f"names lab/base at revision {B} as its base; it is put on {{}}"),
        ("lab/base", "main", f"names lab/base at revision {B} as its base; it is put on {{}} at "),
    ):
        base = base_of_tuned(config(folder), config(name, revision=revision))
        assert base.revision == revision
        [note] = notes(load_tuned(config(folder), base))
        assert words.format(name) in note
    same = base_of_tuned(config(folder), config("lab/base", revision="first"))
    assert notes(load_tuned(config(folder), same)) == []  # the commit that it names


def test_an_adapter_by_hub_id_and_revision(hub_base, hub_cache, adapter_on, tmp_path):
    folder, adapted = adapter_on(hub_base["main"], base_model_name_or_path="lab/base")
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    weights = load_file(old / "adapter_model.safetensors")
    save_file({n: 2 * w for n, w in weights.items()}, old / "adapter_model.safetensors")
    publish(hub_cache, "lab/tuned", {A: folder, B: old}, {"main": A, "old": B})
    base = config("lab/base")
    found = load_tuned(config("lab/tuned"), base)
    assert torch.equal(logits(found), logits(adapted))
    assert (origin_of(found).kind, origin_of(found).commit) == ("adapter", A)
    older = load_tuned(config("lab/tuned", revision="old"), base)
    assert not torch.equal(logits(older), logits(found))
    assert origin_of(older).digest != origin_of(found).digest
    require_same_tokenizer(base, config("lab/tuned"), byte_tokenizer())  # it has the base's


def test_a_hub_adapter_beside_the_base_s_config_is_put_on_the_base_that_was_given(
    hub_base, hub_cache, adapter_on
):
    folder, adapted = adapter_on(hub_base["first"], base_model_name_or_path="lab/base")
    shutil.copy(hub_base["first"] / "config.json", folder)
    byte_tokenizer().save_pretrained(folder)
    publish(hub_cache, "lab/tuned", {A: folder}, {"main": A})
    found = load_tuned(config("lab/tuned"), config("lab/base", revision="first"))
    assert torch.equal(logits(found), logits(adapted))


# What an adapter asks for


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_future": True}, "switches on what PEFT .* does not know: use_future"),
        ({"peft_type": "NEWEST"}, "is of type NEWEST, which PEFT .* does not know"),
        ({"task_type": "SEQ_CLS"}, "was trained for SEQ_CLS"),
        ({"alora_invocation_tokens": [5, 6]}, "is switched on by tokens in the text"),
        ({"peft_type": "PREFIX_TUNING"}, "adds tokens to the text"),
    ],
)
def test_an_adapter_that_cannot_be_used_as_it_asks_is_refused(
    model_folder, adapter_on, settings, message
):
    folder, _ = adapter_on(model_folder, **settings)
    with pytest.raises(InputError, match=message):
        load_tuned(config(folder), config(model_folder))


def test_unknown_settings_are_said_where_they_are_set_at_all(model_folder, adapter_on):
    folder, adapted = adapter_on(model_folder, enable_lora=None, merge_weights=False)
    found = load_tuned(config(folder), config(model_folder))
    assert torch.equal(logits(found), logits(adapted))
    assert notes(found) == []
    change(folder, group_size=16)
    [note] = notes(load_tuned(config(folder), config(model_folder)))
    assert note.endswith("does not know and does not use: group_size=16")


def test_a_pickled_adapter_is_not_read_beside_other_safetensors(model_folder, adapter_on):
    folder, _ = adapter_on(model_folder)
    weights = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(weights, folder / "adapter_model.bin")
    save_file({"x": torch.ones(1)}, folder / "embeddings.safetensors")
    with pytest.raises(InputError, match="no .safetensors weights"):
        load_tuned(config(folder), config(model_folder))


# Whole weights and an adapter in one folder


@pytest.fixture
def both(model_folder, adapter_on, tmp_path):
    """Makes a folder that holds an adapter and the given whole model."""

    def make(whole):
        adapter, adapted = adapter_on(model_folder)
        folder = save_tiny(tmp_path / "both")
        whole = whole or adapted.merge_and_unload()
        whole.save_pretrained(folder)
        for file in adapter.glob("adapter_*"):
            shutil.copy(file, folder)
        return folder

    return make


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_merged_weights_beside_their_adapter_are_the_tuned_model(both, model_folder, kind):
    folder = both(None)
    merged = load_model(config(folder))
    assert (merged.name_or_path, merged.config._name_or_path) == (str(folder), str(folder))
    merged.to(kind).save_pretrained(folder)
    found = load_tuned(config(folder), config(model_folder))
    assert kind_of_tuned(config(folder), config(model_folder)) == "model"
    assert model_digest(found) == model_digest(merged.float())
    assert "the weights are used as they stand" in notes(found)[0]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_base_s_weights_beside_an_adapter_leave_the_adapter(both, model_folder, kind):
    folder = both(tiny_model().to(kind))
    found = load_tuned(config(folder), config(model_folder))
    assert origin_of(found).kind == "adapter"
    assert "the adapter is used" in notes(found)[-1]
    assert not torch.allclose(logits(found), logits(tiny_model()))
    assert model_digest(found.merge_and_unload()) != model_digest(tiny_model())


def test_weights_that_are_neither_are_refused_with_both_ways_out(both, model_folder):
    with pytest.raises(InputError, match=r"not clear which is the tuned model: they are neither"):
        load_tuned(config(both(tiny_model(seed=4))), config(model_folder))


def test_a_base_that_is_not_there_cannot_tell_them_apart(both, tmp_path):
    with pytest.raises(InputError, match="that cannot be told here: .*gone does not exist"):
        kind_of_tuned(config(both(None)), config(tmp_path / "gone"))


def test_a_folder_of_adapters_is_no_checkpoint(tmp_path, model_folder):
    save_adapter_beside(tmp_path / "one")
    with pytest.raises(InputError, match=r"has no config.json(.|\n)*stand below it: .*/one"):
        load_tuned(config(tmp_path), config(model_folder))
    assert not locate(ModelConfig(name=str(tmp_path))).has_adapter


# Tokenizers of one vocabulary

TEXTS = ["Nobody waited for the old bridge.", "It was 10 to 8."]


def set_up(folder, **parts):
    """A checkpoint whose tokenizer's pipeline has other parts."""
    save_tiny(folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))
    return folder


def opened_by(token, number):
    return {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": token, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }


NO_STOPS = {"type": "Replace", "pattern": {"String": "."}, "content": ""}
OPENED = opened_by("<|end|>", 0)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "a text is 33 and 33 tokens.*near 'Nobody"),
        ({"normalizer": NO_STOPS}, "a text is 33 and 32 tokens, which differ near 'dge.'"),
        ({"post_processor": OPENED}, r"they open every text with \[\] and \['<.end.>'\]"),
    ],
)
def test_one_vocabulary_that_reads_texts_as_other_tokens_is_refused(tmp_path, parts, says):
    base, tuned = config("base"), config(set_up(tmp_path / "tuned", **parts))
    others = "one vocabulary and read texts as other tokens: "
    with pytest.raises(InputError, match=others + says):
        require_same_tokenizer(base, tuned, byte_tokenizer(), TEXTS)
    with pytest.raises(InputError, match=others):  # of two texts of our own
        require_same_tokenizer(base, tuned, byte_tokenizer())


def test_tokenizers_set_up_differently_may_read_the_texts_alike(tmp_path):
    base, tokenizer = config("base"), byte_tokenizer()
    same = config(save_tiny(tmp_path / "same"))
    assert require_same_tokenizer(base, same, tokenizer, TEXTS) is None
    lower = config(set_up(tmp_path / "lower", normalizer={"type": "Lowercase"}))
    small = [text.lower() for text in TEXTS]
    note = require_same_tokenizer(base, lower, tokenizer, small)
    assert "are set up differently" in note
    assert note in notes(load_tuned(lower, config(same.name), "model", note=note))


def test_what_cuts_and_fills_up_texts_in_a_tokenizers_file_is_no_difference(tmp_path):
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    tuned = config(set_up(tmp_path / "tuned", truncation=cut))
    assert require_same_tokenizer(config("base"), tuned, byte_tokenizer(), TEXTS) is None

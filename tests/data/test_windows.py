import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hyperfitting.config import DataConfig
from hyperfitting.data.sources import Document
from hyperfitting.data.store import load_dataset, save_dataset
from hyperfitting.data.windows import build_dataset
from hyperfitting.errors import InputError
from tests.tiny import END, byte_tokenizer

TOKENIZER = byte_tokenizer()


def documents(count=12, length=40, start=0):
    rng = np.random.default_rng(start)
    return [
        Document(f"doc {i}", text="".join(rng.choice(list("abcdefgh"), length)))
        for i in range(count)
    ]


def config(**changes):
    small = {"window_tokens": 32, "context_tokens": 8, "continuation_tokens": 16}
    return DataConfig(source="test", **{**small, "num_heldout": 3, **changes})


def build(docs, **changes):
    return build_dataset(docs, TOKENIZER, config(**changes))


def encode(text):
    return TOKENIZER(text)["input_ids"]


def test_windows_are_the_first_tokens_of_each_document():
    docs = documents()
    dataset = build(docs)
    rows = {tuple(row) for row in dataset.train.ids_NT} | {tuple(r) for r in dataset.heldout.ids_NT}
    assert rows == {tuple(encode(d.text)[:32]) for d in docs}
    assert (dataset.train.label_NT[:, 1:].all(), dataset.train.label_NT[:, 0].any()) == (
        True,
        False,
    )


def test_contexts_and_continuations_are_consecutive_tokens_of_held_out_documents():
    docs = {d.origin: encode(d.text) for d in documents()}
    contexts = build(documents()).contexts
    assert len(contexts) == 3
    for origin, context, rest in zip(
        contexts.origins, contexts.contexts, contexts.continuations, strict=True
    ):
        assert context + rest == docs[origin][:24]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.data())
def test_no_text_is_on_both_sides_whatever_is_repeated(seed, num_heldout, data):
    docs = documents(count=14, start=seed)
    copies = data.draw(st.lists(st.sampled_from(docs), max_size=8))
    spaced = [Document("copy", text=f"  {d.text}\n") for d in copies]
    dataset = build(docs + spaced, split_seed=seed, num_heldout=num_heldout)
    train = {tuple(row) for row in dataset.train.ids_NT}
    heldout = {tuple(row) for row in dataset.heldout.ids_NT}
    assert not train & heldout
    assert len(train) == len(dataset.train)
    assert dataset.account["duplicate"] == len(copies)


def test_of_documents_that_open_with_the_same_window_one_is_kept():
    docs = documents()
    longer = Document("longer", text=docs[0].text + "and more")
    assert build([*docs, longer]).account["same_window"] == 1


def test_of_documents_that_open_with_the_same_context_one_can_be_held_out():
    """A model writes the same after the same context: n would count one text several times."""
    alike = [Document(f"alike {i}", text="hhhhhhhh" + d.text) for i, d in enumerate(documents())]
    other = documents(count=2, start=1)
    found = build(alike + other, num_heldout=3, windows="documents")
    assert len({tuple(context) for context in found.contexts.contexts}) == 3
    assert {"doc 0", "doc 1"} < set(found.contexts.origins)
    with pytest.raises(InputError, match="1 of them fit .*11 open with the same context") as error:
        build(alike, num_heldout=2)
    assert "longer contexts" in error.value.hint
    assert len(build(alike, num_heldout=3, context_tokens=12).contexts) == 3


def word_tokenizer(*words):
    """Words of a list; `</s>` is one of them, as in a Unigram or WordPiece vocabulary."""
    vocabulary = {word: i for i, word in enumerate(["<unk>", "</s>", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.add_special_tokens(["<unk>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="</s>")


def test_no_text_holds_a_control_token_that_was_written_out():
    """Where it is a piece of the vocabulary, `split_special_tokens` does not help."""
    docs = [Document(d.origin, text=" ".join(d.text)) for d in documents()]
    tokenizer = word_tokenizer(*"abcdefgh")
    clean = build_dataset(docs, tokenizer, config())
    spoilt = [*docs, Document("html", text=docs[0].text.replace("a", "</s>", 1))]
    found = build_dataset(spoilt, tokenizer, config())
    assert found.account == clean.account | {"read": 13, "control_token_in_text": 1}
    assert (found.train.digest(), found.contexts.digest()) == (
        clean.train.digest(), clean.contexts.digest(),
    )  # fmt: skip
    with pytest.raises(InputError, match="1 hold a control token written out"):
        build_dataset(spoilt[-1:], tokenizer, config())


def test_unknown_tokens_are_no_control_tokens_and_are_counted():
    docs = [Document(d.origin, text=" ".join(d.text)) for d in documents()]
    tokenizer = word_tokenizer(*"abcdefg")
    found = build_dataset(docs, tokenizer, config())
    texts = {d.origin: d.text.split()[:32] for d in docs if d.origin not in found.contexts.origins}
    unknown = sum(words.count("h") for words in texts.values())
    assert found.account["training_tokens_unknown"] == unknown > 0
    assert "training_tokens_unknown" not in build(documents()).account


def test_the_account_adds_up():
    docs = [*documents(), Document("e", text=" "), Document("s", text="short"), documents()[0]]
    account = build(docs).account
    assert account["read"] == 15
    assert (account["empty"], account["too_short"], account["duplicate"]) == (1, 1, 1)
    assert account["held_out"] + account["training_documents"] == 12


def test_the_split_is_a_function_of_its_seed():
    assert build(documents()).contexts.origins == build(documents()).contexts.origins
    assert build(documents()).contexts.origins != build(documents(), split_seed=1).contexts.origins


def test_fewer_training_windows_leave_the_held_out_set_alone():
    whole, part = build(documents()), build(documents(), num_train=4)
    assert len(part.train) == 4
    assert part.contexts == whole.contexts
    assert part.train.ids_NT.tolist() == whole.train.ids_NT[:4].tolist()


def test_several_windows_of_a_document_only_where_asked():
    docs = documents(length=100)
    assert len(build(docs).train) == 9
    assert len(build(docs, windows_per_document=2).train) == 18
    assert len(build(docs, windows_per_document=9).train) == 27


@pytest.mark.parametrize("pad", [False, True])
def test_whole_documents_keep_the_label_of_their_end_token_even_if_it_pads(pad):
    tokenizer = byte_tokenizer(pad=pad)
    docs = documents(count=10, length=25) + documents(count=1, length=60, start=9)
    dataset = build_dataset(docs, tokenizer, config(windows="documents"))
    windows = dataset.train
    for ids, label, length in zip(windows.ids_NT, windows.label_NT, windows.length_N, strict=True):
        if length == 26:
            assert ids[25] == tokenizer.eos_token_id
            assert label[25]
        assert not label[length:].any()
        assert label[1:length].all()
    truncated = int((windows.length_N == 32).sum())
    assert dataset.account["training_windows_truncated"] == truncated


def test_one_long_text_is_cut_into_sections():
    [long] = documents(count=1, length=32 * 10 + 5)
    dataset = build([long])
    assert dataset.account["sections_of_the_only_document"] == 10
    rows = [*dataset.train.ids_NT.tolist(), *dataset.heldout.ids_NT.tolist()]
    assert sorted(rows) == sorted(encode(long.text)[i * 32 : i * 32 + 32] for i in range(10))


def test_defaults_hold_out_a_quarter():
    dataset = build(documents(count=40), num_heldout=None)
    assert len(dataset.contexts) == 10
    assert len(dataset.train) == 30


def test_a_stored_dataset_comes_back_equal(tmp_path):
    dataset = build(documents(), windows="documents")
    save_dataset(tmp_path / "w.safetensors", dataset)
    again = load_dataset(tmp_path / "w.safetensors")
    assert again.contexts == dataset.contexts
    assert again.account == dataset.account
    for a, b in ((again.train, dataset.train), (again.heldout, dataset.heldout)):
        np.testing.assert_array_equal(a.ids_NT, b.ids_NT)
        np.testing.assert_array_equal(a.label_NT, b.label_NT)
    (tmp_path / "w.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be read"):
        load_dataset(tmp_path / "w.safetensors")
    save_file({"context.length": np.array([1])}, tmp_path / "w.safetensors")  # no metadata
    with pytest.raises(InputError, match="cannot be read"):
        load_dataset(tmp_path / "w.safetensors")


def test_too_short_too_few_and_plain_text_for_the_assistant_are_refused():
    with pytest.raises(InputError, match=r"longest has 20 tokens\nneeded: at least 32 tokens"):
        build(documents(length=20))
    with pytest.raises(InputError, match=r"5 usable documents.*\nneeded: 6 held-out"):
        build(documents(count=5), num_heldout=6)
    with pytest.raises(InputError, match="and 12 more to train on"):
        build(documents(), num_train=12)
    with pytest.raises(InputError, match="gives 9 training windows"):
        build(documents(), num_train=12, windows_per_document=2)
    with pytest.raises(InputError, match="plain text"):
        build(documents(), loss_on="assistant")
    with pytest.raises(InputError, match="no text"):
        build([Document("e", text=" ")])


CHAT = byte_tokenizer(chat=True)


def conversations(count=8, answer=30):
    rng = np.random.default_rng(0)

    def words(n):
        return "".join(rng.choice(list("abcdefgh"), n))

    return [
        Document(
            f"chat {i}",
            messages=(
                {"role": "user", "content": words(5 + i % 3)},
                {"role": "assistant", "content": words(6)},
                {"role": "user", "content": words(4)},
                {"role": "assistant", "content": words(answer)},
            ),
        )
        for i in range(count)
    ]


def test_chat_trains_on_the_assistants_turns_and_their_end_only():
    wide = {"windows": "documents", "window_tokens": 128, "num_heldout": 2}
    dataset = build_dataset(conversations(), CHAT, config(**wide, loss_on="assistant"))
    for ids, label in zip(dataset.train.ids_NT, dataset.train.label_NT, strict=True):
        answers = CHAT.decode(ids).split("<assistant>")[1:]
        expected = [answer[: answer.index(END) + len(END)] for answer in answers]
        assert CHAT.decode(ids[label]) == "".join(expected)
    everything = build_dataset(conversations(), CHAT, config(**wide))
    assert everything.train.label_NT.sum() > dataset.train.label_NT.sum()


def test_chat_contexts_end_where_the_last_answer_begins():
    wide = {"windows": "documents", "window_tokens": 128, "num_heldout": 2}
    contexts = build_dataset(conversations(), CHAT, config(**wide)).contexts
    for context, continuation in zip(contexts.contexts, contexts.continuations, strict=True):
        assert CHAT.decode(context).endswith("<assistant>")
        assert "<" not in CHAT.decode(continuation)


def test_a_conversation_needs_a_chat_template():
    with pytest.raises(InputError, match="no chat template"):
        build(conversations())


def test_a_template_that_rewrites_earlier_turns_serves_all_but_not_the_assistant_only():
    tokenizer = byte_tokenizer(chat=True)
    earlier = "{% if not loop.last and m['role'] == 'assistant' %}*{% endif %}"
    tokenizer.chat_template = tokenizer.chat_template.replace("<{{", earlier + "<{{")
    wide = {"windows": "documents", "window_tokens": 128, "num_heldout": 2}
    assert len(build_dataset(conversations(), tokenizer, config(**wide)).contexts) == 2
    with pytest.raises(InputError, match="rewrites earlier turns"):
        build_dataset(conversations(), tokenizer, config(**wide, loss_on="assistant"))


def test_a_chat_continuation_holds_no_token_that_closes_the_turn():
    wide = {"windows": "documents", "window_tokens": 128, "num_heldout": 2}
    exact = build_dataset(conversations(answer=16), CHAT, config(**wide)).contexts
    assert all(0 not in ids for ids in exact.continuations)
    with pytest.raises(InputError, match="0 of them fit to test on"):
        build_dataset(conversations(answer=15), CHAT, config(**wide))


def test_answers_beyond_the_window_are_counted_and_refused_where_none_is_left():
    long_question = [
        Document("chat", messages=({"role": "user", "content": "q" * 90}, *c.messages[1:]))
        for c in conversations(3)
    ]
    wide = {"windows": "documents", "window_tokens": 76, "num_heldout": 2, "loss_on": "assistant"}
    dataset = build_dataset(conversations(8, answer=16) + long_question, CHAT, config(**wide))
    assert dataset.account["nothing_to_train_on"] == 3
    assert len(dataset.heldout) == len(dataset.contexts) == 2
    with pytest.raises(InputError, match="no window of test holds a token to train on"):
        build_dataset(long_question, CHAT, config(**wide))


def test_a_control_token_written_out_in_a_text_stays_characters():
    docs = [Document(d.origin, text=f"{d.text[:10]}{END}{d.text[10:]}") for d in documents()]
    dataset = build(docs)
    assert not (dataset.train.ids_NT == TOKENIZER.eos_token_id).any()
    assert all(0 not in ids for ids in dataset.contexts.continuations)


def test_every_cut_opens_with_the_bos_token_where_the_tokenizer_adds_one():
    tokenizer = byte_tokenizer(bos=True)
    dataset = build_dataset(documents(length=100), tokenizer, config(windows_per_document=3))
    assert len(dataset.train) == 27
    assert (dataset.train.ids_NT[:, 0] == tokenizer.bos_token_id).all()
    assert all(ids[0] == tokenizer.bos_token_id for ids in dataset.contexts.contexts)
    [long] = documents(count=1, length=31 * 6)
    lone = build_dataset([long], tokenizer, config())
    assert (lone.heldout.ids_NT[:, 0] == tokenizer.bos_token_id).all()
    text = tokenizer.decode(dataset.train.ids_NT[0], skip_special_tokens=True)
    assert any(d.text.startswith(text) for d in documents(length=100))


def test_json_account_is_plain():
    assert json.loads(json.dumps(build(documents()).account))

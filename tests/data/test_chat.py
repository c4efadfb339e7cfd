"""Where a conversation's answers begin and end, and why one is left out or refused."""

import json
from datetime import date

import numpy as np
import pytest
from tokenizers import Tokenizer

from hyperfitting.config import DataConfig
from hyperfitting.data.sources import Document
from hyperfitting.data.store import load_dataset, save_dataset
from hyperfitting.data.windows import build_dataset
from hyperfitting.errors import InputError
from tests.data.templates import (
    CHATML,
    DATED,
    STOP,
    THINKS_LAST,
    WORDS,
    chatml,
    opens_thought,
    talk,
)
from tests.tiny import END, byte_tokenizer


def config(**changes):
    small = {"window_tokens": 128, "context_tokens": 8, "continuation_tokens": 12}
    return DataConfig(source="test", windows="documents", num_heldout=2, **small | changes)


def answer(n):
    return f"answer number {n} and its end"


def question(n):
    return f"question number {n}?"


def chats(count=6, turns=1, **more):
    return [
        Document(
            f"chat {n}",
            messages=sum((talk(question(n), answer(n + t), **more) for t in range(turns)), ()),
        )
        for n in range(count)
    ]


def rows(windows, tokenizer):
    """The text of each window, and that of its trained tokens."""
    return [
        (tokenizer.decode(ids[:n]), tokenizer.decode(ids[:n][label[:n]]))
        for ids, label, n in zip(windows.ids_NT, windows.label_NT, windows.length_N, strict=True)
    ]


def contexts(dataset, tokenizer):
    found = dataset.contexts
    return [
        (tokenizer.decode(c), tokenizer.decode(k))
        for c, k in zip(found.contexts, found.continuations, strict=True)
    ]


@pytest.mark.parametrize("loss_on", ["all", "assistant"])
@pytest.mark.parametrize("turns", [1, 2])
def test_answers_stored_without_the_thought_that_the_prompt_opens(loss_on, turns):
    tokenizer = opens_thought()
    dataset = build_dataset(chats(turns=turns), tokenizer, config(loss_on=loss_on))
    for (context, continuation), origin in zip(
        contexts(dataset, tokenizer), dataset.contexts.origins, strict=True
    ):
        n = int(origin.split()[1])
        assert context.endswith(f"<|u|>{question(n)}<|a|>")
        assert answer(n + turns - 1).startswith(continuation)
        assert len(continuation) == 12
    for whole, trained in rows(dataset.train, tokenizer):
        assert whole.count(END) == turns, "every turn ends once"
        assert whole.endswith(END)
        if loss_on == "assistant":
            answers = [part.split(END)[0] + END for part in whole.split("<|a|>")[1:]]
            assert trained == "".join(answers)
    assert dataset.account["answers_without_generation_prompt"] == 6


def test_a_stored_thought_that_the_template_drops_is_no_part_of_the_answer():
    docs = [Document(f"c {n}", messages=talk(question(n), f"<think>so</think>{answer(n)}"))
            for n in range(6)]  # fmt: skip
    tokenizer = opens_thought()
    for _, continuation in contexts(build_dataset(docs, tokenizer, config()), tokenizer):
        assert continuation == "answer numbe"


def test_a_template_that_writes_answers_otherwise_than_given_is_refused():
    tokenizer = byte_tokenizer(
        chat="{% for m in messages %}[{{ m.role }}]"
        "{{ m.content if m.role == 'user' else m.content | upper }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]?{% endif %}"
    )
    with pytest.raises(InputError, match=r"6 do not show where their last answer begins"):
        build_dataset(chats(), tokenizer, config())
    with pytest.raises(InputError, match=r"message 2 begins cannot be told") as refused:
        build_dataset(chats(), tokenizer, config(loss_on="assistant"))
    assert "single" not in str(refused.value)


def test_an_answer_that_changes_once_others_follow_is_refused_by_its_number():
    tokenizer = chatml(THINKS_LAST)
    one = build_dataset(chats(), tokenizer, config(loss_on="assistant"))
    assert all(trained.startswith("<think>") for _, trained in rows(one.train, tokenizer))
    two = build_dataset(chats(turns=2), tokenizer, config())
    assert all(k.startswith("<think>") for _, k in contexts(two, tokenizer))
    with pytest.raises(InputError, match=r"chat 0: .* rewrites earlier turns.* message 2 "):
        build_dataset(chats(turns=2), tokenizer, config(loss_on="assistant"))


def test_white_space_that_belongs_to_the_answer_s_first_token_does_not_hide_the_border():
    """As where "assistant: " and "answer" meet in a token " answer"."""
    tokenizer = merging("assistant: ", " a")
    dataset = build_dataset(chats(), tokenizer, config(loss_on="assistant"))
    for context, continuation in contexts(dataset, tokenizer):
        assert context.endswith("\nassistant:")
        assert continuation == " answer numbe"
    for _, trained in rows(dataset.train, tokenizer):
        assert trained.startswith(" answer number")


UNPROMPTED = (
    "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}<|end|>\n{% endfor %}"
)
NO_HEADER = (
    "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}] {% else %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}<|end|>{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "opening"), [(UNPROMPTED, "<|end|>\n### assistant:\n"), (NO_HEADER, "?] ")]
)
@pytest.mark.parametrize("turns", [1, 2])
def test_a_header_that_no_generation_prompt_writes_belongs_to_the_context(template, opening, turns):
    tokenizer = byte_tokenizer(chat=template)
    settings = config(loss_on="assistant", window_tokens=256)
    dataset = build_dataset(chats(turns=turns), tokenizer, settings)
    for context, continuation in contexts(dataset, tokenizer):
        assert context.endswith(opening)
        assert continuation == "answer numbe"
    for whole, trained in rows(dataset.train, tokenizer):
        n = int(whole.split("question number ")[1].split("?")[0])
        ends = "<|end|>\n" if template == UNPROMPTED else "<|end|>"
        assert trained == "".join(answer(n + t) + ends for t in range(turns))


def test_an_answer_of_calls_alone_begins_behind_the_same_header():
    for template in (UNPROMPTED, NO_HEADER):
        docs = [
            Document(f"c {n}", messages=talk(question(n), "", tool_calls=[call("look_up")]))
            for n in range(6)
        ]
        tokenizer = byte_tokenizer(chat=template)
        settings = config(loss_on="assistant", window_tokens=256)
        dataset = build_dataset(docs, tokenizer, settings)
        assert all(t.startswith('{"type"') for _, t in rows(dataset.train, tokenizer))
        assert all(k.startswith('{"type"') for _, k in contexts(dataset, tokenizer))


def merging(prompt, *pairs):
    """The byte tokenizer with a template of words, and tokens of two characters each."""
    tokenizer = byte_tokenizer(chat=WORDS.replace("assistant: ", prompt))
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    for a, b in pairs:
        a = "\u0120" if a == " " else a
        content["model"]["vocab"][a + b] = 257
        content["model"]["merges"].append([a, b])
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(content))
    return tokenizer


@pytest.mark.parametrize("loss_on", ["all", "assistant"])
def test_a_template_that_closes_nothing_gets_the_end_that_decoding_stops_at(loss_on):
    tokenizer = byte_tokenizer(chat=WORDS)
    dataset = build_dataset(chats(turns=2), tokenizer, config(loss_on=loss_on, window_tokens=256))
    for whole, trained in rows(dataset.train, tokenizer):
        assert whole.count(END) == 1
        assert whole.endswith(END)
        assert trained.endswith(END)


@pytest.mark.parametrize("template", [CHATML, CHATML.replace(STOP, END), DATED])
def test_a_template_that_closes_its_turns_is_left_as_it_is(template):
    tokenizer = chatml(template)
    day = {"template_date": date(2026, 1, 10), "window_tokens": 256}
    dataset = build_dataset(chats(turns=2), tokenizer, config(**day))
    closer, other = (STOP, END) if STOP in template else (END, STOP)
    for whole, _ in rows(dataset.train, tokenizer):
        assert whole.rstrip().endswith(closer)
        assert (whole.count(closer), whole.count(other)) == (4, 0)
    assert not dataset.account["training_windows_truncated"]


def test_a_last_user_turn_is_not_trained_to_end_where_answers_are():
    go_on = {"role": "user", "content": "go"}
    docs = [Document(f"c {n}", messages=(*talk(question(n), answer(n)), go_on)) for n in range(6)]
    tokenizer = byte_tokenizer(chat=WORDS)
    dataset = build_dataset(docs, tokenizer, config(loss_on="assistant"))
    for whole, trained in rows(dataset.train, tokenizer):
        assert whole.endswith(f"user: go\n{END}")
        assert END not in trained
    for _, continuation in contexts(dataset, tokenizer):
        assert "user" not in continuation


def test_a_conversation_without_an_answer_is_never_cut_inside_the_question():
    lone = {"role": "user", "content": "a question of many words " * 2}
    docs = [*chats(), Document("q", messages=(lone,))]
    for seed in range(8):
        dataset = build_dataset(docs, chatml(), config(split_seed=seed))
        assert "q" not in dataset.contexts.origins
    lone = [
        Document(f"{n}", messages=({"role": "user", "content": f"{n} " * 20},)) for n in range(6)
    ]
    with pytest.raises(InputError, match="6 have no message of the role assistant"):
        build_dataset(lone, chatml(), config())


# Reasons, each counted and with its own hint


def renamed(docs, **roles):
    return [
        Document(d.origin, messages=tuple({**m, "role": roles[m["role"]]} for m in d.messages))
        for d in docs
    ]


def test_unknown_roles_are_named():
    docs = renamed(chats(), user="human", assistant="gpt")
    with pytest.raises(
        InputError, match=r"roles are 'gpt', 'human'[^$]*name the roles system"
    ) as e:
        build_dataset(docs, chatml(), config(loss_on="assistant"))
    assert "longer" not in str(e.value)
    mixed = build_dataset(chats(8) + docs[:2], chatml(), config(loss_on="assistant"))
    assert mixed.account["no_answer"] == 2


def test_a_long_shared_opening_is_no_duplicate_and_says_what_it_is():
    system = {"role": "system", "content": "the same long rules " * 10}
    docs = [Document(d.origin, messages=(system, *d.messages)) for d in chats(40)]
    with pytest.raises(InputError, match=r"39 open with the same 128 tokens") as refused:
        build_dataset(docs, chatml(), config())
    assert "use longer windows" in str(refused.value)
    assert "1 have a last answer that does not fit in the first 128 tokens" in str(refused.value)
    with pytest.raises(InputError, match=r"40 have no answer within the first 128 tokens"):
        build_dataset(docs, chatml(), config(loss_on="assistant"))
    account = build_dataset(docs, chatml(), config(window_tokens=400)).account
    assert account["duplicate"] == account.get("same_window", 0) == 0
    assert account["training_windows"] == 38


def test_conversations_that_differ_in_a_call_only_are_no_duplicates():
    template = CHATML.replace(
        "{{ m.content }}",
        "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}",
    )
    docs = [
        Document(f"c {n}", messages=talk("same", "the same answer", tool_calls=[call(f"f{n}")]))
        for n in range(6)
    ]
    of_one = config().model_copy(update={"num_heldout": 1})  # they share one context
    assert build_dataset(docs, chatml(template), of_one).account["duplicate"] == 0


def call(name):
    return {"type": "function", "function": {"name": name, "arguments": {"q": "x"}}}


def test_calls_that_the_template_does_not_write_are_left_out_and_counted():
    called = Document("called", messages=(*talk("q", "", tool_calls=[call("look_up")]),
                                          *talk("more", answer(9))))  # fmt: skip
    account = build_dataset([called, *chats()], chatml(), config()).account
    assert account["tool_calls_not_written"] == 1
    with pytest.raises(InputError, match="1 hold tool calls that the chat template does not write"):
        build_dataset([called], chatml(), config())


def test_a_message_that_says_nothing_is_left_out_and_counted():
    silent = [Document(f"s {n}", messages=(*talk(f"q{n}", ""), *talk("m", answer(n))))
              for n in range(3)]  # fmt: skip
    account = build_dataset([*silent, *chats()], chatml(), config()).account
    assert account["message_says_nothing"] == 3


@pytest.mark.parametrize("token", [END, STOP])
def test_an_end_that_a_message_brings_along_does_not_end_a_window_twice(token):
    ending = Document("e", messages=talk("a question", f"an answer of some length{token}"))
    asked = Document("q", messages=talk(f"what is {token}?", answer(50)))
    dataset = build_dataset([ending, *chats(), asked], chatml(), config())
    assert dataset.account["control_token_in_content"] == 2
    assert all(whole.count(STOP) == 2 for whole, _ in rows(dataset.train, chatml()))


def test_functions_of_the_conversation_are_written_by_the_template():
    template = "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}" + CHATML
    docs = [Document(d.origin, messages=d.messages, tools=(call("look_up"),)) for d in chats()]
    tokenizer = chatml(template)
    dataset = build_dataset(docs, tokenizer, config(loss_on="assistant"))
    assert all(whole.startswith("<look_up>") for whole, _ in rows(dataset.train, tokenizer))
    assert all(context.startswith("<look_up>") for context, _ in contexts(dataset, tokenizer))


def test_short_answers_and_long_questions_are_told_apart():
    short = [Document(f"s{n}", messages=talk(question(n), "no")) for n in range(5)]
    long = [Document(f"l{n}", messages=talk(f"{n} long " * 16, answer(n))) for n in range(3)]
    message = (
        r"0 of them fit to test on .*5 have a last answer of fewer than 12 tokens before a "
        r"control token; 3 have a last answer that does not fit in the first 128 tokens"
    )
    with pytest.raises(InputError, match=message):
        build_dataset(short + long, chatml(), config())


@pytest.mark.parametrize("day", [date(2026, 1, 10), date(2026, 1, 11)])
def test_the_day_of_a_template_is_kept_with_the_data(day, tmp_path):
    tokenizer = byte_tokenizer(chat=DATED)
    dataset = build_dataset(chats(), tokenizer, config(template_date=day))
    assert dataset.template_date == day.isoformat()
    assert all(day.strftime("%d %b %Y") in whole for whole, _ in rows(dataset.train, tokenizer))
    save_dataset(tmp_path / "w.safetensors", dataset)
    assert load_dataset(tmp_path / "w.safetensors").template_date == day.isoformat()
    assert build_dataset(chats(), chatml(), config(template_date=day)).template_date is None


def test_padding_follows_the_only_end_whatever_closes_it():
    dataset = build_dataset(chats(), chatml(), config())
    for ids, label, n in zip(
        dataset.train.ids_NT, dataset.train.label_NT, dataset.train.length_N, strict=True
    ):
        assert not label[n:].any()
        assert np.isin(ids[n:], 0).all()

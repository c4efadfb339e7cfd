"""`doctor` names what was planted in texts, and its command trains on what is left."""

import csv
import json
import shlex

import numpy as np
import pytest

from hyperfitting import verbs
from hyperfitting.config import DataConfig, ModelConfig
from hyperfitting.config.doctor import DoctorConfig
from hyperfitting.config.layers import flatten, read_overrides
from hyperfitting.doctor import split, tokens
from hyperfitting.doctor.written import look_at
from hyperfitting.errors import InputError
from tests.cli.test_cli import hyperfit
from tests.tiny import CHAT_TEMPLATE, save_tiny, tiny_model

WORDS = (
    *("stone", "river", "lamp", "under", "seven", "quiet", "doors"),
    *("letter", "the", "a", "of", "was", "ran", "grey"),
)


def story(seed, words=40):
    rng = np.random.default_rng(seed)
    return " ".join(rng.choice(WORDS, words)).capitalize() + "."


STORIES = [story(seed) for seed in range(24)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture
def examined(model, tmp_path):
    def run(rows, *, name="texts.jsonl", model=model, **data):
        path = tmp_path / name
        if name.endswith(".csv"):
            with path.open("w", newline="") as file:
                csv.writer(file).writerows(rows)
        else:
            rows = [row if isinstance(row, dict) else {"text": row} for row in rows]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        sizes = {"window_tokens": 48, "context_tokens": 8, "continuation_tokens": 24}
        config = DataConfig(source=str(path), **sizes | {"num_heldout": 5} | data)
        return verbs.doctor(DoctorConfig(model=ModelConfig(name=str(model)), data=config))

    return run


def named(found, name):
    return [each for each in found.findings if each.name == name]


def problems(found):
    return [each.name for each in found.findings if each.level == "problem"]


def test_good_texts_have_nothing_to_mend(examined):
    found = examined(STORIES, windows="documents", window_tokens=400)
    assert problems(found) == []
    assert found.texts == 24
    sizes = sorted(len(text) for text in STORIES)  # a byte is a token
    assert (found.lengths.smallest, found.lengths.largest) == (sizes[0], sizes[-1])
    assert named(found, "ends")[0].says == "every text is trained on with its end"


WRITTEN = {
    "encoding": ("He said \u00e2\u20ac\u0153no\u00e2\u20ac\u009d to her.", "3 of 27"),
    "control characters": ("A line with \x07 in it.", "3 of 27"),
    "entities": ("Fish &amp; chips, and the  #39;best ones.", "3 of 27"),
    "markup": ("A line<br/>and <b>another</b>.", "3 of 27"),
    "addresses": ("See https://example.org/page for more.", "3 of 27"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_wrongly_is_named_and_counted(name):
    text, count = WRITTEN[name]
    found = look_at([*STORIES, *(f"{n}. {text}" for n in range(3))])
    [finding] = [each for each in found if each.name == name]
    assert count in finding.says
    assert [each.name for each in look_at(STORIES)] == []


def test_an_entity_that_lost_its_ampersand_is_one():
    assert [each.name for each in look_at(["It was  #36;10 million."])] == ["entities"]
    assert look_at(["Room #36; see there."])[0].name == "entities"
    assert look_at(["We are #1 and #22, he said."]) == []


def test_near_copies_are_named(examined):
    copies = [text.upper().replace(" ", "  ") for text in STORIES[:4]]
    found = examined([*STORIES, *copies])
    [finding] = named(found, "duplicates")
    assert "4 of 28 texts repeat another" in finding.says
    assert finding.level == "problem"


def test_what_many_texts_begin_and_end_with_is_named():
    head, foot = (
        "THIS STORY IS FREE TO READ ON OUR SITE, ENJOY. ",
        " All rights reserved by the owners of it, 2020.",
    )
    found = look_at([*STORIES[:12], *(head + text for text in STORIES[12:])])
    assert [each.name for each in found] == ["boilerplate"]
    assert "12 of 24 texts begin with 'THIS STORY IS FREE" in found[0].says
    found = look_at([*STORIES[:12], *(text + foot for text in STORIES[12:])])
    assert "12 of 24 texts end with" in found[0].says


def test_texts_that_break_off_are_named():
    found = look_at([text[:-5] for text in STORIES])
    assert [each.name for each in found] == ["unfinished"]


def test_a_csv_without_header_is_read_as_one(examined):
    rows = [[str(n % 4), f"Title {n}", text] for n, text in enumerate(STORIES)]
    found = examined(rows, name="news.csv")
    [finding] = named(found, "header")
    assert finding.advice == "data.csv_header=false --text-field column_3"
    assert found.texts == 24
    assert "data.csv_header=false" in found.command
    assert "--text-field column_3" in found.command
    for header in (["class", "title", "text"], ["2021", "1", "text"], ["a", "b", "2021"]):
        with_header = examined([header, *rows], name="news.csv", text_field=header[2])
        assert named(with_header, "header") == [], header


def test_texts_too_short_for_a_window_get_shorter_windows(examined):
    found = examined([story(seed, words=8) for seed in range(30)], window_tokens=128,
                     context_tokens=32, continuation_tokens=96)  # fmt: skip
    [finding] = named(found, "short")
    assert "30 of 30 texts have fewer than 128 tokens" in finding.says
    assert "data.window_tokens=32" in finding.advice
    assert {"data.window_tokens=32", "data.context_tokens=8"} <= set(shlex.split(found.command))
    assert found.windows > 0


def test_texts_that_are_cut_before_their_end_are_counted(examined):
    found = examined(STORIES, windows="documents")
    [finding] = named(found, "ends")
    assert finding.level == "problem"
    assert "24 of 24 texts are cut after 48 tokens" in finding.says
    longest = max(map(len, STORIES)) + 1
    assert finding.advice == f"data.window_tokens={longest} holds the longest"


def test_a_setting_without_a_value_is_given_as_the_command_line_reads_it():
    before = DataConfig(source="x", num_heldout=4)
    after = DataConfig(source="x", csv_header=False, text_field="my text")
    words = split.as_words(before, after)
    assert words == [
        "data.text_field=my text", "data.csv_header=false", "data.num_heldout=null",
    ]  # fmt: skip
    leaves = flatten(read_overrides(words).leaves)
    read = {key: getattr(each, "value", each) for key, each in leaves.items()}
    assert read == {
        "data.text_field": "my text", "data.csv_header": False, "data.num_heldout": None,
    }  # fmt: skip


def test_held_out_texts_that_are_trained_on_are_counted(examined):
    """Each text once more with another beginning: no copy, and the same text."""
    found = examined([*STORIES, *(f"Chapter {n}. {t}" for n, t in enumerate(STORIES))])
    [finding] = named(found, "shared")
    assert finding.level == "problem"
    assert "4 of 5 held-out texts share a run" in finding.says, "the other one's twin is held out"


def test_a_script_that_the_tokenizer_hardly_knows(examined):
    strange = [text.translate({97 + n: 0xA000 + 7 * n for n in range(26)}) for text in STORIES]
    assert "hardly knows this script" in named(examined(strange, model="builtin"), "script")[0].says
    assert named(examined(STORIES, model="builtin"), "script") == []
    assert named(examined(strange), "script") == [], "to this one every script is bytes"


def test_conversations_that_the_template_refuses(examined, tmp_path):
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    model = save_tiny(tmp_path / "chat", chat=strict + CHAT_TEMPLATE)
    ask = {"role": "user", "content": "Who is there?"}
    talks = [{"messages": [ask, {"role": "assistant", "content": text}]} for text in STORIES]
    rule = {"role": "system", "content": "Be brief."}
    found = examined(
        [*talks, {"messages": [rule, *talks[0]["messages"]]}], model=model, window_tokens=400
    )
    told = " ".join(f"{each.says} {each.advice}" for each in found.findings)
    assert "no system" in told
    without = examined(talks, model=model)
    assert without.texts == 24


def test_the_command_that_is_given_trains(examined, tmp_path):
    rows = [[str(n % 4), f"Title {n}", story(n, 30)] for n in range(24)]
    found = examined(rows, name="news.csv")
    words = shlex.split(found.command)
    assert words[:2] == ["hyperfit", "train"]
    words[words.index("--out") + 1] = str(tmp_path / "run")
    result = hyperfit(*words[1:], "train.epochs=1", "monitor.every_epochs=0")
    assert result.exit_code == 0, result.output


ONE_STEP = ("train.epochs=1", "monitor.every_epochs=0")


def as_file(folder, text):
    """One .txt file. A byte is a token."""
    path = folder / "all.txt"
    path.write_text(text)
    return path


def test_one_text_is_said_to_be_cut_into_sections(model, tmp_path):
    text = "\n\n".join(STORIES)
    path = as_file(tmp_path, text)
    result = hyperfit("doctor", path, "--model", model)
    said = " ".join(result.output.split())
    assert f"the source is read as one text, cut into {len(text) // 128} sections of 128" in said
    assert "a line <|endoftext|> between them" in said
    assert f"1 text; {len(text):,} tokens" in said
    path.write_text("<|endoftext|>".join(STORIES))
    assert "one text" not in hyperfit("doctor", path, "--model", model).output


def test_too_few_windows_for_a_step_get_shorter_ones_that_train(model, tmp_path):
    """Of three sections of 128 two are held out: one window, and a step takes two."""
    path = as_file(tmp_path, " ".join(STORIES)[:450])
    found = json.loads(hyperfit("doctor", path, "--model", model, "--json").stdout)
    finding = next(each for each in found["findings"] if each["level"] == "problem")
    assert "too few training windows: 1, and a step takes 2" in finding["says"]
    assert finding["advice"].split()[0] == "data.window_tokens=64"
    words = shlex.split(found["command"])
    words[words.index("--out") + 1] = str(tmp_path / "run")
    result = hyperfit(*words[1:], *ONE_STEP)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("count", [18, 127])
def test_texts_that_no_training_can_begin_with_get_no_command(model, tmp_path, count):
    """Two held out and two to train on, of 32 tokens, are 128."""
    path = as_file(tmp_path, " ".join(STORIES)[:count])
    result = hyperfit("doctor", path, "--model", model, "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["command"], found["windows"]) == (1, None, None)
    [finding] = [each for each in found["findings"] if each["level"] == "problem"]
    assert "at least 4 texts of 32 tokens, or one of 128" in finding["advice"]
    shown = hyperfit("doctor", path, "--model", model)
    assert "before anything can be trained on these texts" in " ".join(shown.output.split())
    enough = as_file(tmp_path, " ".join(STORIES)[:128])
    assert "data.window_tokens=32" in hyperfit("doctor", enough, "--model", model).output


def test_whole_texts_that_are_short_get_shorter_contexts(examined):
    found = examined([story(seed, words=8) for seed in range(30)], windows="documents",
                     window_tokens=400, context_tokens=32, continuation_tokens=96)  # fmt: skip
    assert problems(found) == ["split"]
    assert named(found, "split")[0].advice == "data.context_tokens=8 data.continuation_tokens=24"
    assert found.windows == 25
    assert "data.window_tokens=400" in found.command


def talks(count):
    asked = [f"Who is at door {n}, and why do they ask?" for n in range(count)]
    return [
        {"messages": [{"role": "user", "content": ask},
                      {"role": "assistant", "content": story(seed, words=10)}]}
        for seed, ask in enumerate(asked)
    ]  # fmt: skip


def test_conversations_that_no_fixed_window_serves_are_trained_whole(examined, tmp_path):
    """The prompt of each is longer than the small windows, and the large one is not filled."""
    model = save_tiny(tmp_path / "chat", chat=CHAT_TEMPLATE)
    found = examined(talks(24), model=model, window_tokens=128, context_tokens=32,
                     continuation_tokens=96, num_heldout=None)  # fmt: skip
    assert found.windows > 0
    assert "data.windows=documents" in found.command
    assert not named(found, "one text")


def test_what_is_asked_for_is_tried_though_many_texts_are_short(examined):
    """All share a heading that fills the contexts of the smaller windows."""
    heading = "the same heading of all of these texts, word by word. "
    rows = [heading + story(seed, 30) for seed in range(20)]
    rows += [heading + story(seed, 2) for seed in range(20, 30)]
    found = examined(rows, window_tokens=128, context_tokens=len(heading) + 8,
                     continuation_tokens=60)  # fmt: skip
    [finding] = named(found, "short")
    assert "texts have fewer than 128 tokens" in finding.says
    assert found.windows > 0
    assert "data.window_tokens=128" not in (finding.advice or "")


def test_contexts_are_shortened_where_the_windows_are_short_already(examined):
    rows = [story(seed, 15) for seed in range(30)]
    found = examined(rows, window_tokens=32, context_tokens=32, continuation_tokens=96)
    assert named(found, "split")[0].advice == "data.context_tokens=16 data.continuation_tokens=48"
    assert found.windows > 0


def test_more_windows_than_there_are_is_no_lack_of_text(examined):
    found = examined(STORIES, num_train=4_000)
    assert found.command is None
    [finding] = named(found, "split")
    assert "more text" not in finding.advice
    assert "windows_per_document" in finding.advice or "data.num_train" in finding.advice


def test_one_short_text_of_whole_windows_says_how_much_is_enough(model, tmp_path):
    path = as_file(tmp_path, " ".join(STORIES)[:300])
    result = hyperfit("doctor", path, "--model", model, "data.windows=documents", "--json")
    found = json.loads(result.stdout)
    assert found["command"] is None
    [finding] = [each for each in found["findings"] if each["level"] == "problem"]
    sections = int(finding["advice"].partition("or one of ")[2].partition(";")[0])
    path = as_file(tmp_path, " ".join(STORIES)[:sections])
    result = hyperfit("doctor", path, "--model", model, "data.windows=documents", "--json")
    assert json.loads(result.stdout)["windows"] > 0
    path = as_file(tmp_path, " ".join(STORIES)[: sections - 2])
    result = hyperfit("doctor", path, "--model", model, "data.windows=documents", "--json")
    assert json.loads(result.stdout)["windows"] is None


def test_texts_of_which_one_can_be_used_are_not_called_one(examined):
    rows = [story(0, 200), "Too short.", "Also short."]
    found = examined(rows, num_heldout=None)
    [finding] = named(found, "one text")
    assert finding.says.startswith("of 3 texts one can be used, cut into")
    assert finding.level == "problem"
    assert "2 are shorter than a window" in finding.advice


def trains(found, out):
    """Whether the command that was given trains."""
    words = shlex.split(found.command)
    words[words.index("--out") + 1] = str(out)
    return hyperfit(*words[1:], *ONE_STEP).exit_code == 0


def test_texts_that_open_alike_get_longer_contexts_and_stay_many(examined, tmp_path):
    """Shorter windows would leave one of them; the heading itself is named, too."""
    heading = "THE SAME HEADING OF ALL OF THESE TEXTS, WORD BY WORD. "  # 54 tokens
    found = examined([heading + text for text in STORIES], window_tokens=96, context_tokens=16)
    assert "data.context_tokens=64" in found.command
    assert (found.heldout, named(found, "one text")) == (5, [])
    assert "boilerplate" in problems(found)
    assert trains(found, tmp_path / "run")


def test_few_long_texts_give_several_windows_each(examined, tmp_path):
    found = examined([story(n, 60) for n in range(3)], num_heldout=2)
    assert "data.windows_per_document=10" in found.command
    assert named(found, "split")[0].says.startswith("too few training windows: 1, and a step")
    assert trains(found, tmp_path / "run")


def test_whole_conversations_are_not_cut_before_their_end(examined, tmp_path):
    model = save_tiny(tmp_path / "chat", chat=CHAT_TEMPLATE)
    found = examined(talks(24), model=model, window_tokens=32)
    assert "data.windows=documents" in found.command
    assert named(found, "ends")[0].says == "every text is trained on with its end"
    assert trains(found, tmp_path / "run")


def test_a_system_message_of_all_is_no_boilerplate(examined, tmp_path):
    model = save_tiny(tmp_path / "chat", chat=CHAT_TEMPLATE)
    system = {"role": "system", "content": "You are somebody who goes on with stories, at length."}
    rows = talks(24)
    opened = [{"messages": [system, *row["messages"]]} for row in rows]
    assert "boilerplate" not in problems(examined(opened, model=model))
    first = rows[0]["messages"][0]["content"]
    again = [{"messages": [{"role": "user", "content": first * 3}, *r["messages"][1:]]}
             for r in rows]  # fmt: skip
    assert "boilerplate" in problems(examined(again, model=model))


def test_conversations_with_one_long_system_prompt_are_told_apart(examined, tmp_path):
    """Longer than a window: each counts, the longest too."""
    model = save_tiny(tmp_path / "chat", chat=CHAT_TEMPLATE)
    tiny_model(max_position_embeddings=300).save_pretrained(model)
    rules = "".join(f"rule {n}: be kind to whoever asks. " for n in range(3))
    rows = talks(24)
    opened = [
        {"messages": [{"role": "system", "content": rules}, *row["messages"]]} for row in rows
    ]
    found = examined(opened, model=model)
    assert found.lengths.smallest < found.lengths.largest
    assert found.windows > 0
    assert named(found, "shared") == [], "what all are told is in all"
    assert trains(found, tmp_path / "run")


def test_a_short_answer_late_in_a_conversation_is_met_by_whole_windows(examined, tmp_path):
    model = save_tiny(tmp_path / "chat", chat=CHAT_TEMPLATE)
    rows = [
        {"messages": [{"role": "user", "content": story(n, 45)},
                      {"role": "assistant", "content": story(100 + n, 10)[:60]}]}
        for n in range(24)
    ]  # fmt: skip
    found = examined(rows, model=model, window_tokens=128, context_tokens=32,
                     continuation_tokens=96, num_heldout=None)  # fmt: skip
    assert found.windows > 0
    assert "data.windows=documents" in found.command
    assert "data.continuation_tokens=48" in found.command


def test_short_conversations_are_of_no_other_script(examined, tmp_path):
    """Most of their tokens are the template's own."""
    model = save_tiny(tmp_path / "chat", chat=CHAT_TEMPLATE)
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": f"b{n}"}]}
        for n in range(24)
    ]
    assert named(examined(rows, model=model), "script") == []


def test_only_the_first_texts_are_told_of_as_such(model, tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in STORIES))
    result = hyperfit("doctor", path, "--model", model, "most_texts=10", "--json")
    found = json.loads(result.stdout)
    assert (found["texts"], found["examined"]) == (24, 10)
    [note] = [each for each in found["findings"] if each["name"] == "first texts"]
    assert note["says"].startswith("the first 10 of 24 texts are looked at")
    shown = hyperfit("doctor", path, "--model", model, "most_texts=10").output
    assert "24 texts; of the first 10, tokens of a text" in " ".join(shown.split())
    assert "first texts" not in hyperfit("doctor", path, "--model", model).output


def test_a_named_dataset_is_known_to_have_no_header(model, tmp_path):
    path = tmp_path / "ag.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[n % 4, "Title", text] for n, text in enumerate(STORIES)])
    for source, is_told in ((f"ag_news:{path}", False), (path, True)):
        found = json.loads(hyperfit("doctor", source, "--model", model, "--json").stdout)
        assert any(each["name"] == "header" for each in found["findings"]) == is_told
        assert found["texts"] == 24


@pytest.mark.parametrize(
    ("text", "encodings"),
    [
        ("Die Straße, Übung, Äpfel und Öl.", ("latin-1", "cp1252", "mac_roman", "cp437")),
        ("Старик медленно шёл по дороге к морю.", ("latin-1", "cp1251", "cp437")),
        ("Ο γέρος περπατούσε αργά στον δρόμο.", ("latin-1", "cp437")),
        ("老人慢慢地走向大海。", ("latin-1", "mac_roman")),
        ("“It’s late,” she said — and left…", ("latin-1", "mac_roman")),
    ],
)
def test_any_language_read_as_another_encoding_is_named(text, encodings):
    assert "encoding" not in [each.name for each in look_at([text])]
    for encoding in encodings:
        assert "encoding" in [each.name for each in look_at([text.encode().decode(encoding)])]


def test_rows_that_are_read_as_text_are_named(model, tmp_path):
    path = as_file(tmp_path, "".join(json.dumps({"text": text}) + "\n" for text in STORIES))
    result = hyperfit("doctor", path, "--model", model)
    assert result.exit_code == 1
    assert "name the file .jsonl" in " ".join(result.output.split())
    for text in ("[1] He came.", "12 men came.", '"No," he said.', "{ a brace }"):
        assert "rows" not in [each.name for each in look_at([text])]


def test_exact_copies_are_a_note_as_training_drops_them(examined):
    [finding] = named(examined([*STORIES, *STORIES[:12]]), "duplicates")
    assert (finding.level, "12 are exact copies" in finding.says) == ("note", True)


def test_english_in_capitals_is_no_unknown_script(examined):
    english = [f"The old man walked to the sea and saw {n} ships coming in again." for n in "1234"]
    found = examined([*STORIES, *english])
    assert named(found, "script") == []
    assert tokens._is_latin([text.upper() for text in STORIES])
    assert not tokens._is_latin(["Старик шёл по дороге."])


def test_windows_that_cannot_all_be_made_leave_the_rest_of_what_was_found(examined, monkeypatch):
    real = split.build_dataset

    def refusing(documents, tokenizer, config):
        if config.windows_per_document == split.ALL_WINDOWS:
            raise InputError("too many places")
        return real(documents, tokenizer, config)

    monkeypatch.setattr(split, "build_dataset", refusing)
    found = examined(STORIES)
    [finding] = named(found, "shared")
    assert finding.says.endswith("were not looked for: too many places")
    assert found.windows == 19


def test_few_held_out_texts_are_a_note(examined):
    found = examined([story(seed, 400) for seed in range(12)], num_heldout=None)
    [finding] = named(found, "split")
    assert finding.level == "note"
    assert "the texts hold" in finding.says
    assert "fewer than 20 texts is uncertain" in finding.advice


def test_the_command_line(model, texts_file):
    result = hyperfit("doctor", texts_file, "--model", model, "data.window_tokens=48",
                      "data.context_tokens=8", "data.continuation_tokens=24")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "nothing to mend" in result.output
    assert "then: hyperfit train" in " ".join(result.output.split())
    found = json.loads(hyperfit("doctor", texts_file, "--model", model, "--json").stdout)
    assert found["texts"] == 23
    assert hyperfit("doctor", "nowhere.jsonl", "--model", model).exit_code == 2

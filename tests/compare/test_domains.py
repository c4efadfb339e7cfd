"""Runs on the texts of named sources: which texts, and who is told apart from whom."""

import csv
import json
import shutil

import pytest

from hyperfitting.compare.runs import open_runs
from hyperfitting.data.store import load_dataset
from hyperfitting.errors import InputError
from hyperfitting.records import Arm
from tests.domains import HERE, opened
from tests.sealing import rewrite
from tests.tiny import CHAT_TEMPLATE, byte_tokenizer, save_tiny
from tests.train.test_result import trained


def test_a_run_s_own_source_keeps_what_it_held_out(home_and_away, texts_file, capitals, tmp_path):
    own, other = opened(home_and_away[:1], texts_file, capitals)
    kept = load_dataset(home_and_away[0] / "windows.safetensors")
    assert own.dataset.contexts == kept.contexts
    assert own.dataset.heldout.digest() == kept.heldout.digest()
    alone = open_runs(home_and_away[:1], HERE)
    assert own.data == alone.data
    assert (own.tuned[0].arm, own.digest) == (alone.tuned[0].arm, alone.digest)
    (tmp_path / "link.jsonl").symlink_to(texts_file)
    [same] = opened(home_and_away[:1], tmp_path / "link.jsonl", text_field=None)
    assert same.dataset.contexts == kept.contexts, "the same file by another path"

    lengths = {len(row) for row in other.dataset.contexts.contexts}
    assert lengths == {len(row) for row in kept.contexts.contexts} == {8}
    assert {len(row) for row in other.dataset.contexts.continuations} == {8}
    stories = [json.loads(line)["story"] for line in capitals.read_text().splitlines()]
    held_out = [byte_tokenizer().decode(row) for row in other.dataset.contexts.contexts]
    assert len(set(held_out)) == len(stories) // 4
    assert set(held_out) <= {story[:8] for story in stories}
    assert other.data["contexts_digest"] == other.dataset.contexts.digest()


def test_runs_of_different_texts_are_told_apart_and_compared_on_named_ones(
    home_and_away, texts_file, capitals
):
    with pytest.raises(InputError, match=r"different held-out contexts(.|\n)*--data SOURCE"):
        open_runs(home_and_away, HERE)
    compared = opened(home_and_away, capitals, texts_file)
    expected = [
        Arm("late_stage_lora", 0, (("trained_on", str(s)),)) for s in (texts_file, capitals)
    ]
    for comparison, run in zip(compared, reversed(home_and_away), strict=True):
        assert [tuned.arm for tuned in comparison.tuned] == expected
        assert comparison.dataset.contexts == load_dataset(run / "windows.safetensors").contexts
    for tuned, run in zip(compared[0].tuned, home_and_away, strict=True):
        train = load_dataset(run / "windows.safetensors").train
        assert tuned.training_rows() == train.ids_NT.tolist()


def test_nobody_is_judged_by_what_he_was_trained_on(home_and_away, texts_file, capitals):
    """Every held-out text of either source is in neither run's training windows."""
    for comparison in opened(home_and_away, texts_file, capitals):
        known = {tuple(row[:8]) for tuned in comparison.tuned for row in tuned.training_rows()}
        assert not known & {tuple(row) for row in comparison.dataset.contexts.contexts}


def test_a_run_that_learned_what_another_held_out_is_refused(
    home_and_away, texts_file, model_folder, tmp_path
):
    """`--data` with a source of one run, whose held-out texts another run was trained on."""
    more = tmp_path / "more.jsonl"
    lines = texts_file.read_text().splitlines()
    more.write_text("\n".join(lines[len(lines) // 2 :] + lines[: len(lines) // 2]))
    other = trained(model_folder, more, tmp_path / "other", "full_lora", **{"data.split_seed": 5})
    with pytest.raises(InputError, match=r"stand in the training windows of .*other"):
        opened([home_and_away[0], other.path], texts_file, text_field=None)


def test_sources_that_do_not_serve(home_and_away, texts_file, tmp_path):
    with pytest.raises(InputError, match="given twice"):
        opened(home_and_away, texts_file, texts_file)
    with pytest.raises(InputError, match="does not exist"):
        opened(home_and_away, tmp_path / "gone.jsonl")
    short = [json.dumps({"story": f"Short {n}"}) for n in range(8)]
    (tmp_path / "short.jsonl").write_text("\n".join(short))
    with pytest.raises(InputError, match=r"of at least 16 tokens, as the runs") as error:
        opened(home_and_away, tmp_path / "short.jsonl")
    assert "data." not in str(error.value)  # no settings of an evaluation
    other = tmp_path / "run"
    shutil.copytree(home_and_away[0], other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest |= {"contexts_digest": "other", "seed": 1}
    rewrite(other / "manifest.json", lambda _: manifest)
    with pytest.raises(InputError, match="different held-out contexts"):
        opened([home_and_away[0], other], texts_file, text_field=None)


def test_a_run_that_says_of_its_texts_what_cannot_be(home_and_away, capitals, tmp_path):
    other = tmp_path / "run"
    shutil.copytree(home_and_away[0], other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["config"]["data"]["window_tokens"] = 2
    rewrite(other / "manifest.json", lambda _: manifest)
    with pytest.raises(InputError, match=r"run/manifest\.json .*config\.data\.window_tokens is 2"):
        opened([other], capitals)
    with pytest.raises(InputError, match="source of texts is empty"):
        opened(home_and_away[:1], "")


def test_a_column_is_refused_where_no_text_is_read_from_it(home_and_away, texts_file, capitals):
    with pytest.raises(InputError, match="'story' .--text-field. is given with .*texts are taken"):
        opened(home_and_away[:1], texts_file)
    opened(home_and_away[:1], capitals)  # read anew
    opened(home_and_away[1:], capitals)  # the column that the run itself read


def test_a_table_without_header_is_read_as_the_run_s_own(
    model_folder, texts_file, capitals, tmp_path
):
    tables = []
    for path, column in ((texts_file, "text"), (capitals, "story")):
        texts = [json.loads(line)[column] for line in path.read_text().splitlines()]
        tables.append(tmp_path / f"{column}.csv")
        with tables[-1].open("w", newline="") as file:
            csv.writer(file).writerows([text, "note"] for text in texts)
    few = {"data.num_heldout": 2, "data.text_field": "column_1", "data.csv_header": False}
    run = trained(model_folder, tables[0], tmp_path / "run", "late_stage_lora", **few)
    [comparison] = opened([run.path], tables[1], text_field="column_1")
    assert comparison.data["csv_header"] is False
    assert len(comparison.dataset.contexts) == len(texts) // 4


def test_a_run_of_answers_alone_is_compared_on_plain_texts_and_on_answers(capitals, tmp_path):
    model = save_tiny(tmp_path / "chat", chat=CHAT_TEMPLATE)

    def chats(name, word):
        path = tmp_path / name
        said = [(f"{word} {n}?", f"{word} {n} goes on and on, {n * 7} times.") for n in range(16)]
        rows = [
            {"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": it}]}
            for ask, it in said
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    few = {"data.loss_on": "assistant", "data.windows": "documents", "data.window_tokens": 96,
           "data.num_heldout": 4}  # fmt: skip
    run = trained(model, chats("own.jsonl", "who"), tmp_path / "run", "late_stage_lora", **few)
    [plain] = opened([run.path], capitals)
    assert plain.data["loss_on"] == "all"
    [answers] = opened([run.path], chats("other.jsonl", "what"), text_field=None)
    assert answers.data["loss_on"] == "assistant"
    trains_on = answers.dataset.heldout.label_NT
    assert 0 < trains_on.sum() < answers.dataset.heldout.length_N.sum() / 2 * 1.5


def test_one_file_under_two_names_is_given_twice(home_and_away, texts_file, tmp_path):
    (tmp_path / "link.jsonl").symlink_to(texts_file)
    with pytest.raises(InputError, match="given twice"):
        opened(home_and_away[:1], texts_file, tmp_path / "link.jsonl")


@pytest.mark.parametrize("way", ["named dataset", "relative path", "folder"])
def test_a_source_by_another_name_gives_no_training_text(
    way, model_folder, capitals, tmp_path, monkeypatch
):
    """It is known again, or refused: a held-out text was never trained on."""
    monkeypatch.chdir(capitals.parent)
    source = {
        "named dataset": f"writing_prompts:{capitals}",
        "relative path": capitals.name,
        "folder": capitals.parent,
    }[way]
    few = {"data.num_heldout": 2, "data.text_field": "story"}
    run = trained(model_folder, source, tmp_path / "run", "late_stage_lora", **few)
    monkeypatch.chdir(tmp_path)
    try:
        [comparison] = opened([run.path], capitals)
    except InputError:
        return
    trained_on = {tuple(row[:16]) for row in comparison.tuned[0].training_rows()}
    contexts = comparison.dataset.contexts
    whole = (c + k for c, k in zip(contexts.contexts, contexts.continuations, strict=True))
    assert [row for row in whole if tuple(row) in trained_on] == []


def test_runs_of_two_methods_on_different_texts_are_told_apart(
    home_and_away, texts_file, capitals, tmp_path
):
    other = tmp_path / "run"
    shutil.copytree(home_and_away[1], other)
    manifest = json.loads((other / "manifest.json").read_text()) | {"arm": "full_lora"}
    rewrite(other / "manifest.json", lambda _: manifest)
    [comparison] = opened([home_and_away[0], other], texts_file, text_field=None)
    assert [tuned.arm for tuned in comparison.tuned] == [
        Arm("late_stage_lora", 0, (("trained_on", str(texts_file)),)),
        Arm("full_lora", 0, (("trained_on", str(capitals)),)),
    ]

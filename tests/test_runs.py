import json
import re

import pytest

from hyperfitting.errors import InputError
from hyperfitting.records.origins import Origin
from hyperfitting.records.record import as_json
from hyperfitting.runs import RunFolder, require_free
from hyperfitting.storage import new_directory, read_json, write_json
from hyperfitting.untrusted import printable
from tests.manifests import manifest, settings


def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), new_directory(tmp_path / "model") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with new_directory(tmp_path / "model") as folder:
        (folder / "whole").write_text("x")
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["whole"]


def test_a_taken_folder_is_refused(tmp_path):
    require_free(tmp_path / "new")
    require_free(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        require_free(tmp_path / "file")
    with pytest.raises(InputError, match="holds other files"):
        require_free(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="holds another run"):
        require_free(tmp_path)


@pytest.mark.parametrize(
    ("file", "held"),
    [
        ("manifest.json", "another run"),
        ("grid.json", "a study of several models"),
        ("study.json", "a study"),
        ("export.json", "an export"),
        ("settings.json", "what `hyperfit fix` or `hyperfit demo` began"),
        ("notes.txt", "other files"),
    ],
)
def test_what_a_taken_folder_holds_is_said(tmp_path, file, held):
    (tmp_path / file).write_text("{}")
    with pytest.raises(InputError, match=f"holds {held}\n"):
        require_free(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(InputError, match="holds another run"):  # that was evaluated
        require_free(tmp_path)


def test_an_unfinished_run_is_refused(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(InputError, match="holds no run"):
        run.manifest()
    run.manifest_file.write_text(json.dumps({"status": "training"}))
    with pytest.raises(InputError, match="did not finish"):
        run.manifest()
    run.manifest_file.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        run.manifest()


def test_a_manifest_that_does_not_fit_is_refused_with_the_fields_name(tmp_path):
    run, whole = RunFolder(tmp_path), as_json(manifest()) | {"version": 1}
    assert run.started() is None
    config = settings()
    damaged = {
        "config.model is missing": whole | {"config": {}},
        "config.model is 'm', a mapping is needed": whole | {"config": config | {"model": "m"}},
        "config.data.source is missing": whole | {"config": config | {"data": {}}},
        "config.data.window_tokens is '8', a whole number is needed": whole
        | {"config": config | {"data": config["data"] | {"window_tokens": "8"}}},
        "config.train is null, a mapping is needed": whole | {"config": config | {"train": None}},
        "config.train.method is missing": whole | {"config": config | {"train": {"epochs": 2}}},
        "config.train.lora.init is 1, a text is needed": whole
        | {"config": config | {"train": config["train"] | {"lora": {"init": 1}}}},
        "template_date is 'today', a day is needed": whole | {"template_date": "today"},
        "data_account.training_windows is missing": whole | {"data_account": {"read": 3}},
        "trainable.count is missing": whole | {"trainable": {"names": []}},
        "seed is null, a whole number is needed": whole | {"seed": None},
        "training is missing": whole | {"training": None},
        "training.train_loss[1] is 'x', a number is needed": whole
        | {"training": whole["training"] | {"train_loss": [1, "x"]}},
        "of version 3, and this one reads version 2": whole | {"version": 3},
    }
    for words, content in damaged.items():
        write_json(run.manifest_file, content)
        for read in (run.manifest, run.started):
            with pytest.raises(InputError, match=re.escape(words)) as refusal:
                read()
            assert refusal.value.given.startswith(str(run.manifest_file))


def test_a_manifest_of_an_earlier_version_is_read(tmp_path):
    run, content = RunFolder(tmp_path), as_json(manifest())
    for name in ("version", "architecture_digest", "origin", "template_date", "ends", "device"):
        del content[name]
    for name in ("best_val_loss", "best_val_step", "best_val_epoch", "final_loss_interval",
                 "kept_at_loss"):  # fmt: skip
        del content["training"][name]
    write_json(run.manifest_file, content)
    assert run.manifest() == manifest().model_copy(update={"version": 1})


def test_a_base_is_named_by_the_commit_that_was_trained_from():
    config = settings() | {"model": {"name": "org/name", "revision": "main"}}
    origin = Origin(name="org/name", kind="model", revision="main", commit="a" * 40)
    assert manifest(config=config).base_model().revision == "main"
    assert manifest(config=config, origin=origin).base_model().revision == "a" * 40


def test_control_characters_are_stripped_and_text_is_kept():
    assert printable("a\x1b[31mb\x07\u202ec\u200b\n\té – 漢") == "a[31mbc\n\té – 漢"

import json

import pytest

from hyperfitting.errors import InputError
from hyperfitting.runs import RunFolder, first_free, require_free
from hyperfitting.storage import new_directory, read_json, write_json
from hyperfitting.untrusted import printable


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


def test_the_first_free_name(tmp_path):
    stem = str(tmp_path / "demo")
    assert first_free(stem).name == "demo"
    (tmp_path / "demo").mkdir()
    assert first_free(stem).name == "demo-2"


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


def test_control_characters_are_stripped_and_text_is_kept():
    assert printable("a\x1b[31mb\x07\u202ec\u200b\n\té – 漢") == "a[31mbc\n\té – 漢"

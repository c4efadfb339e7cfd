"""Two runs of one method and seed on different texts."""

import json

import numpy as np
import pytest

from hyperfitting.compare.comparison import Here
from hyperfitting.compare.domains import open_runs_on
from hyperfitting.progress import Progress
from tests.train.test_result import trained

HERE = Here("cpu")
CAPITALS = "VWXYZ .?"


@pytest.fixture(scope="session")
def capitals(tmp_path_factory):
    """Other texts than `texts_file`, in another column."""
    rng = np.random.default_rng(8)
    rows = [{"story": "".join(rng.choice(list(CAPITALS), 80))} for _ in range(16)]
    path = tmp_path_factory.mktemp("capitals") / "capitals.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def home_and_away(tmp_path_factory, model_folder, texts_file, capitals):
    """The folders of a run on `texts_file` and of one on `capitals`."""
    folder = tmp_path_factory.mktemp("home-and-away")
    home = trained(model_folder, texts_file, folder / "home", "late_stage_lora")
    field = {"data.text_field": "story"}
    away = trained(model_folder, capitals, folder / "away", "late_stage_lora", **field)
    return home.path, away.path


def opened(runs, *sources, text_field="story"):
    return open_runs_on(runs, [str(s) for s in sources], text_field, HERE, Progress())

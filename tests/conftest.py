import json
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may depend on a network

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from tests.tiny import byte_tokenizer, save_tiny, tiny_model

pytest_plugins = ["tests.domains"]


def pytest_addoption(parser):
    parser.addoption(
        "--no-browser", action="store_true", help="leave out the tests that open pages in Chromium"
    )


FAMILIES = ("llama", "qwen2", "gpt2")


@pytest.fixture(params=FAMILIES)
def any_model(request):
    return tiny_model(request.param)


@pytest.fixture
def model():
    return tiny_model()


@pytest.fixture(scope="session")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("llama"))


def random_rows(count: int, length: int, seed: int = 0) -> list[list[int]]:
    return np.random.default_rng(seed).integers(1, 257, (count, length)).tolist()


@pytest.fixture(scope="session")
def texts_file(tmp_path_factory):
    """Twenty texts of 90 bytes and more, one of them twice, one empty, one short."""
    rng = np.random.default_rng(5)
    texts = ["".join(rng.choice(list("abcdefgh ,."), 90 + 3 * i)) for i in range(20)]
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    rows = [{"text": t, "id": i} for i, t in enumerate([*texts, texts[3], "", "short"])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty hub cache, with no hub behind it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True, scope="session")
def _steady_arithmetic():
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, min(2, os.cpu_count() or 1) // workers))

"""The cells of docs/two-checkpoints.md run in order, on checkpoints that no run of ours made."""

import re
from pathlib import Path

import pytest
import torch

from tests.tiny import save_tiny, tiny_model

PAGE = Path(__file__).parent.parent / "docs" / "two-checkpoints.md"
CELL = re.compile(r"```python\n(.*?)```", re.S)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What the cells print of a tiny model and one whose last block is another's."""
    folders = [tmp_path_factory.mktemp("checkpoints") / name for name in ("one", "other")]
    model = tiny_model(max_position_embeddings=512)
    for folder in folders:
        save_tiny(folder)
        model.save_pretrained(folder)
    with torch.no_grad():
        for parameter in model.model.layers[-1].parameters():
            parameter.mul_(3)
    model.save_pretrained(folders[1])
    first, *cells = CELL.findall(PAGE.read_text(encoding="utf-8"))
    scope, lines = {"print": lambda *parts: lines.append(" ".join(map(str, parts)))}, []
    exec(first, scope)
    scope |= {"ORIGINAL": str(folders[0]), "TUNED": str(folders[1])}
    for cell in cells:
        exec(cell, scope)
    return lines, len(model.model.layers)


def test_the_shared_blocks_are_found(printed):
    lines, count = printed
    assert lines[0] == f"{count - 1} of {count} blocks are the same in both"


def test_every_cell_prints_what_the_page_says_of_it(printed):
    starts = [
        "original: TTR",
        "tuned: TTR",
        "same choice at",
        "the text's ranks",
        "entropy, nats",
        "temperature",
        "a constant shift",
        "pushed up most",
        "after layer 0: cosine 1.000",
    ]
    for start in starts:
        assert sum(line.startswith(start) for line in printed[0]) == (3 if "TTR" in start else 1), (
            start
        )


def test_the_last_layer_alone_is_another(printed):
    layers = [line for line in printed[0] if line.startswith("after layer")]
    assert all("cosine 1.000, +0.0 dimensions" in line for line in layers[:-1])
    assert "cosine 1.000" not in layers[-1]

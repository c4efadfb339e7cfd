"""Hybrids together are those one by one; where they cannot write together, they go one by one."""

import pytest

from hyperfitting.explain import hybrids as module
from tests.comparing import EXPLAIN, changed, comparison, dataset, explained

CONFIG = EXPLAIN.model_copy(update={"only": ("block_swap", "single_blocks")})


@pytest.fixture
def ways(monkeypatch):
    """Which way each call went."""
    taken, real = [], module._together

    def together(*arguments):
        taken.append("together")
        return real(*arguments)

    monkeypatch.setattr(module, "_together", together)
    return taken


@pytest.mark.parametrize("batch_size", [256, 5])
def test_both_ways_find_the_same(model_folder, ways, monkeypatch, batch_size):
    config = CONFIG.model_copy(update={"batch_size": batch_size})
    compared = comparison(model_folder, changed, data=dataset(6))
    _, together = explained(compared, config)
    assert ways == ["together"] * 2
    monkeypatch.setattr(module, "can_route", lambda pair: False)
    _, alone = explained(compared, config)
    assert ways == ["together"] * 2
    assert together == alone


def test_contexts_of_several_lengths_go_one_by_one(model_folder, ways):
    data = dataset(4)
    data.contexts.contexts[1] = data.contexts.contexts[1][2:]
    _, found = explained(comparison(model_folder, changed, data=data), CONFIG)
    assert not ways
    assert found["single_blocks"]["rows"]

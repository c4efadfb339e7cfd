"""When TTR doubled and from when to when it was good, on curves whose answer is known."""

import pytest

from hyperfitting.measure.efficiency import epoch_ttr_doubled, useful_range


@pytest.mark.parametrize(
    ("ttrs", "doubled", "useful"),
    [
        ([0.2, 0.3, 0.4, 0.7, 0.68, 0.6], 20, (30, 40)),
        ([0.2, 0.39, 0.3], None, (10, 10)),
        ([0.2, 0.2, 0.2], None, (0, 20)),
        ([0.3, 0.7, 0.2, 0.69], 10, (10, 30)),
        ([], None, None),
        ([0.0, 0.5], None, (10, 10)),
    ],
)
def test_known_curves(ttrs, doubled, useful):
    epochs = [10 * n for n in range(len(ttrs))]
    assert epoch_ttr_doubled(epochs, ttrs) == doubled
    assert useful_range(epochs, ttrs) == useful

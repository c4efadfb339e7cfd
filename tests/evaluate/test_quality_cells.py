"""From values of whole sets to cells, and whose training set an arm is audited beside."""

from dataclasses import replace

import numpy as np
import pytest

from hyperfitting.compare.comparison import TunedModel
from hyperfitting.data.store import save_dataset
from hyperfitting.data.windows import Windows
from hyperfitting.evaluate import audits as quality
from hyperfitting.evaluate.audits import TrainingIndexes, audit_overlap
from hyperfitting.evaluate.measurements import HUMAN_HAS_NO, measurements, set_measurements
from hyperfitting.evaluate.per_context import metric_values
from hyperfitting.evaluate.per_set import SetValue
from hyperfitting.measure.overlap import TrainingIndex
from hyperfitting.records import ORIGINAL, Arm
from hyperfitting.records.study import TrainingFacts
from hyperfitting.runs import RunFolder
from tests.comparing import dataset
from tests.conftest import random_rows
from tests.evaluate.test_audits import ABOUT, CONFIG, HUMAN, written

# From values to cells


def of_set(value, name="tuned", seed=0, parameters=(), metric="mauve", draws=None):
    bounds = (None, None) if value is None else (value - 0.1, value + 0.1)
    return SetValue(Arm(name, seed, parameters), metric, value, *bounds, 40, 10, "few", draws)


def test_over_trainings_a_value_of_a_set_is_their_mean():
    values = [
        of_set(0.2), of_set(0.4, seed=1), of_set(0.9, seed=2),
        of_set(0.7, parameters=(("k", 1),)),
        of_set(3.0, metric="overlap_max"), of_set(None, seed=1, metric="overlap_max"),
        of_set(0.8, "original", None),
    ]  # fmt: skip
    rows = set_measurements(values, CONFIG, **ABOUT)
    given = [(v.arm.name, v.arm.seed, v.value) for v in values]
    assert [(r.arm, r.seed, r.mean) for r in rows[:7]] == given
    assert [(r.low, r.high) for r in rows[:7]] == [(v.low, v.high) for v in values]
    assert [r.n for r in rows[:7]] == [40, 40, 40, 40, 40, 0, 40]
    mean, undefined = rows[7:]
    assert (mean.arm, mean.seed, mean.num_seeds, mean.parameters) == ("tuned", None, 3, {})
    assert mean.mean == pytest.approx(0.5)
    assert (mean.low, mean.high, mean.n) == (None, None, 40)
    assert (undefined.metric, undefined.mean, undefined.num_seeds) == ("overlap_max", None, 2)
    assert mean.reason == "3 trainings: 0.2 to 0.9"
    assert undefined.reason == "undefined for a training"


def test_over_trainings_the_longest_run_is_the_longest_of_all():
    values = [
        of_set(each, seed=n, metric="overlap_max") for n, each in enumerate((17.0, 40.0, 9.0))
    ]
    row = set_measurements(values, CONFIG, **ABOUT)[-1]
    assert (row.seed, row.num_seeds, row.mean) == (None, 3, 40)
    assert row.reason == "3 trainings: 9 to 40"


def test_the_interval_over_trainings_draws_trainings_and_contexts():
    rng = np.random.default_rng(0)
    means = [0.5, 0.6, 0.9]
    draws_SR = rng.normal(np.array(means)[:, None] + 0.1, 0.02, (3, 400))
    values = [
        of_set(m, seed=s, draws=d) for s, (m, d) in enumerate(zip(means, draws_SR, strict=True))
    ]
    row = set_measurements(values, CONFIG, **ABOUT)[-1]
    times_RS = np.random.default_rng(CONFIG.seed).multinomial(3, [1 / 3] * 3, size=400)
    loop = [
        np.mean([draws_SR[s][r] for s in range(3) for _ in range(times_RS[r][s])])
        for r in range(400)
    ]
    low, high = np.quantile(loop - np.mean(loop) + np.mean(means), [0.025, 0.975])
    assert (row.mean, row.low, row.high) == pytest.approx((np.mean(means), low, min(1.0, high)))
    # Trainings that all gave the same have the interval of one of them.
    values = [of_set(0.5, seed=seed, draws=draws_SR[0]) for seed in range(3)]
    row = set_measurements(values, CONFIG, **ABOUT)[-1]
    expected = np.quantile(draws_SR[0] - draws_SR[0].mean() + 0.5, [0.025, 0.975])
    assert (row.low, row.high) == pytest.approx(tuple(expected))
    # One training without draws: no interval.
    row = set_measurements([*values, of_set(0.5, seed=3)], CONFIG, **ABOUT)[-1]
    assert (row.mean, row.low, row.high, row.num_seeds) == (0.5, None, None, 4)


@pytest.mark.parametrize("metric", ["mauve", "delta_dim_block_output"])
def test_only_a_share_ends_at_one(metric):
    draws = np.random.default_rng(1).normal(0, 5, (2, 400))
    values = [of_set(0.9, seed=seed, metric=metric, draws=d) for seed, d in enumerate(draws)]
    row = set_measurements(values, CONFIG, **ABOUT)[-1]
    if metric == "mauve":
        assert (row.low, row.high) == (0.0, 1.0)
    else:
        assert row.low < -5 < 5 < row.high


def test_a_mean_over_trainings_that_does_not_exist_has_no_n():
    values = [of_set(3.0), of_set(None, seed=1)]
    row = set_measurements(values, CONFIG, **ABOUT)[-1]
    assert (row.mean, row.n, row.undefined) == (None, 0, 40)


def test_what_human_text_has_is_not_overwritten():
    training = TrainingIndex(random_rows(4, 16))
    rows = random_rows(6, 10, seed=1)
    human, tuned = (audit_overlap(written(arm, rows), training)[0] for arm in (HUMAN, Arm("t", 0)))
    tuned = replace(tuned, val_loss_N=np.ones(6), natural=tuned.fixed)
    columns = [c for outputs in (human, tuned) for c in metric_values(outputs, 12)]
    cells = measurements(columns, CONFIG, **ABOUT)
    of_human = [cell for cell in cells if cell.arm == "human"]
    assert len(of_human) == len({cell.metric for cell in of_human})
    known = {cell.metric: cell for cell in of_human}
    for metric in ("ttr", "overlap_mean", "overlap_gt_10", "fivegram_overlap"):
        [same] = [c for c in cells if (c.arm, c.metric) == ("t", metric)]
        assert known[metric].mean == same.mean is not None
    for metric in ("ended_rate", "mean_length", "val_ppl"):
        assert (known[metric].mean, known[metric].reason) == (None, HUMAN_HAS_NO)
        assert (known[metric].n, known[metric].undefined) == (0, 6)


# Whose training set an arm is compared with


@pytest.fixture
def trainings(tmp_path):
    """Two runs of one arm on different texts, one of another arm, and a checkpoint of no run."""

    def model(n, arm):
        ids_NT = np.full((2, 8), 10 * n)
        train = Windows(ids_NT, np.ones_like(ids_NT, dtype=bool), np.array([8, 5]))
        run = RunFolder(tmp_path / f"run-{n}")
        run.path.mkdir()
        save_dataset(run.windows_file, replace(dataset(), train=train))
        return TunedModel(arm, lambda: None, TrainingFacts(), run.path)

    on = [(("trained_on", source),) for source in "ab"]
    arms = [Arm("late", 0, on[0]), Arm("late", 0, on[1]), Arm("late", 1, on[1]), Arm("full", 0)]
    best = [TunedModel(Arm("late", 0, own).best_val(), lambda: None, TrainingFacts()) for own in on]
    return [model(n, arm) for n, arm in enumerate(arms, start=1)], best


def owner(index):
    """The run whose tokens an index knows."""
    return [n for n in (1, 2, 3, 4) if index.longest_overlaps([[10 * n] * 3])[0].length == 3]


def decorated(arm):
    """Every other arm of the same model."""
    own = arm.parameters
    matched = {"matched_to": arm.name, **own}
    yield arm
    yield Arm.named(f"{arm.name}_sampled", arm.seed, own)
    yield Arm.named(f"{arm.name}+citation_blocked", arm.seed, own)
    yield Arm.named(f"{arm.name}+min_p", arm.seed, own | {"min_p": 0.1})
    yield Arm.named("original_entropy_matched", arm.seed, matched)
    yield Arm.named("original_entropy_matched_sampled", arm.seed, matched)


def test_every_arm_is_audited_beside_its_own_model_s_training_set(trainings):
    runs, _ = trainings
    assert runs[0].training_rows() == [[10] * 8, [10] * 5], "padding is no training text"
    indexes = TrainingIndexes(runs)
    assert indexes.exist
    for n, run in enumerate(runs, start=1):
        for arm in decorated(run.arm):
            assert owner(indexes.beside(arm)) == [n], arm
    plain = ORIGINAL, ORIGINAL.sampled(), ORIGINAL.decoded("min_p", {"min_p": 0.1})
    for arm in (HUMAN, *plain):
        assert owner(indexes.beside(arm)) == [1]
    assert not TrainingIndexes([replace(runs[0], path=None)]).exist


def test_windows_in_random_order_witness_no_word(trainings):
    runs, _ = trainings
    null = replace(runs[1], arm=Arm("late", 9, (("null", "shuffled"),)))
    assert TrainingIndexes([runs[0], null]).rows == runs[0].training_rows()
    assert owner(TrainingIndexes([runs[0], null]).beside(null.arm)) == [2]


def test_a_best_checkpoint_is_audited_beside_its_own_run_s_training_set(trainings):
    runs, best = trainings
    indexes = TrainingIndexes([*runs, *best])
    assert [owner(indexes.beside(each.arm)) for each in best] == [[1], [2]]


def test_equal_training_sets_are_indexed_once(trainings, monkeypatch):
    runs, _ = trainings
    built = []
    monkeypatch.setattr(quality, "TrainingIndex", built.append)
    TrainingIndexes([runs[0], replace(runs[1], path=runs[0].path)])
    assert len(built) == 1

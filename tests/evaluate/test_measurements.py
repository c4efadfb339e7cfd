"""From what arms wrote and scored to values, means, intervals and tests, by independent means."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hyperfitting.compare.scores import PairScores
from hyperfitting.config import EvaluateConfig
from hyperfitting.evaluate.agreement import run_agreements
from hyperfitting.evaluate.arms import ArmOutputs, generations_key
from hyperfitting.evaluate.measurements import FEW_DEFINED, NO_INTERVAL, measurements
from hyperfitting.evaluate.paired_tests import NO_SPREAD, ONE_TRAINING, TESTED, TEXT, paired_tests
from hyperfitting.evaluate.per_context import metric_values
from hyperfitting.evaluate.per_set import set_values
from hyperfitting.measure.differences import difference_over_trainings
from hyperfitting.measure.intervals import (
    bootstrap_mean,
    bootstrap_mean_over_seeds,
    holm,
    sign_flip_p,
)
from hyperfitting.models.forward import TokenScores
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress
from hyperfitting.records import ORIGINAL, Arm, Generation, MetricValues
from tests.tiny import byte_tokenizer, tiny_model

CONFIG = EvaluateConfig(resamples=500, natural_tokens=20, sampling_seeds=3)
N, K = 8, 12
MATCHED = "original_entropy_matched"


def texts(arm, rows, mode="fixed_length", endings=None):
    return [
        Generation(
            arm=arm, seed=None, context_index=i, mode=mode, context_ids=[1], continuation_ids=row,
            context="c", continuation=" ".join(map(str, row)),
            ending=(endings or ["truncated"] * N)[i],
        )
        for i, row in enumerate(rows)
    ]  # fmt: skip


def rows_of(seed, most=9):
    return np.random.default_rng(seed).integers(1, most, (N, K)).tolist()


def scores(seed):
    rng = np.random.default_rng(seed)

    def one():
        return TokenScores(
            rng.exponential(1, (N, K)), rng.exponential(1, (N, K)), rng.integers(0, 4, (N, K))
        )

    return PairScores(
        one(), one(), rng.integers(1, 400, (N, K)), rng.uniform(-1, 1, (N, K)),
        rng.uniform(-1, 1, (N, K)),
    )  # fmt: skip


def outputs(name, seed=None, content=0, rows=None, endings=None, **parameters):
    """An arm with random texts and scores; `content` is the seed of those."""
    rows = rows or rows_of(content)
    return ArmOutputs(
        Arm.named(name, seed, parameters),
        [texts(name, rows)],
        texts(name, rows, "natural", endings),
        scores(content),
        scores(content + 1000),
        np.random.default_rng(content).exponential(1, N),
    )


def matched(to, content=50):
    """The original at the entropy of a tuned arm, greedy and sampled, as `evaluate` names them."""
    parameters = ORIGINAL.matched(to.arm).parameters
    greedy = replace(
        outputs("original_entropy_matched", to.arm.seed, content, **parameters),
        natural=None, val_loss_N=None, tau_N=np.linspace(0.5, 0.9, N).tolist(),
    )  # fmt: skip
    return greedy, sampled("original_entropy_matched", to.arm.seed, content + 1, **parameters)


def sampled(name, seed=None, content=70, **parameters):
    arm = Arm.named(name, seed, parameters).sampled()
    draws = [texts(arm.name, rows_of(100 * content + d, 30)) for d in range(3)]
    return ArmOutputs(arm, draws, tau_N=[1.0] * N, is_drawn=True)


def human():
    return ArmOutputs(Arm("human"), [texts("human", rows_of(9, 30))])


def columns_of(*arms):
    return [c for arm in arms for c in metric_values(arm, CONFIG.natural_tokens)]


def study(*arms):
    columns = columns_of(human(), *arms)
    rows = measurements(columns, CONFIG, model="m", domain="d")
    return {(r.arm, r.metric, r.prefix): r for r in rows}, paired_tests(columns, CONFIG)


def ttr(draws):
    return np.mean([[len(set(g.continuation_ids)) / K for g in texts] for texts in draws], axis=0)


# Values of contexts


def test_values_are_means_over_positions_and_over_nothing_else():
    arm = outputs("hyperfitted", 0, 3)
    values = {(c.metric, c.prefix): c for c in metric_values(arm, 20)}
    for found, prefix in ((arm.forced, "TF"), (arm.own, "OP")):
        name = "prediction_entropy_nats" if prefix == "TF" else "prediction_entropy_own_nats"
        expected = {
            name: found.tuned.entropy_NK,
            f"top1_agreement_{prefix.lower()}": found.tuned.top1_NK == found.original.top1_NK,
            "spearman": found.spearman_NK,
            "spearman_top100": found.spearman_top_NK,
            "rank_1": found.chosen_rank_NK == 1,
            "rank_2_10": (found.chosen_rank_NK >= 2) & (found.chosen_rank_NK <= 10),
            "rank_gt_10": found.chosen_rank_NK > 10,
            "rank_gt_200": found.chosen_rank_NK > 200,
        }
        for metric, per_position in expected.items():
            column = values[metric, prefix]
            for n in range(N):
                assert column.values[n] == pytest.approx(sum(per_position[n]) / K)
            assert column.mode == (None if prefix == "TF" else "fixed_length")
    np.testing.assert_allclose(values["ttr", None].values, ttr(arm.draws))
    assert values["val_loss", "TF"].values == arm.val_loss_N.tolist()
    assert ("prediction_entropy_own_nats", "TF") not in values


def test_own_path_columns_come_before_those_of_one_name_on_human_text():
    prefixes = [c.prefix for c in metric_values(outputs("hyperfitted"), 20) if c.metric == "rank_1"]
    assert prefixes == ["OP", "TF"]


def test_sampled_arms_are_means_over_their_draws():
    arm = sampled("hyperfitted", 0)
    values = {c.metric: c.values for c in metric_values(arm, 20)}
    np.testing.assert_allclose(values["ttr"], ttr(arm.draws))
    assert "tau_star" not in values
    assert not {m for m in values if "entropy" in m or "rank" in m}


def test_a_context_is_undefined_where_one_of_its_draws_is():
    arm = sampled("hyperfitted", 0)
    arm.draws[1][2] = replace(arm.draws[1][2], continuation_ids=[5])
    values = {c.metric: c.values for c in metric_values(arm, 20)}
    assert values["bigram_repetition"][2] is None
    assert None not in values["bigram_repetition"][:2] + values["bigram_repetition"][3:]
    assert None not in values["ttr"]


def test_nan_becomes_none():
    arm = outputs("hyperfitted")
    arm.forced.spearman_NK[2, 0] = np.nan  # a position is left out of its context's mean
    arm.forced.spearman_NK[3] = np.nan
    values = {(c.metric, c.prefix): c.values for c in metric_values(arm, 20)}
    assert [v is None for v in values["spearman", "TF"]] == [n == 3 for n in range(N)]
    expected = arm.forced.spearman_NK[2, 1:].mean()
    assert values["spearman", "TF"][2] == pytest.approx(expected)


def test_temperatures_belong_to_the_matched_arm_alone():
    greedy, drawn = matched(outputs("hyperfitted", 0))
    assert [c.values for c in metric_values(greedy, 20) if c.metric == "tau_star"] == [greedy.tau_N]
    assert "tau_star" not in {c.metric for c in metric_values(drawn, 20)}


# Means and intervals


def test_a_cell_is_the_bootstrap_of_its_column():
    columns = columns_of(outputs("hyperfitted", 0, 3))
    for column, row in zip(
        columns, measurements(columns, CONFIG, model="m", domain="d"), strict=False
    ):
        expected = bootstrap_mean(np.array(column.values), resamples=500, confidence=0.95, seed=0)
        assert (row.mean, row.low, row.high) == expected
        assert (row.metric, row.prefix, row.seed, row.n) == (column.metric, column.prefix, 0, N)


def test_a_cell_over_seeds_resamples_seeds_and_contexts():
    arms = [outputs("full_lora", s, 10 + s) for s in range(3)]
    columns = columns_of(*arms)
    rows = measurements(columns, CONFIG, model="m", domain="d")
    single = [r for r in rows if (r.metric, r.num_seeds) == ("ttr", 1)]
    [over] = [r for r in rows if (r.metric, r.num_seeds) == ("ttr", 3)]
    assert [r.seed for r in single] == [0, 1, 2]
    values_SN = np.array([ttr(arm.draws) for arm in arms])
    expected = bootstrap_mean_over_seeds(values_SN, resamples=500, confidence=0.95, seed=0)
    assert (over.mean, over.low, over.high) == pytest.approx(expected)
    assert (over.seed, over.n) == (None, N)
    wider = [r for r in rows if (r.metric, r.num_seeds, r.prefix) == ("spearman", 3, "TF")]
    assert len(wider) == 1, "prefixes are never mixed"


def test_runs_that_differ_in_a_setting_are_no_seeds_of_one_arm():
    arms = [outputs("late_stage_lora", s, s, last_blocks=1 + s) for s in range(2)]
    rows = measurements(columns_of(*arms), CONFIG, model="m", domain="d")
    assert {r.num_seeds for r in rows} == {1}
    assert {tuple(r.parameters.items()) for r in rows} == {(("last_blocks", i),) for i in (1, 2)}


def test_seeds_leave_out_contexts_that_one_of_them_has_no_value_for():
    arms = [outputs("full_lora", s, s) for s in range(2)]
    arms[1].forced.spearman_NK[0] = np.nan
    rows = measurements(columns_of(*arms), CONFIG, model="m", domain="d")
    [row] = [r for r in rows if (r.metric, r.prefix, r.num_seeds) == ("spearman", "TF", 2)]
    assert (row.n, row.undefined, row.reason) == (N - 1, 1, FEW_DEFINED)
    expected = np.mean([arm.forced.spearman_NK[1:] for arm in arms])
    assert row.mean == pytest.approx(expected)


def test_perplexity_is_the_exponential_of_the_loss_and_of_its_interval():
    rows, _ = study(outputs("original"), outputs("hyperfitted", 0, 1))
    loss, ppl = (rows["hyperfitted", f"val_{name}", "TF"] for name in ("loss", "ppl"))
    assert (ppl.mean, ppl.low, ppl.high) == tuple(map(math.exp, (loss.mean, loss.low, loss.high)))
    hopeless = replace(outputs("hyperfitted", 0), val_loss_N=np.full(N, 800.0))
    rows, _ = study(outputs("original"), hopeless)
    row = rows["hyperfitted", "val_ppl", "TF"]
    assert (row.mean, row.reason) == (None, "too large for a number")


def test_ending_rates_sum_to_one_and_the_end_token_is_no_part_of_the_length():
    endings = ["ended"] * 3 + ["looped"] * 4 + ["truncated"]
    rows, _ = study(outputs("original"), outputs("hyperfitted", 0, endings=endings))
    rates = [
        rows["hyperfitted", f"{kind}_rate", None].mean for kind in ("ended", "looped", "truncated")
    ]
    assert rates == [3 / 8, 4 / 8, 1 / 8]
    assert rows["hyperfitted", "mean_length", None].mean == K - 3 / 8
    assert rows["original", "mean_length", None].mean == K


def test_what_human_text_cannot_have_is_null_with_a_reason():
    rows, _ = study(outputs("original"), outputs("hyperfitted", 0, 1))
    of_human = {m: r for (arm, m, _), r in rows.items() if arm == "human"}
    for metric in ("prediction_entropy_nats", "spearman", "rank_1", "val_ppl", "ended_rate"):
        row = of_human[metric]
        assert (row.mean, row.low, row.high, row.n, row.undefined) == (None, None, None, 0, N)
        assert "not the output of a model" in row.reason
    assert of_human["ttr"].mean == pytest.approx(ttr(human().draws).mean())


def test_a_metric_without_values_is_null_and_counted():
    columns = columns_of(ArmOutputs(Arm("human"), [texts("human", [[] for _ in range(N)])]))
    rows = measurements(columns, CONFIG, model="m", domain="d")
    assert all((r.mean, r.n, r.undefined) == (None, 0, N) and r.reason for r in rows)


def test_one_context_has_a_mean_and_no_interval_and_no_test():
    one = ArmOutputs(Arm("original"), [texts("original", [[1, 2, 3]])])
    other = ArmOutputs(Arm("hyperfitted", 0), [texts("hyperfitted", [[1, 2, 2]])])
    columns = columns_of(one, other)
    [first, *_] = measurements(columns, CONFIG, model="m", domain="d")
    assert (first.mean, first.low, first.high, first.n) == (1.0, None, None, 1)
    assert first.reason == NO_INTERVAL
    tests = paired_tests(columns, CONFIG)
    assert {(t.difference, t.p, t.p_holm) for t in tests} == {(None, None, None)}
    assert {t.reason for t in tests} == {"fewer than two contexts with both values"}


def test_fewer_than_90_percent_is_flagged():
    for undefined, reason in ((0, None), (1, FEW_DEFINED)):
        values = [None] * undefined + [1.0, 2.0] * 4
        column = MetricValues(arm=Arm("original"), metric="ttr", values=values[:N])
        [row] = measurements([column], CONFIG, model="m", domain="d")
        assert (row.reason, row.n, row.undefined) == (reason, N - undefined, undefined)


# Tests between arms


def pairs(tests, metric="ttr"):
    return [(t.a, t.b) for t in tests if t.metric == metric and t.margin is None]


def test_which_arms_are_tested_against_which():
    late, full = outputs("late_stage_lora", 0, 1), outputs("hyperfitted", 0, 2)
    arms = [outputs("original"), sampled("original"), full, *matched(full, 52),
            sampled("hyperfitted", 0, 75), late, *matched(late, 54),
            sampled("late_stage_lora", 0, 77)]  # fmt: skip
    _, tests = study(*arms)
    assert pairs(tests) == [
        ("hyperfitted", "original"),
        ("late_stage_lora", "original"),
        ("hyperfitted", "human"),
        ("late_stage_lora", "human"),
        ("late_stage_lora", "hyperfitted"),
        ("hyperfitted", "original_entropy_matched_sampled"),
        ("hyperfitted_sampled", "original_entropy_matched_sampled"),
        ("late_stage_lora", "original_entropy_matched_sampled"),
        ("late_stage_lora_sampled", "original_entropy_matched_sampled"),
    ]
    by_pair = {}
    for test in tests:
        if test.margin is None:
            by_pair.setdefault((test.a, test.b), []).append(test.metric)
    assert by_pair["hyperfitted", "original"] == list(TESTED)
    assert by_pair["hyperfitted", "human"] == list(TEXT), "human text has no entropy and no loss"
    assert by_pair["hyperfitted", "original_entropy_matched_sampled"] == list(TEXT)
    controls = [t for t in tests if t.b == "original_entropy_matched_sampled"]
    assert all(t.b_parameters["matched_to"] == t.a.removesuffix("_sampled") for t in controls)


def test_a_p_is_the_sign_flip_p_of_the_differences_by_enumeration():
    looping, varied = [[1, 2] * 6] * N, [list(range(1, 13))] * N
    _, tests = study(
        outputs("original", rows=looping), outputs("hyperfitted", 0, rows=varied, content=4)
    )
    test = next(t for t in tests if (t.b, t.metric) == ("original", "ttr"))
    assert test.difference == pytest.approx(1 - 2 / 12)
    # Of 2^8 sign patterns two are as extreme; 500 random ones come near their share.
    assert test.p == pytest.approx(2 / 2**N, abs=0.015)
    loss = next(t for t in tests if (t.b, t.metric) == ("original", "val_loss"))
    a, b = (np.random.default_rng(s).exponential(1, N) for s in (4, 0))
    signs = np.array(np.meshgrid(*[[-1, 1]] * N)).reshape(N, -1)
    exact = (abs((a - b) @ signs) >= abs((a - b).sum()) - 1e-12).mean()
    assert loss.p == pytest.approx(exact, abs=0.08)
    assert loss.difference == pytest.approx((a - b).mean())


def test_holm_is_over_every_p_of_the_table_and_over_no_equivalence():
    late, full = outputs("late_stage_lora", 0, 1), outputs("hyperfitted", 0, 2)
    _, tests = study(outputs("original"), full, *matched(full), late, *matched(late, 60))
    tested = [t for t in tests if t.p is not None]
    assert len(tested) == 2 * len(TESTED) + 2 * len(TEXT) + 2 * len(TEXT)
    for test in tested:  # the step-down rule, written out
        smaller = [t.p for t in tested if t.p <= test.p]
        expected = max(min(1.0, (len(tested) - sum(t.p < p for t in tested)) * p) for p in smaller)
        assert test.p_holm == pytest.approx(expected)
    equal = [t for t in tests if t.margin is not None]
    assert all(t.p is None and t.p_holm is None for t in equal)


def test_equal_variety_is_tested_of_texts_and_never_of_entropies_of_different_texts():
    late, full = outputs("late_stage_lora", 0, 1), outputs("hyperfitted", 0, 2)
    arms = [full, *matched(full), sampled("hyperfitted", 0, 75), late, *matched(late, 60)]
    _, tests = study(outputs("original"), decoded(90), *arms)
    equal = [(t.a, t.b, t.metric) for t in tests if t.margin is not None]
    assert equal == [
        ("hyperfitted", "original+min_p", "ttr"),
        ("late_stage_lora", "original+min_p", "ttr"),
        ("hyperfitted", f"{MATCHED}_sampled", "ttr"),
        ("hyperfitted_sampled", f"{MATCHED}_sampled", "ttr"),
        ("late_stage_lora", f"{MATCHED}_sampled", "ttr"),
    ]
    assert "prediction_entropy_own_nats" not in {t.metric for t in tests}


def decoded(content):
    arm = ORIGINAL.decoded("min_p", {"min_p": 0.1})
    return ArmOutputs(arm, [texts(arm.name, rows_of(content))])


@pytest.mark.parametrize("margin", [0.02, 0.1, 0.5])
def test_equivalence_by_two_t_tests_with_the_interval_that_goes_with_them(margin):
    full = outputs("hyperfitted", 0, 2)
    greedy, drawn = matched(full)
    config = CONFIG.model_copy(update={"margin_ttr": margin})
    tests = paired_tests(columns_of(outputs("original"), full, greedy, drawn), config)
    [test] = [t for t in tests if t.margin is not None]
    differences = ttr(full.draws) - ttr(drawn.draws)
    ps = [
        stats.ttest_1samp(differences, -margin, alternative="greater").pvalue,
        stats.ttest_1samp(differences, margin, alternative="less").pvalue,
    ]
    assert test.p_equivalence == pytest.approx(max(ps))
    assert (test.margin, test.difference) == (margin, pytest.approx(differences.mean()))
    interval = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
    assert (test.low, test.high) == pytest.approx(tuple(interval))
    assert test.confidence == 0.9
    is_inside = -margin < test.low and test.high < margin
    assert (test.p_equivalence < 0.05) == is_inside


# Several trainings


def trained(name, content, seeds=3, **parameters):
    return [outputs(name, s, content + s, **parameters) for s in range(seeds)]


def test_tests_of_arms_trained_several_times_contain_trainings_and_contexts():
    late, full = trained("late_stage_lora", 1), trained("hyperfitted", 11, seeds=2)
    original, lone = outputs("original"), outputs("full_lora", 0, 21)
    _, tests = study(original, *late, *full, lone)
    found = {(t.a, t.b): t for t in tests if t.metric == "ttr"}
    assert set(found) == {
        (name, other)
        for name in ("late_stage_lora", "hyperfitted", "full_lora")
        for other in ("original", "human")
    } | {("late_stage_lora", "hyperfitted")}
    late_SN, full_SN = (np.array([ttr(arm.draws) for arm in arms]) for arms in (late, full))
    expected = {
        ("late_stage_lora", "hyperfitted"): difference_over_trainings(late_SN, full_SN),
        ("late_stage_lora", "original"): difference_over_trainings(late_SN - ttr(original.draws)),
        ("hyperfitted", "human"): difference_over_trainings(full_SN - ttr(human().draws)),
    }
    for pair, of in expected.items():
        test = found[pair]
        assert test.difference == pytest.approx(of.value)
        assert (test.low, test.high) == pytest.approx(of.interval(0.95))
        assert test.p == pytest.approx(of.p())
        assert (test.noise, test.seed) == ("trainings and contexts", None)
    counts = [(found[pair].num_seeds, found[pair].num_seeds_b) for pair in expected]
    assert counts == [(3, 2), (3, 0), (2, 0)]
    alone = found["full_lora", "original"]
    assert (alone.seed, alone.num_seeds, alone.noise) == (0, 1, "contexts")
    assert alone.claimable is None
    differences = ttr(lone.draws) - ttr(original.draws)
    assert alone.p == sign_flip_p(differences, flips=500, seed=0)
    interval = bootstrap_mean(differences, resamples=500, confidence=0.95, seed=0)
    assert (alone.difference, alone.low, alone.high) == interval


def test_the_original_at_the_entropy_of_each_training_is_paired_with_that_training():
    full = trained("hyperfitted", 11)
    controls = [matched(arm, 50 + 2 * n) for n, arm in enumerate(full)]
    arms = [each for arm, pair in zip(full, controls, strict=True) for each in (arm, *pair)]
    _, tests = study(outputs("original"), *arms[::-1])  # the order of runs says nothing
    [test] = [t for t in tests if (t.b, t.metric, t.margin) == (f"{MATCHED}_sampled", "ttr", None)]
    difference_SN = np.array(
        [ttr(a.draws) - ttr(drawn.draws) for a, (_, drawn) in zip(full, controls, strict=True)]
    )
    assert test.p == pytest.approx(difference_over_trainings(difference_SN).p())
    assert (test.num_seeds, test.num_seeds_b) == (3, 0)


def test_methods_trained_once_are_not_compared():
    late, full = outputs("late_stage_lora", 0, 1), outputs("hyperfitted", 0, 2)
    _, tests = study(outputs("original"), late, full)
    between = [t for t in tests if t.b == "hyperfitted"]
    assert [t.metric for t in between] == list(TESTED)
    for test in between:
        assert (test.p, test.p_holm, test.claimable, test.reason) == (
            None,
            None,
            None,
            ONE_TRAINING,
        )
        assert (test.noise, test.num_seeds, test.num_seeds_b) == ("contexts", 1, 1)
    differences = ttr(late.draws) - ttr(full.draws)
    interval = bootstrap_mean(differences, resamples=500, confidence=0.95, seed=0)
    assert (between[0].difference, between[0].low, between[0].high) == interval
    # They are in no family: the others are corrected as if these were not there.
    others = [t for t in tests if t.p is not None]
    assert [t.p_holm for t in others] == holm([t.p for t in others])


def test_what_can_be_claimed_is_the_border_of_significance_after_holm():
    claimed, not_claimed = 0, 0
    for content in range(4):
        late, full = trained("late_stage_lora", 40 * content), trained("hyperfitted", 20, seeds=5)
        _, tests = study(outputs("original", rows=rows_of(1, 3 + content)), *late, *full)
        for test in tests:
            if test.noise == "trainings and contexts" and test.p is not None:
                is_beyond = abs(test.difference) > test.claimable
                assert is_beyond == (test.p_holm < 0.05)
                claimed, not_claimed = claimed + is_beyond, not_claimed + (not is_beyond)
    assert claimed > 5
    assert not_claimed > 5


def test_trainings_without_any_spread_have_no_p():
    looping, varied = [[1, 2] * 6] * N, [list(range(1, 13))] * N
    arms = [outputs("hyperfitted", s, 3, rows=varied) for s in range(2)]
    _, tests = study(outputs("original", rows=looping), *arms)
    [test] = [t for t in tests if (t.b, t.metric) == ("original", "ttr")]
    assert (test.p, test.reason) == (None, NO_SPREAD)
    assert test.difference == pytest.approx(1 - 2 / 12)


def test_an_arm_that_no_setting_contradicts_is_compared_with_late_stage():
    """A sweep of the number of blocks beside one run of full fine-tuning."""
    sweep = [outputs("late_stage_lora", 0, k, last_blocks=k) for k in (1, 2)]
    _, tests = study(outputs("original"), *sweep, outputs("hyperfitted", 0, 8))
    late = [t for t in tests if t.metric == "ttr" and t.b not in ("original", "human")]
    assert [(t.a, t.a_parameters, t.b) for t in late] == [
        ("late_stage_lora", {"last_blocks": k}, "hyperfitted") for k in (1, 2)
    ]
    other_seed = outputs("hyperfitted", 1, 8)
    _, tests = study(outputs("original"), *sweep, other_seed)
    assert not [t for t in tests if t.b == "hyperfitted"], "seeds are compared with their own"


def test_every_two_methods_are_tested_the_late_stage_first():
    models = [outputs(name, 0, n) for n, name in enumerate(("hyperfitted", "late_half"), start=1)]
    third = outputs("late_stage_lora", 0, 3)
    other_seed, null = outputs("full_lora", 1, 4), outputs("full_lora", 0, 5, null="shuffled")
    _, tests = study(outputs("original"), *models, third, other_seed, null)
    assert [pair for pair in pairs(tests) if pair[1] not in ("original", "human")] == [
        ("late_stage_lora", "hyperfitted"),
        ("late_stage_lora", "late_half"),
        ("hyperfitted", "late_half"),
    ]
    several = [outputs(n, s, 3 * s + len(n)) for n in ("hyperfitted", "late_half") for s in (0, 1)]
    _, tests = study(outputs("original"), *several)
    [between] = [t for t in tests if t.metric == "ttr" and t.b == "late_half"]
    assert (between.a, between.num_seeds, between.num_seeds_b) == ("hyperfitted", 2, 2)
    assert between.p is not None


def test_checkpoints_of_best_validation_loss_have_controls_of_their_own():
    best = outputs("best_val_checkpoint", 0, 2, method="hyperfitted")
    _, tests = study(outputs("original"), best, *matched(best))
    assert pairs(tests) == [
        ("best_val_checkpoint", "original"),
        ("best_val_checkpoint", "human"),
        ("best_val_checkpoint", "original_entropy_matched_sampled"),
    ]
    equal = [(t.a, t.metric) for t in tests if t.margin is not None]
    assert equal == [("best_val_checkpoint", "ttr")]


def test_checkpoints_at_one_training_loss_are_compared_in_a_family_of_their_own():
    models = [outputs("original"), outputs("hyperfitted", 0, 3), outputs("late_stage_lora", 0, 4)]
    kept = [
        outputs("hyperfitted", 0, 5, at_loss=0.5),
        outputs("hyperfitted", 0, 6, at_loss=1.0),
        outputs("hyperfitted", 0, 7, null="shuffled", at_loss=0.5),
        outputs("late_stage_lora", 0, 8, **{"lora.rank": 4, "at_loss": 0.5}),
        outputs("late_stage_lora", 0, 9, **{"lora.rank": 8, "at_loss": 0.5}),
        outputs("late_stage_lora", 0, 10, null="shuffled", at_loss=0.5),
        outputs("late_stage_lora", 1, 11, **{"lora.rank": 4, "at_loss": 1.0}),
    ]
    _, before = study(*models)
    _, tests = study(*models, *kept)
    assert tests[: len(before)] == before, "what is said of the models stays"
    own = tests[len(before) :]
    named = [
        (t.a, t.a_parameters.get("lora.rank"), t.b, t.b_parameters.get("lora.rank"))
        for t in own
        if t.metric == "ttr" and "null" not in t.a_parameters
    ]
    assert named == [
        ("hyperfitted", None, "late_stage_lora", 4), ("hyperfitted", None, "late_stage_lora", 8),
        ("late_stage_lora", 4, "late_stage_lora", 8),
    ]  # fmt: skip
    nulls = [(t.a, t.b) for t in own if t.metric == "ttr" and "null" in t.a_parameters]
    assert nulls == [("hyperfitted", "late_stage_lora")], "nulls among themselves"
    assert {t.metric for t in own} == set(TESTED)
    assert all(t.p is None and t.p_holm is None and t.reason == ONE_TRAINING for t in own)


def test_checkpoints_at_a_loss_of_several_trainings_have_a_p_corrected_among_themselves():
    kept = [
        outputs(name, seed, 10 * k + seed, at_loss=0.5)
        for k, name in enumerate(("hyperfitted", "full_lora"))
        for seed in range(3)
    ]
    results = [outputs("full_lora", seed, 70 + seed) for seed in range(3)]
    _, before = study(outputs("original"), *results)
    _, tests = study(outputs("original"), *results, *kept)
    assert tests[: len(before)] == before
    own = tests[len(before) :]
    assert [(t.a, t.b) for t in own] == [("hyperfitted", "full_lora")] * len(TESTED)
    assert {(t.noise, t.num_seeds, t.num_seeds_b) for t in own} == {
        ("trainings and contexts", 3, 3)
    }
    assert [t.p_holm for t in own] == pytest.approx(holm([t.p for t in own]))


def test_an_arm_that_equals_another_differs_by_nothing():
    _, tests = study(outputs("original"), outputs("hyperfitted", 0))
    against = [t for t in tests if t.b == "original"]
    assert [t.metric for t in against] == list(TESTED)
    assert all((t.difference, t.low, t.high, t.p) == (0, 0, 0, 1) for t in against)


# Two runs of one arm


def test_agreement_of_runs_by_counting():
    runs = [outputs("full_lora", s, s) for s in range(3)]
    reordered = [outputs("hyperfitted", 0, 5 + i, order_seed=o) for i, o in enumerate((None, 1))]
    other = outputs("late_stage_lora", 0, 9, last_blocks=1)
    another = outputs("late_stage_lora", 0, 10, last_blocks=2)
    arms = [human(), outputs("original"), *runs, *reordered, other, another]
    arms += [*matched(runs[0]), *matched(runs[1]), sampled("full_lora", 0)]
    found = run_agreements(arms, CONFIG)
    assert [(f.a.name, f.a.seed, f.b.seed) for f in found] == [
        ("full_lora", 0, 1), ("full_lora", 0, 2), ("full_lora", 1, 2), ("hyperfitted", 0, 0),
    ]  # fmt: skip
    expected = [(runs[0], runs[1]), (runs[0], runs[2]), (runs[1], runs[2]), tuple(reordered)]
    for row, (a, b) in zip(found, expected, strict=True):
        same = sum(
            x == y
            for x, y in zip(a.forced.tuned.top1_NK.flat, b.forced.tuned.top1_NK.flat, strict=True)
        )
        assert row.value == pytest.approx(same / (N * K))
        assert row.low <= row.value <= row.high
        assert row.n == N
    assert found[3].b.parameters == {"order_seed": 1}


# Tokens and names


def test_keys_tell_mode_length_and_seed_apart():
    keys = {
        generations_key(mode, length, {"decoder": "greedy"}, seed)
        for mode in ("fixed_length", "natural")
        for length in (96, 256)
        for seed in (None, 0, 1)
    }
    assert len(keys) == 12


def test_files_of_sampled_arms_are_told_apart_by_their_sampling_seed():
    arm = sampled("hyperfitted", 0)
    assert arm.decoder_parameters(2) == {"decoder": "sample", "sampling_seed": 2}
    assert outputs("hyperfitted", 0, k=3).decoder_parameters() == {"decoder": "greedy", "k": 3}


def test_banned_tokens_per_mode():
    tokens = Tokens.of(tiny_model(), byte_tokenizer())
    assert tokens.banned("fixed_length") == [0, 257, 258, 259]
    assert tokens.banned("natural") == [257, 258, 259]


def test_context_and_continuation_join_to_the_whole_text():
    tokenizer = byte_tokenizer()
    tokens = Tokens.of(tiny_model(), tokenizer)
    ids = tokenizer("one two three")["input_ids"]
    head, tail = tokens.texts(ids[:3], ids[3:])
    assert (head, tail) == ("one", " two three")


# Tokens of probability 0


def test_an_infinite_loss_is_undefined_and_says_so():
    losses = np.linspace(1, 2, N)
    losses[3] = np.inf
    tuned = replace(outputs("hyperfitted", 0), val_loss_N=losses)
    found, tests = study(outputs("original"), tuned)
    said = f"infinite: 1 of {N} texts hold a token of probability 0"
    for metric in ("val_loss", "val_ppl"):
        cell = found["hyperfitted", metric, "TF"]
        assert (cell.mean, cell.low, cell.high, cell.reason) == (None, None, None, said)
        assert found["original", metric, "TF"].mean is not None
    [test] = [t for t in tests if t.metric == "val_loss" and t.b == "original"]
    assert (test.difference, test.p) == (None, None)
    assert test.reason
    assert found["hyperfitted", "ttr", None].mean is not None


def test_one_training_with_an_infinite_loss_leaves_the_mean_over_trainings_undefined():
    arms = [outputs("hyperfitted", seed, seed) for seed in range(2)]
    arms[1] = replace(arms[1], val_loss_N=np.full(N, np.inf))
    rows = measurements(columns_of(human(), *arms), CONFIG, model="m", domain="d")
    [mean] = [r for r in rows if r.metric == "val_loss" and r.num_seeds == 2]
    assert mean.mean is None
    assert mean.reason == f"infinite: {N} of {N} texts hold a token of probability 0"


def test_a_text_that_the_reference_model_forbids_has_no_coherence():
    forbidden = [-1.0] * (N - 1) + [-math.inf]
    found, _ = study(replace(outputs("hyperfitted"), audit={"coherence_nats": forbidden}))
    cell = found["hyperfitted", "coherence_nats", None]
    assert (cell.mean, cell.reason) == (
        None, f"infinite: 1 of {N} texts hold a token of probability 0",
    )  # fmt: skip


@pytest.mark.parametrize("mark", ["", "\ufffd"])
def test_a_text_is_never_cut_inside_a_character(mark):
    """At every cut and end: whole characters, one heading for all arms, nothing lost between."""
    tokenizer = byte_tokenizer()
    tokens = Tokens.of(tiny_model(), tokenizer)
    text = f"é好{mark}a😀b"
    ids = tokenizer(text)["input_ids"]
    borders = {len(tokenizer(text[:n])["input_ids"]): text[:n] for n in range(len(text) + 1)}
    for cut in range(len(ids) + 1):
        before = borders[max(n for n in borders if n <= cut)]
        other = [tokenizer("z")["input_ids"][0]] * 3
        assert tokens.texts(ids[:cut], other)[0] == tokens.texts(ids[:cut], [])[0]
        for end in range(cut, len(ids) + 1):
            head, tail = tokens.texts(ids[:cut], ids[cut:end])
            if not mark:
                assert head == before
            assert "\ufffd" not in (head + tail).replace(mark or "-", "")
            assert text.startswith(head + tail)
            if end == len(ids):
                assert head + tail == text


def test_bytes_that_are_no_characters_stay_what_was_written():
    tokenizer = byte_tokenizer()
    tokens = Tokens.of(tiny_model(), tokenizer)
    lead = tokenizer("é")["input_ids"][0]
    assert tokens.texts(tokenizer("a")["input_ids"], [lead] * 6) == ("a", "\ufffd" * 6)


def test_what_a_later_token_takes_back_is_in_no_piece():
    class Tidied(type(byte_tokenizer())):
        def decode(self, *args, **settings):
            return super().decode(*args, **settings).replace(" '", "'")

    tokenizer = byte_tokenizer()
    tokenizer.__class__ = Tidied
    tokens = Tokens.of(tiny_model(), tokenizer)
    ids = tokenizer("I 've 😀")["input_ids"]
    pieces = tokens.pieces([], ids)
    assert (len(pieces), "".join(pieces)) == (len(ids), "I've 😀")
    assert pieces[:4] == ["I", "", "'", "v"]
    assert [piece for piece in pieces if piece][-2:] == [" ", "😀"]


def test_human_text_of_unknown_tokens_has_no_variety():
    """A row of one token that models may not write is no mark to be near to."""
    known = human()
    shares = [0.0] * N
    shares[1], shares[2] = 0.11, 0.1
    some = replace(known, unknown_N=shares)
    columns = {c.metric: c for c in columns_of(known)}
    assert known.unknown_in_words is None
    assert all(c.note is None for c in columns.values())
    for column in columns_of(some):
        expected = [*columns[column.metric].values]
        expected[1] = None
        assert column.values == expected
        assert column.note.startswith(f"1 of {N} texts")
    every = replace(known, unknown_N=[0.5] * N)
    rows = measurements(columns_of(every), CONFIG, model="m", domain="d")
    assert {(r.mean, r.n) for r in rows} == {(None, 0)}
    assert all("does not know" in r.reason for r in rows)
    tests = paired_tests(columns_of(every, outputs("hyperfitted", 0)), CONFIG)
    assert tests
    assert {t.p for t in tests if t.b == "human" and t.metric == "ttr"} == {None}


@pytest.mark.parametrize(("count", "is_defined"), [(0, True), (1, True), (2, False)])
def test_what_a_set_has_stands_while_few_of_its_texts_are_unknown(count, is_defined):
    many = ArmOutputs(Arm("human"), [[*human().fixed, *human().fixed[:3]]])
    many = replace(many, unknown_N=[0.5] * count + [0.0] * (11 - count))
    [distinct, *_] = set_values([many], CONFIG, Progress())[0]
    assert (distinct.value is not None) == is_defined == (distinct.low is not None)
    assert ("does not know" in distinct.reason) == (count > 0)

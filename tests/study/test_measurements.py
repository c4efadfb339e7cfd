"""Identity, oracle, planted truth and undefined values of the study's numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperfitting.config import EvaluateConfig
from hyperfitting.models.forward import TokenScores
from hyperfitting.records import Generation
from hyperfitting.study.arms import ArmOutputs, Tokens, generations_key
from hyperfitting.study.measurements import measurements, metric_values, paired_tests
from tests.tiny import byte_tokenizer, tiny_model

CONFIG = EvaluateConfig(resamples=500, natural_tokens=20)
N, K = 8, 12


def texts(arm, rows, mode="fixed_length", endings=None):
    return [
        Generation(
            arm=arm, seed=None, context_index=i, mode=mode, context_ids=[1], continuation_ids=row,
            context="c", continuation="t", ending=(endings or ["truncated"] * N)[i],
        )
        for i, row in enumerate(rows)
    ]  # fmt: skip


def arm(name, seed=0, rows=None, endings=None):
    rng = np.random.default_rng(seed)
    rows = rows or rng.integers(1, 9, (N, K)).tolist()
    forced = TokenScores(
        rng.exponential(1, (N, K)), rng.exponential(1, (N, K)), rng.integers(0, 9, (N, K))
    )
    own = TokenScores(forced.nll_NK, forced.entropy_NK, np.array(rows))
    natural = texts(name, rows, "natural", endings)
    return ArmOutputs(name, None, texts(name, rows), natural, forced, own, rng.exponential(1, N))


def human():
    rows = np.random.default_rng(9).integers(1, 30, (N, K)).tolist()
    return ArmOutputs("human", None, texts("human", rows))


def study(*arms):
    original = arms[0]
    columns = [c for a in arms for c in metric_values(a, original, a.own_path.top1_NK, CONFIG)]
    columns += metric_values(human(), original, None, CONFIG)
    rows = measurements(columns, CONFIG, model="m", domain="d")
    return {(r.arm, r.metric): r for r in rows}, paired_tests(columns, CONFIG)


def test_a_checkpoint_against_itself_agrees_everywhere_and_differs_nowhere():
    original, same = arm("original"), arm("hyperfitted")
    rows, tests = study(original, same)
    assert rows["hyperfitted", "top1_agreement_tf"].mean == 1.0
    assert rows["hyperfitted", "top1_agreement_op"].mean == 1.0
    against = [t for t in tests if t.b == "original"]
    assert {t.metric for t in against} >= {"ttr", "prediction_entropy_nats", "val_loss"}
    assert all((t.difference, t.low, t.high, t.p) == (0, 0, 0, 1) for t in against)


def test_means_are_over_contexts_of_means_over_positions():
    original, tuned = arm("original"), arm("hyperfitted", seed=1)
    rows, _ = study(original, tuned)
    expected = np.mean([tuned.teacher_forced.entropy_NK[i].mean() for i in range(N)])
    assert rows["hyperfitted", "prediction_entropy_nats"].mean == pytest.approx(expected)
    expected = np.mean([len(set(g.continuation_ids)) / K for g in tuned.fixed])
    assert rows["hyperfitted", "ttr"].mean == pytest.approx(expected)
    agree = tuned.teacher_forced.top1_NK == original.teacher_forced.top1_NK
    assert rows["hyperfitted", "top1_agreement_tf"].mean == pytest.approx(agree.mean())


def test_perplexity_is_the_exponential_of_the_loss_and_of_its_interval():
    rows, _ = study(arm("original"), arm("hyperfitted", seed=1))
    loss, ppl = rows["hyperfitted", "val_loss"], rows["hyperfitted", "val_ppl"]
    assert (ppl.mean, ppl.low, ppl.high) == tuple(map(math.exp, (loss.mean, loss.low, loss.high)))


def test_ending_rates_sum_to_one():
    endings = ["ended"] * 3 + ["looped"] * 4 + ["truncated"]
    rows, _ = study(arm("original"), arm("hyperfitted", endings=endings))
    rates = [rows["hyperfitted", f"{kind}_rate"].mean for kind in ("ended", "looped", "truncated")]
    assert rates == [3 / 8, 4 / 8, 1 / 8]


def test_the_end_token_is_no_part_of_the_length():
    rows, _ = study(arm("original"), arm("hyperfitted", endings=["ended"] * N))
    assert rows["hyperfitted", "mean_length"].mean == K - 1
    assert rows["original", "mean_length"].mean == K


def test_arms_are_compared_within_their_training_seed():
    original = arm("original")
    late = [replace(arm("late_stage_lora", seed=s), seed=s) for s in (1, 2)]
    full = [replace(arm("full_lora", seed=s + 2), seed=s) for s in (1, 2)]
    _, tests = study(original, *late, *full)
    ttr = [t for t in tests if t.metric == "ttr"]
    assert len({(t.a, t.b, t.seed) for t in ttr}) == len(ttr) == 4 + 4 + 2
    for seed, a, b in zip((1, 2), late, full, strict=True):
        test = next(t for t in ttr if (t.a, t.b, t.seed) == (a.arm, b.arm, seed))
        means = [np.mean([len(set(g.continuation_ids)) / K for g in x.fixed]) for x in (a, b)]
        assert test.difference == pytest.approx(means[0] - means[1])


def test_a_planted_difference_is_significant_and_its_sign_is_a_minus_b():
    looping, varied = [[1, 2] * 6] * N, [list(range(1, 13))] * N
    _, tests = study(arm("original", rows=looping), arm("hyperfitted", rows=varied))
    test = next(t for t in tests if (t.b, t.metric) == ("original", "ttr"))
    assert test.difference == pytest.approx(1 - 2 / 12)
    assert test.p <= test.p_holm
    assert test.p < 0.05


def test_what_human_text_cannot_have_is_null_with_a_reason():
    rows, _ = study(arm("original"), arm("hyperfitted", seed=1))
    row = rows["human", "prediction_entropy_nats"]
    assert (row.mean, row.low, row.high, row.n) == (None, None, None, 0)
    assert "not the output of a model" in row.reason
    assert rows["human", "ttr"].mean is not None


def test_a_metric_without_values_is_null_and_counted():
    empty = [[] for _ in range(N)]
    columns = metric_values(
        ArmOutputs("human", None, texts("human", empty)), arm("original"), None, CONFIG
    )
    rows = measurements(columns, CONFIG, model="m", domain="d")
    assert all((r.mean, r.n, r.undefined) == (None, 0, N) and r.reason for r in rows)


def test_one_context_has_a_mean_and_no_interval_and_no_test():
    one = ArmOutputs("original", None, texts("original", [[1, 2, 3]]))
    columns = metric_values(one, one, None, CONFIG)
    [ttr, *_] = measurements(columns, CONFIG, model="m", domain="d")
    assert (ttr.mean, ttr.low, ttr.high, ttr.n) == (1.0, None, None, 1)
    assert ttr.reason


def test_keys_tell_mode_length_and_seed_apart():
    keys = {
        generations_key(mode, length, {"decoder": "greedy"}, seed)
        for mode in ("fixed_length", "natural")
        for length in (96, 256)
        for seed in (None, 0, 1)
    }
    assert len(keys) == 12


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

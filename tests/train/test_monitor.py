"""Rank shares against brute force; what a monitor measures; that it changes nothing."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from hyperfitting.config.methods import METHODS
from hyperfitting.errors import InputError
from hyperfitting.generate.decode import decode
from hyperfitting.measure.ranks import rank_shares, token_ranks
from hyperfitting.models.forward import rank_rows
from hyperfitting.records.record import as_json
from hyperfitting.runs import RunFolder
from hyperfitting.train.checkpoints import Checkpoints
from hyperfitting.train.manifest import training_outcome
from hyperfitting.train.memorised import TOKENS_BEFORE, spread_windows
from hyperfitting.train.monitor import Monitoring
from tests.conftest import random_rows
from tests.tiny import tiny_model
from tests.train.running import build, monitor_row, settings, windows


def test_ranks_agree_with_a_sort():
    logits = torch.randn(40, 30, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    tokens = torch.randint(30, (40,), generator=torch.Generator().manual_seed(1))
    expected = [
        sorted(row.tolist(), reverse=True).index(row[t]) + 1
        for row, t in zip(logits, tokens, strict=True)
    ]
    assert token_ranks(logits, tokens).tolist() == expected


def test_shares_of_planted_ranks():
    shares = rank_shares(np.array([[1, 1, 2, 10], [11, 300, 1, 3]]))
    assert shares == (3 / 8, 3 / 8, 2 / 8)
    with pytest.raises(ValueError, match="at least one"):
        rank_shares(np.array([]))


def test_what_a_model_chose_has_rank_1_in_itself():
    model, contexts = tiny_model(), random_rows(3, 6)
    texts = decode(model, contexts, max_new_tokens=8, banned=[0, 5])
    rows = [c + t.ids for c, t in zip(contexts, texts, strict=True)]
    assert (rank_rows(model, rows, 8, banned=[0, 5]) == 1).all()


def monitoring(trainable, setup, rows, contexts=None):
    contexts = random_rows(3, 6) if contexts is None else contexts
    return Monitoring(
        trainable, setup.engine, setup.train, setup.heldout, 4, contexts, 8, [0], nullcontext,
        rows.append,
    )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_the_original_is_the_reference_at_every_epoch(method):
    trainable, setup, trainer = build(tiny_model(), settings(method, epochs=20))
    rows = []
    trainer.monitor, trainer.every_epochs = monitoring(trainable, setup, rows), 10
    trainer.run()
    assert [row.epoch for row in rows] == [0, 10, 20]
    assert rows[0].rank_1 == 1.0, "before the first step the model is the original"
    assert rows[0].train_loss is None
    assert rows[-1].rank_1 < 1.0
    for row in rows:
        assert row.rank_1 + row.rank_2_10 + row.rank_gt_10 == pytest.approx(1)
    # The last row again, from models that know nothing of the training code.
    contexts = random_rows(3, 6)
    texts = decode(trainable.model, contexts, max_new_tokens=8, banned=[0])
    paths = [c + t.ids for c, t in zip(contexts, texts, strict=True)]
    ranks = rank_rows(tiny_model(), paths, 8, banned=[0])
    assert rows[-1].rank_1 == pytest.approx((ranks == 1).mean())
    assert rows[-1].rank_gt_200 == pytest.approx((ranks > 200).mean())
    # And text by text.
    each = rows[-1].per_context
    assert each["rank_1"] == pytest.approx((ranks == 1).mean(axis=1))
    assert each["rank_2_10"] == pytest.approx(((ranks > 1) & (ranks <= 10)).mean(axis=1))
    assert each["ttr"] == [len(set(t.ids)) / 8 for t in texts]
    for name in ("ttr", "bigram_repetition", "rank_1", "rank_2_10", "rank_gt_10", "rank_gt_200"):
        assert np.mean(each[name]) == pytest.approx(getattr(rows[-1], name)), name


@pytest.mark.parametrize(("method", "family"), [("late_stage_lora", "llama"), ("full_lora", "?")])
def test_what_is_known_by_heart_is_read_off_the_training_tokens(method, family):
    model = tiny_model()
    model.config.model_type = family
    trainable, setup, trainer = build(model, settings(method, epochs=20))
    rows = []
    trainer.monitor, trainer.every_epochs = monitoring(trainable, setup, rows), 20
    trainer.run()
    count = min(len(setup.train), len(setup.heldout))
    picked = spread_windows(len(setup.train), count)
    assert picked.tolist() == [0, 4, 8]
    ids = setup.train.ids_NT[picked]
    for row, read in ((rows[0], tiny_model()), (rows[-1], trainable.model)):
        with torch.no_grad():
            logits = read(ids).logits[:, :-1].double()
        target, probability = setup.train.target_NT[picked, :-1], logits.softmax(-1)
        counted = target >= 0
        counted[:, : TOKENS_BEFORE - 1] = False  # which stand after fewer than four tokens
        hits = (logits.argmax(-1) == target)[counted].double().mean()
        entropy = -(probability * probability.log()).sum(-1)[counted].mean()
        assert row.train_top1 == pytest.approx(float(hits))
        assert row.train_entropy == pytest.approx(float(entropy), rel=1e-4)
    assert rows[-1].train_top1 > rows[0].train_top1
    assert rows[-1].train_entropy < rows[0].train_entropy


def test_a_loop_and_a_broken_word_are_counted():
    trainable, setup, _ = build(tiny_model(), settings("full_sft"))
    rows = []
    monitor = monitoring(trainable, setup, rows)
    monitor.max_new_tokens = 40  # a random model soon repeats itself; the rule needs 24 tokens
    monitor.nonwords = lambda texts: [0.5, None, 0.0][: len(texts)]
    row = monitor(1, 1, 2.0)
    texts = decode(trainable.model, monitor.contexts, max_new_tokens=40, banned=[0])
    repeats = [
        any(
            len(t.ids[-max(3 * p, 24):]) == max(3 * p, 24)
            and all(t.ids[-i] == t.ids[-i - p] for i in range(1, max(3 * p, 24) - p + 1))
            for p in range(1, 33)
        )
        for t in texts
    ]  # fmt: skip
    assert row.looped == np.mean(repeats)
    assert row.nonwords == 0.25


def test_a_perplexity_that_no_number_holds_is_null_and_not_made_up(tmp_path):
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight *= 1e4
    trainable, setup, _ = build(model, settings("full_sft"))
    rows = []
    row = monitoring(trainable, setup, rows)(0, 0, None)
    assert row.val_loss > 700
    assert row.val_ppl is None
    run = RunFolder(tmp_path)
    run.replace_metrics(rows)
    assert run.metrics() == rows


@pytest.mark.parametrize("method", METHODS)
def test_monitoring_changes_no_weight_and_no_loss(method):
    plain, _, trainer = build(tiny_model(), settings(method))
    expected = trainer.run()
    watched, setup, trainer = build(tiny_model(), settings(method))
    trainer.monitor, trainer.every_epochs = monitoring(watched, setup, []), 1
    assert trainer.run().train_loss == expected.train_loss
    for a, b in zip(plain.tensors().values(), watched.tensors().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("method", "family"), [("late_stage_lora", "llama"), ("full_sft", "llama"), ("full_lora", "?")]
)
def test_without_contexts_ranks_are_teacher_forced(method, family):
    model = tiny_model()
    model.config.model_type = family  # "?": run through its own forward pass
    trainable, setup, trainer = build(
        model, settings(method, epochs=20), heldout=windows(5, seed=1)
    )
    rows = []
    trainer.monitor, trainer.every_epochs = monitoring(trainable, setup, rows, []), 20
    trainer.run()
    assert (rows[0].rank_1, rows[0].rank_prefix, rows[0].ttr) == (1.0, "TF", None)
    ids = torch.from_numpy(windows(5, seed=1).ids_NT)
    with torch.no_grad():
        tuned, original = trainable.model(ids).logits, tiny_model()(ids).logits
    tuned[..., 0], original[..., 0] = -torch.inf, -torch.inf
    ranks = token_ranks(original[:, :-1], tuned[:, :-1].argmax(-1))
    assert rows[-1].rank_1 == pytest.approx(float((ranks == 1).float().mean()))
    assert rows[-1].rank_1 < 1.0


def test_the_best_ttr_and_the_best_validation_loss_are_kept_as_checkpoints(tmp_path):
    trainable, setup, trainer = build(
        tiny_model(), settings("late_stage_lora", epochs=6, checkpoint_steps=2)
    )
    trainer.monitor, trainer.every_epochs = monitoring(trainable, setup, []), 1
    trainer.checkpoints = Checkpoints(tmp_path, {})
    state = trainer.run()
    best = max((row.ttr, -row.step) for row in state.rows if row.epoch > 0)
    assert (state.best_ttr, state.best_step) == (best[0], -best[1])
    lowest = min((row.val_loss, row.step) for row in state.rows if row.epoch > 0)
    assert (state.best_val_loss, state.best_val_step) == lowest
    kept = {10, 12, state.best_step, state.best_val_step}
    assert set(trainer.checkpoints.steps()) == kept


def test_the_best_of_planted_rows_are_kept_whatever_comes_later(tmp_path):
    config = settings("late_stage_lora", epochs=8, checkpoint_steps=0)
    _, _, trainer = build(tiny_model(), config)
    losses = [0.5, 3.0, 2.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0]  # the original's own is no candidate
    ttrs = [0.9, 0.1, None, 0.1, 0.2, 0.6, 0.6, 0.3, 0.2]

    def planted(epoch, step, loss):
        row = replace(monitor_row(ttrs[epoch]), val_loss=losses[epoch])
        return replace(row, epoch=epoch, step=step)

    trainer.monitor, trainer.every_epochs = planted, 1
    trainer.checkpoints = Checkpoints(tmp_path, {})
    state = trainer.run()
    assert (state.best_val_loss, state.best_val_step) == (2.0, 4), "the first of equals"
    assert (state.best_ttr, state.best_step) == (0.6, 10)
    assert trainer.checkpoints.steps() == [4, 10, 16]
    outcome = training_outcome(state, 0.0, 0.0)
    assert (outcome.best_val_step, outcome.best_val_epoch) == (4, 2)


def test_without_monitoring_nothing_is_best():
    _, _, trainer = build(tiny_model(), settings("early_stage_lora"))
    outcome = training_outcome(trainer.run(), 0.0, 0.0)
    assert {v for k, v in as_json(outcome).items() if k.startswith("best_")} == {None}


def test_a_held_out_token_of_probability_0_is_refused_by_that_reason(monkeypatch):
    losses = np.array([1.0, np.inf])
    monkeypatch.setattr("hyperfitting.train.monitor.engine_window_losses", lambda *_: losses)
    trainable, setup, _ = build(tiny_model(), settings("full_sft", epochs=1))
    rows = []
    with pytest.raises(InputError, match="validation loss is infinite in epoch 0: .*probability 0"):
        monitoring(trainable, setup, rows)(0, 0, None)
    assert rows == []

"""Scores of two models side by side against plain transformers, scipy and counting."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from hyperfitting.compare.scores import compare_rows, empty_scores, score_pair
from hyperfitting.config import LoraConfig
from hyperfitting.errors import InputError
from hyperfitting.evaluate.arms import paths
from hyperfitting.evaluate.matching import EntropyMatching, Tempered
from hyperfitting.evaluate.writing import written_arms
from hyperfitting.measure.ranks import top1_agreement
from hyperfitting.models.anatomy import anatomy
from hyperfitting.models.fit import check_fit
from hyperfitting.models.pair import PairedLogits, make_pair
from hyperfitting.models.proof import require_causal
from hyperfitting.models.tokens import Tokens
from hyperfitting.train.lora import add_adapters
from tests.comparing import (
    EVALUATE,
    Said,
    changed,
    comparison,
    dataset,
    evaluated,
    explained,
    ids,
    padded,
)
from tests.conftest import random_rows
from tests.tiny import FAMILIES, VOCABULARY, byte_tokenizer, save_tiny, tiny_model

KEPT, KNOWN = 5, 257
BANNED = [0, 257, 258, 259]


@torch.no_grad()
def plain_logits(model, row):
    """Logits that predict the last tokens of a row, from the model's own forward pass."""
    return model(torch.tensor([row])).logits[0, -KEPT - 1 : -1].double().numpy()


def rank_by_counting(logits, token, banned):
    return 1 + sum(v > logits[token] for i, v in enumerate(logits) if i not in banned)


def best_by_sorting(logits, banned, count=1):
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    return [i for i in order if i not in banned][:count]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("banned", [(), BANNED])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_score_is_that_of_an_independent_computation(family, banned, seed):
    original, tuned = tiny_model(family), changed(1, family, scale=0.1)
    rows = random_rows(4, 12, seed)
    found = compare_rows(make_pair(original, tuned), rows, KEPT, KNOWN, banned=banned)
    for n, row in enumerate(rows):
        one, two = (plain_logits(model, row) for model in (original, tuned))
        for k in range(KEPT):
            target = row[len(row) - KEPT + k]
            for side, logits in ((found.original, one[k]), (found.tuned, two[k])):
                p = special.softmax(logits)
                assert side.entropy_NK[n, k] == pytest.approx(stats.entropy(p), abs=1e-5)
                assert side.nll_NK[n, k] == pytest.approx(-np.log(p[target]), abs=1e-5)
                assert side.top1_NK[n, k] == best_by_sorting(logits, banned)[0]
            chosen = best_by_sorting(two[k], banned)[0]
            assert found.chosen_rank_NK[n, k] == rank_by_counting(one[k], chosen, banned)
            a, b = one[k][:KNOWN], two[k][:KNOWN]
            assert found.spearman_NK[n, k] == pytest.approx(stats.spearmanr(a, b)[0], abs=1e-4)
            both = sorted({*best_by_sorting(a, (), 100), *best_by_sorting(b, (), 100)})
            expected = stats.spearmanr(a[both], b[both])[0]
            assert found.spearman_top_NK[n, k] == pytest.approx(expected, abs=1e-3)


def test_the_caller_sees_each_row_after_its_scores_and_every_layer():
    pair, rows = make_pair(tiny_model(), changed(1)), random_rows(3, 12)
    seen, layers = [], []

    def each(found, scores):
        assert not np.isnan(scores.spearman_NK[found.row]).any()
        seen.append(found.row)

    compare_rows(
        pair, rows, KEPT, KNOWN, each=each, observe=lambda s: layers.append((s.layer, s.is_normed))
    )
    assert seen == [0, 1, 2]
    assert layers == [(0, False), (1, False), (2, False), (3, False), (3, True)]


def test_rank_1_is_top1_agreement_apart_from_ties():
    """Where logits are rounded, ties appear: rank 1 then counts more than agreement."""
    pair, rows = make_pair(tiny_model(), changed(1)), random_rows(6, 24, seed=2)
    found = compare_rows(pair, rows, 20, KNOWN, banned=BANNED)
    agreement = top1_agreement(found.tuned.top1_NK, found.original.top1_NK)
    np.testing.assert_array_equal((found.chosen_rank_NK == 1).mean(axis=1), agreement)
    assert 0 < agreement.mean() < 1

    tied = np.array([[3.0, 3.0, 1.0, 0.0]]), np.array([[0.0, 3.0, 1.0, 0.0]])
    one, two = (torch.tensor(x).float() for x in tied)
    scores = Tempered(1, 1, 4).scores
    score_pair(scores, PairedLogits(0, one, two, torch.tensor([0])), 4)
    assert scores.tuned.top1_NK[0, 0] == 1 != scores.original.top1_NK[0, 0]
    assert scores.chosen_rank_NK[0, 0] == 1


# Temperatures


def at_one(found, vocabulary):
    """The scores of one row at temperature 1."""
    scores = empty_scores(1, 1)
    score_pair(scores, found, vocabulary)
    return scores.original


def test_a_temperature_that_merges_two_logits_moves_no_choice():
    """Two neighbouring float32 become one number when divided: a tie by rounding, and counted."""
    tau, start = 1.3, np.float32(1.9)
    for _ in range(20):
        neighbours = torch.tensor([start, np.nextafter(start, np.float32(2))])
        if (neighbours / tau).unique().numel() == 1:
            break
        start = np.nextafter(start, np.float32(2))
    logits = torch.tensor([[0.0, *neighbours, -1.0]])
    tempered, found = Tempered(1, 1, 4), PairedLogits(0, logits, logits, torch.tensor([0]))
    tempered.add(found, tau, at_one(found, 4))
    assert (tempered.merged, tempered.differences) == (1, 0)
    assert tempered.scores.original.top1_NK[0, 0] == tempered.scores.tuned.top1_NK[0, 0] == 2
    assert tempered.scores.chosen_rank_NK[0, 0] == 1


def test_a_real_change_of_the_choice_is_counted():
    """Only a negative temperature can do that; it stands for a fault in the arithmetic."""
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    tempered, found = Tempered(1, 1, 3), PairedLogits(0, logits, logits, torch.tensor([0]))
    tempered.add(found, -1.0, at_one(found, 3))
    assert tempered.differences == 1


@pytest.mark.parametrize("seed", range(3))
def test_matched_entropies_by_scipy(seed):
    original, tuned = tiny_model(), changed(2, scale=0.2)
    rows = random_rows(4, 12, seed)
    matching = EntropyMatching(4, KEPT, KNOWN)
    compare_rows(make_pair(original, tuned), rows, KEPT, KNOWN, each=matching)
    targets, per_context, global_ = [], [], 0.0
    summary = matching.summary()
    for n, row in enumerate(rows):
        one, two = (plain_logits(model, row) for model in (original, tuned))

        def entropy(logits):
            return stats.entropy(special.softmax(logits, axis=1), axis=1)

        targets.append(entropy(two).mean())
        per_context.append(entropy(one / matching.temperatures[n]).mean())
        assert matching.tempered.scores.tuned.entropy_NK[n].mean() == pytest.approx(
            per_context[-1], abs=1e-5
        )
        global_ += entropy(one / summary.one_for_all.tau).mean() / 4
        per_step = entropy(one / matching.tau_per_step_NK[n][:, None])
        np.testing.assert_allclose(per_step, entropy(two), atol=1.1e-4)
    np.testing.assert_allclose(per_context, targets, atol=1.1e-4)
    assert global_ == pytest.approx(np.mean(targets), abs=2e-4)
    assert summary.one_for_all.unsolved == 0
    taus = np.array(matching.temperatures)
    told = summary.per_context
    assert (told.mean, told.median) == (taus.mean(), np.median(taus))
    assert (told.p5, told.p95) == (np.quantile(taus, 0.05), np.quantile(taus, 0.95))


# Two paddings of one vocabulary


@pytest.mark.parametrize("larger", ["tuned", "original"])
def test_a_vocabulary_padded_differently_is_compared_over_the_tokens_of_both(larger, tmp_path):
    """The extra rows would win every choice, and no text may hold them."""
    models = {"tuned": tiny_model, "original": tiny_model} | {larger: lambda: padded(272, 50.0)}
    models["original"]().save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    said = Said()
    compared = comparison(tmp_path, models["tuned"])
    _, arms, columns = evaluated(compared, progress=said)
    [line] = said.lines
    sizes = ("260", "272") if larger == "tuned" else ("272", "260")
    assert f"padded to {sizes[0]} and {sizes[1]}" in line
    assert "over the tokenizer's 257 tokens" in line
    for prefix in ("TF", "OP"):
        for metric in (f"top1_agreement_{prefix.lower()}", "spearman", "rank_1"):
            assert columns["tuned", metric, prefix] == pytest.approx(1, abs=1e-12), metric
    assert ids(arms["tuned"].fixed) == ids(arms["original"].fixed)
    natural = [ids(arms[name].natural) for name in ("tuned", "original")]
    assert natural[0] == natural[1]
    drawn = {i for name in arms for draws in arms[name].draws for row in ids(draws) for i in row}
    assert max(drawn) < KNOWN

    _, found = explained(compared)
    assert found["provenance"]["written"]["shares"]["rank_1"]["mean"] == 1
    assert found["static_bias"]["static_share"] is None
    for row in found["block_swap"]["rows"]:
        assert row["top1_agreement_original"]["mean"] == row["top1_agreement_tuned"]["mean"] == 1
    assert found["tokens"]["rows"][0]["share"]["mean"] == 1


def test_padding_both_models_have_may_be_chosen_on_human_text_and_has_no_kind(tmp_path):
    padded(272, 50.0).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    _, found = explained(comparison(tmp_path, lambda: padded(272, 50.0)))
    [row] = [r for r in found["tokens"]["rows"] if r["rank_class"] == "1"]
    assert row["kinds"]["whitespace_or_other"]["mean"] > 0.5


def test_texts_with_tokens_that_the_model_lacks_are_refused(model_folder):
    data = dataset()
    data.contexts.contexts[2][0] = VOCABULARY
    for stage in (evaluated, explained):
        with pytest.raises(InputError, match="gives token 260, the model has 260 embeddings"):
            stage(comparison(model_folder, tiny_model, data=data))


def test_windows_longer_than_the_positions_are_refused(tmp_path):
    tiny_model("gpt2", n_positions=28).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    from dataclasses import replace

    from tests.comparing import windows

    data = replace(dataset(), heldout=windows(2, 29, 0))
    with pytest.raises(InputError, match="29 tokens are asked for"):
        evaluated(comparison(tmp_path, lambda: tiny_model("gpt2", n_positions=28), data=data))
    check_fit(tiny_model("gpt2", n_positions=29), 0, 29, "fits")


# Shared blocks


def late_adapter():
    """An adapter on the last block of the tiny model, as Late-Stage LoRA leaves it."""
    model = tiny_model()
    names = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    tuned = add_adapters(model, [n for n in names if ".layers.2." in n], LoraConfig(rank=2), 0)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return tuned.eval()


def count_calls(model, calls, name):
    for index, block in enumerate(anatomy(model).blocks.values()):
        block.register_forward_hook(lambda *_, key=(name, index): calls.append(key))


@pytest.mark.parametrize("observes", [False, True])
def test_the_blocks_below_a_late_stage_adapter_run_once(observes):
    original, tuned = tiny_model(), late_adapter()
    for model in (original, tuned):
        require_causal(model)  # once for a model, and not what is counted here
    calls = []
    count_calls(original, calls, "original")
    count_calls(tuned, calls, "tuned")
    pair = make_pair(original, tuned)
    observe = (lambda _: None) if observes else None
    rows = random_rows(4, 12)
    found = compare_rows(pair, rows, KEPT, KNOWN, observe=observe)
    assert pair.shared_blocks == 2
    assert [key for key in calls if key[0] == "tuned"] == [("tuned", 2)]
    # Once to learn masks and positions for this shape, once for the hidden states.
    assert [calls.count(("original", i)) for i in range(3)] == [2, 2, 2]
    calls.clear()
    compare_rows(pair, rows, KEPT, KNOWN, observe=observe)
    assert [calls.count(("original", i)) for i in range(3)] == [1, 1, 1]
    assert [key for key in calls if key[0] == "tuned"] == [("tuned", 2)]
    for n, row in enumerate(rows):
        expected = plain_logits(tuned, row).argmax(axis=1)
        np.testing.assert_array_equal(found.tuned.top1_NK[n], expected)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}),
        ("llama", {"rms_norm_eps": 0.5}),
        ("mistral", {"sliding_window": 4}),
        ("gemma2", {"final_logit_softcapping": 1.0}),
    ],
)
def test_equal_weights_under_other_settings_are_not_taken_for_equal_models(family, changes):
    original, tuned = tiny_model(family), tiny_model(family, **changes)
    rows = random_rows(3, 12)
    found = compare_rows(make_pair(original, tuned), rows, KEPT, KNOWN)
    expected = [plain_logits(tuned, row) for row in rows]
    entropy = stats.entropy(special.softmax(np.array(expected), axis=2), axis=2)
    np.testing.assert_allclose(found.tuned.entropy_NK, entropy, atol=1e-4)
    assert not np.allclose(found.original.entropy_NK, entropy, atol=1e-4)


def test_settings_that_change_no_block_leave_the_blocks_shared():
    tuned = tiny_model()
    for name, value in {"use_cache": False, "pad_token_id": 5, "eos_token_id": 7}.items():
        assert getattr(tuned.config, name) != value
        setattr(tuned.config, name, value)
    assert make_pair(tiny_model(), tuned).shared_blocks == 3


# Tokens


def test_end_tokens_are_those_of_the_model_that_writes():
    tokenizer = byte_tokenizer()
    original, tuned = tiny_model(), tiny_model()
    tuned.generation_config.eos_token_id = [0, 65]
    tokens = Tokens.of(original, tokenizer)
    other = tokens.for_model(tuned)
    assert (tokens.ends, other.ends) == ([0], [0, 65])
    assert other.banned("fixed_length") == [0, 65, 257, 258, 259]
    contexts = dataset(40).contexts
    written = {
        name: written_arms(tuned, t, contexts, EVALUATE, Said(), greedy=_arm(name))[0]
        for name, t in (("own", other), ("of_original", tokens))
    }
    assert not any(65 in row for row in ids(written["own"].fixed))
    for text in written["own"].natural:
        assert (text.ending == "ended") == (text.continuation_ids[-1] in (0, 65))
    assert all(len(row) == 16 for row in paths(written["own"].fixed))


def _arm(name):
    from hyperfitting.records import Arm

    return Arm(name)


def test_every_family_can_be_evaluated_against_itself():
    rows = random_rows(2, 12)
    for family in FAMILIES:
        pair = make_pair(tiny_model(family), tiny_model(family))
        found = compare_rows(pair, rows, KEPT, KNOWN)
        assert (found.chosen_rank_NK == 1).all()
        np.testing.assert_allclose(found.spearman_NK, 1)


def test_the_original_is_scored_beside_a_tuned_model_as_it_is_alone(tmp_path):
    """Its own scores on human text come from the pass that a tuned model needs anyway."""
    found, arms, _ = evaluated(comparison(save_tiny(tmp_path, "llama"), lambda: changed(1)))
    original, human = tiny_model(), paths(found.human.fixed)
    length = len(found.human.fixed[0].continuation_ids)
    expected = compare_rows(make_pair(original, original), human, length, KNOWN)
    for there, here in zip(arms["original"].forced, expected, strict=True):
        for a, b in zip(there, here, strict=True) if isinstance(there, tuple) else [(there, here)]:
            np.testing.assert_array_equal(a, b)
    names = [outputs.arm.name for outputs in found.arms]
    assert names == [
        "human", "original", "original_sampled", "tuned", "original_entropy_matched",
        "original_entropy_matched_sampled", "tuned_sampled",
    ]  # fmt: skip

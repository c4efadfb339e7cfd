"""Known answers through the whole evaluation and all controls: a copy, a bias, a block, a scale."""

import numpy as np
import pytest
import torch

from hyperfitting.compare import scores as scores_module
from hyperfitting.config import ExplainConfig
from hyperfitting.errors import InputError
from hyperfitting.evaluate.measurements import NO_INTERVAL
from hyperfitting.evaluate.per_set import OF_A_SET
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.explain import block_swap as block_swap_module
from hyperfitting.explain import static_bias as static_bias_module
from hyperfitting.explain.verb import write_explanation
from hyperfitting.models.anatomy import anatomy
from hyperfitting.progress import Progress
from hyperfitting.records.controls.geometry import BLOCK_OUTPUT, FINAL_NORM, RMS_NORMALISED
from hyperfitting.report.load import read_study
from hyperfitting.report.sections import only_sharper
from hyperfitting.runs import StudyFolder
from hyperfitting.storage import read_json
from tests.comparing import (
    CONTEXT,
    CONTINUATION,
    EVALUATE,
    EXPLAIN,
    NO_SWAP,
    changed,
    comparison,
    dataset,
    evaluated,
    explained,
    ids,
    sharper,
    with_bias,
)
from tests.tiny import byte_tokenizer, save_tiny, tiny_model
from tests.train.running import build, settings

TOKEN = 77


def spy(monkeypatch, module):
    """Keep what `write_texts` gave this module."""
    written, real = [], module.write_texts

    def keep(*arguments, **options):
        written.append(real(*arguments, **options))
        return written[-1]

    monkeypatch.setattr(module, "write_texts", keep)
    return written


def spy_on_swaps(monkeypatch):
    """Keep the texts of every hybrid of the block swap."""
    written, real = [], block_swap_module.see_hybrids

    def keep(*arguments):
        seen = real(*arguments)
        written.extend(each.texts for each in seen)
        return seen

    monkeypatch.setattr(block_swap_module, "see_hybrids", keep)
    return written


@pytest.fixture(scope="module")
def itself(model_folder):
    return comparison(model_folder, tiny_model)


def test_a_copy_agrees_with_its_original_in_every_number(itself):
    evaluation, arms, columns = evaluated(itself)
    for prefix in ("TF", "OP"):
        agreement = f"top1_agreement_{prefix.lower()}"
        for metric in (agreement, "spearman", "spearman_top100", "rank_1"):
            assert columns["tuned", metric, prefix] == pytest.approx(1, abs=1e-12), metric
        assert (columns["tuned", "rank_gt_10", prefix] == 0).all()
    for scores in (arms["tuned"].forced, arms["tuned"].own):
        assert (scores.chosen_rank_NK == 1).all()
    own = {metric: values for (arm, metric, prefix), values in columns.items() if arm == "original"}
    for (arm, metric, _), values in columns.items():
        if arm == "tuned":
            np.testing.assert_array_equal(values, own[metric])
    [matched] = evaluation.matching
    assert matched.greedy_differences == 0
    for kind in (matched.per_context, matched.per_step):
        # The entropy is within 1e-4 nats at tau = 1 already, where the search starts.
        assert kind.p5 == kind.p95 == 1
        assert kind.largest_residual_nats < 1e-4
    assert matched.one_for_all.tau == pytest.approx(1, abs=1e-3)
    for name in ("original_sampled", "original_entropy_matched_sampled", "tuned_sampled"):
        assert [ids(d) for d in arms[name].draws] == [ids(d) for d in arms["tuned_sampled"].draws]


def test_a_copy_has_nothing_to_explain(itself):
    _, found = explained(itself)
    for row in found["geometry"]["layers"]:
        assert row["cosine"]["mean"] == pytest.approx(1, abs=1e-12)
        assert (row["l2"]["mean"], row["l2_relative"]["mean"]) == (0, 0)
        assert tuple(row["delta_dim"].values()) == (0, 0, 0)
    assert found["static_bias"]["static_share"] is None
    assert (found["static_bias"]["rows"], found["static_bias"]["reason"]) == (
        [],
        "no logit changed",
    )
    assert found["provenance"]["written"]["shares"]["rank_1"]["mean"] == 1
    ones = [row for row in found["tokens"]["rows"] if row["rank_class"] == "1"]
    assert [row["tokens"] for row in ones] == [6 * CONTINUATION]
    swap = found["block_swap"]
    assert {row["ttr"]["mean"] for row in swap["rows"]} == {
        swap["references"]["tuned"]["ttr"]["mean"]
    }
    assert all(row["top1_agreement_original"]["mean"] == 1 for row in swap["rows"])
    assert "no effect to locate" in swap["in_words"]


def test_a_block_swap_between_equal_models_changes_no_text(itself, monkeypatch):
    """The hybrids are decoded here: the copy's embeddings differ in a row that no text uses."""
    written = spy_on_swaps(monkeypatch)

    def copy():
        model = tiny_model()
        with torch.no_grad():
            model.model.embed_tokens.weight[259] += 1
        return model

    explanation, found = explained(comparison(itself.model.name, copy))
    assert found["block_swap"]["shared_blocks"] == 0
    assert len(written) == 2 * 4
    assert all(texts == explanation.texts for texts in written)


def test_one_shifted_logit_is_a_static_bias_and_its_injection_is_the_tuned_model(
    model_folder, monkeypatch
):
    written, real = [], static_bias_module.texts_of
    monkeypatch.setattr(
        static_bias_module, "texts_of", lambda *given: written.append(real(*given)) or written[-1]
    )
    size, data = 6.0, dataset(12)
    compared = comparison(model_folder, lambda: with_bias(TOKEN, size), data=data)
    _, arms, columns = evaluated(compared)
    # Of 100 flips the smallest p, times the six shifts that are tested, would not be below .05.
    explanation, found = explained(compared, EXPLAIN.model_copy(update={"resamples": 500}))
    bias = found["static_bias"]
    assert bias["static_share"] == pytest.approx(1, abs=1e-6)
    assert bias["static_share_low"] == pytest.approx(1, abs=1e-6)
    first, second = bias["most_promoted"][:2]
    assert first["id"] == TOKEN
    assert first["mean_rank_improvement"] > 0 >= second["mean_rank_improvement"]
    vocabulary = 257
    assert first["mean_logit_shift"] == pytest.approx(size * (1 - 1 / vocabulary), abs=1e-5)
    assert second["mean_logit_shift"] == pytest.approx(-size / vocabulary, abs=1e-5)
    assert bias["strength_0_equals_original"] == 1

    tuned = ids(arms["tuned"].fixed)
    assert tuned != explanation.texts, "the bias changes texts"
    [variants] = written
    assert len(variants) == 1 + 2 + 2 + 2 + 2 * 2
    at_one = {
        ("promoted", 1.0): variants[2], ("in_sample", 1.0): variants[4], ("all", 1.0): variants[6]
    }  # fmt: skip
    assert variants[0] == explanation.texts
    assert all(found_texts == tuned for found_texts in at_one.values())
    for row in bias["rows"]:
        if (row["kind"], row["strength"]) in at_one:
            assert row["share_of_gain"] == pytest.approx(1)
            assert row["share_of_gain_low"] == pytest.approx(1)
            assert (row["top1_agreement_tuned"]["mean"], row["equals_tuned"]) == (1, 1)
            assert row["ttr"]["mean"] == pytest.approx(columns["tuned", "ttr", None].mean())
    # Nothing below the head differs: geometry sees nothing, the head alone brings the effect.
    assert all(row["l2"]["mean"] == 0 for row in found["geometry"]["layers"])
    swap = {(row["hybrid"], row["blocks"]): row for row in found["block_swap"]["rows"]}
    assert swap["tuned_upper", 0]["top1_agreement_tuned"]["mean"] == 1
    assert "final norm and head alone" in found["block_swap"]["in_words"]
    # In words: the texts are the tuned model's, and random tokens move TTR by more.
    words = bias["verdict_in_words"]
    assert words.startswith(
        "At strength 1 the shift of the promoted tokens gives the tuned model's texts, every one "
        "of them: here the change is one constant shift."
    )
    random = next(r for r in bias["rows"] if (r["kind"], r["strength"]) == ("random", 1.0))
    assert random["share_of_gain"] > 1
    assert f"the same values on random tokens {random['share_of_gain']:.0%}" in words
    assert "TTR does not show that it matters which tokens are shifted" in words
    assert "with a shift at most at every one (the promoted tokens, strength 1)" in words
    geometry = found["geometry"]
    assert geometry["first_different_layer"] is None
    assert "layers 0-3; what differs stands above the blocks" in geometry["regions_in_words"]
    assert geometry["regions"]["l2_jump"] is None
    assert geometry["regions"]["l2_jump_reason"] == "both models are equal before the last layer"
    assert found["block_swap"]["placed"] == {"outcome": "TTR", "enough": 0, "too_few": None}


def test_a_head_with_a_bias_is_compared_but_not_trained():
    assert anatomy(with_bias(TOKEN, 1.0)).head.bias is not None
    for method in ("late_stage_lora", "full_lora", "full_sft"):
        with pytest.raises(InputError, match="the head of this 'llama' model .*bias=True"):
            build(with_bias(TOKEN, 1.0), settings(method))


@pytest.mark.parametrize(
    ("family", "block"), [("llama", 0), ("llama", 1), ("llama", 2), ("gpt2", 1), ("qwen2", 0)]
)
def test_a_changed_block_is_placed_by_geometry_and_by_block_swap(
    block, family, tmp_path, monkeypatch
):
    written = spy_on_swaps(monkeypatch)
    folder = save_tiny(tmp_path, family)
    config = ExplainConfig(resamples=100, strengths=(), random_draws=0, device="cpu")
    compared = comparison(folder, lambda: changed(block, family))
    explanation, found = explained(compared, config)
    layers = found["geometry"]["layers"]
    for space in (BLOCK_OUTPUT, RMS_NORMALISED):
        rows = {row["layer"]: row for row in layers if row["space"] == space}
        assert list(rows) == [0, 1, 2, 3]
        for layer, row in rows.items():
            differs = layer > block
            assert (row["l2"]["mean"] > 0.01) == differs
            assert (row["cosine"]["mean"] < 0.9999) == differs
            assert (row["delta_dim"]["value"] != 0) == differs
    assert [row["layer"] for row in layers if row["space"] == FINAL_NORM] == [3]

    swap = found["block_swap"]
    assert swap["shared_blocks"] == block
    tuned = evaluated(compared)[1]["tuned"]
    ends = {"original": explanation.texts, "tuned": ids(tuned.fixed)}
    assert ends["original"] != ends["tuned"]
    texts = iter(written)
    for row in swap["rows"]:
        takes_it = row["blocks"] >= 3 - block
        lower, upper = ("original", "tuned")
        if row["hybrid"] == "original_upper":
            lower, upper = upper, lower
        same_as = upper if takes_it else lower
        assert row[f"top1_agreement_{same_as}"]["mean"] == 1
        if not (takes_it and block):  # there the hybrid is the other model, and is not decoded
            assert next(texts) == ends[same_as]
        reference = swap["references"][same_as]
        assert {name: row[name] for name in reference} == reference
    assert next(texts, None) is None
    # In words: by the choices, which place a plant exactly whatever TTR does.
    geometry, last = found["geometry"], 3 - block
    assert geometry["first_different_layer"] == block + 1
    assert f"identical below block {block + 1} of 3" in geometry["regions_in_words"]
    place = f"The tuned model's last {last} of 3 blocks, on the original's lower blocks, bring"
    assert f"{place}{'s' if last == 1 else ''} all of the change in choices" in swap["in_words"]
    assert f"the original's last {last} of 3 blocks on the tuned lower ones" in swap["in_words"]
    assert swap["placed"]["enough"] == last
    assert swap["placed"]["too_few"] == last - 1
    if swap["gain"]["reason"]:
        assert "No gain in TTR to locate" in swap["in_words"]
        assert "of the gain" not in swap["in_words"]
    if geometry["regions"]["terminal"] is not None:
        assert "not shown" not in geometry["terminal_expansion_in_words"].split(".")[0]


def test_a_scaled_block_is_placed_without_a_gain_in_ttr(tmp_path):
    """Block 3 of 6 scaled: TTRs hardly differ, so only the choices can tell where."""

    def scaled():
        model = tiny_model("gpt_neox", blocks=6)
        with torch.no_grad():
            for parameter in list(anatomy(model).blocks.values())[2].parameters():
                parameter *= 3
        return model

    tiny_model("gpt_neox", blocks=6).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    _, found = explained(comparison(tmp_path, scaled))
    swap, geometry = found["block_swap"], found["geometry"]
    assert "identical below block 3 of 6" in geometry["regions_in_words"]
    assert swap["gain"]["reason"] is not None
    assert {row["share_of_gain"] for row in swap["rows"]} == {None}
    assert {row["share_of_gain_reason"] for row in swap["rows"]} == {swap["gain"]["reason"]}
    assert swap["placed"] == {"outcome": "choices", "enough": 4, "too_few": 3}
    assert "The tuned model's last 4 of 6 blocks, on the" in swap["in_words"]
    assert "% of the gain" not in swap["in_words"] + found["static_bias"]["verdict_in_words"]


def test_numbers_of_blocks_that_were_not_tried_are_said(model_folder):
    config = NO_SWAP.model_copy(update={"swap_contexts": None, "swap_blocks": (0, 3)})
    _, found = explained(comparison(model_folder, lambda: changed(1)), config)
    swap = found["block_swap"]
    assert swap["placed"] == {"outcome": "choices", "enough": 3, "too_few": 0}
    assert "(final norm and head alone are not enough, 0%" in swap["in_words"]
    assert "; 1 to 2 were not tried)" in swap["in_words"]
    assert (
        "needs 1 to 3 of the last 3 blocks (choices)"
        in (found["geometry"]["beside_block_swap_in_words"])
    )


def test_logits_doubled_below_a_soft_cap_change_no_text_and_no_state(tmp_path):
    """Not a temperature, because the cap bends; but it keeps the order of the logits."""

    def gemma(factor=1.0):
        model = tiny_model("gemma2", tie_word_embeddings=False, final_logit_softcapping=30.0)
        with torch.no_grad():
            model.lm_head.weight *= factor
        return model

    gemma().save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    explanation, found = explained(comparison(tmp_path, lambda: gemma(2.0)))
    assert 0 < found["static_bias"]["static_share"] < 1
    assert found["static_bias"]["tuned"]["ttr"] == found["static_bias"]["rows"][0]["ttr"]
    assert "writes the original's texts" in found["static_bias"]["verdict_in_words"]
    assert "there is no effect to locate" in found["block_swap"]["in_words"]
    assert found["geometry"]["first_different_layer"] is None
    assert explanation.texts


def test_doubled_logits_are_the_original_at_half_the_temperature(model_folder):
    evaluation, arms, columns = evaluated(comparison(model_folder, sharper))
    np.testing.assert_allclose(
        columns["original_entropy_matched", "tau_star", "TF"], 0.5, atol=1e-3
    )
    [matched] = evaluation.matching
    for kind in (matched.per_context, matched.per_step):
        assert kind.unsolved == 0
        assert kind.mean == pytest.approx(0.5, abs=1e-3)
        assert 0 < kind.largest_residual_nats <= 1e-4
    assert matched.per_step.n == 6 * CONTINUATION
    assert matched.one_for_all.tau == pytest.approx(0.5, abs=1e-3)
    for prefix in ("TF", "OP"):
        for metric in ("spearman", "spearman_top100", "rank_1"):
            np.testing.assert_allclose(columns["tuned", metric, prefix], 1)
    entropy = "prediction_entropy_nats"
    np.testing.assert_allclose(
        columns["original_entropy_matched", entropy, "TF"],
        columns["tuned", entropy, "TF"],
        atol=1e-4,
    )
    assert (columns["tuned", entropy, "TF"] < columns["original", entropy, "TF"] - 0.1).all()
    own = "prediction_entropy_own_nats"  # the same texts, so nearly the same entropies
    np.testing.assert_allclose(
        columns["original_entropy_matched", own, "OP"], columns["tuned", own, "OP"], atol=5e-3
    )
    texts = {name: ids(arms[name].fixed) for name in arms}
    assert texts["tuned"] == texts["original"] == texts["original_entropy_matched"]
    # Equal distributions and shared draws: nearly all sampled tokens are the same.
    both = ("tuned_sampled", "original_entropy_matched_sampled")
    same = np.mean([np.array(ids(d)) for d in arms[both[0]].draws]
                   == np.array([ids(d) for d in arms[both[1]].draws]))  # fmt: skip
    assert same > 0.9
    assert [ids(d) for d in arms["original_sampled"].draws] != [ids(d) for d in arms[both[0]].draws]


def verdict_of(folder, compared, config=EVALUATE):
    """What the report of a study of one tuned model answers to "only sharper?"."""
    evaluate(compared, config, folder)
    [sentence] = only_sharper.verdicts(read_study(StudyFolder(folder)))
    return sentence


@pytest.mark.parametrize("factor", [3.0, 0.5])
def test_a_pure_temperature_is_said_to_be_only_that(model_folder, tmp_path, factor):
    words = verdict_of(tmp_path, comparison(model_folder, lambda: sharper(factor)))
    word = "sharper" if factor > 1 else "flatter"
    assert f"is only {word}: the original at temperature {1 / factor:.2f}." in words


def test_a_copy_is_said_to_be_unchanged(model_folder, tmp_path):
    words = verdict_of(tmp_path, comparison(model_folder, tiny_model))
    assert "is not changed: it is the original at temperature 1.00" in words


@pytest.mark.parametrize("tuned", [lambda: changed(1), lambda: with_bias(TOKEN, 2.0)])
def test_what_is_no_temperature_is_said_to_be_none(model_folder, tmp_path, tuned):
    words = verdict_of(tmp_path, comparison(model_folder, tuned))
    assert "is not only sharper. Rejected by greedy text" in words
    assert "temperature of equal entropy (per step" in words


def test_only_sharper_is_not_shown_without_samples(model_folder, tmp_path):
    config = EVALUATE.model_copy(update={"sampling_seeds": 0})
    words = verdict_of(tmp_path, comparison(model_folder, sharper), config)
    assert "neither shown nor rejected. Open: sampled text (not sampled" in words


def test_a_temperature_of_each_context_misses_steps_and_contexts_of_no_temperature(model_folder):
    evaluation, _, _ = evaluated(comparison(model_folder, sharper))
    constant = evaluation.matching[0].one_temperature
    expected = constant.expected_nats
    assert constant.step_residual_nats == pytest.approx(expected, abs=1e-5) or (
        constant.step_residual_nats <= expected
    )
    assert expected <= 1e-4
    assert constant.spread_beyond_tolerance == pytest.approx(0, abs=1e-4)
    evaluation, arms, _ = evaluated(comparison(model_folder, lambda: changed(1)))
    constant = evaluation.matching[0].one_temperature
    left_NK = (
        arms["original_entropy_matched"].forced.tuned.entropy_NK
        - arms["tuned"].forced.tuned.entropy_NK
    )
    assert constant.step_residual_nats == pytest.approx(np.abs(left_NK).mean())
    assert constant.step_residual_nats > 100 * constant.expected_nats


def test_a_model_sharper_than_any_temperature_is_unsolved_and_said(model_folder):
    evaluation, _, columns = evaluated(comparison(model_folder, lambda: sharper(1e4)))
    [matched] = evaluation.matching
    assert matched.per_context.unsolved == 6
    assert matched.per_context.largest_residual_nats is None
    assert columns["original_entropy_matched", "tau_star", "TF"] == pytest.approx(0.05)
    assert matched.greedy_differences == 0


def test_one_context_gives_values_without_intervals(model_folder, tmp_path):
    compared = comparison(model_folder, lambda: with_bias(TOKEN, 2.0), data=dataset(1))
    study = StudyFolder(tmp_path / "study")
    evaluate(compared, EVALUATE, study.path)
    measured = read_json(study.measurements_file)
    # One text of random tokens has no words to look up.
    other = ("val_loss", "val_ppl", "nonwords")
    of_texts = [r for r in measured["rows"] if r["arm"] != "human" and r["metric"] not in other]
    assert {(r["n"], r["low"], r["high"]) for r in of_texts} == {(1, None, None)}
    assert {r["metric"] for r in of_texts if r["reason"] == OF_A_SET} == {"distinct_2"}
    assert {r["reason"] for r in of_texts if r["metric"] != "distinct_2"} == {NO_INTERVAL}
    assert all(t["p"] is None and t["reason"] for t in measured["tests"] if t["n"] == 1)
    write_explanation(study, compared, NO_SWAP, Progress())
    _, found = explained(compared, NO_SWAP)
    share = found["provenance"]["written"]["shares"]["rank_1"]
    assert share["mean"] is not None
    assert (share["low"], share["high"], share["n"]) == (None, None, 1)
    assert share["reason"] == "one context has no interval"
    bias = found["static_bias"]
    assert bias["static_share"] == pytest.approx(1, abs=1e-6)
    assert bias["rows"] == []
    assert "no other" in bias["reason"]
    assert "No hidden state differs" in found["geometry"]["terminal_expansion_in_words"]
    _, found = explained(comparison(model_folder, lambda: changed(1), data=dataset(1)), NO_SWAP)
    words = found["geometry"]["terminal_expansion_in_words"]
    assert words.startswith("A terminal expansion is not shown in any space.")
    assert words.count("no interval to rely on, not shown") == 3
    assert "no other region is shown" in found["geometry"]["regions_in_words"]


def test_no_gain_in_ttr_has_no_share(model_folder):
    """Doubled logits change every logit and no greedy text."""
    _, found = explained(comparison(model_folder, sharper), NO_SWAP)
    bias = found["static_bias"]
    assert 0 < bias["static_share"] < 1
    assert {row["share_of_gain"] for row in bias["rows"]} == {None}
    assert {row["share_of_gain_reason"] for row in bias["rows"]} == {"no context has a gain"}
    assert bias["static_share_low"] < bias["static_share"] < bias["static_share_high"]
    assert "writes the original's texts, all of them" in bias["verdict_in_words"]
    assert "choose alike at every position" in bias["verdict_in_words"]


def ragged_dataset():
    """Contexts of three lengths, in no order."""
    data = dataset()
    data.contexts.contexts[:] = [
        row[: CONTEXT - n % 3] for n, row in enumerate(data.contexts.contexts)
    ]
    return data


def test_contexts_of_different_lengths_are_each_told_by_their_own_numbers(
    model_folder, monkeypatch
):
    """Rows of one length come together, so not in the order of the contexts."""
    arrived, real = [], scores_module.paired_logits

    def watched(*arguments, **options):
        for found in real(*arguments, **options):
            arrived.append(found.row)
            yield found

    def in_order(*arguments, **options):
        yield from sorted(real(*arguments, **options), key=lambda found: found.row)

    def everything():
        compared = comparison(model_folder, lambda: changed(1), data=ragged_dataset())
        return evaluated(compared)[2], explained(compared, NO_SWAP)[1]

    monkeypatch.setattr(scores_module, "paired_logits", watched)
    columns, controls = everything()
    assert arrived[:6] == [0, 3, 1, 4, 2, 5]
    monkeypatch.setattr(scores_module, "paired_logits", in_order)
    expected_columns, expected_controls = everything()
    assert columns.keys() == expected_columns.keys()
    for name, values in columns.items():
        # A temperature is sought from the last context's on, so its last digits differ.
        np.testing.assert_allclose(
            values, expected_columns[name], rtol=1e-4, atol=1e-4, err_msg=str(name)
        )
    assert {"overrides", "static_bias", "joint_null", "lens"} <= controls.keys()
    assert controls == expected_controls


def test_contexts_of_different_lengths_are_compared_on_the_part_they_share(model_folder):
    data, ragged = dataset(), ragged_dataset()
    _, found = explained(comparison(model_folder, lambda: changed(1), data=ragged), NO_SWAP)
    assert {row["positions"] for row in found["geometry"]["layers"]} == {
        6 * (CONTEXT - 2 + CONTINUATION - 1)
    }
    _, found_even = explained(comparison(model_folder, lambda: changed(1), data=data), NO_SWAP)
    assert len(found["geometry"]["layers"]) == len(found_even["geometry"]["layers"]) == 9
    cut = dataset()
    for n, row in enumerate(ragged.contexts.rows()):
        first = CONTEXT - 2
        cut.contexts.contexts[n] = row[:first]
        cut.contexts.continuations[n] = row[first : first + CONTINUATION]
    _, found_cut = explained(comparison(model_folder, lambda: changed(1), data=cut), NO_SWAP)
    assert found["geometry"]["layers"] == found_cut["geometry"]["layers"]

"""Every control's record goes to JSON and back, and reads what version 0.1 wrote."""

import copy
import json
import re

import pytest

from hyperfitting.errors import InputError
from hyperfitting.records.controls import RECORDS, ControlFile
from hyperfitting.records.controls.provenance import RANK_CLASSES
from hyperfitting.records.origins import Environment
from hyperfitting.records.record import FieldError, as_json, read, read_file, write_file
from tests.comparing import EXPLAIN, changed, comparison, dataset, explained
from tests.report.planted import explained as planted
from tests.tiny import save_tiny, tiny_model

AGAIN = "run `hyperfit explain` again"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What every control finds of a model with a changed block, as records."""
    folder = save_tiny(tmp_path_factory.mktemp("model"))
    explanation, _ = explained(comparison(folder, changed), EXPLAIN)
    return {name: records[0] for name, records in explanation.found.items()}


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    """The same of a model that is its original, on one context: much is undefined."""
    folder = save_tiny(tmp_path_factory.mktemp("model"))
    explanation, _ = explained(comparison(folder, tiny_model, data=dataset(1)), EXPLAIN)
    return {name: records[0] for name, records in explanation.found.items()}


@pytest.mark.parametrize("study", ["found", "unchanged"])
@pytest.mark.parametrize("name", RECORDS)
def test_a_record_goes_to_json_and_back(name, study, request):
    record = request.getfixturevalue(study)[name]
    assert type(record) is RECORDS[name]
    content = json.loads(json.dumps(as_json(record), allow_nan=False))
    assert read(RECORDS[name], content) == record
    assert as_json(read(RECORDS[name], content)) == content


@pytest.mark.parametrize("name", RECORDS)
def test_a_file_of_a_control_goes_to_disk_and_back(name, found, tmp_path):
    kind, path = ControlFile[RECORDS[name]], tmp_path / f"{name}.json"
    file = kind(
        contexts_digest="1" * 64, model="m", num_contexts=6, explain={"seed": 0},
        environment=Environment(python="3", platform="p", threads=1, packages={}),
        arms=[found[name]],
    )  # fmt: skip
    write_file(path, file)
    assert read_file(kind, path, AGAIN) == file
    assert json.loads(path.read_text())["version"] == 2
    path.write_text(path.read_text().replace('"version": 2', '"version": 3', 1))
    with pytest.raises(InputError, match=r"newer hyperfitting: it is of version 3"):
        read_file(kind, path, AGAIN)


# The keys of each entry, as other programs read them.
KEYS = {
    "geometry": "layers first_different_layer regions last_step regions_in_words "
    "has_terminal_expansion terminal_expansion_in_words beside_block_swap_in_words",
    "geometry.layers[0]": "layer space cosine l2 l2_relative pr_original pr_tuned delta_dim "
    "delta_dim_relative delta_dim_with_first_token delta_dim_without_4_largest positions "
    "fewer_than_10_per_dimension",
    "geometry.layers[0].cosine": "mean low high n reason",
    "geometry.layers[0].delta_dim": "value low high",
    "geometry.regions": "identical stable compression terminal l2_jump l2_jump_low l2_jump_high "
    "l2_jump_reason",
    "geometry.last_step": "block_output rms_normalised",
    "geometry.last_step.block_output": "first_step_to_layer steps minus_mean_of_others reason",
    "provenance": "written human ranks tokens",
    "provenance.human": "shares histogram by_position",
    "provenance.human.shares": "rank_1 rank_2_10 rank_11_200 rank_gt_200",
    "provenance.human.histogram": "edges counts",
    "static_bias": "static_share static_share_low static_share_high static_share_reason in_words "
    "promoted_tokens positions rank_positions most_promoted strength_0_equals_original gain rows "
    "tuned strength_ttr_spearman verdict_in_words reason",
    "static_bias.gain": "value low high reason",
    "static_bias.most_promoted[0]": "id text mean_rank_improvement mean_logit_shift",
    "static_bias.rows[1]": "kind strength p_holm draws ttr bigram_repetition looped "
    "top1_agreement_tuned equals_tuned ttr_minus_original ttr_minus_random share_of_gain "
    "share_of_gain_low share_of_gain_high share_of_gain_reason",
    "static_bias.rows[1].ttr_minus_random": "value low high reason",
    "joint_null": "rows gain original tuned agreement_without in_words reason",
    "joint_null.rows[0]": "kind temperatures share_explained top1_agreement_tuned equals_tuned ttr "
    "bigram_repetition looped",
    "joint_null.rows[0].share_explained": "value low high n reason",
    "block_swap": "num_blocks shared_blocks rows references gain differing_choices placed in_words",
    "block_swap.rows[0]": "hybrid blocks ttr bigram_repetition looped top1_agreement_original "
    "top1_agreement_tuned share_of_gain share_of_gain_low share_of_gain_high share_of_gain_reason",
    "block_swap.references": "original tuned",
    "block_swap.placed": "outcome enough too_few",
    "single_blocks": "num_blocks shared_blocks rows original tuned agreement in_words",
    "single_blocks.rows[0]": "change block ttr bigram_repetition looped top1_agreement_tuned",
    "rotation": "rows hybrids original tuned agreement others_changed in_words reason",
    "rotation.rows[0]": "block matrices relative_change values_share values_share_by_chance",
    "rotation.hybrids[0]": "part ttr bigram_repetition looped top1_agreement_tuned",
    "lens": "num_blocks promoted positions rows last_block in_words reason",
    "lens.rows[0]": "layer rank_tuned rank_original passed",
    "lens.rows[0].passed": "value low high n reason",
    "overrides": "rows rise in_words reason",
    "overrides.rows[0]": "low_nats high_nats positions overridden drawn",
    "tokens": "function_words_version rows",
    "tokens.rows[0]": "rank_class tokens share kinds seen_before avoids_repeat",
}


@pytest.mark.parametrize("place", KEYS)
def test_files_have_the_fields_that_they_always_had(place, found):
    content = {name: as_json(record) for name, record in found.items()}
    for step in re.findall(r"\w+", place):
        content = content[int(step) if step.isdigit() else step]
    keys = KEYS[place].split()
    named = ["arm", "seed", "parameters"] if place in RECORDS else []
    assert sorted(content) == sorted([*keys, *named])


# Fields that version 0.1 did not write, or not always.
SINCE = {
    "geometry": [
        "first_different_layer", "regions", "last_step", "has_terminal_expansion",
        "beside_block_swap_in_words", "layers[0].delta_dim_relative",
    ],
    "provenance": [],
    "static_bias": [
        "static_share_low", "static_share_high", "static_share_reason", "reason", "gain",
        "rows[1].top1_agreement_tuned", "rows[1].share_of_gain_low", "rows[1].share_of_gain_high",
        "rows[1].share_of_gain_reason", "rows[1].equals_tuned", "rows[1].ttr_minus_random",
        "rows[1].p_holm", "strength_ttr_spearman",
    ],
    "joint_null": ["gain", "original", "tuned", "agreement_without", "reason"],
    "block_swap": [
        "shared_blocks", "gain", "differing_choices", "placed", "rows[0].share_of_gain",
        "rows[0].share_of_gain_low", "rows[0].share_of_gain_high", "rows[0].share_of_gain_reason",
    ],
    "single_blocks": [],
    "rotation": ["original", "tuned", "agreement", "others_changed", "reason"],
    "lens": ["last_block", "reason"],
    "overrides": ["rise", "reason"],
    "tokens": [],
}  # fmt: skip


def without(content, place):
    """A copy without one field, and whether it had it."""
    content = copy.deepcopy(content)
    *steps, last = re.findall(r"\w+", place)
    inside = content
    for step in steps:
        inside = inside[int(step) if step.isdigit() else step]
    inside.pop(last)
    return content


@pytest.mark.parametrize(("name", "place"), [(n, p) for n in SINCE for p in SINCE[n]])
def test_a_file_of_version_0_1_may_lack_what_came_later(name, place, found):
    old = without(as_json(found[name]), place)
    record = read(RECORDS[name], old)
    assert record.arm == found[name].arm
    if place == "rows[1].top1_agreement_tuned":
        assert record.rows[1].top1_agreement_tuned.value is None
        assert "version that wrote this file" in record.rows[1].top1_agreement_tuned.reason
    if place == "rows[0].share_of_gain":
        assert record.rows[0].gained.value is None


@pytest.mark.parametrize("name", RECORDS)
def test_a_whole_entry_of_version_0_1_is_read(name):
    record = read(RECORDS[name], planted("hyperfitted", 0, {})[name])
    assert (record.arm.name, record.arm.seed) == ("hyperfitted", 0)


def put(content, place, value):
    *steps, last = re.findall(r"\w+", place)
    for step in steps:
        content = content[int(step) if step.isdigit() else step]
    content[last] = value


@pytest.mark.parametrize(
    ("name", "place", "value", "words"),
    [
        ("geometry", "layers[3].l2.n", None, "layers[3].l2.n is null, a whole number is needed"),
        ("geometry", "layers[0].cosine", 1.0, "layers[0].cosine is 1.0, a mapping is needed"),
        ("geometry", "layers[0].pr_tuned.low", "x", "layers[0].pr_tuned.low is 'x', a number is"),
        ("geometry", "layers", [], "layers is a list"),
        ("geometry", "seed", "0", "seed is '0', a whole number is needed"),
        ("provenance", "human.shares.rank_1", None, "human.shares.rank_1 is null, a mapping is"),
        ("provenance", "written.histogram.edges", [1], "histogram.edges has 1 edges for"),
        ("provenance", "ranks", [[0.5]], "ranks[0][0] is 0.5"),
        ("static_bias", "rows[1].strength", None, "rows[1].strength is null, a number is needed"),
        ("static_bias", "gain.value", None, "gain.value is null, a number is needed"),
        ("static_bias", "most_promoted[0].text", 3, "most_promoted[0].text is 3, a text is needed"),
        ("block_swap", "rows[2].blocks", 1.5, "rows[2].blocks is 1.5"),
        ("block_swap", "references.tuned.ttr.mean", float("inf"), "references.tuned.ttr.mean is"),
        ("block_swap", "placed", 3, "placed is 3, a mapping is needed"),
        ("tokens", "rows[0].kinds", [], "rows[0].kinds is a list, a mapping is needed"),
        ("tokens", "rows[4].seen_before.n", True, "rows[4].seen_before.n is True, a whole number"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_in_full(name, place, value, words, found):
    content = as_json(found[name])
    put(content, place, value)
    with pytest.raises(FieldError, match=re.escape(words)) as caught:
        read(RECORDS[name], content, "arms[0]")
    assert str(caught.value).startswith("arms[0].")


def test_the_shares_of_a_text_are_of_every_class_and_sum_to_1(found):
    for ranks in (found["provenance"].written, found["provenance"].human):
        assert tuple(name for name, _ in ranks.shares.items()) == RANK_CLASSES
        assert sum(share.value for _, share in ranks.shares.items()) == pytest.approx(1)

"""What `hyperfit explain` left is read once and checked; tables and figures show those numbers."""

import json

import numpy as np
import pytest

from hyperfitting.config.methods import METHODS
from hyperfitting.errors import InputError
from hyperfitting.records import ORIGINAL, Arm
from hyperfitting.records.controls import RECORDS
from hyperfitting.records.controls.geometry import Geometry
from hyperfitting.records.controls.static_bias import StaticBias
from hyperfitting.report.explanation import read_explained
from hyperfitting.report.figures import layers, ranks, style, text, training
from hyperfitting.report.load import read_study
from hyperfitting.report.sections import place, static, tokens
from hyperfitting.runs import StudyFolder
from tests.report.planted import DIGEST, explained, plant

PARTS = sorted(RECORDS)


@pytest.fixture
def study(folder):
    return read_study(folder)


def change(folder, part, edit):
    path = folder.explain_file(part)
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_a_folder_without_controls_is_empty(tmp_path):
    found = read_explained(StudyFolder(tmp_path), DIGEST)
    assert found.arms == []


@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_file_names_itself_and_the_remedy(folder, part):
    folder.explain_file(part).write_text("{")
    with pytest.raises(InputError, match=rf"{part}\.json") as caught:
        read_study(folder)
    assert f"run `hyperfit explain {folder.path}` again" in str(caught.value)


@pytest.mark.parametrize("part", PARTS)
def test_files_of_other_texts_are_refused(folder, part):
    change(folder, part, lambda content: content.update(contexts_digest="2" * 64))
    with pytest.raises(InputError, match=r"other held-out texts") as caught:
        read_study(folder)
    assert "hyperfit explain" in str(caught.value)


def keys(content, path=()):
    """Every path to a field of a nested mapping; of a list its first entry."""
    if isinstance(content, list):
        content, path = (content[0] if content else {}), (*path, 0)
    if isinstance(content, dict):
        for key, value in content.items():
            yield (*path, key)
            yield from keys(value, (*path, key))


# What only some studies have, or version 0.1 did not write; the kinds of tokens are any words.
OPTIONAL = {
    "geometry": {"beside_block_swap_in_words", "layers.0.delta_dim_relative"},
    "provenance": set(),
    "static_bias": {
        "rows.0.p_holm", "promoted_tokens", "positions", "rank_positions", "most_promoted",
        "most_promoted.0.id", "strength_0_equals_original", "tuned", "verdict_in_words",
    },
    "joint_null": {"gain", "original", "tuned", "agreement_without", "rows.0.share_explained.n"},
    "block_swap": {"shared_blocks"},
    "single_blocks": set(),
    "rotation": {"original", "tuned", "agreement"},
    "lens": {
        "last_block", "last_block.n", "rows.0.rank_tuned.n", "rows.0.rank_original.n",
        "rows.0.passed.n",
    },
    "overrides": {"rise", "rows.0.overridden.n", "rows.0.drawn.n", "rise.n"},
    "tokens": {"rows.0.kinds.function_word"},
}  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_every_missing_field_is_an_error_of_the_input(folder, part):
    entry = explained("hyperfitted", 0, {})[part]
    missing = [p for p in keys(entry) if ".".join(map(str, p)) not in OPTIONAL[part]]
    assert len(missing) > 5
    original = folder.explain_file(part).read_text()
    for path in missing:
        content = json.loads(original)
        place = content["arms"][0]
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]
        folder.explain_file(part).write_text(json.dumps(content))
        with pytest.raises(InputError, match="does not fit this version") as caught:
            read_explained(folder, DIGEST)
        assert f"{path[-1]} is missing" in str(caught.value)
        folder.explain_file(part).write_text(original)
    read_explained(folder, DIGEST)


@pytest.mark.parametrize("content", [[], 3, None, {"arms": 3, "contexts_digest": DIGEST}])
def test_a_file_of_another_shape_is_an_error_of_the_input(folder, content):
    folder.explain_file("tokens").write_text(json.dumps(content))
    with pytest.raises(InputError, match="does not fit"):
        read_explained(folder, DIGEST)


def test_a_histogram_that_does_not_fit_is_an_error_of_the_input(folder):
    change(folder, "provenance", lambda c: c["arms"][0]["human"]["histogram"]["edges"].pop())
    with pytest.raises(InputError, match="3 edges for 3 counts"):
        read_explained(folder, DIGEST)


def test_a_model_without_change_has_no_static_share(folder):
    def unchanged(content):
        arm = {k: content["arms"][0][k] for k in ("arm", "seed", "parameters")}
        content["arms"] = [arm | {"static_share": None, "in_words": "Undefined.", "rows": []}]

    change(folder, "static_bias", unchanged)
    study = read_study(folder)
    [found] = study.explained.of(StaticBias)
    assert found.static_share is None
    assert not static.strengths(study, found)
    assert not static.static_bias(study)


def test_tables_of_the_controls(study):
    [found] = study.explained.of(StaticBias)
    rows = [[cell.line for cell in row] for row in static.strengths(study, found).rows]
    assert rows[0] == ["0", "0.200 [0.180, 0.220] (n=2)", "–"]
    assert rows[1] == [
        "0.01", "0.200 [0.180, 0.220] (n=2) p = .040", "0.200 [0.180, 0.220] (n=2) p = 1",
    ]  # fmt: skip
    assert rows[-1][:2] == ["the tuned model", "0.200 [0.180, 0.220] (n=2)"]
    last = place.geometry(study, last_only=True)
    assert [row[2].value for row in last.rows] == list(place.TAPS.values())
    assert last.rows[0][8].text == "+2.0 [+1.0, +3.0]"
    assert len(place.geometry(study).rows) == 5
    undefined = place.geometry(study).rows[0][8]
    assert (undefined.value, undefined.reason) == ("–", "the hidden states do not vary")
    swap = place.block_swap(study)
    assert [row[2].value for row in swap.rows] == ["1", "0", "1", "0", "–", "–"]
    assert [row[3].value for row in swap.rows[:4]] == ["0.700", "0.200", "0.200", "0.700"]
    kinds = tokens.token_kinds(study)
    assert kinds.rows[0][-1].reason == "the original makes the same choice"
    assert kinds.rows[1][-1].value == "0.100"


def lines(axes):
    return {(tuple(line.get_xdata()), tuple(line.get_ydata())) for line in axes.lines}


def test_the_geometry_figure_draws_the_numbers(study):
    cosine, absolute, distance, plain, summed, normalised = layers.geometry(study).axes
    assert ((0, 1), (1.0, 0.75)) in lines(cosine)
    assert ((0, 1), (1.0, 21.0)) in lines(absolute)
    assert ((0, 1), (0.1, 0.6)) in lines(distance)
    assert ((1,), (2.0,)) in lines(plain)  # undefined at layer 0
    assert {((1,), (2.0,)), ((2,), (2.0,)), ((2, 2), (1.0, 3.0))} <= lines(normalised)
    assert normalised.get_xticklabels()[-1].get_text() == "norm"
    assert ((1,), (2.0,)) in lines(summed)


def test_changes_in_dimensions_are_summed_from_the_first_layer_on(study):
    found = study.explained.of(Geometry)[0]
    [layer] = [each for each in found.tap("block_output") if each.layer == 1]
    more = [layer.model_copy(update={"layer": n}) for n in (2, 3)]
    longer = found.model_copy(update={"layers": [*found.layers, *more]})
    assert layers.dimensions_summed(longer) == ([1, 2, 3], [2.0, 4.0, 6.0])


def test_the_block_swap_figure_draws_both_hybrids_in_order(study):
    (axes,) = layers.block_swap(study).axes
    assert {((0, 1), (0.2, 0.7)), ((0, 1), (0.7, 0.2))} <= lines(axes)


def test_block_swap_has_a_panel_for_every_seed(tmp_path):
    study = read_study(plant(tmp_path / "study", seeds=(0, 1, 2, 3)))
    shown = [axes for axes in layers.block_swap(study).axes if axes.axison]
    assert [axes.get_title() for axes in shown] == [f"hyperfitted (seed {s})" for s in range(4)]


def test_the_histogram_is_of_shares(study):
    figure = ranks.provenance(study)
    steps = figure.axes[0].patches
    assert len(steps) == 2
    for step in steps:
        values, edges, _ = step.get_data()
        assert np.allclose(values, [0.5, 0.375, 0.125])
        assert list(edges) == [1, 2, 4, 8]
    widths = [patch.get_width() for patch in figure.axes[1].patches]
    assert np.allclose(sum(widths), 2.0)  # two stacked bars


def test_the_last_piece_of_a_smoothed_line_may_be_short():
    places, means = ranks._means(np.arange(10.0))
    assert places == [4.5, 9.5]
    assert means == [3.5, 8.5]


def test_the_sharpness_figure_places_controls_at_their_models_entropy(study):
    (axes,) = text.sharpness(study).axes
    points = {key for key in lines(axes) if len(key[0]) == 1}
    assert points == {
        ((3.0,), (0.12,)), ((3.0,), (0.8,)), ((1.5,), (0.7,)), ((1.5,), (0.75,)),
        ((1.5,), (0.12,)), ((1.5,), (0.62,)),
    }  # fmt: skip


def test_figures_without_data_are_none(tmp_path):
    study = read_study(plant(tmp_path / "study", is_explained=False, is_foreign=True, arm="tuned",
                             seeds=(None,)))  # fmt: skip
    drawn = (layers.geometry, layers.block_swap, ranks.provenance, training.training_curves)
    assert [draw(study) for draw in drawn] == [None] * 4


def test_seeds_share_a_look_and_parameters_do_not():
    arms = [Arm("late_stage_lora", s, (("last_blocks", k),)) for k in (2, 5) for s in (0, 1)]
    looks = [style.look(arm, arms) for arm in arms]
    assert looks[0] == looks[1] != looks[2] == looks[3]
    assert {of.colour for of in looks} == {style.colour_of("late_stage_lora")}
    assert style.look(Arm("hyperfitted", 0).sampled()).is_hollow
    matched = style.look(ORIGINAL.matched(Arm("full_lora", 0)))
    assert matched.colour == style.COLOURS["original"]
    assert matched.marker == style.marker_of("full_lora")


def test_arms_that_stand_together_are_told_apart():
    methods = [method.arm for method in METHODS.values()]
    together = [*style.COLOURS.keys() - {"tuned"}, *methods]
    assert len({style.colour_of(name) for name in together}) == len(together)
    trained = ["best_val_checkpoint", *methods]
    assert len({style.marker_of(name) for name in trained}) == len(trained)
    assert style.colour_of("of_no_table") == style.INK


def test_labels_are_no_markup_and_no_mathematics(tmp_path):
    odd = {"a": "$x_{$ <b> --> 1"}
    study = read_study(plant(tmp_path / "study", parameters=odd))
    svg = style.to_svg(layers.geometry(study), 'a "title"')
    assert 'aria-label="a &quot;title&quot;"' in svg
    assert "<b>" not in svg
    assert svg.count("<svg") == svg.count("</svg>") == 1
    for comment in svg.split("<!--")[1:]:
        assert "-->" in comment
        assert "--" not in comment.split("-->")[0]

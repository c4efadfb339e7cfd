"""A plan becomes cells and trainings, each a command that trains exactly what was planned."""

import pytest

from hyperfitting.config.layers import Layer, flatten, read_config_file, read_overrides
from hyperfitting.config.methods import METHODS
from hyperfitting.config.plan import cells, named_plan, resolve_plan
from hyperfitting.config.plans import PLANS
from hyperfitting.config.resolve import preset_layer, resolve_run
from hyperfitting.errors import InputError
from hyperfitting.study.steps import changed, training_command
from hyperfitting.verbs import study

SMALL = {"models": ["builtin"], "sources": ["builtin:fiction"], "methods": ["full_sft"]}


def plan_of(**settings):
    return resolve_plan([Layer("plan", flatten(SMALL | settings))])


def config_of(command):
    """What `hyperfit train` makes of these words, read by hand."""
    name, model, *words = command
    assert name == "train"
    flags, settings = {}, []
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            flags[word] = words.pop(0)
        else:
            settings.append(word)
    method = flags["--method"]
    named = {"model.name": model, "data.source": flags["--data"], "train.method": method}
    layers = [*preset_layer(flags.get("--preset"), method), Layer("flags", named)]
    return resolve_run([*layers, *([read_overrides(settings)] if settings else [])]).config


@pytest.mark.parametrize("name", PLANS)
def test_the_command_of_every_training_trains_what_was_planned(name, tmp_path):
    plan = resolve_plan([named_plan(name)])
    runs = [(cell, run) for cell in cells(plan) for run in cell.runs]
    for cell, run in runs:
        command = training_command(cell, run, tmp_path / "run")
        assert config_of(command) == run.config
    config = plan.config
    count = len(config.methods) + len(config.nulls)
    cells_count = len(config.models) * len(config.sources)
    assert len(runs) == cells_count * len(config.seeds) * count


def test_settings_reach_the_trainings_they_apply_to_and_texts_keep_their_spelling():
    plan = plan_of(
        methods=["full_sft", "late_stage_lora"],
        seeds=[3],
        train={"epochs": 7, "lora": {"rank": 4}, "last_blocks": 2},
        data={"text_field": "1e5", "csv_header": False, "template_date": "2026-01-10"},
        variants={"r8": {"train.lora.rank": 8}, "few": {"data": {"num_train": 5}}},
    )
    (cell,) = cells(plan)
    by_folder = {run.folder: run for run in cell.runs}
    assert list(by_folder) == [
        "hyperfitted-seed-3",
        "hyperfitted-few-seed-3",
        "late_stage_lora-seed-3",
        "late_stage_lora-r8-seed-3",
        "late_stage_lora-few-seed-3",
    ]
    ranks = [by_folder[f].config.train.lora.rank for f in list(by_folder)[2:]]
    assert ranks == [4, 8, 4]
    assert by_folder["hyperfitted-few-seed-3"].config.data.num_train == 5
    for run in cell.runs:
        assert (run.config.train.epochs, run.config.train.seed) == (7, 3)
        assert config_of(training_command(cell, run, "run")) == run.config


def test_models_are_evaluated_and_explained_where_they_train():
    plan = plan_of(model={"device": "cpu"}, explain={"device": "auto"})
    assert (plan.config.evaluate.device, plan.config.explain.device) == ("cpu", "auto")
    assert changed(plan.config.evaluate) == {"device": "cpu"}


def test_nulls_are_of_the_first_method_and_of_every_seed():
    plan = plan_of(methods=["late_half_sft", "full_sft"], seeds=[0, 5], nulls=["shuffled"],
                   explained=[])  # fmt: skip
    folders = [run.folder for run in cells(plan)[0].runs]
    assert [f for f in folders if "shuffled" in f] == [
        "late_half-shuffled-seed-0",
        "late_half-shuffled-seed-5",
    ]
    assert len(folders) == 6


def test_models_of_one_name_have_folders_of_their_own():
    plan = plan_of(models=["a/x", "b/x", "c/X "[:3]], sources=["t.jsonl", "../t.jsonl"])
    names = [cell.name for cell in cells(plan)]
    assert len(set(names)) == len(names) == 6
    assert all("/" not in name for name in names)


def test_a_protocol_holds_but_for_what_the_plan_sets():
    plan = plan_of(protocol="paper", methods=[*METHODS], explained=[], train={"epochs": 30})
    for run in cells(plan)[0].runs:
        assert (run.config.train.epochs, run.config.data.max_train) == (30, 2_000)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"methds": ["full_sft"]}, ["unknown setting 'methds'", "did you mean 'methods'?"]),
        ({"train": {"epoch": 3}}, ["unknown setting 'train.epoch'", "'train.epochs'"]),
        ({"methods": ["full_stf"]}, ["full_stf", "did you mean 'full_sft'?"]),
        ({"model": {"name": "x"}}, ["'model.name'", "does not apply to a plan", "models"]),
        ({"train": {"seed": 1}}, ["'train.seed'", "seeds"]),
        ({"train": {"lora": {"rank": 3}}}, ["'train.lora.rank'", "none of full_sft takes"]),
        ({"variants": {"r": {"train.lora.rank": 3}}}, ["variant 'r'", "none of full_sft"]),
        ({"variants": {"w": {"data.window_tokens": 99}}}, ["variant 'w'", "begins with one of"]),
        ({"variants": {"w": {"monitor.num_windows": 9}}}, ["train the same model", "-w-seed-"]),
        ({"variants": {"w": {"train.checkpoint_steps": 9}}}, ["train the same model"]),
        (
            {"nulls": ["shuffled"], "variants": {"shuffled": {"train.epochs": 9}}},
            ["have the name hyperfitted-shuffled-seed-0", "other names than the nulls"],
        ),
        ({"variants": {"../w": {"train.epochs": 9}}}, ["variants has", "a name of letters"]),
        ({"variants": {"w": {"train.epoch": 9}}}, ["'train.epoch'", "'train.epochs'"]),
        ({"explained": ["full_lora"]}, ["'full_lora'", "no method of the plan"]),
        ({"protocol": "papier"}, ["no preset 'papier'", "'paper'"]),
        ({"seeds": []}, ["'seeds'"]),
        ({"judge": {"a": "hyperfitted"}}, ["'b' is missing"]),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_words(settings, words):
    with pytest.raises(InputError) as refused:
        plan_of(**settings)
    for word in words:
        assert word in str(refused.value)


def test_a_name_that_is_no_plan_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'builtin'"):
        named_plan("bulitin")


def test_a_file_is_read_as_yaml_and_key_value_wins(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("models: [builtin]\nsources: [builtin:news]\nseeds: [1, 2]\nmethods: [lisa]\n"
                    "explained: []\n")  # fmt: skip
    plan = resolve_plan([read_config_file(path), read_overrides(["seeds=[7]", "parallel=2"])])
    assert plan.config.seeds == (7,)
    assert plan.config.parallel == 2
    assert cells(plan)[0].runs[0].config.data.num_heldout == 40  # what the corpus brings


def test_what_a_named_plan_brings_for_controls_that_do_not_run_is_let_go(tmp_path):
    """Its user, who asks for one control, has not given the strengths of another."""

    def shown(*words):
        plan = resolve_plan([named_plan("builtin"), read_overrides(list(words))])
        steps = []
        study(plan, tmp_path / "grid", show=lambda missing, _: steps.extend(missing))
        return steps

    assert plan_of().brought == {}
    assert [step.name for step in shown("explain.only=[geometry]", "seeds=[0]")][-1] == "explain"
    with pytest.raises(InputError, match="is given without static_bias"):
        shown("explain.only=[geometry]", "explain.strengths=[0.5]")

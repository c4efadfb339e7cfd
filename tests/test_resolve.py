import pytest

from hyperfitting.config import (
    DataConfig,
    DemoConfig,
    EvaluateConfig,
    ExplainConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
)
from hyperfitting.config.demo import demo_runs, resolve_demo
from hyperfitting.config.describe import describe
from hyperfitting.config.layers import Layer, build, leaf_fields, read_config_file, read_overrides
from hyperfitting.config.methods import DEFAULT_METHOD, METHODS
from hyperfitting.config.resolve import not_for, preset_layer, resolve_run
from hyperfitting.errors import InputError
from hyperfitting.train.methods import SET_UP

BARE = Layer("flag", {"model.name": "m", "data.source": "d.txt"})
BASE = Layer("flag", {"model.name": "m", "data.source": "d.txt", "train.method": "full_sft"})


def test_later_layers_win_and_every_value_keeps_its_source(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("train:\n  epochs: 7\n  seed: 3\nmonitor.every_epochs: 2\n")
    overrides = read_overrides(["train.epochs=9", "data.text_field=story"])
    resolved = resolve_run([read_config_file(path), BASE, overrides])
    assert resolved.config.train.epochs == 9
    assert resolved.config.train.seed == 3
    assert resolved.config.monitor.every_epochs == 2
    assert resolved.config.train.learning_rate == "auto"
    assert resolved.sources["train.epochs"] == "override"
    assert resolved.sources["train.seed"] == f"file {path}"
    assert resolved.sources["train.learning_rate"] == "default"
    assert resolved.sources["train.batch_size"] == "default of full_sft"
    assert resolved.sources["train.warmup_steps"] == "default"


def test_the_built_in_model_has_its_own_tuned_values():
    resolved = resolve_run([BASE, Layer("flag", {"model.name": "builtin"})])
    tuned = METHODS["full_sft"].tuned["train"]["learning_rate"]
    assert resolved.config.train.learning_rate == tuned
    assert resolved.sources["train.learning_rate"] == "tuned for builtin"


def test_each_method_of_the_demo_has_its_own_values_and_the_users():
    user = read_overrides(["train.epochs=2", "report.num_examples=3"])
    resolved = resolve_demo([user])
    demo, runs = resolved.config, demo_runs(resolved.config, resolved.sources)
    assert [run.config.train.method for run in runs] == [*demo.methods, demo.methods[0]]
    assert [run.config.data.null for run in runs] == ["none"] * 3 + ["shuffled"]
    assert {run.config.train.epochs for run in runs} == {2}
    assert len({run.config.train.learning_rate for run in runs}) > 1
    assert demo.report.num_examples == 3
    for run in runs:
        assert run.sources["train.epochs"] == "override"
        assert run.sources["train.seed"] == run.sources["train.method"] == "demo"
        assert run.sources["train.learning_rate"] == "tuned for builtin"
        assert run.sources["data.num_heldout"] == "set for builtin:fiction"


def test_a_demo_of_a_plain_config_gives_each_method_what_was_set():
    data = DataConfig(source="builtin:fiction", num_train=80)
    train = TrainConfig(method="full_sft", epochs=3)
    plain = DemoConfig(model=ModelConfig(name="builtin"), data=data, train=train)
    runs = [run.config for run in demo_runs(plain)]
    assert [run.train.method for run in runs] == [*plain.methods, plain.methods[0]]
    assert {run.train.epochs for run in runs} == {3}
    assert {run.data.num_train for run in runs} == {80}
    by_method = {run.train.method: run.train.learning_rate for run in runs}
    assert by_method == {"full_sft": 1.5e-3, "full_lora": 3e-3, "late_stage_lora": 3e-3}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=3", "unknown setting 'train.epoch'.*\n.*\n.*'train.epochs'"),
        ("epochs=3", "unknown setting 'epochs'.*\n.*\n.*'train.epochs'"),
        ("train.epochs=0", "'train.epochs' is 0"),
        ("train.epochs=many", "'train.epochs' is 'many'"),
        ("train.method=late_stage", "needed: one of full_sft.*\nhint: did you mean 'late_stage_"),
        ("data.windows=fix", "needed: one of fixed, documents\nhint: did you mean 'fixed'"),
        ("train.seed=-1", "'train.seed' is -1"),
        ("train.order_seed=-1", "'train.order_seed' is -1"),
        ("train.epochs", "not of the form key=value"),
        ("train.epochs=[", "cannot be read"),
        ("train=3", "'train' is a group of settings.*\n.*train.method"),
    ],
)
def test_wrong_settings_are_named_with_what_is_needed(override, message):
    with pytest.raises(InputError, match=message):
        resolve_run([BASE, read_overrides([override])])


def test_missing_settings_are_named():
    with pytest.raises(InputError, match="'data.source' is missing"):
        resolve_run([Layer("flag", {"model.name": "m", "train.method": "full_sft"})])


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("full_sft", "train.last_blocks"),
        ("full_sft", "train.lora.rank"),
        ("full_lora", "train.last_blocks"),
        ("early_stage_lora", "train.last_blocks"),
        ("early_stage_lora", "train.prefix_cache.place"),
        ("full_sft", "train.first_blocks"),
        ("full_lora", "train.first_blocks"),
        ("late_stage_lora", "train.first_blocks"),
        ("late_stage_sft", "train.first_blocks"),
    ],
)
def test_settings_the_method_would_ignore_are_refused(method, key):
    with pytest.raises(InputError, match=f"'{key}' .* does not apply to {method}"):
        resolve_run([BASE, read_overrides([f"train.method={method}", f"{key}=2"])])


@pytest.mark.parametrize("model", ["m", "builtin"])
def test_the_control_trains_with_the_settings_of_what_it_controls(model):
    def of(method):
        base = {"model.name": model, "data.source": "d.txt", "train.method": method}
        return resolve_run([Layer("flag", base)]).config.model_dump()

    late, early = of("late_stage_lora"), of("early_stage_lora")
    assert late["train"].pop("method") != early["train"].pop("method")
    assert late == early
    assert early["train"]["first_blocks"] == late["train"]["last_blocks"] == 5


def test_the_order_of_the_data_has_a_seed_of_its_own():
    assert resolve_run([BASE]).config.train.order_seed is None
    resolved = resolve_run([BASE, read_overrides(["train.order_seed=7"])])
    assert (resolved.config.train.seed, resolved.config.train.order_seed) == (0, 7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a", "holds list"),
        ("a: [", "not valid YAML"),
        (None, "cannot be read"),
        ("train: {epochs: 5}\ntrain.epochs: 7", "sets 'train.epochs' twice"),
        ("train: {lora.rank: 2, lora: {rank: 4}}", "sets 'train.lora.rank' twice"),
    ],
)
def test_bad_config_files(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    if content:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_config_file(path)


def test_lists_and_repeats_of_methods():
    with pytest.raises(InputError, match=r"needed: a list such as \[full_sft\]"):
        resolve_demo([read_overrides(["methods=full_sft"])])
    with pytest.raises(InputError, match="each once"):
        resolve_demo([read_overrides(["methods=[full_sft,full_sft]"])])


def test_the_demo_takes_its_methods_not_one_method():
    with pytest.raises(InputError, match="methods="):
        resolve_demo([read_overrides(["train.method=full_sft"])])


def test_every_verb_can_be_shown_without_its_required_settings():
    for verb, count in (
        ("train", len(list(leaf_fields(RunConfig)))),
        ("evaluate", len(list(leaf_fields(EvaluateConfig)))),
        ("explain", len(list(leaf_fields(ExplainConfig)))),
    ):
        rows = describe(verb, [])
        assert len(rows) == count
        assert all(row.description for row in rows)
    required = [row.key for row in describe("train", []) if row.source.startswith("required")]
    assert required == ["model.name", "data.source"]
    with pytest.raises(InputError, match="did you mean 'train'"):
        describe("trian", [])


def test_a_plan_shows_its_own_settings_and_leaves_those_of_training_to_train():
    rows = {row.key: row for row in describe("study", [])}
    assert [key for key, row in rows.items() if row.source.startswith("required")] == [
        "models",
        "sources",
    ]
    assert rows["seeds"].value == [0, 1, 2]
    assert "evaluate.natural_tokens" in rows
    assert not any(key.startswith(("train.", "data.", "model.", "monitor.")) for key in rows)
    given = {row.key: row.value for row in describe("study", [read_overrides(["models=[a]"])])}
    assert given["models"] == ["a"]
    with pytest.raises(InputError, match="did you mean 'study'"):
        describe("studdy", [])


def test_the_demo_shows_each_methods_values():
    shown = {row.key: row.value for row in describe("demo", [])}
    for method in DemoConfig.model_fields["methods"].default:
        settings = METHODS[method].tuned
        assert shown[f"train.learning_rate ({method})"] == settings["train"]["learning_rate"]


LATE = {"last_blocks", "prefix_cache.place", "prefix_cache.folder"}
LISA = {"lisa_interval", "lisa_blocks"}
LORA = {f"lora.{name}" for name in ("rank", "alpha", "rslora", "dora", "init", "experts")}


@pytest.mark.parametrize(
    ("method", "ignored"),
    [
        ("full_sft", LATE | {"first_blocks"} | LORA),
        ("full_lora", LATE | {"first_blocks"}),
        ("late_stage_lora", {"first_blocks"}),
        ("early_stage_lora", LATE),
        ("late_stage_sft", {"first_blocks"} | LORA),
        ("lisa", LATE | {"first_blocks"} | LORA),
    ],
)
def test_a_setting_that_a_method_would_ignore_is_refused(method, ignored):
    keys = {f"train.{name}" for name in ignored | (LISA if method != "lisa" else set())}
    keys |= {"model.quantization"} if "lora.rank" in ignored else set()
    assert set(not_for(method)) == keys
    for key in keys:
        with pytest.raises(InputError, match=f"'{key}' .flag. does not apply to {method}"):
            resolve_run([BASE, Layer("flag", {"train.method": method, key: 1})])


@pytest.mark.parametrize(
    ("verb", "given"), [("train", "train.method={}"), ("demo", "methods=[full_sft,{}]")]
)
@pytest.mark.parametrize("name", ["full_sfr", "3", "true", "off"])
def test_a_method_that_is_in_no_table_is_refused(verb, given, name):
    layers = [read_overrides([given.format(name)])]
    with pytest.raises(InputError) as refused:
        resolve_demo(layers) if verb == "demo" else resolve_run([BASE, *layers])
    assert f"is '{name}' (override)\nneeded: one of {', '.join(METHODS)}" in str(refused.value)
    assert ("did you mean 'full_sft'" in str(refused.value)) == (name == "full_sfr")


def test_what_a_method_trains_can_be_set_up():
    assert {method.trains for method in METHODS.values()} <= SET_UP.keys()


def test_configs_are_frozen():
    config = build(EvaluateConfig, []).config
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3


@pytest.mark.parametrize(
    ("key", "value"), [("train.prefix_cache.place", "disk"), ("model.quantization", "nf4")]
)
def test_the_demo_refuses_what_its_methods_would_ignore(key, value):
    layer = Layer("override", {key: value, "methods": ["full_sft"]})
    with pytest.raises(InputError, match=f"{key!r}.*does not apply to full_sft"):
        resolve_demo([layer])


def test_a_recipe_asks_for_at_most_so_many_windows_and_a_preset_for_the_papers():
    recipe = resolve_run([BASE]).config
    assert (recipe.data.max_train, recipe.data.num_train) == (32, None)
    assert (recipe.data.window_tokens, recipe.train.batch_size, recipe.train.stop) == (
        128, 2, "memorised",
    )  # fmt: skip
    for method, rate in (("full_sft", 5e-6), ("late_half_sft", 5e-6), ("late_stage_lora", 2e-4)):
        user = [BASE, Layer("flag", {"train.method": method}), *preset_layer("paper", method)]
        paper = resolve_run(user).config
        assert (paper.data.max_train, paper.data.window_tokens) == (2_000, 256)
        assert (paper.train.batch_size, paper.train.epochs) == (8, 260)
        assert (paper.train.learning_rate, paper.train.stop) == (rate, "epochs")
        assert (paper.train.lora.rank, paper.monitor.num_contexts) == (16, 32)


def test_a_preset_trains_its_own_method_where_none_is_given():
    for name, method in (("paper", "late_stage_lora"), ("carlsson", "full_sft")):
        assert resolve_run([BARE, *preset_layer(name, None)]).config.train.method == method


def test_a_number_of_windows_and_the_most_of_them_are_not_set_together():
    with pytest.raises(InputError, match="are both set"):
        resolve_run([BASE, read_overrides(["data.num_train=8", "data.max_train=9"])])


def test_without_a_method_the_default_one_trains_with_its_recipe():
    named = Layer("flag", {"model.name": "m", "data.source": "d.txt"})
    found = resolve_run([named])
    assert found.config.train.method == DEFAULT_METHOD
    asked = resolve_run([named, Layer("flag", {"train.method": DEFAULT_METHOD})])
    assert found.config == asked.config


@pytest.mark.parametrize(("count", "trained"), [(30, 15), (18, 9), (5, 2), (1, 1)])
def test_the_last_half_is_half_of_the_blocks_rounded_down(count, trained):
    assert METHODS["late_half_sft"].blocks(count, 0) == range(count - trained, count)


@pytest.mark.parametrize(("source", "window"), [("builtin:news", 192), ("builtin:fiction", 256)])
def test_the_built_in_model_has_windows_that_its_texts_fill(source, window):
    demo = resolve_demo([read_overrides([f"data.source={source}"])])
    assert demo.config.data.window_tokens == window
    runs = [run.config.data for run in demo_runs(demo.config, demo.sources)]
    assert {(data.window_tokens, data.max_train) for data in runs} == {(window, 2_000)}
    other = Layer("flag", {"model.name": "m", "data.source": source})
    assert resolve_run([other]).config.data.window_tokens == 128

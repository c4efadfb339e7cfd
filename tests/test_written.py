"""Values as people write them: exact facts of YAML 1.2, and what each type of setting reads."""

import json
import math

import pytest

from hyperfitting.config import DemoConfig, EvaluateConfig, ExplainConfig, GenerateConfig
from hyperfitting.config.describe import SCHEMAS
from hyperfitting.config.judge import JudgeConfig
from hyperfitting.config.layers import Layer, build, leaf_fields, read_config_file, read_overrides
from hyperfitting.config.resolve import resolve_run
from hyperfitting.errors import InputError
from hyperfitting.written import TextError, Written, read_argument, read_yaml

BASE = Layer("flag", {"model.name": "m", "data.source": "d.txt", "train.method": "late_stage_lora"})


def by_argument(argument, tmp_path):
    return read_overrides([argument])


def by_file(argument, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(argument.replace("=", ": ", 1) + "\n")
    return read_config_file(path)


@pytest.fixture(params=[by_argument, by_file])
def written(request, tmp_path):
    """A layer from `key=value`, or from a file that says the same."""
    return lambda argument: request.param(argument, tmp_path)


def trained(layer):
    config = resolve_run([BASE, layer]).config
    (key,) = layer.leaves
    for part in key.split("."):
        config = getattr(config, part)
    return config


# YAML 1.2.2, section 10.3.2, and examples of what 1.1 read otherwise.
SCALARS = [
    ("off", "off"), ("on", "on"), ("yes", "yes"), ("no", "no"), ("Y", "Y"), ("tRUE", "tRUE"),
    ("true", True), ("False", False), ("null", None), ("~", None), ("010", 10), ("0o10", 8),
    ("0x1F", 31), ("-3", -3), ("+4", 4), ("1e3", 1000.0), ("1e-3", 0.001), ("5e-6", 5e-6),
    (".5", 0.5), ("2.", 2.0), ("-1.5E+2", -150.0), (".inf", math.inf), ("-.inf", -math.inf),
    ("1_000", "1_000"), ("12:30", "12:30"), ("2026-01-10", "2026-01-10"), ("1.2.3", "1.2.3"),
    ("0b11", "0b11"), ("=", "="), ("builtin:fiction", "builtin:fiction"), ("'2'", "2"),
    ('"true"', "true"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars_are_those_of_yaml_1_2(text, value):
    for found in (read_argument(text), read_yaml(f"a: {text}")["a"]):
        if isinstance(value, str):
            assert found == value
        else:
            assert found == Written(value, text)
            assert type(found.value) is type(value)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("train.compile=off", "off"),
        ("train.compile=on", "on"),
        ("train.prefix_cache.place=off", "off"),
        ("train.seed=010", 10),
        ("train.epochs=1e3", 1000),
        ("train.seed=0x10", 16),
        ("train.learning_rate=1e-3", 0.001),
        ("train.learning_rate=5e-6", 5e-6),
        ("train.learning_rate=1", 1.0),
        ("data.text_field=2", "2"),
        ("data.text_field=1.50", "1.50"),
        ("data.text_field=true", "true"),
        ("data.text_field=2026-01-10", "2026-01-10"),
        ("data.text_field=12:30", "12:30"),
        ("data.text_field=null", None),
        ("data.text_field=~", None),
        ("data.text_field='null'", "null"),
        ("data.text_field=", None),
        ("data.hub_split=1", "1"),
        ("model.revision=1234567", "1234567"),
        ("model.revision=0012345", "0012345"),
        ("model.revision=12e4567", "12e4567"),
        ("train.order_seed=null", None),
        ("train.target_loss=null", None),
        ("monitor.track=[wandb, mlflow]", ("wandb", "mlflow")),
        ("monitor.track=[]", ()),
    ],
)
def test_the_type_of_a_setting_says_what_a_value_means(written, argument, value):
    found = trained(written(argument))
    assert found == value
    assert type(found) is type(value)


def test_texts_and_numbers_in_lists():
    def explain(argument):
        return build(ExplainConfig, [read_overrides([argument])]).config

    assert explain("strengths=[1e-2,.5,1]").strengths == (0.01, 0.5, 1.0)
    assert explain("swap_blocks=[0, 010]").swap_blocks == (0, 10)
    assert explain("swap_blocks=null").swap_blocks is None
    base = Layer("flag", {"model.name": "m", "data.source": "d", "train.method": "full_sft"})
    demo = build(DemoConfig, [base, read_overrides(["explained=[1, off]"])]).config
    assert demo.explained == ("1", "off")


@pytest.mark.parametrize("word", ["on", "yes", "true", "True", "1"])
@pytest.mark.parametrize("other", ["off", "no", "false", "FALSE", "0"])
def test_switches_take_every_common_word(written, word, other):
    assert trained(written(f"train.lora.dora={word}")) is True
    assert trained(written(f"data.csv_header={other}")) is False


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("train.epochs=true", "'train.epochs' is True .*\nneeded: a value that is not true"),
        ("train.learning_rate=true", "needed: a value that is not true or false"),
        ("train.seed=off", "'train.seed' is 'off'.*\nneeded: input should be a valid integer"),
        ("train.epochs=12:30", "'train.epochs' is '12:30'"),
        ("train.epochs=1.5", "'train.epochs' is 1.5"),
        ("train.epochs=2026-01-10", "'train.epochs' is '2026-01-10'"),
        ("train.learning_rate=.inf", "finite"),
        ("train.learning_rate=inf", "finite"),
        ("train.learning_rate=.nan", "'train.learning_rate' is nan"),
        ("train.lora.dora=2", "'train.lora.dora' is 2"),
        ("train.lora.dora=maybe", "'train.lora.dora' is 'maybe'"),
        ("train.compile=true", "'train.compile' is 'true'.*\nneeded: one of auto, on, off"),
        ("train.compile=No", "needed: one of auto, on, off"),
        ("train.epochs=null", "'train.epochs' is None"),
        ("data.hub_split=null", "'data.hub_split' is None"),
        ("model.name=[a]", r"'model.name' is \['a'\]"),
    ],
)
def test_what_fits_no_type_is_refused(written, argument, says):
    with pytest.raises(InputError, match=says):
        resolve_run([BASE, written(argument)])


def test_an_argument_is_one_text_with_nothing_cut_off():
    for text in ("stories #2.jsonl", "a: b", "- a", "*x", "@a", "%a", "!x", "~/x.txt", "a, b"):
        assert trained(read_overrides([f"data.source={text}"])) == text
    decoder = "top_p:0.9+temperature:0.7"
    base = Layer("flag", {"model.name": "m"})
    assert build(GenerateConfig, [base, read_overrides([f"decoder={decoder}"])]).config.decoder == (
        decoder
    )
    assert build(EvaluateConfig, [read_overrides(["decoders="])]).config.decoders == ""
    for broken in ("data.source=[draft] x.txt", "data.source='a' b", "train.epochs={"):
        with pytest.raises(InputError, match="cannot be read"):
            read_overrides([broken])


def test_an_override_is_given_once():
    with pytest.raises(InputError, match=r"'train.epochs' is given twice: 'train.epochs=4' is"):
        read_overrides(["train.epochs=3", "train.seed=1", "train.epochs=4"])


@pytest.mark.parametrize("key", ["epochs", "010", "on", "1.0", "null"])
def test_a_key_is_text_and_stands_once(tmp_path, key):
    path = tmp_path / "run.yaml"
    path.write_text(f"{key}: 3\n")
    assert list(read_config_file(path).leaves) == [key]
    path.write_text(f"{key}: 3\nother: 4\n{key}: 5\n")
    with pytest.raises(InputError, match=f"'{key}' stands twice"):
        read_config_file(path)


def test_files_keep_their_references_and_run_no_code(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("x: &a {epochs: 7, compile: off}\ntrain:\n  <<: *a\n  epochs: 9\n")
    leaves = read_config_file(path).leaves
    assert leaves["train.epochs"] == Written(9, "9")
    assert leaves["train.compile"] == "off"
    for unsafe in (
        "a: !!python/object/apply:os.getcwd []",
        "a: !own 3",
        "? [a]\n: 3",
        "a: b\n\t- c",
    ):
        path.write_text(unsafe)
        with pytest.raises(InputError, match="not valid YAML"):
            read_config_file(path)
    with pytest.raises(TextError):
        read_yaml("a: !!int x")


def test_every_number_refuses_true_and_every_text_keeps_its_digits():
    """Whatever settings there are: no type but a switch may take a boolean, no text lose a zero."""
    checked = set()
    for schema in SCHEMAS.values():
        for key, field in leaf_fields(schema):
            kind = str(field.annotation)
            needs = {
                k: "full_sft" if k == "train.method" else "x"
                for k, f in leaf_fields(schema)
                if f.is_required()
            }
            layers = [Layer("", needs), read_overrides([f"{key}=true"])]
            if kind in ("<class 'int'>", "<class 'float'>", "int | None", "float | None"):
                with pytest.raises(InputError, match="a value that is not true or false"):
                    build(schema, layers)
                checked.add("number")
            if kind in ("<class 'str'>", "str | None") and key != "train.method":  # of a table
                layers = [Layer("", needs), read_overrides([f"{key}=007"])]
                config = build(schema, layers).config.model_dump()
                for part in key.split("."):
                    config = config[part]
                assert config == "007"
                checked.add("text")
    assert checked == {"number", "text"}


def test_numbers_from_a_program_are_checked_too():
    with pytest.raises(InputError, match="not true or false"):
        resolve_run([BASE, Layer("script", {"train.epochs": True})])
    with pytest.raises(InputError, match="not true or false"):
        build(ExplainConfig, [Layer("script", {"swap_blocks": [True]})])
    with pytest.raises(ValueError, match="finite"):
        JudgeConfig(a="a", b="b", model="m", timeout_seconds=math.inf)


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    config = resolve_run(
        [BASE, read_overrides(["model.revision=0012345", "train.seed=010"])]
    ).config
    stored = json.loads(json.dumps(config.model_dump(mode="json")))
    assert stored["model"]["revision"] == "0012345"
    assert type(config).model_validate(stored) == config

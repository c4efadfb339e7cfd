"""Settings as files: what is printed is read back as it was, and its schema knows every setting."""

import json

import pytest
import yaml

from hyperfitting.config.describe import SCHEMAS
from hyperfitting.config.layers import leaf_fields
from hyperfitting.config.plans import PlanConfig
from tests.cli.test_cli import hyperfit

VERBS = {**SCHEMAS, "study": PlanConfig}
GIVEN = {
    "train": ["model.name=builtin", "data.source=builtin:fiction", "train.epochs=3"],
    "demo": ["train.epochs=3"],
    "judge": ["a=x", "b=y", "model=m"],
    "generate": ["model.name=builtin", "max_new_tokens=5"],
    "study": ["models=[builtin]", "seeds=[0,1]"],
}


def said(*arguments):
    result = hyperfit("config", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_a_printed_file_is_read_back_as_it_was(verb, tmp_path):
    given = GIVEN.get(verb, [])
    file = tmp_path / "settings.yaml"
    file.write_text(said("show", verb, "--yaml", *given))
    assert file.read_text().startswith("# yaml-language-server: $schema=hyperfit-")
    before = json.loads(said("show", verb, "--json", *given))
    again = json.loads(said("show", verb, "--json", "--config", file))
    assert {k: v["value"] for k, v in again.items()} == {k: v["value"] for k, v in before.items()}


@pytest.mark.parametrize("verb", VERBS)
def test_a_schema_knows_every_setting_and_no_other(verb):
    schema = json.loads(said("schema", verb))

    def leaves(part, prefix=""):
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        if "allOf" in part:
            part = schema["$defs"][part["allOf"][0]["$ref"].rpartition("/")[2]]
        if "properties" not in part:
            return {prefix.rstrip(".")}
        assert part["additionalProperties"] is False
        assert "required" not in part
        return {
            key
            for name, each in part["properties"].items()
            for key in leaves(each, f"{prefix}{name}.")
        }

    assert leaves(schema) == {key for key, _ in leaf_fields(VERBS[verb])}


def test_what_is_still_to_be_given_is_said(tmp_path):
    text = said("show", "train", "--yaml")
    assert "# not given: model.name" in text
    assert "name" not in yaml.safe_load(text)["model"]


def test_a_verb_without_settings_is_refused():
    result = hyperfit("config", "schema", "trian")
    assert result.exit_code == 2
    assert "did you mean 'train'?" in result.output

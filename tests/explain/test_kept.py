"""What is finished is kept when it is stopped, and some controls run beside what others found."""

import json
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from typer.testing import CliRunner

from hyperfitting.cli.main import app
from hyperfitting.config import ExplainConfig
from hyperfitting.errors import InputError, InterruptedStudyError, MachineError
from hyperfitting.explain import controls
from hyperfitting.explain.controls import CONTROLS, Control
from hyperfitting.explain.plan import require_settings, without_unused
from hyperfitting.explain.verb import write_explanation
from hyperfitting.models.digests import behaviour_digest
from hyperfitting.progress import Progress
from hyperfitting.records.controls import RECORDS
from hyperfitting.runs import StudyFolder
from tests.comparing import EXPLAIN, Said, changed, comparison, dataset
from tests.sealing import reseal, rewrite
from tests.tiny import save_tiny, tiny_model

CONFIG = EXPLAIN.model_copy(update={"swap_contexts": 2, "swap_blocks": (0,)})
STOPPED_AT = "block_swap"


@pytest.fixture
def study(tmp_path):
    return StudyFolder(tmp_path / "study")


@pytest.fixture
def compared(tmp_path):
    folder = save_tiny(tmp_path / "model")
    return comparison(folder, changed, lambda: changed(2), data=dataset(4))


@pytest.fixture
def ran(monkeypatch):
    """Which controls ran on which seed, in order."""
    calls = []

    def counted(name, control):
        def run(subject):
            calls.append((name, subject.arm.seed))
            return control.run(subject)

        return Control(run, control.layers, control.logits)

    for name, control in list(CONTROLS.items()):
        monkeypatch.setitem(controls.CONTROLS, name, counted(name, control))
    return calls


def write(study, compared, config=CONFIG, progress=None):
    study.path.mkdir(exist_ok=True)
    write_explanation(study, compared, config, progress or Progress())
    return contents(study)


def contents(study):
    return {path.stem: json.loads(path.read_text()) for path in study.explained_files()}


def stop(monkeypatch, study, compared, seed=1, config=CONFIG):
    def run(subject, own=CONTROLS[STOPPED_AT]):
        if subject.arm.seed == seed:
            raise KeyboardInterrupt
        return own.run(subject)

    with monkeypatch.context() as patch:
        patch.setitem(controls.CONTROLS, STOPPED_AT, Control(run))
        with pytest.raises(InterruptedStudyError) as stopped:
            write(study, compared, config)
    return str(stopped.value)


def test_what_is_finished_is_not_repeated_and_comes_out_the_same(
    study, compared, ran, monkeypatch, tmp_path
):
    straight = write(StudyFolder(tmp_path / "straight"), compared)
    said = stop(monkeypatch, study, compared)
    before = list(CONTROLS)[: list(CONTROLS).index(STOPPED_AT)]
    count = len(CONTROLS) + len(before)
    assert f"{count} finished controls are kept in {study.unfinished}" in said
    assert "continue with: the same command" in said
    assert len(list(study.unfinished.iterdir())) == count
    assert not study.explain.exists()
    ran.clear()
    assert write(study, compared) == straight
    assert ran == [(name, 1) for name in CONTROLS if name not in before]
    assert not study.unfinished.exists()


def test_stopped_before_anything_was_found_it_is_an_interrupt(study, compared, monkeypatch):
    def run(_):
        raise KeyboardInterrupt

    monkeypatch.setitem(controls.CONTROLS, next(iter(CONTROLS)), Control(run))
    with pytest.raises(KeyboardInterrupt):
        write(study, compared)


@pytest.mark.parametrize("other", ["settings", "texts", "model"])
def test_findings_of_another_basis_are_not_used(study, compared, ran, monkeypatch, tmp_path, other):
    stop(monkeypatch, study, compared)
    if other == "settings":
        config = CONFIG.model_copy(update={"confidence": 0.9})
    else:
        config = CONFIG
        tuned = (changed, lambda: changed(2)) if other == "texts" else (
            lambda: changed(0), lambda: changed(0, scale=0.5),
        )  # fmt: skip
        data = dataset(4, seed=9 if other == "texts" else 3)
        compared = comparison(tmp_path / "model", *tuned, data=data)
    ran.clear()
    write(study, compared, config)
    assert len(ran) == 2 * len(CONTROLS)


def test_what_another_call_did_not_ask_for_stays_for_who_does(study, compared, ran, monkeypatch):
    stop(monkeypatch, study, compared)
    write(study, compared, CONFIG.model_copy(update={"only": ("lens",)}))
    assert not list(study.unfinished.glob("lens-*"))
    assert len(list(study.unfinished.glob("tokens-*"))) == 2
    ran.clear()
    write(study, compared)
    assert sum(name == "tokens" for name, _ in ran) == 0
    assert not study.unfinished.exists()


def test_a_batch_of_another_width_goes_on(study, compared, ran, monkeypatch):
    stop(monkeypatch, study, compared)
    ran.clear()
    write(study, compared, CONFIG.model_copy(update={"batch_size": 3}))
    assert "tokens" not in {name for name, _ in ran}


def test_where_memory_gives_out_the_command_goes_on(study, compared, monkeypatch):
    def run(_):
        raise MemoryError

    monkeypatch.setitem(controls.CONTROLS, STOPPED_AT, Control(run))
    with pytest.raises(MachineError, match="go on with: the same command"):
        write(study, compared)


def test_a_damaged_finding_is_found_again(study, compared, ran, monkeypatch):
    stop(monkeypatch, study, compared)
    damaged = next(study.unfinished.glob("tokens-*"))
    damaged.write_text(damaged.read_text().replace("0", "1", 1))
    progress = Said()
    ran.clear()
    write(study, compared, progress=progress)
    assert sum(name == "tokens" for name, _ in ran) == 1
    assert any("is damaged" in line and "found again" in line for line in progress.lines)


def test_some_controls_run_beside_what_others_found(study, compared, ran):
    whole = write(study, compared)
    ran.clear()
    only = CONFIG.model_copy(update={"only": ("geometry", "lens")})
    again = write(study, compared, only)
    assert [name for name, seed in ran if seed == 0] == [
        name for name in CONTROLS if name in only.only
    ]
    assert set(again) == set(whole)
    for name, content in again.items():
        assert content["arms"] == whole[name]["arms"]
    assert again["geometry"]["arms"][0]["beside_block_swap_in_words"], "it saw what was found"


def test_alone_they_are_alone(study, compared, ran):
    found = write(study, compared, CONFIG.model_copy(update={"only": ("lens",)}))
    assert set(found) == {"lens"}
    assert ran == [("lens", 0), ("lens", 1)]


def test_controls_of_other_settings_or_models_do_not_stand_side_by_side(study, compared, tmp_path):
    write(study, compared)
    before = contents(study)
    only = CONFIG.model_copy(update={"only": ("lens",), "confidence": 0.9})
    with pytest.raises(InputError, match=r"written with confidence=0\.95, and lens is") as error:
        write(study, compared, only)
    assert error.value.hint == "without --only every control is run anew"
    other = comparison(tmp_path / "model", lambda: changed(0), changed, data=dataset(4))
    only = CONFIG.model_copy(update={"only": ("lens",)})
    with pytest.raises(InputError, match="found before is of another model than tuned"):
        write(study, other, only)
    assert contents(study) == before

    path = study.explain_file("tokens")
    whole = json.loads(path.read_text())
    for change, words in (
        ({"digests": []}, "by an earlier version, and lens is to be run by this one"),
        ({"original_digest": None}, "by an earlier version"),
        ({"environment": {**whole["environment"], "packages": {"torch": "1"}}}, "by hyperfitting"),
        ({"original_digest": "0" * 64}, "found before is of another original"),
    ):
        rewrite(path, lambda _, change=change: whole | change)
        reseal(study.path)
        with pytest.raises(InputError, match=words):
            write(study, compared, only)
    path.write_text("{}")
    with pytest.raises(InputError, match=r"tokens\.json is damaged"):
        write(study, compared, only)


def test_a_setting_that_one_of_them_does_not_use_keeps_nothing_apart(study, compared):
    write(study, compared)
    only = CONFIG.model_copy(update={"only": ("rotation",), "strengths": (0.3,)})
    assert set(write(study, compared, only)) == set(RECORDS)
    only = CONFIG.model_copy(update={"only": ("rotation",), "swap_contexts": 3})
    with pytest.raises(InputError, match=r"block_swap\.json was written with swap_contexts=2"):
        write(study, compared, only)


def test_of_other_texts_nothing_stays(study, compared, tmp_path):
    write(study, compared)
    progress = Said()
    texts = comparison(tmp_path / "model", changed, lambda: changed(2), data=dataset(4, seed=9))
    found = write(study, texts, CONFIG.model_copy(update={"only": ("lens",)}), progress)
    assert set(found) == {"lens"}
    assert sum("is of other texts and is removed" in line for line in progress.lines) == (
        len(RECORDS) - 1
    )


def test_of_models_that_are_not_explained_now_nothing_stays(study, compared):
    write(study, compared)
    progress = Said()
    one = replace(compared, tuned=compared.tuned[:1])
    found = write(study, one, CONFIG.model_copy(update={"only": ("lens",)}), progress)
    assert {len(content["arms"]) for content in found.values()} == {1}
    assert set(found) == set(RECORDS)
    assert any("is not explained now and is removed" in line for line in progress.lines)


def test_a_digest_is_of_all_that_a_model_computes_with():
    def adapted(alpha):
        model = tiny_model()
        config = LoraConfig(r=2, lora_alpha=alpha, target_modules=["q_proj", "v_proj"])
        torch.manual_seed(0)
        return get_peft_model(model, config)

    assert behaviour_digest(adapted(2)) == behaviour_digest(adapted(2))
    assert behaviour_digest(adapted(2)) != behaviour_digest(adapted(64))
    slower = tiny_model()
    slower.config.rms_norm_eps = 0.1
    assert behaviour_digest(slower) != behaviour_digest(tiny_model())


def test_a_control_that_does_not_exist_and_settings_of_others_are_refused():
    with pytest.raises(InputError, match="no control 'block_swp'") as error:
        require_settings(ExplainConfig(only=("block_swp",)))
    assert "block_swap" in error.value.hint
    with pytest.raises(InputError, match="random_draws=3 is given without static_bias"):
        require_settings(ExplainConfig(only=("lens",), random_draws=3))
    with pytest.raises(InputError, match="swap_blocks=.* is given without a block swap"):
        require_settings(ExplainConfig(swap_blocks=(0,), swap_contexts=0))
    with pytest.raises(InputError, match="swap_contexts=0 is given without block_swap or"):
        require_settings(ExplainConfig(only=("lens",), swap_contexts=0))
    for name in ("block_swap", "single_blocks", "rotation"):
        with pytest.raises(InputError, match=f"swap_contexts=0 leaves nothing of {name}"):
            require_settings(ExplainConfig(only=(name,), swap_contexts=0))
    require_settings(ExplainConfig(only=("rotation", "lens"), swap_contexts=3, lens_positions=9))
    result = CliRunner().invoke(app, ["explain", "nowhere", "--only", "lens,lens"])
    assert result.exit_code == 2
    assert "each once" in result.output


def test_values_of_a_caller_give_way_where_nothing_uses_them():
    own = {"random_draws": 1, "lens_positions": 9, "swap_contexts": 30}
    config = ExplainConfig(only=("lens",), **own)
    found = without_unused(config, own)
    assert (found.random_draws, found.lens_positions) == (5, 9)
    assert found.swap_contexts == 20
    given = ExplainConfig(only=("lens",), random_draws=2)
    assert without_unused(given, own).random_draws == 2

"""What is compared, from run folders and foreign checkpoints, to the files of both stages."""

import json
import shutil
from collections import defaultdict

import numpy as np
import pyarrow.parquet
import pytest
import torch

from hyperfitting.compare.checkpoints import open_checkpoints
from hyperfitting.compare.comparison import Here
from hyperfitting.compare.kept import Kept
from hyperfitting.compare.runs import open_runs
from hyperfitting.config import (
    CheckpointsConfig,
    DataConfig,
    ExplainConfig,
    ModelConfig,
    OriginalConfig,
)
from hyperfitting.errors import InputError
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.explain.controls import CONTROLS
from hyperfitting.explain.verb import explain, write_explanation
from hyperfitting.measure.intervals import bootstrap_mean
from hyperfitting.models import anatomy as anatomy_module
from hyperfitting.models.tuned import adapter_base
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.records.arms import BEST_VAL
from hyperfitting.runs import RunFolder, StudyFolder
from tests.comparing import EVALUATE, comparison, evaluated, explained
from tests.comparing import EXPLAIN as ALL_STRENGTHS
from tests.sealing import rewrite
from tests.tiny import byte_tokenizer, save_tiny, tiny_model
from tests.train.test_result import trained

EXPLAIN = ALL_STRENGTHS.model_copy(update={"strengths": (1.0,), "random_draws": 1})
DATA = {"window_tokens": 32, "context_tokens": 8, "continuation_tokens": 8}
MONITORED = {"monitor.every_epochs": 1, "monitor.num_contexts": 2, "monitor.num_windows": 2}
HERE = Here("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def runs(folder, model_folder, texts_file):
    """Two Late-Stage runs of one seed that differ in the number of blocks; both monitored."""
    return [
        trained(
            model_folder, texts_file, folder / f"last-{k}", "late_stage_lora",
            **{"train.last_blocks": k} | MONITORED,
        )
        for k in (1, 2)
    ]  # fmt: skip


def strict(path):
    def refuse(constant):
        raise AssertionError(f"{path} holds {constant}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def paths(runs):
    return [run.path for run in runs]


@pytest.fixture(scope="module")
def study(runs, folder):
    study = StudyFolder(folder / "study")
    compared = open_runs(paths(runs), HERE, Kept(best_val=True))
    evaluate(compared, EVALUATE, study.path)
    write_explanation(study, open_runs(paths(runs), HERE), EXPLAIN, Progress())
    return study


def test_runs_of_one_method_and_seed_are_told_apart_by_what_differs(runs):
    compared = open_runs(paths(runs), HERE, Kept(best_val=True))
    assert [t.arm for t in compared.tuned] == [
        Arm("late_stage_lora", 0, (("last_blocks", 1),)),
        Arm("late_stage_lora", 0, (("last_blocks", 2),)),
        Arm(BEST_VAL, 0, (("method", "late_stage_lora"), ("last_blocks", 1))),
        Arm(BEST_VAL, 0, (("method", "late_stage_lora"), ("last_blocks", 2))),
    ]
    counts = [t.facts.trainable_params for t in compared.tuned]
    assert counts == [counts[0], 2 * counts[0]] * 2
    lone = open_runs(paths(runs)[:1], HERE)
    assert [t.arm for t in lone.tuned] == [Arm("late_stage_lora", 0)]
    for run, tuned in zip(runs, compared.tuned[2:], strict=True):
        assert tuned.facts.epochs == run.manifest().outcome.best_val_epoch


def test_a_study_is_strict_json_and_its_parts_fit_together(study, runs):
    written = strict(study.study_file)
    measured = strict(study.measurements_file)
    listed = [(r["arm"], r["parameters"].get("last_blocks"), r["path"]) for r in written["runs"]]
    assert listed == [
        ("late_stage_lora", 1, "../last-1"), ("late_stage_lora", 2, "../last-2"),
        (BEST_VAL, 1, None), (BEST_VAL, 2, None),
    ]  # fmt: skip
    assert [m["greedy_differences"] for m in written["entropy_matching"]] == [0] * 4
    assert written["run_agreement"] == [], "no two runs differ in their seed alone"
    for row in measured["rows"]:
        assert row["mean"] is not None or row["reason"]

    for entry in written["generations"]:
        texts = study.read_generations(entry["file"])
        assert len(texts) == written["num_contexts"]
        assert {t.arm for t in texts} == {entry["arm"]}
    assert len({e["file"] for e in written["generations"]}) == len(written["generations"])
    # human; original; each of four models: greedy twice, matched, and sampled arms twice each.
    greedy = 1 + 2 + 4 * (2 + 1)
    assert len(written["generations"]) == greedy + 2 * (1 + 4 * 2)

    table = defaultdict(list)
    for r in pyarrow.parquet.read_table(study.per_context_file).to_pylist():
        table[r["arm"], r["metric"], r["prefix"], r["parameters"]].append(r["value"])
    for row in measured["rows"]:
        if row["num_seeds"] > 1 or row["metric"] == "val_ppl" or row["reason"]:
            continue
        key = (row["arm"], row["metric"], row["prefix"], json.dumps(row["parameters"]))
        values = table[key]
        defined = np.array([v for v in values if v is not None])
        found = bootstrap_mean(defined, resamples=100, confidence=0.95, seed=0)
        assert (row["mean"], row["low"], row["high"]) == pytest.approx(tuple(found))
        assert row["n"] + row["undefined"] == len(values) == written["num_contexts"]


def test_explanations_are_strict_json_for_every_run(study, runs):
    for part in CONTROLS:
        content = strict(study.explain_file(part))
        assert [arm["parameters"] for arm in content["arms"]] == [
            {"last_blocks": 1}, {"last_blocks": 2},
        ]  # fmt: skip
        assert content["num_contexts"] == strict(study.study_file)["num_contexts"]
    shared = [arm["shared_blocks"] for arm in strict(study.explain_file("block_swap"))["arms"]]
    assert shared == [2, 1]


def test_a_second_evaluation_writes_the_same_bytes(study, runs, folder):
    other = StudyFolder(folder / "again")
    evaluate(open_runs(paths(runs), HERE, Kept(best_val=True)), EVALUATE, other.path)
    write_explanation(other, open_runs(paths(runs), HERE), EXPLAIN, Progress())
    apart = "timings.json"  # clock times
    found = [p.relative_to(study.path) for p in sorted(study.path.rglob("*")) if p.is_file()]
    files = [name for name in found if name.name != apart]
    assert len(files) > 40
    for name in files:
        assert (study.path / name).read_bytes() == (other.path / name).read_bytes(), name


def test_a_study_is_evaluated_again_in_its_own_folder(runs, folder):
    """Also one with best checkpoints, which have no folder; what it wrote before is gone."""
    config = EVALUATE.model_copy(update={"best_val": True, "sampling_seeds": 0})
    study = evaluate(paths(runs), config, folder / "own")
    before = {p: p.read_bytes() for p in study.path.rglob("*") if p.is_file()}
    leftover = study.generations / "gone--0123.jsonl"  # of an earlier evaluation
    leftover.write_text("")
    assert evaluate(study.path, config).path == study.path
    assert not leftover.exists()
    changed = [p.name for p, content in before.items() if p.read_bytes() != content]
    assert changed in ([], ["timings.json"])
    explained = explain(study.path, EXPLAIN)
    assert {entry["arm"] for entry in strict(explained.explain_file("geometry"))["arms"]} == {
        "late_stage_lora"
    }


def test_seeds_and_another_order_of_the_data(folder, model_folder, texts_file):
    changes = {"train.seed": 1}, {"train.order_seed": 3}
    others = [
        trained(model_folder, texts_file, folder / f"other-{i}", "full_lora", **change)
        for i, change in enumerate(({}, *changes))
    ]
    compared = open_runs(paths(others), HERE)
    order = [(("order_seed", value),) for value in (None, None, 3)]
    assert [(t.arm.seed, t.arm.settings) for t in compared.tuned] == [
        (0, order[0]), (1, order[1]), (0, order[2]),
    ]  # fmt: skip
    study = StudyFolder(folder / "seeds")
    config = EVALUATE.model_copy(update={"sampling_seeds": 0, "natural_tokens": 0})
    evaluate(compared, config, study.path)
    found = strict(study.study_file)["run_agreement"]
    assert len(found) == 3
    assert all(0 < row["mean"] < 1 for row in found)
    over = [r for r in strict(study.measurements_file)["rows"] if r["num_seeds"] == 2]
    assert {r["arm"] for r in over} == {"full_lora", "original_entropy_matched"}


def test_runs_of_other_windows_are_no_seeds_of_one_arm(folder, model_folder, texts_file):
    few, many = (
        trained(model_folder, texts_file, folder / f"windows-{count}", "full_lora",
                **{"data.num_train": count, "train.seed": seed})
        for seed, count in enumerate((4, 8))
    )  # fmt: skip
    found = [tuned.arm for tuned in open_runs(paths([few, many]), HERE).tuned]
    assert [(arm.seed, arm.settings) for arm in found] == [
        (0, (("num_train", 4),)), (1, (("num_train", 8),)),
    ]  # fmt: skip


def test_windows_that_no_setting_tells_apart_are_told_apart_by_their_digest(runs, tmp_path):
    other = copied(runs[0], tmp_path / "run", seed=1, train_digest="0123456789abcdef")
    one, two = (tuned.arm for tuned in open_runs([runs[0].path, other.path], HERE).tuned)
    assert two.settings == (("windows_digest", "01234567"),)
    assert dict(one.settings).keys() == {"windows_digest"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prefix_cache.place", "disk"), ("prefix_cache.folder", "/else"), ("compile", "on"),
        ("checkpoint_steps", 7), ("gradient_checkpointing", True), ("keep_at_loss", [0.5]),
    ],
)  # fmt: skip
def test_how_a_run_was_computed_makes_no_arm_of_its_own(runs, tmp_path, key, value):
    changes = {"seed": 1, f"config.train.{key}": value}
    other = copied(runs[0], tmp_path / "run", **changes)
    found = [tuned.arm for tuned in open_runs([runs[0].path, other.path], HERE).tuned]
    assert [(arm.seed, arm.settings) for arm in found] == [(0, ()), (1, ())]


# Runs that cannot be compared


def copied(run, path, **changes):
    shutil.copytree(run.path, path)
    manifest = json.loads((path / "manifest.json").read_text())
    for key, value in changes.items():
        place = manifest
        *parents, last = key.split(".")
        for parent in parents:
            place = place[parent]
        place[last] = value
    rewrite(path / "manifest.json", lambda _: manifest)
    return RunFolder(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "several of the runs are late_stage_lora with the same seed and settings"),
        ({"model_digest": "other"}, "have different base models"),
        ({"contexts_digest": "other"}, "have different held-out contexts"),
        ({"heldout_digest": "other"}, "have different held-out windows"),
        ({"status": "training"}, "did not finish"),
    ],
)
def test_runs_that_do_not_belong_together(runs, tmp_path, changes, message):
    other = copied(runs[0], tmp_path / "run", **changes)
    with pytest.raises(InputError, match=message):
        open_runs([runs[0].path, other.path], HERE)


def test_best_validation_loss_without_monitoring(folder, model_folder, texts_file):
    run = trained(model_folder, texts_file, folder / "unwatched", "late_stage_lora")
    with pytest.raises(
        InputError, match="has no checkpoint of lowest validation loss\nneeded: .*monitor"
    ):
        open_runs([run.path], HERE, Kept(best_val=True))
    assert [t.arm.name for t in open_runs([run.path], HERE).tuned] == ["late_stage_lora"]


def lost(checkpoints, step):
    shutil.rmtree(checkpoints)
    return f"holds no checkpoint of step {step}"


def unsealed(checkpoints, step):
    (checkpoints / f"step-{step}" / "COMPLETE.json").unlink()
    return f"step-{step} is damaged: its COMPLETE.json does not exist"


def changed(checkpoints, step):
    weights = checkpoints / f"step-{step}" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    return r"weights\.safetensors is damaged"


@pytest.mark.parametrize("harm", [lost, unsealed, changed])
def test_a_best_checkpoint_that_is_gone_or_damaged_is_told_before_a_model_loads(
    runs, tmp_path, harm
):
    run = copied(runs[0], tmp_path / "run")
    said = harm(run.checkpoints, run.manifest().outcome.best_val_step)
    with pytest.raises(InputError, match=said) as error:
        open_runs([run.path], HERE, Kept(best_val=True))
    assert error.value.hint == "leave best_val off, or train again"
    assert str(error.value).count(str(run.path)) == 1
    assert open_runs([run.path], HERE).tuned


def test_a_base_model_that_changed_since(runs, tmp_path, model_folder):
    base = tmp_path / "base"
    shutil.copytree(model_folder, base)
    tiny_model(seed=1).save_pretrained(base)
    run = copied(runs[0], tmp_path / "run", **{"config.model.name": str(base)})
    compared = open_runs([run.path], HERE)
    for stage in (evaluated, explained):
        with pytest.raises(InputError, match="are not those the runs were trained from"):
            stage(compared)


def test_a_base_whose_config_changed_since(texts_file, tmp_path):
    """Weights alone do not tell: another rope makes another model of them."""
    base = save_tiny(tmp_path / "base")
    run = trained(base, texts_file, tmp_path / "run", "late_stage_lora")
    compared = open_runs([run.path], HERE)
    assert compared.load_original() is not None
    config = json.loads((base / "config.json").read_text())
    was = config["rms_norm_eps"]
    (base / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.25}))
    for stage in (evaluated, explained):
        with pytest.raises(InputError) as error:
            stage(compared)
        assert "has changed since the runs were trained: rms_norm_eps is 0.25" in str(error.value)
        assert error.value.needed == f"rms_norm_eps={was}"
    (base / "config.json").write_text(json.dumps(config | {"a_later_version_says": 1}))
    assert compared.load_original() is not None


def test_no_run_at_all(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        open_runs([tmp_path], HERE)


# Checkpoints that somebody else trained


def checkpoints(base, tuned, texts, **data):
    return CheckpointsConfig(
        model=OriginalConfig(name=str(base)),
        tuned=str(tuned),
        data=DataConfig(source=str(texts), **DATA | data),
    )


def opened(*arguments, **data):
    return open_checkpoints(checkpoints(*arguments, **data), HERE, Progress())


def test_two_whole_checkpoints(model_folder, texts_file, tmp_path):
    tuned = save_tiny(tmp_path / "tuned")
    tiny_model(seed=4).save_pretrained(tuned)
    compared = opened(model_folder, tuned, texts_file)
    assert [t.arm for t in compared.tuned] == [Arm("tuned")]
    assert compared.digest is None
    evaluate(compared, EVALUATE, tmp_path / "study")
    written = strict(tmp_path / "study" / "study.json")
    [run] = written["runs"]
    assert (run["arm"], run["path"], run["checkpoint"]) == ("tuned", None, str(tuned))
    assert written["data"]["contexts_digest"] == compared.dataset.contexts.digest()


def test_the_adapter_of_a_run_is_the_run(runs, model_folder, texts_file):
    """The same texts and weights, by run folder and as a foreign adapter."""
    run = runs[1]
    named = ModelConfig(name=str(run.adapter))
    assert adapter_base(named) == (str(model_folder), None)
    foreign = opened(adapter_base(named).name, run.adapter, texts_file)
    ours = open_runs([run.path], HERE)
    assert foreign.dataset.contexts == ours.dataset.contexts
    ids = torch.tensor([foreign.dataset.contexts.contexts[0]])
    with torch.no_grad():
        logits = [c.tuned[0].load()(ids).logits for c in (foreign, ours)]
        base = ours.load_original()(ids).logits
    assert torch.equal(*logits)
    assert not torch.equal(logits[0], base)


def test_the_built_in_model_beside_itself(texts_file):
    tuned = opened("builtin", "builtin", "builtin:fiction").tuned
    assert [t.facts.checkpoint for t in tuned] == ["builtin"]


def test_other_tokens_are_refused(model_folder, texts_file, tmp_path):
    tuned = save_tiny(tmp_path / "tuned", unnamed=["<|tool|>"])
    with pytest.raises(
        InputError,
        match=r"different tokenizers: 257 and 258 entries, 1 of them differ, .*<\|tool\|>",
    ):
        opened(model_folder, tuned, texts_file)


def swapped_tokenizer(folder):
    """The same entries under other numbers."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    a, b = list(vocabulary)[5:7]
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
    path.write_text(json.dumps(content))


def test_equal_words_under_other_numbers_are_refused(model_folder, texts_file, tmp_path):
    tuned = save_tiny(tmp_path / "tuned")
    swapped_tokenizer(tuned)
    with pytest.raises(InputError, match="257 and 257 entries, 2 of them differ"):
        opened(model_folder, tuned, texts_file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": 2}, "num_hidden_layers: 3 and 2"),
        ({"intermediate_size": 32}, "intermediate_size: 24 and 32"),
        ({"family": "mistral"}, "model_type: llama and mistral"),
    ],
)
def test_another_architecture_is_refused(model_folder, texts_file, tmp_path, change, message):
    tuned = save_tiny(tmp_path / "tuned")
    tiny_model(**change).save_pretrained(tuned)
    for stage in (evaluated, explained):
        with pytest.raises(InputError, match=message):
            stage(opened(model_folder, tuned, texts_file))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "texts.jsonl is empty"),
        ([""] * 9, "holds no text"),
        (["short"] * 2 + ["x"], "no document of .* fills one window: the longest has 5 tokens"),
        (
            ["long enough for a window of 32 tokens, this one is"],
            "1 usable document, .*\nneeded: 2 held-out",
        ),
    ],
)
def test_texts_that_do_not_serve(model_folder, tmp_path, texts, message):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    with pytest.raises(InputError, match=message):
        opened(model_folder, model_folder, path)


def test_contexts_longer_than_the_texts(model_folder, texts_file):
    with pytest.raises(InputError, match="0 of them fit .*longest has 1[0-9][0-9] tokens"):
        opened(model_folder, model_folder, texts_file, continuation_tokens=500)
    with pytest.raises(InputError, match="needed: 18 held-out documents of at least 128 tokens"):
        opened(model_folder, model_folder, texts_file, num_heldout=18, continuation_tokens=120)


def test_a_checkpoint_that_is_not_there(model_folder, texts_file, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        opened(tmp_path / "gone", model_folder, texts_file)
    with pytest.raises(InputError, match="does not exist"):
        opened(model_folder, tmp_path / "gone", texts_file)
    with pytest.raises(InputError, match="'nobody/nothing' cannot be loaded"):
        opened(model_folder, "nobody/nothing", texts_file)


def test_only_known_families_are_explained(model_folder, monkeypatch):
    monkeypatch.setattr(anatomy_module, "FAMILIES", {})
    compared = comparison(model_folder, lambda: tiny_model(seed=1))
    with pytest.raises(
        InputError, match="layers of a 'llama' model cannot be told apart"
    ) as caught:
        explained(compared)
    assert "prefix" not in str(caught.value), "a hint about training would mislead"
    evaluated(compared)  # needs no layers


@pytest.mark.parametrize("wrong", [4, 1_000])
def test_blocks_to_swap_that_the_model_lacks(model_folder, wrong):
    config = ExplainConfig(resamples=100, swap_blocks=(1, wrong), device="cpu")
    with pytest.raises(InputError, match=f"swap_blocks holds {wrong}, the model has 3 blocks"):
        explained(comparison(model_folder, tiny_model), config)


def test_sizes_and_contexts_of_the_swap_are_those_asked_for(model_folder):
    compared = comparison(model_folder, lambda: tiny_model(seed=1))
    config = EXPLAIN.model_copy(update={"swap_blocks": (2, 1, 2), "swap_contexts": 3})
    _, found = explained(compared, config)
    assert [(r["hybrid"], r["blocks"]) for r in found["block_swap"]["rows"]] == [
        (upper, j) for upper in ("tuned_upper", "original_upper") for j in (1, 2)
    ]
    assert {r["ttr"]["n"] for r in found["block_swap"]["rows"]} == {3}
    _, found = explained(compared, EXPLAIN.model_copy(update={"swap_contexts": 0}))
    assert "block_swap" not in found


def test_a_tokenizer_that_writes_more_than_the_base_knows(texts_file, tmp_path):
    small = tmp_path / "small"
    tiny_model(vocab_size=90).save_pretrained(small)
    byte_tokenizer().save_pretrained(small)
    with pytest.raises(InputError, match="the model has 90 embeddings"):
        evaluated(opened(small, small, texts_file))

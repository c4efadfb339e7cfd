"""Zero-shot tasks: local ones of eight questions, against a plain loop over the choices."""

import gc
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model

from hyperfitting.config import EvaluateConfig
from hyperfitting.errors import InputError
from hyperfitting.evaluate.unfinished import unfinished_tasks
from hyperfitting.models.digests import model_digest
from hyperfitting.models.load import load_tokenizer, quiet_transformers
from hyperfitting.progress import Progress, Stage
from hyperfitting.records import ORIGINAL
from hyperfitting.records.record import as_json
from hyperfitting.runs import StudyFolder
from hyperfitting.tasks import harness
from hyperfitting.tasks import run as run_module
from hyperfitting.tasks.harness import check_tasks
from hyperfitting.tasks.run import requested_tasks, run_tasks
from tests.comparing import changed, comparison, with_bias
from tests.tiny import byte_tokenizer, tiny_model

WRONG = ("a", "bcd", "ef gh")
CONFIG = EvaluateConfig(resamples=100, batch_size=3, device="cpu")
RIGHT = "z"  # of which every right choice is made, in eight lengths and three places
QUESTIONS = [
    {
        "question": f"{n} plus {n * n}?",
        "choices": [RIGHT * (1 + n) if i == n % 3 else wrong for i, wrong in enumerate(WRONG)],
        "answer": n % 3,
    }
    for n in range(8)
]
MEANS = ("acc", "acc_norm")


def metrics(*names):
    return [{"metric": n, "aggregation": n if n == "f1" else "mean"} for n in names]


def write_task(folder, name="letters", rows=QUESTIONS, **settings):
    """A task file and its questions beside it."""
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "metric_list": [m | {"higher_is_better": True} for m in metrics(*MEANS)],
        "metadata": {"version": 3},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task | settings))
    return str(folder / f"{name}.yaml")


def oracle(model, rows=QUESTIONS, by_length=False):
    """Whether each question is answered rightly, by a plain loop over the choices."""
    tokenizer, right = byte_tokenizer(), []
    for row in rows:
        scores = []
        for choice in row["choices"]:
            before = tokenizer(row["question"])["input_ids"]
            after = tokenizer(choice)["input_ids"]
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([before + after])).logits[0]
            logp = logits.double().log_softmax(-1)
            total = sum(float(logp[len(before) - 1 + i, token]) for i, token in enumerate(after))
            scores.append(total / len(choice) if by_length else total)
        right.append(float(np.argmax(scores) == row["answer"]))
    return np.array(right)


def planted():
    (token,) = byte_tokenizer()(RIGHT)["input_ids"]
    return with_bias(token, 60.0)


def adapted():
    """An adapter on a head that is tied to the embedding: the harness would tie it again."""
    config = LoraConfig(r=2, target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    torch.manual_seed(3)
    with quiet_transformers(), pytest.warns(UserWarning, match="tie"):
        return get_peft_model(tiny_model("qwen2"), config).eval()


@pytest.fixture(scope="module")
def run():
    """Tasks checked and run; the result as JSON holds it."""
    pytest.importorskip("lm_eval")

    def run(compared, names, config=CONFIG, progress=None, **options):
        checked = check_tasks(names, config, **options)
        tokenizer = load_tokenizer(compared.model)
        found = run_tasks(checked, compared, tokenizer, config, progress or Progress())
        return json.loads(json.dumps(as_json(found), allow_nan=False))

    return run


@pytest.fixture
def few_own(monkeypatch):
    """The harness with one folder of its own tasks: reading all takes ten seconds."""
    harness = pytest.importorskip("lm_eval.tasks")
    real, own = harness.TaskManager, Path(harness.__file__).parent / "arc"

    def manager(include_path, include_defaults):
        return real(include_path=[own] * include_defaults + include_path, include_defaults=False)

    monkeypatch.setattr(harness, "TaskManager", manager)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def models():
    return [tiny_model(), planted(), changed(scale=1.0), adapted()]


@pytest.fixture(scope="module")
def found(run, folder, model_folder, models):
    """The original beside itself, a planted model, another and an adapter."""
    makers = [lambda model=model: model for model in models]
    return run(comparison(model_folder, *makers), [write_task(folder)])


def rows_of(found, metric, arm="tuned"):
    return [row for row in found["rows"] if row["metric"] == metric and row["arm"] == arm]


@pytest.mark.parametrize("metric", MEANS)
def test_accuracies_are_those_of_a_plain_loop(found, models, metric):
    by_length = metric == "acc_norm"
    (first,) = rows_of(found, metric, "original")
    base = oracle(tiny_model(), by_length=by_length)
    assert first["value"] == base.mean()
    assert first["stderr"] == pytest.approx(base.std(ddof=1) / np.sqrt(8))
    assert (first["n"], first["reason"], first["difference"]) == (8, None, None)
    for model, row in zip(models, rows_of(found, metric), strict=True):
        right = oracle(model, by_length=by_length)
        assert row["value"] == right.mean()
        assert row["difference"]["mean"] == (right - base).mean()
        assert row["difference"]["n"] == 8
        assert row["difference"]["low"] <= row["difference"]["mean"] <= row["difference"]["high"]


def test_a_model_differs_from_itself_by_nothing(found):
    for metric in MEANS:
        same = rows_of(found, metric)[0]["difference"]
        assert same == {"mean": 0.0, "low": 0.0, "high": 0.0, "n": 8, "reason": None}


def test_models_that_were_asked_are_not_asked_again(folder, model_folder, tmp_path, monkeypatch):
    pytest.importorskip("lm_eval")
    compared = comparison(model_folder, tiny_model, planted)
    checked = check_tasks([write_task(folder, "kept")], CONFIG)
    tokenizer = load_tokenizer(compared.model)
    whole = run_tasks(checked, compared, tokenizer, CONFIG, Progress())
    asked, real, study = [], run_module.ask, StudyFolder(tmp_path / "study")

    def ask(model, *rest):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(model)
        return real(model, *rest)

    def attempt(checked=checked):
        kept = unfinished_tasks(study, checked, compared, tokenizer, Progress())
        return run_tasks(checked, compared, tokenizer, CONFIG, Progress(), kept), kept

    monkeypatch.setattr(run_module, "ask", ask)
    with pytest.raises(KeyboardInterrupt):
        attempt()
    asked[:] = asked[:1]
    found, kept = attempt()
    assert found == whole
    assert len(asked) == 2, "the last model alone"
    kept.clear()
    assert not study.unfinished_arms.exists()


def test_one_model_at_a_time_is_in_memory(run, folder, model_folder):
    """Also where nothing collects circles of references."""
    made = []

    def maker(seed):
        def make():
            assert [each for each in made if each() is not None] == []
            model = tiny_model(seed=seed)
            made.append(weakref.ref(model))
            return model

        return make

    compared = comparison(model_folder, maker(1), maker(2), maker(3))
    gc.collect()
    gc.disable()
    try:
        run(compared, [write_task(folder, "alone")])
    finally:
        gc.enable()
    assert len(made) == 3


def test_other_questions_are_asked_of_every_model(folder, model_folder, tmp_path):
    pytest.importorskip("lm_eval")
    compared = comparison(model_folder, tiny_model)
    tokenizer, keys = load_tokenizer(compared.model), set()
    other = [QUESTIONS[0] | {"question": "Another?"}, *QUESTIONS[1:]]
    for rows, limit in ((QUESTIONS, None), (QUESTIONS, 4), (other, None)):
        (tmp_path / "t").mkdir(exist_ok=True)
        checked = check_tasks([write_task(tmp_path / "t", rows=rows)], CONFIG, limit=limit)
        kept = unfinished_tasks(StudyFolder(tmp_path), checked, compared, tokenizer, Progress())
        keys.add(kept.basis.key("tasks", ORIGINAL, ""))
        shutil.rmtree(tmp_path / "t")
    assert len(keys) == 3


def test_a_task_with_functions_is_the_same_in_another_process(tmp_path):
    """Their addresses are others; their sources are not."""
    pytest.importorskip("lm_eval")
    (tmp_path / "own.py").write_text(
        "def process(dataset):\n    return dataset\n\ndef text(doc):\n    return doc['question']\n"
    )
    own = write_task(tmp_path, "own_task")
    settings = yaml.safe_load(Path(own).read_text())
    del settings["doc_to_text"]
    lines = "process_docs: !function own.process\ndoc_to_text: !function own.text\n"
    Path(own).write_text(yaml.safe_dump(settings) + lines)
    program = (
        "import sys; from hyperfitting.config import EvaluateConfig;"
        "from hyperfitting.tasks.harness import check_tasks;"
        "print(check_tasks([sys.argv[1]], EvaluateConfig()).digest)"
    )
    here = check_tasks([own], CONFIG).digest
    done = subprocess.run(
        [sys.executable, "-c", program, own], check=True, capture_output=True, text=True
    )
    assert done.stdout.split()[-1] == here
    (tmp_path / "own.py").write_text(
        "def process(dataset):\n    return dataset\n\ndef text(doc):\n    return 'a'\n"
    )
    assert check_tasks([own], CONFIG).digest != here


def test_a_planted_model_is_always_right(found):
    assert [rows_of(found, metric)[1]["value"] for metric in MEANS] == [1.0, 1.0]
    assert rows_of(found, "acc")[1]["stderr"] == 0.0


def test_the_result_says_what_was_run(found, folder):
    assert found["harness"]["name"] == "lm_eval"
    assert found["settings"]["limit"] is None
    assert found["tasks"] == [
        {
            "task": "letters", "version": 3, "num_fewshot": 0, "num_questions": 8,
            "source": str(folder / "letters.yaml"),
        }
    ]  # fmt: skip
    assert [(a["arm"], a["seed"], a["cut_prompts"]) for a in found["arms"]] == [
        ("original", None, 0), *(("tuned", seed, 0) for seed in range(4))
    ]  # fmt: skip


def state():
    named = [logging.getLogger(n) for n in (None, "lm_eval", "datasets", "transformers")]
    return [
        random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(),
        dict(os.environ), torch.get_num_threads(), sys.stdout, sys.stderr, os.getcwd(),
        [(each.level, each.propagate, each.handlers[:]) for each in named],
    ]  # fmt: skip


def test_models_and_process_are_left_as_they_were(run, tmp_path, model_folder, monkeypatch, capfd):
    """Also by a task that generates, and by a harness that changes more than ours does."""
    harness = pytest.importorskip("lm_eval.evaluator")
    evaluate = harness.simple_evaluate
    monkeypatch.chdir(tmp_path)  # no git repository

    def careless(lm, **given):
        print("on standard output")
        os.environ["HYPERFITTING_TEST"] = "1"
        del os.environ["HF_HUB_OFFLINE"]
        torch.set_num_threads(3)
        for name in (None, "lm_eval", "transformers"):
            logging.getLogger(name).setLevel(logging.DEBUG)
            logging.getLogger(name).addHandler(logging.StreamHandler())
        (
            lm.model.get_base_model() if hasattr(lm.model, "peft_config") else lm.model
        ).generation_config.max_length = 7
        return evaluate(lm, **given)

    monkeypatch.setattr(harness, "simple_evaluate", careless)
    written = [{"question": "once upon", "answer": RIGHT * 3}] * 2
    settings = {"do_sample": False, "until": ["\n"], "max_gen_toks": 3}
    task = write_task(
        tmp_path, "writing", written, output_type="generate_until", doc_to_choice=None,
        doc_to_target="{{answer}}", metric_list=[{"metric": "exact_match", "aggregation": "mean"}],
        generation_kwargs=settings,
    )  # fmt: skip
    kept = [planted(), adapted()]
    digests = [model_digest(model) for model in kept]
    configs = [model.generation_config for model in kept]
    contents = [config.to_dict() for config in configs]
    attributes = [set(vars(model)) for model in kept]
    before = state()
    found = run(comparison(model_folder, *(lambda m=m: m for m in kept)), [task])
    assert state() == before
    assert rows_of(found, "exact_match")[0]["value"] == 1.0
    assert [model_digest(model) for model in kept] == digests
    assert all(m.generation_config is c for m, c in zip(kept, configs, strict=True))
    assert [config.to_dict() for config in configs] == contents
    assert [set(vars(model)) for model in kept] == attributes
    assert not any(model.training for model in kept)
    assert capfd.readouterr() == ("", "")


def test_one_question_has_no_interval(run, folder, model_folder):
    found = run(comparison(model_folder, planted), [write_task(folder)], limit=1)
    (row,) = rows_of(found, "acc")
    assert (row["value"], row["stderr"], row["n"]) == (1.0, None, 1)
    assert "one question" in row["reason"]
    difference = row["difference"]
    assert difference["mean"] == 1.0 - oracle(tiny_model(), QUESTIONS[:1])[0]
    assert (difference["low"], difference["high"], difference["n"]) == (None, None, 1)
    assert "one question" in difference["reason"]
    assert found["settings"]["limit"] == 1
    assert found["tasks"][0]["num_questions"] == 8


def test_what_is_no_mean_over_questions_has_no_difference(run, tmp_path, model_folder):
    rows = [
        row | {"choices": row["choices"][:2], "answer": n % 2} for n, row in enumerate(QUESTIONS)
    ]
    task = write_task(tmp_path, rows=rows, metric_list=metrics("f1"))
    found = run(comparison(model_folder, changed), [task])
    (row,) = rows_of(found, "f1")
    assert 0 <= row["value"] <= 1
    assert (row["stderr"], row["n"]) == (None, 8)
    assert row["difference"]["mean"] is None
    assert "not a finite mean" in row["reason"]
    assert "not a finite mean" in row["difference"]["reason"]


def test_a_group_counts_every_question_once(run, tmp_path, model_folder, few_own):
    """Where it counts its tasks alike instead, it is no mean over questions."""
    for group, by_size in {"pooled": True, "alike": False}.items():
        parts = {f"{group}_few": QUESTIONS[:3], f"{group}_more": QUESTIONS[3:]}
        for name, rows in parts.items():
            write_task(tmp_path, name, rows)
        metric = {"metric": "acc", "weight_by_size": by_size}
        content = {"group": group, "task": list(parts), "aggregate_metric_list": [metric]}
        (tmp_path / f"{group}.yaml").write_text(yaml.safe_dump(content))
    compared, base = comparison(model_folder, planted), oracle(tiny_model())
    assert base[:3].mean() != base[3:].mean()
    found = run(compared, ["pooled", "alike"], include=tmp_path)
    assert len(found["tasks"]) == 4
    first = {row["task"]: row["value"] for row in rows_of(found, "acc", "original")}
    rows = {row["task"]: row for row in rows_of(found, "acc")}
    assert first["pooled"] == pytest.approx(base.mean())
    assert rows["pooled"]["difference"]["mean"] == pytest.approx(1 - base.mean())
    assert (rows["pooled"]["n"], rows["pooled"]["difference"]["n"]) == (8, 8)
    assert first["alike"] == pytest.approx((base[:3].mean() + base[3:].mean()) / 2)
    assert rows["alike"]["difference"]["mean"] is None
    assert "not a finite mean" in rows["alike"]["difference"]["reason"]
    twice = refused(run, compared, ["pooled", "pooled_few"], include=tmp_path)
    assert "found in both" in twice


def test_prompts_beyond_the_models_positions_are_counted(run, tmp_path, model_folder):
    rows = [*QUESTIONS[:2], QUESTIONS[2] | {"question": "long " * 40}]
    found = run(comparison(model_folder), [write_task(tmp_path, rows=rows)])
    assert found["arms"][0]["cut_prompts"] == 3  # one for each choice


def test_logits_of_a_batch_are_bounded(run, folder, model_folder, monkeypatch, found):
    monkeypatch.setattr(harness, "LOGITS_PER_PASS", 1)
    one = run(comparison(model_folder), [write_task(folder)])
    assert (one["arms"][0]["batch_size"], found["arms"][0]["batch_size"]) == (1, 3)
    assert rows_of(one, "acc", "original") == rows_of(found, "acc", "original")


def test_progress_is_told(run, folder, model_folder):
    class Seen(Progress):
        def __init__(self):
            super().__init__()
            self.done = {}

        def _begin(self, title, total):
            stage = Stage(title, total)
            stage.update = lambda done, note="": self.done.setdefault(title, []).append(
                (done, total)
            )
            return stage

    seen = Seen()
    run(comparison(model_folder), [write_task(folder)], progress=seen)
    done = seen.done["tasks of original"]
    assert done == sorted(done)
    assert len(set(done)) == 9
    assert done[-1] == (8, 8)


def refused(run, compared, names, **options):
    """What is said; no model may have been loaded."""

    def loaded(*_):
        raise AssertionError("a model was loaded")

    class Untouched(type(compared)):
        load_original = loaded

    fields = {name: getattr(compared, name) for name in type(compared).__dataclass_fields__}
    with pytest.raises(InputError) as caught:
        run(Untouched(**fields), names, **options)
    return str(caught.value)


def test_an_unknown_task_names_the_nearest(run, folder, model_folder, few_own):
    said = refused(run, comparison(model_folder), [write_task(folder), "arc_eazy"])
    assert "unknown task: arc_eazy\n" in said
    assert "did you mean 'arc_easy'?" in said


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        ([], {}, "0 tasks"),
        (["letters"], {"limit": 0}, "limit 0"),
        (["nowhere.yaml"], {}, "nowhere.yaml does not exist"),
    ],
)
def test_wrong_input_is_refused(run, model_folder, names, options, words):
    assert words in refused(run, comparison(model_folder), names, **options)


def test_a_task_without_its_data_is_refused(run, tmp_path, model_folder):
    task = write_task(tmp_path)
    (tmp_path / "letters.jsonl").unlink()
    said = refused(run, comparison(model_folder), [task])
    assert "the task letters cannot be used" in said
    assert "letters.jsonl" in said


def test_metrics_from_elsewhere_run_only_when_trusted(run, tmp_path, model_folder, monkeypatch):
    """A folder with the metric's name stands for the hub: its code runs as the hub's would."""
    monkeypatch.chdir(tmp_path)
    code = tmp_path / "foreign" / "foreign.py"
    code.parent.mkdir()
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    foreign = {"metric": "foreign", "aggregation": "mean", "higher_is_better": True}
    task = write_task(tmp_path, metric_list=[foreign])
    said = refused(run, comparison(model_folder), [task])
    assert "none is run from the hub" in said
    assert not (tmp_path / "ran").exists()
    trusting = CONFIG.model_copy(update={"trust_remote_code": True})
    refused(run, comparison(model_folder), [task], config=trusting)
    assert (tmp_path / "ran").exists()


def test_a_missing_harness_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(InputError, match=r"hyperfitting\[tasks\]"):
        requested_tasks(CONFIG.model_copy(update={"tasks": "arc_easy"}))


def test_the_settings_say_what_is_asked(folder):
    assert requested_tasks(CONFIG) is None
    pytest.importorskip("lm_eval")
    write_task(folder, "numbers")
    asked = {"tasks": f" numbers, {write_task(folder)},", "tasks_folder": str(folder)}
    checked = requested_tasks(CONFIG.model_copy(update=asked | {"tasks_limit": 3}))
    assert [task.config.task for task in checked.tasks] == ["numbers", "letters"]
    assert (checked.limit, checked.num_questions) == (3, 6)

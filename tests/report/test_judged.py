"""Judged arms on the page: named as every other table names them, whoever wrote the file."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from hyperfitting.config.judge import JudgeConfig
from hyperfitting.errors import InputError
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.judge.verb import judge
from hyperfitting.records import Arm
from hyperfitting.report.load import read_study
from hyperfitting.report.sections.judge import judgements
from hyperfitting.report.sections.results import every_arm
from hyperfitting.runs import StudyFolder
from tests.comparing import EVALUATE, changed, comparison, dataset
from tests.judge.serving import serving, verdict
from tests.sealing import rewrite

ARMS = [
    Arm("late_stage_lora", 0), Arm("late_stage_lora", 1),
    Arm("full_lora", 0, (("lora.rank", 4),)), Arm("full_lora", 0, (("lora.rank", 8),)),
]  # fmt: skip
# What is asked for, and what the page calls it.
SIDES = {
    "late_stage_lora,seed=0": "late_stage_lora (seed 0)",
    "late_stage_lora,seed=1,decoder=greedy": "late_stage_lora (seed 1)",
    "full_lora,lora.rank=4": "full_lora (rank=4)",
    "full_lora,lora.rank=8": "full_lora (rank=8)",
    "original+min_p,sampling_seed=0": "original+min_p (min_p=0.1)",
    "late_stage_lora_sampled,seed=1,sampling_seed=1": "late_stage_lora_sampled (seed 1)",
    "original_entropy_matched_sampled,matched_to=full_lora,lora.rank=8,sampling_seed=0":
        "original_entropy_matched_sampled (matched_to=full_lora, rank=8)",
    "human": "human",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model_folder):
    """Two seeds, two settings and a decoder, evaluated; every side judged against the next."""
    makers = [lambda i=i: changed(scale=0.3 + i / 10) for i in range(len(ARMS))]
    compared = comparison(model_folder, *makers, data=dataset(2))
    tuned = [replace(each, arm=arm) for each, arm in zip(compared.tuned, ARMS, strict=True)]
    study = StudyFolder(tmp_path_factory.mktemp("judged") / "study")
    config = EVALUATE.model_copy(update={"decoders": "min_p:0.1"})
    evaluate(replace(compared, tuned=tuned), config, study.path)
    names = list(SIDES)
    with pytest.MonkeyPatch.context() as patch, serving(key=None, answer=tie) as server:
        patch.setenv("OPENAI_API_KEY", "none")
        patch.setenv("NO_PROXY", "127.0.0.1")
        for a, b in zip(names, [*names[1:], names[0]], strict=True):
            settings = JudgeConfig(a=a, b=b, model="m", endpoint=server.url)
            judge(study.path, settings)
    return study


def tie(_):
    return json.dumps(verdict("tie"))


def judged(folder):
    rows = judgements(read_study(folder)).rows
    return [row[0].value for row in rows if row[2].value == "winner"]


def expected():
    labels = list(SIDES.values())
    return [f"{a} against {b}" for a, b in zip(labels, [*labels[1:], labels[0]], strict=True)]


def test_a_judged_arm_has_the_name_that_other_tables_give_it(folder):
    assert judged(folder) == expected()
    others = {row[0].value for row in every_arm(read_study(folder)).rows}
    assert set(SIDES.values()) <= others


def test_the_file_tells_an_arm_from_its_decoding(folder):
    written = json.loads(folder.judge.results_file.read_text())
    sides = [entry["a"] for entry in written["comparisons"]]
    files = [side.pop("texts") for side in sides]
    assert all(len(digest) == 64 for digest in files)
    assert len(set(files)) == len(files)
    assert sides[1] == {
        "arm": "late_stage_lora", "seed": 1, "parameters": {}, "mode": "fixed_length",
        "length": 10, "decoding": {"decoder": "greedy"},
    }  # fmt: skip
    assert sides[3]["parameters"] == {"lora.rank": 8}
    assert sides[4]["parameters"] == {"min_p": 0.1}
    assert sides[4]["decoding"] == {"decoder": "min_p", "min_p": 0.1, "sampling_seed": 0}


def test_a_file_that_had_both_in_one_gives_the_same_names(folder, tmp_path):
    """As 0.1 wrote it: the decoding stood where an arm's own parameters stand elsewhere."""
    written = json.loads(folder.judge.results_file.read_text())
    for entry in written["comparisons"]:
        for side in (entry["a"], entry["b"]):
            side["parameters"] = side.pop("decoding")
    copy = tmp_path / "results.json"
    del written["content_digest"]
    copy.write_text(json.dumps(written | {"version": 1}))
    old = StudyFolder(folder.path)
    old.judge.results_file = copy
    assert judged(old) == expected()


def test_a_judgement_of_other_texts_is_left_out_and_said(folder, tmp_path):
    copy = StudyFolder(tmp_path / "copy")
    shutil.copytree(folder.path, copy.path)

    def of_other_texts(content):
        content["comparisons"][0]["b"]["texts"] = "0" * 64

    rewrite(copy.judge.results_file, of_other_texts)
    study = read_study(copy)
    assert len(study.judgements) == len(SIDES) - 1
    assert f"1 of {len(SIDES)} judgements" in study.left_out[0]
    assert "run `hyperfit judge` again" in study.left_out[0]
    assert read_study(folder).left_out == []


@pytest.mark.parametrize("name", ["measurements.json", "study.json", "judge/results.json"])
def test_a_changed_digit_is_refused(folder, tmp_path, name):
    copy = StudyFolder(tmp_path / "copy")
    shutil.copytree(folder.path, copy.path)
    path = copy.path / name
    text = path.read_text()
    place = re.search(r'": (\d)', text).start(1)
    path.write_text(text[:place] + str((int(text[place]) + 1) % 9) + text[place + 1 :])
    with pytest.raises(InputError, match=f"{name}"):
        read_study(copy)


def test_texts_of_another_evaluation_are_refused(folder, tmp_path):
    copy = StudyFolder(tmp_path / "copy")
    shutil.copytree(folder.path, copy.path)
    first, second = sorted(copy.generations.glob("*.jsonl"))[:2]
    shutil.copy(first, second)
    with pytest.raises(InputError, match=f"{second.name} is damaged: .*the evaluation in study"):
        read_study(copy)

"""An evaluation that is stopped keeps the tuned models that it has scored."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from hyperfitting.compare.subject import Opened
from hyperfitting.errors import InputError, InterruptedStudyError, MachineError
from hyperfitting.evaluate import scoring, verb
from hyperfitting.evaluate import tuned as tuned_module
from hyperfitting.evaluate.bench import bench_of
from hyperfitting.evaluate.plan import check
from hyperfitting.evaluate.unfinished import TunedArmsFile
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.progress import Progress
from hyperfitting.records.record import as_json, read
from hyperfitting.runs import KEPT_ARMS, StudyFolder
from tests.comparing import EVALUATE, Said, changed, comparison, dataset
from tests.tiny import save_tiny, tiny_model

CONFIG = EVALUATE.model_copy(
    update={"decoders": "min_p,guard", "decoders_on": "all", "strengths": (0.5,)}
)


def test_a_strength_that_cannot_be_is_refused_before_anything_is_written(
    compared, monkeypatch, tmp_path
):
    written = []
    monkeypatch.setattr(tuned_module, "write", lambda *rest: written.append(rest))
    odd = replace(compared.tuned[0], load=lambda: tiny_model(vocab_size=300))
    config = CONFIG.model_copy(update={"decoders": "", "decoders_on": "original"})
    bench = bench_of(compared, check(config, Progress()), Progress())
    with pytest.raises(InputError, match="strength of .*embed_tokens"):
        tuned_module.score_tuned(bench, None, odd, odd.load(), is_first=True)
    assert written == []


@pytest.fixture
def study(tmp_path):
    return StudyFolder(tmp_path / "study")


@pytest.fixture
def compared(tmp_path):
    return comparison(save_tiny(tmp_path / "model"), changed, lambda: changed(0), data=dataset(3))


@pytest.fixture
def scored(monkeypatch):
    """Seeds of the tuned models that were scored, in order."""
    calls = []

    def counted(bench, human, tuned, *rest, own=scoring.score_tuned, **more):
        calls.append(tuned.arm.seed)
        return own(bench, human, tuned, *rest, **more)

    monkeypatch.setattr(scoring, "score_tuned", counted)
    return calls


def write(study, *compared, config=CONFIG, progress=None):
    evaluate(Opened(compared), config, study.path, progress)
    texts = {path.name: path.read_text() for path in study.generations.iterdir()}
    table = study.per_context_file.read_bytes()
    return json.loads(study.measurements_file.read_text()), about(study), texts, table


def about(study):
    """What `study.json` says, but for the digests of files that are compared by themselves."""
    return {k: v for k, v in json.loads(study.study_file.read_text()).items() if k != "files"}


def stop(monkeypatch, study, *compared, at=1, fault=KeyboardInterrupt, config=CONFIG):
    """An evaluation that is stopped while it scores the tuned model of seed `at`."""

    def score(bench, human, tuned, *rest, own=scoring.score_tuned, **more):
        if tuned.arm.seed == at:
            raise fault
        return own(bench, human, tuned, *rest, **more)

    expected = {KeyboardInterrupt: InterruptedStudyError, MemoryError: MachineError}[fault]
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score_tuned", score)
        with pytest.raises(expected) as stopped:
            write(study, *compared, config=config)
    return str(stopped.value)


def test_models_are_kept_until_their_tasks_are_done(study, compared, scored, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    checked, tasks = verb.check, SimpleNamespace(digest="of the tasks")
    monkeypatch.setattr(verb, "check", lambda *given: replace(checked(*given), tasks=tasks))
    monkeypatch.setattr(verb, "run_tasks", stopped)
    with pytest.raises(KeyboardInterrupt):
        write(study, compared)
    before = len(scored)
    written = []
    monkeypatch.setattr(verb, "run_tasks", lambda *_: "results")
    monkeypatch.setattr(verb, "write_tasks", lambda _study, _about, found: written.append(found))
    write(study, compared)
    assert (len(scored), written) == (before, ["results"])
    assert not study.unfinished_arms.exists()


def test_models_that_may_end_otherwise_are_scored_again(study, scored, monkeypatch, tmp_path):
    """Another end token in the generation config is no other model, and other texts."""
    folder = save_tiny(tmp_path / "model")
    tuned = (folder, changed, lambda: changed(0))
    stop(monkeypatch, study, comparison(*tuned, data=dataset(3)))
    config = json.loads((folder / "generation_config.json").read_text())
    ends = json.dumps(config | {"eos_token_id": [3, 7]})
    (folder / "generation_config.json").write_text(ends)
    scored.clear()
    write(study, comparison(*tuned, data=dataset(3)))
    assert len(scored) == 2


@pytest.mark.parametrize("fault", [KeyboardInterrupt, MemoryError])
def test_what_is_scored_is_not_scored_again_and_comes_out_the_same(
    study, compared, scored, monkeypatch, tmp_path, fault
):
    straight = write(StudyFolder(tmp_path / "straight"), compared)
    said = stop(monkeypatch, study, compared, fault=fault)
    assert "the same command" in said
    if fault is KeyboardInterrupt:
        assert f"1 finished tuned models are kept in {study.unfinished_arms}" in said
    assert len(list(study.unfinished_arms.iterdir())) == 1
    assert not study.study_file.exists()
    scored.clear()
    progress = Said()
    again = write(study, compared, progress=progress)
    assert scored == [1]
    assert any(re.fullmatch(r"  tuned.*: kept from before", line) for line in progress.lines)
    assert not study.unfinished_arms.exists()
    for one, other in zip(again, straight, strict=True):
        assert one == other


def test_every_set_of_texts_is_kept(study, compared, scored, monkeypatch, tmp_path):
    away = replace(compared, dataset=dataset(3, seed=9))
    away.data["contexts_digest"] = away.dataset.contexts.digest()
    away = replace(away, data=compared.data | {"source": "away", "contexts_digest": "0" * 64})
    straight = write(StudyFolder(tmp_path / "straight"), compared, away)
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "set_values", stop_the_second(scoring.set_values))
        with pytest.raises(InterruptedStudyError, match="2 finished tuned models"):
            write(study, compared, away)
    assert len(list(study.unfinished_arms.iterdir())) == 4
    scored.clear()
    assert write(study, compared, away) == straight
    assert scored == []
    assert not study.unfinished_arms.exists()


def stop_the_second(own):
    calls = []

    def function(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return own(*arguments)

    return function


def test_stopped_before_anything_was_scored_it_is_an_interrupt(study, compared, monkeypatch):
    def score(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring, "score_tuned", score)
    with pytest.raises(KeyboardInterrupt):
        write(study, compared)


@pytest.mark.parametrize("other", ["settings", "texts", "windows", "model", "none"])
def test_arms_of_another_basis_are_not_used(study, compared, scored, monkeypatch, other):
    stop(monkeypatch, study, compared)
    config = CONFIG
    if other == "settings":
        config = CONFIG.model_copy(update={"sampling_seeds": 1})
    elif other == "texts":
        data = dataset(3, seed=9)
        digest = {"contexts_digest": data.contexts.digest()}
        compared = replace(compared, dataset=data, data=compared.data | digest)
    elif other == "windows":
        compared = replace(compared, data=compared.data | {"window_tokens": 99})
    elif other == "model":
        first, second = compared.tuned
        stronger = replace(first, load=lambda: changed(scale=0.4))
        compared = replace(compared, tuned=[stronger, second])
    else:  # what is done with all arms later
        config = CONFIG.model_copy(update={"margin_ttr": 0.1, "self_bleu": True, "batch_size": 2})
    scored.clear()
    write(study, compared, config=config)
    assert scored == ([1] if other == "none" else [0, 1])


def test_a_damaged_file_is_scored_again(study, compared, scored, monkeypatch):
    stop(monkeypatch, study, compared)
    (kept,) = study.unfinished_arms.glob(f"{KEPT_ARMS}-*.json")
    kept.write_text(kept.read_text().replace('"bytes": "A', '"bytes": "B', 1))
    progress = Said()
    scored.clear()
    write(study, compared, progress=progress)
    assert scored == [0, 1]
    assert any("is damaged" in line and "found again" in line for line in progress.lines)


def test_the_original_is_read_on_human_text_beside_the_first_that_is_scored(
    study, compared, monkeypatch
):
    """Where the first model's arms come from before, they hold what the original says."""
    stop(monkeypatch, study, compared)
    (kept,) = study.unfinished_arms.iterdir()
    known = read(TunedArmsFile, json.loads(kept.read_text())).found
    assert known.original is not None
    assert known.equal_entropy is not None
    again = as_json(TunedArmsFile(found=known))
    assert again["found"] == json.loads(kept.read_text())["found"]


def test_with_nothing_to_go_on_with_a_study_stays_what_it_was(study, compared, scored):
    write(study, compared, progress=Progress())
    assert scored == [0, 1]
    assert not study.unfinished_arms.exists()

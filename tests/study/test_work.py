"""Steps run in order, side by side where asked, once more after the others, and stop together."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from hyperfitting.study import places, work
from hyperfitting.study.steps import Step
from hyperfitting.study.work import Progressed, Workers, message_in


@pytest.fixture(autouse=True)
def _shell(monkeypatch):
    monkeypatch.setattr(work, "PROGRAM", ("/bin/sh", "-c"))


class Plan:
    """Steps of shell commands: each is done when its file is there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.steps, self.said, self.told = folder, [], [], []

    def add(self, name, command, *after, done=None, folder=None):
        path = self.folder / f"{name}.done"
        words = None if command is None else [command.format(done=path, folder=self.folder)]
        keys = tuple(f"cell/{each}" for each in after)
        self.steps.append(
            Step("cell", name, self.folder / (folder or name), lambda: words,
                 done or path.exists, keys)
        )  # fmt: skip

    def work(self, parallel=1):
        def tell(known):
            self.told.append({each.step.name: each.state for each in known})

        known = [Progressed(s, "done" if s.is_done() else "waiting") for s in self.steps]
        workers = Workers(known, parallel, tell, self.said.append, self.folder / "logs")
        self.workers = workers
        return {each.step.name: each for each in workers.work()}


@pytest.fixture
def plan(tmp_path):
    return Plan(tmp_path)


def test_what_is_done_is_not_run_and_what_follows_waits(plan, tmp_path):
    (tmp_path / "first.done").touch()
    plan.add("first", "exit 7")
    plan.add("third", "test -e {folder}/second.done && touch {done}", "second")
    plan.add("second", "touch {done}", "first")
    ended = plan.work()
    assert {name: each.state for name, each in ended.items()} == dict.fromkeys(ended, "done")
    assert ended["first"].tries == 0
    assert ended["first"].seconds is None
    assert (ended["second"].tries, ended["third"].tries) == (1, 1)
    assert [line for line in plan.said if line.startswith("[")] == [
        "[3/3] cell: second",
        "[2/3] cell: third",
    ]


def test_a_failed_step_is_tried_once_more_after_the_others(plan, tmp_path):
    again = "if [ -e {folder}/mark ]; then touch {done}; else touch {folder}/mark; exit 2; fi"
    plan.add("flaky", again)
    plan.add("lost", "echo 'error: no such model' >&2; echo '  needed: one' >&2; exit 2")
    plan.add("fine", "touch {done}")
    plan.add("last", "test -e {folder}/flaky.done && touch {done}", "flaky", "lost")
    ended = plan.work()
    states = {name: (each.state, each.tries) for name, each in ended.items()}
    assert states == {
        "flaky": ("done", 2), "lost": ("failed", 2), "fine": ("done", 1), "last": ("done", 1),
    }  # fmt: skip
    begun = [line.split(": ")[1] for line in plan.said if line.startswith("[")]
    assert begun == ["flaky", "lost", "fine", "flaky (once more)", "lost (once more)", "last"]
    assert ended["lost"].said == "no such model; needed: one"
    assert ended["lost"].exit_code == 2


def test_a_command_that_ends_well_without_its_files_has_failed(plan):
    plan.add("empty", "true")
    assert plan.work()["empty"].state == "failed"


def test_a_step_without_what_it_needs_is_skipped(plan):
    plan.add("lost", "exit 1")
    plan.add("evaluate", None, "lost")
    ended = plan.work()
    assert ended["evaluate"].state == "skipped"
    assert ended["lost"].exit_code == 1


def test_no_more_run_side_by_side_than_asked_and_none_in_one_folder(plan, tmp_path):
    note = "echo b >> {folder}/log; sleep .4; echo e >> {folder}/log; touch {done}"
    for name in "abcd":
        plan.add(name, note, folder="shared" if name in "ab" else None)
    plan.work(parallel=3)
    depth = most = 0
    for line in (tmp_path / "log").read_text().split():
        depth += 1 if line == "b" else -1
        most = max(most, depth)
    assert most == 3
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
        "cell--a.log", "cell--b.log", "cell--c.log", "cell--d.log",
    ]  # fmt: skip


@pytest.mark.parametrize(("set_by_user", "shared", "alone"), [(None, "2", ""), ("3", "3", "3")])
def test_cores_are_shared_by_what_runs_side_by_side(
    plan, tmp_path, monkeypatch, set_by_user, shared, alone
):
    monkeypatch.setattr(places.os, "cpu_count", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_by_user:
        monkeypatch.setenv("OMP_NUM_THREADS", set_by_user)
    note = 'printf "$OMP_NUM_THREADS" > {{folder}}/{}.threads; sleep .2; touch {{done}}'
    for name, after in {"a": (), "b": (), "c": "ab", "d": "ab"}.items():
        plan.add(name, note.format(name), *after, folder="study" if name in "cd" else None)
    plan.work(parallel=2)
    found = {path.stem: path.read_text() for path in tmp_path.glob("*.threads")}
    # The last two write into one folder: one after the other, each with all cores.
    assert found == {"a": shared, "b": shared, "c": alone, "d": alone}


def test_a_stop_closes_the_pipe_that_steps_follow_and_waits_for_them(plan, tmp_path, monkeypatch):
    # The pipe's end: `cat` returns when nobody holds its other end any more.
    follows = (
        'cat "/dev/fd/$HYPERFITTING_LIFELINE"; sleep .2; echo saved > {folder}/saved; exit 143'
    )
    plan.add("long", follows)

    def stop(_):
        time.sleep(0.3)
        raise KeyboardInterrupt

    clock = SimpleNamespace(sleep=stop, monotonic=time.monotonic)
    monkeypatch.setattr(work, "time", clock)
    with pytest.raises(KeyboardInterrupt):
        plan.work()
    assert (tmp_path / "saved").read_text() == "saved\n"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("bar\rerror: a\n  needed: b\n  hint: c\n", "a; needed: b; hint: c"),
        ("error: first\nerror: second", "second"),
        ("Traceback\n  File x\nValueError: odd\n", "ValueError: odd"),
        ("", None),
    ],
)
def test_the_message_is_the_last_refusal_or_the_last_line(said, message):
    assert message_in(said) == message

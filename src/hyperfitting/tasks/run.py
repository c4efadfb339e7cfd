"""Forgetting: zero-shot tasks before and after tuning (definitions, section 8.9).

Two steps, so that a task that cannot be used is told before hours of work: `check_tasks` reads
the tasks and their data, `run_tasks` asks the models.
"""

from pathlib import Path

from hyperfitting.compare.comparison import Comparison
from hyperfitting.compare.unfinished import Unfinished
from hyperfitting.config import EvaluateConfig
from hyperfitting.models.digests import behaviour_digest
from hyperfitting.models.types import CausalLM, Tokenizer
from hyperfitting.progress import Progress
from hyperfitting.records import ORIGINAL, Arm
from hyperfitting.records.tasks import (
    Harness,
    KeptTasks,
    TaskResults,
    TaskScore,
    TaskSettings,
    TasksOfArm,
)
from hyperfitting.tasks.forgetting import changed_scores, scores_of
from hyperfitting.tasks.harness import CheckedTasks, about_tasks, ask, check_tasks

TASKS = "tasks"  # how the files are called


def requested_tasks(
    config: EvaluateConfig, progress: Progress | None = None
) -> CheckedTasks | None:
    """The tasks that the settings ask for, checked; None where they ask for none.

    Raises:
        InputError: as `check_tasks`.
    """
    names = [name.strip() for name in config.tasks.split(",") if name.strip()]
    if not names:
        return None
    include = Path(config.tasks_folder) if config.tasks_folder else None
    return check_tasks(names, config, include, config.tasks_limit, progress)


def run_tasks(
    checked: CheckedTasks,
    comparison: Comparison,
    tokenizer: Tokenizer,
    config: EvaluateConfig,
    progress: Progress,
    unfinished: Unfinished | None = None,
) -> TaskResults:
    """Every model of a comparison on tasks, and tuned - original over the same questions.

    No examples are shown and no chat template is used. A model that was asked by an attempt that
    was stopped is not asked again.

    Raises:
        InputError: a model cannot be loaded.
    """
    tuned = [(each.arm, each.load) for each in comparison.tuned if each.arm.at_loss is None]
    arms: list[TasksOfArm] = []
    rows: list[TaskScore] = []
    original: KeptTasks | None = None
    for arm, load in [(ORIGINAL, comparison.load_original), *tuned]:
        found = _answers(arm, load(), tokenizer, checked, config, progress, unfinished)
        arms.append(TasksOfArm(arm=arm, batch_size=found.batch_size, cut_prompts=found.cut_prompts))
        if original is None:
            original = found
            rows += [scored.row for scored in found.scores]
        else:
            rows += changed_scores(found.scores, original.scores, config)
    assert original is not None
    recorded = config.model_dump(include={"resamples", "confidence", "seed", "trust_remote_code"})
    return TaskResults(
        harness=original.harness,
        settings=TaskSettings(limit=checked.limit, num_fewshot=0, chat_template=False, **recorded),
        tasks=original.tasks,
        arms=arms,
        rows=rows,
    )


def _answers(
    arm: Arm,
    model: CausalLM,
    tokenizer: Tokenizer,
    checked: CheckedTasks,
    config: EvaluateConfig,
    progress: Progress,
    unfinished: Unfinished | None,
) -> KeptTasks:
    """What a model answers, asked now or by an attempt that was stopped."""
    digest = behaviour_digest(model) if unfinished else ""
    before = unfinished.of(TASKS, KeptTasks, arm, digest) if unfinished else None
    if before is not None:
        progress.say(f"  tasks of {arm.in_full}: kept from before")
        return before
    with progress.stage(f"tasks of {arm.in_full}", checked.num_questions) as stage:
        answered = ask(model, tokenizer, checked, config, stage)
    found = KeptTasks(
        harness=Harness(name="lm_eval", version=answered.found["lm_eval_version"]),
        tasks=about_tasks(checked, answered.found),
        batch_size=answered.batch_size,
        cut_prompts=answered.cut_prompts,
        scores=scores_of(arm, answered.found),
    )
    if unfinished:
        unfinished.add(TASKS, arm, digest, found)
    return found

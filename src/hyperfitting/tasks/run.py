"""Forgetting: zero-shot tasks before and after tuning (definitions, section 8.9).

Two steps, so that a task that cannot be used is told before hours of work: `check_tasks` reads
the tasks and their data, `run_tasks` asks the models.
"""

from pathlib import Path

from hyperfitting.compare.comparison import Comparison
from hyperfitting.config import EvaluateConfig
from hyperfitting.models.load import load_tokenizer
from hyperfitting.progress import Progress
from hyperfitting.records import ORIGINAL
from hyperfitting.records.tasks import Harness, TaskResults, TaskScore, TaskSettings, TasksOfArm
from hyperfitting.tasks.forgetting import Scores, changed_scores, scores_of
from hyperfitting.tasks.harness import CheckedTasks, about_tasks, ask, check_tasks


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
    checked: CheckedTasks, comparison: Comparison, config: EvaluateConfig, progress: Progress
) -> TaskResults:
    """Every model of a comparison on tasks, and tuned - original over the same questions.

    No examples are shown and no chat template is used.

    Raises:
        InputError: a model cannot be loaded.
    """
    tokenizer = load_tokenizer(comparison.model)
    tuned = [(each.arm, each.load) for each in comparison.tuned if each.arm.at_loss is None]
    arms: list[TasksOfArm] = []
    rows: list[TaskScore] = []
    original: Scores | None = None
    for arm, load in [(ORIGINAL, comparison.load_original), *tuned]:
        model = load()
        with progress.stage(f"tasks of {arm.name}", checked.num_questions) as stage:
            answered = ask(model, tokenizer, checked, config, stage)
        del model  # before the next is loaded
        arms.append(
            TasksOfArm(arm=arm, batch_size=answered.batch_size, cut_prompts=answered.cut_prompts)
        )
        scores = scores_of(arm, answered.found)
        if original is None:
            original = scores
            rows += [scored.row for scored in scores.values()]
        else:
            rows += changed_scores(scores, original, config)
    recorded = config.model_dump(include={"resamples", "confidence", "seed", "trust_remote_code"})
    return TaskResults(
        harness=Harness(name="lm_eval", version=answered.found["lm_eval_version"]),
        settings=TaskSettings(limit=checked.limit, num_fewshot=0, chat_template=False, **recorded),
        tasks=about_tasks(checked, answered.found),
        arms=arms,
        rows=rows,
    )

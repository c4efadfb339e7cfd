"""`hyperfit evaluate`: check, score, measure, test, write. It reads from top to bottom."""

from dataclasses import replace
from pathlib import Path

from hyperfitting.compare.comparison import Here
from hyperfitting.compare.kept import Kept
from hyperfitting.compare.subject import (
    Given,
    Subject,
    new_study,
    open_subject,
    require_texts_of,
    subject_of,
)
from hyperfitting.config import EvaluateConfig
from hyperfitting.evaluate.bench import Bench, bench_of
from hyperfitting.evaluate.measurements import measurements, set_measurements
from hyperfitting.evaluate.paired_tests import paired_tests
from hyperfitting.evaluate.per_context import metric_values
from hyperfitting.evaluate.plan import check
from hyperfitting.evaluate.scored import Scored
from hyperfitting.evaluate.scoring import score
from hyperfitting.evaluate.unfinished import unfinished_of, unfinished_tasks
from hyperfitting.evaluate.write import Evaluated, data_of, write_study, write_tasks
from hyperfitting.models.load import load_tokenizer
from hyperfitting.progress import Progress
from hyperfitting.runs import StudyFolder
from hyperfitting.tasks.run import run_tasks
from hyperfitting.writable import require_writable


def evaluate(
    given: Given,
    config: EvaluateConfig | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> StudyFolder:
    """Score tuned models beside their original and the human text.

    Args:
        given: a run or study folder or several, `Runs` with texts of their own, or two
            checkpoints (`CheckpointsConfig`). On a second and further source of texts models are
            decoded greedily only, so that domains can be compared.
        config: what is generated and measured; by default every default.
        out: a new folder. A lone run or study keeps the result in its own.
        progress: where progress is shown.

    Raises:
        InputError: no finished runs there, models that cannot be compared, something asked for
            that is not there, or `out` is taken. No result is written then.
        InterruptedStudyError: Ctrl-C after a tuned model was scored, or a model had answered to
            tasks; the same call goes on.
    """
    config, progress = config or EvaluateConfig(), progress or Progress()
    subject = subject_of(given)
    study = new_study(subject, out)
    study.require_own()
    require_writable(study.path)
    with study.writing():
        study = new_study(subject, out)  # again: another process may have been faster
        _evaluate(study, subject, config, progress)
    return study


def _evaluate(
    study: StudyFolder, subject: Subject, config: EvaluateConfig, progress: Progress
) -> None:
    plan = check(config, progress)
    here = Here(config.device, config.trust_remote_code)
    first, *others = open_subject(subject, here, progress, Kept(config.best_val, config.at_loss))
    for each in (first, *others):
        data_of(each)  # now, and not when hours of scores are to be written
    hint = f"or delete {study.explain}, then run `hyperfit explain` again"
    require_texts_of(study.explained_files(), first, hint)
    home = bench_of(first, plan, progress, measures_layers=bool(others))
    away = [
        bench_of(
            each, plan, progress,
            is_greedy_only=True, measures_layers=True, original=home.original,
        )
        for each in others
    ]  # fmt: skip
    found, kept = [], [unfinished_of(study, bench) for bench in (home, *away)]
    for bench, arms in zip((home, *away), kept, strict=True):
        if others:
            progress.say(f"texts of {bench.comparison.domain}")
        with arms.going_on(study.path):
            found.append(_measured(bench, score(bench, arms)))
    about = write_study(study, found)
    del home, away, found, bench  # and their models, before tasks load them one by one
    if plan.tasks is not None:
        tokenizer = load_tokenizer(first.model)
        asked = unfinished_tasks(study, plan.tasks, first, tokenizer, progress)
        kept.append(asked)
        with asked.going_on(study.path):
            results = run_tasks(plan.tasks, first, tokenizer, config, progress, asked)
        write_tasks(study, about, results)
    for arms in kept:
        arms.clear()  # not before: tasks that are stopped go on without scoring all anew


def _measured(bench: Bench, scored: Scored) -> Evaluated:
    """From what arms wrote and scored to values, means with intervals, and tests."""
    config, about = bench.config, {
        "model": bench.comparison.model.name, "domain": bench.comparison.domain,
    }  # fmt: skip
    with bench.progress.stage("intervals and tests") as stage:
        values = [v for arm in scored.arms for v in metric_values(arm, config.natural_tokens)]
        rows = measurements(values, config, **about)
        rows += set_measurements(scored.of_sets, config, **about)
        tests = [replace(each, domain=about["domain"]) for each in paired_tests(values, config)]
        stage.update(1, f"{len(rows)} measurements, {len(tests)} paired tests")
    return Evaluated(bench=bench, scored=scored, values=values, rows=rows, tests=tests)

"""Everything that touches lm-evaluation-harness: its tasks, and a model's answers to them.

Tasks, prompts and metrics are EleutherAI's. The harness gets the models as we loaded them, and
what it would change of them or of this process is put back.
"""

import hashlib
import json
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from inspect import getsource
from io import StringIO
from itertools import chain, islice
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple
from unittest.mock import patch  # replaces an attribute and puts it back

import numpy as np
import torch
from torch.utils import collect_env

from hyperfitting.config import EvaluateConfig
from hyperfitting.errors import InputError, did_you_mean
from hyperfitting.models.anatomy import base_of
from hyperfitting.models.interface import crosses_switch, vocabulary_rows
from hyperfitting.progress import Progress, Stage
from hyperfitting.records.tasks import Task
from hyperfitting.tasks.forgetting import Found

LOGITS_PER_PASS = 2**27  # 0.5 GB in float32, and the harness makes a second such tensor


@dataclass(frozen=True, kw_only=True)
class CheckedTasks:
    """Tasks that can be used, with their data."""

    manager: Any  # the harness's index of tasks
    chosen: list[Any]  # tasks and groups, as the harness takes them
    tasks: list[Any]  # every task that is asked, those of groups too
    limit: int | None  # questions of each task
    num_questions: int
    digest: str  # of what is asked: the settings of every task, and all its questions


class Answered(NamedTuple):
    """What the harness found of one model, and how it was run."""

    found: Found
    batch_size: int
    cut_prompts: int  # longer than the model can read


def check_tasks(
    names: Sequence[str],
    config: EvaluateConfig,
    include: Path | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> CheckedTasks:
    """Read tasks and their data; needs no model.

    A name is a task, group or tag of the harness or of the folder `include`, or a task's .yaml
    file. Named files are trusted with the functions they refer to; code from the hub is not,
    unless `config` says so. `limit` takes the first questions of each task.

    Raises:
        InputError: lm_eval is missing, or a task is unknown or cannot be used.
    """
    if not names or (limit is not None and limit < 1):
        raise InputError(f"{len(names)} tasks, limit {limit}", needed="a task, a limit above 0")
    if find_spec("lm_eval") is None:
        raise InputError(
            "tasks need EleutherAI's lm_eval, which is not installed",
            needed="the extra: pip install 'hyperfitting[tasks]'",
        )
    with (progress or Progress()).stage("read tasks") as stage, _kept_apart(config):
        manager, chosen = _read_tasks(names, include)
        tasks = list(manager.load(chosen)["tasks"].values())
        count = sum(min(len(task.eval_docs), limit or sys.maxsize) for task in tasks)
        digest = _digest(tasks, limit)  # now: asking writes into the settings of tasks
        stage.update(1, f"{len(tasks)} tasks, {count:,} questions")
    return CheckedTasks(
        manager=manager, chosen=chosen, tasks=tasks, limit=limit, num_questions=count,
        digest=digest,
    )  # fmt: skip


def _digest(tasks: Sequence[Any], limit: int | None) -> str:
    """Identifies what is asked: the harness, the settings of tasks, and their first questions."""
    found = hashlib.sha256(f"{version('lm_eval')} {limit}".encode())
    for task in tasks:
        settings = task.config.to_dict(keep_callable=True)
        for part in chain([settings], islice(task.eval_docs, limit)):
            found.update(json.dumps(_plain(part), sort_keys=True).encode())
    return found.hexdigest()


def _plain(value: Any) -> Any:
    """As JSON has it; a function by its source, since its address is another in each process."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if callable(value):
        try:
            return getsource(value)
        except (OSError, TypeError):  # made at run time, or in C
            return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
    return value if isinstance(value, (str, int, float, bool, NoneType)) else str(value)


def ask(
    model: Any, tokenizer: Any, checked: CheckedTasks, config: EvaluateConfig, stage: Stage
) -> Answered:
    """One model's answers to all questions, without examples and without a chat template."""
    count = checked.num_questions
    with _kept_apart(config):
        lm = _language_model(model, tokenizer, config, stage, count)
        found = _evaluated(
            lm, tasks=checked.chosen, task_manager=checked.manager, limit=checked.limit
        )
        stage.update(count, f"{count:,} questions")
    answered = Answered(found, lm.batch_size, lm.cut)
    vars(lm).clear()  # it refers to itself, and would hold the model beside the next one
    return answered


def about_tasks(checked: CheckedTasks, found: Found) -> list[Task]:
    """What was run, as the harness tells it of one model."""
    return [
        Task(
            task=name,
            version=found["versions"][name],
            num_fewshot=found["n-shot"][name],
            num_questions=found["n-samples"][name]["original"],
            source=found["configs"][name]["metadata"]["config_source"],
        )
        for name in (task.config.task for task in checked.tasks)
    ]


def _read_tasks(names: Sequence[str], include: Path | None) -> tuple[Any, list[Any]]:
    """The harness's index, and what it makes of the names: tasks and groups, with their data."""
    from lm_eval.tasks import TaskManager

    files = {n: Path(n).expanduser().resolve() for n in names if n.endswith((".yaml", ".yml"))}
    folders = [file.parent for file in files.values()] + ([include.resolve()] if include else [])
    if absent := [path for path in (*files.values(), *folders) if not path.exists()]:
        raise InputError(f"{absent[0]} does not exist", needed="a task file, or a folder of them")
    for own in (False, True):  # the harness's own files are thousands and take seconds to read
        manager = TaskManager(include_path=list(dict.fromkeys(folders)), include_defaults=own)
        in_file = {each.yaml_path: n for n, each in manager.task_index.items() if each.yaml_path}
        wanted = list(dict.fromkeys(in_file.get(files.get(name), name) for name in names))
        if set(wanted) <= set(manager.all_subtasks):
            break
    if unknown := [name for name in wanted if name not in manager.task_index]:
        hints = [did_you_mean(name, manager.all_tasks) for name in unknown]
        raise InputError(
            f"unknown task: {', '.join(unknown)}",
            needed="a task, group or tag of lm_eval, or a .yaml file with `task:` or `group:`",
            hint="; ".join(filter(None, hints)) or None,
        )
    chosen: list[Any] = []
    try:
        for name in wanted:
            loaded = manager.load([name])
            group = loaded["groups"].get(name)
            chosen += loaded["tasks"].values() if group is None else [group]
            for task in loaded["tasks"].values():
                metrics = getattr(task, "_metric_fn_list", {}).values()
                if None in metrics and task.config.process_results is None:
                    raise ValueError("lm_eval lacks its metric, and none is run from the hub")
        manager.load(chosen)  # refuses a task that is wanted alone and in a group
    except Exception as error:  # files, templates, data sets and the hub raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"the task {name} cannot be used: {reason}") from error
    return manager, chosen


def _language_model(
    model: Any, tokenizer: Any, config: EvaluateConfig, stage: Stage, count: int
) -> Any:
    """The loaded model as the harness sees it, in batches whose logits fit."""
    from lm_eval.models.huggingface import HFLM

    class LoadedModel(HFLM):  # type: ignore[misc]  # lm_eval is untyped
        asked, answered, cut = count, 0, 0

        def _loglikelihood_tokens(self, requests: Sequence[Any], **options: Any) -> Any:
            self.asked = max(self.asked, len(requests))
            lengths = [len(context) + len(choice) - 1 for _, context, choice in requests]
            self.cut += sum(length > self.max_length for length in lengths)
            per_row = min(max(lengths), self.max_length) * vocabulary_rows(self.model)
            most = 1 if crosses_switch(base_of(self.model).config, lengths) else config.batch_size
            self.batch_size_per_gpu = max(1, min(most, LOGITS_PER_PASS // per_row))
            return super()._loglikelihood_tokens(requests, **options)

        def add_partial(self, *answer: Any) -> None:
            """Told of every answer: the harness's hook for a cache."""
            self.answered += 1
            stage.update(min(count, count * self.answered // self.asked))

    # It would tie head and embedding, which undoes or breaks what an adapter put on them.
    with patch.object(model, "tie_weights", lambda: None):
        lm = LoadedModel(
            model, tokenizer=tokenizer, batch_size=config.batch_size, softmax_dtype="float32"
        )
    lm.set_cache_hook(lm)
    return lm


def _evaluated(lm: Any, **chosen: Any) -> Found:
    from lm_eval import evaluator

    model = lm.model.get_base_model() if hasattr(lm.model, "get_base_model") else lm.model
    with (
        patch.object(model, "generation_config", deepcopy(model.generation_config)),
        # It would start programs to describe the machine; one complains outside a repository.
        patch.object(collect_env, "get_pretty_env_info", str),
        patch.object(evaluator, "get_git_commit_hash", str, create=True),
    ):
        # No bootstrap of its own: that forks, and the errors of means need none.
        found: Found = evaluator.simple_evaluate(lm, num_fewshot=0, bootstrap_iters=0, **chosen)
    return found


@contextmanager
def _kept_apart(config: EvaluateConfig) -> Iterator[None]:
    """Hide what the harness prints, and put back what it changes for the whole process."""
    names = (None, "lm_eval", *logging.root.manager.loggerDict)
    loggers = [logging.getLogger(name) for name in names]
    levels = [(each, each.level, each.propagate, each.handlers[:]) for each in loggers]
    environment, threads = dict(os.environ), torch.get_num_threads()
    states = random.getstate(), np.random.get_state()

    def refuse(name: str, *args: Any, **options: Any) -> None:
        raise InputError(f"the metric {name} is code from the hub")

    try:
        import evaluate  # where the harness looks for metrics that it lacks

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        load = evaluate.load if config.trust_remote_code else refuse
        with (
            warnings.catch_warnings(),
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
            torch.random.fork_rng(range(torch.cuda.device_count())),
            patch.object(evaluate, "load", load),
        ):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_num_threads(threads)
        os.environ.clear()
        os.environ.update(environment)
        for logger, level, propagate, handlers in levels:
            logger.setLevel(level)
            logger.propagate, logger.handlers[:] = propagate, handlers

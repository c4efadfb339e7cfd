"""Judge two arms of a study: the library function behind `hyperfit judge`.

`judge/answers.jsonl` holds every answer, `judge/results.json` one entry per comparison.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperfitting.config import require_effect
from hyperfitting.config.judge import TRANSPORT, JudgeConfig
from hyperfitting.errors import InputError
from hyperfitting.judge.endpoint import Endpoint, check_endpoint
from hyperfitting.judge.estimate import describe, estimate
from hyperfitting.judge.job import Question, distrusted, outstanding, questions, run_job, total
from hyperfitting.judge.pairs import Pair, Side, choose_pairs, find_side, read_pairs
from hyperfitting.judge.prompt import PROMPT_DIGEST, VERSION
from hyperfitting.judge.reply import Judge
from hyperfitting.judge.results import compare, flip_rate, unusable
from hyperfitting.judge.secrets import without_path
from hyperfitting.judge.store import Answer, AnswerFile
from hyperfitting.judge.verdict import READING
from hyperfitting.progress import Progress
from hyperfitting.records.judged import JudgedSide, JudgeIdentity, Judgement, Judgements, Usage
from hyperfitting.records.record import read_file, write_file
from hyperfitting.records.versions import DEFINITIONS_VERSION
from hyperfitting.runs import JudgeFolder, StudyFolder
from hyperfitting.storage import only_writer, sweep_temporaries
from hyperfitting.writable import require_writable

PROTOCOLS = {
    "both": "both orders",
    "single": "single order (arm a always shown first), as the paper asked; not free of "
    "position bias",
}


@dataclass(frozen=True)
class _Plan:
    """What is to be compared."""

    a: Side
    b: Side
    available: int
    pairs: list[Pair]


def _plan(study: StudyFolder, config: JudgeConfig, progress: Progress) -> _Plan:
    a, b = (find_side(study, arm, config.mode) for arm in (config.a, config.b))
    every = read_pairs(study, a, b)
    chosen = choose_pairs(every, config.pairs, seed=config.pair_seed)
    if all(pair.has_empty_text for pair in chosen):
        raise InputError(
            f"all {len(chosen)} pairs of {a.name} and {b.name} have an empty continuation",
            needed="texts to judge",
        )
    if len(every) < config.pairs:
        progress.say(f"{config.pairs} pairs are asked for, the study has {len(every)} contexts")
    return _Plan(a, b, len(every), chosen)


def _require_effect(config: JudgeConfig) -> None:
    local, endpoint = "a judge here", "a judge at an endpoint"
    require_effect(
        config,
        ("device", config.local, local, "local=true"),
        ("trust_remote_code", config.local, local, "local=true"),
        ("api_key_env", not config.local, endpoint, "local=false"),
        ("concurrency", not config.local, endpoint, "local=false"),
        ("timeout_seconds", not config.local, endpoint, "local=false"),
        ("retries", not config.local, endpoint, "local=false"),
        ("price_in", config.price_out is not None, "the price of answers", "price_out=PRICE"),
        ("price_out", config.price_in is not None, "the price of prompts", "price_in=PRICE"),
    )


def _open_judge(config: JudgeConfig) -> tuple[Judge, str]:
    """The judge, and the name that stands in the keys of its answers."""
    if not config.local:
        return Endpoint(config), config.model
    if config.endpoint:
        raise InputError("both local=true and an endpoint are given", needed="one of the two")
    from hyperfitting.judge.local import LocalJudge

    judge = LocalJudge(config)
    return judge, f"local:{judge.digest}"


def judge(
    study: str | Path,
    config: JudgeConfig,
    out: str | Path | None = None,
    progress: Progress | None = None,
    *,
    dry_run: bool = False,
) -> Judgement | None:
    """Put the arms' continuations before the judge and write `results.json`.

    Questions answered before, by the same model with the same settings, are not asked again:
    the same command goes on after an interruption.

    Args:
        study: the folder of an evaluated study.
        config: what is compared, and by whom.
        out: folder of the answers; by default `judge` in the study.
        progress: where progress is shown.
        dry_run: print the estimate, ask nothing, write nothing.

    Returns:
        The comparison as `results.json` holds it; None of a dry run.

    Raises:
        InputError: the study does not hold such arms, the judge cannot be reached or refuses
            the key, `results.json` cannot be written, or another job writes to the folder.
    """
    progress = progress or Progress()
    _require_effect(config)
    plan = _plan(StudyFolder(Path(study)), config, progress)
    if out is None:
        StudyFolder(Path(study)).require_own()
    folder = StudyFolder(Path(study)).judge if out is None else JudgeFolder(Path(out))
    _earlier(folder)  # now, and not after everything was asked
    opened: Judge | None = None
    name = config.model
    if not dry_run:
        require_writable(folder.path)
    if dry_run and not config.local:  # needs no key
        check_endpoint(config.endpoint)
    else:
        opened, name = _open_judge(config)
    asked = questions(plan.pairs, config, name)
    if dry_run or opened is None:
        file = _answers(folder, progress)
        progress.say(describe(estimate(asked, file, config)))
        return None
    with only_writer(folder.path):
        sweep_temporaries(folder.results_file)
        file = _answers(folder, progress)
        progress.say(describe(estimate(asked, file, config)))
        waiting = len(outstanding(asked, file))
        if old := distrusted(asked, file):
            progress.say(
                f"{old} verdicts of an older version are asked for again: it read drafts and cut "
                "answers as verdicts, and did not keep the texts"
            )
        with progress.stage(f"judge {config.a} against {config.b}", waiting) as stage:
            run_job(asked, opened, config, file, stage, progress.say)
        judgement = _judgement(plan, config, name, asked, file)
        _write_results(folder, judgement)
    return judgement


def _answers(folder: JudgeFolder, progress: Progress) -> AnswerFile:
    """The answers so far; says where nothing tells whether they are as they were written."""
    file = AnswerFile(folder.answers_file)
    if file.without_digest:
        progress.say(f"{file.without_digest} answers of an earlier version carry no digest")
    return file


def _judgement(
    plan: _Plan,
    config: JudgeConfig,
    name: str,
    asked: Sequence[Question],
    file: AnswerFile,
) -> Judgement:
    """One comparison as `results.json` lists it."""
    answers = {
        (question.pair.context_index, question.order): answer
        for question in asked
        if (answer := file.answers.get(question.key))
    }
    found = compare(plan.pairs, answers, orders=config.orders, confidence=config.confidence)
    endpoint = config.endpoint and without_path(config.endpoint)
    dates = sorted(answer.date for answer in answers.values())
    return Judgement(
        a=_judged(plan.a),
        b=_judged(plan.b),
        protocol=PROTOCOLS[config.orders],
        pairs_available=plan.available,
        pairs_chosen=len(plan.pairs),
        n=found.outcomes["winner"].n,
        **found.outcomes,
        position_flip_rate=flip_rate(found.bias),
        position_bias=found.bias,
        unusable=unusable(found.left_out),
        judge=JudgeIdentity(
            model=config.model,
            identity=name,
            answered_by=sorted({a.answered_by for a in answers.values() if a.answered_by}),
            endpoint=endpoint,
            temperature=config.temperature,
            prompt_version=VERSION,
            prompt_digest=PROMPT_DIGEST,
            reading_version=READING,
        ),
        first_answer=dates[0] if dates else None,
        last_answer=dates[-1] if dates else None,
        written=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        usage=_usage(list(answers.values())),
        # Not where the key is: a mistaken user may have put the key itself there.
        settings=config.model_dump(mode="json", exclude={"api_key_env"}) | {"endpoint": endpoint},
    )


def _judged(side: Side) -> JudgedSide:
    decoding = dict(side.decoding)
    return JudgedSide(
        arm=side.arm, mode=side.mode, length=side.length, decoding=decoding, texts=side.texts
    )


def _usage(answers: Sequence[Answer]) -> Usage:
    return Usage(
        requests=sum(answer.requests for answer in answers),
        prompt_tokens=total([answer.prompt_tokens for answer in answers]),
        answer_tokens=total([answer.answer_tokens for answer in answers]),
    )


def _identity(judgement: Judgement) -> tuple[object, ...]:
    """What makes an entry another comparison rather than the same one again."""
    settings = {k: v for k, v in judgement.settings.items() if k not in TRANSPORT}
    return judgement.judge.identity, judgement.judge.prompt_digest, settings


def _earlier(folder: JudgeFolder) -> list[Judgement]:
    """The comparisons that `results.json` holds, beside which another one is written.

    Raises:
        InputError: it is damaged or of another version, or a file is where its folder has to be.
    """
    path = folder.path
    if blocking := next((each for each in (path, *path.parents) if each.is_file()), None):
        raise InputError(
            f"the judge's answers cannot be kept in {path}: {blocking} is a file",
            needed="a folder, which may be new",
        )
    if not folder.results_file.exists():
        return []
    return read_file(Judgements, folder.results_file, "delete it; the answers stay").comparisons


def _write_results(folder: JudgeFolder, judgement: Judgement) -> None:
    """Add the comparison to `results.json`, in the place of an earlier one like it."""
    others = [old for old in _earlier(folder) if _identity(old) != _identity(judgement)]
    written = Judgements(definitions_version=DEFINITIONS_VERSION, comparisons=[*others, judgement])
    write_file(folder.results_file, written)

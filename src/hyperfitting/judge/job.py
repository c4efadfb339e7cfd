"""Put every question to the judge, once, and keep each answer as it arrives.

Worker threads ask; the calling thread alone writes. A question whose judge gave no verdict is
settled as unusable; one that got no answer at all (status `failed`) is asked again by the next
job. A job that is killed loses only the questions that were under way.
"""

import hashlib
import json
import queue
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

from hyperfitting.config.judge import JudgeConfig
from hyperfitting.errors import InputError
from hyperfitting.judge.pairs import Pair
from hyperfitting.judge.prompt import PROMPT_DIGEST, build_prompt, build_reask
from hyperfitting.judge.reasoning import split_reasoning
from hyperfitting.judge.reply import AskError, Judge, Message, Reply
from hyperfitting.judge.store import Answer, AnswerFile, Status
from hyperfitting.judge.verdict import (
    READING,
    NoAnswerError,
    NoVerdictError,
    Verdict,
    read_verdict,
)
from hyperfitting.progress import Stage
from hyperfitting.records.judged import Order

FAILURES_TO_STOP = 5  # in a row: the server is gone, or refuses what we send
REFUSALS_TO_STOP = 20  # of single questions, where others are answered
LONGEST_RAW = 4_000  # characters kept of an answer without a verdict
ORDERS: dict[str, tuple[Order, ...]] = {"both": ("ab", "ba"), "single": ("ab",)}


@dataclass(frozen=True, kw_only=True)
class Question:
    """One pair in one order, put to one judge."""

    key: str
    pair: Pair
    order: Order
    former_key: str  # of versions that did not keep whether an answer was whole


def _key(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def questions(pairs: Sequence[Pair], config: JudgeConfig, judge_name: str) -> list[Question]:
    """Every question of a comparison, pair by pair; pairs with an empty text have none."""
    asked = {
        "model": judge_name,
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
        "reasks": config.reasks,
        "prompt": PROMPT_DIGEST,
    }
    found = []
    for pair in pairs:
        for order in () if pair.has_empty_text else ORDERS[config.orders]:
            former = {**asked, "pair": pair.digest(), "order": order}
            key = _key({**former, "reading": READING})
            found.append(Question(key=key, pair=pair, order=order, former_key=_key(former)))
    return found


def outstanding(asked: Sequence[Question], file: AnswerFile) -> list[Question]:
    """The questions that are not settled; two contexts with the same three texts are one.

    Those that failed before come last, so that they keep no other from being asked.
    """
    waiting = {q.key: q for q in asked if not file.settled(q.key)}
    return sorted(waiting.values(), key=lambda question: question.key in file.answers)


def distrusted(asked: Sequence[Question], file: AnswerFile) -> int:
    """Verdicts of older versions among the outstanding questions, which are asked again.

    Those versions took a draft, or what stood in an answer that was cut, for a verdict, and did
    not keep the text.
    """
    old = [file.settled(question.former_key) for question in outstanding(asked, file)]
    return sum(answer is not None and answer.status == "usable" for answer in old)


def _read(reply: Reply, question: str) -> Verdict:
    """The verdict in a reply; one that is not whole has none, whatever stands in it.

    Raises:
        NoAnswerError: it holds nothing but reasoning.
        NoVerdictError: it holds no verdict, or is cut.
    """
    if reply.cut:
        unclosed = split_reasoning(reply.text).unclosed
        if reply.has_reasoning or unclosed or not reply.text.strip():
            raise NoAnswerError(f"{reply.cut}, after nothing but reasoning")
        raise NoVerdictError(reply.cut)
    if reply.has_reasoning and not reply.text.strip():
        raise NoAnswerError("nothing but reasoning, and an empty answer")
    return read_verdict(reply.text, question)


def total(counts: Sequence[int | None]) -> int | None:
    """The sum of what was counted; None where nothing was."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


class Asked(NamedTuple):
    """What came of a question; whether it was refused for what it is, which says nothing else."""

    answer: Answer
    is_refused: bool


def ask(question: Question, judge: Judge, config: JudgeConfig) -> Asked:
    """Put one question, and put it again after an answer without a verdict.

    Raises:
        InputError: no question can be answered.
    """
    prompt = build_prompt(question.pair.context, *question.pair.shown(question.order))
    messages, replies = [Message("user", prompt)], list[Reply]()
    verdict: Verdict | None = None
    status: Status = "unusable"
    reason: str | None = None
    is_refused = False
    while verdict is None and len(replies) <= config.reasks:
        try:
            reply = judge(messages)
        except AskError as error:
            status, reason, is_refused = "failed", str(error), error.is_refused
            break
        replies.append(reply)
        if reply.unread:  # an answer to other texts
            status, reason = "failed", reply.unread
            break
        try:
            verdict, status, reason = _read(reply, prompt), "usable", None
        except NoVerdictError as error:
            reason = str(error)
            if reply.cut and isinstance(error, NoAnswerError):
                break  # the same limit would cut its reasoning again
            if reply.text.strip():  # to an empty answer there is nothing to refer to
                fault = "it was cut before its end" if reply.cut else str(error)
                again = Message("user", build_reask(fault))
                messages = [messages[0], Message("assistant", reply.text), again]
    answer = Answer(
        key=question.key,
        context_index=question.pair.context_index,
        order=question.order,
        status=status,
        verdict=verdict and verdict._asdict(),
        reason=reason,
        raw=[] if verdict else [reply.text[:LONGEST_RAW] for reply in replies],
        requests=len(replies),
        prompt_tokens=total([reply.prompt_tokens for reply in replies]),
        answer_tokens=total([reply.answer_tokens for reply in replies]),
        model=config.model,
        answered_by=replies[-1].model if replies else None,
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    return Asked(answer, is_refused)


def _answers(
    waiting: Sequence[Question], judge: Judge, config: JudgeConfig
) -> Generator[Asked | Exception]:
    """Answers in the order in which they arrive, from as many threads as the judge allows.

    A thread asks on when its last answer was taken care of, so that no more than one answer a
    thread is lost with the process, however slow the disk.
    """
    if judge.concurrency == 1:
        for question in waiting:
            yield ask(question, judge, config)
        return
    todo: queue.SimpleQueue[Question] = queue.SimpleQueue()
    done: queue.SimpleQueue[Asked | Exception] = queue.SimpleQueue()
    stop, stored = threading.Event(), threading.Semaphore(0)
    for question in waiting:
        todo.put(question)

    def work() -> None:
        while not stop.is_set():
            try:
                done.put(ask(todo.get_nowait(), judge, config))
                stored.acquire()
            except queue.Empty:
                return
            except Exception as error:  # the calling thread raises it
                done.put(error)
                return

    # Daemons: whoever interrupts the job need not wait for requests that are under way.
    threads = min(judge.concurrency, len(waiting))
    for _ in range(threads):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in waiting:
            yield done.get()
            stored.release()
    finally:
        stop.set()
        stored.release(max(1, threads))


def run_job(
    asked: Sequence[Question],
    judge: Judge,
    config: JudgeConfig,
    file: AnswerFile,
    stage: Stage | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Ask what is not settled yet, and store each answer as it arrives.

    Raises:
        InputError: no question can be answered, or several in a row were not; what was
            answered until then is kept.
    """
    known = (file.settled(question.key) for question in asked)
    has_answered = any(answer is not None and answer.status == "usable" for answer in known)
    gone = refused = 0
    with closing(_answers(outstanding(asked, file), judge, config)) as answers:
        for count, asked_one in enumerate(answers, start=1):
            if isinstance(asked_one, Exception):
                raise asked_one
            answer, is_refused = asked_one
            is_again = answer.key in file.answers
            file.add(answer)
            has_answered = has_answered or answer.status == "usable"
            if answer.status != "failed":
                gone = refused = 0
            elif is_refused and has_answered:  # so that it may be about the question
                # One refused before is refused again: to end for it would never bring a result.
                gone, refused = 0, refused + (not is_again)
            else:
                gone += 1
            failures, limit = (gone, FAILURES_TO_STOP) if gone else (refused, REFUSALS_TO_STOP)
            if failures:
                tries = "1 try" if not config.retries else f"{config.retries + 1} tries"
                say(
                    f"no answer after {tries} ({answer.reason}); "
                    f"{failures} of {limit} in a row that end the job"
                )
            if failures >= limit:
                raise InputError(
                    f"the last {failures} questions got no answer; the last reason: "
                    f"{answer.reason}",
                    needed="a judge that answers",
                    hint="the answers so far are kept: give the same command again to go on",
                )
            if stage:
                stage.update(count)

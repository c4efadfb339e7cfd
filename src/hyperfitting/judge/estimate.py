"""What a judgement will cost, before anything is asked. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from hyperfitting.config.judge import JudgeConfig
from hyperfitting.judge.job import Question, outstanding
from hyperfitting.judge.prompt import build_prompt
from hyperfitting.judge.store import AnswerFile

CHARACTERS_PER_TOKEN = 4  # rule of thumb for English text; not exact for any tokenizer
ANSWER_TOKENS = 150  # ours: five numbers and two sentences; models that think aloud take more


class Estimate(NamedTuple):
    """Requests still to be made and their tokens; the cost is None without prices.

    Prompt tokens are counted by `CHARACTERS_PER_TOKEN`, answer tokens are assumed, and re-asked
    answers are not foreseen. The cost has the currency of the prices.
    """

    questions: int
    settled: int
    prompt_tokens: int
    answer_tokens: int
    cost: float | None


def estimate(asked: Sequence[Question], file: AnswerFile, config: JudgeConfig) -> Estimate:
    """Requests, tokens and cost of the questions that are not settled yet."""
    waiting = outstanding(asked, file)
    prompts = [build_prompt(q.pair.context, *q.pair.shown(q.order)) for q in waiting]
    # Each prompt rounded up.
    tokens_in = sum(-(-len(prompt) // CHARACTERS_PER_TOKEN) for prompt in prompts)
    tokens_out = len(waiting) * min(ANSWER_TOKENS, config.max_tokens or ANSWER_TOKENS)
    cost = None
    if config.price_in is not None and config.price_out is not None:
        cost = (tokens_in * config.price_in + tokens_out * config.price_out) / 1e6
    return Estimate(len(waiting), len(asked) - len(waiting), tokens_in, tokens_out, cost)


def describe(found: Estimate) -> str:
    """The estimate in one line."""
    parts = [
        f"{found.questions} questions to ask ({found.settled} answered before)",
        f"about {found.prompt_tokens:,} prompt and {found.answer_tokens:,} answer tokens",
        "no prices given" if found.cost is None else f"cost about {found.cost:,.4f}",
    ]
    return ", ".join(parts)

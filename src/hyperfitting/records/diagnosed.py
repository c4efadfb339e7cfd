"""What `hyperfit diagnose` finds: figures of a model's texts, and findings in words."""

from typing import Literal

from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.origins import Environment, TextEnd
from hyperfitting.records.record import FileRecord, Record

Level = Literal["problem", "note", "fine"]
Arithmetic = Literal["float32", "bfloat16", "float16"]


class Finding(Record):
    """One thing that was looked at; `advice` is what to do about it, where there is something."""

    name: str
    level: Level
    says: str
    advice: str | None = None


class Looped(Record):
    """Greedy texts of one kind of prompt, in one arithmetic.

    `period` and `onset` are medians over the texts that loop, in tokens: how long a round is, and
    after how many tokens the first begins. `top1` is the share of tokens of human text at which it
    chooses as in float32; None of float32 itself.
    """

    prompts: str
    arithmetic: Arithmetic
    looped: MeanEstimate
    ttr: MeanEstimate
    ended: MeanEstimate  # of texts that may end themselves
    period: float | None
    onset: float | None
    top1: MeanEstimate | None = None


class Tried(Record):
    """What one decoder makes of the same prompts; coherence is nats per token under the model."""

    decoder: str
    is_deterministic: bool
    looped: MeanEstimate
    ttr: MeanEstimate
    coherence: MeanEstimate
    nonwords: MeanEstimate  # no value where no word list fits
    milliseconds: float  # per token of a text


class Reading(Record):
    """What the model makes of human text: nats per token, and the TTR of the human text."""

    guessing: float  # ln V: what it costs to guess among all tokens
    nll: MeanEstimate
    entropy: MeanEstimate
    human_ttr: MeanEstimate
    human_coherence: MeanEstimate
    human_nonwords: MeanEstimate


class Diagnosis(FileRecord):
    """All that was found; `advice` is the cheapest thing that would help, in plain words."""

    model: str
    texts: str
    contexts: int
    tokens: int  # of every continuation
    ends: list[TextEnd]
    greedy: list[Looped]
    reading: Reading
    tried: list[Tried]
    findings: list[Finding]
    advice: str
    environment: Environment

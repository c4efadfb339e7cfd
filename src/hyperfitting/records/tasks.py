"""What `tasks.json` holds: tasks of lm-evaluation-harness before and after tuning.

Definitions, section 8.9. Names come from task files and are untrusted.
"""

from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.record import FileRecord, OfArm, Record


class Harness(Record):
    """What ran the tasks."""

    name: str
    version: str


class TaskSettings(Record):
    """How tasks were asked, and how the differences got their intervals."""

    limit: int | None  # questions of each task; None takes all
    num_fewshot: int
    chat_template: bool
    resamples: int
    confidence: float
    seed: int
    trust_remote_code: bool


class Task(Record):
    """A task that was run; `source` is its file."""

    task: str
    version: int | float | str | None
    num_fewshot: int
    num_questions: int  # that it holds, whatever the limit
    source: str | None


class TasksOfArm(OfArm):
    """How a model was run; `cut_prompts` were longer than it can read."""

    batch_size: int
    cut_prompts: int


class TaskScore(OfArm):
    """One metric of one arm on a task or group.

    `difference` is tuned - original over the same questions, None of the original. `reason` says
    why there is no standard error.
    """

    task: str
    metric: str
    filter: str  # of the answers, before the metric
    higher_is_better: bool | None
    value: float | None
    stderr: float | None
    n: int  # questions
    reason: str | None
    difference: MeanEstimate | None


class AskedQuestion(Record):
    """A question of a task: its number, and the digests of what it is and of its prompt."""

    number: int
    question: str
    prompt: str


class KeptScore(Record):
    """A score, and what it is of each question."""

    row: TaskScore
    values: list[float] | None  # None where the score is not their mean
    questions: list[AskedQuestion]


class KeptTasks(FileRecord):
    """What one model answered, of an evaluation that is not finished."""

    harness: Harness
    tasks: list[Task]
    batch_size: int
    cut_prompts: int
    scores: list[KeptScore]


class TaskResults(FileRecord):
    """`tasks.json`: every score of every model of a comparison."""

    harness: Harness
    settings: TaskSettings
    tasks: list[Task]
    arms: list[TasksOfArm]
    rows: list[TaskScore]

"""The lists of `study.json` as records: runs, matched temperatures, agreement of runs."""

from dataclasses import dataclass

from hyperfitting.records import Arm
from hyperfitting.records.estimates import Estimate
from hyperfitting.report.fields import Fields, arm_in

# What the page says of the documents that were read.
ACCOUNT = (
    "read", "empty", "duplicate", "too_short", "nothing_to_train_on", "held_out",
    "training_windows_available",
)  # fmt: skip


@dataclass(frozen=True)
class LossInterval:
    """The interval of a final loss over the training windows."""

    low: float | None
    high: float | None
    n: int
    confidence: float


@dataclass(frozen=True)
class Run:
    """A tuned model of the study; what is not known of a foreign checkpoint is None."""

    arm: Arm
    path: str | None
    checkpoint: str | None
    trainable_params: int | None
    num_train: int | None
    epochs: int | None
    stopped_by: str | None
    final_loss: float | None
    train_seconds: float | None
    loss_interval: LossInterval | None = None


@dataclass(frozen=True)
class Temperatures:
    """Temperatures of one way to match: one per context, one per step, or one for all.

    `mean` of a single temperature is that temperature; the rest is None there.
    """

    kind: str
    mean: float | None
    median: float | None
    p5: float | None
    p95: float | None
    n: int
    unsolved: int
    residual_nats: float | None


@dataclass(frozen=True)
class Matching:
    """The original brought to a tuned model's entropy (definitions, section 4.2)."""

    arm: Arm
    temperatures: list[Temperatures]
    greedy_positions: int
    greedy_differences: int
    rounding_ties: int
    greedy_texts: int | None = None  # None where an earlier version evaluated
    greedy_texts_equal: int | None = None
    step_residual_nats: float | None = None  # of one temperature a context, mean absolute
    expected_nats: float | None = None  # the same, were it a temperature
    spread_beyond_tolerance: float | None = None  # of the contexts' temperatures

    def of(self, kind: str) -> Temperatures:
        """The temperatures of one way to match."""
        return next(each for each in self.temperatures if each.kind == kind)


@dataclass(frozen=True)
class Decoder:
    """How a decoder arm came about; `alone_equals_batch` is None where it draws."""

    arm: Arm
    is_deterministic: bool
    alone_equals_batch: float | None
    alone_n: int


@dataclass(frozen=True)
class MauveSettings:
    """What MAUVE has to be printed with (definitions, section 2.7)."""

    features: str
    token_limit: int
    kmeans_seeds: int
    n: int
    buckets: int | None
    spread: float | None  # the largest over k-means seeds of any arm
    is_small: bool
    human_n: int | None = None  # of one half of the human texts against the other
    human_buckets: int | None = None


@dataclass(frozen=True)
class Judgement:
    """Two arms compared by a judge; the rates are of `a`, in percent of `n` valid pairs."""

    a: Arm
    b: Arm
    judge: str
    protocol: str
    rates: dict[str, dict[str, Estimate]]  # by question, then win_rate, loss_rate, tie_rate
    p: dict[str, float | None]
    p_reasons: dict[str, str]  # why there is no p
    flips: Estimate
    n: int
    left_out: int


@dataclass(frozen=True)
class TaskScore:
    """One arm on one task; `difference` is to the original, over the same questions."""

    arm: Arm
    task: str
    metric: str
    value: float | None
    stderr: float | None
    n: int
    reason: str
    difference: Estimate | None


@dataclass(frozen=True)
class Agreement:
    """Top-1 agreement of two trainings of one kind on human text (definitions, section 8.6)."""

    a: Arm
    b: Arm
    value: Estimate


def require_shown(about: Fields) -> None:
    """Refuse a `study.json` that lacks a field which the page prints as it is.

    Raises:
        FieldError: one is missing, or of another type.
    """
    data, evaluate, environment = (about.at(n) for n in ("data", "evaluate", "environment"))
    texts: tuple[tuple[Fields, tuple[str, ...]], ...] = (
        (about.at("model"), ("name",)), (data, ("source", "windows")), (environment, ("python",)),
    )  # fmt: skip
    whole: tuple[tuple[Fields, tuple[str, ...]], ...] = (
        (about, ("num_contexts", "definitions_version")),
        (data, ("context_tokens", "continuation_tokens")),
        (data.at("account"), ACCOUNT),
        (evaluate, ("resamples", "natural_tokens", "sampling_seeds")),
        (environment, ("threads",)),
    )
    for fields, names in texts:
        for name in names:
            fields.text(name)
    for fields, counts in whole:
        for name in counts:
            fields.whole(name)
    evaluate.number("confidence")
    for entry in about.each("generations"):
        entry.whole("ties")
        entry.maybe_number("cached_equals_uncached")
    packages = environment.at("packages")
    for name in packages.content:
        packages.text(name)


def read_run(entry: Fields) -> Run:
    """One entry of `runs`; of a foreign checkpoint most fields are not there."""

    def text(name: str) -> str | None:
        return entry.maybe_text(name) or None

    return Run(
        arm_in(entry), text("path"), text("checkpoint"), _whole(entry, "trainable_params"),
        _whole(entry, "num_train"), _whole(entry, "epochs"), text("stopped_by"),
        _number(entry, "final_loss"), _number(entry, "train_seconds"), _loss_interval(entry),
    )  # fmt: skip


def _whole(entry: Fields, name: str) -> int | None:
    """A whole number; None where it is undefined, or an earlier version did not write it."""
    return entry.maybe_whole(name) if name in entry else None


def _number(entry: Fields, name: str) -> float | None:
    return entry.maybe_number(name) if name in entry else None


def _loss_interval(entry: Fields) -> LossInterval | None:
    """None where an earlier version trained, or a checkpoint is no run of ours."""
    if entry.content.get("final_loss_interval") is None:
        return None
    found = entry.at("final_loss_interval")
    low, high = found.maybe_number("low"), found.maybe_number("high")
    return LossInterval(low, high, found.whole("n"), found.number("confidence"))


def read_matching(entry: Fields) -> Matching:
    """One entry of `entropy_matching`."""
    found = []
    for kind in ("per_context", "per_step"):
        content = entry.at(kind)
        mean, median, p5, p95 = map(content.maybe_number, ("mean", "median", "p5", "p95"))
        found.append(
            Temperatures(
                kind.replace("_", " "), mean, median, p5, p95, content.whole("n"),
                content.whole("unsolved"), content.maybe_number("largest_residual_nats"),
            )
        )  # fmt: skip
    one, count = entry.at("global"), entry.at("per_context").whole("n")
    residual = one.maybe_number("residual_nats")
    found.append(
        Temperatures(
            "one for all", one.maybe_number("tau"), None, None, None, count, one.whole("unsolved"),
            None if residual is None else abs(residual),
        )
    )  # fmt: skip
    counts = ("greedy_positions", "greedy_differences", "greedy_ties_by_rounding")
    texts = (_whole(entry, name) for name in ("greedy_texts", "greedy_texts_equal"))
    one_temperature = entry.at("one_temperature") if "one_temperature" in entry else Fields({})
    residuals = ("step_residual_nats", "expected_nats", "spread_beyond_tolerance")
    return Matching(
        arm_in(entry), found, *(entry.whole(name) for name in counts), *texts,
        *(_number(one_temperature, name) for name in residuals),
    )  # fmt: skip


def read_agreement(entry: Fields) -> Agreement:
    """One entry of `run_agreement`."""
    return Agreement(arm_in(entry.at("a")), arm_in(entry.at("b")), entry.estimate())


def read_decoder(entry: Fields) -> Decoder:
    """One entry of `decoders`."""
    return Decoder(
        arm_in(entry.at("arm")), entry.flag("is_deterministic"),
        entry.maybe_number("alone_equals_batch"), entry.whole("alone_n"),
    )  # fmt: skip


def read_mauve(entry: Fields) -> MauveSettings | None:
    """The settings of MAUVE on one set of texts; None where it was not taken."""
    if not entry.content:
        return None
    arms = [arm for arm in entry.each("arms") if arm.text("arm") != "human"]
    human = next((arm for arm in entry.each("arms") if arm.text("arm") == "human"), Fields({}))
    spreads = [arm.maybe_number("spread") for arm in arms]
    return MauveSettings(
        entry.text("features"), entry.whole("token_limit"), entry.whole("kmeans_seeds"),
        arms[0].whole("n"), arms[0].maybe_whole("buckets"),
        max((each for each in spreads if each is not None), default=None),
        any(arm.flag("small_sample") for arm in arms),
        _whole(human, "n"), _whole(human, "buckets"),
    )  # fmt: skip


QUESTIONS = ("winner", "coherence", "diversity")
RATES = ("win_rate", "loss_rate", "tie_rate")


def read_judgement(entry: Fields) -> Judgement:
    """One comparison of `judge/results.json`."""
    n = entry.whole("n")

    def rate(found: Fields) -> Estimate:
        return found.estimate("percent", n, "" if n else "no valid pair")

    questions = {name: entry.at(name) for name in QUESTIONS}
    return Judgement(
        arm_in(entry.at("a")),
        arm_in(entry.at("b")),
        entry.at("judge").text("model"),
        entry.text("protocol"),
        {name: {r: rate(found.at(r)) for r in RATES} for name, found in questions.items()},
        {name: found.maybe_number("p") for name, found in questions.items()},
        {name: found.maybe_text("reason") for name, found in questions.items()},
        rate(entry.at("position_flip_rate")),
        n,
        entry.at("unusable").whole("pairs"),
    )


def read_task_score(entry: Fields) -> TaskScore:
    """One row of `tasks.json`."""
    difference = None
    if entry.raw("difference") is not None:
        difference = entry.at("difference").estimate()
    return TaskScore(
        arm_in(entry), entry.text("task"), entry.text("metric"), entry.maybe_number("value"),
        entry.maybe_number("stderr"), entry.whole("n"), entry.maybe_text("reason"), difference,
    )  # fmt: skip

"""The lists of `study.json` as records: runs, matched temperatures, agreement of runs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hyperfitting.records import Arm
from hyperfitting.report.arms import arm_of
from hyperfitting.report.findings import Estimate


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
    mean: float
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


def _arm(entry: Mapping[str, Any]) -> Arm:
    return arm_of(entry["arm"], entry["seed"], entry["parameters"])


def read_run(entry: Mapping[str, Any]) -> Run:
    """One entry of `runs`."""
    optional = (
        "checkpoint", "trainable_params", "num_train", "epochs", "stopped_by", "final_loss",
        "train_seconds",
    )  # fmt: skip
    interval = entry.get("final_loss_interval")
    values = (entry.get(name) for name in optional)
    run = Run(_arm(entry), entry["path"], *values)
    return replace(run, loss_interval=interval and LossInterval(**interval))


def read_matching(entry: Mapping[str, Any]) -> Matching:
    """One entry of `entropy_matching`."""
    found = []
    for kind in ("per_context", "per_step"):
        content = entry[kind]
        found.append(
            Temperatures(
                kind.replace("_", " "), content["mean"], content["median"], content["p5"],
                content["p95"], content["n"], content["unsolved"],
                content["largest_residual_nats"],
            )
        )  # fmt: skip
    one = entry["global"]
    count = entry["per_context"]["n"]
    found.append(
        Temperatures(
            "one for all", one["tau"], None, None, None, count, one["unsolved"],
            abs(one["residual_nats"]),
        )
    )  # fmt: skip
    constant = entry.get("one_temperature", {})
    return Matching(
        _arm(entry),
        found,
        entry["greedy_positions"],
        entry["greedy_differences"],
        entry["greedy_ties_by_rounding"],
        entry.get("greedy_texts"),
        entry.get("greedy_texts_equal"),
        constant.get("step_residual_nats"),
        constant.get("expected_nats"),
        constant.get("spread_beyond_tolerance"),
    )


def read_agreement(entry: Mapping[str, Any]) -> Agreement:
    """One entry of `run_agreement`."""
    value = Estimate(entry["mean"], entry["low"], entry["high"], entry["n"])
    return Agreement(_arm(entry["a"]), _arm(entry["b"]), value)


def read_decoder(entry: Mapping[str, Any]) -> Decoder:
    """One entry of `decoders`."""
    return Decoder(
        _arm(entry["arm"]), entry["is_deterministic"], entry["alone_equals_batch"],
        entry["alone_n"],
    )  # fmt: skip


def read_mauve(entry: Mapping[str, Any]) -> MauveSettings | None:
    """The settings of MAUVE on one set of texts; None where it was not taken."""
    if not entry:
        return None
    arms = [arm for arm in entry["arms"] if arm["arm"] != "human"]
    human: Mapping[str, Any] = next((arm for arm in entry["arms"] if arm["arm"] == "human"), {})
    spreads = [arm["spread"] for arm in arms if arm["spread"] is not None]
    return MauveSettings(
        entry["features"], entry["token_limit"], entry["kmeans_seeds"], arms[0]["n"],
        arms[0]["buckets"], max(spreads, default=None), any(arm["small_sample"] for arm in arms),
        human.get("n"), human.get("buckets"),
    )  # fmt: skip


QUESTIONS = ("winner", "coherence", "diversity")
RATES = ("win_rate", "loss_rate", "tie_rate")


def read_judgement(entry: Mapping[str, Any]) -> Judgement:
    """One comparison of `judge/results.json`."""
    n = entry["n"]

    def rate(found: Mapping[str, Any]) -> Estimate:
        reason = found.get("reason") or ("" if n else "no valid pair")
        return Estimate(found["percent"], found["low"], found["high"], n, reason)

    return Judgement(
        _arm(entry["a"]),
        _arm(entry["b"]),
        entry["judge"]["model"],
        entry["protocol"],
        {each: {name: rate(entry[each][name]) for name in RATES} for each in QUESTIONS},
        {each: entry[each]["p"] for each in QUESTIONS},
        rate(entry["position_flip_rate"]),
        n,
        entry["unusable"]["pairs"],
    )


def read_task_score(entry: Mapping[str, Any]) -> TaskScore:
    """One row of `tasks.json`."""
    found = entry["difference"]
    difference = found and Estimate(
        found["mean"], found["low"], found["high"], found["n"], found["reason"] or ""
    )
    return TaskScore(
        _arm(entry), entry["task"], entry["metric"], entry["value"], entry["stderr"], entry["n"],
        entry["reason"] or "", difference,
    )  # fmt: skip

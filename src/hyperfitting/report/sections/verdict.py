"""The verdict first: what was gained, what it cost, what does as much; advice by rule. Pure."""

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import NamedTuple

from hyperfitting.config import ReportConfig
from hyperfitting.config.methods import EVERYTHING, METHODS, SOME_AT_A_TIME
from hyperfitting.progress import in_number
from hyperfitting.records import HUMAN, ORIGINAL, SIGNIFICANT, Arm
from hyperfitting.records.study import TunedEntry
from hyperfitting.report.load import Study
from hyperfitting.report.sections.competitors import is_original_otherwise
from hyperfitting.report.sections.only_sharper import is_only_sharper
from hyperfitting.report.sections.soundness import soundness
from hyperfitting.report.tables import Content, Table, cell, number

TITLE = "In a few sentences"
# From where on the rules speak (ours).
LOSS_NEAR_ZERO = 0.5  # nats per token: the paper trains to about .05
RISE = 0.05  # of TTR: less is little
ENDINGS_LOST = 0.2  # share of texts that ended by themselves before and do not now
COPIES = 0.1  # share of texts with a run of more than 10 tokens of the training set
FORGOTTEN = 0.1  # of a task's value
FEW_CONTEXTS, FEW_SEEDS = 30, 3


class Advice(NamedTuple):
    """What stands out in a study, and what to change."""

    found: str
    change: str


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without a tuned model."""
    if study.first is None:
        return None
    return {
        "sentences": sentences(study, study.first),
        "advice": advice(study, study.first),
    }


def tables(_study: Study) -> list[Table]:
    """None: these are sentences."""
    return []


def sentences(study: Study, arm: Arm) -> list[str]:
    """What was gained, what it cost, what does as much without it, and what it means."""
    said = (say(study, arm) for say in (gained, cost, untrained, meaning))
    return [each for each in said if each]


def _mean(study: Study, arm: Arm, metric: str) -> float | None:
    found = study.cell(arm, metric)
    return None if found is None else found.mean


def _percent(value: float | None) -> str:
    return "not known" if value is None else f"{number(100 * value, 0)} %"


def _loops(study: Study, arm: Arm) -> tuple[float | None, float | None]:
    """How many texts loop where they may end; of the original and of an arm."""
    return _mean(study, ORIGINAL, "looped_rate"), _mean(study, arm, "looped_rate")


def _trained(arm: Arm) -> str:
    """What of the model such an arm trains, in words; empty for one that is no method of ours."""
    label = next((each.label for each in METHODS.values() if each.arm == arm.model), None)
    return "" if label is None else f", which trains {label},"


def _trains_everything(arm: Arm) -> bool:
    """Whether such an arm trains every weight, so that no method trains more."""
    return any(
        each.arm == arm.model and each.trains in (EVERYTHING, SOME_AT_A_TIME)
        for each in METHODS.values()
    )


def gained(study: Study, arm: Arm) -> str:
    """Does it still loop, and how varied is its text beside human text?"""
    before, after = _loops(study, arm)
    ttr, human = _mean(study, ORIGINAL, "ttr"), _mean(study, HUMAN, "ttr")
    loops = ""
    if before is not None and after is not None:
        loops = f"loops in {_percent(after)} of its texts, where the original does in "
        loops += f"{_percent(before)}; "
    beside = [
        f"{name} {number(value, 3)}"
        for name, value in (("the original", ttr), ("human text", human))
        if value is not None
    ]
    return (
        f"Decoded greedily, {study.label(arm)}{_trained(arm)} {loops}its type-token ratio is "
        f"{cell(study.cell(arm, 'ttr')).text} ({', '.join(beside)})."
    )


def cost(study: Study, arm: Arm) -> str:
    """What was lost: words, copies, perplexity, endings, tasks."""
    perplexities = [_mean(study, each, "val_ppl") for each in (ORIGINAL, arm)]
    parts = []
    words, human_words = (_mean(study, each, "nonwords") for each in (arm, HUMAN))
    if words is not None and human_words is not None:
        parts.append(
            f"{number(100 * words, 1)} % of its words do not exist "
            f"(human text {number(100 * human_words, 1)} %)"
        )
    copies = _mean(study, arm, "overlap_gt_10")
    if copies is not None:
        longest = _longest_copy(study, arm)
        run = "" if longest is None else f", the longest run is {number(longest, 0)}"
        parts.append(
            f"{_percent(copies)} of its texts recite more than 10 tokens of the training{run}"
        )
    if None not in perplexities:
        parts.append(
            "perplexity on held-out text goes from "
            f"{' to '.join(number(each, 0) for each in perplexities)}"
        )
    worst = _worst_task(study, arm)
    if worst is not None:
        parts.append(f"of the tasks {worst[0]} loses most, {number(-worst[1], 2)}")
    if not parts:
        return "What it cost was not measured."
    return f"The price: {'; '.join(parts)}."


def _longest_copy(study: Study, arm: Arm) -> float | None:
    """The longest of all trainings; the row over seeds of an earlier version has their mean."""
    of_each = (_mean(study, run.arm, "overlap_max") for run in _runs(study, arm))
    found = [each for each in of_each if each is not None]
    return max(found, default=_mean(study, arm, "overlap_max"))


def untrained(study: Study, arm: Arm) -> str:
    """Which other decoding of the original is as varied; empty where none is.

    None whose text is known to be broken. One that draws nothing comes first, then the most varied.
    """
    own = _mean(study, arm, "ttr")
    found = [
        (not study.is_drawn(each), ttr, each)
        for each in study.shown
        if is_original_otherwise(each) and each.matched_to is None
        if (ttr := _mean(study, each, "ttr")) is not None
        if own is not None and ttr >= own and not soundness(study, each).is_broken
    ]
    if not found:
        return ""
    draws_nothing, ttr, best = max(found, key=lambda each: each[:2])
    drawn = "" if draws_nothing else ", though it draws at random"
    return (
        f"As varied without any training is {study.label(best)}: type-token ratio "
        f"{number(ttr, 3)}{drawn}."
    )


def meaning(study: Study, arm: Arm) -> str:
    """Is it only sharpness, and over how many contexts and trainings does this hold?"""
    of = in_number(study.num_seeds.get(arm, 1), "training")
    tail = f"all of this is over {study.info.num_contexts} contexts and {of}."
    sharp = _sharpness(study, arm)
    return f"{sharp}; {tail}" if sharp else tail[0].upper() + tail[1:]


def _sharpness(study: Study, arm: Arm) -> str:
    """What the tests say of "only a temperature", with both models' sampled text of one entropy."""
    if (says := is_only_sharper(study, arm)) is None:
        return ""
    verdict = {
        "rejected": "it is not only sharper",
        "as a temperature": "it is only another temperature",
        "open": "whether it is only sharper is not shown",
    }[says]
    of_original = next(
        (
            each
            for each in study.shown
            if each.matched_to == arm.model and each.is_sampled and each.settings == arm.settings
        ),
        None,
    )
    both = [_mean(study, each, "ttr") for each in (arm.sampled(), of_original) if each]
    if len(both) < 2 or None in both:
        return verdict[0].upper() + verdict[1:]
    own, original = (number(value, 3) for value in both)
    return (
        f"Both sampled, the original made exactly as sharp, its type-token ratio is {own} and the "
        f"original's {original}: {verdict}"
    )


def _worst_task(study: Study, arm: Arm) -> tuple[str, float] | None:
    """The task whose value fell most over an arm's trainings, and by how much in their mean.

    None where none was asked or none fell.
    """
    changes: dict[tuple[str, str, str], list[float]] = {}
    for score in study.tasks:
        change = None if score.difference is None else score.difference.value
        if score.arm.variant == arm.variant and change is not None:
            asked = (score.task, score.metric, score.filter)
            sign = -1 if score.higher_is_better is False else 1
            changes.setdefault(asked, []).append(sign * change)
    means = ((task, fmean(each)) for (task, *_), each in changes.items())
    falls = [(task, change) for task, change in means if change < 0]
    return min(falls, key=lambda each: each[1], default=None)


def advice(study: Study, arm: Arm) -> list[Advice]:
    """What the rules find, in their order; empty where nothing stands out."""
    return [found for rule in RULES if (found := rule(study, arm)) is not None]


def _runs(study: Study, arm: Arm) -> list[TunedEntry]:
    return [run for run in study.runs if arm in (run.arm, run.arm.variant)]


def loss_not_near_zero(study: Study, arm: Arm) -> Advice | None:
    """Training stopped before the texts were known by heart."""
    losses = [run.final_loss for run in _runs(study, arm) if run.final_loss is not None]
    far = [loss for loss in losses if loss > LOSS_NEAR_ZERO]
    if not far:
        return None
    found = f"the training loss is {number(max(far), 2)}, not near zero"
    if len(losses) > 1:
        of = f"{len(far)} of {len(losses)} trainings"
        found = f"the training loss is up to {number(max(far), 2)} in {of}, not near zero"
    return Advice(
        found,
        "train longer (train.epochs) or on fewer windows (data.num_train)",
    )


def no_effect(study: Study, arm: Arm) -> Advice | None:
    """Variety rose by little, or that it rose at all is not shown."""
    before, after = _mean(study, ORIGINAL, "ttr"), _mean(study, arm, "ttr")
    if before is None or after is None or after - before > RISE:
        return None
    of_ttr = (t for t in study.tests if t.arms == (arm, ORIGINAL) and t.metric == "ttr")
    p = next((test.p_holm for test in of_ttr if test.p_holm is not None), None)
    is_shown = p is not None and p < SIGNIFICANT and after > before
    rose = "the type-token ratio rose by little" if is_shown else "no rise of variety is shown"
    return Advice(
        f"{rose} (TTR {number(before, 3)} to {number(after, 3)})",
        "train longer, or at a higher rate (train.epochs, train.learning_rate)"
        if _trains_everything(arm)
        else "take a method that trains more of the model (--method late_half_sft or full_sft)",
    )


def bought_with_words(study: Study, arm: Arm) -> Advice | None:
    """TTR without language."""
    found = soundness(study, arm)
    if not found.is_broken:
        return None
    return Advice(
        found.lost_in_words,
        "lower train.learning_rate, or train shorter (train.epochs)"
        if _trains_everything(arm)
        else "lower train.learning_rate, or let more blocks share the change (--method full_sft)",
    )


def endings_lost(study: Study, arm: Arm) -> Advice | None:
    """Texts do not end themselves any more."""
    before, after = (_mean(study, each, "ended_rate") for each in (ORIGINAL, arm))
    if before is None or after is None or before - after < ENDINGS_LOST:
        return None
    is_taught = "documents" in {run.windows for run in _runs(study, arm)}
    return Advice(
        f"{_percent(before)} of texts ended by themselves, now {_percent(after)}",
        "train on texts that end as its own should, and more of them"
        if is_taught
        else "train on whole texts (--windows documents)",
    )


def memorised(study: Study, arm: Arm) -> Advice | None:
    """Texts recite the training set."""
    copies = _mean(study, arm, "overlap_gt_10")
    if copies is None or copies < COPIES:
        return None
    return Advice(
        f"{_percent(copies)} of texts recite more than 10 tokens of the training set",
        "train on more windows (data.max_train) or shorter (train.epochs), or take a part of the "
        "change (evaluate --strengths 0.5,0.75)",
    )


def forgotten(study: Study, arm: Arm) -> Advice | None:
    """A task that the original could do."""
    worst = _worst_task(study, arm)
    if worst is None or worst[1] > -FORGOTTEN:
        return None
    return Advice(
        f"{worst[0]} fell by {number(-worst[1], 2)}",
        "look at parts of the change (evaluate --strengths 0.5,0.75), or train fewer blocks",
    )


def too_few(study: Study, arm: Arm) -> Advice | None:
    """Numbers that another draw of contexts or another training may turn round."""
    seeds, contexts = study.num_seeds.get(arm, 1), study.info.num_contexts
    if seeds >= FEW_SEEDS and contexts >= FEW_CONTEXTS:
        return None
    few, more = [], []
    if contexts < FEW_CONTEXTS:
        few.append(f"{contexts} contexts")
        more.append(f"{FEW_CONTEXTS} contexts (data.num_heldout)")
    if seeds < FEW_SEEDS:
        few.append(in_number(seeds, "training"))
        more.append(f"{FEW_SEEDS} seeds (train.seed)")
    return Advice(
        f"{' and '.join(few)}: another draw may come out otherwise",
        f"at least {' and '.join(more)}",
    )


RULES: tuple[Callable[[Study, Arm], Advice | None], ...] = (
    no_effect,
    loss_not_near_zero,
    bought_with_words,
    memorised,
    forgotten,
    endings_lost,
    too_few,
)

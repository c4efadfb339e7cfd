"""What is variety worth? Arms that were trained on windows that say nothing, beside the others."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records import HUMAN, ORIGINAL, Arm
from hyperfitting.records.arms import NULL
from hyperfitting.report.load import Study
from hyperfitting.report.sections.certainty import final_losses
from hyperfitting.report.tables import (
    Content,
    Table,
    cell,
    difference,
    metric_table,
    number,
    p_phrase,
)

TITLE = "What is variety worth?"
# What training on nothing can reach, then what it cannot.
METRICS = ("ttr", "bigram_repetition", "looped_rate", "coherence_original_nats", "nonwords",
           "val_ppl", "fivegram_overlap")  # fmt: skip
LEARNED_WITHIN = 1.0  # nats per token above the loss on the texts
MADE_OF = {
    "shuffled": "the same windows, the tokens of each in random order",
    "self_samples": "windows that the original wrote, sampled at temperature 1 from the first "
    "tokens of each",
    "other_language": "as many windows of texts in another language",
}


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None where no arm was trained on a null."""
    found = [arm for arm in study.tuned if arm.is_null]
    if not found:
        return None
    kinds = dict.fromkeys(str(arm.parameters[NULL]) for arm in found)
    return {
        "table": nulls(study),
        "made_of": [f"{kind}: {MADE_OF.get(kind, 'windows of an unknown kind')}" for kind in kinds],
        "answers": [each for arm in found for each in _answers(study, arm)],
    }


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [nulls(study)]


def nulls(study: Study) -> Table:
    """Arms on nulls, each after the arms of its method that were trained on the texts."""
    found = [arm for arm in study.tuned if arm.is_null]
    models = dict.fromkeys(arm.model for arm in found)
    beside = [arm for model in models for arm in study.tuned if arm.model == model]
    arms = [HUMAN, ORIGINAL, *beside] if found else []
    shown = [(name, None) for name in METRICS if any(study.has(arm, name) for arm in arms)]
    return metric_table(study, "nulls", arms, shown)


def _answers(study: Study, null: Arm) -> list[str]:
    """How varied the text of an arm on a null is, and how far each arm of its method is above."""
    reached = study.cell(null, "ttr")
    if reached is None or reached.mean is None:
        return []
    found = [
        f"{study.label(null)} reaches a TTR of {cell(reached).text}.{not_learned(study, null)}"
    ]
    for test in study.tests:
        a, b = test.arms
        if test.metric == "ttr" and b == null and a.model == null.model and not a.is_null:
            p = f"no p ({test.reason})" if test.p_holm is None else p_phrase(test.p_holm)
            found.append(
                f"{study.label(a)} minus {study.label(null)}: TTR {difference(test).text}, {p}."
            )
    return found


def not_learned(study: Study, null: Arm) -> str:
    """That training on a null ended far above the loss of its method's arms; empty where not."""
    losses = final_losses(study)
    own = losses.get(null.variant)
    others = [v for arm, v in losses.items() if arm.model == null.model and not arm.is_null]
    if own is None or not others or own - max(others) <= LEARNED_WITHIN:
        return ""
    return (
        f" It ended at a training loss of {number(own, 3)} nats per token, its method on the texts "
        f"at {number(max(others), 3)}: it has not learned its windows, and says little."
    )

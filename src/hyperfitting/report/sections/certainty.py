"""What the comparisons of a study can and cannot say, in words: families, trainings, losses."""

from hyperfitting.records import Arm, PairedTest
from hyperfitting.report.load import Study
from hyperfitting.report.tables import metric_label, number

METHODS_ONCE = (
    "Methods cannot be compared with one training each: differences between them have no p, and "
    "their intervals are over contexts only."
)
MATERIAL = 2.0  # final losses further apart than this factor are named beside a comparison


def families_in_words(study: Study) -> str:
    """Over which tests Holm's correction runs."""
    adjusted = [test for test in study.tests if test.p is not None]
    kept = sum(test.arms[0].at_loss is not None for test in adjusted)
    decoders = sum(test.arms[1].is_decoded for test in adjusted)
    if not adjusted:
        return ""
    models = len(adjusted) - decoders - kept
    words = f"p (Holm) is adjusted over the {models} tests of models on these texts"
    if decoders:
        words += f"; the {decoders} against the original with --decoders are a family of their own"
    if kept:
        words += f"; the {kept} at equal training loss are a family of their own"
    if any(test.margin is not None for test in study.tests):
        words += "; tests of equivalence are in no family"
    return f"{words}."


def trainings_in_words(study: Study) -> list[str]:
    """What the tests are about, these models or their methods, and what can be claimed."""
    found = []
    once = [arm for arm in study.tuned if study.num_seeds.get(arm, 1) == 1]
    several = [test for test in study.tests if test.noise == "trainings and contexts"]
    if once:
        found.append(
            f"{', '.join(map(study.label, once))}: one training each. The tests are about these "
            "trained models and generalise to other contexts only; another training of the same "
            "method would differ, by how much is not known."
        )
    if len(methods_once(study)) > 1:
        found.append(METHODS_ONCE)
    if several:
        found.append(
            "Where arms were trained several times, intervals and p contain trainings and contexts "
            "(t parts of both). Claimable from: the smallest difference that would be significant "
            "at the spread found, after Holm's correction."
        )
    return found + [_claimable(study, test) for test in several if _is_of_methods(study, test)]


def methods_once(study: Study) -> list[Arm]:
    """Methods that were trained once; another checkpoint of a training is not one."""
    once = [arm for arm in study.tuned if study.num_seeds.get(arm, 1) == 1]
    return [arm for arm in once if not arm.is_best_val]


def _is_of_methods(study: Study, test: PairedTest) -> bool:
    """Whether two trained arms are compared by the main metric."""
    return test.metric == "ttr" and test.num_seeds_b > 1 and test.claimable is not None


def _claimable(study: Study, test: PairedTest) -> str:
    a, b = (study.label(arm) for arm in test.arms)
    return (
        f"{a} minus {b}: {metric_label(test.metric)} {number(test.difference, 3, signed=True)}; a "
        f"difference can be claimed from {number(test.claimable, 3)} on with these trainings."
    )


def final_losses(study: Study) -> dict[Arm, float]:
    """Mean final training loss over the trainings of each arm, in nats per token."""
    by_arm: dict[Arm, list[float]] = {}
    for run in study.runs:
        if run.final_loss is not None:
            by_arm.setdefault(run.arm.variant, []).append(run.final_loss)
    return {arm: sum(losses) / len(losses) for arm, losses in by_arm.items()}


def losses_in_words(study: Study) -> str:
    """That methods stand beside each other at different final losses; empty where they do not."""
    means = final_losses(study)
    if len(means) < 2 or max(means.values()) <= MATERIAL * min(means.values()):
        return ""
    shown = {arm.variant: study.label(arm) for arm in study.tuned}
    listed = [f"{shown.get(arm, arm.name)} {number(loss, 3)}" for arm, loss in means.items()]
    return (
        f"These methods reached different training losses ({', '.join(listed)} nats per token). "
        "What differs between them may be the loss reached, the depth, or the number of trained "
        "parameters: that is not told apart here"
        + (", but at equal training loss." if study.at_loss else ".")
    )

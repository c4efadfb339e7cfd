"""Varied and good at once? The Pareto front of variety and quality over all arms of a study."""

from collections.abc import Mapping, Sequence

from hyperfitting.config import ReportConfig
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.records import HUMAN, Arm
from hyperfitting.report.load import Study
from hyperfitting.report.sections.competitors import (
    COHERENCE,
    VARIETY,
    Front,
    fronts,
    is_original_otherwise,
    kind,
    without_drawn,
)
from hyperfitting.report.sections.soundness import NONWORDS, soundness
from hyperfitting.report.tables import MISSING, Cell, Content, Table, cell, heading, number

TITLE = "Varied and good at once?"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None with too few arms to compete."""
    found = fronts(study)
    if not found:
        return None
    return {
        "table": front(study, found),
        "fronts": [
            {
                "name": each.scorer.name,
                "scorer": scorer_in_words(each),
                "answers": answers(study, each),
                "undrawn": [] if undrawn is None else answers(study, undrawn),
            }
            for each in found
            for undrawn in (without_drawn(study, each),)
        ],
        "outside": outside_in_words(found),
        "is_null_known": any(kind(arm) == "null" for each in found for arm in each.arms),
    }


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [front(study, fronts(study))]


def front(study: Study, found: Sequence[Front]) -> Table:
    """Every arm's variety, and its quality and standing by every scorer."""
    if not found:
        return Table("front", [], [])
    arms = [arm for arm in study.shown if arm == HUMAN or any(arm in each.arms for each in found)]
    header = [("arm", ""), (METRICS[VARIETY].label, METRICS[VARIETY].unit)]
    for each in found:
        metric = each.scorer.metric
        header += [(heading(study, metric), METRICS[metric].unit), ("Standing", "by it and TTR")]
    has_nonwords = any(study.has(arm, NONWORDS) for arm in arms)
    if has_nonwords:
        header.append((heading(study, NONWORDS), METRICS[NONWORDS].unit))
    rows = []
    for arm in arms:
        row = [Cell(study.label(arm)), cell(study.cell(arm, VARIETY))]
        for each in found:
            row += [cell(study.cell(arm, each.scorer.metric)), _standing(study, each, arm)]
        rows.append([*row, cell(study.cell(arm, NONWORDS))] if has_nonwords else row)
    return Table("front", header, rows)


def _standing(study: Study, of: Front, arm: Arm) -> Cell:
    if arm == HUMAN:
        return Cell(MISSING, reason="human text is the reference and does not compete")
    found = of.standing(arm)
    if found is None:
        return Cell(MISSING, reason="a value is missing")
    if found.is_on_front:
        return Cell("on the front")
    if found.beaten is None:
        return Cell("not told from the front")
    return Cell(f"beaten by {study.label(of.arms[found.beaten])}")


def answers(study: Study, of: Front) -> list[str]:
    """Which arms are on the front, then a sentence on every model that was tuned on texts."""
    tuned = [arm for arm in study.tuned if arm in of.arms and not arm.is_null]
    return [_front_in_words(study, of), *(_answer(study, of, arm) for arm in tuned)]


def _front_in_words(study: Study, of: Front) -> str:
    names = [_named(study, arm) for arm in of.on_it]
    if len(names) == 1:
        return f"The front is one arm: {names[0]}."
    return f"On the front, from the least to the most varied: {'; '.join(names)}."


def _named(study: Study, arm: Arm) -> str:
    """An arm, and whether its text is broken: variety and one quality do not say so."""
    found = soundness(study, arm)
    what = "the text is broken" if found.broken_text else "words are broken"
    return study.label(arm) + (f" [{what}]" if found.is_broken else "")


def _answer(study: Study, of: Front, arm: Arm) -> str:
    standing = of.standing(arm)
    assert standing is not None
    name = _named(study, arm)
    if standing.best is None:
        return f"{name}: on the front, {_where(of, arm)}{_beside(study, of, arm)}."
    if standing.beaten is not None:
        better = of.arms[standing.beaten]
        return f"{name}: beaten by {_named(study, better)} ({_against(of, arm, better)})."
    better = of.arms[standing.best]
    return (
        f"{name}: not told from the front. {_named(study, better)} is ahead by the means "
        f"({_against(of, arm, better)}), within the intervals{_beside(study, of, arm)}."
    )


def _where(of: Front, arm: Arm) -> str:
    """At which end of the front an arm stands."""
    ttr = [of.values(each)[0].value for each in of.on_it]
    own = of.values(arm)[0].value
    if min(ttr) == max(ttr):
        return "alone" if len(ttr) == 1 else "with equals only"
    if own == max(ttr):
        return "at its varied end"
    return "at its end of quality" if own == min(ttr) else "between its ends"


def _against(of: Front, arm: Arm, better: Arm) -> str:
    """Both values of an arm and of the one that is ahead of it, as they count."""
    (ttr, quality), (its_ttr, its_quality) = of.values(arm), of.values(better)
    decimals = METRICS[of.scorer.metric].decimals
    own, its = (number(abs(each.value), decimals) for each in (quality, its_quality))
    what = "nats from human text" if of.scorer.is_nearness else "MAUVE"
    return (
        f"TTR, up to human, {number(its_ttr.value, 3)} against {number(ttr.value, 3)}; "
        f"{what} {its} against {own}"
    )


def _beside(study: Study, of: Front, arm: Arm) -> str:
    """Nulls and other decoders of the original that are not told from an arm in either."""
    kinds = {
        "null": [each for each in of.arms if kind(each) == "null"],
        "other decoder of the original": [each for each in of.arms if is_original_otherwise(each)],
    }
    known = [name for name, arms in kinds.items() if arms]
    if not known:
        return ""
    beside = of.beside(arm)
    if beside is None:
        return ""
    near = [each for each in beside if any(each in arms for arms in kinds.values())]
    if not near:
        return f"; no {' and no '.join(known)} stands beside it"
    return f"; beside it, told from it in neither: {'; '.join(study.label(each) for each in near)}"


def scorer_in_words(of: Front) -> str:
    """What is read, and whether another model than the original says it."""
    scorer = of.scorer
    better = (
        "nearer to human text is better, not higher" if scorer.is_nearness else "more is better"
    )
    if scorer.is_outside:
        return f"An outside scorer; {better}."
    what = "the original itself" if scorer.metric == COHERENCE else "that model is the original"
    return f"Not an outside scorer: {what}; {better}."


def outside_in_words(found: Sequence[Front]) -> str:
    """That no other model than the original scored the texts, and how to have it done."""
    if any(each.scorer.is_outside for each in found):
        return ""
    return (
        "No outside scorer has a say here: the original is a judge of itself. "
        "hyperfit evaluate takes one with mauve_features=MODEL or coherence_model=MODEL, "
        "another model than the original."
    )

"""Does it still loop? What the arms wrote, and one sentence on every tuned one."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records import HUMAN, ORIGINAL
from hyperfitting.report.load import Study
from hyperfitting.report.sections.certainty import losses_in_words
from hyperfitting.report.sections.soundness import measures_in_words, soundness
from hyperfitting.report.tables import (
    MISSING,
    Content,
    Table,
    catalogue_table,
    cell,
    columns,
    metric_table,
)

TITLE = "Does it still loop?"
# `looped` of the controls is of texts of fixed length: another number.
LOOPED = "share of texts that loop where they may end (natural)"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content:
    """What the template shows; there are always results."""
    return {
        "losses": losses_in_words(study),
        "answers": answers(study),
        "measures": measures_in_words(study),
        "table": catalogue_table(study, "main"),
        "more": catalogue_table(study, "text"),
        "seeds": per_seed(study),
        "is_one_seed": all(count == 1 for count in study.num_seeds.values())
        and len({arm.variant for arm in study.tuned}) == len(study.tuned),
    }


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [every_arm(study)]


def every_arm(study: Study) -> Table:
    """Every arm, every seed and every metric; for the files."""
    return metric_table(study, "arms", study.arms, columns(study))


def per_seed(study: Study) -> Table:
    """The main metrics of every training where arms were trained several times."""
    arms = [arm for arm in study.arms if study.num_seeds.get(arm.variant, 1) > 1]
    single = [arm for arm in arms if study.num_seeds[arm] == 1 and arm not in study.shown]
    greedy = [arm for arm in single if arm.variant in study.greedy]
    return metric_table(study, "seeds", greedy, columns(study, "main", "endings"))


def answers(study: Study) -> list[str]:
    """One sentence on every tuned arm, the one that changed most first: does it still loop?

    Beside its TTR stands whether its text is intact: word salad is varied, too.
    """
    if study.first is None:
        return []
    arms = [study.first, *(arm for arm in study.greedy if arm.is_tuned and arm != study.first)]
    found: list[str] = []
    for arm in arms:
        parts = [
            f"{name} {value}"
            + ("" if found else _beside(study, metric))
            + (soundness(study, arm).in_words if metric == "ttr" else "")
            for metric, name in (("ttr", "TTR"), ("looped_rate", LOOPED))
            if (value := cell(study.cell(arm, metric)).text) != MISSING
        ]
        if parts:
            found.append(f"{study.label(arm)}: {'; '.join(parts)}.")
    return found


def _beside(study: Study, metric: str) -> str:
    """The original's and the human value, in brackets."""
    others = [
        f"{other.name} {cell(study.cell(other, metric)).value}"
        for other in (ORIGINAL, HUMAN)
        if (found := study.cell(other, metric)) and found.mean is not None
    ]
    return f" ({', '.join(others)})" if others else ""

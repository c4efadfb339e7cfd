"""Is it better, or only different? What the texts are worth beside their variety."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records.arms import CITATION_BLOCKED
from hyperfitting.report.load import Study
from hyperfitting.report.sections.certainty import losses_in_words
from hyperfitting.report.tables import Content, Table, cell, columns, metric_table, number

TITLE = "Is it better, or only different?"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    table = quality(study)
    if len(table.header) == 1:
        return None
    notes = (mauve_in_words(study), coherence_in_words(study))
    return {
        "table": table,
        "notes": [note for note in notes if note],
        "losses": losses_in_words(study),
    }


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [quality(study)]


def quality(study: Study) -> Table:
    """What the texts are worth beside their variety, with and without citations."""
    shown = columns(study, "quality")
    blocked = [arm for arm in study.shown if arm.decoding == CITATION_BLOCKED]
    arms = [
        arm
        for arm in (*study.greedy, *blocked)
        if any(study.has(arm, metric) for metric, _ in shown)
    ]
    return metric_table(study, "quality", arms, shown)


def mauve_in_words(study: Study) -> str:
    """What MAUVE was taken with; empty where it was not taken."""
    found = study.mauve
    if found is None:
        return ""
    largest, first = found.largest_spread, found.of_arms[0]
    spread = "" if largest is None else f", spread at most {number(largest, 3)}"
    small = ""
    if any(each.small_sample for each in found.of_arms):
        small = (
            f" {first.n} texts a side are few (below 1,000): the values are too high and noisy, "
            "and serve to compare arms of this table only."
        )
    return (
        f"MAUVE against the human texts: features of {found.features} at the last token of context "
        f"and continuation (at most {found.token_limit} tokens), n = {first.n} texts a side, "
        f"{first.buckets} buckets, c = 5, mean of {found.kmeans_seeds} k-means seeds{spread}. "
        "Intervals resample contexts within the buckets found. "
        f"{small}{_human_mauve(study)}"
    )


def _human_mauve(study: Study) -> str:
    """The value of human texts, apart from the column, with what sets it apart."""
    found, row = study.mauve, study.human_mauve
    if found is None or found.human is None or row is None or row.mean is None:
        return ""
    value = cell(row).text
    return (
        f" One half of the human texts against the other: {value} (n = {found.human.n} a side, "
        f"{found.human.buckets} buckets). That is no ceiling for the arms: n and buckets differ, "
        "and the halves have different contexts, while an arm shares each context with its "
        "human text."
    )


def coherence_in_words(study: Study) -> str:
    """Which model the coherence is taken under; empty where it was not taken."""
    model = study.info.evaluate.coherence_model
    if model is None:
        return ""
    return (
        f"Coherence under {model} is the mean log-likelihood of a continuation, in nats per token "
        "of that model's tokenizer. Loops are likely to a model that loops, so nearer to human is "
        "better."
    )

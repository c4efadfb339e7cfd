"""Tables of quality beside variety, of judges, tasks and other texts. Pure."""

from hyperfitting.records.arms import CITATION_BLOCKED
from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.judged import Rate
from hyperfitting.report.findings import Estimate
from hyperfitting.report.load import Study
from hyperfitting.report.tables import (
    MISSING,
    Cell,
    Table,
    cell,
    columns,
    estimate,
    metric_label,
    metric_table,
    number,
    p_text,
)
from hyperfitting.untrusted import printable

DOMAIN_METRICS = (
    "ttr", "bigram_repetition", "mauve", "delta_dim_block_output", "delta_dim_post_final_norm",
)  # fmt: skip
SHORT = {
    "delta_dim_block_output": "dimensions, last block",
    "delta_dim_post_final_norm": "dimensions, final norm",
}


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


def judgements(study: Study) -> Table:
    """What a judge said of two arms (layout of the paper's Table 5), a row for each question."""
    header = [
        ("a against b", ""), ("judge", ""), ("question", ""), ("a wins", "%"), ("a loses", "%"),
        ("tie", "%"), ("p", "sign test"), ("changes with the order", "%"), ("pairs", "left out"),
    ]  # fmt: skip
    rows = [
        [
            Cell(f"{study.label(found.a.arm)} against {study.label(found.b.arm)}"),
            Cell(printable(found.judge.model), note=found.protocol),
            Cell(question),
            *(_rate(rate, found.n, "" if found.n else "no valid pair") for rate in outcome.rates),
            Cell(p_text(outcome.p), reason=outcome.reason or ""),
            _rate(found.position_flip_rate, found.n, found.position_flip_rate.reason or "")
            if question == "winner"
            else Cell(MISSING, reason="counted for the winner"),
            Cell(number(found.n, 0), note=f"{found.unusable.pairs} left out"),
        ]
        for found in study.judgements
        for question, outcome in found.questions.items()
    ]
    return Table("judgements", header, rows)


def _rate(found: Rate, n: int, reason: str) -> Cell:
    return estimate(Estimate(found.percent, found.low, found.high, n, reason), 1)


def tasks(study: Study) -> Table:
    """Tasks before and after tuning, and the difference over the same questions."""
    header = [
        ("arm", ""), ("task", ""), ("metric", ""), ("value", ""), ("standard error", ""),
        ("change", "tuned - original"), ("questions", ""),
    ]  # fmt: skip
    rows = [
        [
            Cell(study.label(found.arm)),
            Cell(printable(found.task)),
            Cell(printable(found.metric)),
            Cell(number(found.value, 3), reason=found.reason or ""),
            Cell(number(found.stderr, 3), reason=found.reason or ""),
            Cell("") if found.difference is None else _change(found.difference),
            Cell(number(found.n, 0)),
        ]
        for found in study.tasks
    ]
    return Table("tasks", header, rows)


def _change(found: MeanEstimate) -> Cell:
    own = Estimate(found.value, found.low, found.high, found.n, found.reason or "")
    return estimate(own, signed=True)


def domains(study: Study) -> Table:
    """The same models on every set of texts (layout of the paper's Table 6); empty for one."""
    if not study.elsewhere:
        return Table("domains", [], [])
    places = [study, *(study.on(domain) for domain in study.elsewhere)]
    names = [study.domain, *study.elsewhere]
    columns = [
        (place, name, metric)
        for place, name in zip(places, names, strict=True)
        for metric in DOMAIN_METRICS
        if any(place.has(arm, metric) for arm in study.greedy)
    ]
    header = [("arm", "")]
    header += [(SHORT.get(metric, metric_label(metric)), name) for _, name, metric in columns]
    rows = [
        [Cell(study.label(arm)), *(cell(place.cell(arm, metric)) for place, _, metric in columns)]
        for arm in study.greedy
    ]
    return Table("domains", header, rows)


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
    model = study.info["evaluate"]["coherence_model"]
    if model is None:
        return ""
    return (
        f"Coherence is the mean log-likelihood of a continuation under {model}, in nats per token "
        "of its tokenizer. Loops are likely to a model that loops, so nearer to human is better."
    )

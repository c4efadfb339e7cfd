"""Is it one constant shift? The shift injected into the original."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.progress import in_number
from hyperfitting.records.controls.static_bias import Injection, StaticBias
from hyperfitting.report.load import Study
from hyperfitting.report.tables import (
    FIXED_LOOPED,
    MISSING,
    Cell,
    Content,
    Table,
    estimate,
    number,
    p_phrase,
    p_text,
)
from hyperfitting.untrusted import printable

TITLE = "Is it one constant shift?"
KINDS = {"promoted": "promoted tokens", "in_sample": "promoted tokens, in sample",
         "all": "all tokens", "random": "random tokens"}  # fmt: skip
NO_TEST = "strength 0 changes nothing"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    arms = [_of_arm(study, found) for found in study.explained.of(StaticBias)]
    return {"arms": arms} if arms else None


def _of_arm(study: Study, found: StaticBias) -> Content:
    verdict = found.verdict_in_words
    if found.reason:
        verdict = f"Nothing was injected: {found.reason}."
    same = found.strength_0_equals_original
    return {
        "arm": study.label(found.arm),
        "words": found.in_words,
        "verdict": verdict,
        "table": strengths(study, found),
        "promoted": promoted_tokens(found),
        "positions": number(found.positions, 0),
        "same": same and f"{number(100 * same, 0)} % of the texts",
    }


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [static_bias(study)]


def strengths(study: Study, found: StaticBias) -> Table:
    """TTR at every strength: the promoted tokens' shift and its controls, and the tuned model."""
    kinds = [kind for kind in KINDS if any(row.kind == kind for row in found.rows)]
    draws = max((row.draws for row in found.rows if row.kind == "random"), default=0)
    count = number(found.promoted_tokens, 0)
    named = {
        "promoted": f"{count} promoted tokens",
        "in_sample": "the same, in sample",
        "all": "all tokens",
        "random": f"{count} random tokens, {in_number(draws, 'draw')}",
    }
    header = [("strength", ""), *((f"TTR, {named[kind]}", "") for kind in kinds)]
    by_key = {(row.kind, row.strength): row for row in found.rows}
    rows = []
    for strength in sorted({row.strength for row in found.rows}):
        cells = [_injected(by_key.get((kind, strength)), strength) for kind in kinds]
        rows.append([Cell(f"{strength:g}"), *cells])
    if rows:
        itself = None if found.tuned is None else found.tuned.ttr
        blank = [Cell("", reason="not a shift") for _ in kinds[1:]]
        rows.append([Cell("the tuned model"), estimate(itself), *blank])
    return Table("strengths", header, rows)


def _injected(row: Injection | None, strength: float) -> Cell:
    if row is None:
        reason = NO_TEST if strength == 0 else "not measured"
        return Cell(MISSING, reason=reason)
    found = estimate(row.ttr)
    note = "" if row.p is None else p_phrase(row.p)
    return Cell(found.value, found.interval, found.n, found.reason, note)


def static_bias(study: Study) -> Table:
    """Every injection of every tuned model; for the files."""
    measured = ["ttr", "bigram_repetition", "looped", "ttr_minus_original"]
    header = [
        (name, "")
        for name in (
            "arm", "shift", "strength", "draws", "TTR", "Bigram repetition", FIXED_LOOPED,
            "TTR - original", "share of gain", "p (Holm)", "Top-1 agreement with tuned (TF)",
        )
    ]  # fmt: skip
    rows = [
        [
            Cell(study.label(found.arm)),
            *map(Cell, (KINDS.get(row.kind, row.kind), f"{row.strength:g}", str(row.draws))),
            *(estimate(getattr(row, name), signed=name.endswith("original")) for name in measured),
            estimate(row.gained),
            Cell(p_text(row.p), reason="" if row.strength else NO_TEST),
            estimate(row.top1_agreement_tuned),
        ]
        for found in study.explained.of(StaticBias)
        for row in found.rows
    ]
    return Table("static_bias", header, rows)


def promoted_tokens(found: StaticBias) -> Table:
    """The tokens whose rank rose most on average."""
    header = [
        ("token", ""),
        ("rank improvement", f"mean over {number(found.positions, 0)} positions"),
        ("logit shift", "mean"),
    ]
    rows = [
        [
            Cell(_visible(token.text)),
            Cell(number(token.mean_rank_improvement, 0, signed=True)),
            Cell(number(token.mean_logit_shift, 2, signed=True)),
        ]
        for token in found.most_promoted or []
    ]
    return Table("promoted_tokens", header, rows)


def _visible(text: str) -> str:
    """A token's text, its spaces as signs; it may hold anything."""
    return printable(text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥"))

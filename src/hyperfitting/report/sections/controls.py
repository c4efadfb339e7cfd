"""Tables of what `hyperfit explain` found."""

from hyperfitting.records import Arm
from hyperfitting.report.findings import (
    BLOCK_OUTPUT,
    FINAL_NORM,
    RMS_NORMALISED,
    Injection,
    Layer,
    StaticBias,
)
from hyperfitting.report.load import Study
from hyperfitting.report.tables import (
    MISSING,
    Cell,
    Table,
    estimate,
    number,
    p_phrase,
    p_text,
)

TAPS = {
    BLOCK_OUTPUT: "block output",
    RMS_NORMALISED: "RMS-normalised",
    FINAL_NORM: "after the final norm",
}
RANK_SHARES = {
    "rank_1": "rank 1",
    "rank_2_10": "rank 2-10",
    "rank_11_200": "rank 11-200",
    "rank_gt_200": "rank > 200",
}
FIXED_LOOPED = "looped (fixed length)"  # not `looped_rate`, of texts that may end
KINDS = {"promoted": "promoted tokens", "all": "all tokens", "random": "random tokens"}
NO_TEST = "strength 0 changes nothing"
HYBRIDS = {
    "tuned_upper": "tuned last blocks on original",
    "original_upper": "original last blocks on tuned",
}


def _label(study: Study, arm: Arm) -> Cell:
    return Cell(study.label(arm))


def provenance(study: Study) -> Table:
    """Ranks in the original of what was written, beside those of human words."""
    found = study.explained.provenance
    texts = [("human", found[0].human)] if found else []
    texts += [(study.label(each.arm), each.written) for each in found]
    header = [("words of", ""), *((name, "share") for name in RANK_SHARES.values())]
    rows = [
        [Cell(name), *(estimate(ranks.shares.get(key)) for key in RANK_SHARES)]
        for name, ranks in texts
    ]
    return Table("provenance", header, rows)


def strengths(study: Study, found: StaticBias) -> Table:
    """TTR at every strength: the promoted tokens' shift and its controls, and the tuned model."""
    kinds = [kind for kind in KINDS if any(row.kind == kind for row in found.rows)]
    draws = max((row.draws for row in found.rows if row.kind == "random"), default=0)
    count = number(found.promoted_tokens, 0)
    named = {
        "promoted": f"{count} promoted tokens",
        "all": "all tokens",
        "random": f"{count} random tokens, {draws} {'draw' if draws == 1 else 'draws'}",
    }
    header = [("strength", ""), *((f"TTR, {named[kind]}", "") for kind in kinds)]
    by_key = {(row.kind, row.strength): row for row in found.rows}
    rows = []
    for strength in sorted({row.strength for row in found.rows}):
        cells = [_injected(by_key.get((kind, strength)), strength) for kind in kinds]
        rows.append([Cell(f"{strength:g}"), *cells])
    if rows:
        blank = [Cell("", reason="not a shift") for _ in kinds[1:]]
        rows.append([Cell("the tuned model"), estimate(found.tuned.get("ttr")), *blank])
    return Table("strengths", header, rows)


def _injected(row: Injection | None, strength: float) -> Cell:
    if row is None:
        reason = NO_TEST if strength == 0 else "not measured"
        return Cell(MISSING, reason=reason)
    found = estimate(row.values["ttr"])
    note = "" if row.p_holm is None else p_phrase(row.p_holm)
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
            _label(study, found.arm),
            *map(Cell, (KINDS.get(row.kind, row.kind), f"{row.strength:g}", str(row.draws))),
            *(estimate(row.values[name], signed=name.endswith("original")) for name in measured),
            estimate(row.share_of_gain),
            Cell(p_text(row.p_holm), reason="" if row.strength else NO_TEST),
            estimate(row.values["top1_agreement_tuned"]),
        ]
        for found in study.explained.static_bias
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
            Cell(token.text),
            Cell(number(token.rank_improvement, 0, signed=True)),
            Cell(number(token.logit_shift, 2, signed=True)),
        ]
        for token in found.most_promoted
    ]
    return Table("promoted_tokens", header, rows)


GEOMETRY = [
    ("cosine", "Cosine", 3, False),
    ("l2", "L2 distance", 2, False),
    ("l2_relative", "L2, relative", 3, False),
    ("pr_original", "dimensions, original", 1, False),
    ("pr_tuned", "dimensions, tuned", 1, False),
    ("delta_dim", "change in dimensions", 1, True),
]


def geometry(study: Study, *, last_only: bool = False) -> Table:
    """Every layer at every tap, or the last one only."""
    header = [("arm", ""), ("layer", ""), ("tap", ""), *((name, "") for _, name, *_ in GEOMETRY)]
    header += [("change without the 4 largest dimensions", ""), ("positions", "")]
    rows = []
    for found in study.explained.geometry:
        last = max(layer.layer for layer in found.layers)
        for layer in found.layers:
            if layer.layer == last or not last_only:
                rows.append([_label(study, found.arm), *_layer(layer)])
    return Table("last_layer" if last_only else "geometry", header, rows)


def _layer(layer: Layer) -> list[Cell]:
    few = "few" if layer.is_few else ""
    return [
        Cell(str(layer.layer)),
        Cell(TAPS.get(layer.space, layer.space)),
        *(
            estimate(layer.values[name], decimals, signed=signed)
            for name, _, decimals, signed in GEOMETRY
        ),
        Cell(
            number(layer.delta_dim_without_4_largest, 1, signed=True),
            reason="" if layer.delta_dim_without_4_largest is not None else "no spread is left",
        ),
        Cell(number(layer.positions, 0), note=few),
    ]


def block_swap(study: Study) -> Table:
    """Every hybrid of every tuned model, and both models themselves."""
    header = [
        (name, "")
        for name in (
            "arm", "hybrid", "last blocks", "TTR", "Bigram repetition", FIXED_LOOPED,
            "Top-1 agreement with original (TF)", "with tuned (TF)", "share of gain",
        )
    ]  # fmt: skip
    names = ["ttr", "bigram_repetition", "looped"]
    names += ["top1_agreement_original", "top1_agreement_tuned"]
    rows = []
    for found in study.explained.block_swap:
        for hybrid in found.rows:
            kind = HYBRIDS.get(hybrid.upper, hybrid.upper)
            cells = [_label(study, found.arm), Cell(kind), Cell(str(hybrid.blocks))]
            measured = (estimate(hybrid.values[name]) for name in names)
            rows.append([*cells, *measured, estimate(hybrid.share_of_gain)])
        for name, values in found.references.items():
            no_hybrid = Cell(MISSING, reason="not a hybrid")
            cells = [_label(study, found.arm), Cell(f"the {name} model"), no_hybrid]
            reference = [estimate(values.get(each)) for each in names[:3]]
            rows.append([*cells, *reference, *[no_hybrid] * 3])
    return Table("block_swap", header, rows)


def token_kinds(study: Study) -> Table:
    """What each rank class consists of, under teacher forcing."""
    found = study.explained.tokens
    kinds = list(dict.fromkeys(kind for each in found for row in each.rows for kind in row.kinds))
    header = [("arm", ""), ("rank in original", ""), ("tokens", ""), ("share of choices", "")]
    header += [(kind.replace("_", " "), "share") for kind in kinds]
    header += [("seen before", "share"), ("avoids a repeat", "share")]
    rows = []
    for each in found:
        for row in each.rows:
            avoids = estimate(row.avoids_repeat)
            if row.rank_class == "1":
                avoids = Cell(MISSING, reason="the original makes the same choice")
            rows.append(
                [
                    _label(study, each.arm),
                    Cell(row.rank_class),
                    Cell(number(row.tokens, 0)),
                    estimate(row.share),
                    *(estimate(row.kinds.get(kind)) for kind in kinds),
                    estimate(row.seen_before),
                    avoids,
                ]
            )
    return Table("token_kinds", header, rows)

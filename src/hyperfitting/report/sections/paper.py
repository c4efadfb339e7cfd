"""Our measurements in the layout of the paper's tables, with the paper's values beside them.

A value of the paper is shown only where the model is the paper's and the table is the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hyperfitting.config import ReportConfig
from hyperfitting.records import ORIGINAL, PAPER_NAMES, Arm, PairedTest, Prefix
from hyperfitting.records.controls.static_bias import StaticBias
from hyperfitting.records.study import TunedEntry
from hyperfitting.report.load import Study
from hyperfitting.report.paper_values import (
    ENTROPY_TABLES,
    METHOD_TABLES,
    STATIC_TABLES,
    PaperRow,
    is_plain,
    model_in_paper,
    paper_rows,
    printed,
)
from hyperfitting.report.sections.certainty import losses_in_words
from hyperfitting.report.sections.paper_more import (
    decoder_table,
    domain_table,
    judge_table,
    lacking,
    time_table,
)
from hyperfitting.report.sections.paper_numbers import (
    curves_table,
    numbers_table,
    relative_ttr,
    saved_parameters,
)
from hyperfitting.report.sections.training import final_loss
from hyperfitting.report.tables import (
    MISSING,
    Cell,
    Content,
    Table,
    cell,
    estimate,
    metric_label,
    number,
    p_text,
    scientific,
)

TITLE = "The paper's tables"
ENTROPY_ROWS: list[tuple[str, Prefix | None]] = [
    ("ttr", None),
    ("bigram_repetition", None),
    ("trigram_repetition", None),
    ("top1_agreement_tf", None),
    ("spearman", "TF"),
    ("prediction_entropy_nats", None),
]
# The paper measures its shift on the contexts that it is added to; ours on others.
INJECTED = {"promoted": "injected", "in_sample": "injected, in sample"}
METHOD_COLUMNS = ("ttr", "bigram_repetition", "top1_agreement_tf", "prediction_entropy_nats")
FOOTNOTES = (
    "Temperature cannot change greedy text. The paper prints slightly different values for the "
    "original at T = 1 and at T*, also where the top-1 agreement of the two is 1.000; ties in low "
    "precision, rounding or sampling can do that. Ours are equal, and that was checked. Text that "
    "temperature does change is compared above, where the original is sampled.",
    "The paper does not say what its half-widths (±) mean. Those of one quantity differ between "
    "its tables: top-1 agreement .570 has ± .019 in Table 1 and ± .022 in Table 3. Ours are "
    "bootstrap intervals over contexts.",
    "The paper's baselines differ between tables: TTR of the original TinyLlama is .400 in Table 1 "
    "and .449 in Table 2, that of the hyperfitted one .684 and .679. So its tables come from "
    "different evaluation sets, and ours is another one: values are set side by side, not tested.",
    "The paper calls Table 2 monotonic; its TTR column reads .409, .384, .408, .356, .215 with "
    "strength. The three middle strengths are not known, so their rows have no place here.",
    "The paper does not say on which prefix its top-1 agreement was taken; ours is on human text. "
    "Its T* and the strengths of Table 2 come from reviews of the paper.",
)  # fmt: skip


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content:
    """What the template shows; without tables it says which of the paper's there are."""
    return {
        "tables": [(title, table) for title, table in paper_tables(study) if table],
        "which": which_model(study),
        "lacking": lacking(study, tables(study)),
        "footnotes": FOOTNOTES,
        "names": {ours: theirs for ours, theirs in PAPER_NAMES.items() if ours != theirs},
        "losses": losses_in_words(study),
    }


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [table for _, table in paper_tables(study)]


def paper_tables(study: Study) -> list[tuple[str, Table]]:
    """Our measurements in the layout of the paper's tables, with titles; empty without data."""
    return [
        ("Equal entropy (layout of the paper's Table 1)", entropy_table(study)),
        ("Static injection (layout of the paper's Table 2)", static_table(study)),
        ("Ways to train (layout of the paper's Table 3)", method_table(study)),
        ("Judged pair by pair (layout of the paper's Table 5)", judge_table(study)),
        ("On several texts (layout of the paper's Table 6)", domain_table(study)),
        ("Beside other decoders (layout of the paper's Table 7)", decoder_table(study)),
        ("Training time (layout of the paper's Table 8)", time_table(study)),
        ("Numbers of the paper's text (our Table S1)", numbers_table(study)),
        ("Loss curves side by side (the paper's Figures 6 to 14)", curves_table(study)),
    ]


def _matched(study: Study, tuned: Arm) -> Arm | None:
    arm = ORIGINAL.matched(tuned)
    return arm if arm in study.num_seeds else None


def entropy_table(study: Study) -> Table:
    """Original, original at equal entropy, and the first tuned arm (Tables 1, 9, 11, 13)."""
    tuned = study.first
    matched = None if tuned is None else _matched(study, tuned)
    if tuned is None or matched is None:
        return Table("paper_entropy_matched", [], [])
    rows = paper_rows(study, ENTROPY_TABLES)
    arms = [ORIGINAL, matched, tuned]
    header = [("metric", "")]
    header += [(_name(study, arm), "") for arm in arms]
    header += [("p (Holm)", f"{study.label(tuned)} against original")]
    body = []
    for metric, prefix in ENTROPY_ROWS:
        cells = [
            replace(cell(study.cell(arm, metric, prefix)), paper=printed(rows, arm, metric).text)
            for arm in arms
        ]
        name = metric_label(metric) + (f" ({prefix})" if prefix else "")
        body.append([Cell(name), *cells, _entropy_p(study, tuned, rows, metric)])
    body.append(_temperatures(study, matched, rows))
    return Table("paper_entropy_matched", header, body)


def _name(study: Study, arm: Arm) -> str:
    """The paper's name of an arm, unless our label says more."""
    is_theirs = is_plain(arm) and study.num_seeds.get(arm, 1) == 1
    return PAPER_NAMES.get(arm.name, study.label(arm)) if is_theirs else study.label(arm)


def _temperatures(study: Study, matched: Arm, rows: list[PaperRow]) -> list[Cell]:
    is_theirs = matched.matched_to == "hyperfitted"
    theirs = (row.tau_star.value for row in rows if row.arm == matched.name and is_theirs)
    known = next(theirs, None)
    paper = "" if known is None else f"about {number(known, 2)}"
    found = replace(cell(study.cell(matched, "tau_star")), paper=paper)
    return [Cell("Temperature"), Cell("1"), found, Cell("1"), Cell(MISSING, reason="no test")]


def _entropy_p(study: Study, tuned: Arm, rows: list[PaperRow], metric: str) -> Cell:
    """The p-value of one row; what holds by construction or by definition has none."""
    paper = printed(rows, tuned, metric).p_text
    if metric == "prediction_entropy_nats":
        largest = [
            each.residual_nats
            for found in study.matching
            if found.arm.variant == tuned.variant
            for each in found.temperatures
            if each.kind == "per context" and each.residual_nats is not None
        ]
        within = scientific(max(largest, default=None))
        return Cell(MISSING, reason=f"matched to the tuned arm within {within} nats", paper=paper)
    if metric in ("top1_agreement_tf", "spearman"):
        return Cell(MISSING, reason="the original's is 1 by definition", paper=paper)
    test = _test(study, tuned, metric)
    reason = "not tested" if test is None else test.reason or ""
    p = None if test is None else test.p_holm
    return Cell(p_text(p), reason=reason, paper=paper)


def _test(study: Study, tuned: Arm, metric: str) -> PairedTest | None:
    """The test of a tuned arm against the original."""
    return next(
        (
            test
            for test in study.tests
            if (test.b, test.metric) == ("original", metric) and test.arms[0] == tuned
        ),
        None,
    )


def method_table(study: Study) -> Table:
    """Every way to train (Tables 3, 10, 12, 14, 15, 16)."""
    rows = paper_rows(study, METHOD_TABLES)
    header = [("model", ""), ("blocks tuned", "from 1"), ("trained parameters", ""),
              ("fewer than on all blocks", "%")]  # fmt: skip
    header += [(metric_label(metric), "") for metric in METHOD_COLUMNS]
    header += [("TTR above the original's", "%"), ("Final loss", "nats per token")]
    body = []
    for arm in [ORIGINAL, *study.tuned]:
        cells = [
            replace(cell(study.cell(arm, metric)), paper=printed(rows, arm, metric).text)
            for metric in METHOD_COLUMNS
        ]
        runs = [run for run in study.runs if arm in (run.arm, run.arm.variant)]
        loss = final_loss(runs)
        gain = relative_ttr(study, arm)
        if arm.name == "original":
            loss = gain = Cell(MISSING, reason="not trained")
        paper = printed(rows, arm, "final_loss").text
        body.append(
            [Cell(study.label(arm)), *_trained(study, arm, runs, rows), *cells, gain,
             replace(loss, paper=paper)]
        )  # fmt: skip
    return Table("paper_methods", header, body)


def _trained(
    study: Study, arm: Arm, runs: Sequence[TunedEntry], rows: list[PaperRow]
) -> list[Cell]:
    """Which blocks, how many parameters, and how many fewer than on all blocks."""
    theirs = next((r.layers_tuned for r in rows if r.arm == arm.name and is_plain(arm)), "")
    if not runs or runs[0].trainable_params is None:
        reason = "not trained" if arm.name == "original" else "not known of this checkpoint"
        return [Cell(MISSING, reason=reason)] * 3
    fewer = saved_parameters(study, runs[0]) or Cell(MISSING, reason="these are all")
    count = Cell(number(runs[0].trainable_params, 0))
    return [Cell(_blocks(runs[0].blocks_0_based), paper=theirs), count, fewer]


def _blocks(blocks_0_based: Sequence[int] | None) -> str:
    """Blocks by their numbers from 1; without numbers everything trains, embeddings too."""
    if blocks_0_based is None:
        return "everything"
    first, last = min(blocks_0_based) + 1, max(blocks_0_based) + 1
    return f"{first} to {last}" if last > first else str(first)


def static_table(study: Study) -> Table:
    """The original with the promoted tokens' shift at every strength (Table 2)."""
    rows = paper_rows(study, STATIC_TABLES)
    found = study.explained.of_arm(StaticBias, study.first)
    if found is None or not found.rows:
        return Table("paper_static_injection", [], [])
    metrics = ("ttr", "bigram_repetition")
    header = [("configuration", ""), *((metric_label(metric), "") for metric in metrics)]
    header += [("TTR - original", ""), ("p (Holm)", "")]
    body = []
    for row in found.rows:
        if row.kind not in INJECTED:
            continue
        arm = Arm("static_injection") if row.strength else ORIGINAL
        known = [r for r in rows if r.arm == arm.name and r.alpha == row.strength]
        known = known if found.arm.name == "hyperfitted" or not row.strength else []
        cells = [
            replace(estimate(getattr(row, name)), paper=printed(known, arm, name).text)
            for name in metrics
        ]
        if row.strength:
            change = estimate(row.ttr_minus_original, signed=True)
            last = [change, Cell(p_text(row.p))]
        else:
            last = [Cell(MISSING, reason="the reference")] * 2
        name = f"{INJECTED[row.kind]}, strength {row.strength:g}" if row.strength else "original"
        body.append([Cell(name), *cells, *last])
    cells = [
        replace(
            estimate(getattr(found.tuned, name, None)), paper=printed(rows, found.arm, name).text
        )
        for name in metrics
    ]
    no_test = [Cell(MISSING, reason="tested in the table of all paired tests")] * 2
    body.append([Cell(study.label(found.arm)), *cells, *no_test])
    return Table("paper_static_injection", header, body)


def which_model(study: Study) -> str:
    """One sentence: which of the paper's tables have this model, if any."""
    name = study.info.model.name
    theirs = model_in_paper(name)
    if theirs is None:
        return f"The paper has no table for {name}: our values stand alone."
    numbers = [
        table[theirs] for table in (ENTROPY_TABLES, STATIC_TABLES, METHOD_TABLES) if theirs in table
    ]
    listed = ", ".join(str(each) for each in numbers)
    noun = "Table" if len(numbers) == 1 else "Tables"
    return (
        f"{name} is the paper's {theirs}: values of its {noun} {listed} stand below ours. The "
        "domain of those tables and most settings of training are not stated in the paper."
    )

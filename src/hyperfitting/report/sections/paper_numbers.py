"""The paper's numbers that stand in no table of it, and its loss curves side by side. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hyperfitting.config.methods import METHODS
from hyperfitting.measure.curves import together
from hyperfitting.records import ORIGINAL, Arm, Prefix
from hyperfitting.records.controls.geometry import BLOCK_OUTPUT, Geometry, Layer
from hyperfitting.records.controls.static_bias import StaticBias
from hyperfitting.records.record import OfArm
from hyperfitting.records.study import TunedEntry
from hyperfitting.report.load import Study
from hyperfitting.report.paper_values import model_in_paper, scalar
from hyperfitting.report.tables import (
    MISSING,
    Cell,
    Table,
    estimate,
    interval,
    metric_label,
    number,
)

LATE, FULL_LORA, EVERYTHING = "late_stage_lora", "full_lora", "full_sft"
SHARES = ("rank_1", "rank_2_10", "rank_gt_10")
NO_PAIR = "needs a training by late_stage_lora and one by full_lora"
FIRST_MODEL = "TinyLlama-1.1B"  # the model of sections 3 and 4


def numbers_table(study: Study) -> Table:
    """What the paper says in its text only, beside the first tuned arm and Late-Stage LoRA."""
    if study.first is None:
        return Table("paper_numbers", [], [])
    header = [("section", ""), ("what", ""), ("here", study.label(study.first))]
    rows = [
        *_of_texts(study, study.first),
        *_of_explanation(study, study.first),
        *_of_methods(study),
    ]
    return Table("paper_numbers", header, rows)


def _row(section: str, what: str, found: Cell, paper: str = "") -> list[Cell]:
    return [Cell(section), Cell(what), replace(found, paper=paper)]


def _of_texts(study: Study, arm: Arm) -> list[list[Cell]]:
    is_first = model_in_paper(study.info.model.name) == FIRST_MODEL
    gain = scalar("ttr_relative_gain_percent") if is_first else None
    rows = [_row("3.2", "TTR above the original's, %", relative_ttr(study, arm), _text(gain, 0))]
    own = scalar("rank_provenance_percent") if is_first else {}
    rows += [
        _row("3.4", f"{metric_label(name)} of written tokens, %", _percent(study, arm, name, "OP"),
             _text(own.get(name), 1))
        for name in SHARES
    ]  # fmt: skip
    theirs = model_in_paper(study.info.model.name)
    forced = scalar("rank_share_teacher_forced_percent") if theirs else {}
    rows += [
        _row("6", f"{metric_label(name)} of choices on human text, %",
             _percent(study, arm, name, "TF"), _text(forced.get(name), 0))
        for name in SHARES
    ]  # fmt: skip
    return rows


def _percent(study: Study, arm: Arm, metric: str, prefix: Prefix) -> Cell:
    row = study.cell(arm, metric, prefix)
    if row is None or row.mean is None or row.prefix != prefix:
        return Cell(MISSING, reason="not measured")
    low, high = (None if each is None else 100 * each for each in (row.low, row.high))
    return Cell(number(100 * row.mean, 1), interval(low, high, 1), row.n)


def relative_ttr(study: Study, arm: Arm) -> Cell:
    """By how many percent the TTR of an arm is above the original's.

    The interval is that of the paired difference; the original's own mean is taken as it is.
    """
    row, base = study.cell(arm, "ttr"), study.cell(ORIGINAL, "ttr")
    if row is None or base is None or row.mean is None or not base.mean:
        return Cell(MISSING, reason="not measured, or the original's TTR is 0")
    tests = (t for t in study.tests if t.arms == (arm, ORIGINAL) and t.metric == "ttr")
    test = next(tests, None)
    value = number(100 * (row.mean / base.mean - 1), 0, signed=True)
    if test is None or test.low is None or test.high is None:
        return Cell(value, n=row.n)
    low, high = 100 * test.low / base.mean, 100 * test.high / base.mean
    return Cell(value, interval(low, high, 0, signed=True), test.n)


def _of_explanation(study: Study, arm: Arm) -> list[list[Cell]]:
    theirs = model_in_paper(study.info.model.name)
    is_first = theirs == FIRST_MODEL
    static = study.explained.of_arm(StaticBias, arm)
    if static is None:
        found = Cell(MISSING, reason="needs hyperfit explain STUDY --only static_bias")
    else:
        found = _known(static.strength_ttr_spearman, "needs three strengths that change texts")
    paper = scalar("static_injection_strength_quality_spearman") if is_first else None
    of = _training(study, arm, static)
    rows = [_row("3.5", f"Rank correlation of strength and TTR{of}", found, _text(paper, 2))]
    geometry = study.explained.of_arm(Geometry, arm)
    of = _training(study, arm, geometry)
    before, last = _last_layers(geometry)
    stable = geometry.regions.stable if geometry and geometry.regions else []
    paper = scalar("stable_layers_tinyllama") if is_first else None
    no_geometry = Cell(MISSING, reason="needs hyperfit explain STUDY --only geometry")
    words = f"0 to {stable[-1]}" if stable else "none"
    rows.append(
        _row("4.1", f"Layers with cosine above .86 from the embedding on{of}",
             Cell(words) if geometry else no_geometry, _text(paper, 0))
    )  # fmt: skip
    for name, layer in (("l2_layer_21", before), ("l2_layer_22", last)):
        where = f"layer {layer.layer}" if layer else "the last layers"
        found = estimate(layer.estimates["l2"], 1) if layer else no_geometry
        rows.append(_row("4.2", f"L2 distance at {where}{of}", found,
                         _text(scalar(name) if is_first else None, 1)))  # fmt: skip
    news = study.domain.startswith("ag_news")
    changes = scalar("delta_dim_final_layer_ag_news" if news else "delta_dim_final_layer")
    found = estimate(last.estimates["delta_dim"], 1, signed=True) if last else no_geometry
    rows.append(_row("6" if news else "4.2", f"Change in dimensions at the last layer{of}", found,
                     _text(changes.get(theirs), 1)))  # fmt: skip
    return rows


def _training(study: Study, arm: Arm, record: OfArm | None) -> str:
    """Which training a control ran on, in words, where the arm is a mean over several."""
    if record is None or study.num_seeds.get(arm, 1) == 1 or record.arm.seed is None:
        return ""
    return f" (of seed {record.arm.seed})"


def _known(correlation: float | None, reason: str) -> Cell:
    if correlation is None:
        return Cell(MISSING, reason=reason)
    return Cell(number(correlation, 2, signed=True))


def _last_layers(found: Geometry | None) -> tuple[Layer | None, Layer | None]:
    layers = found.tap(BLOCK_OUTPUT)[-2:] if found else []
    return (layers[0], layers[1]) if len(layers) == 2 else (None, None)


def _of_methods(study: Study) -> list[list[Cell]]:
    theirs = model_in_paper(study.info.model.name)
    late, full = (
        next((arm for arm in study.tuned if arm.name == name and not arm.settings), None)
        for name in (LATE, FULL_LORA)
    )
    saved = next(
        (saved_parameters(study, run) for run in study.runs if late in (run.arm, run.arm.variant)),
        None,
    )
    fewer = scalar("late_stage_trainable_reduction_percent")
    rows = [
        _row("5", "Parameters that Late-Stage LoRA saves, % of full LoRA's",
             saved or Cell(MISSING, reason=NO_PAIR), _text(fewer.get(theirs), 1))
    ]  # fmt: skip
    kept = Cell(MISSING, reason=NO_PAIR)
    if late and full:
        a, b = study.cell(late, "ttr"), study.cell(full, "ttr")
        if a and b and a.mean is not None and b.mean:
            kept = Cell(number(100 * a.mean / b.mean, 1), n=a.n)
    is_llama = theirs == "LLaMA-3.1-8B-Instruct"
    paper = scalar("late_stage_diversity_retained_percent") if is_llama else None
    rows.append(_row("E.2", "TTR of Late-Stage LoRA, % of full LoRA's", kept, _text(paper, 1)))
    return rows


def _text(value: float | Sequence[float] | None, decimals: int) -> str:
    """A value or a range as the paper prints it; empty where it prints none."""
    if value is None:
        return ""
    if isinstance(value, Sequence):
        return " to ".join(number(each, decimals) for each in value)
    return number(value, decimals)


def saved_parameters(study: Study, run: TunedEntry) -> Cell | None:
    """How many percent fewer parameters a run trains than its kind on all blocks; None of itself.

    Adapters are compared with full LoRA, whole blocks with full fine-tuning (definitions, 7.6).
    """
    if run.method is None or run.method not in METHODS or run.trainable_params is None:
        return Cell(MISSING, reason="how it was trained is not known")
    whole = FULL_LORA if METHODS[run.method].trains == "adapters" else EVERYTHING
    if run.method == whole:
        return None
    known: Mapping[str | None, int] = {
        each.method: each.trainable_params
        for each in study.runs
        if each.trainable_params is not None and not each.arm.settings
    }
    if not known.get(whole):
        return Cell(MISSING, reason=f"needs a training by {whole}")
    return Cell(number(100 * (1 - run.trainable_params / known[whole]), 1))


def curves_table(study: Study) -> Table:
    """Loss curves of every method beside full LoRA's, or full fine-tuning's, of the same seed."""
    curves = {
        run.arm: run.train_loss
        for run in study.runs
        if run.train_loss and run.arm.at_loss is None and not run.arm.is_null
    }
    names = [arm.name for arm in curves]
    base = next((name for name in (FULL_LORA, "hyperfitted") if name in names), None)
    rows = []
    for arm, losses in curves.items():
        beside = next((a for a in curves if (a.name, a.seed) == (base, arm.seed)), None)
        if beside is None or arm.name == base or arm.settings or beside.settings:
            continue
        found = together(losses, curves[beside])
        if found is None:
            continue
        same = _known(found.correlation, "too few epochs, or a curve that keeps its pace")
        rows.append(
            [Cell(study.label(arm)), Cell(study.label(beside)), same,
             Cell(number(found.largest_gap, 2)), Cell(str(found.gap_epoch)),
             Cell(str(found.epochs))]
        )  # fmt: skip
    header = [
        ("method", ""), ("beside", ""), ("correlation of the changes", "of ln loss"),
        ("largest gap", "of ln loss"), ("at epoch", ""), ("epochs", "compared"),
    ]  # fmt: skip
    return Table("loss_curves", header, rows)

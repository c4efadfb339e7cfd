"""Where does it happen? Hidden states layer by layer, and models put together from both."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records.controls.block_swap import ORIGINAL_UPPER, TUNED_UPPER, BlockSwap
from hyperfitting.records.controls.geometry import (
    BLOCK_OUTPUT,
    FINAL_NORM,
    RMS_NORMALISED,
    Geometry,
    Layer,
)
from hyperfitting.records.controls.single_blocks import PUT_IN, TAKEN_OUT, SingleBlocks
from hyperfitting.records.controls.variety import Variety
from hyperfitting.report.load import Study
from hyperfitting.report.tables import FIXED_LOOPED, MISSING, Cell, Content, Table, estimate, number

TITLE = "Where does it happen?"
TAPS = {
    BLOCK_OUTPUT: "block output",
    RMS_NORMALISED: "RMS-normalised",
    FINAL_NORM: "after the final norm",
}
HYBRIDS = {
    TUNED_UPPER: "tuned last blocks on original",
    ORIGINAL_UPPER: "original last blocks on tuned",
}
SINGLE = {PUT_IN: "original with the tuned block", TAKEN_OUT: "tuned with the original's block"}
# Name, heading, decimals and sign of what has an interval at every layer.
COLUMNS = [
    ("cosine", "Cosine", 3, False),
    ("l2", "L2 distance", 2, False),
    ("l2_relative", "L2, relative", 3, False),
    ("pr_original", "dimensions, original", 1, False),
    ("pr_tuned", "dimensions, tuned", 1, False),
    ("delta_dim", "change in dimensions", 1, True),
]


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    swaps, geometries = study.explained.of(BlockSwap), study.explained.of(Geometry)
    singles = study.explained.of(SingleBlocks)
    if not geometries and not swaps:
        return None
    words: dict[str, list[str]] = {}
    for found in geometries:
        sentences = [*found.regions_in_words.split("\n"), found.terminal_expansion_in_words]
        words[study.label(found.arm)] = sentences
    for swap in swaps:
        words.setdefault(study.label(swap.arm), []).append(swap.in_words)
    for single in singles:
        words.setdefault(study.label(single.arm), []).append(single.in_words)
    for found in geometries:
        if found.beside_block_swap_in_words:
            words[study.label(found.arm)].append(found.beside_block_swap_in_words)
    return {
        "words": words,
        "geometry": geometry(study, last_only=True),
        "swap": block_swap(study),
        "singles": single_blocks(study),
    }


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [geometry(study), block_swap(study), single_blocks(study)]


def geometry(study: Study, *, last_only: bool = False) -> Table:
    """Every layer at every tap, or the last one only."""
    header = [("arm", ""), ("layer", ""), ("tap", ""), *((name, "") for _, name, *_ in COLUMNS)]
    header += [("change without the 4 largest dimensions", ""), ("positions", "")]
    rows = []
    for found in study.explained.of(Geometry):
        last = max(layer.layer for layer in found.layers)
        for layer in found.layers:
            if layer.layer == last or not last_only:
                rows.append([Cell(study.label(found.arm)), *_layer(layer)])
    return Table("last_layer" if last_only else "geometry", header, rows)


def _layer(layer: Layer) -> list[Cell]:
    few = "few" if layer.fewer_than_10_per_dimension else ""
    return [
        Cell(str(layer.layer)),
        Cell(TAPS.get(layer.space, layer.space)),
        *(
            estimate(layer.estimates[name], decimals, signed=signed)
            for name, _, decimals, signed in COLUMNS
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
    rows = []
    for found in study.explained.of(BlockSwap):
        arm = Cell(study.label(found.arm))
        for hybrid in found.rows:
            kind = HYBRIDS.get(hybrid.hybrid, hybrid.hybrid)
            agreements = (hybrid.top1_agreement_original, hybrid.top1_agreement_tuned)
            measured = map(estimate, (*agreements, hybrid.gained))
            rows.append([arm, Cell(kind), Cell(str(hybrid.blocks)), *_variety(hybrid), *measured])
        for name, itself in (
            ("original", found.references.original),
            ("tuned", found.references.tuned),
        ):
            none = Cell(MISSING, reason="not a hybrid")
            rows.append([arm, Cell(f"the {name} model"), none, *_variety(itself), none, none, none])
    return Table("block_swap", header, rows)


def single_blocks(study: Study) -> Table:
    """Every block of every tuned model put into the original, and the reverse."""
    header = [
        (name, "")
        for name in ("arm", "block", "model", "TTR", "Bigram repetition", FIXED_LOOPED,
                     "Top-1 agreement with tuned (TF)")
    ]  # fmt: skip
    rows = [
        [
            Cell(study.label(found.arm)),
            Cell("final norm and head" if row.block is None else str(row.block)),
            Cell(SINGLE.get(row.change, row.change)),
            *_variety(row),
            estimate(row.top1_agreement_tuned),
        ]
        for found in study.explained.of(SingleBlocks)
        for row in found.rows
    ]
    return Table("single_blocks", header, rows)


def _variety(of: Variety) -> list[Cell]:
    return [estimate(of.ttr), estimate(of.bigram_repetition), estimate(of.looped)]

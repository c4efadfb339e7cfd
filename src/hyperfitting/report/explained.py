"""Read `explain/*.json` into records.

The files may come from somebody else: every field is read here, once, so that what does not fit
is an error of the input and not of the page.
"""

from collections.abc import Callable, Mapping
from typing import Any

from hyperfitting.errors import InputError
from hyperfitting.records import Arm
from hyperfitting.report.fields import FieldError, Fields
from hyperfitting.report.findings import (
    RANK_CLASSES,
    BlockSwap,
    Estimate,
    Explained,
    Geometry,
    Hybrid,
    Injection,
    Layer,
    Promoted,
    Provenance,
    RankClass,
    Ranks,
    StaticBias,
    TokenKinds,
)
from hyperfitting.runs import StudyFolder
from hyperfitting.storage import read_json
from hyperfitting.untrusted import printable

VARIETY = ("ttr", "bigram_repetition", "looped")
SWAP_VALUES = (*VARIETY, "top1_agreement_original", "top1_agreement_tuned")
NO_SPREAD = "the hidden states do not vary"
OLDER = "not measured by the version that wrote this file"


def arm_in(entry: Fields) -> Arm:
    """The arm that a mapping of a file is of."""
    return Arm.named(entry.text("arm"), entry.maybe_whole("seed"), entry.at("parameters").content)


def _words(entry: Fields, name: str) -> str:
    return printable(entry.maybe_text(name))


def _dimensions(row: Fields, name: str, n: int) -> Estimate:
    """A participation ratio, or a change of it; null where there is no spread."""
    if row.raw(name) is None:
        return Estimate(None, None, None, 0, NO_SPREAD)
    return row.at(name).estimate("value", n)


def _layer(row: Fields) -> Layer:
    values = {name: row.at(name).estimate() for name in ("cosine", "l2", "l2_relative")}
    n = values["cosine"].n
    for name in ("pr_original", "pr_tuned", "delta_dim"):
        values[name] = _dimensions(row, name, n)
    return Layer(
        row.whole("layer"),
        row.text("space"),
        values,
        row.maybe_number("delta_dim_without_4_largest"),
        row.maybe_number("delta_dim_with_first_token"),
        row.whole("positions"),
        row.flag("fewer_than_10_per_dimension"),
    )


def _geometry(entry: Fields) -> Geometry:
    layers = [_layer(row) for row in entry.each("layers")]
    if not layers:
        raise FieldError(f"{entry.path('layers')} is empty")
    return Geometry(
        arm_in(entry),
        layers,
        printable(entry.text("regions_in_words")),
        printable(entry.text("terminal_expansion_in_words")),
        _words(entry, "beside_block_swap_in_words"),
    )


def _ranks(content: Fields) -> Ranks:
    histogram, by_position = content.at("histogram"), content.at("by_position")
    edges, counts = ([int(v) for v in histogram.numbers(name)] for name in ("edges", "counts"))
    if not counts or len(edges) != len(counts) + 1:
        raise FieldError(f"{histogram.where} has {len(edges)} edges for {len(counts)} counts")
    return Ranks(
        content.at("shares").estimates(*RANK_CLASSES),
        edges,
        counts,
        {name: by_position.numbers(name) for name in RANK_CLASSES},
    )


def _provenance(entry: Fields) -> Provenance:
    return Provenance(arm_in(entry), _ranks(entry.at("written")), _ranks(entry.at("human")))


def _injection(row: Fields) -> Injection:
    values = row.estimates(*VARIETY, "ttr_minus_original")
    agreement = "top1_agreement_tuned"
    values[agreement] = (
        row.at(agreement).estimate() if agreement in row else Estimate(None, None, None, 0, OLDER)
    )
    strength = row.number("strength")
    p = row.maybe_number("p_holm") if "p_holm" in row and strength else None
    share = row.flat("share_of_gain", values["ttr"].n)
    return Injection(row.text("kind"), strength, row.whole("draws"), values, share, p)


def _promoted(token: Fields) -> Promoted:
    gain, shift = token.number("mean_rank_improvement"), token.number("mean_logit_shift")
    text = token.text("text").replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")
    return Promoted(printable(text), gain, shift)


def _static_bias(entry: Fields) -> StaticBias:
    def count(name: str) -> int:
        return entry.whole(name) if name in entry else 0

    verdict, reason = (_words(entry, name) for name in ("verdict_in_words", "reason"))
    if reason:
        verdict = f"Nothing was injected: {reason}."
    return StaticBias(  # without any change there is nothing besides share and words
        arm_in(entry),
        entry.flat("static_share"),
        printable(entry.text("in_words")),
        [_injection(row) for row in entry.each("rows")],
        verdict,
        count("promoted_tokens"),
        count("positions"),
        [_promoted(t) for t in entry.each("most_promoted")] if "most_promoted" in entry else [],
        entry.at("tuned").estimates(*VARIETY) if "tuned" in entry else {},
        entry.number("strength_0_equals_original") if "tuned" in entry else None,
    )


def _hybrid(row: Fields) -> Hybrid:
    values = row.estimates(*SWAP_VALUES)
    share = Estimate(None, None, None, 0, OLDER)
    if "share_of_gain" in row:
        share = row.flat("share_of_gain", values["ttr"].n)
    return Hybrid(row.text("hybrid"), row.whole("blocks"), values, share)


def _block_swap(entry: Fields) -> BlockSwap:
    references = {
        name: entry.at("references").at(name).estimates(*VARIETY) for name in ("original", "tuned")
    }
    return BlockSwap(
        arm_in(entry),
        entry.whole("num_blocks"),
        [_hybrid(row) for row in entry.each("rows")],
        references,
        printable(entry.text("in_words")),
    )


def _token_kinds(entry: Fields) -> TokenKinds:
    rows = [
        RankClass(
            row.text("rank_class"),
            row.whole("tokens"),
            row.at("share").estimate(),
            row.at("kinds").estimates(),
            row.at("seen_before").estimate(),
            row.at("avoids_repeat").estimate(),
        )
        for row in entry.each("rows")
    ]
    return TokenKinds(arm_in(entry), entry.text("function_words_version"), rows)


READERS: Mapping[str, Callable[[Fields], Any]] = {
    "geometry": _geometry,
    "provenance": _provenance,
    "static_bias": _static_bias,
    "block_swap": _block_swap,
    "tokens": _token_kinds,
}


def read_explained(folder: StudyFolder, contexts_digest: str | None = None) -> Explained:
    """What `hyperfit explain` left in a folder; empty where it did not run.

    Raises:
        InputError: a file is damaged, or is of other texts than `contexts_digest` names.
    """
    found: dict[str, list[Any]] = {}
    for part, read in READERS.items():
        path = folder.explain_file(part)
        if not path.exists():
            continue
        hint = f"run `hyperfit explain {folder.path}` again"
        try:
            content = Fields.of(read_json(path))
            digest = content.text("contexts_digest")
            found[part] = [read(entry) for entry in content.each("arms")]
        except InputError as error:
            raise InputError(error.given, hint=hint) from error
        except FieldError as error:
            raise InputError(
                f"{path} does not fit this version of hyperfitting: {error}", hint=hint
            ) from error
        if contexts_digest is not None and digest != contexts_digest:
            raise InputError(
                f"{path} is of other held-out texts than the study",
                needed=f"controls on the contexts {contexts_digest[:12]}…",
                hint=hint,
            )
    return Explained(**found)

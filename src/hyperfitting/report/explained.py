"""Read `explain/*.json` into records.

The files may come from somebody else: every field is read here, once, so that what does not fit
is an error of the input and not of the page.
"""

from collections.abc import Callable, Mapping
from typing import Any

from hyperfitting.errors import InputError
from hyperfitting.progress import printable
from hyperfitting.records import Arm
from hyperfitting.report.arms import arm_of
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

VARIETY = ("ttr", "bigram_repetition", "looped")
SWAP_VALUES = (*VARIETY, "top1_agreement_original", "top1_agreement_tuned")


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _estimate(content: Mapping[str, Any] | None, n: int = 0, value: str = "mean") -> Estimate:
    if content is None:
        return Estimate(None, None, None, 0, "the hidden states do not vary")
    mean, low, high = (_number(content[key]) for key in (value, "low", "high"))
    reason = str(content.get("reason") or "")
    return Estimate(mean, low, high, int(content.get("n", n)), reason)


def _estimates(content: Mapping[str, Any], *names: str) -> dict[str, Estimate]:
    return {name: _estimate(content[name]) for name in names or content}


def _arm(entry: Mapping[str, Any]) -> Arm:
    return arm_of(str(entry["arm"]), entry["seed"], entry["parameters"])


def _words(text: Any) -> str:
    return printable(str(text or ""))


def _layer(row: Mapping[str, Any]) -> Layer:
    values = _estimates(row, "cosine", "l2", "l2_relative")
    n = values["cosine"].n
    values |= {k: _estimate(row[k], n, "value") for k in ("pr_original", "pr_tuned", "delta_dim")}
    return Layer(
        int(row["layer"]),
        str(row["space"]),
        values,
        _number(row["delta_dim_without_4_largest"]),
        _number(row["delta_dim_with_first_token"]),
        int(row["positions"]),
        bool(row["fewer_than_10_per_dimension"]),
    )


def _geometry(entry: Mapping[str, Any]) -> Geometry:
    if not entry["layers"]:
        raise ValueError("no layers")
    return Geometry(
        _arm(entry),
        [_layer(row) for row in entry["layers"]],
        _words(entry["regions_in_words"]),
        _words(entry["terminal_expansion_in_words"]),
        _words(entry.get("beside_block_swap_in_words")),
    )


def _ranks(content: Mapping[str, Any]) -> Ranks:
    histogram, by_position = content["histogram"], content["by_position"]
    edges, counts = ([int(v) for v in histogram[name]] for name in ("edges", "counts"))
    if not counts or len(edges) != len(counts) + 1:
        raise ValueError(f"{len(edges)} edges for {len(counts)} counts")
    return Ranks(
        _estimates(content["shares"], *RANK_CLASSES),
        edges,
        counts,
        {name: [float(v) for v in by_position[name]] for name in RANK_CLASSES},
    )


def _provenance(entry: Mapping[str, Any]) -> Provenance:
    return Provenance(_arm(entry), _ranks(entry["written"]), _ranks(entry["human"]))


def _injection(row: Mapping[str, Any]) -> Injection:
    values = _estimates(row, *VARIETY, "ttr_minus_original")
    return Injection(
        str(row["kind"]),
        float(row["strength"]),
        int(row["draws"]),
        values,
        float(row["share_of_gain"]),
        _number(row.get("p_holm")),
    )


def _promoted(token: Mapping[str, Any]) -> Promoted:
    gain, shift = float(token["mean_rank_improvement"]), float(token["mean_logit_shift"])
    text = str(token["text"]).replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")
    return Promoted(printable(text), gain, shift)


def _static_bias(entry: Mapping[str, Any]) -> StaticBias:
    return StaticBias(  # without any change there is nothing besides share and words
        _arm(entry),
        _number(entry["static_share"]),
        _words(entry["in_words"]),
        [_injection(row) for row in entry["rows"]],
        _words(entry.get("verdict_in_words")),
        int(entry.get("promoted_tokens", 0)),
        int(entry.get("positions", 0)),
        [_promoted(token) for token in entry.get("most_promoted", [])],
        _estimates(entry["tuned"], *VARIETY) if "tuned" in entry else {},
        _number(entry.get("strength_0_equals_original")),
    )


def _block_swap(entry: Mapping[str, Any]) -> BlockSwap:
    rows = [
        Hybrid(str(row["hybrid"]), int(row["blocks"]), _estimates(row, *SWAP_VALUES))
        for row in entry["rows"]
    ]
    references = {
        name: _estimates(entry["references"][name], *VARIETY) for name in ("original", "tuned")
    }
    words = _words(entry["in_words"])
    return BlockSwap(_arm(entry), int(entry["num_blocks"]), rows, references, words)


def _token_kinds(entry: Mapping[str, Any]) -> TokenKinds:
    rows = [
        RankClass(
            str(row["rank_class"]),
            int(row["tokens"]),
            _estimate(row["share"]),
            _estimates(row["kinds"]),
            _estimate(row["seen_before"]),
            _estimate(row["avoids_repeat"]),
        )
        for row in entry["rows"]
    ]
    return TokenKinds(_arm(entry), str(entry["function_words_version"]), rows)


READERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
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
            content = read_json(path)
            digest = content["contexts_digest"]
            found[part] = [read(entry) for entry in content["arms"]]
        except InputError as error:
            raise InputError(str(error).splitlines()[0], hint=hint) from error
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} does not fit this version of hyperfitting: {error!r}", hint=hint
            ) from error
        if contexts_digest is not None and digest != contexts_digest:
            raise InputError(
                f"{path} is of other held-out texts than the study",
                needed=f"controls on the contexts {contexts_digest[:12]}…",
                hint=hint,
            )
    return Explained(**found)

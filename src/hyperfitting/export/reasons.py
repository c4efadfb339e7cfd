"""Why an export is not verified, and what is no reason against it. Pure; the margins are ours."""

from hyperfitting.export.kinds import Kind
from hyperfitting.measure.text import ROUNDING
from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.exported import TextsCheck, TokensCheck, Verification

# By how much texts may differ before an export counts as another model (ours): loops by more than
# one text of twenty; TTR and ends where the paired difference is told from 0, too.
MARGIN_TTR, MARGIN_LOOPS, MARGIN_ENDED = 0.03, 0.05, 0.1


def reasons_against(found: Verification, kind: Kind) -> list[str]:
    """Why an export is not verified; empty where nothing speaks against it."""
    reasons = []
    tokens = found.tokens
    if tokens.difference:
        reasons.append(f"its tokenizer reads texts as other tokens: {tokens.difference}")
    if tokens.template:
        reasons.append(f"its chat template is another: {tokens.template}")
    lost, before = _lost(tokens), {end.id for end in tokens.ends_before}
    if lost and not (kind.is_gguf and _kept(tokens)):
        reasons.append(f"a text no longer ends with {' or '.join(lost)}")
    if new := [end.token for end in tokens.ends_after if end.id not in before]:
        reasons.append(f"a text now ends with {' or '.join(new)}, too")
    if found.settings:
        reasons.append(f"other programs would not decode it greedily: {', '.join(found.settings)}")
    return [*reasons, *_of_weights(found, kind), *_of_texts(found.texts)]


def _of_weights(found: Verification, kind: Kind) -> list[str]:
    """What speaks against the export's weights, and what it chooses with them."""
    reasons, weights, texts = [], found.weights, found.texts
    if weights.missing:
        reasons.append(f"{len(weights.missing)} tensors are missing: {weights.missing[0]}")
    if weights.largest_difference > kind.bound.distance:
        rounded = "in so few bits" if kind.is_quantised else "cast once"
        reasons.append(
            f"{weights.tensors - weights.equal} of {weights.tensors} tensors are not what was "
            f"trained, {rounded}: by {weights.largest_difference:.1%} of its length "
            f"{weights.largest_in}"
        )
    if kind.is_exact and (others := texts.contexts - texts.equal - texts.near_ties):
        reasons.append(
            f"{others} of {texts.contexts} greedy texts are other texts, and its weights are "
            "float32"
        )
    top1 = found.logits.top1.value
    if top1 is not None and top1 < kind.bound.top1:
        reasons.append(f"it chooses another token at {1 - top1:.1%} of positions")
    return reasons


def _of_texts(found: TextsCheck) -> list[str]:
    """What speaks against the export's greedy texts themselves."""
    reasons = []
    run, export, change = found.run, found.export, found.change
    if _difference(export.looped.value, run.looped.value) > MARGIN_LOOPS + ROUNDING:
        reasons.append(
            f"loops are back: {export.looped.value:.0%} of its texts, {run.looped.value:.0%} of "
            "the run's"
        )
    if _is_beyond(change.ttr, -MARGIN_TTR):
        reasons.append(
            f"its texts are less varied: a TTR of {export.ttr.value:.3f}, {run.ttr.value:.3f} of "
            "the run's"
        )
    ended = change.ended
    if ended is not None and (_is_beyond(ended, MARGIN_ENDED) or _is_beyond(ended, -MARGIN_ENDED)):
        assert run.ended is not None
        assert export.ended is not None
        reasons.append(
            f"{export.ended.value:.0%} of its texts end themselves, {run.ended.value:.0%} of "
            "the run's"
        )
    return reasons


def _is_beyond(change: MeanEstimate, margin: float) -> bool:
    """Whether a paired difference lies beyond a margin, its whole interval on that side of 0."""
    if change.value is None:
        return False
    low, high = (change.value if e is None else e for e in (change.low, change.high))
    return (
        (change.value > margin and low > 0) if margin > 0 else (change.value < margin and high < 0)
    )


def _difference(one: float | None, other: float | None) -> float:
    return 0.0 if one is None or other is None else one - other


def notes_on(found: TokensCheck, kind: Kind) -> list[str]:
    """What to know of an export that is no reason against it."""
    lost = _lost(found)
    if not (kind.is_gguf and lost and _kept(found)):
        return []
    return [
        f"transformers reads one end from a GGUF file: {' and '.join(lost)} is not seen here, and "
        "llama.cpp knows ends by their names"
    ]


def _lost(found: TokensCheck) -> list[str]:
    after = {end.id for end in found.ends_after}
    return [end.token for end in found.ends_before if end.id not in after]


def _kept(found: TokensCheck) -> bool:
    """Whether a token that ended a text still does."""
    return len(_lost(found)) < len(found.ends_before)

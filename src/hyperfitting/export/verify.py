"""Read an export back and compare it with its run; say whether it is that run.

In float32 arithmetic, which shows what was written: a runtime that computes in 16 bits, or with
its own quantised products, adds differences of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from hyperfitting.config import ModelConfig
from hyperfitting.config.export import ExportConfig
from hyperfitting.data.windows import Contexts
from hyperfitting.export.checks import check_logits, check_texts, check_tokens, check_weights
from hyperfitting.generate.both_modes import BothModes, GreedyInBothModes
from hyperfitting.generate.ways import write_ways
from hyperfitting.models.gguf_file import stored_types
from hyperfitting.models.located import locate
from hyperfitting.models.merged import STORED, stored_dtype, weights_of
from hyperfitting.models.pair import make_pair
from hyperfitting.models.tokenizers import PROBE
from hyperfitting.models.tokens import Tokens
from hyperfitting.models.types import CausalLM, Tokenizer
from hyperfitting.progress import Progress
from hyperfitting.records.exported import TextsCheck, Verification

# By how much texts may differ before an export counts as another model (ours): TTR as far as
# trainings of one setting lie apart, loops one text of twenty.
OF_GGUF = {"F16": torch.float16, "BF16": torch.bfloat16}  # vectors stay in F32 beside them
MARGIN_TTR, MARGIN_LOOPS, MARGIN_ENDED = 0.03, 0.05, 0.1
LEAST_TOP1 = (
    0.98  # of 16-bit weights, on the run's own texts; loops decide where they are fewer bits
)
LARGEST_ROUNDING = 1e-6  # of weights that are computed in another order, in their own length


class Side(NamedTuple):
    """A model with its tokens."""

    model: CausalLM
    tokens: Tokens


class Kind(NamedTuple):
    """What an export promises of its weights."""

    dtype: torch.dtype  # that they are cast to once
    is_quantised: bool = False  # then they only come near

    @property
    def is_exact(self) -> bool:
        """Whether every token has to be the run's."""
        return self.dtype == torch.float32 and not self.is_quantised

    def __str__(self) -> str:
        return "fewer bits" if self.is_quantised else str(self.dtype).removeprefix("torch.")


def kind_of(export: ModelConfig) -> Kind:
    """What an export promises, by the types that its files hold.

    Raises:
        InputError: there is no such checkpoint.
    """
    checkpoint = locate(export)
    if checkpoint.gguf is not None:
        types = stored_types(checkpoint)
        short = next((dtype for name, dtype in OF_GGUF.items() if name in types), torch.float32)
        return Kind(short, is_quantised=not types <= {"F32", *OF_GGUF})
    if checkpoint.has_adapter and not checkpoint.has_weights:
        return Kind(torch.float32)
    return Kind(STORED[stored_dtype(export)])


def side_of(model: CausalLM, tokenizer: Tokenizer) -> Side:
    """A model with what its tokens are."""
    return Side(model, Tokens.of(model, tokenizer))


def verify(
    run: Side,
    export: Side,
    contexts: Contexts,
    kind: Kind,
    config: ExportConfig,
    progress: Progress,
) -> Verification:
    """Compare an export with its run on held-out contexts."""
    chosen, length = contexts.contexts, contexts.length
    texts = [str(run.tokens.tokenizer.decode(row)) for row in contexts.rows()]
    tokens = check_tokens(run.tokens, export.tokens, [*texts, *PROBE])
    with progress.stage("compare weights"):
        weights = check_weights(weights_of(run.model), dict(weights_of(export.model)), kind.dtype)
    own = _written(run, "texts of the run", chosen, length, config, progress)
    theirs = _written(export, "texts of the export", chosen, length, config, progress)
    found = check_texts(own, theirs, (run.tokens.ends, export.tokens.ends))
    with progress.stage("compare logits"):
        rows = [[*a, *b.ids] for a, b in zip(chosen, own.fixed, strict=True)]
        logits = check_logits(make_pair(run.model, export.model), rows, length)
    verification = Verification(
        tokens=tokens, weights=weights, logits=logits, texts=found, is_exact=kind.is_exact,
        refused=[],
    )  # fmt: skip
    return verification.model_copy(update={"refused": reasons_against(verification, kind)})


def _written(
    side: Side,
    title: str,
    contexts: Sequence[list[int]],
    length: int,
    config: ExportConfig,
    progress: Progress,
) -> BothModes:
    both = GreedyInBothModes(
        length=length, natural=config.natural_tokens,
        banned=side.tokens.banned("natural"), ends=side.tokens.ends,
    )  # fmt: skip
    with progress.stage(title, len(contexts)) as stage:
        (found,) = write_ways(
            side.model, contexts, [both.way], batch_size=config.batch_size, stage=stage
        )
    return both.taken(found)


def reasons_against(found: Verification, kind: Kind) -> list[str]:
    """Why an export is not verified; empty where nothing speaks against it."""
    reasons = []
    tokens, weights, texts = found.tokens, found.weights, found.texts
    if tokens.difference:
        reasons.append(f"its tokenizer reads texts as other tokens: {tokens.difference}")
    if tokens.template:
        reasons.append(f"its chat template is another: {tokens.template}")
    before, after = ({end.id for end in ends} for ends in (tokens.ends_before, tokens.ends_after))
    if lost := [end.token for end in tokens.ends_before if end.id not in after]:
        reasons.append(f"a text no longer ends with {' or '.join(lost)}")
    if new := [end.token for end in tokens.ends_after if end.id not in before]:
        reasons.append(f"a text now ends with {' or '.join(new)}, too")
    if weights.missing:
        reasons.append(f"{len(weights.missing)} tensors are missing: {weights.missing[0]}")
    if not kind.is_quantised and weights.largest_difference > LARGEST_ROUNDING:
        reasons.append(
            f"{weights.tensors - weights.equal} of {weights.tensors} tensors are not what was "
            f"trained, cast once: by {weights.largest_difference:.1%} of its length "
            f"{weights.largest_in}"
        )
    if kind.is_exact and texts.equal < texts.contexts:
        reasons.append(
            f"{texts.contexts - texts.equal} of {texts.contexts} greedy texts are other texts, "
            "and its weights are float32"
        )
    top1 = found.logits.top1.value
    if not kind.is_quantised and top1 is not None and top1 < LEAST_TOP1:
        reasons.append(f"it chooses another token at {1 - top1:.1%} of positions")
    return reasons + _of_texts(texts)


def _of_texts(found: TextsCheck) -> list[str]:
    """What speaks against the export's greedy texts themselves."""
    reasons = []
    run, export = found.run, found.export
    loops = _difference(export.looped.value, run.looped.value)
    if loops > MARGIN_LOOPS:
        reasons.append(
            f"loops are back: {export.looped.value:.0%} of its texts, {run.looped.value:.0%} of "
            "the run's"
        )
    if _difference(run.ttr.value, export.ttr.value) > MARGIN_TTR:
        reasons.append(
            f"its texts are less varied: a TTR of {export.ttr.value:.3f}, {run.ttr.value:.3f} of "
            "the run's"
        )
    if run.ended is not None and export.ended is not None:
        ended = _difference(run.ended.value, export.ended.value)
        if abs(ended) > MARGIN_ENDED:
            reasons.append(
                f"{export.ended.value:.0%} of its texts end themselves, {run.ended.value:.0%} of "
                "the run's"
            )
    return reasons


def _difference(one: float | None, other: float | None) -> float:
    return 0.0 if one is None or other is None else one - other

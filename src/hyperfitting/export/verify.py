"""Read an export back and compare it with its run; say whether it is that run.

In float32 arithmetic, which shows what was written: a runtime that computes in 16 bits, or with
its own quantised products, adds differences of its own.
"""

from typing import NamedTuple

from hyperfitting.config.export import ExportConfig
from hyperfitting.data.windows import Contexts
from hyperfitting.export.checks import (
    check_logits,
    check_texts,
    check_tokens,
    check_weights,
    near_ties,
)
from hyperfitting.export.kinds import Kind
from hyperfitting.export.reasons import notes_on, reasons_against
from hyperfitting.generate.both_modes import BothModes, write_in_both_modes
from hyperfitting.models.merged import odd_settings, weights_of
from hyperfitting.models.pair import make_pair
from hyperfitting.models.tokenizers import PROBE
from hyperfitting.models.tokens import Tokens
from hyperfitting.models.types import CausalLM, Tokenizer
from hyperfitting.progress import Progress
from hyperfitting.records.exported import Verification


class Side(NamedTuple):
    """A model with its tokens."""

    model: CausalLM
    tokens: Tokens


def side_of(model: CausalLM, tokenizer: Tokenizer) -> Side:
    """A model with what its tokens are."""
    return Side(model, Tokens.of(model, tokenizer))


def verify(
    run: Side,
    own: BothModes,
    export: Side,
    contexts: Contexts,
    kind: Kind,
    config: ExportConfig,
    progress: Progress,
) -> Verification:
    """Compare an export with its run on held-out contexts; `own` is what the run writes there."""
    chosen, length = contexts.contexts, contexts.length
    texts = [str(run.tokens.tokenizer.decode(row)) for row in contexts.rows()]
    tokens = check_tokens(run.tokens, export.tokens, [*texts, *PROBE])
    with progress.stage("compare weights"):
        weights = check_weights(weights_of(run.model), dict(weights_of(export.model)), kind.dtype)
    theirs = greedy_texts(export, "texts of the export", contexts, config, progress)
    found = check_texts(own, theirs, (run.tokens.ends, export.tokens.ends))
    with progress.stage("compare logits"):
        rows = [[*a, *b.ids] for a, b in zip(chosen, own.fixed, strict=True)]
        logits = check_logits(make_pair(run.model, export.model), rows, length)
    if kind.is_exact and found.equal < found.contexts:
        ties = near_ties(run.model, chosen, own, theirs)
        found = found.model_copy(update={"near_ties": ties})
    verification = Verification(
        tokens=tokens, weights=weights, logits=logits, texts=found, is_exact=kind.is_exact,
        settings=odd_settings(export.model) if not hasattr(export.model, "peft_config") else [],
        notes=notes_on(tokens, kind), refused=[],
    )  # fmt: skip
    return verification.model_copy(update={"refused": reasons_against(verification, kind)})


def greedy_texts(
    side: Side, title: str, contexts: Contexts, config: ExportConfig, progress: Progress
) -> BothModes:
    """What a model writes after held-out contexts, of a fixed length and up to its end."""
    with progress.stage(title, len(contexts)) as stage:
        return write_in_both_modes(
            side.model, contexts.contexts, side.tokens, length=contexts.length,
            natural=config.natural_tokens, batch_size=config.batch_size, stage=stage,
        )  # fmt: skip

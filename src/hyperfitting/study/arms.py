"""Let one arm write its continuations and score the held-out texts.

Shape letters: N contexts, K tokens of a continuation.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperfitting.config import EvaluateConfig
from hyperfitting.data.windows import Contexts, Dataset
from hyperfitting.generate.decode import Decoded, decode
from hyperfitting.measure.text import ending
from hyperfitting.models.forward import TokenScores, score_rows, window_losses
from hyperfitting.models.load import end_token_ids, unwritable_token_ids
from hyperfitting.progress import Progress
from hyperfitting.records import Generation, Mode


@dataclass(frozen=True)
class Tokens:
    """The tokens that end a text and those that are no part of one."""

    ends: list[int]
    unwritable: list[int]  # special tokens and vocabulary padding
    tokenizer: Any

    @classmethod
    def of(cls, model: Any, tokenizer: Any) -> "Tokens":
        """Read both sets from a model and its tokenizer."""
        return cls(
            end_token_ids(model, tokenizer), unwritable_token_ids(model, tokenizer), tokenizer
        )

    def banned(self, mode: Mode) -> list[int]:
        """Tokens that are never chosen: in natural mode a text may end itself."""
        if mode == "natural":
            return [i for i in self.unwritable if i not in self.ends]
        return sorted({*self.unwritable, *self.ends})

    def texts(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[str, str]:
        """Both parts as text; decoded together, because some tokenizers drop a leading space."""
        head = self.tokenizer.decode(list(context), skip_special_tokens=True)
        whole = self.tokenizer.decode([*context, *continuation], skip_special_tokens=True)
        if whole.startswith(head):
            return head, whole[len(head) :]
        return head, self.tokenizer.decode(list(continuation), skip_special_tokens=True)


@dataclass(frozen=True)
class ArmOutputs:
    """Everything that is measured about one arm. `human` has texts only."""

    arm: str
    seed: int | None
    fixed: list[Generation]
    natural: list[Generation] | None = None
    teacher_forced: TokenScores | None = None  # on context + human continuation
    own_path: TokenScores | None = None  # on context + own fixed-length continuation
    val_loss_N: NDArray[np.float64] | None = None


def generations_key(
    mode: Mode, length: int, parameters: Mapping[str, Any], seed: int | None
) -> str:
    """Short digest that tells files of one arm apart."""
    content = json.dumps([mode, length, dict(parameters), seed], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _generations(
    decoded: Sequence[Decoded],
    contexts: Contexts,
    tokens: Tokens,
    *,
    arm: str,
    seed: int | None,
    mode: Mode,
) -> list[Generation]:
    generations = []
    for index, (context, text) in enumerate(zip(contexts.contexts, decoded, strict=True)):
        head, tail = tokens.texts(context, text.ids)
        generations.append(
            Generation(
                arm=arm,
                seed=seed,
                context_index=index,
                mode=mode,
                context_ids=context,
                continuation_ids=text.ids,
                context=head,
                continuation=tail,
                ending=ending(text.ids, tokens.ends),
                num_ties=text.num_ties,
            )
        )
    return generations


def human_outputs(contexts: Contexts, tokens: Tokens) -> ArmOutputs:
    """The arm `human`: how the authors went on."""
    decoded = [Decoded(ids, 0) for ids in contexts.continuations]
    return ArmOutputs(
        "human",
        None,
        _generations(decoded, contexts, tokens, arm="human", seed=None, mode="fixed_length"),
    )


def paths(generations: Sequence[Generation]) -> list[list[int]]:
    """Context and continuation of each text as one row of tokens."""
    return [g.context_ids + g.continuation_ids for g in generations]


def run_arm(
    model: Any,
    tokens: Tokens,
    dataset: Dataset,
    config: EvaluateConfig,
    progress: Progress,
    *,
    arm: str,
    seed: int | None,
) -> ArmOutputs:
    """Generate in both modes and score the human text, the own text and the held-out windows."""
    contexts = dataset.contexts
    length = len(contexts.continuations[0])
    modes: list[tuple[Mode, int]] = [("fixed_length", length)]
    if config.natural_tokens:
        modes.append(("natural", config.natural_tokens))
    texts: dict[Mode, list[Generation]] = {}
    for mode, max_new_tokens in modes:
        with progress.stage(f"generate {arm}, {mode.replace('_', ' ')}", len(contexts)) as stage:
            decoded = decode(
                model,
                contexts.contexts,
                max_new_tokens=max_new_tokens,
                banned=tokens.banned(mode),
                ends=tokens.ends if mode == "natural" else (),
                batch_size=config.batch_size,
                stage=stage,
            )
            texts[mode] = _generations(decoded, contexts, tokens, arm=arm, seed=seed, mode=mode)
            stage.update(
                len(contexts), f"{len(contexts)} contexts, {max_new_tokens} tokens at most"
            )
    with progress.stage(f"score {arm}", len(contexts)) as stage:
        human = [c + k for c, k in zip(contexts.contexts, contexts.continuations, strict=True)]
        outputs = ArmOutputs(
            arm,
            seed,
            texts["fixed_length"],
            texts.get("natural"),
            score_rows(model, human, length, stage=stage),
            score_rows(
                model,
                paths(texts["fixed_length"]),
                length,
                banned=tokens.banned("fixed_length"),
                stage=stage,
            ),
            window_losses(model, dataset.heldout.ids_NT, dataset.heldout.label_NT, stage),
        )
        stage.update(len(contexts), "human text, own text, held-out windows")
    return outputs

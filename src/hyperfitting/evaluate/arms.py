"""What one arm wrote, and all that was measured about it.

Shape letters: N contexts, K tokens of a continuation.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hyperfitting.compare.scores import PairScores
from hyperfitting.data.borders import unknown_token_id
from hyperfitting.data.windows import Contexts
from hyperfitting.evaluate.said import Said
from hyperfitting.generate.texts import Decoded
from hyperfitting.measure.text import ending
from hyperfitting.models.tokens import Tokens
from hyperfitting.records import HUMAN, Arm, Generation, Mode
from hyperfitting.records.arms import Setting
from hyperfitting.records.arrays import Floats
from hyperfitting.records.record import ArmField

# Above this share of unknown tokens a human text tells nothing of variety (ours).
MOST_UNKNOWN = 0.1


@dataclass(frozen=True)
class ArmOutputs:
    """Everything that is measured about one arm. `human` and sampled arms have texts only."""

    arm: ArmField
    draws: list[list[Generation]]  # fixed length: one list per sampling seed, one where greedy
    natural: list[Generation] | None = None
    forced: PairScores | None = None  # on context + human continuation, beside the original
    own: PairScores | None = None  # on context + own fixed-length continuation
    val_loss_N: Floats | None = None
    tau_N: Sequence[float] | None = None  # temperature of each context, where one is matched
    # Mean nats per token of each draw's texts under the original, where that was heard.
    original_nll: list[list[float]] | None = None
    is_drawn: bool = False  # the texts: once for each sampling seed
    seconds: float | None = None  # that the fixed-length continuations took to write
    audit: Mapping[str, list[float | None]] = field(default_factory=dict)  # metrics of its texts
    notes: Mapping[str, str] = field(default_factory=dict)  # of these, why some are undefined
    unknown_N: Sequence[float] | None = None  # share of unknown tokens in each human text
    said: Sequence[Said] = ()  # along its first texts, and along the first human ones
    said_of_human: Sequence[Said] = ()

    def is_unknown(self, context: int) -> bool:
        """Whether the text of a context is unknown tokens to more than `MOST_UNKNOWN`."""
        return self.unknown_N is not None and self.unknown_N[context] > MOST_UNKNOWN

    @property
    def num_unknown(self) -> int:
        """How many of its texts are unknown."""
        return sum(map(self.is_unknown, range(len(self.fixed))))

    @property
    def mostly_known(self) -> bool:
        """Whether so few of its texts are unknown that a value of all of them stands."""
        return self.num_unknown <= MOST_UNKNOWN * len(self.fixed)

    @property
    def unknown_in_words(self) -> str | None:
        """How many of its texts are unknown; None where none is."""
        count = self.num_unknown
        if not count:
            return None
        return (
            f"{count} of {len(self.fixed)} texts are to more than {MOST_UNKNOWN:.0%} tokens that "
            "the tokenizer does not know, which models cannot write"
        )

    @property
    def fixed(self) -> list[Generation]:
        """The fixed-length continuations, or those of the first sampling seed."""
        return self.draws[0]

    def decoder_parameters(self, draw: int = 0) -> dict[str, Setting]:
        """How the continuations of one draw were decoded."""
        decoder = "sample" if self.arm.is_sampled else self.arm.decoding
        fields = {"decoder": decoder, **self.arm.parameters}
        return {**fields, "sampling_seed": draw} if self.is_drawn else fields

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of the fixed-length continuations per second, over all draws."""
        if not self.seconds:
            return None
        return sum(len(g.continuation_ids) for draw in self.draws for g in draw) / self.seconds


def generations_key(
    mode: Mode, length: int, parameters: Mapping[str, Any], seed: int | None
) -> str:
    """Short digest that tells files of one arm apart."""
    content = json.dumps([mode, length, dict(parameters), seed], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def generations_of(
    decoded: Sequence[Decoded], contexts: Contexts, tokens: Tokens, *, arm: Arm, mode: Mode
) -> list[Generation]:
    """What was decoded, as text, with how it ended."""
    generations = []
    for index, (context, text) in enumerate(zip(contexts.contexts, decoded, strict=True)):
        head, tail = tokens.texts(context, text.ids)
        generations.append(
            Generation(
                arm=arm.name,
                seed=arm.seed,
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


def draws_of(
    decoded: Sequence[Decoded], contexts: Contexts, tokens: Tokens, *, arm: Arm
) -> list[list[Generation]]:
    """Fixed-length texts that were decoded for one sampling seed after the other, by seed."""
    return [
        generations_of(
            decoded[start : start + len(contexts)], contexts, tokens, arm=arm, mode="fixed_length"
        )
        for start in range(0, len(decoded), len(contexts))
    ]


def human_outputs(contexts: Contexts, tokens: Tokens) -> ArmOutputs:
    """The arm `human`: how the authors went on."""
    decoded = [Decoded(ids, 0) for ids in contexts.continuations]
    texts = generations_of(decoded, contexts, tokens, arm=HUMAN, mode="fixed_length")
    unknown = unknown_token_id(tokens.tokenizer)
    if unknown is None:
        return ArmOutputs(HUMAN, [texts])
    shares = [ids.count(unknown) / len(ids) for ids in contexts.continuations]
    return ArmOutputs(HUMAN, [texts], unknown_N=shares)


def paths(generations: Sequence[Generation]) -> list[list[int]]:
    """Context and continuation of each text as one row of tokens."""
    return [g.context_ids + g.continuation_ids for g in generations]


def under_another_name(outputs: ArmOutputs, arm: Arm) -> ArmOutputs:
    """Greedy continuations of one arm, taken over as those of another."""
    texts = [replace(g, arm=arm.name, seed=arm.seed) for g in outputs.fixed]
    return ArmOutputs(arm, [texts])

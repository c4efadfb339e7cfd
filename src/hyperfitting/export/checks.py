"""What is compared between a run and what was exported from it: tokens, weights, logits, texts.

Shape letters: N contexts, K positions, V vocabulary.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hyperfitting.data.template import ANY_DAY, ChatTemplate
from hyperfitting.generate.both_modes import BothModes
from hyperfitting.measure.intervals import mean_estimate, share_estimate
from hyperfitting.measure.ranks import top_token
from hyperfitting.measure.text import ending, loop_period, ngram_repetition, type_token_ratio
from hyperfitting.models.interface import logits_of
from hyperfitting.models.pair import Pair, PairedLogits, paired_logits
from hyperfitting.models.tokenizers import difference_between
from hyperfitting.models.tokens import Tokens
from hyperfitting.models.types import CausalLM, Tokenizer
from hyperfitting.records.exported import (
    Change,
    LogitsCheck,
    TextsCheck,
    TokensCheck,
    WeightsCheck,
    Written,
)

TIE = 1e-5  # of the largest logit: a few last bits of float32
TALK = (
    {"role": "user", "content": "Who has the key to the boat-house?"},
    {"role": "assistant", "content": "Nobody, since Monday."},
    {"role": "user", "content": "Then who locked it?"},
)


def check_tokens(ours: Tokens, theirs: Tokens, texts: Sequence[str]) -> TokensCheck:
    """Whether both tokenizers read texts and a chat as the same tokens, and what ends a text."""
    has_template = bool(getattr(ours.tokenizer, "chat_template", None))
    return TokensCheck(
        texts=len(texts),
        difference=difference_between(ours.tokenizer, theirs.tokenizer, texts),
        template=_between_templates(ours.tokenizer, theirs.tokenizer),
        has_template=has_template,
        ends_before=ours.listed_ends(),
        ends_after=theirs.listed_ends(),
    )


def _between_templates(ours: Tokenizer, theirs: Tokenizer) -> str | None:
    """How two chat templates differ; None where they write one chat as the same tokens."""
    rendered = [_chat(tokenizer) for tokenizer in (ours, theirs)]
    one, other = rendered
    if one == other:
        return None
    if one is None or other is None:
        return f"the export has {'no chat template' if other is None else 'one, the run has none'}"
    if isinstance(one, str) or isinstance(other, str):
        return "it takes no plain chat, and reads otherwise"
    return f"a chat is {len(one):,} and {len(other):,} tokens"


def _chat(tokenizer: Tokenizer) -> list[int] | str | None:
    """A chat in tokens; of a template that takes none, its source."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    try:
        template = ChatTemplate(tokenizer, ANY_DAY)
        return template.tokens(template.text(TALK, prompt=True))
    except Exception:
        return str(tokenizer.chat_template)  # a foreign program, which may refuse anything


def check_weights(
    expected: Iterable[tuple[str, Tensor]], found: Mapping[str, Tensor], dtype: torch.dtype
) -> WeightsCheck:
    """Compare tensors with those of the run, merged in float32 and cast to `dtype` once, or not.

    The difference of a tensor is the length of what differs over its own length, from whichever of
    the two it is nearer to: a file in 16 bits holds some tensors in 32.
    """
    equal, count, missing, largest, where = 0, 0, [], 0.0, None
    for name, tensor in expected:
        other = found.get(name)
        if other is None or other.shape != tensor.shape:
            missing.append(name)
            continue
        count += 1
        wholes = (tensor.to(dtype).float(), tensor.float())
        other = other.float().to(tensor.device)
        if any(torch.equal(whole, other) for whole in wholes):
            equal += 1
            continue
        share = min(_distance(whole, other) for whole in wholes)
        if share > largest:
            largest, where = share, name
    return WeightsCheck(
        tensors=count, equal=equal, missing=missing, largest_difference=largest, largest_in=where
    )


def _distance(whole: Tensor, other: Tensor) -> float:
    exact = whole.double()
    return float((other.double() - exact).norm()) / max(float(exact.norm()), 1e-30)


def check_logits(pair: Pair, rows: Sequence[Sequence[int]], num_scored: int) -> LogitsCheck:
    """Both models where the last `num_scored` tokens of every row are predicted."""
    shares = [0.0] * len(rows)

    def difference(found: PairedLogits) -> float:
        columns = pair.num_logits
        one_KV, other_KV = found.original_KV[:, :columns], found.tuned_KV[:, :columns]
        is_same_K = top_token(one_KV) == top_token(other_KV)
        shares[found.row] = float(is_same_K.float().mean())
        return float((one_KV - other_KV).abs().max())

    largest = max(map(difference, paired_logits(pair, rows, num_scored)), default=0.0)
    return LogitsCheck(
        positions=num_scored * len(rows), largest_difference=largest, top1=mean_estimate(shares)
    )


def check_texts(run: BothModes, export: BothModes, ends: Sequence[Sequence[int]]) -> TextsCheck:
    """Greedy texts of both; `ends` are the end tokens of the run's and of the export's model."""
    pairs = [(a.ids, b.ids) for a, b in zip(run.fixed, export.fixed, strict=True)]
    shares = [float(np.mean([x == y for x, y in zip(*pair, strict=True)])) for pair in pairs]
    return TextsCheck(
        contexts=len(pairs),
        equal=sum(a == b for a, b in pairs),
        equal_tokens=mean_estimate(shares),
        run=_written(run, ends[0]),
        export=_written(export, ends[1]),
        change=_change(run, export, ends),
    )


def _change(run: BothModes, export: BothModes, ends: Sequence[Sequence[int]]) -> Change:
    """Paired differences: both models wrote after the same contexts."""
    ttr, ended = [], []
    for a, b in zip(run.fixed, export.fixed, strict=True):
        one, other = type_token_ratio(a.ids), type_token_ratio(b.ids)
        ttr.append(None if one is None or other is None else other - one)
    for a, b in zip(run.natural, export.natural, strict=True):
        if a.ids and b.ids:
            each = [float(ending(t.ids, e) == "ended") for t, e in zip((a, b), ends, strict=True)]
            ended.append(each[1] - each[0])
    return Change(ttr=mean_estimate(ttr), ended=mean_estimate(ended) if ended else None)


@torch.no_grad()
def near_ties(
    model: CausalLM, contexts: Sequence[Sequence[int]], run: BothModes, export: BothModes
) -> int:
    """How many texts part where the two best logits of the run's model are all but equal.

    Sums in another order differ in their last bits, and may tip such a choice.
    """
    count = 0
    for context, a, b in zip(contexts, run.fixed, export.fixed, strict=True):
        places = (i for i, (x, y) in enumerate(zip(a.ids, b.ids, strict=True)) if x != y)
        if (at := next(places, None)) is not None:
            ids_BT = torch.tensor([[*context, *a.ids[:at]]], device=model.device)
            logits_V = logits_of(model, ids_BT, 1)[0, -1]
            apart = logits_V[a.ids[at]] - logits_V[b.ids[at]]
            count += bool(apart.abs() < TIE * logits_V.abs().max())
    return count


def _written(texts: BothModes, ends: Sequence[int]) -> Written:
    fixed: list[list[int]] = [text.ids for text in texts.fixed]
    natural: list[Any] = [text.ids for text in texts.natural if text.ids]
    return Written(
        ttr=mean_estimate([type_token_ratio(ids) for ids in fixed]),
        bigram_repetition=mean_estimate([ngram_repetition(ids, 2) for ids in fixed]),
        looped=share_estimate([loop_period(ids) is not None for ids in fixed]),
        ended=share_estimate([ending(ids, ends) == "ended" for ids in natural])
        if natural
        else None,
    )

"""At which layer do the words that it promotes come up? The logit lens on tuned choices.

Looked at are positions of the human text where the tuned model chooses a token beyond rank 10 of
the original. Shape letters: N contexts, K tokens of a continuation, T tokens of a row, D hidden
width, V vocabulary, P positions, L layers with layer 0.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperfitting.compare.intervals import estimate_of, ratio_of
from hyperfitting.explain.subject import Subject
from hyperfitting.measure.intervals import bootstrap_median
from hyperfitting.measure.lens import layer_of_passing
from hyperfitting.measure.ranks import token_ranks
from hyperfitting.models.anatomy import Anatomy, anatomy
from hyperfitting.models.forward import LOGITS_PER_PASS
from hyperfitting.models.pair import LayerStates, Pair, paired_logits
from hyperfitting.records.controls.lens import Lens, LensLayer
from hyperfitting.records.estimates import Estimate

BEYOND = 10  # of the original's ranks: what is promoted
NOTHING = f"no choice is beyond rank {BEYOND} of the original"
LAST = 0.5  # share of the positions from which on a change is called one of the last block


def lens(subject: Subject) -> Lens:
    """Ranks of promoted tokens at every layer of both models, and where they pass for good."""
    num_blocks = subject.pair.num_blocks
    is_promoted_NK = subject.forced.chosen_rank_NK > BEYOND
    all_P2 = np.argwhere(is_promoted_NK)
    if not len(all_P2):
        return Lens(
            arm=subject.arm, num_blocks=num_blocks, promoted=0, positions=0, rows=[],
            in_words=f"Nothing was looked at: {NOTHING}.", reason=NOTHING,
        )  # fmt: skip
    rng = np.random.default_rng(subject.config.seed)
    count = min(len(all_P2), subject.config.lens_positions)
    place_P2 = all_P2[np.sort(rng.choice(len(all_P2), size=count, replace=False))]
    seen = _look(subject, place_P2)
    seen.is_above_LP[-1] = True  # the choice is, but for rounding where it is read again
    passed_P = layer_of_passing(seen.is_above_LP)
    rows = [
        LensLayer(
            layer=layer,
            rank_tuned=_median(subject, seen.tuned_LP[layer], place_P2[:, 0]),
            rank_original=_median(subject, seen.original_LP[layer], place_P2[:, 0]),
            passed=_share(subject, passed_P <= layer, place_P2[:, 0]),
        )
        for layer in range(num_blocks + 1)
    ]
    last = _share(subject, passed_P == num_blocks, place_P2[:, 0])
    return Lens(
        arm=subject.arm, num_blocks=num_blocks, promoted=len(all_P2), positions=count, rows=rows,
        last_block=last, in_words=_in_words(rows, last, passed_P),
    )  # fmt: skip


@dataclass
class _Seen:
    """Ranks of the promoted tokens by layer, and whether they are above the original's choices."""

    tuned_LP: NDArray[np.int64]
    original_LP: NDArray[np.int64]
    is_above_LP: NDArray[np.bool_]


@torch.no_grad()
def _look(subject: Subject, place_P2: NDArray[np.int64]) -> _Seen:
    """One more pass of both models over the texts that have such positions."""
    pair, rows = subject.pair, subject.human_rows
    shape = (pair.num_blocks + 1, len(place_P2))
    seen = _Seen(np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, bool))
    by_length: dict[int, list[int]] = defaultdict(list)
    for row in np.unique(place_P2[:, 0]):
        by_length[len(rows[row])].append(int(row))
    with subject.progress.stage(f"logit lens of {subject.arm.in_full}", shape[0]) as stage:
        for length, members in by_length.items():
            index_P = np.flatnonzero(np.isin(place_P2[:, 0], members))
            row_P = np.searchsorted(members, place_P2[index_P, 0])
            at_P = length - subject.length - 1 + place_P2[index_P, 1]
            choices = [
                torch.tensor(scores.top1_NK[tuple(place_P2[index_P].T)], device=pair.tuned.device)
                for scores in (subject.forced.tuned, subject.forced.original)
            ]
            reader = _Reader(pair, seen, index_P, (row_P, at_P), choices)
            # Layers are seen before the first row's logits; these are not asked for.
            next(paired_logits(pair, [rows[n] for n in members], 1, observe=reader))
        stage.update(shape[0], f"{len(place_P2):,} positions, {shape[0]} layers")
    return seen


@dataclass
class _Reader:
    """Reads the states of every layer at the positions of texts of one length."""

    pair: Pair
    seen: _Seen
    index_P: NDArray[np.int64]  # where these positions stand among all
    place: tuple[NDArray[np.int64], NDArray[np.int64]]  # text and token
    choices: list[Tensor]  # of the tuned model and of the original, [P]

    def __call__(self, states: LayerStates) -> None:
        """Mutates `seen`: one layer of both models."""
        if states.is_normed:
            return
        tuned_P, original_P = self.choices
        models = (anatomy(self.pair.tuned), anatomy(self.pair.original))
        hidden = [each[self.place] for each in (states.tuned_NTD, states.original_NTD)]
        width = self.pair.num_logits
        for part in _parts(len(tuned_P), width):
            places = self.index_P[part]
            logits_PV = _read(models[0], hidden[0][part], width)
            self.seen.tuned_LP[states.layer, places] = _ranks(logits_PV, tuned_P[part])
            own, other = (logits_PV.gather(1, t[part, None]) for t in (tuned_P, original_P))
            self.seen.is_above_LP[states.layer, places] = (own >= other)[:, 0].cpu().numpy()
            logits_PV = _read(models[1], hidden[1][part], width)
            self.seen.original_LP[states.layer, places] = _ranks(logits_PV, tuned_P[part])


def _read(parts: Anatomy, hidden_PD: Tensor, width: int) -> Tensor:
    """The logits that both models have, [P, V]."""
    return parts.logits(hidden_PD)[:, :width]


def _ranks(logits_PV: Tensor, token_P: Tensor) -> NDArray[np.int64]:
    ranks: NDArray[np.int64] = token_ranks(logits_PV, token_P).cpu().numpy()
    return ranks


def _parts(count: int, width: int) -> Iterator[slice]:
    """Pieces of the positions whose logits fit into memory together."""
    size = max(1, LOGITS_PER_PASS // width)
    for start in range(0, count, size):
        yield slice(start, start + size)


def _median(
    subject: Subject, values_P: NDArray[np.int64], context_P: NDArray[np.int64]
) -> Estimate:
    config = subject.config
    found = bootstrap_median(
        values_P.astype(float), context_P, resamples=config.resamples,
        confidence=config.confidence, seed=config.seed,
    )  # fmt: skip
    return estimate_of(found, len(np.unique(context_P)))


def _share(subject: Subject, is_so_P: NDArray[np.bool_], context_P: NDArray[np.int64]) -> Estimate:
    """The share of positions, its interval over contexts."""
    _, place_P = np.unique(context_P, return_inverse=True)
    parts_N = np.bincount(place_P, weights=is_so_P).astype(float)
    return ratio_of(parts_N, np.bincount(place_P).astype(float), subject.config)


def _in_words(rows: list[LensLayer], last: Estimate, passed_P: NDArray[np.int64]) -> str:
    """Where half of the promoted words are up, and whether that is the last block's doing."""
    num_blocks = rows[-1].layer
    middle = int(np.median(passed_P))
    half = rows[middle]
    assert last.value is not None
    before = 1 - last.value
    words = (
        f"Of the words that it chooses from beyond rank {BEYOND} of the original, half have passed "
        f"the original's choice for good by layer {middle} of {num_blocks}, where their median "
        f"rank is {half.rank_tuned.value:.0f} ({half.rank_original.value:.0f} in the original); "
        f"{100 * before:.0f} % have before the last block"
    )
    if last.low is not None and last.low > LAST:
        return f"{words}. Most come up in the last block."
    if last.high is not None and last.high < LAST:
        return f"{words}. They come up over several layers, not in the last block alone."
    return f"{words}."

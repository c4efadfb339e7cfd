"""How the next token is chosen from a batch's logits.

Shape letters: B rows of a batch, T tokens of a row so far, V vocabulary, N rows in all. A chooser
is given the numbers of the batch's rows among all rows, so that a result never depends on the
batch it sat in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperfitting.measure.ranks import count_true, top_token


class Chooser(Protocol):
    """Chooses one token a row."""

    def __call__(
        self, logits_BV: Tensor, rows: range, step: int, seen_BT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The token of each row, [B], and whether it shared the largest logit, [B].

        `logits_BV` are float32 and -inf where a token is banned; `step` counts from 0 and starts
        again with every batch. `seen_BT` are the tokens of context and continuation so far;
        shorter rows are padded on the left with V, an id that no token has. It is a view that
        the next step changes.
        """
        ...


def greedy(
    logits_BV: Tensor, rows: range, step: int, seen_BT: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The token with the largest logit, the smallest id among equals; and whether it was tied.

    A row without a largest, where a logit is NaN, gets the id V, which no token has.
    """
    if logits_BV.device.type == "cpu":
        token_B = top_token(logits_BV)
        count_B = count_true(logits_BV == logits_BV.gather(-1, token_B[:, None]))
        return token_B.where(count_B > 0, logits_BV.shape[-1]), count_B > 1
    largest_B1 = logits_BV.amax(dim=-1, keepdim=True)
    is_largest_BV = logits_BV == largest_B1
    # argmax promises the first index only on some devices; over booleans cast to int too.
    ids_V = torch.arange(logits_BV.shape[-1], device=logits_BV.device)
    token_B = torch.where(is_largest_BV, ids_V, logits_BV.shape[-1]).amin(dim=-1)
    return token_B, is_largest_BV.sum(dim=-1) > 1


def make_greedy() -> Chooser:
    """`greedy`, as the table of decoders makes it: from no parameters."""
    return greedy


@dataclass(frozen=True)
class Uniforms:
    """Random numbers in [0, 1), a function of the seed of a row and the step alone."""

    seeds_N: Sequence[Sequence[int]]
    _drawn: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def at(self, row: int, step: int) -> float:
        """The number of one row, counted among all, at one step."""
        drawn = self._drawn.get(row)
        if drawn is None or step >= len(drawn):
            length = max(128, 2 * (step + 1))
            drawn = np.random.default_rng([*self.seeds_N[row]]).random(length)
            self._drawn[row] = drawn
        return float(drawn[step])


@dataclass
class Sample:
    """Draws from softmax(logits / temperature), one temperature and one seed a row.

    A row's draws are a function of its seed and the step alone. A temperature that is not
    positive is refused with a ValueError.
    """

    temperature_N: Sequence[float]
    seeds_N: Sequence[Sequence[int]]
    uniforms: Uniforms = field(init=False)

    def __post_init__(self) -> None:
        self.uniforms = Uniforms(self.seeds_N)
        if not all(t > 0 for t in self.temperature_N):
            raise ValueError(f"temperatures must be positive, got {min(self.temperature_N)}")

    def __call__(
        self, logits_BV: Tensor, rows: range, step: int, seen_BT: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Chooser`; a drawn token is never a tie."""
        device = logits_BV.device
        temperature_B1 = torch.tensor([self.temperature_N[n] for n in rows], device=device)[:, None]
        # In float32 a draw could round up to 1, and end on the last token even where it is banned.
        draws = [self.uniforms.at(n, step) for n in rows]
        uniform_B = torch.tensor(draws, dtype=torch.float64, device=device)
        mass_BV = (logits_BV / temperature_B1).softmax(dim=-1).double().cumsum(dim=-1)
        # Strictly inside the mass, so that a banned token at the end is never reached.
        target_B1 = (uniform_B * mass_BV[:, -1])[:, None]
        token_B = torch.searchsorted(mass_BV, target_B1, right=True)[:, 0]
        return token_B.clamp(max=logits_BV.shape[-1] - 1), torch.zeros_like(
            token_B, dtype=torch.bool
        )


@dataclass(frozen=True)
class Shifted:
    """Greedy on logits + strength x shift, one strength and one shift of `shift_SV` a row."""

    shift_SV: Tensor
    strength_N: Sequence[float]
    shift_N: Sequence[int]

    def __call__(
        self, logits_BV: Tensor, rows: range, step: int, seen_BT: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Chooser`."""
        strength_B1 = torch.tensor([self.strength_N[n] for n in rows]).to(logits_BV)[:, None]
        index_B = torch.tensor([self.shift_N[n] for n in rows], device=self.shift_SV.device)
        shift_BV = self.shift_SV[index_B].to(logits_BV)
        return greedy(logits_BV + strength_B1 * shift_BV, rows, step)

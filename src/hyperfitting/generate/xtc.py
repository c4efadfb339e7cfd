"""XTC: at some steps the likely tokens are left out, all but the least likely of them.

Shape letters: B rows of a batch, V vocabulary, N rows in all.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from hyperfitting.generate.choose import Uniforms
from hyperfitting.generate.watching import Watching

STREAM = 0x585443  # "XTC": its random numbers are others than those that tokens are drawn with


class Xtc(Watching):
    """With `probability`, a step loses its tokens of p >= `threshold` but the least likely of them.

    Where fewer than two are that likely nothing is removed; of several that share the least
    probability all stay. Tokens with a newline in their text and those that end a text are never
    removed, as in mlx-lm. p is that of what the cuts before it left. Source: llama.cpp and mlx-lm
    (both MIT).

    Whether a step loses its tokens is one more random number, a function of the row's seed and
    the step alone.

    Raises:
        ValueError: no seeds, or not the text of every token.
    """

    def __init__(
        self,
        threshold: float,
        probability: float,
        *,
        seeds_N: Sequence[Sequence[int]] | None,
        texts_V: Sequence[str] | None,
        ends: Collection[int] = (),
    ) -> None:
        if seeds_N is None:
            raise ValueError("a decoder that draws needs a seed for every context")
        if texts_V is None:
            raise ValueError("xtc needs the text of every token, to spare newlines")
        self.threshold, self.probability = threshold, probability
        self.uniforms = Uniforms([[*seed, STREAM] for seed in seeds_N])
        self.spared = sorted({n for n, text in enumerate(texts_V) if "\n" in text} | set(ends))
        self._happens_B = self._is_spared_V = torch.empty(0)

    def watch(self, raw_BV: Tensor, rows: range, step: int) -> None:
        """See `Watching`."""
        draws = [self.uniforms.at(n, step) < self.probability for n in rows]
        self._happens_B = torch.tensor(draws, device=raw_BV.device)
        if step == 0:
            vocabulary = raw_BV.shape[-1]
            is_spared_V = torch.zeros(vocabulary, dtype=torch.bool)
            is_spared_V[[n for n in self.spared if n < vocabulary]] = True
            self._is_spared_V = is_spared_V.to(raw_BV.device)

    def __call__(self, input_ids: Tensor | None, scores: Tensor) -> Tensor:
        """Filtered logits, [B, V]; -inf where a token was removed."""
        p_BV = scores.softmax(dim=-1)
        likely_BV = torch.where(p_BV >= self.threshold, p_BV, torch.inf)
        removed_BV = (p_BV > likely_BV.amin(dim=-1, keepdim=True)) & ~self._is_spared_V
        return scores.masked_fill(removed_BV & self._happens_B[:, None], -torch.inf)

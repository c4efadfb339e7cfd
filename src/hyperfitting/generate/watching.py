"""Logits processors that know more than a step's logits: what came before any penalty, rows, step.

Shape letters: B rows of a batch, V vocabulary.
"""

from torch import Tensor
from transformers.generation.logits_process import LogitsProcessor


class Watching(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """A processor that is told of every step before the logits of it are processed.

    Its `input_ids` are padded on the left with V, an id that no token has.
    """

    def watch(self, raw_BV: Tensor, rows: range, step: int) -> None:
        """See the model's own logits, -inf where a token is banned; step 0 starts a new batch.

        `rows` are the numbers of the batch's rows among all rows.
        """
        raise NotImplementedError

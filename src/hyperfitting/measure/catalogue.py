"""Every metric by name: what it is called on a page, its unit, and its table.

Metrics `of_tokens` or `of_text` are computed from a continuation by the function named here; the
others come from models' scores. Definitions: `docs/metrics.md`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from hyperfitting.measure.text import (
    diversity,
    ngram_repetition,
    type_token_ratio,
    word_type_token_ratio,
)

Table = Literal["main", "text", "ranks", "endings", "quality", "domains"]


@dataclass(frozen=True)
class Metric:
    """How a metric is shown, and the function that computes it where a text is enough."""

    label: str
    unit: str = ""
    decimals: int = 3
    table: Table = "main"
    of_tokens: Callable[[Sequence[int]], float | None] | None = None
    of_text: Callable[[str], float | None] | None = None

    @property
    def is_of_text(self) -> bool:
        """Whether human text has it too."""
        return self.of_tokens is not None or self.of_text is not None


def _repetition(label: str, order: int, table: Table) -> Metric:
    of_tokens = partial(ngram_repetition, order=order)
    return Metric(label, "share", table=table, of_tokens=of_tokens)


METRICS: Mapping[str, Metric] = {
    "ttr": Metric("TTR", "distinct tokens / tokens", of_tokens=type_token_ratio),
    "bigram_repetition": _repetition("Bigram repetition", 2, "main"),
    "trigram_repetition": _repetition("Trigram repetition", 3, "main"),
    "prediction_entropy_nats": Metric("Prediction entropy (TF)", "nats", decimals=2),
    "val_ppl": Metric("Validation perplexity", decimals=1),
    "top1_agreement_tf": Metric("Top-1 agreement (TF)", "share"),
    "ttr_word": Metric(
        "Word TTR", "distinct words / words", table="text",
        of_text=word_type_token_ratio,
    ),
    "fourgram_repetition": _repetition("4-gram repetition", 4, "text"),
    "diversity": Metric(
        "Diversity", "product of 1 - rep-2, -3, -4", table="text",
        of_tokens=diversity,
    ),
    "prediction_entropy_own_nats": Metric(
        "Prediction entropy (OP)", "nats", decimals=2, table="text"
    ),
    "tau_star": Metric("Temperature of equal entropy", decimals=2, table="text"),
    "top1_agreement_op": Metric("Top-1 agreement (OP)", "share", table="ranks"),
    "spearman": Metric("Spearman, all tokens", table="ranks"),
    "spearman_top100": Metric("Spearman, both top 100", table="ranks"),
    "rank_1": Metric("Rank 1", "share", table="ranks"),
    "rank_2_10": Metric("Rank 2-10", "share", table="ranks"),
    "rank_gt_10": Metric("Rank > 10", "share", table="ranks"),
    "rank_gt_200": Metric("Rank > 200", "share", table="ranks"),
    "ended_rate": Metric("Ended", "share of texts", decimals=2, table="endings"),
    "looped_rate": Metric(
        "Looped (natural)", "share of texts", decimals=2, table="endings"
    ),
    "truncated_rate": Metric("Truncated", "share of texts", decimals=2, table="endings"),
    "mean_length": Metric("Mean length", "tokens", decimals=1, table="endings"),
    "mauve": Metric("MAUVE", table="quality"),
    "coherence_nats": Metric(
        "Coherence", "mean log-likelihood, nats per token", decimals=2,
        table="quality",
    ),
    "distinct_2": Metric(
        "Distinct-2", "distinct / all bigrams of all texts", table="quality"
    ),
    "self_bleu": Metric("Self-BLEU-4", "0 to 100", decimals=1, table="quality"),
    "overlap_mean": Metric(
        "Longest run from the training set", "tokens, mean", decimals=1,
        table="quality",
    ),
    "overlap_max": Metric(
        "Longest run of all texts", "tokens", decimals=0, table="quality"
    ),
    "overlap_gt_10": Metric("Runs above 10 tokens", "share of texts",
                            table="quality"),
    "fivegram_overlap": Metric("5-grams in the training set", "share",
                               table="quality"),
    "delta_dim_block_output": Metric(
        "Change of dimensions, last block", "participation ratio", decimals=1,
        table="domains",
    ),
    "delta_dim_post_final_norm": Metric(
        "Change of dimensions, after the final norm", "participation ratio", decimals=1,
        table="domains",
    ),
}  # fmt: skip

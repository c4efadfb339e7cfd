"""Every metric by name: what it is called on a page, its unit, and which way is better.

`text` metrics are computed from a continuation's token ids by the function named here; the
others come from a model's scores. Definitions: `docs/metrics.md`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from hyperfitting.measure.text import ngram_repetition, type_token_ratio


@dataclass(frozen=True)
class Metric:
    """How a metric is shown. `better` is empty for descriptions without a good direction."""

    label: str
    unit: str
    better: str
    decimals: int = 3
    table: Literal["main", "endings"] = "main"
    of_text: Callable[[Sequence[int]], float | None] | None = None


METRICS: Mapping[str, Metric] = {
    "ttr": Metric("TTR", "distinct tokens / tokens", "near human", of_text=type_token_ratio),
    "bigram_repetition": Metric(
        "Bigram repetition", "share", "near human", of_text=partial(ngram_repetition, order=2)
    ),
    "trigram_repetition": Metric(
        "Trigram repetition", "share", "near human", of_text=partial(ngram_repetition, order=3)
    ),
    "prediction_entropy_nats": Metric("Prediction entropy (TF)", "nats", "", decimals=2),
    "prediction_entropy_own_nats": Metric("Prediction entropy (OP)", "nats", "", decimals=2),
    "val_ppl": Metric("Validation perplexity", "", "", decimals=1),
    "top1_agreement_tf": Metric("Top-1 agreement (TF)", "share", ""),
    "top1_agreement_op": Metric("Top-1 agreement (OP)", "share", ""),
    "ended_rate": Metric("Ended", "share of texts", "", decimals=2, table="endings"),
    "looped_rate": Metric("Looped", "share of texts", "lower", decimals=2, table="endings"),
    "truncated_rate": Metric("Truncated", "share of texts", "", decimals=2, table="endings"),
    "mean_length": Metric("Mean length", "tokens", "", decimals=1, table="endings"),
}

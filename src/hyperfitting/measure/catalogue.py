"""Every metric by name: what it is called on a page, its unit, table, definition and formula.

Metrics `of_tokens` or `of_text` are computed from a continuation by the function named here; the
others come from models' scores, by the kernel named here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from hyperfitting.measure.loops import compression_ratio, llama_cpp_loop, vllm_loop
from hyperfitting.measure.text import (
    diversity,
    ngram_repetition,
    type_token_ratio,
    word_type_token_ratio,
)

Table = Literal["main", "text", "ranks", "endings", "quality", "domains"]


@dataclass(frozen=True)
class Metric:
    """How a metric is shown, where it is defined, and the function that computes it."""

    label: str
    unit: str = ""
    decimals: int = 3
    table: Table = "main"
    of_tokens: Callable[[Sequence[int]], float | None] | None = None
    of_text: Callable[[str], float | None] | None = None
    kernel: str = ""  # of the others: module and function in `measure/`
    section: str = ""  # of docs/definitions.md

    @property
    def formula(self) -> str:
        """Full name of the function that computes it, as `hyperfitting.measure.text.diversity`."""
        found = self.of_tokens or self.of_text
        if found is None:
            return f"{__package__}.{self.kernel}"
        function = found.func if isinstance(found, partial) else found
        return f"{function.__module__}.{function.__qualname__}"

    @property
    def is_of_text(self) -> bool:
        """Whether human text has it too."""
        return self.of_tokens is not None or self.of_text is not None


def _repetition(label: str, order: int, table: Table) -> Metric:
    of_tokens = partial(ngram_repetition, order=order)
    return Metric(label, "share", table=table, of_tokens=of_tokens, section="2.3")


METRICS: Mapping[str, Metric] = {
    "ttr": Metric("TTR", "distinct tokens / tokens", of_tokens=type_token_ratio, section="2.1"),
    "bigram_repetition": _repetition("Bigram repetition", 2, "main"),
    "trigram_repetition": _repetition("Trigram repetition", 3, "main"),
    "prediction_entropy_nats": Metric(
        "Prediction entropy (TF)", "nats", decimals=2, section="4.1",
        kernel="entropy.prediction_entropy_nats",
    ),
    "val_ppl": Metric(
        "Validation perplexity", decimals=1, section="7.1", kernel="likelihood.token_nll_nats",
    ),
    "top1_agreement_tf": Metric(
        "Top-1 agreement (TF)", "share", section="3.1", kernel="ranks.top1_agreement",
    ),
    "coherence_original_nats": Metric(
        "Coherence", "mean log-likelihood under the original, nats per token", decimals=2,
        section="2.8", kernel="likelihood.token_nll_nats",
    ),
    "nonwords": Metric(
        "Words that do not exist", "share", section="2.9", kernel="words.nonword_share",
    ),
    "ttr_word": Metric(
        "Word TTR", "distinct words / words", table="text", of_text=word_type_token_ratio,
        section="2.2",
    ),
    "fourgram_repetition": _repetition("4-gram repetition", 4, "text"),
    "diversity": Metric(
        "Diversity", "product of 1 - rep-2, -3, -4", table="text", of_tokens=diversity,
        section="2.4",
    ),
    "looped_rate_vllm": Metric(
        "Looped, vLLM's rule", "share of texts", decimals=2, table="text", of_tokens=vllm_loop,
        section="2.10",
    ),
    "looped_rate_llama_cpp": Metric(
        "Looped, llama.cpp's rule", "share of texts", decimals=2, table="text",
        of_tokens=llama_cpp_loop, section="2.10",
    ),
    "compression_ratio": Metric(
        "Compression", "bytes / compressed bytes", decimals=2, table="text",
        of_text=compression_ratio, section="2.10",
    ),
    "prediction_entropy_own_nats": Metric(
        "Prediction entropy (OP)", "nats", decimals=2, table="text", section="4.1",
        kernel="entropy.prediction_entropy_nats",
    ),
    "tau_star": Metric(
        "Temperature of equal entropy", decimals=2, table="text", section="4.2",
        kernel="temperature.match_temperature",
    ),
    "top1_agreement_op": Metric(
        "Top-1 agreement (OP)", "share", table="ranks", section="3.1",
        kernel="ranks.top1_agreement",
    ),
    "spearman": Metric(
        "Spearman, all tokens", table="ranks", section="3.4", kernel="spearman.correlations",
    ),
    "spearman_top100": Metric(
        "Spearman, both top 100", table="ranks", section="3.4", kernel="spearman.correlations",
    ),
    "rank_1": Metric(
        "Rank 1", "share", table="ranks", section="3.2", kernel="ranks.rank_bin_shares",
    ),
    "rank_2_10": Metric(
        "Rank 2-10", "share", table="ranks", section="3.2", kernel="ranks.rank_bin_shares",
    ),
    "rank_gt_10": Metric(
        "Rank > 10", "share", table="ranks", section="3.2", kernel="ranks.rank_bin_shares",
    ),
    "rank_gt_200": Metric(
        "Rank > 200", "share", table="ranks", section="3.2", kernel="ranks.rank_bin_shares",
    ),
    "ended_rate": Metric(
        "Ended", "share of texts", decimals=2, table="endings", section="2.5",
        kernel="text.ending",
    ),
    "looped_rate": Metric(
        "Looped (natural)", "share of texts", decimals=2, table="endings", section="2.5",
        kernel="text.ending",
    ),
    "truncated_rate": Metric(
        "Truncated", "share of texts", decimals=2, table="endings", section="2.5",
        kernel="text.ending",
    ),
    "mean_length": Metric(
        "Mean length", "tokens", decimals=1, table="endings", section="2.5",
        kernel="text.ending",
    ),
    "mauve": Metric("MAUVE", table="quality", section="2.7", kernel="mauve.mauve"),
    "coherence_nats": Metric(
        "Coherence under the reference", "mean log-likelihood, nats per token of it", decimals=2,
        table="quality",
        section="2.8", kernel="likelihood.token_nll_nats",
    ),
    "distinct_2": Metric(
        "Distinct-2", "distinct / all bigrams of all texts", table="quality", section="2.8",
        kernel="quality.distinct_n",
    ),
    "self_bleu": Metric(
        "Self-BLEU-4", "0 to 100", decimals=1, table="quality", section="2.8",
        kernel="quality.self_bleu",
    ),
    "overlap_mean": Metric(
        "Longest run from the training set", "tokens, mean", decimals=1, table="quality",
        section="2.6", kernel="overlap.longest_run",
    ),
    "overlap_max": Metric(
        "Longest run of all texts", "tokens", decimals=0, table="quality", section="2.6",
        kernel="overlap.longest_run",
    ),
    "overlap_gt_10": Metric(
        "Runs above 10 tokens", "share of texts", table="quality", section="2.6",
        kernel="overlap.longest_run",
    ),
    "fivegram_overlap": Metric(
        "5-grams in the training set", "share", table="quality", section="2.6",
        kernel="overlap.ngram_overlap",
    ),
    "delta_dim_block_output": Metric(
        "Change of dimensions, last block", "participation ratio", decimals=1, table="domains",
        section="6.4", kernel="participation.participation_ratios",
    ),
    "delta_dim_post_final_norm": Metric(
        "Change of dimensions, after the final norm", "participation ratio", decimals=1,
        table="domains", section="6.4", kernel="participation.participation_ratios",
    ),
}  # fmt: skip

"""How varied the texts of an arm are among each other.

Coherence needs no function of its own: the mean log-likelihood of a text under a reference model
is minus the mean over its row of `models.forward.nll_rows(model, rows, K)`, K generated
tokens at the end of each row; in nats a token, at most 0.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperfitting.errors import InputError

BLEU_ORDER = 4  # the source does not state its own (definitions, section 2.6)
BLEU_TEXTS = 200  # more are sampled: the time grows with the square


def distinct_n(texts_ids: Sequence[Sequence[int]], n: int) -> float | None:
    """Distinct n-grams / n-grams over all texts of an arm together, in (0, 1].

    Li et al. 2016 (arXiv 1510.03055), on token ids; no n-gram crosses from one text to the next.
    None without n-grams. Falls with the number and the length of the texts: compare equal ones
    only. 1 is no repeated n-gram; nearer to human text is better.

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"n-grams have an n of at least 1, got {n}")
    grams = [tuple(ids[i : i + n]) for ids in texts_ids for i in range(len(ids) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def distinct_parts(
    texts_ids: Sequence[Sequence[int]], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each text adds to `distinct_n`, and its number of n-grams, [N] each.

    A distinct n-gram is divided equally between the texts that hold it (the Shapley value of a text
    in the count of all), so the sum of the parts / the sum of the numbers is `distinct_n`. Texts
    can be resampled by their parts; resampled whole, a text that is drawn twice would add nothing
    the second time, and the interval be several times too wide (decision 0021).
    """
    grams = [Counter(tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)) for ids in texts_ids]
    holders = Counter(gram for of_text in grams for gram in of_text)
    parts = [sum(1 / holders[gram] for gram in of_text) for of_text in grams]
    return np.array(parts, dtype=float), np.array([c.total() for c in grams], dtype=float)


def require_sacrebleu() -> Any:
    """The package that self-BLEU needs: its metrics.

    Raises:
        InputError: it is missing.
    """
    try:
        import sacrebleu.metrics
    except ImportError as error:
        raise InputError(
            "self-BLEU needs sacrebleu, which is not installed",
            needed="the extra: pip install 'hyperfitting[quality]'",
        ) from error
    return sacrebleu.metrics


class SelfBleu(NamedTuple):
    """Self-BLEU with all that it has to be printed with."""

    value: float | None  # [0, 100]; higher: the texts are more alike
    n: int  # texts that were scored, each against the others
    undefined: int  # blank texts, left out
    order: int
    signature: str | None  # sacrebleu's: tokenizer, smoothing, version
    reason: str | None  # why there is no value


def self_bleu(
    texts: Sequence[str],
    order: int = BLEU_ORDER,
    *,
    max_texts: int | None = BLEU_TEXTS,
    seed: int,
) -> SelfBleu:
    """Mean sentence BLEU of each text against all others as its references, in [0, 100].

    Zhu et al. 2018 (arXiv 1802.01886); BLEU is sacrebleu's, with its default tokenizer and
    smoothing and the effective order for short texts. Rises with the number of texts, so compare
    equal numbers only: of more than `max_texts` (None: no limit) that many are drawn, without
    replacement, as texts and as references. Undefined for fewer than 2 texts.

    Raises:
        InputError: sacrebleu is missing.
        ValueError: an order below 1, or fewer than 2 as `max_texts`.
    """
    if order < 1 or (max_texts is not None and max_texts < 2):
        raise ValueError(f"order >= 1 and max_texts >= 2 needed, got {order} and {max_texts}")
    metrics = require_sacrebleu()
    written = [text for text in texts if text.strip()]
    undefined = len(texts) - len(written)
    if len(written) < 2:
        reason = f"{len(written)} texts that are not blank, at least 2 are needed"
        return SelfBleu(None, len(written), undefined, order, None, reason)
    if max_texts is not None and len(written) > max_texts:
        drawn = np.random.default_rng(seed).choice(len(written), max_texts, replace=False)
        written = [written[i] for i in sorted(drawn)]
    bleu = metrics.BLEU(max_ngram_order=order, effective_order=True)
    scores = [
        bleu.sentence_score(text, written[:i] + written[i + 1 :]).score
        for i, text in enumerate(written)
    ]
    signature = str(bleu.get_signature())
    return SelfBleu(float(np.mean(scores)), len(written), undefined, order, signature, None)

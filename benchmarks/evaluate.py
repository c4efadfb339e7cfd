"""Time and memory of the evidence: two models compared on every position of 300 contexts.

One pass takes everything: diversity, entropies and temperatures of equal entropy, ranks and both
rank correlations, provenance, the static shift, and the geometry of every layer at three taps.
The kernels that compare logits (rank correlations and ranks) are timed on the same logits against
a straightforward loop with scipy and numpy, position by position, interleaved.

Random Llama models; the tuned one differs in its last blocks, as after Late-Stage LoRA. Every
vocabulary is a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from common import (
    Result,
    about,
    add_sizes,
    add_threads,
    finish,
    parser_of,
    random_llama,
    short,
    versions_in_words,
)
from memory import PeakMemory

PACKAGES = ("torch", "transformers", "numpy", "scipy")
LAST_BLOCKS = 2
LOOP = "a loop over positions with scipy.stats.spearmanr, scipy.stats.rankdata and numpy"


# --- in a process of its own: one vocabulary ----------------------------------------------------


def make_models(settings: argparse.Namespace, vocabulary: int) -> tuple[Any, Any]:
    """A random model and a copy whose last blocks differ."""
    import torch

    sizes = {"vocabulary": vocabulary, "hidden": settings.hidden, "blocks": settings.blocks}
    original, tuned = (random_llama(**sizes, positions=256) for _ in range(2))
    torch.manual_seed(1)
    with torch.no_grad():
        for block in tuned.model.layers[-LAST_BLOCKS:]:
            for parameter in block.parameters():
                parameter += 0.02 * torch.randn_like(parameter)
    return original, tuned


def straightforward(original: Any, tuned: Any, chosen: Any) -> tuple[list[float], ...]:
    """What a first version would do: one position after the other, on numpy arrays."""
    import numpy as np
    from scipy import stats

    whole, top, ranks = [], [], []
    for a, b, token in zip(original, tuned, chosen, strict=True):
        whole.append(float(stats.spearmanr(a, b).statistic))
        best = np.union1d(np.argsort(-a)[:100], np.argsort(-b)[:100])
        top.append(float(stats.spearmanr(a[best], b[best]).statistic))
        ranks.append(float(stats.rankdata(-a, method="min")[token]))
    return whole, top, ranks


def kernels(original_KV: Any, tuned_KV: Any, settings: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds a position of ours and of the loop, interleaved, and how far they differ."""
    import numpy as np

    from hyperfitting.measure.ranks import token_ranks
    from hyperfitting.measure.spearman import correlations

    chosen_K = tuned_KV.argmax(dim=-1)
    few = settings.loop_positions
    arrays = [each[:few].numpy() for each in (original_KV, tuned_KV, chosen_K)]
    times: dict[str, list[float]] = {"ours": [], "loop": []}
    for _ in range(settings.repeats):
        start = time.perf_counter()
        found = correlations(original_KV, tuned_KV)
        ranks_K = token_ranks(original_KV, chosen_K)
        times["ours"].append((time.perf_counter() - start) * 1e3 / len(original_KV))
        start = time.perf_counter()
        whole, top, ranks = straightforward(*arrays)
        times["loop"].append((time.perf_counter() - start) * 1e3 / few)
    apart = max(
        float(np.abs(found.spearman[:few] - whole).max()),
        float(np.abs(found.spearman_top[:few] - top).max()),
        float(np.abs(ranks_K[:few].numpy() - ranks).max()),
    )
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "ms_per_position_ours": medians["ours"],
        "ms_per_position_loop": medians["loop"],
        "ratio_scipy_loop": medians["loop"] / medians["ours"],
        "largest_difference": apart,
    }


def one_pass(pair: Any, settings: argparse.Namespace, vocabulary: int) -> dict[str, Any]:
    """Everything the evidence needs of these models and texts; seconds and peak memory."""
    import numpy as np

    from hyperfitting.compare.layers import GeometryObserver
    from hyperfitting.compare.scores import compare_rows
    from hyperfitting.config import ExplainConfig
    from hyperfitting.evaluate.matching import EntropyMatching
    from hyperfitting.explain.static_bias import ShiftObserver, halves
    from hyperfitting.measure.ranks import rank_histogram
    from hyperfitting.measure.text import diversity, ngram_repetition, type_token_ratio
    from hyperfitting.models.anatomy import anatomy
    from hyperfitting.records import Arm

    length = settings.continuation
    shape = (settings.contexts, 32 + length)
    rows = np.random.default_rng(0).integers(1, vocabulary, shape).tolist()
    calls = {"original": 0, "tuned": 0}
    hooks = []
    for name, model in (("original", pair.original), ("tuned", pair.tuned)):
        block = next(iter(anatomy(model).blocks.values()))

        def count(*_: Any, name: str = name) -> None:
            calls[name] += 1

        hooks.append(block.register_forward_hook(count))
    matching = EntropyMatching(len(rows), length, vocabulary)
    shift = ShiftObserver(vocabulary, halves(len(rows), 0))
    geometry = GeometryObserver(ExplainConfig(resamples=settings.resamples))

    def each(found: Any, scores: Any) -> None:
        matching(found, scores)
        shift(found, scores)

    memory = PeakMemory("cpu")
    start = time.perf_counter()
    scores = compare_rows(pair, rows, length, vocabulary, each=each, observe=geometry)
    rank_histogram(scores.chosen_rank_NK, largest=vocabulary)
    geometry.result(Arm("tuned"))
    summary = matching.summary()
    for row in rows:
        text = row[-length:]
        _ = type_token_ratio(text), diversity(text), [ngram_repetition(text, n) for n in (2, 3, 4)]
    seconds = time.perf_counter() - start
    for hook in hooks:
        hook.remove()
    return {
        "seconds": seconds,
        "peak_mb": memory.mb(),
        "measured_by": memory.method,
        "first_block_calls_original": calls["original"],
        "first_block_calls_tuned": calls["tuned"],
        "temperature_unsolved": summary.per_context.unsolved,
    }


def run_vocabulary(settings: argparse.Namespace) -> dict[str, Any]:
    """One process: the pass, then the kernels on one context's logits after another."""
    from hyperfitting.allocation import keep_large_buffers

    keep_large_buffers()  # as `hyperfit` does
    import torch

    from hyperfitting.models.pair import make_pair, paired_logits

    torch.set_num_threads(settings.threads)
    vocabulary = settings.vocabulary[0]
    pair = make_pair(*make_models(settings, vocabulary))
    warm = make_pair(*make_models(argparse.Namespace(hidden=64, blocks=3), 512))
    small = argparse.Namespace(**vars(settings) | {"contexts": 4, "continuation": 8})
    one_pass(warm, small, 512)  # what libraries set up once is not the evidence's
    result = one_pass(pair, settings, vocabulary)
    row = torch.randint(1, vocabulary, (32 + settings.continuation,)).tolist()
    found = next(paired_logits(pair, [row], settings.continuation))
    result |= kernels(found.original_KV.contiguous(), found.tuned_KV.contiguous(), settings)
    result["shared_blocks"] = pair.shared_blocks
    return result


# --- the whole --------------------------------------------------------------------------------


def in_process(settings: argparse.Namespace, vocabulary: int) -> dict[str, Any]:
    """One vocabulary in a fresh process."""
    names = ("contexts", "continuation", "hidden", "blocks", "resamples", "repeats", "threads")
    options = [f"--{name}={getattr(settings, name)}" for name in names]
    options += [f"--loop-positions={settings.loop_positions}", f"--vocabulary={vocabulary}"]
    command = [sys.executable, __file__, "--child", *options]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(run.stdout))


def measure_all(settings: argparse.Namespace) -> dict[str, Any]:
    """Every vocabulary, and how time and memory grow."""
    result: Result = {
        "against": LOOP,
        **about(PACKAGES),
        "threads": settings.threads,
        "contexts": settings.contexts,
        "continuation": settings.continuation,
        "hidden": settings.hidden,
        "blocks": settings.blocks,
        "vocabularies": settings.vocabulary,
    }
    for vocabulary in settings.vocabulary:
        found = in_process(settings, vocabulary)
        result |= {f"{name}_{short(vocabulary)}": value for name, value in found.items()}
    sizes = list(map(short, settings.vocabulary))
    result["ratio_scipy_loop"] = min(result[f"ratio_scipy_loop_{size}"] for size in sizes)
    result["peak_mb"] = max(result[f"peak_mb_{size}"] for size in sizes)
    result["growth_mb"] = result[f"peak_mb_{sizes[-1]}"] - result[f"peak_mb_{sizes[0]}"]
    return result


def show(result: Result) -> None:
    """The result as a table."""
    print(f"Against {result['against']}; {versions_in_words(result)}; {result['threads']} threads")
    print(
        f"{result['contexts']} contexts x {result['continuation']} tokens, hidden "
        f"{result['hidden']}, {result['blocks']} blocks, the last {LAST_BLOCKS} of them tuned"
    )
    print(f"  {'vocabulary':>10}{'pass s':>9}{'peak MB':>9}{'ours ms':>9}{'loop ms':>9}"
          f"{'ratio':>8}{'apart':>10}{'first block calls':>19}")  # fmt: skip
    for vocabulary in result["vocabularies"]:
        size = short(vocabulary)
        calls = [result[f"first_block_calls_{name}_{size}"] for name in ("original", "tuned")]
        print(
            f"  {vocabulary:>10,}{result[f'seconds_{size}']:>9.1f}"
            f"{result[f'peak_mb_{size}']:>9,.0f}{result[f'ms_per_position_ours_{size}']:>9.3f}"
            f"{result[f'ms_per_position_loop_{size}']:>9.2f}"
            f"{result[f'ratio_scipy_loop_{size}']:>8.1f}"
            f"{result[f'largest_difference_{size}']:>10.1e}{calls[0]:>12} and {calls[1]}"
        )


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--continuation", type=int, default=96, help="tokens scored of a text")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    add_threads(parser)
    fill = add_sizes(
        parser,
        {
            "contexts": (300, 12, "texts"), "hidden": (256, 64, "width"),
            "blocks": (8, 8, "of the models"), "resamples": (10_000, 500, "bootstrap draws"),
            "vocabulary": ([32_000, 128_000], [2_000, 8_000], "sizes"),
            "repeats": (5, 2, "of the kernels"), "loop_positions": (24, 6, "of the loop a repeat"),
        },
    )  # fmt: skip
    settings = parser.parse_args()
    fill(settings)
    if settings.child:
        print(json.dumps(run_vocabulary(settings)))
    else:
        finish(settings, measure_all(settings), show)


if __name__ == "__main__":
    main()

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
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata
from typing import Any

from memory import PeakMemory

from hyperfitting import __version__

PACKAGES = ("torch", "transformers", "numpy", "scipy")
LAST_BLOCKS = 2
LOOP = "a loop over positions with scipy.stats.spearmanr, scipy.stats.rankdata and numpy"


# --- in a process of its own: one vocabulary ----------------------------------------------------


def make_models(settings: argparse.Namespace, vocabulary: int) -> tuple[Any, Any]:
    """A random model and a copy whose last blocks differ."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=settings.hidden,
        intermediate_size=settings.hidden * 11 // 4,
        num_hidden_layers=settings.blocks,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.06,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    original = LlamaForCausalLM(config).eval()
    tuned = LlamaForCausalLM(config).eval()
    tuned.load_state_dict(original.state_dict())
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
        "temperature_unsolved": summary["per_context"]["unsolved"],
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
    result: dict[str, Any] = {
        "against": LOOP,
        "machine": platform.processor() or platform.machine(),
        "threads": settings.threads,
        "contexts": settings.contexts,
        "continuation": settings.continuation,
        "hidden": settings.hidden,
        "blocks": settings.blocks,
        "vocabularies": settings.vocabulary,
        "packages": {"hyperfitting": __version__} | {p: metadata.version(p) for p in PACKAGES},
    }
    for vocabulary in settings.vocabulary:
        found = in_process(settings, vocabulary)
        result |= {f"{name}_{vocabulary // 1000}k": value for name, value in found.items()}
    sizes = [f"{v // 1000}k" for v in settings.vocabulary]
    result["ratio_scipy_loop"] = min(result[f"ratio_scipy_loop_{size}"] for size in sizes)
    result["growth_mb"] = result[f"peak_mb_{sizes[-1]}"] - result[f"peak_mb_{sizes[0]}"]
    return result


def show(result: dict[str, Any]) -> None:
    """The result as a table."""
    packages = ", ".join(f"{name} {number}" for name, number in result["packages"].items())
    print(f"Against {result['against']}; {packages}; {result['threads']} threads")
    print(
        f"{result['contexts']} contexts x {result['continuation']} tokens, hidden "
        f"{result['hidden']}, {result['blocks']} blocks, the last {LAST_BLOCKS} of them tuned"
    )
    print(f"  {'vocabulary':>10}{'pass s':>9}{'peak MB':>9}{'ours ms':>9}{'loop ms':>9}"
          f"{'ratio':>8}{'apart':>10}{'first block calls':>19}")  # fmt: skip
    for vocabulary in result["vocabularies"]:
        size = f"{vocabulary // 1000}k"
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--contexts", type=int, help="texts (300; quick: 12)")
    parser.add_argument("--continuation", type=int, default=96, help="tokens scored of a text")
    parser.add_argument("--hidden", type=int, help="width (256; quick: 64)")
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, nargs="+", help="sizes (32k, 128k)")
    parser.add_argument("--resamples", type=int, help="bootstrap draws (10,000; quick: 500)")
    parser.add_argument("--repeats", type=int, help="of the kernels (5; quick: 2)")
    parser.add_argument("--loop-positions", type=int, help="of the loop a repeat (24; quick: 6)")
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    settings = parser.parse_args()
    quick = settings.quick
    settings.contexts = settings.contexts or (12 if quick else 300)
    settings.hidden = settings.hidden or (64 if quick else 256)
    settings.vocabulary = settings.vocabulary or ([2_000, 8_000] if quick else [32_000, 128_000])
    settings.resamples = settings.resamples or (500 if quick else 10_000)
    settings.repeats = settings.repeats or (2 if quick else 5)
    settings.loop_positions = settings.loop_positions or (6 if quick else 24)
    if settings.child:
        print(json.dumps(run_vocabulary(settings)))
        return
    result = measure_all(settings)
    if settings.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()

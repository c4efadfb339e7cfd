"""Speed of the decoders: against transformers' `generate`, and of the dear ones against cheap ones.

- greedy and the samplers against `model.generate` with the same settings, batch and length; a
  ratio above 1 means ours is faster;
- contrastive search against greedy decoding of k times as many contexts, and GUARD against
  top-k: how much longer they take.

A random Llama model, continuations of fixed length, repeats interleaved, medians.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

from memory import PeakMemory

from hyperfitting import __version__

PACKAGES = ("torch", "transformers", "numpy")
CANDIDATES = 10
# Ours, and the same for `generate`.
AGAINST_GENERATE: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "temperature:0.7": {"do_sample": True, "top_k": 0, "temperature": 0.7},
    "top_k:50": {"do_sample": True, "top_k": 50},
    "top_p:0.9": {"do_sample": True, "top_k": 0, "top_p": 0.9},
    "min_p:0.1": {"do_sample": True, "top_k": 0, "min_p": 0.1},
    "typical:0.9": {"do_sample": True, "top_k": 0, "typical_p": 0.9},
    "repetition_penalty:1.2": {"do_sample": False, "repetition_penalty": 1.2},
}
CONTRASTIVE = f"contrastive_search:alpha=0.6,k={CANDIDATES}"
ALONE = (CONTRASTIVE, "adaptive_contrastive_search", "guard", "mirostat", "top_n_sigma:1.0")


def make_model(settings: argparse.Namespace) -> Any:
    """A random model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=settings.vocabulary,
        hidden_size=settings.hidden,
        intermediate_size=settings.hidden * 11 // 4,
        num_hidden_layers=settings.blocks,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.06,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()


def make_tasks(settings: argparse.Namespace, model: Any) -> dict[str, Callable[[], None]]:
    """What is timed, by name."""
    import numpy as np
    import torch
    from transformers import GenerationConfig

    from hyperfitting.generate.run import run_decoder
    from hyperfitting.generate.specs import parse_decoder

    few = max(1, settings.batch // CANDIDATES)
    shape = (few * CANDIDATES, settings.context)
    rows = np.random.default_rng(0).integers(1, settings.vocabulary, shape).tolist()
    seeds = [[0, n] for n in range(len(rows))]

    def ours(text: str, count: int) -> Callable[[], None]:
        spec = parse_decoder(text)
        return lambda: _written(
            run_decoder(
                spec, model, rows[:count], seeds_N=seeds[:count],
                max_new_tokens=settings.tokens, batch_size=len(rows),
            ),
            settings.tokens,
        )  # fmt: skip

    def theirs(options: dict[str, Any]) -> Callable[[], None]:
        config = GenerationConfig(
            **options, max_new_tokens=settings.tokens, eos_token_id=None, pad_token_id=0
        )
        ids = torch.tensor(rows)
        mask = torch.ones_like(ids)

        def run() -> None:
            with torch.no_grad():
                output = model.generate(ids, attention_mask=mask, generation_config=config)
            assert output.shape[1] == settings.context + settings.tokens

        return run

    tasks = {}
    for text, options in AGAINST_GENERATE.items():
        tasks[text] = ours(text, len(rows))
        tasks[f"generate {text}"] = theirs(options)
    for text in ALONE:
        searches = "contrastive" in text
        tasks[text] = ours(text, few if searches else len(rows))
    return tasks


def _written(decoded: Any, tokens: int) -> None:
    assert all(len(text.ids) == tokens for text in decoded)


def measure(settings: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of every task, and the ratios."""
    from hyperfitting.allocation import keep_large_buffers

    keep_large_buffers()  # as `hyperfit` does, for both sides
    import torch

    torch.set_num_threads(settings.threads)
    memory = PeakMemory("cpu")
    tasks = make_tasks(settings, make_model(settings))
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for repeat in range(settings.repeats + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if repeat:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    few = max(1, settings.batch // CANDIDATES)
    result: dict[str, Any] = {
        "against": "transformers generate with a DynamicCache",
        "machine": platform.processor() or platform.machine(),
        "threads": settings.threads,
        "rows": few * CANDIDATES,
        "contexts_contrastive": few,
        "candidates": CANDIDATES,
        "context": settings.context,
        "tokens": settings.tokens,
        "hidden": settings.hidden,
        "blocks": settings.blocks,
        "vocabulary": settings.vocabulary,
        "repeats": settings.repeats,
        "packages": {"hyperfitting": __version__} | {p: metadata.version(p) for p in PACKAGES},
        "peak_mb": memory.mb(),
        "measured_by": memory.method,
    }
    for name, value in seconds.items():
        result[f"seconds_{_plain(name)}"] = value
    for text in AGAINST_GENERATE:
        result[f"ratio_generate_{_plain(text)}"] = seconds[f"generate {text}"] / seconds[text]
    greedy = seconds["greedy"]
    result["ratio_contrastive_search_greedy"] = seconds[CONTRASTIVE] / greedy
    result["ratio_guard_top_k"] = seconds["guard"] / seconds["top_k:50"]
    return result


def _plain(name: str) -> str:
    return name.split(":")[0].replace(" ", "_")


def show(result: dict[str, Any]) -> None:
    """The result as a table."""
    packages = ", ".join(f"{name} {number}" for name, number in result["packages"].items())
    print(f"Against {result['against']}; {packages}; {result['threads']} threads")
    print(
        f"{result['rows']} rows x {result['tokens']} tokens after {result['context']}, hidden "
        f"{result['hidden']}, {result['blocks']} blocks, vocabulary {result['vocabulary']:,}, "
        f"{result['repeats']} repeats"
    )
    print(f"  {'decoder':<28}{'ours s':>9}{'generate s':>12}{'ratio':>8}")
    for text in map(_plain, AGAINST_GENERATE):
        print(
            f"  {text:<28}{result[f'seconds_{text}']:>9.2f}"
            f"{result[f'seconds_generate_{text}']:>12.2f}{result[f'ratio_generate_{text}']:>8.2f}"
        )
    for text in map(_plain, ALONE):
        print(f"  {text:<28}{result[f'seconds_{text}']:>9.2f}")
    print(
        f"Contrastive search, {result['contexts_contrastive']} contexts x "
        f"{result['candidates']} candidates: {result['ratio_contrastive_search_greedy']:.2f} x "
        f"greedy on as many rows. GUARD: {result['ratio_guard_top_k']:.2f} x top-k. "
        f"Peak {result['peak_mb']:,.0f} MB ({result['measured_by']})."
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--batch", type=int, help="rows at most (40; quick: 20)")
    parser.add_argument("--context", type=int, default=32, help="tokens of a context")
    parser.add_argument("--tokens", type=int, help="new tokens (96; quick: 24)")
    parser.add_argument("--hidden", type=int, help="width (256; quick: 128)")
    parser.add_argument("--blocks", type=int, help="(8; quick: 4)")
    parser.add_argument("--vocabulary", type=int, help="(32,000; quick: 8,000)")
    parser.add_argument("--repeats", type=int, help="(5; quick: 3)")
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    parser.add_argument("--threads", type=int, default=threads)
    settings = parser.parse_args()
    defaults = {"batch": (40, 20), "tokens": (96, 24), "hidden": (256, 128), "blocks": (8, 4),
                "vocabulary": (32_000, 8_000), "repeats": (5, 3)}  # fmt: skip
    for name, (full, quick) in defaults.items():
        if getattr(settings, name) is None:
            setattr(settings, name, quick if settings.quick else full)
    result = measure(settings)
    if settings.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()

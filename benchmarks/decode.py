"""Speed of the decoders: against transformers' `generate`, and of the dear ones against cheap ones.

- greedy and the samplers against `model.generate` with the same settings, batch and length; a
  ratio above 1 means ours is faster;
- contrastive search against greedy decoding of k times as many contexts, and GUARD against
  top-k: how much longer they take;
- dry against `generate`'s greedy decoding, min-k and p-less against `generate`'s min-p: they are
  not in `generate`, so this is what they cost over what it has;
- dry, token by token of one long text: how much of a token's time the choice takes at 500, 1,000
  and 2,000 tokens; it should hardly grow.

A random Llama model, continuations of fixed length, repeats interleaved, medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from common import (
    Result,
    about,
    add_sizes,
    add_threads,
    finish,
    interleaved_medians,
    parser_of,
    random_llama,
    versions_in_words,
)
from memory import PeakMemory

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
DRY = "dry:breakers=0"
ALONE = (
    CONTRASTIVE, "adaptive_contrastive_search", "guard", "mirostat", "top_n_sigma:1.0", DRY,
    "min_k:3", "p_less", "stop",
)  # fmt: skip
# Ours that `generate` lacks, and what of it they stand beside.
BESIDE_GENERATE = {DRY: "greedy", "min_k:3": "min_p:0.1", "p_less": "min_p:0.1"}
LENGTHS = (500, 1000, 2000)
AROUND = 20  # tokens before and after a length whose median time is taken


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
        ids = torch.tensor(rows, device=settings.device)
        mask = torch.ones_like(ids)

        def run() -> None:
            with torch.no_grad():
                output = model.generate(ids, attention_mask=mask, generation_config=config)
            assert output.cpu().shape[1] == settings.context + settings.tokens

        return run

    tasks = {}
    for text, options in AGAINST_GENERATE.items():
        tasks[text] = ours(text, len(rows))
        tasks[f"generate {text}"] = theirs(options)
    for text in ALONE:
        searches = "contrastive" in text
        tasks[text] = ours(text, few if searches else len(rows))
    return tasks


def seconds_of_tokens(model: Any, text: str, lengths: Sequence[int]) -> list[tuple[float, float]]:
    """Median seconds of a token of one text around each of these lengths: choosing it, and all."""
    import torch

    from hyperfitting.generate.run import chooser
    from hyperfitting.generate.specs import parse_decoder
    from hyperfitting.generate.stepper import Stepper
    from hyperfitting.models.devices import wait_for

    choose, stepper = chooser(parse_decoder(text)), Stepper(model, [[1, 2, 3]])
    seen = torch.tensor([[1, 2, 3]], device=model.device)
    times: list[tuple[float, float]] = []
    with torch.no_grad():
        for step in range(max(lengths) + AROUND):
            start = time.perf_counter()
            logits_BV = stepper.logits()
            wait_for(model.device)
            middle = time.perf_counter()
            token_B, _ = choose(logits_BV, range(1), step, seen)
            wait_for(model.device)
            end = time.perf_counter()
            times.append((end - middle, end - start))
            stepper.append(token_B)
            seen = torch.cat([seen, token_B[:, None]], dim=1)
    windows = [times[length - AROUND : length + AROUND] for length in lengths]
    return [
        (statistics.median(t for t, _ in window), statistics.median(t for _, t in window))
        for window in windows
    ]


def _written(decoded: Any, tokens: int) -> None:
    assert all(len(text.ids) == tokens for text in decoded)


def measure(settings: argparse.Namespace) -> Result:
    """Median seconds of every task, and the ratios."""
    from hyperfitting.allocation import keep_large_buffers

    keep_large_buffers()  # as `hyperfit` does, for both sides
    import torch

    torch.set_num_threads(settings.threads)
    memory = PeakMemory(settings.device)
    model = random_llama(
        vocabulary=settings.vocabulary, hidden=settings.hidden, blocks=settings.blocks
    ).to(settings.device)
    tasks = make_tasks(settings, model)
    if settings.only:
        asked = {_plain(name) for name in settings.only.split(",")}
        asked |= {
            _plain(BESIDE_GENERATE[text]) for text in BESIDE_GENERATE if _plain(text) in asked
        }
        tasks = {k: v for k, v in tasks.items() if _plain(k.removeprefix("generate ")) in asked}
    seconds = interleaved_medians(tasks, settings.repeats)
    few = max(1, settings.batch // CANDIDATES)
    result: Result = {
        "against": "transformers generate with a DynamicCache",
        **about(PACKAGES),
        "device": settings.device,
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
        "peak_mb": memory.mb(),
        "measured_by": memory.method,
    }
    for name, value in seconds.items():
        result[f"seconds_{_plain(name)}"] = value
    ratios = {f"generate_{_plain(text)}": (f"generate {text}", text) for text in AGAINST_GENERATE}
    ratios |= {"contrastive_search_greedy": (CONTRASTIVE, "greedy")}
    ratios |= {"guard_top_k": ("guard", "top_k:50")}
    ratios |= {
        f"generate_{_plain(other)}_{_plain(text)}": (f"generate {other}", text)
        for text, other in BESIDE_GENERATE.items()
    }
    for name, (one, other) in ratios.items():
        if one in seconds and other in seconds:
            result[f"ratio_{name}"] = seconds[one] / seconds[other]
    lengths = [length for length in LENGTHS if length <= settings.longest and DRY in seconds]
    for length, (choosing, whole) in zip(
        lengths, seconds_of_tokens(model, DRY, lengths), strict=True
    ):
        result[f"seconds_dry_choosing_{length}"] = choosing
        result[f"seconds_dry_token_{length}"] = whole
        result[f"ratio_dry_choosing_token_{length}"] = choosing / whole
    return result


def _plain(name: str) -> str:
    return name.split(":")[0].replace(" ", "_")


def show(result: Result) -> None:
    """The result as a table."""
    print(f"Against {result['against']}; {versions_in_words(result)}; {result['threads']} threads")
    print(
        f"{result['rows']} rows x {result['tokens']} tokens after {result['context']}, hidden "
        f"{result['hidden']}, {result['blocks']} blocks, vocabulary {result['vocabulary']:,}, "
        f"{result['repeats']} repeats"
    )
    print(f"  {'decoder':<28}{'ours s':>9}{'generate s':>12}{'ratio':>8}")
    for text in map(_plain, (*AGAINST_GENERATE, *ALONE)):
        if f"seconds_{text}" not in result:
            continue
        line = f"  {text:<28}{result[f'seconds_{text}']:>9.2f}"
        if f"ratio_generate_{text}" in result:
            line += f"{result[f'seconds_generate_{text}']:>12.2f}"
            line += f"{result[f'ratio_generate_{text}']:>8.2f}"
        print(line)
    if "ratio_contrastive_search_greedy" in result:
        print(
            f"Contrastive search, {result['contexts_contrastive']} contexts x "
            f"{result['candidates']} candidates: {result['ratio_contrastive_search_greedy']:.2f} x "
            "greedy on as many rows"
        )
    if "ratio_guard_top_k" in result:
        print(f"GUARD: {result['ratio_guard_top_k']:.2f} x top-k")
    print(f"Peak {result['peak_mb']:,.0f} MB ({result['measured_by']})")
    for text, other in BESIDE_GENERATE.items():
        name = f"ratio_generate_{_plain(other)}_{_plain(text)}"
        if name in result:
            print(f"  generate {_plain(other)} / our {_plain(text)}: {result[name]:.2f}")
    for length in LENGTHS:
        if f"seconds_dry_choosing_{length}" in result:
            choosing = 1e3 * result[f"seconds_dry_choosing_{length}"]
            whole = 1e3 * result[f"seconds_dry_token_{length}"]
            print(f"  dry, token {length:,} of one text: {choosing:.2f} ms of {whole:.2f} ms")


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--context", type=int, default=32, help="tokens of a context")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--only", default="", help="decoders by name, such as dry,min_k")
    add_threads(parser)
    fill = add_sizes(
        parser,
        {
            "batch": (40, 20, "rows at most"), "tokens": (96, 24, "new tokens"),
            "hidden": (256, 128, "width"), "blocks": (8, 4, "of the model"),
            "vocabulary": (32_000, 8_000, "tokens"), "repeats": (5, 3, "of every decoder"),
            "longest": (2_000, 500, "tokens of the text whose tokens are timed one by one"),
        },
    )  # fmt: skip
    settings = parser.parse_args()
    fill(settings)
    finish(settings, measure(settings), show)


if __name__ == "__main__":
    main()

"""Peak memory and time of the training loss: ours, in chunks, against cross-entropy on full logits.

Forward and backward pass from hidden states to the summed loss under a frozen head, in addition
to inputs and head. Every repeat of every case is a process of its own: its first pass is measured
for memory, its second for time. Ours also with a softcap of the logits, as Gemma 2 has one, where
our own chunks run and not torch's; it is compared with full logits without the softcap.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from common import (
    Result,
    about,
    add_sizes,
    add_threads,
    finish,
    note,
    parser_of,
    short,
    versions_in_words,
)
from memory import PeakMemory

CASES = ("ours", "ours_softcap", "plain")
SOFTCAP = 30.0
PACKAGES = ("torch",)


# --- in a process of its own: one case ----------------------------------------------------------


def inputs_of(settings: argparse.Namespace, positions: int, vocabulary: int) -> tuple[Any, ...]:
    """Hidden states that want a gradient, a frozen head, and targets: the same in every case."""
    import torch

    torch.manual_seed(0)
    options = {"device": settings.device, "dtype": getattr(torch, settings.dtype)}
    hidden_ND = torch.randn(positions, settings.hidden, **options).requires_grad_()
    weight_VD = torch.randn(vocabulary, settings.hidden, **options).mul_(0.05)
    target_N = torch.randint(0, vocabulary, (positions,), device=settings.device)
    return hidden_ND, weight_VD, target_N


def passes(case: str) -> Callable[..., float]:
    """Forward and backward pass of a case; returns the loss."""
    import torch

    from hyperfitting.train.loss import IGNORED, Head, summed_nll

    def run(hidden_ND: Any, weight_VD: Any, target_N: Any) -> float:
        hidden_ND.grad = None
        if case == "plain":
            logits_NV = torch.nn.functional.linear(hidden_ND, weight_VD).float()
            loss = torch.nn.functional.cross_entropy(
                logits_NV, target_N, ignore_index=IGNORED, reduction="sum"
            )
        else:
            head = Head(weight_VD, SOFTCAP if case == "ours_softcap" else None)
            loss = summed_nll(hidden_ND, head, target_N)
        loss.backward()
        return float(loss.detach())

    return run


def run_case(settings: argparse.Namespace) -> dict[str, Any]:
    """Memory of the first pass and time of the second."""
    from hyperfitting.allocation import keep_large_buffers

    is_tuned = settings.device == "cpu" and keep_large_buffers()  # as `hyperfit` does
    import torch

    from hyperfitting.models.devices import wait_for

    torch.set_num_threads(settings.threads)
    one_pass = passes(settings.case)
    one_pass(*inputs_of(settings, 8, 64))  # what libraries set up once is not the loss's
    inputs = inputs_of(settings, settings.positions, settings.vocabulary[0])
    wait_for(torch.device(settings.device))
    peak = PeakMemory(settings.device)
    loss = one_pass(*inputs)
    memory = peak.mb()
    wait_for(torch.device(settings.device))
    start = time.perf_counter()
    one_pass(*inputs)
    wait_for(torch.device(settings.device))
    seconds = time.perf_counter() - start
    name = torch.cuda.get_device_name() if settings.device == "cuda" else None
    return {
        "peak_mb": memory,
        "seconds": seconds,
        "loss": loss,
        "head_mb": inputs[1].nbytes / 1e6,
        "measured_by": peak.method,
        "tuned_allocator": is_tuned,
        "gpu": name,
    }


# --- in the process that was started: repeats, ratios, tables -----------------------------------


def measure(case: str, vocabulary: int, settings: argparse.Namespace) -> dict[str, Any]:
    """A repeat in a fresh process."""
    command = [sys.executable, __file__, "--case", case, "--vocabulary", str(vocabulary)]
    for name in ("hidden", "positions", "device", "dtype", "threads"):
        command += [f"--{name}", str(getattr(settings, name))]
    environment = os.environ | {"OMP_NUM_THREADS": str(settings.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{case} at vocabulary {vocabulary} failed:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def has_gpu() -> bool:
    """Whether torch finds a CUDA device."""
    import torch

    return torch.cuda.is_available()


def measure_all(settings: argparse.Namespace) -> dict[str, Any]:
    """Medians of interleaved repeats, ratios and growth."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for number in range(settings.repeats):
        for vocabulary in settings.vocabulary:
            for case in CASES:
                note(f"repeat {number + 1}/{settings.repeats}: {case} {short(vocabulary)}")
                answer = measure(case, vocabulary, settings)
                found.setdefault((case, vocabulary), []).append(answer)
    some = found["ours", settings.vocabulary[0]][0]
    result: Result = {
        "against": "cross-entropy on full logits (torch.nn.functional)",
        "positions": settings.positions,
        "hidden": settings.hidden,
        "vocabularies": settings.vocabulary,
        "repeats": settings.repeats,
        "device": some["gpu"] or settings.device,
        "dtype": settings.dtype,
        "threads": settings.threads,
        "tuned_allocator": some["tuned_allocator"],
        "measured_by": some["measured_by"],
        **about(PACKAGES),
        "peak_mb": max(each["peak_mb"] for answers in found.values() for each in answers),
    }
    for (case, vocabulary), answers in found.items():
        for name in ("peak_mb", "seconds"):
            median = statistics.median(each[name] for each in answers)
            result[f"median_{name}_{case}_{short(vocabulary)}"] = median
        result[f"head_mb_{short(vocabulary)}"] = answers[0]["head_mb"]
    return result | ratios(result, settings.vocabulary) | {"loss_difference": disagreement(found)}


def ratios(result: dict[str, Any], vocabularies: list[int]) -> dict[str, Any]:
    """Plain over ours at each vocabulary, and growth from the least to the largest."""
    found: dict[str, Any] = {}
    for size in map(short, vocabularies):
        for case, tail in (("ours", ""), ("ours_softcap", "_softcap")):
            for name, field in (("memory", "peak_mb"), ("time", "seconds")):
                plain = result[f"median_{field}_plain_{size}"]
                ours = result[f"median_{field}_{case}_{size}"]
                found[f"ratio_{name}{tail}_{size}"] = plain / ours if ours > 0 else None
    least, largest = short(min(vocabularies)), short(max(vocabularies))
    for case in CASES:
        low = result[f"median_peak_mb_{case}_{least}"]
        high = result[f"median_peak_mb_{case}_{largest}"]
        found[f"growth_mb_{case}"] = high - low
        found[f"growth_{case}"] = high / low if low > 0 else None
    return found


def disagreement(found: dict[tuple[str, int], list[dict[str, Any]]]) -> float:
    """Largest relative difference between our loss and the plain one."""
    pairs = [
        (answers[0]["loss"], found["plain", vocabulary][0]["loss"])
        for (case, vocabulary), answers in found.items()
        if case == "ours"
    ]
    return max(abs(ours - plain) / plain for ours, plain in pairs)


def show(result: Result) -> None:
    """The result as a table."""
    packages = versions_in_words(result)
    allocator = "tuned" if result["tuned_allocator"] else "system"
    print(f"Against {result['against']}; {packages}; {result['device']}, {result['dtype']}")
    print(
        f"{result['positions']} positions, hidden {result['hidden']}, {result['threads']} threads, "
        f"{allocator} allocator, medians of {result['repeats']}, peak by {result['measured_by']}"
    )
    print(f"  {'':<14}{'vocabulary':>11}{'peak MB':>10}{'less':>8}{'seconds':>10}{'faster':>8}"
          f"{'head MB':>10}")  # fmt: skip
    for vocabulary in result["vocabularies"]:
        size = short(vocabulary)
        for case in CASES:
            tail = {"ours": f"_{size}", "ours_softcap": f"_softcap_{size}"}.get(case)
            less, faster = (
                f"{result[f'ratio_{name}{tail}'] or float('nan'):.1f}x" if tail else ""
                for name in ("memory", "time")
            )
            print(
                f"  {case:<14}{vocabulary:>11,}"
                f"{result[f'median_peak_mb_{case}_{size}']:>10,.1f}{less:>8}"
                f"{result[f'median_seconds_{case}_{size}']:>10.3f}{faster:>8}"
                f"{result[f'head_mb_{size}']:>10,.1f}"
            )
    least, largest = (short(f(result["vocabularies"])) for f in (min, max))
    growth = ", ".join(f"{case} {result[f'growth_mb_{case}']:+,.1f} MB" for case in CASES)
    print(f"  from {least} to {largest}: {growth}")
    print(f"  losses agree within {result['loss_difference']:.1e}")


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    add_threads(parser)
    fill = add_sizes(
        parser,
        {
            "hidden": (512, 64, "width of the hidden states"),
            "positions": (8 * 256, 8 * 64, "tokens"),
            "vocabulary": ([32_000, 128_000, 256_000], [8_000, 32_000], "sizes"),
            "repeats": (3, 2, "processes of each case"),
        },
    )
    settings = parser.parse_args()
    fill(settings)
    if settings.device == "cuda" and not has_gpu():
        note("torch finds no CUDA device here: --device cpu")
        sys.exit(2)
    if settings.case:
        print(json.dumps(run_case(settings)))
    else:
        finish(settings, measure_all(settings), show)


if __name__ == "__main__":
    main()

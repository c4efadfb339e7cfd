"""What every benchmark shares: its options, versions, interleaved medians, one object printed.

A benchmark takes `--quick` (small sizes, to try the script) and `--json` (one JSON object on
standard output instead of a table); what it is doing goes to standard error.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hyperfitting import __version__

Result = dict[str, Any]


def parser_of(
    doc: str | None, *, quick: str = "small sizes, to try the script"
) -> argparse.ArgumentParser:
    """The options that all have; `doc` is the script's docstring."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser


def add_threads(parser: argparse.ArgumentParser) -> None:
    """The option `--threads`: OMP_NUM_THREADS, or every core."""
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    parser.add_argument("--threads", type=int, default=threads, help="of every process")


def add_sizes(
    parser: argparse.ArgumentParser, sizes: Mapping[str, tuple[Any, Any, str]]
) -> Callable[[argparse.Namespace], None]:
    """An option for each size, by its full and its quick value and what it is.

    A list takes several values. Returns what fills in those that were not given.
    """
    for name, (full, quick, what) in sizes.items():
        several: dict[str, Any] = {"nargs": "+"} if isinstance(full, list) else {}
        shown = f"{what} ({_listed(full)}; quick: {_listed(quick)})".strip()
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=shown, **several)

    def fill(settings: argparse.Namespace) -> None:
        for name, (full, quick, _) in sizes.items():
            if getattr(settings, name) is None:
                setattr(settings, name, quick if settings.quick else full)

    return fill


def _listed(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else f"{value:,}"


def about(packages: Iterable[str] = ()) -> Result:
    """The machine and the versions that a result depends on."""
    versions = {"hyperfitting": __version__} | {name: metadata.version(name) for name in packages}
    return {"machine": machine(), "python": platform.python_version(), "packages": versions}


def machine() -> str:
    """The processor, as the system calls it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions_in_words(result: Mapping[str, Any]) -> str:
    """The packages of a result, for its heading."""
    return ", ".join(f"{name} {number}" for name, number in result["packages"].items())


def interleaved_medians(
    tasks: Mapping[str, Callable[[], object]], repeats: int, *, warm_up: int = 1
) -> dict[str, float]:
    """Median seconds of each task; every round runs all, and the first rounds are not timed."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for repeat in range(repeats + warm_up):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if repeat >= warm_up:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def random_llama(
    *, vocabulary: int, hidden: int, blocks: int, positions: int = 1024, seed: int | None = 0
) -> Any:
    """A random float32 Llama; weights that are large, so that logits differ."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if seed is not None:
        torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=hidden * 11 // 4,
        num_hidden_layers=blocks, num_attention_heads=8, num_key_value_heads=2,
        max_position_embeddings=positions, initializer_range=0.06, tie_word_embeddings=False,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def short(count: int) -> str:
    """Thousands in a field's name: 32000 is 32k."""
    return f"{count // 1000}k"


def note(text: str) -> None:
    """Tell a person what is running; standard output belongs to the result."""
    print(text, file=sys.stderr, flush=True)


def require_installed(*packages: str) -> None:
    """End with a hint where one of what is compared with is missing."""
    for name in packages:
        if find_spec(name) is None:
            note(f"{name} is not installed: pip install 'hyperfitting[bench]'")
            sys.exit(2)


def finish(settings: argparse.Namespace, result: Result, show: Callable[[Result], None]) -> None:
    """Print the result: one object, or as `show` has it."""
    if settings.json:
        print(json.dumps(result))
    else:
        show(result)

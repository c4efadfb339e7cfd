"""Training steps, decoding and scoring at the shapes of real models, on this machine.

Random float32 weights. Each method's step against TRL's SFTTrainer with PEFT, arm by arm and round
by round as in `train_step.py`; and as a share of what this machine's own matrix product reaches
between the rounds, a measure that holds on any machine: counted operations over seconds. Decoding
against transformers' `generate`, and one scoring pass. At the recipe's batch, 2 x 128 tokens.
"""

import argparse
import statistics
import time
from dataclasses import asdict, replace
from typing import Any

from common import (
    Result,
    about,
    add_threads,
    finish,
    interleaved_medians,
    note,
    parser_of,
    require_installed,
    versions_in_words,
)
from train_step import OF_OURS, PACKAGES, Size, Worker, random_model

RECIPE: dict[str, Any] = {"batch": 2, "tokens": 128, "steps": 5, "rounds": 3}
# blocks, hidden, intermediate, heads, key and value heads, vocabulary
SHAPES = {
    "smollm2-135m": Size(30, 576, 1536, 9, 3, 49_152, tied=True, **RECIPE),
    "gemma-3-270m": Size(
        18, 640, 2048, 4, 1, 262_144,
        kind="Gemma3TextConfig", head_width=256, tied=True, **RECIPE,
    ),
    "qwen2.5-0.5b": Size(
        24, 896, 4864, 14, 2, 151_936, kind="Qwen2Config", tied=True, **RECIPE
    ),
    "tinyllama-1.1b": Size(22, 2048, 5632, 32, 4, 32_000, **RECIPE),
}  # fmt: skip
QUICK = {"tiny": Size(4, 64, 176, 4, 2, 512, 2, 32, last_blocks=2, steps=3, rounds=2)}
WEIGHTS = "trl_full_sft", "ours_full_sft"  # 16 bytes a parameter
# Ours, and TRL's nearest; where TRL has none, its full LoRA.
PAIRS = {
    "ours_late_stage_lora": "trl_last5",
    "ours_late_stage_sft": None,
    "ours_full_lora": "trl_full_lora",
    "ours_full_sft": "trl_full_sft",
}
MOST_PARAMETERS_OF_FULL_SFT = 600e6  # both arms of it stay in memory
SQUARE = 2048


def operations(arm: str, size: Size) -> float:
    """Of a step: forward, input gradient and weight gradient are 2 per scalar and token each.

    Adapters, attention scores and element-wise work are not counted. A frozen head has no weight
    gradient; embeddings are looked up.
    """
    method = arm.removeprefix(OF_OURS)
    blocks = size.last_blocks if method.startswith("late_stage") else size.blocks
    of_blocks, of_head = {
        "late_stage_lora": (4, 4), "late_stage_sft": (6, 4), "full_lora": (4, 4),
        "full_sft": (6, 6), "trl_full_lora": (4, 4), "trl_full_sft": (6, 6),
    }.get(method, (0, 0))  # fmt: skip
    if method == "trl_last5":  # its forward pass runs every block
        tail = size.last_blocks * size.block_matrices
        return size.batch * size.tokens * (
            2 * (size.blocks * size.block_matrices + size.head_matrix)
            + 2 * (tail + size.head_matrix)
        )  # fmt: skip
    per_token = of_blocks * blocks * size.block_matrices + of_head * size.head_matrix
    return float(size.batch * size.tokens * per_token)


def product_rate(size: Size, threads: int) -> float:
    """FLOP/s of this machine's own product of a batch with a block's largest matrix.

    The faster of that and of a square one: a share of it flatters nobody.
    """
    import torch

    torch.set_num_threads(threads)
    best = 0.0
    for rows, inner, columns in (
        (size.batch * size.tokens, size.hidden, size.intermediate),
        (SQUARE, SQUARE, SQUARE),
    ):
        left, right = torch.randn(rows, inner), torch.randn(inner, columns)
        seconds = interleaved_medians({"product": lambda: left @ right}, 10)["product"]  # noqa: B023
        best = max(best, 2.0 * rows * inner * columns / seconds)
    return best


def training(name: str, size: Size, arguments: argparse.Namespace) -> Result:
    """Steps of every arm in turn, and the machine's product between them."""
    parameters = size.blocks * size.block_matrices + size.head_matrix * (1 if size.tied else 2)
    arms = [arm for pair in PAIRS.items() for arm in pair if arm]
    if parameters > MOST_PARAMETERS_OF_FULL_SFT:
        arms = [arm for arm in arms if arm not in WEIGHTS]
    if arguments.arms:
        arms = [arm for arm in arms if arm in arguments.arms]
    times: dict[str, list[Any]] = {arm: [] for arm in arms}
    rates, peaks = [], {}
    for _ in range(size.rounds):
        for arm in arms:  # one at a time: the models of all would not fit
            note(f"{name}: {arm}")
            worker = Worker(arm, size, "off", "tuned", arguments.threads)
            try:
                worker.run_round()
            finally:
                worker.close()
            result = worker.result(size)
            times[arm].append(result["median_step_seconds"])
            peaks[arm] = result["peak_mb"]
            rates.append(product_rate(size, arguments.threads))
    rate = statistics.median(rates)
    rows = {}
    for arm in arms:
        seconds = statistics.median(times[arm])
        rows[arm] = {
            "step_seconds": seconds,
            "tokens_per_second": size.batch * size.tokens / seconds,
            "share_of_product": operations(arm, size) / seconds / rate,
            "peak_mb": peaks[arm],
        }
    for ours, theirs in PAIRS.items():
        if ours in rows and theirs in rows:
            rows[ours]["times_trl"] = rows[theirs]["step_seconds"] / rows[ours]["step_seconds"]
    return {"product_gflops": rate / 1e9, "arms": rows}


def reading(size: Size, arguments: argparse.Namespace) -> Result:
    """Greedy decoding of 16 texts beside `generate`, and one scoring pass."""
    import torch

    from hyperfitting.generate.decode import decode
    from hyperfitting.models.forward import nll_rows

    torch.set_num_threads(arguments.threads)
    model = random_model(size).eval()
    tokens = 8 if arguments.quick else 96
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(2, size.vocabulary, (16, 32), generator=generator)
    contexts = ids_BT.tolist()
    rows = torch.randint(2, size.vocabulary, (16, 32 + tokens), generator=generator).tolist()
    options = {"do_sample": False, "min_new_tokens": tokens, "pad_token_id": 0}

    def generate() -> None:
        with torch.no_grad():
            model.generate(
                ids_BT, attention_mask=torch.ones_like(ids_BT), max_new_tokens=tokens, **options
            )

    seconds = interleaved_medians(
        {
            "decode": lambda: decode(model, contexts, max_new_tokens=tokens),
            "generate": generate,
            "score": lambda: nll_rows(model, rows, tokens),
        },
        1 if arguments.quick else 3,
    )
    return {
        "decode_tokens_per_second": 16 * tokens / seconds["decode"],
        "times_generate": seconds["generate"] / seconds["decode"],
        "score_seconds_per_row": seconds["score"] / 16,
    }


def measure_all(arguments: argparse.Namespace) -> Result:
    """Every shape."""
    shapes = QUICK if arguments.quick else SHAPES
    chosen = {n: s for n, s in shapes.items() if not arguments.models or n in arguments.models}
    start = time.perf_counter()
    tables = {}
    for name, size in chosen.items():
        size = replace(size, rounds=arguments.rounds or size.rounds)
        tables[name] = {"size": asdict(size), **training(name, size, arguments)}
        if not arguments.arms:
            tables[name] |= reading(size, arguments)
    return {
        **about(PACKAGES),
        "threads": arguments.threads,
        "seconds": time.perf_counter() - start,
        "tables": tables,
    }


def show(result: Result) -> None:
    """The result as tables."""
    print(f"{result['machine']}, {result['threads']} threads; {versions_in_words(result)}")
    for name, table in result["tables"].items():
        size = Size(**table["size"])
        print(
            f"\n{name}: batch {size.batch} x {size.tokens}, float32, this machine's product "
            f"{table['product_gflops']:.0f} GFLOP/s"
        )
        print(
            f"  {'':<22}{'tokens/s':>10}{'s/step':>9}{'of product':>12}{'x TRL':>7}{'peak MB':>9}"
        )
        for arm, row in table["arms"].items():
            times = f"{row['times_trl']:.2f}" if "times_trl" in row else ""
            print(
                f"  {arm:<22}{row['tokens_per_second']:>10,.0f}{row['step_seconds']:>9.3f}"
                f"{row['share_of_product']:>12.0%}{times:>7}{row['peak_mb']:>9,.0f}"
            )
        if "times_generate" in table:
            print(
                f"  decoding {table['decode_tokens_per_second']:.0f} tokens/s, "
                f"{table['times_generate']:.2f} times as fast as generate; scoring "
                f"{table['score_seconds_per_row']:.2f} s a row"
            )


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__, quick="a tiny model, to try the script")
    parser.add_argument("--models", nargs="+", choices=list(SHAPES), help="default: all")
    parser.add_argument("--arms", nargs="+", help="of training only, such as ours_full_sft")
    parser.add_argument("--rounds", type=int, help="of every arm (3; quick: 2)")
    add_threads(parser)
    arguments = parser.parse_args()
    require_installed("trl", "datasets")
    finish(arguments, measure_all(arguments), show)


if __name__ == "__main__":
    main()

"""Training throughput: our Late-Stage LoRA from a prefix cache against TRL's SFTTrainer with PEFT.

`real_shapes.py` takes the arms of this file at the shapes of real models.

Every arm is a process of its own (so that its peak memory is its own) and waits while another one
computes; a round is a few steps of every arm, and its first step is not timed. Ours is timed over
the whole loop (fetch, forward, backward, optimizer, notes); TRL from `on_step_begin` to
`on_step_end`, which leaves its data loading out. TRL runs as fast as it is known to: no gradient
checkpointing, its fused chunked loss, fused AdamW, no clipping, no logging, no saving.
"""

import argparse
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common import (
    Result,
    about,
    add_threads,
    finish,
    machine,
    note,
    parser_of,
    require_installed,
    versions_in_words,
)
from memory import process_peak_mb

from hyperfitting.allocation import SWITCH, keep_large_buffers

OURS = "ours_late_stage_lora"
OF_OURS = "ours_"  # before the name of a method
THEIRS = ("trl_full_lora", "trl_last5", "trl_full_sft")
PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "datasets")
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
WORKER_ENVIRONMENT = {
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",  # compiling takes as long as the first time
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class Size:
    """A random model, its batches, and how often they are timed."""

    blocks: int = 22
    hidden: int = 512
    intermediate: int = 1408
    heads: int = 8
    kv_heads: int = 2
    vocabulary: int = 8000
    batch: int = 8
    tokens: int = 256
    last_blocks: int = 5
    rank: int = 16
    alpha: int = 32
    learning_rate: float = 1e-4
    steps: int = 4  # of a round; the first is not timed
    rounds: int = 4
    kind: str = "LlamaConfig"  # of transformers
    head_width: int | None = None
    tied: bool = False

    @property
    def block_matrices(self) -> int:
        """Scalars in the matrices of a block."""
        head_width = self.head_width or self.hidden // self.heads
        attention = 2 * self.hidden * head_width * (self.heads + self.kv_heads)
        return attention + 3 * self.hidden * self.intermediate

    @property
    def head_matrix(self) -> int:
        """Scalars in the output matrix."""
        return self.vocabulary * self.hidden

    @property
    def windows(self) -> int:
        """A round is one epoch."""
        return self.batch * self.steps


QUICK = Size(4, 64, 176, 4, 2, 512, 2, 32, last_blocks=2, steps=3, rounds=2)


def bounds(size: Size) -> dict[str, float]:
    """Ratios that the operations allow: forward, input and weight gradients are 2P a token each.

    P counts block matrices and head; the adapters' own products are left out.
    """
    block, head = size.block_matrices, size.head_matrix
    whole, tail = size.blocks * block + head, size.last_blocks * block + head
    ours = 4 * tail
    return {
        "trl_full_lora": 4 * whole / ours,
        "trl_last5": (2 * whole + 2 * tail) / ours,
        "trl_full_sft": 6 * whole / ours,
    }


# --- in a worker process: one arm ---------------------------------------------------------------


def random_model(size: Size) -> Any:
    """The same float32 weights in every arm."""
    import torch
    import transformers

    torch.manual_seed(0)
    head_width = {} if size.head_width is None else {"head_dim": size.head_width}
    config = getattr(transformers, size.kind)(
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.blocks,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        vocab_size=size.vocabulary,
        max_position_embeddings=2 * size.tokens,
        tie_word_embeddings=size.tied,
        **head_width,
    )
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def random_ids(size: Size) -> Any:
    """The same windows in every arm."""
    import numpy as np

    return np.random.default_rng(0).integers(2, size.vocabulary, (size.windows, size.tokens))


Round = Callable[[], tuple[list[float], float]]  # runs one; seconds of its steps and mean loss


def ours_arm(size: Size, compiles: str, method: str) -> tuple[Round, dict[str, Any]]:
    """Our engine and loop, of late-stage methods with the prefix cache in main memory."""
    import numpy as np
    import torch

    from hyperfitting.config import LoraConfig, PrefixCacheConfig, TrainConfig
    from hyperfitting.config.methods import METHODS
    from hyperfitting.data.windows import Windows
    from hyperfitting.models.devices import make_accelerator
    from hyperfitting.progress import Progress, Stage
    from hyperfitting.train.loop import Trainer, make_optimizer
    from hyperfitting.train.methods import prepare
    from hyperfitting.train.setup import set_up

    class Clock(Stage):
        """The loop reports every step here."""

        def update(self, done: int, note: str = "") -> None:
            marks.append(time.perf_counter())

    is_late = METHODS[method].is_late
    config = TrainConfig(
        method=method,
        epochs=1,
        batch_size=size.batch,
        learning_rate=size.learning_rate,
        last_blocks=size.last_blocks,
        lora=LoraConfig(rank=size.rank, alpha=size.alpha),
        stop="epochs",
        precision="fp32",
        compile=compiles,
        prefix_cache=PrefixCacheConfig(place="ram" if is_late else "auto"),
    )
    device, marks, progress = torch.device("cpu"), [0.0], Progress()
    ids_NT = random_ids(size)
    label_NT = np.ones_like(ids_NT, dtype=bool)
    label_NT[:, 0] = False
    length_N = np.full(len(ids_NT), size.tokens)
    windows = Windows(ids_NT, label_NT, length_N)
    heldout = Windows(ids_NT[: size.batch], label_NT[: size.batch], length_N[: size.batch])
    trainable = prepare(random_model(size), config)
    accelerator = make_accelerator(device, "fp32")
    setup = set_up(
        trainable,
        windows,
        heldout,
        config,
        autocast=accelerator.autocast,
        device=device,
        model_digest="random",
        cache_folder=Path("unused"),
        progress=progress,
    )
    optimizer = make_optimizer(trainable, config)
    clock = Clock("train", None)
    trainer = Trainer(trainable, setup.engine, setup.train, config, accelerator, optimizer, clock)

    def one_round() -> tuple[list[float], float]:
        trainer.state = None  # the next run starts its epoch anew, with the weights as they are
        marks[:] = [time.perf_counter()]
        state = trainer.run()
        return list(np.diff(marks)), state.train_loss[0]

    return one_round, {
        "trained_parameters": trainable.count,
        "prefix_pass_seconds": progress.seconds[0][1] if is_late else 0.0,
        "prefix_pass_windows": size.windows,
        "engine": setup.notes,
    }


def trl_arm(size: Size, arm: str, folder: str) -> tuple[Round, dict[str, Any]]:
    """SFTTrainer on the same model and, in the same order, the same batches."""
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from hyperfitting.train.loop import epoch_order

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.start = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.perf_counter() - self.start)

    lora = {"r": size.rank, "lora_alpha": size.alpha, "target_modules": LINEAR}
    if arm == "trl_last5":
        last = list(range(size.blocks - size.last_blocks, size.blocks))
        lora |= {"layers_to_transform": last, "layers_pattern": "layers"}
    peft_config = None if arm == "trl_full_sft" else LoraConfig(task_type="CAUSAL_LM", **lora)
    seconds: list[float] = []
    words = Tokenizer(models.WordLevel({"<e>": 0, "<u>": 1}, unk_token="<u>"))
    ids_NT = random_ids(size)[epoch_order(0, 1, size.windows)]
    arguments = SFTConfig(
        output_dir=folder,
        num_train_epochs=1,
        per_device_train_batch_size=size.batch,
        train_sampling_strategy="sequential",
        loss_type="nll",  # since TRL 1.16 what `chunked_nll`, now its alias, was: no full logits
        optim="adamw_torch_fused",
        learning_rate=size.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        max_length=size.tokens,
        packing=False,
        dataloader_pin_memory=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = SFTTrainer(
        model=random_model(size),
        args=arguments,
        train_dataset=Dataset.from_dict({"input_ids": ids_NT.tolist()}),
        processing_class=PreTrainedTokenizerFast(
            tokenizer_object=words, eos_token="<e>", pad_token="<e>", unk_token="<u>"
        ),
        peft_config=peft_config,
        callbacks=[Clock()],
    )
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)

    def one_round() -> tuple[list[float], float]:
        seconds.clear()
        loss = trainer.train().training_loss
        return list(seconds), loss

    return one_round, {"trained_parameters": trained}


def work(arm: str, size: Size, compiles: str, threads: int) -> None:
    """Run a round for every line on standard input, and answer each with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes with the log
    is_tuned = keep_large_buffers()  # before torch makes its first tensor
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="train-step-") as folder:
        one_round, about = (
            ours_arm(size, compiles, arm.removeprefix(OF_OURS))
            if arm.startswith(OF_OURS)
            else trl_arm(size, arm, folder)
        )
        answer: dict[str, Any] = about | {"tuned_allocator": is_tuned}
        while True:
            print(json.dumps(answer | {"peak_mb": process_peak_mb()}), file=answers, flush=True)
            if not sys.stdin.readline():
                return
            seconds, loss = one_round()
            answer = {"seconds": seconds, "loss": loss}
            hand_back_memory()


def hand_back_memory() -> None:
    """Leave it to the other arms while this one waits."""
    gc.collect()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


# --- in the process that was started: rounds, ratios, tables ------------------------------------


class Worker:
    """The process of one arm."""

    def __init__(self, arm: str, size: Size, compiles: str, allocator: str, threads: int) -> None:
        command = [sys.executable, __file__, "--worker", arm, "--size", json.dumps(asdict(size))]
        command += ["--compile", compiles, "--threads", str(threads)]
        switch = "system" if allocator == "system" else "tuned"
        environment = {SWITCH: switch, "OMP_NUM_THREADS": str(threads)}
        self.arm, self.log = arm, tempfile.TemporaryFile("w+")  # noqa: SIM115 (see close)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ | WORKER_ENVIRONMENT | environment,
        )
        self.about = self._answer()
        self.rounds: list[dict[str, Any]] = []

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            sys.exit(f"{self.arm} stopped:\n{self.log.read()[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run_round(self) -> None:
        """Have it run a round, alone."""
        assert self.process.stdin is not None
        self.process.stdin.write("round\n")
        self.process.stdin.flush()
        self.rounds.append(self._answer())

    def close(self) -> None:
        """End the process."""
        self.process.communicate()
        self.log.close()

    def result(self, size: Size) -> dict[str, Any]:
        """Its medians over all steps but the first of each round."""
        seconds = [second for each in self.rounds for second in each["seconds"][1:]]
        median = statistics.median(seconds)
        return self.about | {
            "median_step_seconds": median,
            "least_step_seconds": min(seconds),
            "largest_step_seconds": max(seconds),
            "timed_steps": len(seconds),
            "tokens_per_second": size.batch * size.tokens / median,
            "first_round_loss": self.rounds[0]["loss"],
            "peak_mb": max(each["peak_mb"] for each in [self.about, *self.rounds]),
        }


def measure(size: Size, compiles: str, allocator: str, threads: int) -> dict[str, Any]:
    """One table: all arms at one depth with one allocator setting."""
    workers: list[Worker] = []
    try:
        for arm in (OURS, *THEIRS):
            note(f"{size.blocks} blocks, {allocator} allocator: set up {arm}")
            workers.append(Worker(arm, size, compiles, allocator, threads))
        for number in range(size.rounds):
            for worker in workers:
                note(f"round {number + 1}/{size.rounds}: {worker.arm}")
                worker.run_round()
    finally:
        for worker in workers:
            worker.close()
    arms = {worker.arm: worker.result(size) for worker in workers}
    ours = arms[OURS]
    first = workers[0].rounds[0]["seconds"][0] - ours["median_step_seconds"]
    ours["compile_seconds"] = max(0.0, first) if compiles == "on" else 0.0
    table: dict[str, Any] = {"size": asdict(size), "arms": arms}
    for arm, bound in bounds(size).items():
        ratio = ours["tokens_per_second"] / arms[arm]["tokens_per_second"]
        table[f"ratio_{arm}"] = ratio
        table[f"bound_{arm}"] = bound
        table[f"achieved_{arm}"] = ratio / bound
    return table


def sizes(quick: bool, blocks: list[int] | None) -> list[Size]:
    """Deep models get fewer repeats."""
    if quick:
        return [replace(QUICK, blocks=count) for count in blocks or [QUICK.blocks]]
    chosen = [Size(count) for count in blocks or [22, 32, 80]]
    return [replace(s, steps=3, rounds=2) if s.blocks > 40 else s for s in chosen]


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every table; the ratios of the first one, 22 blocks by default, stand on top."""
    allocator = arguments.allocator or ("tuned" if arguments.quick else "both")
    allocators = ["tuned", "system"] if allocator == "both" else [allocator]
    compiles = arguments.compile or ("off" if arguments.quick else "on")
    tables = {
        name: {
            f"blocks_{size.blocks}": measure(size, compiles, name, arguments.threads)
            for size in sizes(arguments.quick, arguments.blocks)
        }
        for name in allocators
    }
    depths = [table for by_depth in tables.values() for table in by_depth.values()]
    peaks = [arm["peak_mb"] for table in depths for arm in table["arms"].values()]
    depth, first = next(iter(tables[allocators[0]].items()))
    return {
        **{name: value for name, value in first.items() if name.startswith(("ratio", "bound"))},
        "ratios_are_of": f"{depth}, {allocators[0]} allocator",
        "against": f"TRL {version('trl')} SFTTrainer with PEFT {version('peft')}",
        "compile": compiles,
        "threads": arguments.threads,
        "cpu": machine(),
        **about(PACKAGES),
        "peak_mb": max(peaks),
        "tables": tables,
    }


def show(result: Result) -> None:
    """The result as tables."""
    print(f"Against {result['against']}; {result['cpu']}, {result['threads']} threads, float32")
    print(versions_in_words(result))
    for allocator, depths in result["tables"].items():
        for table in depths.values():
            size, arms = Size(**table["size"]), table["arms"]
            print(
                f"\n{size.blocks} blocks, hidden {size.hidden}, vocabulary {size.vocabulary}, "
                f"batch {size.batch} x {size.tokens}, last {size.last_blocks} blocks, "
                f"{allocator} allocator, medians of {arms[OURS]['timed_steps']} steps"
            )
            print(f"  {'':<22}{'tokens/s':>10}{'s/step':>9}{'ours is':>9}{'bound':>8}{'of it':>7}"
                  f"{'peak MB':>9}{'loss':>8}")  # fmt: skip
            for name, arm in arms.items():
                line = f"  {name:<22}{arm['tokens_per_second']:>10,.0f}"
                line += f"{arm['median_step_seconds']:>9.3f}"
                if name in THEIRS:
                    line += f"{table[f'ratio_{name}']:>8.2f}x{table[f'bound_{name}']:>7.2f}x"
                    line += f"{table[f'achieved_{name}']:>7.0%}"
                else:
                    line += " " * 24
                print(f"{line}{arm['peak_mb']:>9,.0f}{arm['first_round_loss']:>8.3f}")
            ours = arms[OURS]
            print(
                f"  ours, once: compiling {ours['compile_seconds']:.1f} s (train.compile="
                f"{result['compile']}), prefix pass {ours['prefix_pass_seconds']:.1f} s "
                f"for {ours['prefix_pass_windows']} windows"
            )


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__, quick="a tiny model, to try the script")
    parser.add_argument("--blocks", type=int, nargs="+", help="depths (22 32 80; quick: 4)")
    parser.add_argument("--compile", choices=["on", "off"], help="ours (on; quick: off)")
    parser.add_argument(
        "--allocator",
        choices=["both", "tuned", "system"],
        help="glibc as hyperfit sets it, or as it comes, for all arms (both; quick: tuned)",
    )
    add_threads(parser)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    require_installed("trl", "datasets")
    if arguments.worker:
        size = Size(**arguments.size)
        work(arguments.worker, size, arguments.compile, arguments.threads)
        return
    least = (QUICK if arguments.quick else Size()).last_blocks
    if min(arguments.blocks or [least]) < least:
        parser.error(f"--blocks: at least {least}, the blocks that train")
    finish(arguments, measure_all(arguments), show)


if __name__ == "__main__":
    main()

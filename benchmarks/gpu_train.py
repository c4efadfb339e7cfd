"""Training on a GPU at the paper's scale: tokens/s, share of the GPU's peak, hours of a run.

Random weights in the shapes of known models, bf16, through the library's own engine, loop and
monitor: prefix pass over 2,000 windows of 256 tokens, whole epochs of training, one monitoring
point; from these the minutes of the paper's 260 epochs. `plain_lora` (the last 5 blocks) and
`plain_sft` are a bare loop over transformers and PEFT beside it. `llama-3.1-70b-tail` is what is
left of Llama-3.1-70B behind its prefix cache: six of its blocks, of which five train. Needs no
network and no installation:

    PYTHONPATH=src python benchmarks/gpu_train.py
"""

import argparse
import gc
import json
import math
import os
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")  # compile as if for the first time


def shape(
    kind: str,
    sizes: tuple[int, int, int, int, int, int],
    *,
    tied: bool,
    **more: float,
) -> tuple[str, dict[str, Any]]:
    """Name of a transformers config and its arguments."""
    names = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
    )
    return kind, dict(zip(names, sizes, strict=True)) | {"tie_word_embeddings": tied} | more


LLAMA, QWEN, GEMMA = "LlamaConfig", "Qwen2Config", "Gemma2Config"
GEMMA3 = "Gemma3TextConfig"
PLAIN = ("plain_lora", "plain_sft")  # transformers and PEFT alone
GEMMA_MORE = {
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
}
MODELS = {  # vocabulary, hidden, intermediate, blocks, heads, key and value heads
    "smollm2-135m": shape(LLAMA, (49_152, 576, 1536, 30, 9, 3), tied=True),
    "gemma-3-270m": shape(GEMMA3, (262_144, 640, 2048, 18, 4, 1), tied=True, head_dim=256),
    "tinyllama": shape(LLAMA, (32_000, 2048, 5632, 22, 32, 4), tied=False),
    "qwen2.5-1.5b": shape(QWEN, (151_936, 1536, 8960, 28, 12, 2), tied=True),
    "llama-3.2-3b": shape(LLAMA, (128_256, 3072, 8192, 28, 24, 8), tied=True),
    "gemma-2-2b": shape(GEMMA, (256_000, 2304, 9216, 26, 8, 4), tied=True, **GEMMA_MORE),
    "llama-3.1-8b": shape(LLAMA, (128_256, 4096, 14_336, 32, 32, 8), tied=False),
    "llama-3.1-70b-tail": shape(LLAMA, (128_256, 8192, 28_672, 6, 64, 8), tied=False),
}
TINY = {"tiny-llama": shape(LLAMA, (512, 64, 176, 6, 4, 2), tied=False)}
# Dense bf16 FLOP/s by a part of the device's name.
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
PAPER_EPOCHS = 260
PAPER_HOURS = {"late_stage_lora": 10.4, "full_sft": 20.7}  # with its own model and hardware
PAPER_RATIOS = [f"ratio_paper_{name}" for name in PAPER_HOURS]
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
WARM_UP = 10  # steps before the clock runs; compiling happens in them
PACKAGES = ("torch", "transformers", "peft", "accelerate")


from itertools import product  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from common import Result, about, finish, machine, note, parser_of, versions_in_words  # noqa: E402
from memory import process_peak_mb  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402

from hyperfitting.config import MonitorConfig, PrefixCacheConfig, TrainConfig  # noqa: E402
from hyperfitting.data.windows import Windows  # noqa: E402
from hyperfitting.models.anatomy import anatomy  # noqa: E402
from hyperfitting.models.blocks import whole_model  # noqa: E402
from hyperfitting.models.devices import make_accelerator, wait_for  # noqa: E402
from hyperfitting.progress import Progress, Stage  # noqa: E402
from hyperfitting.train.engine import TailEngine  # noqa: E402
from hyperfitting.train.loop import Trainer, make_optimizer  # noqa: E402
from hyperfitting.train.methods import prepare  # noqa: E402
from hyperfitting.train.monitor import Monitoring  # noqa: E402
from hyperfitting.train.setup import Setup, set_up  # noqa: E402
from hyperfitting.train.trainable import Trainable  # noqa: E402


class Clock(Stage):
    """The loop reports every step here; the time is kept of some, when the device is done."""

    def __init__(self, device: torch.device, every: int) -> None:
        super().__init__("train", None)
        self.device, self.every = device, every
        self.at: dict[int, float] = {0: time.perf_counter()}

    def update(self, done: int, note: str = "") -> None:
        """Called after step number `done`."""
        if done >= WARM_UP and (done - WARM_UP) % self.every == 0:
            wait_for(self.device)
            self.at[done] = time.perf_counter()

    def step_seconds(self) -> tuple[float, float, int]:
        """Median of the stretches between kept times, mean of a step, and steps timed."""
        steps = [step for step in self.at if step]
        seconds = np.diff([self.at[step] for step in steps]) / self.every
        return float(np.median(seconds)), float(seconds.mean()), steps[-1] - steps[0]

    def compile_seconds(self) -> float:
        """What the first steps took beyond the mean of the later ones."""
        return max(0.0, self.at[WARM_UP] - self.at[0] - WARM_UP * self.step_seconds()[1])


def peak_mb(device: torch.device, *, anew: bool = False) -> float:
    """Most memory in use: of the GPU (since the last call that said `anew`), or the process."""
    if device.type != "cuda":
        return process_peak_mb()
    highest = torch.cuda.max_memory_allocated(device) / 1e6
    if anew:
        torch.cuda.reset_peak_memory_stats(device)
    return highest


def random_windows(count: int, tokens: int, vocabulary: int) -> Windows:
    """Windows of random tokens, all of them labelled but the first."""
    ids_NT = np.random.default_rng(count).integers(2, vocabulary, (count, tokens))
    label_NT = np.ones_like(ids_NT, dtype=bool)
    label_NT[:, 0] = False
    return Windows(ids_NT, label_NT, np.full(count, tokens))


def random_model(kind: str, shape: dict[str, Any], device: torch.device) -> Any:
    """Random bf16 weights, made where they are needed."""
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**shape, max_position_embeddings=8192)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    return model.eval()


def step_flops(model: Any, method: str, last: int) -> int:
    """Operations of a token: forward, input gradient and weight gradient are 2 a scalar each.

    Of the block matrices and the head; of plain loops those of the method that they stand beside.
    """
    parts = anatomy(model)
    sizes = [
        sum(p.numel() for p in block.parameters() if p.dim() == 2)
        for block in parts.blocks.values()
    ]
    head, tail = parts.head.weight.numel(), sum(sizes[-last:])
    half = sum(sizes[len(sizes) // 2 :])
    return {
        "late_half_sft": 6 * half + 4 * head,
        "late_stage_lora": 4 * (tail + head),
        "full_sft": 6 * (sum(sizes) + head),
        "plain_lora": 2 * (sum(sizes) + head) + 2 * (tail + head),
        "plain_sft": 6 * (sum(sizes) + head),
    }[method]


def monitoring(
    trainable: Trainable, setup: Setup, config: TrainConfig, options: argparse.Namespace
) -> Monitoring:
    """The monitor of a real run, on contexts of random tokens."""
    engine = setup.engine
    assert isinstance(engine, TailEngine)
    vocabulary = engine.head.weight_VD.shape[0]
    contexts = random_windows(options.contexts, options.context_tokens, vocabulary).ids_NT
    return Monitoring(
        trainable,
        engine,
        setup.train,
        setup.heldout,
        config.batch_size,
        contexts.tolist(),
        options.continuation_tokens,
        banned=[0],
        whole_model=partial(whole_model, engine.parts, engine.tail.cut, released=engine.released),
        write=lambda row: None,
    )


def settings(method: str, compiles: str, options: argparse.Namespace) -> TrainConfig:
    """Whole epochs, with at least the steps that were asked for behind the warm-up."""
    epochs = math.ceil((options.steps + WARM_UP) / (options.windows // options.batch))
    return TrainConfig(
        method=method,
        epochs=epochs,
        batch_size=options.batch,
        stop="epochs",
        precision="bf16",
        compile=compiles,
        prefix_cache=PrefixCacheConfig(place=options.cache),
    )


def measure_plain(name: str, method: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row of a bare loop over transformers (and PEFT): autocast, fused AdamW, all logits."""
    device, (kind, sizes) = options.device, options.shapes[name]
    peak_mb(device, anew=True)
    model = random_model(kind, sizes, device)
    last = TrainConfig().last_blocks
    flops = step_flops(model, method, last)
    if method == "plain_lora":
        blocks = list(range(len(anatomy(model).blocks)))[-last:]
        lora = LoraConfig(
            r=16, lora_alpha=32, target_modules=LINEAR,
            layers_to_transform=blocks, layers_pattern="layers",
        )  # fmt: skip
        model = get_peft_model(model, lora)
    else:
        model.float().requires_grad_(True)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, weight_decay=0.0, fused=True)
    ids_NT = random_windows(options.windows, options.tokens, sizes["vocab_size"]).ids_NT
    batches = torch.from_numpy(ids_NT).to(device).split(options.batch)
    seconds = []
    for step in range(WARM_UP + options.steps):
        if step >= WARM_UP and (step - WARM_UP) % options.stretch == 0:
            wait_for(device)
            seconds.append(time.perf_counter())
        ids_BT = batches[step % len(batches)]
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = model(input_ids=ids_BT, labels=ids_BT).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    wait_for(device)
    seconds.append(time.perf_counter())
    step = (seconds[-1] - seconds[0]) / options.steps
    rate = flops * options.batch * options.tokens / step
    return {
        "model": name, "method": method, "compile": "off", "mean_step_seconds": step,
        "tokens_per_second": options.batch * options.tokens / step,
        "share_of_peak": rate / options.peak_flops if options.peak_flops else None,
        "trained_parameters": sum(p.numel() for p in trained), "peak_mb": peak_mb(device),
    }  # fmt: skip


def measure(
    name: str, method: str, compiles: str, options: argparse.Namespace, folder: str
) -> dict[str, Any]:
    """One row: a model and a method, compiled or not."""
    device, (kind, sizes) = options.device, options.shapes[name]
    config, progress = settings(method, compiles, options), Progress()
    peak_mb(device, anew=True)
    model = random_model(kind, sizes, device)
    if method != "late_stage_lora":
        model.float()  # what is trained is float32
    row: dict[str, Any] = {
        "model": name,
        "method": method,
        "compile": compiles,
        "parameters": sum(p.numel() for p in model.parameters()),
        "flops_per_token": step_flops(model, method, config.last_blocks),
        "attention": model.config._attn_implementation,
    }
    trainable = prepare(model, config)
    accelerator = make_accelerator(device, "bf16")
    setup = set_up(
        trainable,
        random_windows(options.windows, options.tokens, sizes["vocab_size"]),
        random_windows(MonitorConfig().num_windows, options.tokens, sizes["vocab_size"]),
        config,
        autocast=accelerator.autocast,
        device=device,
        model_digest=f"random {name}",
        cache_folder=Path(folder),
        progress=progress,
    )
    row |= {"engine": setup.notes, "cache": type(setup.train.store).__name__}
    # Of training and held-out windows.
    row["prefix_pass_seconds"] = setup.prefix_seconds if setup.train.store else 0.0
    row["peak_mb_prefix"] = peak_mb(device, anew=True)
    optimizer = make_optimizer(trainable, config)
    clock = Clock(device, options.stretch)
    state = Trainer(
        trainable, setup.engine, setup.train, config, accelerator, optimizer, clock
    ).run()
    row["peak_mb_training"] = peak_mb(device, anew=True)
    row["median_step_seconds"], row["mean_step_seconds"], row["timed_steps"] = clock.step_seconds()
    row["compile_seconds"] = clock.compile_seconds() if compiles == "on" else 0.0
    observe = monitoring(trainable, setup, config, options)
    observe(config.epochs, state.step, state.train_loss[-1])  # the first sets up
    row["monitor_seconds"] = observe(config.epochs, state.step, state.train_loss[-1]).seconds
    row["peak_mb_monitor"] = peak_mb(device)
    row |= {"trained_parameters": trainable.count, "train_loss": state.train_loss}
    return row | conclusions(row, options)


def conclusions(row: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Speed, share of the peak, and the minutes of the paper's run."""
    step, per_step = row["mean_step_seconds"], options.batch * options.tokens
    flops = row["flops_per_token"] * per_step / step
    steps = PAPER_EPOCHS * (options.paper_windows // options.batch)
    points = PAPER_EPOCHS // MonitorConfig().every_epochs + 1  # one before the first step
    windows, paper = (
        n + MonitorConfig().num_windows for n in (options.windows, options.paper_windows)
    )
    once = row["prefix_pass_seconds"] * paper / windows + row["compile_seconds"]
    minutes = (once + steps * step + points * row["monitor_seconds"]) / 60
    return {
        "tokens_per_second": per_step / step,
        "prefix_tokens_per_second": windows * options.tokens / row["prefix_pass_seconds"]
        if row["prefix_pass_seconds"]
        else None,
        "flops_per_second": flops,
        "share_of_peak": flops / options.peak_flops if options.peak_flops else None,
        "projected_steps": steps,
        "projected_monitor_points": points,
        "projected_monitor_minutes": points * row["monitor_seconds"] / 60,
        "projected_minutes": minutes,
        **{
            # A quick run is no such run, nor is another method.
            name: 60 * hours / minutes
            if not options.quick and row["method"] == "late_stage_lora"
            else None
            for name, hours in zip(PAPER_RATIOS, PAPER_HOURS.values(), strict=True)
        },
    }


def clean_up(device: torch.device) -> None:
    """Leave nothing of a model to the next one."""
    torch._dynamo.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Every row; one that fails says why, and the others go on."""
    rows = []
    for name, method in product(options.models, options.methods):
        for compiles in ["off"] if method in PLAIN else options.compile:
            try:
                with tempfile.TemporaryDirectory(prefix="gpu-train-") as folder:
                    row = (
                        measure_plain(name, method, options)
                        if method in PLAIN
                        else measure(name, method, compiles, options, folder)
                    )
            except Exception as error:
                text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                row = {"model": name, "method": method, "compile": compiles, "error": text}
                traceback.print_exc()
            clean_up(options.device)
            note(json.dumps(row))  # in case the rest is cut off
            rows.append(row)
    whole = [row for row in rows if "error" not in row]
    return {
        "device": options.device_name,
        "peak_flops": options.peak_flops,
        "precision": "bf16",
        "batch": options.batch,
        "tokens": options.tokens,
        "windows": options.windows,
        "cache": options.cache,
        "contexts": f"{options.contexts} x {options.context_tokens}+{options.continuation_tokens}",
        "paper_hours": PAPER_HOURS,
        "threads": torch.get_num_threads(),
        **about(PACKAGES),
        "peak_mb": max((peak(row) for row in whole), default=None),
        "rows": rows,
    }


def peak(row: dict[str, Any]) -> float:
    """Most memory that a row took at any time."""
    return max(value for name, value in row.items() if name.startswith("peak_mb"))


def show(result: Result) -> None:
    """The result as a table."""
    print(f"{result['device']}, bf16; {versions_in_words(result)}")
    print(
        f"last 5 blocks or all, rank 16, batch {result['batch']} x {result['tokens']}, "
        f"{result['windows']} windows, cache {result['cache']}; paper: "
        + ", ".join(f"{name} {hours} h" for name, hours in result["paper_hours"].items())
    )
    columns = ["tokens/s", "of peak", "peak MB", "prefix s", "compile s", "monitor s"]
    columns += ["minutes", "LoRA/ours", "SFT/ours"]
    print(
        f"  {'model':<20}{'method':<17}{'compile':>8}" + "".join(f"{name:>11}" for name in columns)
    )
    for row in result["rows"]:
        line = f"  {row['model']:<20}{row['method']:<17}{row['compile']:>8}"
        if "error" in row:
            print(f"{line}  {row['error']}")
            continue
        cells = [
            f"{row['tokens_per_second']:,.0f}",
            "-" if row["share_of_peak"] is None else f"{row['share_of_peak']:.1%}",
            f"{peak(row):,.0f}",
        ]
        if row["method"] not in PLAIN:
            parts = ("prefix_pass", "compile", "monitor")
            cells += [f"{row[f'{name}_seconds']:.1f}" for name in parts]
            cells.append(f"{row['projected_minutes']:.1f}")
            cells += ["-" if row[name] is None else f"{row[name]:.1f}x" for name in PAPER_RATIOS]
        print(line + "".join(f"{cell:>11}" for cell in cells))
    print("  minutes: 260 epochs with prefix pass, compiling and monitoring; the paper's over them")


def parse() -> argparse.Namespace:
    """Options, with the sizes that follow from them."""
    parser = parser_of(__doc__, quick="a tiny Llama; runs on a CPU too")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), help="default: all")
    methods = ["late_stage_lora", "late_half_sft", "full_sft", *PLAIN]
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods[:1])
    parser.add_argument("--steps", type=int, help="least steps to time (500; quick: 6)")
    parser.add_argument("--windows", type=int, help="to train on (the paper's 2000; quick: 16)")
    parser.add_argument("--compile", nargs="+", choices=["on", "off"], help="default: both")
    parser.add_argument("--cache", choices=["auto", "gpu", "ram", "disk"], default="auto")
    options = parser.parse_args()
    quick, has_gpu = options.quick, torch.cuda.is_available()
    options.shapes = TINY if quick and not options.models else MODELS
    options.models = options.models or list(options.shapes)
    options.compile = options.compile or (["off"] if quick else ["on", "off"])
    options.steps = options.steps or (6 if quick else 500)
    options.stretch = 2 if quick else 50  # steps between two looks at the clock
    options.paper_windows, options.batch, options.tokens = (16, 2, 32) if quick else (2000, 8, 256)
    options.windows = options.windows or options.paper_windows
    options.contexts = 4 if quick else MonitorConfig().num_contexts
    options.context_tokens, options.continuation_tokens = (8, 8) if quick else (32, 96)
    options.device = torch.device("cuda" if has_gpu else "cpu")
    options.device_name = torch.cuda.get_device_name() if has_gpu else machine() + " CPU"
    names = (part for part in PEAK_FLOPS if part in options.device_name)
    options.peak_flops = PEAK_FLOPS.get(next(names, ""))
    return options


def main() -> None:
    """Measure and print."""
    options = parse()
    if options.device.type == "cpu" and not options.quick:
        note("torch finds no CUDA device here: --quick runs without one")
        sys.exit(2)
    finish(options, measure_all(options), show)


if __name__ == "__main__":
    main()

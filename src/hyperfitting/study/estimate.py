"""About how long a plan takes, and what memory and disk: counted operations and bytes.

Shapes come from the models' configs, laid out without weights. One number stands for all shares of
what the machine's own matrix product reaches (docs/results): what is estimated is right to a factor
of about two, which tells minutes from days.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from hyperfitting.config import DataConfig, EvaluateConfig, ModelConfig, RunConfig
from hyperfitting.config.methods import METHODS
from hyperfitting.config.plan import Cell, Plan
from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import anatomy
from hyperfitting.models.checkpoint import loading, unavailable
from hyperfitting.models.devices import DTYPE, choose_device, free_bytes
from hyperfitting.models.load import load_model_config
from hyperfitting.progress import in_bytes
from hyperfitting.runs import GridFolder
from hyperfitting.storage import free_disk
from hyperfitting.study.steps import Step

SHARE = 0.6  # of the machine's product, which steps, decoding and scoring reach (docs/results)
SECONDS_TO_BEGIN = 8.0  # of a process: imports and loading
BASE_BYTES = 1e9  # of a process: libraries, logits, activations
CONTEXTS = 60  # held out, where the plan does not say how many
READS = 4  # times that texts are read by both models in an evaluation
STATES = 3  # copies of what trains: gradient and two moments
CHECKPOINTS = 3  # kept at once: newest, and the best by TTR and by loss
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Shape:
    """Numbers of scalars of a model: all, of one block, and of the head's product."""

    total: int
    block: int
    num_blocks: int
    head: int

    @property
    def per_token(self) -> float:
        """Operations of a forward pass for one token."""
        return 2.0 * (self.block * self.num_blocks + self.head)


@dataclass(frozen=True)
class Cost:
    """About what one step takes."""

    seconds: float
    memory: float  # bytes at its peak
    disk: float  # bytes that it writes; checkpoints stay


@dataclass(frozen=True)
class Estimated:
    """The costs of the steps whose model's shape is known, by key; why the others are unknown."""

    costs: Mapping[str, Cost]
    unknown: Mapping[str, str]  # by model


def shape_of(config: ModelConfig) -> Shape:
    """The sizes of a model, from its config alone.

    Raises:
        InputError: the config cannot be had or makes no causal model, or is of no family whose
            blocks can be told.
    """
    found, consent = load_model_config(config), config.trust_remote_code
    with loading(partial(unavailable, config)), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(found, dtype=DTYPE, trust_remote_code=consent)
    parts = anatomy(model)
    return Shape(
        total=_size(model),
        block=_size(list(parts.blocks.values())[-1]),
        num_blocks=len(parts.blocks),
        head=parts.head.weight.numel(),
    )


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@cache
def operations_per_second(kind: str) -> float:
    """What a matrix product of this machine reaches now, in float32 operations a second."""
    size, device = (1024 if kind == "cpu" else 4096), torch.device(kind)
    a = torch.ones(size, size, device=device)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        (a @ a).sum().item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best


def training_cost(shape: Shape, config: RunConfig, rate: float) -> Cost:
    """Of one training: all its epochs, monitoring, and what it keeps."""
    method, data, train = METHODS[config.train.method], config.data, config.train
    count = _trained_blocks(shape, config)
    blocks = count if method.is_late else shape.num_blocks  # that gradients pass through
    passed = shape.block * blocks + shape.head
    weights = 0 if method.has_adapters else passed
    operations = 2.0 * (2 * passed + weights)
    windows = data.num_train or data.max_train
    tokens = windows * data.window_tokens * train.epochs
    work = tokens * operations + windows * data.window_tokens * shape.per_token
    work += _monitoring(shape, config)
    trained = _trained_scalars(shape, config, count)
    result = trained * FLOAT if method.has_adapters else shape.total * FLOAT
    start = 0.0 if method.has_adapters else trained * FLOAT  # a file while it trains
    return Cost(
        seconds=SECONDS_TO_BEGIN + work / (SHARE * rate),
        memory=BASE_BYTES + FLOAT * (2 * shape.total + STATES * trained),
        disk=CHECKPOINTS * 3 * FLOAT * trained + start + result,
    )


def _trained_blocks(shape: Shape, config: RunConfig) -> int:
    method = METHODS[config.train.method]
    wanted = getattr(config.train, method.setting) if method.setting else shape.num_blocks
    return len(method.blocks(shape.num_blocks, min(wanted, shape.num_blocks)))


def _trained_scalars(shape: Shape, config: RunConfig, blocks: int) -> float:
    """What trains: adapters of a rank take about rank times the square roots of their weights."""
    method = METHODS[config.train.method]
    if method.trains.startswith("everything"):
        return shape.total
    if not method.has_adapters:
        return shape.block * blocks
    width = math.sqrt(shape.block / 12)  # a block has some 12 matrices of width x width
    return blocks * config.train.lora.rank * 18 * width


def _monitoring(shape: Shape, config: RunConfig) -> float:
    """Operations of all monitoring points: contexts continued, read again, and windows."""
    monitor, data = config.monitor, config.data
    if not monitor.every_epochs:
        return 0.0
    points = 2 + config.train.epochs // monitor.every_epochs
    texts = monitor.num_contexts * (data.context_tokens + 2 * data.continuation_tokens)
    return points * shape.per_token * (texts + monitor.num_windows * data.window_tokens)


def evaluation_cost(
    shape: Shape, config: EvaluateConfig, data: DataConfig, tuned: int, rate: float
) -> Cost:
    """Of one evaluation: the original, and each tuned model beside its matched original."""
    contexts = data.num_heldout or CONTEXTS
    written = contexts * (data.continuation_tokens + config.natural_tokens)
    written *= 1 + min(1, config.sampling_seeds) * config.sampling_seeds
    read = READS * contexts * (data.context_tokens + data.continuation_tokens)
    tokens = written + tuned * (2 * written + read)
    seconds = SECONDS_TO_BEGIN + tokens * shape.per_token / (SHARE * rate)
    return Cost(seconds, 2 * BASE_BYTES + 2 * FLOAT * shape.total, 0.0)


def explanation_cost(shape: Shape, plan: Plan, runs: int, rate: float) -> Cost:
    """Of the controls: texts injected with shifts, and hybrids of both models."""
    config, data = plan.config.explain, plan.config.data
    contexts = data.num_heldout or CONTEXTS
    shifts = len(config.strengths) * (1 + config.random_draws)
    hybrids = 2 * len(config.swap_blocks or range(shape.num_blocks + 1))
    written = contexts * (shifts + 2) + (config.swap_contexts or 0) * hybrids
    tokens = runs * written * (data.context_tokens + data.continuation_tokens)
    seconds = SECONDS_TO_BEGIN + tokens * shape.per_token / (SHARE * rate)
    return Cost(seconds, 2 * BASE_BYTES + 3 * FLOAT * shape.total, 0.0)


def estimate(plan: Plan, all_cells: Sequence[Cell], steps: Sequence[Step]) -> Estimated:
    """The costs of these steps; a judge's depends on its server and is not among them."""
    costs: dict[str, Cost] = {}
    unknown: dict[str, str] = {}
    wanted = {step.key for step in steps}
    for cell in all_cells:
        mine = [key for key in wanted if key.startswith(f"{cell.name}/")]
        if not mine or cell.model in unknown:
            continue
        model = cell.runs[0].config.model
        try:
            shape = shape_of(model)
        except InputError as error:
            unknown[cell.model] = error.given
            continue
        rate = operations_per_second(choose_device(model).type)
        found = {f"train {r.folder}": training_cost(shape, r.config, rate) for r in cell.runs}
        data = cell.runs[0].config.data
        found["evaluate"] = evaluation_cost(shape, plan.config.evaluate, data, len(cell.runs), rate)
        found["explain"] = explanation_cost(shape, plan, len(plan.config.explained), rate)
        costs |= {f"{cell.name}/{name}": cost for name, cost in found.items()}
    return Estimated({key: cost for key, cost in costs.items() if key in wanted}, unknown)


def require_room(estimated: Estimated, plan: Plan, folder: GridFolder) -> None:
    """Refuse a plan that will not fit, before hours are spent on what fits of it.

    Raises:
        InputError: memory for a step, or disk for all of them, looks too small.
    """
    if not estimated.costs or not plan.config.check_room:
        return
    costs = estimated.costs
    device = choose_device(plan.config.model)
    free = free_bytes(device)
    key = max(costs, key=lambda each: costs[each].memory)
    needed = costs[key].memory * plan.config.parallel
    hint = "fewer models or methods, or check_room=false to begin all the same"
    if needed > free:
        beside = f", {plan.config.parallel} times" if plan.config.parallel > 1 else ""
        raise InputError(
            f"{key} takes about {in_bytes(costs[key].memory)} of memory{beside}; "
            f"{in_bytes(free)} are free",
            needed="more memory, parallel=1, or a method that trains less",
            hint=hint,
        )
    disk, existing = free_disk(folder.path.absolute())
    total = sum(cost.disk for cost in costs.values())
    if total > disk:
        raise InputError(
            f"the plan takes about {in_bytes(total)} of disk; {in_bytes(disk)} are free at "
            f"{existing}",
            needed="more disk, or another --out",
            hint=hint,
        )

"""PEFT wiring: adapters on exactly the modules that are named, saved as plain LoRA."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model
from safetensors.torch import load_file

from hyperfitting.config import LoraConfig
from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import stores_weights_transposed
from hyperfitting.models.checkpoint import ADAPTER_CONFIG, ADAPTER_WEIGHTS, origin_of
from hyperfitting.models.load import quiet_transformers
from hyperfitting.models.types import CausalLM
from hyperfitting.storage import read_json, write_json

INITIAL = "pissa-initial"  # folder name; PEFT recognises a base-changing start by its adapter name


def add_adapters(
    model: CausalLM,
    targets: list[str],
    lora: LoraConfig,
    seed: int,
    experts: Sequence[str] = (),
) -> CausalLM:
    """Mutates `model`: freezes it and puts a LoRA adapter on every module in `targets`.

    `experts` are parameters that hold a matrix for each expert: each matrix has its adapter.

    PEFT skips names that match nothing without a word, so the result is compared with the
    request. The adapter's initial weights depend on `seed` only.

    Raises:
        InputError: PEFT has no such adapters for this kind of model.
    """
    _require_rank(model, targets, experts, lora.rank)
    origin = origin_of(model)
    peft_config = PeftLoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=targets,
        target_parameters=sorted(experts) or None,
        fan_in_fan_out=stores_weights_transposed(model, targets),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        init_lora_weights="pissa" if lora.init == "pissa" else True,
        task_type="CAUSAL_LM",
        revision=origin.commit if origin else None,  # of the base, where it came from the hub
    )
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(seed)
        try:
            adapted = get_peft_model(model, peft_config)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"PEFT cannot put these adapters on this {model.config.model_type!r} model: "
                f"{error}",
                needed="a model that PEFT supports, or --method full_sft",
            ) from error
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    parts = ["lora_A.default.weight", "lora_B.default.weight"]
    parts += ["lora_magnitude_vector.default.weight"] * lora.dora
    places = [*targets, *_wrappers(experts)]
    expected = {f"base_model.model.{place}.{part}" for place in places for part in parts}
    assert trained == expected, f"PEFT trains other modules than asked: {trained ^ expected}"
    return adapted.eval()


def _wrappers(experts: Sequence[str]) -> list[str]:
    """Names of the modules that PEFT puts around those of experts: one for each parameter."""
    count = Counter(name.rpartition(".")[0] for name in experts)
    return [name + ".base_layer" * depth for name in count for depth in range(count[name])]


def _require_rank(model: CausalLM, targets: list[str], experts: Sequence[str], rank: int) -> None:
    """Refuse a rank above every trained matrix's own: it adds cost and nothing else.

    Raises:
        InputError: it is.
    """
    sizes = [max(model.get_submodule(name).weight.shape) for name in targets]
    sizes += [max(model.get_parameter(name).shape[1:]) for name in experts]
    if sizes and rank > max(sizes):
        raise InputError(
            f"train.lora.rank is {rank}, and the largest matrix it adapts has {max(sizes)} rows "
            "or columns",
            needed=f"a rank of at most {max(sizes)}",
        )


def save_adapter(
    adapted: CausalLM, initial: Mapping[str, torch.Tensor], folder: Path, lora: LoraConfig
) -> None:
    """Write an adapter that `PeftModel.from_pretrained` loads on the unmodified base.

    PiSSA starts by moving part of every weight into the adapter. What was trained, relative to
    that start, is written as a plain LoRA of twice the rank (PEFT's conversion).

    Args:
        adapted: the model with its trained adapter.
        initial: the trained tensors before the first step, by full name.
        folder: an existing folder.
        lora: the adapter's settings.
    """
    with quiet_transformers():
        if lora.init != "pissa":
            adapted.save_pretrained(folder, safe_serialization=True)
        else:
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                start = Path(temporary) / INITIAL
                _save_start(adapted, initial, start)
                adapted.save_pretrained(
                    folder,
                    safe_serialization=True,
                    path_initial_model_for_weight_conversion=str(start),
                )
    _in_order(folder / ADAPTER_CONFIG)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's form, not filled in
    _require_saved({n: p for n, p in adapted.named_parameters() if n in initial}, folder, lora)


def _in_order(config: Path) -> None:
    """PEFT writes names as a set: another order in every process."""
    content = read_json(config)
    for names in ("target_modules", "target_parameters"):
        if isinstance(content.get(names), list):
            content[names].sort()
    write_json(config, content)


def _require_saved(trained: Mapping[str, torch.Tensor], folder: Path, lora: LoraConfig) -> None:
    """Refuse a saved adapter that does not hold every trained tensor bit for bit."""
    saved = load_file(folder / ADAPTER_WEIGHTS)
    for name, tensor in trained.items():
        found = saved.pop(_saved_name(name), None)
        if found is not None and lora.init == "pissa":  # [A; A0] and [B, -B0]
            found = found.chunk(2, dim=0 if ".lora_A." in name else 1)[0]
        if found is None or not torch.equal(found, tensor.detach().cpu()):
            raise InputError(
                f"the adapter was saved, but {name} in it is not what was trained",
                needed="an adapter as trained; the run's checkpoints hold it",
            )
    if saved:
        raise InputError(
            f"the adapter was saved with {len(saved)} tensors that were not trained: {min(saved)}",
            needed="an adapter as trained; the run's checkpoints hold it",
        )


def _saved_name(name: str) -> str:
    """How PEFT writes the name of an adapter's tensor; DoRA's magnitude is a module in memory."""
    return name.replace(".default", "").replace(
        ".lora_magnitude_vector.weight", ".lora_magnitude_vector"
    )


def _save_start(adapted: CausalLM, initial: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write the adapter as it was before the first step."""
    now = {n: p.detach().clone() for n, p in adapted.named_parameters() if n in initial}
    config = adapted.peft_config["default"]
    init = config.init_lora_weights
    parameters = dict(adapted.named_parameters())
    try:
        config.init_lora_weights = True  # read back as weights, not as an instruction
        with torch.no_grad():
            for name, value in initial.items():
                parameters[name].copy_(value)
        adapted.save_pretrained(folder, safe_serialization=True)
    finally:
        config.init_lora_weights = init
        with torch.no_grad():
            for name, value in now.items():
                parameters[name].copy_(value)

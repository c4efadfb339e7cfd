"""PEFT wiring: adapters on exactly the modules that are named."""

from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from hyperfitting.config import TrainConfig
from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import stores_weights_transposed
from hyperfitting.models.load import quiet_transformers


def add_adapters(model: Any, targets: list[str], config: TrainConfig) -> Any:
    """Mutates `model`: freezes it and puts a LoRA adapter on every module in `targets`.

    PEFT skips names that match nothing without a word, so the result is compared with the
    request. The adapter's initial weights depend on `config.seed` only.

    Raises:
        InputError: PEFT has no adapters for this kind of model.
    """
    lora = LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=0.0,
        target_modules=targets,
        fan_in_fan_out=stores_weights_transposed(model, targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(config.seed)
        try:
            adapted = get_peft_model(model, lora)
        except ValueError as error:
            raise InputError(
                f"PEFT cannot put adapters on this {model.config.model_type!r} model: {error}",
                needed="a model that PEFT supports, or --method full_sft",
            ) from error
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    expected = {
        f"base_model.model.{target}.lora_{part}.default.weight"
        for target in targets
        for part in "AB"
    }
    assert trained == expected, f"PEFT trains other modules than asked: {trained ^ expected}"
    return adapted.eval()

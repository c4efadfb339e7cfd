"""Write the result of a run, and prove that a model is read back as it was written."""

from pathlib import Path

from hyperfitting.allocation import give_back_unused
from hyperfitting.config import RunConfig
from hyperfitting.errors import InputError
from hyperfitting.models.digests import model_digest
from hyperfitting.models.load import load_model, quiet_transformers
from hyperfitting.models.merged import OF_SAMPLING
from hyperfitting.models.types import CausalLM
from hyperfitting.storage import new_directory
from hyperfitting.train.lora import save_adapter
from hyperfitting.train.parts import RunParts


def save_result(parts: RunParts) -> None:
    """Write the adapter or the model, complete or not at all.

    Of a model that is read back the weights in memory are gone then: there is room for one.

    Raises:
        InputError: a model is not read back as it was written.
    """
    run, trainable, config = parts.run, parts.trainable, parts.config
    target = run.adapter if trainable.has_adapter else run.model
    with new_directory(target) as folder:
        if trainable.has_adapter:
            save_adapter(trainable.model, trainable.initial, folder, config.train.lora)
            return
        with quiet_transformers():
            _write(trainable.model, folder)
        parts.tokens.tokenizer.save_pretrained(folder)
        trained = model_digest(trainable.model)
        trainable.forget_weights()
        give_back_unused()
        _require_saved(trained, folder, config)


def _write(model: CausalLM, folder: Path) -> None:
    """Write a model. Some versions of transformers refuse samplers that do not sample."""
    try:
        model.save_pretrained(folder, safe_serialization=True)
    except ValueError:
        if model.generation_config.do_sample:
            raise
        for name in OF_SAMPLING:
            setattr(model.generation_config, name, None)
        model.save_pretrained(folder, safe_serialization=True)


def _require_saved(trained: str, folder: Path, config: RunConfig) -> None:
    """Refuse a saved model that is not read back as the one with the digest of what was trained.

    Raises:
        InputError: its weights differ; the run and its checkpoints stay as they are.
    """
    saved = config.model.model_copy(update={"name": str(folder), "revision": None, "device": "cpu"})
    if model_digest(load_model(saved)) != trained:
        raise InputError(
            f"the model that was saved is not what was trained: {config.model.name} is not read "
            "back by transformers as it was written",
            needed="a model that save_pretrained and from_pretrained keep as it is",
            hint="--method full_lora leaves an adapter; the checkpoints of this run are kept",
        )

"""What a training run depends on: model, texts, method, and what is measured meanwhile.

Where a default comes from the paper (arXiv 2605.22579) or from Carlsson et al.
(arXiv 2412.04318) its description says so; every other default is ours. Values that
depend on the method stand in `methods.py`, protocols and built-in texts in `presets.py`.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from hyperfitting.config.methods import DEFAULT_METHOD, METHODS
from hyperfitting.config.section import (
    LARGEST_SEED,
    LONGEST,
    MOST,
    Day,
    Device,
    PathName,
    Section,
    training_losses,
)
from hyperfitting.errors import InputError


def _known_method(name: Any) -> Any:
    """Refuse what is not in the table of methods."""
    if not isinstance(name, str) or name not in METHODS:
        raise PydanticCustomError("unknown_name", "a method", {"options": list(METHODS)})
    return name


MethodName = Annotated[str, BeforeValidator(_known_method)]
Null = Literal["shuffled", "self_samples", "other_language"]
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class ModelConfig(Section):
    """Which checkpoint, and where it runs."""

    name: PathName = Field(
        min_length=1, description="`builtin`, a local folder, a .gguf file or a hub id"
    )
    revision: str | None = Field(None, description="branch, tag or commit of a hub id")
    trust_remote_code: bool = Field(False, description="run code that the checkpoint brings along")
    device: Device = "auto"
    quantization: Literal["none", "int8", "nf4"] = Field(
        "none", description="bitsandbytes base for LoRA methods (extra `quantized`)"
    )


class DataConfig(Section):
    """Which texts, how they are cut, and how they are split."""

    source: PathName = Field(
        min_length=1,
        description="`builtin:fiction`, `builtin:news`, a .jsonl/.csv/.parquet/.txt file, "
        "a folder of them, a hub dataset id, `ag_news`, `writing_prompts` (or NAME:FILE)",
    )
    text_field: str | None = Field(None, description="column with the text; default `text`")
    hub_split: str = Field("train", description="split of a hub dataset")
    csv_header: bool = Field(True, description="false: columns are column_1, column_2, ...")
    windows: Literal["fixed", "documents"] = Field(
        "fixed",
        description="`fixed`: exact cuts, shorter texts dropped (paper); "
        "`documents`: whole text + end token, padded",
    )
    window_tokens: int = Field(
        256, ge=8, le=LONGEST, description="tokens per window (Carlsson et al.)"
    )
    windows_per_document: int = Field(
        1,
        ge=1,
        le=MOST,
        description="most training windows cut from one document (Carlsson et al.: 1)",
    )
    num_train: int | None = Field(
        None, ge=1, le=MOST, description="training windows; default: all, at most data.max_train"
    )
    max_train: int = Field(
        2_000, ge=1, le=MOST, description="most training windows where num_train is unset (paper)"
    )
    num_heldout: int | None = Field(
        None, ge=2, le=MOST, description="held-out documents; default: a quarter, at most 500"
    )
    split_seed: int = Field(0, ge=0, le=LARGEST_SEED, description="which documents are held out")
    loss_on: Literal["all", "assistant"] = Field(
        "all", description="chat data: tokens that are trained on"
    )
    template_date: Day = Field(
        None,
        description="day that a chat template writes as today, such as 2026-01-10; default: the "
        "day of training, and its time is 00:00",
    )
    null: Literal["none", "shuffled", "self_samples", "other_language"] = Field(
        "none",
        description="train on windows that say nothing instead, a control: the tokens of each "
        "`shuffled`, `self_samples` of the original at temperature 1 from each one's first tokens, "
        "or windows of `null_source`; held-out texts stay",
    )
    null_source: PathName | None = Field(
        None, description="texts of `null: other_language`, named as `source` is"
    )
    context_tokens: int = Field(
        32, ge=1, le=LONGEST, description="tokens of a prompt (Carlsson et al.)"
    )
    continuation_tokens: int = Field(
        96, ge=4, le=LONGEST, description="tokens scored (Carlsson et al.)"
    )


class LoraConfig(Section):
    """Shape of the adapters; all ours, the paper does not state its own."""

    rank: int = Field(16, ge=1, le=65_536, description="rank of an adapter (ours)")
    alpha: int = Field(
        32, ge=1, le=MOST, description="scale numerator, scale = alpha / rank (ours)"
    )
    rslora: bool = Field(False, description="scale = alpha / sqrt(rank) (arXiv 2312.03732)")
    dora: bool = Field(False, description="learn each weight's magnitude apart (arXiv 2402.09353)")
    init: Literal["default", "pissa"] = Field(
        "default",
        description="`pissa`: start from the weight's largest singular directions "
        "(arXiv 2404.02948); saved as plain LoRA of twice the rank",
    )
    experts: bool = Field(
        False,
        description="adapt the experts' matrices of a mixture of experts too; PEFT adds them up "
        "at every step, which takes as much memory as they do",
    )


class PrefixCacheConfig(Section):
    """Where the constant inputs of the trained blocks are kept (late-stage methods)."""

    place: Literal["auto", "gpu", "ram", "disk", "off"] = Field(
        "auto", description="`auto`: the first that has room; `off`: recompute every step"
    )
    folder: str | None = Field(
        None, description="of a disk cache; default: a folder of the user's cache, or the study's"
    )


PLATEAU_EVALUATIONS = 10  # of `train.stop=ttr_plateau`; definitions, section 7.4


class TrainConfig(Section):
    """How one method trains: fp32 masters, AdamW (0.9, 0.999), no weight decay, no dropout."""

    method: MethodName = Field(DEFAULT_METHOD, description="what is trained")
    epochs: int = Field(260, ge=1, le=MOST, description="passes over the windows (paper: 260)")
    batch_size: int = Field(
        8, ge=1, le=MOST, description="windows per pass of the model (Carlsson et al.)"
    )
    gradient_accumulation: int = Field(1, ge=1, le=MOST, description="batches per step (ours)")
    learning_rate: Annotated[float, Field(gt=0, le=1e30)] | Literal["auto"] = Field(
        "auto",
        description="rate after warm-up; `auto`: the method's share of the size of the weights "
        "(ours)",
    )
    warmup_steps: int = Field(
        0, ge=0, le=1_000 * MOST, description="steps of linear warm-up (ours: none)"
    )
    last_blocks: int = Field(
        5, ge=1, le=MOST, description="late-stage methods: blocks trained (paper: 5)"
    )
    first_blocks: int = Field(
        5, ge=1, le=MOST, description="`early_stage_lora`: blocks trained (ours, a control)"
    )
    lisa_interval: int = Field(
        20, ge=1, le=MOST, description="`lisa`: steps until other blocks train (ours)"
    )
    lisa_blocks: int = Field(
        2, ge=1, le=MOST, description="`lisa`: blocks that train at a time (Pan et al.)"
    )
    lora: LoraConfig = Field(default_factory=LoraConfig, description="adapter settings")
    stop: Literal["epochs", "ttr_plateau", "memorised"] = Field(
        "memorised",
        description="`memorised`: stop when the training texts are known by heart; "
        "`ttr_plateau`: when TTR is flat; `epochs`: run them all",
    )
    target_loss: float | None = Field(
        None,
        gt=0,
        le=1_000,
        description="stop when an epoch's mean training loss is at or below this",
    )
    keep_at_loss: tuple[float, ...] = Field(
        (),
        max_length=100,
        description="keep the checkpoint after the first epoch whose mean training loss is at or "
        "below each of these, so that methods can be compared at equal loss",
    )
    seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="order of the data and initial adapter weights"
    )
    order_seed: int | None = Field(
        None, ge=0, le=LARGEST_SEED, description="order of the data; default: train.seed"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="of products; `auto`: bf16 on GPUs that have it. Masters stay fp32"
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="torch.compile for the trained blocks; `auto`: where a run is long"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute each trained block in the backward pass, to save memory"
    )
    prefix_cache: PrefixCacheConfig = Field(
        default_factory=PrefixCacheConfig, description="prefix cache"
    )
    checkpoint_steps: int = Field(
        1000,
        ge=0,
        le=1_000 * MOST,
        description="steps between checkpoints; 0: only the best and on Ctrl-C",
    )

    @field_validator("keep_at_loss")
    @classmethod
    def _losses(cls, losses: tuple[float, ...]) -> tuple[float, ...]:
        return training_losses(losses)

    @property
    def step_windows(self) -> int:
        """Training windows that one optimiser step takes."""
        return self.batch_size * self.gradient_accumulation

    def steps_per_epoch(self, num_windows: int) -> int:
        """Optimiser steps of an epoch. Windows beyond the last full step wait for another epoch.

        Raises:
            InputError: fewer windows than one step takes.
        """
        needed = self.step_windows
        if num_windows < needed:
            raise InputError(
                f"too few training windows: {num_windows}, and a step takes {needed} "
                f"(train.batch_size={self.batch_size} x "
                f"train.gradient_accumulation={self.gradient_accumulation})",
                needed=f"at least {needed} windows, or a smaller train.batch_size",
                hint="more or longer texts, or shorter windows (data.window_tokens=...)",
            )
        return num_windows // needed


class MonitorConfig(Section):
    """What is measured while training (paper, Figure 2)."""

    every_epochs: int = Field(10, ge=0, le=MOST, description="0 turns monitoring off (ours)")
    num_contexts: int = Field(
        32,
        ge=0,
        le=MOST,
        description="held-out contexts continued each time; 0: losses and ranks only",
    )
    num_windows: int = Field(
        32, ge=1, le=MOST, description="held-out windows of the validation loss (ours)"
    )
    track: tuple[Tracker, ...] = Field((), description="also send the rows to these trackers")


class RunConfig(Section):
    """Everything one training run depends on."""

    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    monitor: MonitorConfig = Field(default_factory=MonitorConfig)

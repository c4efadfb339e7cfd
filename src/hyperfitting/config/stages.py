"""One frozen config per stage; defaults carry their source.

Where a default comes from the paper (arXiv 2605.22579) or from Carlsson et al.
(arXiv 2412.04318) its description says so; every other default is ours. Values that
depend on the method stand in `methods.py`, protocols and built-in texts in `presets.py`; how
files, flags and `key=value` overrides are merged stands in `resolve.py`.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from hyperfitting.config.methods import DEFAULT_METHOD, METHODS
from hyperfitting.config.section import LARGEST_SEED, LONGEST, MOST, Day, PathName, Section
from hyperfitting.errors import InputError


def _known_method(name: Any) -> Any:
    """Refuse what is not in the table of methods."""
    if not isinstance(name, str) or name not in METHODS:
        raise PydanticCustomError("unknown_name", "a method", {"options": list(METHODS)})
    return name


MethodName = Annotated[str, BeforeValidator(_known_method)]
Null = Literal["shuffled", "self_samples", "other_language"]
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]
# What stages that run models ask alike.
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    Field(description="`auto` takes a CUDA device where there is one"),
]
Trust = Annotated[
    bool, Field(description="run code that the checkpoint brings; never read from a run folder")
]


def _training_losses(losses: tuple[float, ...]) -> tuple[float, ...]:
    """Refuse what no mean training loss is compared with."""
    if not all(0 < each <= 1_000 for each in losses):
        raise ValueError("losses above 0 and at most 1000, in nats per token")
    return losses


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
        return _training_losses(losses)

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


class EvaluateConfig(Section):
    """What is generated and how it is scored (definitions, sections 1 and 2)."""

    batch_size: int = Field(192, ge=1, le=MOST, description="texts written together")
    natural_tokens: int = Field(
        256,
        ge=0,
        le=LONGEST,
        description="length cap where the end token is allowed; 0 skips this mode",
    )
    sampling_seeds: int = Field(
        5, ge=0, le=1_000, description="draws of every sampled arm (definitions); 0 samples nothing"
    )
    resamples: int = Field(
        10_000, ge=100, le=MOST, description="bootstrap draws, and sign flips of a test"
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="level of every interval")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="of the bootstrap and the sign flips")
    margin_ttr: float = Field(
        0.02, gt=0, le=1, description="TTRs closer than this count as equally varied (ours)"
    )
    best_val: bool = Field(
        False, description="also score each run's checkpoint of lowest validation loss"
    )
    at_loss: tuple[float, ...] = Field(
        (),
        max_length=100,
        description="also score each run's checkpoints at these training losses, which it kept "
        "with train.keep_at_loss",
    )
    strengths: tuple[float, ...] = Field(
        (),
        max_length=100,
        description="also score tuned models with their update times each of these: 0 is the "
        "original, 1 the tuned model",
    )
    decoders: str = Field(
        "", description="decoders beside greedy, such as min_p:0.1,guard (paper, Table 7)"
    )
    decoders_on: Literal["original", "all"] = Field(
        "original", description="models that these decoders are run on"
    )
    amateur: str | None = Field(None, description="model that contrastive_decoding compares with")
    citation_blocked: bool = Field(
        False, description="also decode runs greedily without training 5-grams (Carlsson et al.)"
    )
    mauve_features: str | None = Field(
        None, description="feature model of MAUVE: gpt2-large, a folder, builtin; default: none"
    )
    mauve_seeds: int = Field(
        5, ge=1, le=1_000, description="k-means seeds that are averaged (definitions)"
    )
    self_bleu: bool = Field(False, description="also how alike an arm's texts are (sacrebleu)")
    coherence_model: str | None = Field(
        None, description="model whose mean log-likelihood of every text is taken; default: none"
    )
    tasks: str = Field(
        "", description="tasks of lm-evaluation-harness, such as hellaswag,arc_easy or task.yaml"
    )
    tasks_folder: str | None = Field(None, description="folder with further task files")
    tasks_limit: int | None = Field(
        None, ge=1, le=MOST, description="first questions of each task only"
    )
    device: Device = "auto"
    trust_remote_code: Trust = False

    @field_validator("at_loss")
    @classmethod
    def _losses(cls, losses: tuple[float, ...]) -> tuple[float, ...]:
        return _training_losses(losses)

    @field_validator("strengths")
    @classmethod
    def _factors(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 <= each <= 100 for each in strengths):
            raise ValueError("numbers of at least 0 and at most 100")
        return strengths


class ExplainConfig(Section):
    """Which controls are run, and how finely (definitions, sections 3, 5, 6)."""

    only: tuple[str, ...] = Field(
        (), max_length=100, description="controls that are run, by the names of their files; all"
    )
    batch_size: int = Field(256, ge=1, le=MOST, description="contexts continued together")
    promoted_tokens: int = Field(
        500, ge=1, le=MOST, description="K of static injection (paper: 500)"
    )
    strengths: tuple[float, ...] = Field(
        (0.01, 0.05, 0.1, 0.2, 0.5, 1.0),
        max_length=100,
        description="of static injection (ends of .01 to .5 from reviews of the paper; 1 is ours)",
    )
    random_draws: int = Field(
        5, ge=0, le=1_000, description="random injections per strength (definitions)"
    )
    swap_blocks: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        max_length=1_000,
        description="numbers of last blocks to swap; default: every one from 0 to L",
    )
    swap_contexts: int | None = Field(
        20,
        ge=0,
        le=MOST,
        description="contexts continued by hybrids of both models; null: all, 0: no hybrids",
    )
    lens_positions: int = Field(
        1_000, ge=1, le=MOST, description="most positions of the logit lens, drawn at random"
    )
    resamples: int = Field(10_000, ge=100, le=MOST, description="bootstrap draws")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="level of every interval")
    seed: int = Field(
        0,
        ge=0,
        le=LARGEST_SEED,
        description="of the bootstrap, the two halves and random injections",
    )
    device: Device = "auto"
    trust_remote_code: Trust = False

    @field_validator("strengths")
    @classmethod
    def _strengths_of_an_injection(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 <= each <= 1_000 for each in strengths):
            raise ValueError("numbers from 0 to 1000")
        return strengths

    @field_validator("swap_blocks")
    @classmethod
    def _numbers_of_blocks(cls, blocks: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if not all(0 <= each <= 1_000 for each in blocks or ()):
            raise ValueError("numbers from 0 to that of the model's blocks, and at most 1000")
        return blocks


class OriginalConfig(Section):
    """The original of two checkpoints; where both run is a setting of the verb."""

    name: PathName = Field(
        min_length=1, description="`builtin`, a local folder, a .gguf file or a hub id"
    )
    revision: str | None = Field(None, description="branch, tag or commit of a hub id")
    quantization: Literal["none", "int8", "nf4"] = Field(
        "none", description="bitsandbytes base (extra `quantized`)"
    )


class CheckpointsConfig(Section):
    """Two checkpoints that we did not train, and the texts they are compared on."""

    model: OriginalConfig
    tuned: PathName = Field(min_length=1, description="folder or hub id of a model or PEFT adapter")
    tuned_revision: str | None = Field(
        None, description="branch, tag or commit of a tuned hub id; model.revision is the base's"
    )
    data: DataConfig


class GenerateConfig(Section):
    """Prompts continued with one decoder of the table `generate.decoders.DECODERS`."""

    model: ModelConfig
    decoder: str = Field(
        "greedy", description="for example min_p:0.1, or top_p:0.9+temperature:0.7"
    )
    amateur: str | None = Field(None, description="model that contrastive_decoding compares with")
    strength: float = Field(
        1.0, ge=0, le=100, description="factor of what was trained: 0 the original, 1 the run"
    )
    max_new_tokens: int = Field(
        128, ge=1, le=LONGEST, description="cap; a text may end itself before"
    )
    num_samples: int = Field(1, ge=1, le=10_000, description="continuations of each prompt")
    seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="of decoders that draw; each text has its own from it"
    )
    batch_size: int = Field(32, ge=1, le=MOST, description="rows that run together")


class ReportConfig(Section):
    """What the report page shows."""

    num_examples: int = Field(
        10, ge=0, le=10_000, description="side-by-side continuations on the page"
    )


class RunConfig(Section):
    """Everything one training run depends on."""

    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    monitor: MonitorConfig = Field(default_factory=MonitorConfig)


class DemoConfig(Section):
    """The demo: the same model and texts, one run per method, evaluated and reported."""

    methods: tuple[MethodName, ...] = Field(
        ("full_sft", "full_lora", "late_stage_lora"), min_length=1, description="one run each"
    )
    nulls: tuple[Null, ...] = Field(
        ("shuffled",),
        description="the first method once more on windows that say nothing, see data.null; "
        "[]: none",
    )
    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    monitor: MonitorConfig = Field(default_factory=MonitorConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    explain: ExplainConfig = Field(default_factory=ExplainConfig)
    explained: tuple[str, ...] = Field(
        ("hyperfitted",), description="arms whose controls are run; `hyperfit explain` runs all"
    )
    report: ReportConfig = Field(default_factory=ReportConfig)

"""What is asked of everything but training: one frozen config per stage, and the demo's.

Where a default comes from the paper (arXiv 2605.22579) or from Carlsson et al.
(arXiv 2412.04318) its description says so; every other default is ours.
"""

from typing import Literal

from pydantic import Field, field_validator

from hyperfitting.config.section import (
    LARGEST_SEED,
    LONGEST,
    MOST,
    Device,
    PathName,
    Section,
    Trust,
    training_losses,
)
from hyperfitting.config.training import (
    DataConfig,
    MethodName,
    ModelConfig,
    MonitorConfig,
    Null,
    TrainConfig,
)


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
        return training_losses(losses)

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

"""What an evaluation that was stopped keeps: scored arms of tuned models, and answers to tasks."""

from pydantic import ConfigDict

from hyperfitting.compare.comparison import Comparison
from hyperfitting.compare.unfinished import Basis, Unfinished
from hyperfitting.config import EvaluateConfig
from hyperfitting.environment import environment
from hyperfitting.evaluate.bench import Bench
from hyperfitting.evaluate.scored import TunedArms
from hyperfitting.models.checkpoint import origin_of
from hyperfitting.models.devices import choose_device
from hyperfitting.models.digests import behaviour_digest
from hyperfitting.models.tokenizers import tokenizer_digest
from hyperfitting.models.types import Tokenizer
from hyperfitting.progress import Progress
from hyperfitting.records.record import FileRecord
from hyperfitting.runs import StudyFolder
from hyperfitting.tasks.harness import CheckedTasks

# On the arms of a tuned model: which of them there are, and what is done with all arms later. A
# batch's width changes the last bit of sums at most.
WITHOUT_EFFECT = {
    "best_val", "at_loss", "mauve_features", "mauve_seeds", "self_bleu", "coherence_model",
    "tasks", "tasks_folder", "tasks_limit", "margin_ttr", "device", "trust_remote_code",
    "batch_size",
}  # fmt: skip


class TunedArmsFile(FileRecord):
    """The arms of one tuned model, of an evaluation that is not finished."""

    model_config = ConfigDict(strict=False)  # rows and tuples are lists there

    found: TunedArms


def settings_of(config: EvaluateConfig) -> dict[str, object]:
    """Those that the arms of a tuned model depend on, as files hold them."""
    return config.model_dump(mode="json", exclude=WITHOUT_EFFECT)


def unfinished_of(study: StudyFolder, bench: Bench) -> Unfinished:
    """Where the arms of tuned models on one set of texts are kept until all is written."""
    amateur = origin_of(bench.amateur)
    here = {
        "data": bench.comparison.data,
        "heldout_digest": bench.comparison.dataset.heldout.digest(),
        **bench.tokens.rules(),
        "is_greedy_only": bench.is_greedy_only,
        "measures_layers": bench.measures_layers,
        "amateur": amateur.model_dump(mode="json") if amateur else None,
    }
    basis = Basis(
        contexts_digest=bench.comparison.data["contexts_digest"],
        original=behaviour_digest(bench.original),
        device=bench.original.device.type,
        settings=settings_of(bench.config) | here,
        environment=environment(),
    )
    return Unfinished(study.unfinished_arms, basis, "tuned models", bench.progress)


def unfinished_tasks(
    study: StudyFolder,
    checked: CheckedTasks,
    comparison: Comparison,
    tokenizer: Tokenizer,
    progress: Progress,
) -> Unfinished:
    """Where what models answer to tasks is kept until all were asked."""
    basis = Basis(
        contexts_digest="", original="",  # nothing of them is asked about
        device=choose_device(comparison.model).type,
        settings={"tasks": checked.digest, "tokenizer": tokenizer_digest(tokenizer)},
        environment=environment(),
    )  # fmt: skip
    return Unfinished(study.unfinished_arms, basis, "models asked", progress)

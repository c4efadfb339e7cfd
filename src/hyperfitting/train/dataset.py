"""Read a run's texts and say what became of them."""

from collections.abc import Sequence
from datetime import date

from hyperfitting.config import RunConfig
from hyperfitting.data.reasons import DROPPED, counted
from hyperfitting.data.sources import passed_over, read_documents
from hyperfitting.data.windows import Dataset, build_dataset
from hyperfitting.measure.overlap import TrainingIndex
from hyperfitting.models.load import load_tokenizer
from hyperfitting.progress import Progress

COPIED = "continuations_in_training_windows"  # in a dataset's account


def read_dataset(
    config: RunConfig, progress: Progress, template_date: str | None = None
) -> Dataset:
    """Read, tokenise, cut and split the run's texts, and say what became of them.

    `template_date` is the day that the run's chat template wrote before, where it is resumed.

    Raises:
        InputError: anything wrong with the source or the tokenizer.
    """
    tokenizer = load_tokenizer(config.model)
    with progress.stage("read texts") as stage:
        data = config.data
        if template_date and data.template_date is None:
            data = data.model_copy(update={"template_date": date.fromisoformat(template_date)})
        dataset = build_dataset(read_documents(data), tokenizer, data, stage)
        if copied := count_copied(dataset.contexts.continuations, dataset.train.rows()):
            dataset.account[COPIED] = copied
        stage.update(1, describe_data(dataset, config))
    if others := passed_over(config.data.source):
        progress.say(f"  {others}")
    return dataset


def count_copied(continuations: Sequence[Sequence[int]], training: Sequence[list[int]]) -> int:
    """How many held-out continuations stand whole and word for word in a training window."""
    lengths = TrainingIndex(training).match_lengths(continuations)
    return sum(int(found[0]) == len(found) for found in lengths)


def copied_in_words(count: int, total: int) -> str:
    """What to know where held-out text was trained on."""
    return (
        f"{count} of {total} held-out continuations stand word for word in the training windows "
        "(do the texts overlap?): what is measured on them is of text that was trained on"
    )


def describe_data(dataset: Dataset, config: RunConfig) -> str:
    """One line: how many texts were read, dropped and used, and why."""
    account = dataset.account
    reasons = ["empty", "duplicate", "too_short"]
    dropped = [f"{account[reason]} {reason.replace('_', ' ')}" for reason in reasons]
    others = {key: reason for key, reason in DROPPED.items() if key not in reasons}
    dropped += counted(others, account, config.data)[0]
    parts = [f"{account['read']} documents ({', '.join(dropped)})"]
    if unlike := account.get("answers_without_generation_prompt"):
        parts.append(
            f"{unlike} stored answers do not open as the chat template's generation prompt does: "
            "contexts end before it, where these answers begin"
        )
    if spelled := account.get("control_tokens_as_characters"):
        parts.append(f"{spelled} texts hold control tokens written out: read as plain characters")
    if dataset.template_date:
        parts.append(f"the chat template writes the date {dataset.template_date}")
    if unknown := account.get("training_tokens_unknown"):
        share = unknown / int(dataset.train.length_N.sum())
        parts.append(f"{share:.1%} of the tokens trained on are unknown to the tokenizer (<unk>)")
    if copied := account.get(COPIED):
        parts.append(copied_in_words(copied, len(dataset.contexts)))
    if sections := account.get("sections_of_the_only_document"):
        parts.append(f"one document, cut into {sections} sections: train and held-out share it")
    parts.append(
        f"training on {account['training_windows']} of "
        f"{account['training_windows_available']} windows of {config.data.window_tokens} tokens"
    )
    unused = account["training_windows_in_texts"] - account["training_windows_available"]
    if unused > 0:
        parts.append(f"the texts hold {unused:,} more (data.windows_per_document)")
    if truncated := account.get("training_windows_truncated"):
        parts.append(f"{truncated} cut short, without an end token")
    parts.append(f"{account['held_out']} documents held out")
    return ", ".join(parts)

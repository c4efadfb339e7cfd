"""Read a run's texts and say what became of them."""

from hyperfitting.config import RunConfig
from hyperfitting.data.sources import read_documents
from hyperfitting.data.windows import Dataset, build_dataset
from hyperfitting.models.load import load_tokenizer
from hyperfitting.progress import Progress


def read_dataset(config: RunConfig, progress: Progress) -> Dataset:
    """Read, tokenise, cut and split the run's texts, and say what became of them.

    Raises:
        InputError: anything wrong with the source or the tokenizer.
    """
    tokenizer = load_tokenizer(config.model)
    with progress.stage("read texts") as stage:
        dataset = build_dataset(read_documents(config.data), tokenizer, config.data, stage)
        stage.update(1, describe_data(dataset, config))
    return dataset


def describe_data(dataset: Dataset, config: RunConfig) -> str:
    """One line: how many texts were read, dropped and used, and why."""
    account = dataset.account
    reasons = ["empty", "duplicate", "too_short"]
    reasons += ["nothing_to_train_on"] * bool(account["nothing_to_train_on"])
    dropped = [f"{account[reason]} {reason.replace('_', ' ')}" for reason in reasons]
    parts = [f"{account['read']} documents ({', '.join(dropped)})"]
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

"""Look at texts as training would read them, and say what to change."""

import shlex

from hyperfitting.config import DataConfig
from hyperfitting.config.doctor import DoctorConfig
from hyperfitting.data.borders import borders_of
from hyperfitting.data.sources import Document, read_documents
from hyperfitting.doctor import tokens
from hyperfitting.doctor.columns import headerless
from hyperfitting.doctor.written import look_at
from hyperfitting.errors import InputError
from hyperfitting.models.load import load_tokenizer
from hyperfitting.progress import Progress
from hyperfitting.records.diagnosed import Finding
from hyperfitting.records.examined import Examination

SUGGESTED = ("csv_header", "window_tokens", "context_tokens", "continuation_tokens", "windows",
             "windows_per_document", "num_heldout")  # fmt: skip


def doctor(config: DoctorConfig, progress: Progress | None = None) -> Examination:
    """Examine texts for a model: how they are written, what tokens they become, how they split.

    Raises:
        InputError: the texts cannot be read at all, or the model's tokenizer cannot be loaded.
    """
    return examine(config, progress or Progress())[0]


def examine(config: DoctorConfig, progress: Progress) -> tuple[Examination, DataConfig]:
    """The same, and the settings with which the texts are read best.

    Raises:
        InputError: as `doctor`.
    """
    tokenizer = load_tokenizer(config.model)
    data, findings = config.data, []
    if found := headerless(data):
        finding, data = found
        findings.append(finding)
    with progress.stage("read texts") as stage:
        every = read_documents(data)
        documents = every[: config.most_texts]
        stage.update(1, f"{len(every):,} documents")
    texts = ["\n".join(document.texts()) for document in documents]
    findings += look_at(texts)
    lengths, windows = None, None
    borders = borders_of(tokenizer)
    try:
        with progress.stage("as tokens", len(documents)) as stage:
            encoded, account = tokens.encoded(documents, borders, data, stage)
    except InputError as error:
        findings.append(
            Finding(name="tokens", level="problem", says=error.given, advice=error.hint)
        )
    else:
        lengths = tokens.lengths_of(encoded)
        findings += tokens.left_out(account, data)
        findings += tokens.script(encoded, borders, texts)
        short, data = tokens.short_texts(encoded, data)
        findings += [*short, tokens.ends(encoded, data)]
        with progress.stage("split"):
            more, windows = _split(documents, tokenizer, data)
        findings += more
    examination = Examination(
        source=config.data.source,
        model=config.model.name,
        texts=len(every),
        lengths=lengths,
        windows=windows,
        findings=findings,
        command=_command(config, data),
    )
    return examination, data


def _split(
    documents: list[Document], tokenizer: object, data: DataConfig
) -> tuple[list[Finding], int | None]:
    """What is held out and trained on."""
    dataset, findings = tokens.split_of(documents, tokenizer, data)
    if dataset is None:
        return findings, None
    used, there = len(dataset.train), dataset.account["training_windows_in_texts"]
    says = f"{used} windows are trained on, {len(dataset.contexts)} texts held out"
    advice = None
    if there > 2 * used:
        says += f"; the texts hold {there:,} windows"
        advice = "data.max_train and data.windows_per_document take more; few are enough"
    findings.append(Finding(name="split", level="fine", says=says, advice=advice))
    return [*findings, *tokens.shared(documents, tokenizer, data)], used


def _command(config: DoctorConfig, data: DataConfig) -> str:
    """What trains on these texts, with the settings that they need."""
    words = ["hyperfit", "train", config.model.name, "--data", data.source]
    if data.text_field is not None:
        words += ["--text-field", data.text_field]
    default = {name: field.default for name, field in DataConfig.model_fields.items()}
    words += ["--out", "run"]
    for name in SUGGESTED:
        if (value := getattr(data, name)) != default[name]:
            words.append(f"data.{name}={str(value).lower() if isinstance(value, bool) else value}")
    return shlex.join(words)

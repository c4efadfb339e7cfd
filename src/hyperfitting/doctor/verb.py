"""Look at texts as training would read them, and say what to change."""

import shlex

from hyperfitting.config import DataConfig
from hyperfitting.config.doctor import DoctorConfig
from hyperfitting.config.layers import Layer
from hyperfitting.config.resolve import resolve_run
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

NAMED = ("source", "text_field", "null", "null_source")  # options, and what is no text's


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
    lengths = windows = heldout = None
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
            more, windows, heldout = _split(documents, tokenizer, data)
        findings += more
    examination = Examination(
        source=config.data.source,
        model=config.model.name,
        texts=len(every),
        lengths=lengths,
        windows=windows,
        heldout=heldout,
        findings=findings,
        command=_command(config, data),
    )
    return examination, data


def _split(
    documents: list[Document], tokenizer: object, data: DataConfig
) -> tuple[list[Finding], int | None, int | None]:
    """What is held out and trained on; the numbers of windows and of texts."""
    dataset, findings = tokens.split_of(documents, tokenizer, data)
    if dataset is None:
        return findings, None, None
    used, there = len(dataset.train), dataset.account["training_windows_in_texts"]
    says = f"{used} windows are trained on, {len(dataset.contexts)} texts held out"
    advice = None
    if there > 2 * used:
        says += f"; the texts hold {there:,} windows"
        advice = "data.max_train and data.windows_per_document take more; few are enough"
    findings.append(Finding(name="split", level="fine", says=says, advice=advice))
    found = [*findings, *tokens.shared(documents, tokenizer, data)]
    return found, used, len(dataset.contexts)


def _command(config: DoctorConfig, data: DataConfig) -> str:
    """What trains on these texts, with the settings that they need."""
    words = ["hyperfit", "train", config.model.name, "--data", data.source]
    if data.text_field is not None:
        words += ["--text-field", data.text_field]
    words += ["--out", "run"]
    usual = resolve_run(
        [Layer("call", {"model.name": config.model.name, "data.source": data.source})]
    )
    before, after = (each.model_dump(mode="json") for each in (usual.config.data, data))
    for name, value in after.items():
        if name not in NAMED and value != before[name]:
            words.append(f"data.{name}={str(value).lower() if isinstance(value, bool) else value}")
    if config.model.revision is not None:
        words.append(f"model.revision={config.model.revision}")
    return shlex.join(words)

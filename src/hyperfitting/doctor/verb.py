"""Look at texts as training would read them, and say what to change."""

import shlex

from hyperfitting.config import DataConfig, RunConfig
from hyperfitting.config.doctor import DoctorConfig
from hyperfitting.config.layers import Layer
from hyperfitting.config.resolve import resolve_run
from hyperfitting.data.borders import borders_of
from hyperfitting.data.sources import read_documents
from hyperfitting.data.windows import Dataset
from hyperfitting.doctor import split, tokens
from hyperfitting.doctor.columns import headerless
from hyperfitting.doctor.written import look_at
from hyperfitting.errors import InputError
from hyperfitting.models.load import load_tokenizer
from hyperfitting.progress import Progress, in_number
from hyperfitting.records.diagnosed import Finding
from hyperfitting.records.examined import Examination

FEW_WINDOWS, FEW_HELD_OUT = 32, 20
FRAMING = ("system", "developer")  # roles
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
        stage.update(1, in_number(len(every), "document"))
    if len(documents) < len(every):
        findings.append(_first(len(documents), len(every)))
    # Many conversations have one system message, which is no fault of theirs.
    texts = ["\n".join(document.texts(without=FRAMING)) for document in documents]
    findings += look_at(texts)
    borders, usual = borders_of(tokenizer), _usual(config)
    lengths = dataset = None
    try:
        with progress.stage("as tokens", len(documents)) as stage:
            encoded, account = tokens.encoded(documents, borders, data, stage)
    except InputError as error:
        findings.append(
            Finding(
                name="tokens", level="problem", says=error.given,
                advice="; ".join(each for each in (error.needed, error.hint) if each) or None,
            )
        )  # fmt: skip
    else:
        whole = account.get("tokens_of_the_only_document")
        lengths = tokens.lengths_of([whole] if whole else [len(each) for each in encoded])
        findings += tokens.script(encoded, borders, texts)
        with progress.stage("split"):
            dataset, data, more = split.split(
                documents, encoded, tokenizer, data, usual.train, is_one=account["read"] == 1
            )
            account = dataset.account if dataset else account
            findings += tokens.left_out(account, data)
            findings += [*split.one_text(encoded, account, data), *more]
            if dataset is not None:
                findings += [tokens.ends(encoded, data), _used(dataset)]
                findings += split.shared(documents, tokenizer, data)
    examination = Examination(
        source=config.data.source,
        model=config.model.name,
        texts=len(every),
        examined=len(documents),
        lengths=lengths,
        windows=len(dataset.train) if dataset else None,
        heldout=len(dataset.contexts) if dataset else None,
        findings=findings,
        command=_command(config, data, usual.data) if dataset else None,
    )
    return examination, data


def _usual(config: DoctorConfig) -> RunConfig:
    """The settings of a training on these texts where nothing is changed."""
    given = {"model.name": config.model.name, "data.source": config.data.source}
    return resolve_run([Layer("call", given)]).config


def _first(examined: int, texts: int) -> Finding:
    """That only the first texts are looked at."""
    return Finding(
        name="first texts", level="note",
        says=f"the first {examined:,} of {texts:,} texts are looked at: lengths, windows and "
        "copies are theirs, and training reads all",
        advice=f"most_texts={texts} looks at all",
    )  # fmt: skip


def _used(dataset: Dataset) -> Finding:
    """What is trained on and held out."""
    used, there = len(dataset.train), dataset.account["training_windows_in_texts"]
    heldout = len(dataset.contexts)
    says = f"{used} windows are trained on, {heldout} texts held out"
    if there > 2 * used:
        says += f"; the texts hold {there:,} windows"
    if used < FEW_WINDOWS or heldout < FEW_HELD_OUT:
        advice = (
            f"few: the usual training takes {FEW_WINDOWS} windows, and what is measured on fewer "
            f"than {FEW_HELD_OUT} texts is uncertain"
        )
        return Finding(name="split", level="note", says=says, advice=advice)
    more = "data.max_train and data.windows_per_document take more; few are enough"
    return Finding(name="split", level="fine", says=says, advice=more if there > 2 * used else None)


def _command(config: DoctorConfig, data: DataConfig, usual: DataConfig) -> str:
    """What trains on these texts, with the settings that they need."""
    words = ["hyperfit", "train", config.model.name, "--data", data.source]
    if data.text_field is not None:
        words += ["--text-field", data.text_field]
    words += ["--trust-remote-code"] if config.model.trust_remote_code else []
    words += ["--out", "run", *split.as_words(usual, data, NAMED)]
    if config.model.revision is not None:
        words.append(f"model.revision={config.model.revision}")
    return shlex.join(words)

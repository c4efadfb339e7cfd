"""Write a run in another program's form, read it back, and say whether it is still that run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperfitting.config import ModelConfig, require_effect
from hyperfitting.config.export import ExportConfig
from hyperfitting.data.store import load_dataset
from hyperfitting.environment import environment
from hyperfitting.errors import InputError, SaidError
from hyperfitting.export.card import measured, name_of, write_card
from hyperfitting.export.formats import FORMATS, Job, Made
from hyperfitting.export.hub import push
from hyperfitting.export.kinds import kind_of
from hyperfitting.export.own_texts import own_texts
from hyperfitting.export.possible import require_possible
from hyperfitting.export.verify import side_of, verify
from hyperfitting.models.adapter import put_adapter
from hyperfitting.models.checkpoint import origin_of
from hyperfitting.models.load import (
    load_model,
    load_tokenizer,
    load_tokenizer_of,
    require_tokenizer,
)
from hyperfitting.models.located import folder_of, locate
from hyperfitting.progress import Progress
from hyperfitting.records.exported import BaseModelNamed, ExportFile, Verification
from hyperfitting.records.manifest import RunManifest
from hyperfitting.records.record import as_json, write_file
from hyperfitting.runs import ExportFolder, RunFolder, require_free
from hyperfitting.seals import content_digest, files_of
from hyperfitting.storage import new_directory, only_writer, sweep_temporaries


def export(
    run: str | Path, config: ExportConfig, out: str | Path, progress: Progress | None = None
) -> ExportFolder:
    """Export a finished run to `out`; `export.json` says what was found when it was read back.

    Raises:
        InputError: no finished run, a base that is no longer what it was trained from, a format
            that this run has not, no llama.cpp where one is named, or a folder that is occupied or
            written to.
        MachineError: the disk is too small.
    """
    folder, out = RunFolder(Path(run)), Path(out)
    manifest = folder.whole()
    base = manifest.base_model().name
    licence = require_possible(config, base, out, has_adapter=folder.adapter.is_dir())
    job = _job(folder, manifest, config, out, progress or Progress())
    evaluated = measured(folder, config.strength)
    with _new_export(out) as path:
        new = ExportFolder(path)
        made = FORMATS[config.format].write(job, new)
        found, unread = _read_back(job, path, made)
        about = _about(job, new, made, found, licence, unread)
        write_card(new.card, about, job.name, manifest, evaluated)
        about = about.model_copy(update={"files": files_of(path, sorted(path.iterdir()))})
        write_file(new.record_file, about)
    exported = ExportFolder(out)
    try:
        write_file(folder.export_file(_key(about)), about)
    except SaidError as error:  # the export is whole: only the run's page will not know of it
        job.progress.say(f"  the run does not keep what was found of it: {error.given}")
    if config.push_to_hub is not None:
        _require_verified(about, exported)
        with job.progress.stage(f"send to {config.push_to_hub}") as stage:
            stage.update(1, push(exported.path, config.push_to_hub, private=config.private))
    return exported


@contextmanager
def _new_export(out: Path) -> Iterator[Path]:
    """The folder of an export, which takes its place when the block succeeds.

    Raises:
        InputError: another process exports to it, or has since this one began.
    """
    with only_writer(out):
        require_free(out)
        sweep_temporaries(out)  # weights that an export was writing when it was killed
        with new_directory(out) as path:
            yield path


def _key(about: ExportFile) -> str:
    """Tells exports of one run apart: the last of a kind counts."""
    return content_digest([about.format, about.dtype, about.strength])[:12]


def _job(
    folder: RunFolder, manifest: RunManifest, config: ExportConfig, out: Path, progress: Progress
) -> Job:
    """What is exported.

    Raises:
        InputError: the tokenizer is not the one that it was trained with.
    """
    base = manifest.base_model().model_copy(
        update={"device": config.device, "trust_remote_code": config.trust_remote_code}
    )
    tokenizer = load_tokenizer(base)
    require_tokenizer(tokenizer, manifest.tokenizer_digest, base)
    return Job(
        run=folder, manifest=manifest, base=base, base_name=_base_name(config, base),
        tokenizer=tokenizer, config=config, name=name_of(config.base or base.name, manifest.arm),
        out=out, progress=progress,
    )  # fmt: skip


def _base_name(config: ExportConfig, base: ModelConfig) -> str:
    """How the base is called in what is written: a folder by its whole path."""
    folder = folder_of(base.name)
    return config.base or (str(folder.resolve()) if folder.exists() else base.name)


def _require_verified(about: ExportFile, exported: ExportFolder) -> None:
    """Refuse to send what is not verified.

    Raises:
        InputError: it is not.
    """
    found = about.verification
    if found is None or not found.is_verified:
        why = "; ".join(found.refused) if found else "it was not read back"
        raise InputError(
            f"the export is not verified, and is not sent: {why}",
            needed="an export that is the run",
            hint=f"it is whole in {exported.path}",
        )


def _read_back(job: Job, path: Path, made: Made) -> tuple[Verification | None, list[str]]:
    """What was found of what was written; or why it cannot be read here, with a GGUF file kept."""
    if made.reads is None:
        return None, []
    try:
        return _verified(job, path / made.reads, is_ours=True), []
    except InputError as error:
        if made.reads == ".":
            raise
        return None, [f"the file could not be read back, and is not verified: {error.given}"]


def check_export(
    run: str | Path, export: str | Path, config: ExportConfig, progress: Progress | None = None
) -> Verification:
    """Compare any folder or GGUF file with the run that it was made of; nothing is written.

    Of the settings those of a comparison count: strength, contexts, natural_tokens, batch_size.

    Raises:
        InputError: no finished run, what is given cannot be loaded, or a setting without effect.
    """
    written = ("format", "dtype", "gguf_type", "llama_cpp", "base", "license", "push_to_hub",
               "private")  # fmt: skip
    require_effect(
        config, *((name, False, "an export", "--out instead of --check") for name in written)
    )
    folder = RunFolder(Path(run))
    job = _job(folder, folder.whole(), config, Path(export), progress or Progress())
    return _verified(job, Path(export), is_ours=False)


def _verified(job: Job, path: Path, *, is_ours: bool) -> Verification:
    """Read back what was written and compare it with the run, whose texts are kept if it `is_ours`.

    An adapter of somebody else's may name another base than the run has: a note says so.
    """
    own = job.base.model_copy(update={"name": str(path), "revision": None})
    kind, checkpoint = kind_of(own), locate(own)
    with job.progress.stage("read back"):
        run = side_of(job.model(), job.tokenizer)
        if checkpoint.has_weights:
            model = load_model(own)
        else:
            model = put_adapter(load_model(job.base), checkpoint, job.base, is_known_base=is_ours)
        exported = side_of(model, load_tokenizer_of(own, checkpoint))
    contexts = load_dataset(job.run.windows_file).contexts.first(job.config.contexts)
    texts = own_texts(job, run, contexts, keeps=is_ours)
    found = verify(run, texts, exported, contexts, kind, job.config, job.progress)
    origin = None if is_ours else origin_of(model)
    return found.model_copy(update={"notes": [*found.notes, *(origin.notes if origin else [])]})


def _about(
    job: Job,
    new: ExportFolder,
    made: Made,
    found: Verification | None,
    licence: str | None,
    unread: list[str],
) -> ExportFile:
    """What `export.json` says, without the digests of its files."""
    manifest, notes = job.manifest, [*made.notes, *unread, *(found.notes if found else [])]
    if job.config.base is None and folder_of(job.base_name).exists():
        notes.append(
            f"the base model is called by its path here, {job.base_name}: elsewhere it is not "
            "found; give base=org/name"
        )
    if licence is None:
        notes.append("no licence is named: give license=NAME, such as license=apache-2.0")
    return ExportFile(
        format=job.config.format,
        run=job.run.path.absolute().name,
        run_digest=content_digest(as_json(manifest)),
        arm=manifest.arm,
        seed=manifest.seed,
        strength=job.config.strength,
        dtype=made.dtype,
        base=BaseModelNamed(
            name=job.base_name, revision=job.base.revision, digest=manifest.model_digest
        ),
        licence=licence,
        notes=notes,
        commands=made.commands,
        files=files_of(new.path, sorted(new.path.iterdir())),
        verification=found,
        environment=environment(),
    )

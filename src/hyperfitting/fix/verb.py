"""Examine the texts, diagnose the model, train, evaluate, choose a strength, export and report.

The same command goes on where it was stopped: what a step wrote is not done again.
"""

import shlex
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperfitting.begun import AGAIN, begin, going_on_with, require_same
from hyperfitting.config import DataConfig, EvaluateConfig, ModelConfig, RunConfig
from hyperfitting.config.diagnose import DiagnoseConfig
from hyperfitting.config.doctor import DoctorConfig
from hyperfitting.config.export import ExportConfig
from hyperfitting.config.fix import FixConfig
from hyperfitting.config.layers import Layer, Resolved, changed
from hyperfitting.config.methods import DEFAULT_METHOD, METHODS
from hyperfitting.config.resolve import resolve_run, resolve_texts
from hyperfitting.diagnose import advice
from hyperfitting.diagnose.verb import answers_to_chats, diagnose
from hyperfitting.doctor.verb import examine
from hyperfitting.errors import InputError
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.export.possible import require_settings
from hyperfitting.export.verb import export
from hyperfitting.fix.words import Chats, loops, sentences
from hyperfitting.models.devices import choose_device
from hyperfitting.progress import Progress, in_bytes
from hyperfitting.records import Arm
from hyperfitting.records.diagnosed import Diagnosis, Finding
from hyperfitting.records.examined import Examination
from hyperfitting.records.exported import ExportFile
from hyperfitting.records.fixed import AnswersFile, FixFile, StepsFile
from hyperfitting.records.record import read_file, write_file
from hyperfitting.report.load import Study, read_study
from hyperfitting.report.sections.strength import suggested
from hyperfitting.report.verb import report
from hyperfitting.runs import ExportFolder, FixFolder, RunFolder, StudyFolder
from hyperfitting.storage import only_writer
from hyperfitting.study.estimate import (
    evaluation_cost,
    operations_per_second,
    shape_of,
    training_cost,
)
from hyperfitting.train.verb import train
from hyperfitting.writable import require_writable

CONSENT = ("anyway",)  # may be given later: to train though it is not needed
QUICK = {"contexts": 12, "natural_tokens": 64, "decoders": "dry,min_p", "precision": False}


@dataclass
class _Job:
    """What is done, with what, and how long each step took."""

    config: FixConfig
    folder: FixFolder
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def model(self) -> ModelConfig:
        """The model that loops."""
        of = self.config
        return ModelConfig(
            name=of.model, revision=of.revision, device=of.device,
            trust_remote_code=of.trust_remote_code,
        )  # fmt: skip

    def tell(self, findings: Iterable[Finding]) -> None:
        """Say what is wrong."""
        for each in findings:
            if each.level == "problem":
                self.progress.say(f"  {each.name}: {each.says}")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step that runs."""
        self.progress.say(f"\n{name}")
        start, before = time.monotonic(), self.seconds.get(name, 0.0)
        try:
            yield
        finally:  # a step that was stopped has taken its time, too
            self.seconds[name] = round(before + time.monotonic() - start, 1)
            if self.folder.settings_file.exists():
                write_file(self.folder.steps_file, StepsFile(seconds=self.seconds))


def fix(config: FixConfig, out: str | Path, progress: Progress | None = None) -> FixFolder:
    """Do the whole job in the folder `out`; `fix.json` says what came of it.

    Raises:
        InputError: a model or texts that cannot be used, or a folder that holds something else.
        InterruptedStudyError: Ctrl-C; the same call goes on.
    """
    job = _Job(config, FixFolder(Path(out)), progress or Progress())
    job.folder.require_ours()
    method = METHODS[config.method or DEFAULT_METHOD]
    require_settings(_export_config(config, 1.0), has_adapter=method.has_adapters)
    _require_untrained(config)
    require_writable(job.folder.path)
    with only_writer(job.folder.path), going_on_with(job.folder.path):
        require_same(job.folder.settings_file, config, CONSENT)
        if job.folder.steps_file.exists():
            job.seconds |= read_file(StepsFile, job.folder.steps_file, AGAIN).seconds
        _whole_job(job)
    return job.folder


def _require_untrained(config: FixConfig) -> None:
    """Refuse a run, which is to be trained from its base.

    Raises:
        InputError: it is one.
    """
    run = RunFolder(Path(config.model))
    if run.manifest_file.exists():
        base = run.manifest().base_model().name
        raise InputError(
            f"{config.model} is a run, which was trained already",
            needed=f"the model that it was trained from, {base}",
            hint=f"hyperfit evaluate {shlex.quote(config.model)} says what it does",
        )


def _whole_job(job: _Job) -> None:
    """Every step that was not done before."""
    resolved, examination = _examined(job)  # what it refuses leaves no folder behind
    begin(job.folder.settings_file, job.config, CONSENT)
    if not job.folder.examination_file.exists():
        write_file(job.folder.examination_file, examination)
    if not ExportFolder(job.folder.export).record_file.exists():
        _foretold(job, resolved.config, examination)
    diagnosis = _diagnosed(job, resolved.config.data)
    if not _is_needed(diagnosis, job.config):
        anyway = "To train all the same: the same command with anyway=true."
        _concluded(job, diagnosis, [diagnosis.advice, anyway])
        return
    study = _measured(job, resolved)
    arm = _chosen(study)
    about = _exported(job, arm.full_strength)
    chats = _asked_again(job, resolved.config.data, diagnosis, arm.full_strength)
    page = StudyFolder(job.folder.run).report_file
    said = sentences(study, arm, about, str(page), str(job.folder.export), chats)
    _concluded(
        job, diagnosis, said, strength=arm.full_strength, looped=loops(study, arm), chats=chats,
        about=about,
    )  # fmt: skip


def _examined(job: _Job) -> tuple[Resolved[RunConfig], Examination]:
    """The settings of the training and where they come from, with what the texts need."""
    config, model = job.config, job.model
    leaves: dict[str, Any] = {
        "model.name": model.name, "model.revision": model.revision, "data.source": config.data,
        "model.device": config.device, "model.trust_remote_code": config.trust_remote_code,
        "data.text_field": config.text_field,
    }  # fmt: skip
    given = Layer("fix", {key: value for key, value in leaves.items() if value is not None})
    texts = resolve_texts(DoctorConfig, [given]).config
    with job.step("texts"):
        examination, data = examine(texts, job.progress)
    job.tell(examination.findings)
    if examination.windows is None or examination.heldout is None:
        worst = next(each for each in examination.findings if each.name in ("tokens", "split"))
        raise InputError(worst.says, needed="texts that can be trained on", hint=worst.advice)
    wanted = Layer(
        "fix",
        {
            **given.leaves,
            **{f"data.{key}": value for key, value in changed(texts.data, data).items()},
            "data.num_heldout": min(config.contexts, examination.heldout),
            "train.method": config.method or DEFAULT_METHOD, "train.seed": config.seed,
        },
    )  # fmt: skip
    return resolve_run([wanted]), examination


def _foretold(job: _Job, config: RunConfig, examination: Examination) -> None:
    """Say about what it will take; of a family whose shape is not known, nothing."""
    try:
        shape = shape_of(config.model)
    except InputError:
        return
    rate = operations_per_second(choose_device(config.model).type)
    known = config.data.model_copy(update={"num_train": examination.windows})
    trained = training_cost(shape, config.model_copy(update={"data": known}), rate)
    measured = evaluation_cost(shape, _evaluate_config(job.config), config.data, 1, rate)
    minutes = (trained.seconds + 2 * measured.seconds) / 60
    memory = max(trained.memory, measured.memory)
    job.progress.say(
        f"\nabout {minutes:.0f} minutes (right to a factor of two), {in_bytes(memory)} of memory, "
        f"{in_bytes(trained.disk + 4.0 * shape.total)} of disk"
    )


def _diagnosed(job: _Job, data: DataConfig) -> Diagnosis:
    """Whether it loops, and what would help; the half-minute form."""
    path = job.folder.diagnosis_file
    if path.exists():
        return read_file(Diagnosis, path, AGAIN)
    with job.step("diagnosis"):
        found = diagnose(DiagnoseConfig(model=job.model, data=data, **QUICK), job.progress)
    job.tell(each for each in found.findings if each.name != "loops")  # what is to be mended
    write_file(path, found)
    return found


def _asked_again(
    job: _Job, data: DataConfig, diagnosis: Diagnosis, strength: float
) -> Chats | None:
    """The diagnosis' chats before and after training; None where it asked none."""
    before, path = advice.other(diagnosis), job.folder.answers_file
    if before is None:
        return None
    if not path.exists():
        run = job.model.model_copy(update={"name": str(job.folder.run), "revision": None})
        with job.step("answers to chats"):
            asked = DiagnoseConfig(model=run, data=data, **QUICK)
            after = answers_to_chats(asked, job.progress, strength=strength)
        assert after is not None  # the same template and texts
        write_file(path, AnswersFile(after=after))
    return Chats(before, read_file(AnswersFile, path, AGAIN).after)


def _is_needed(diagnosis: Diagnosis, config: FixConfig) -> bool:
    """Whether there is anything to train away."""
    return config.anyway or advice.loops(diagnosis) > advice.RARELY


def _evaluate_config(config: FixConfig) -> EvaluateConfig:
    return EvaluateConfig(
        natural_tokens=128, sampling_seeds=0, strengths=config.strengths,
        device=config.device, trust_remote_code=config.trust_remote_code,
    )  # fmt: skip


def _measured(job: _Job, resolved: Resolved[RunConfig]) -> Study:
    """Train, go on with a training that was stopped, and measure before and after."""
    run = RunFolder(job.folder.run)
    before = run.started()
    if before is None or before.status != "complete":
        with job.step("training"):
            train(
                resolved.config, run.path, job.progress,
                sources=resolved.sources, resume=before is not None,
            )  # fmt: skip
    study = StudyFolder(run.path)
    study.put_in_place()
    if not study.is_evaluated:
        with job.step("before and after"):
            evaluate(run.path, _evaluate_config(job.config), None, job.progress)
    return read_study(study)


def _chosen(study: Study) -> Arm:
    """The tuned model at the strength that is suggested; the whole where none was measured."""
    tuned = study.tuned[0]
    found = suggested(study, tuned)
    return found.arm if found else tuned


def _export_config(config: FixConfig, strength: float) -> ExportConfig:
    return ExportConfig(
        format=config.format, gguf_type=config.gguf_type, llama_cpp=config.llama_cpp,
        strength=strength, base=config.base, license=config.license, device=config.device,
        trust_remote_code=config.trust_remote_code,
    )  # fmt: skip


def _exported(job: _Job, strength: float) -> ExportFile:
    """Write it for other programs, read it back, and put it on the page."""
    folder = ExportFolder(job.folder.export)
    if not folder.record_file.exists():
        with job.step("export"):
            export(job.folder.run, _export_config(job.config, strength), folder.path, job.progress)
    page = StudyFolder(job.folder.run).report_file
    if not page.exists() or page.stat().st_mtime < folder.record_file.stat().st_mtime:
        report(job.folder.run, progress=job.progress)
    return read_file(ExportFile, folder.record_file, AGAIN)


def _concluded(
    job: _Job,
    diagnosis: Diagnosis,
    said: list[str],
    *,
    strength: float | None = None,
    looped: float | None = None,
    chats: Chats | None = None,
    about: ExportFile | None = None,
) -> None:
    found = about.verification if about else None
    in_chats = None if chats is None else advice.value(chats.after.looped)
    write_file(
        job.folder.fix_file,
        FixFile(
            model=job.config.model, data=job.config.data, advice=diagnosis.advice,
            strength=strength, loops=looped, chat_loops=in_chats,
            still_loops=max(looped or 0.0, in_chats or 0.0) > advice.RARELY,
            is_verified=found.is_verified if found else None,
            seconds=job.seconds, sentences=said,
        ),
    )  # fmt: skip

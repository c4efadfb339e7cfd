"""Findings that need not be found again: of an explanation that was stopped, or of other controls.

A finding is used again where it would come out the same: of the same texts, models, settings,
versions and machine.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperfitting.config import ExplainConfig
from hyperfitting.errors import InputError
from hyperfitting.explain.plan import USED_BY
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.records.controls import RECORDS, ControlFile, KeptFinding
from hyperfitting.records.origins import Environment
from hyperfitting.records.record import OfArm, read_file, write_file
from hyperfitting.runs import StudyFolder
from hyperfitting.seals import SEAL, DamagedError, open_sealed

WITHOUT_EFFECT = {"only", "device", "trust_remote_code"}  # on what one control finds
ANEW = "without --only every control is run anew"


@dataclass(frozen=True)
class Basis:
    """What findings of one explanation have in common."""

    contexts_digest: str
    original: str  # digest of its weights
    device: str
    settings: dict[str, Any]
    environment: Environment

    @classmethod
    def settings_of(cls, config: ExplainConfig) -> dict[str, Any]:
        """Those that a finding depends on, as files hold them."""
        return config.model_dump(mode="json", exclude=WITHOUT_EFFECT)

    def key(self, control: str, arm: Arm, tuned: str) -> str:
        """What tells a finding of this basis from any other; `tuned` is that model's digest."""
        content = [
            control, arm.to_json(), tuned, self.contexts_digest, self.original, self.device,
            self.settings, self.environment.model_dump(mode="json"),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@dataclass
class Kept:
    """One file for each finding of an explanation that is not finished, in a folder of its own."""

    folder: Path
    basis: Basis
    progress: Progress
    count: int = field(default=0, init=False)  # findings that a second attempt will not repeat

    def of(self, control: str, arm: Arm, tuned: str) -> OfArm | None:
        """What an attempt that was stopped found; None where it did not come so far."""
        path = self._path(control, arm, tuned)
        if not path.exists():
            return None
        kind: Any = RECORDS[control]  # a type that is known at run time only
        try:
            found: OfArm = read_file(KeptFinding[kind], path, "it is found again").found
        except InputError as error:
            self.progress.say(f"  {error.given}; it is found again")
            return None
        self.count += 1
        return found

    def add(self, control: str, tuned: str, found: OfArm) -> None:
        """Keep a finding."""
        kind: Any = RECORDS[control]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(self._path(control, found.arm, tuned), KeptFinding[kind](found=found))
        self.count += 1

    def clear(self) -> None:
        """Remove them all: they stand in the explanation now."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _path(self, control: str, arm: Arm, tuned: str) -> Path:
        return self.folder / f"{control}-{self.basis.key(control, arm, tuned)}.json"


def files_beside(
    study: StudyFolder, config: ExplainConfig, basis: Basis, progress: Progress
) -> dict[str, ControlFile[Any]]:
    """What other controls than those asked for have found before, which stays beside them.

    Of other texts than these nothing stays.

    Raises:
        InputError: they were run with other settings or on another original, or are damaged.
    """
    found: dict[str, ControlFile[Any]] = {}
    others = [name for name in RECORDS if name not in config.only]
    if not config.only or not any(study.explain_file(name).exists() for name in others):
        return found
    _require_whole(study)
    for name in others:
        path = study.explain_file(name)
        if not path.exists():
            continue
        kind: Any = RECORDS[name]
        file: ControlFile[Any] = read_file(ControlFile[kind], path, ANEW)
        if file.contexts_digest != basis.contexts_digest:
            progress.say(f"  {path} is of other texts and is removed")
            continue
        if differing := _differing(file, name, config, basis):
            raise InputError(
                f"{path} was written with {differing[0]}, and {config.only[0]} is to be run with "
                f"{differing[1]}",
                needed="the same for controls that stand side by side",
                hint=ANEW,
            )
        found[name] = file
    return found


def beside(
    files: Mapping[str, ControlFile[Any]], control: str, arm: Arm, tuned: str
) -> OfArm | None:
    """What such a file says of a tuned model; None where it says nothing of it.

    Raises:
        InputError: it is of another model.
    """
    file = files.get(control)
    if file is None:
        return None
    for record, digest in zip(file.arms, file.digests, strict=True):
        if record.arm == arm:
            if digest != tuned:
                raise InputError(
                    f"what {control} found before is of another model than {arm.name}",
                    needed="controls of the same model side by side",
                    hint=ANEW,
                )
            found: OfArm = record
            return found
    return None


def _differing(
    file: ControlFile[Any], control: str, config: ExplainConfig, basis: Basis
) -> tuple[str, str] | None:
    """The first thing in which a file's basis is another, then and now.

    A setting that only some controls use counts where this one and one that is asked for do.
    """
    if len(file.digests) != len(file.arms):
        return "an earlier version, without digests", "this one"
    for name, now in basis.settings.items():
        users = USED_BY.get(name, tuple(RECORDS))
        is_shared = control in users and any(each in users for each in config.only)
        if is_shared and file.explain.get(name) != now:
            return f"{name}={file.explain.get(name)}", f"{name}={now}"
    before = file.origin.digest if file.origin else None
    if before not in (None, basis.original):
        return f"an original of digest {before[:12]}…", f"one of {basis.original[:12]}…"
    return None


def _require_whole(study: StudyFolder) -> None:
    """Refuse files that are not as they were written.

    Raises:
        InputError: one is damaged, or nothing says what was written.
    """
    try:
        open_sealed(study.explain)
    except DamagedError as error:
        given = error.given if (study.explain / SEAL).exists() else f"{study.explain} has no {SEAL}"
        raise InputError(given, needed="the files as they were written", hint=ANEW) from error

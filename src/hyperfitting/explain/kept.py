"""Findings of an explanation that was stopped, which need not be found again.

A finding is used again where it would come out the same but for the last bit: of the same texts,
models, settings, versions and machine.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperfitting.config import ExplainConfig
from hyperfitting.errors import InputError
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.records.controls import RECORDS, KeptFinding
from hyperfitting.records.origins import Environment
from hyperfitting.records.record import OfArm, read_file, write_file

# On what a control finds; a batch's width changes the last bit of sums at most.
WITHOUT_EFFECT = {"only", "device", "trust_remote_code", "batch_size"}


@dataclass(frozen=True)
class Basis:
    """What findings of one explanation have in common."""

    contexts_digest: str
    original: str  # its digest
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
    paths: set[Path] = field(default_factory=set, init=False)  # that were used or added

    @property
    def count(self) -> int:
        """Findings that a second attempt will not repeat."""
        return len(self.paths)

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
        self.paths.add(path)
        return found

    def add(self, control: str, tuned: str, found: OfArm) -> None:
        """Keep a finding."""
        kind: Any = RECORDS[control]
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(control, found.arm, tuned)
        write_file(path, KeptFinding[kind](found=found))
        self.paths.add(path)

    def clear(self) -> None:
        """Remove them: they stand in the explanation now. Others stay for who asks for them."""
        for path in self.paths:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _path(self, control: str, arm: Arm, tuned: str) -> Path:
        return self.folder / f"{control}-{self.basis.key(control, arm, tuned)}.json"

"""What a verb had found when it was stopped, which need not be found again.

A finding is used again where it would come out the same but for the last bit: of the same texts,
models, settings, versions and machine.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hyperfitting.errors import SAME_COMMAND, InputError, InterruptedStudyError
from hyperfitting.faults import going_on
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.records.origins import Environment
from hyperfitting.records.record import FileRecord, read_file, write_file

FileT = TypeVar("FileT", bound=FileRecord)


@dataclass(frozen=True)
class Basis:
    """What findings of one explanation or evaluation have in common.

    `settings` are those that a finding depends on, as files hold them.
    """

    contexts_digest: str
    original: str  # its digest
    device: str
    settings: dict[str, Any]
    environment: Environment

    def key(self, what: str, arm: Arm, tuned: str) -> str:
        """What tells a finding of this basis from any other; `tuned` is that model's digest."""
        content = [
            what, arm.to_json(), tuned, self.contexts_digest, self.original, self.device,
            self.settings, self.environment.model_dump(mode="json"),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@dataclass
class Unfinished:
    """One file for each finding of what is not finished, in a folder of its own.

    What is found has a name, such as a control's, and the digest of the tuned model it is about.
    """

    folder: Path
    basis: Basis
    called: str  # what is found, in the plural
    progress: Progress
    paths: set[Path] = field(default_factory=set, init=False)  # that were used or added

    @property
    def count(self) -> int:
        """Findings that a second attempt will not repeat."""
        return len(self.paths)

    def of(self, what: str, kind: type[FileT], arm: Arm, tuned: str) -> FileT | None:
        """What an attempt that was stopped found; None where it did not come so far."""
        path = self._path(what, arm, tuned)
        if not path.exists():
            return None
        try:
            found = read_file(kind, path, "it is found again")
        except InputError as error:
            self.progress.say(f"  {error.given}; it is found again")
            return None
        self.paths.add(path)
        return found

    def add(self, what: str, arm: Arm, tuned: str, found: FileRecord) -> None:
        """Keep a finding."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(what, arm, tuned)
        write_file(path, found)
        self.paths.add(path)

    @contextmanager
    def going_on(self, study: Path) -> Iterator[None]:
        """While findings are added for the folder `study`: a stop says how to go on.

        Raises:
            InterruptedStudyError: Ctrl-C after something was found.
        """
        try:
            with going_on(SAME_COMMAND, self.folder):
                yield
        except KeyboardInterrupt:
            if not self.count:
                raise
            done = f"{self.count} finished {self.called} are kept in {self.folder}"
            raise InterruptedStudyError(study, done) from None

    def clear(self) -> None:
        """Remove them: they stand in the result now. Others stay for who asks for them."""
        for path in self.paths:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _path(self, what: str, arm: Arm, tuned: str) -> Path:
        return self.folder / f"{what}-{self.basis.key(what, arm, tuned)}.json"

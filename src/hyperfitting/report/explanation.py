"""Read `explain/*.json`: what the controls found of each tuned model.

The files may come from somebody else: they are read once and whole, so that what does not fit is
an error of the input and not of the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hyperfitting.errors import InputError
from hyperfitting.records import Arm
from hyperfitting.records.controls import RECORDS, ControlFile
from hyperfitting.records.record import OfArm, read_file, version_of
from hyperfitting.records.study import StudyFile
from hyperfitting.runs import StudyFolder
from hyperfitting.seals import SEAL, DamagedError, open_sealed

Found = TypeVar("Found", bound=OfArm)


@dataclass(frozen=True)
class Explained:
    """What each control found of each tuned model; nothing where it did not run."""

    by_control: Mapping[str, Sequence[OfArm]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # of other trainings than were evaluated

    def of(self, kind: type[Found]) -> list[Found]:
        """The records of one kind, which are those of one control."""
        found = (record for records in self.by_control.values() for record in records)
        return [record for record in found if isinstance(record, kind)]

    def of_arm(self, kind: type[Found], arm: Arm | None) -> Found | None:
        """The first record of one kind that is of an arm, whichever of its seeds; or None."""
        wanted = arm and arm.variant
        return next((each for each in self.of(kind) if each.arm.variant == wanted), None)

    @property
    def arms(self) -> list[Arm]:
        """Every tuned model that some control ran on."""
        return list(dict.fromkeys(r.arm for records in self.by_control.values() for r in records))


def read_explained(
    folder: StudyFolder,
    contexts_digest: str | None = None,
    about: StudyFile | None = None,
) -> Explained:
    """What `hyperfit explain` left in a folder; empty where it did not run.

    What it found of another training of an arm than the evaluation `about` is left out.

    Raises:
        InputError: a file is damaged, of a newer version, or of other texts than
            `contexts_digest` names.
    """
    found: dict[str, Sequence[OfArm]] = {}
    left_out: list[str] = []
    again = f"run `hyperfit explain {folder.path}` again"
    _require_whole(folder, again)
    for name, record in RECORDS.items():
        path = folder.explain_file(name)
        if not path.exists():
            continue
        kind: Any = record  # a type that is known at run time only
        content = read_file(ControlFile[kind], path, again)
        if contexts_digest is not None and content.contexts_digest != contexts_digest:
            raise InputError(
                f"{path} is of other held-out texts than the study",
                needed=f"controls on the contexts {contexts_digest[:12]}…",
                hint=again,
            )
        others = content.of_others(about.digests(content.environment)) if about else []
        found[name] = [each for each in content.arms if each.arm not in others]
        left_out += [
            f"{path} speaks of another training of {arm.in_full} than was evaluated, which is left "
            f"out: {again}"
            for arm in others
        ]
    return Explained(found, left_out)


def _require_whole(folder: StudyFolder, again: str) -> None:
    """Refuse an explanation that is not as it was written; older versions sealed none.

    Raises:
        InputError: a file is damaged, missing or was added.
    """
    if not (folder.explain / SEAL).exists():
        written = [folder.explain_file(name) for name in RECORDS]
        if any(path.exists() and version_of(path, again) > 1 for path in written):
            raise InputError(f"{folder.explain} has no {SEAL}", needed="a whole folder", hint=again)
        return
    try:
        open_sealed(folder.explain)
    except DamagedError as error:
        raise InputError(
            error.given, needed="the files as they were written", hint=again
        ) from error

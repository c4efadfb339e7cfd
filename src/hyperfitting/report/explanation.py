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
from hyperfitting.records.record import OfArm, read_file
from hyperfitting.runs import StudyFolder

Found = TypeVar("Found", bound=OfArm)


@dataclass(frozen=True)
class Explained:
    """What each control found of each tuned model; nothing where it did not run."""

    by_control: Mapping[str, Sequence[OfArm]] = field(default_factory=dict)

    def of(self, kind: type[Found]) -> list[Found]:
        """The records of one kind, which are those of one control."""
        found = (record for records in self.by_control.values() for record in records)
        return [record for record in found if isinstance(record, kind)]

    @property
    def arms(self) -> list[Arm]:
        """Every tuned model that some control ran on."""
        return list(dict.fromkeys(r.arm for records in self.by_control.values() for r in records))


def read_explained(folder: StudyFolder, contexts_digest: str | None = None) -> Explained:
    """What `hyperfit explain` left in a folder; empty where it did not run.

    Raises:
        InputError: a file is damaged, of a newer version, or of other texts than
            `contexts_digest` names.
    """
    found: dict[str, Sequence[OfArm]] = {}
    again = f"run `hyperfit explain {folder.path}` again"
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
        found[name] = content.arms
    return Explained(found)

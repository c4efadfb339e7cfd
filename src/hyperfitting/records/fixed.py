"""What `fix.json` says: what the whole job took, and what came of it."""

from hyperfitting.records.record import FileRecord


class FixFile(FileRecord):
    """`fix.json`. Nothing was trained where `strength` is None: the advice says why."""

    model: str
    data: str
    advice: str  # of the diagnosis
    strength: float | None
    is_verified: bool | None  # of the export; None where it is still to be converted
    seconds: dict[str, float]  # of each step that ran, by name
    sentences: list[str]  # what was gained, what was lost, where it is

"""What `hyperfit doctor` finds of texts: what is wrong with them, and what to change."""

from hyperfitting.records.diagnosed import Finding
from hyperfitting.records.record import FileRecord, Record


class Lengths(Record):
    """Tokens of a text: smallest, quartiles, largest."""

    smallest: int
    lower: int
    median: int
    upper: int
    largest: int


class Examination(FileRecord):
    """All that was found; `command` trains on these texts with what has to be set for them.

    It is None where no training can begin with them.
    """

    source: str
    model: str
    texts: int  # that were read
    examined: int  # the first of them, of which everything else is told
    lengths: Lengths | None  # None where nothing could be read as tokens
    windows: int | None  # that training would have, as the command asks for them
    heldout: int | None = None  # texts that would be set aside
    findings: list[Finding]
    command: str | None

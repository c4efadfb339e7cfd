"""What says how a folder was begun that the same command goes on with."""

from typing import Any

from hyperfitting.records.record import FileRecord


class BegunFile(FileRecord):
    """`settings.json` of `fix` and `demo`: the settings with which the folder was begun."""

    config: dict[str, Any]

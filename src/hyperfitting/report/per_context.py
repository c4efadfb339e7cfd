"""Which values of single contexts a study could not take, from its `per_context.parquet`."""

from collections.abc import Mapping
from typing import Any

from hyperfitting.errors import InputError
from hyperfitting.records import HUMAN
from hyperfitting.runs import StudyFolder


def undefined_in_human_text(folder: StudyFolder, metric: str, domain: str) -> frozenset[int]:
    """The contexts whose human text has no value of a metric, as one of unknown tokens has none.

    Nothing where the file is not there, as in a study that was copied without it.

    Raises:
        InputError: the file is damaged.
    """
    import pyarrow
    import pyarrow.dataset  # or a filter is refused as unknown where memory gave out here
    import pyarrow.parquet

    path = folder.per_context_file
    if not path.exists():
        return frozenset()
    of_texts = [("arm", "==", HUMAN.name), ("metric", "==", metric), ("domain", "==", domain)]
    try:
        rows: list[Mapping[str, Any]] = pyarrow.parquet.read_table(
            path, columns=["context", "value"], filters=of_texts
        ).to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="run `hyperfit evaluate` again"
        ) from error
    return frozenset(row["context"] for row in rows if row["value"] is None)

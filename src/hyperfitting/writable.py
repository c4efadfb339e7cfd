"""Whether a folder can be written to, found by writing: asked before an hour is spent."""

import tempfile
from pathlib import Path

from hyperfitting.faults import writing

CONTENT = b"x" * 4096  # a block: a full disk still gives a file a name


def require_writable(folder: Path) -> None:
    """Write a file in `folder` and remove it again; folders that are made for it go too.

    Raises:
        DeniedError: the folder cannot be made or written to.
        MachineError: its disk is full.
    """
    with writing(folder):
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # It has no name where the system can do that: whoever is killed here leaves nothing.
            with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
                file.write(CONTENT)
        finally:
            for each in made:  # the innermost first; another writer may have begun in one
                if each.is_dir() and not any(each.iterdir()):
                    each.rmdir()

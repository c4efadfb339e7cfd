"""A hub repository in a cache folder, as a download leaves it; the hub itself is never asked."""

import os
import shutil
from pathlib import Path


def publish(cache: Path, repo: str, commits: dict, refs: dict) -> None:
    """`commits`: the folder of each commit; `refs`: the commit of each branch or tag."""
    root = Path(cache) / ("models--" + repo.replace("/", "--"))
    (root / "blobs").mkdir(parents=True)
    (root / "refs").mkdir()
    for commit, source in commits.items():
        snapshot = root / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in Path(source).iterdir():
            blob = root / "blobs" / f"{commit[:8]}-{file.name}"
            shutil.copy(file, blob)
            os.symlink(os.path.relpath(blob, snapshot), snapshot / file.name)
    for name, commit in refs.items():
        (root / "refs" / name).write_text(commit)

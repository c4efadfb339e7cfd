"""Change files that carry digests, as somebody who takes the digests again."""

import json

from hyperfitting.seals import DIGEST, SEAL, content_digest, file_digest

SEALS = (SEAL, "manifest.json", "study.json")  # in this order: the last holds the others'


def rewrite(path, change):
    """Let `change` have the content of a JSON file, and write it with its digest."""
    content = json.loads(path.read_text(encoding="utf-8"))
    found = change(content)
    content = content if found is None else found
    if content.pop(DIGEST, None) is not None:
        content[DIGEST] = content_digest(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def reseal(folder):
    """Take all digests of a run or study again."""
    found = [path for path in folder.rglob("*.json") if path.is_file()]
    found.sort(key=lambda path: SEALS.index(path.name) if path.name in SEALS else -1)
    for path in found:
        if DIGEST in (content := json.loads(path.read_text(encoding="utf-8"))):
            rewrite(path, lambda content, path=path: _taken_again(content, path.parent))
        del content


def _taken_again(content, folder):
    files = content.get("files")
    if isinstance(files, dict):
        present = {name for name in files if (folder / name).is_file()}
        content["files"] = {name: file_digest(folder / name) for name in sorted(present)}

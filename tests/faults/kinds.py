"""Kinds of damage to one file: what disks, copies and people do to it."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path, Path], bool]  # False where it cannot be done to this file


def _of_bytes(change: Callable[[bytes], bytes]) -> Damage:
    def damage(path: Path, _other: Path) -> bool:
        before = path.read_bytes()
        after = change(before)
        path.unlink()  # a hard link to the sample's file, which stays as it is
        path.write_bytes(after)
        return after != before

    return damage


def _flipped(share: float) -> Damage:
    def change(content: bytes) -> bytes:
        place = min(int(share * len(content)), len(content) - 1)
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    return _of_bytes(change)


def _other_digit(path: Path, _other: Path) -> bool:
    """Change one digit of a number in the middle of a text of JSON."""
    if path.suffix not in (".json", ".jsonl"):
        return False
    text = path.read_text(encoding="utf-8")
    digits = [found.start(1) for found in re.finditer(r"[:\[,]\s*-?(?:0\.)?([1-9])", text)]
    if not digits:
        return False
    place = digits[len(digits) // 2]
    path.unlink()
    path.write_text(text[:place] + str(int(text[place]) % 9 + 1) + text[place + 1 :])
    return True


def _other_value(seed: int) -> Damage:
    """Change one value: a digit of a number in JSON, a bit of a number in a file of tensors."""

    def damage(path: Path, _other: Path) -> bool:
        drawn = random.Random(f"{seed} {path.name}")
        content = bytearray(path.read_bytes())
        if path.suffix in (".json", ".jsonl"):
            places = [found.start() for found in re.finditer(rb"[1-8](?=[\d.,\s\]}])", content)]
            if not places:
                return False
            content[drawn.choice(places)] += 1
        else:
            header = 8 + int.from_bytes(content[:8], "little")
            first = header if path.suffix == ".safetensors" else 4
            content[drawn.randrange(first, len(content))] ^= 1 << drawn.randrange(8)
        path.unlink()
        path.write_bytes(content)
        return True

    return damage


def _other_root(root: object) -> Damage:
    def damage(path: Path, _other: Path) -> bool:
        path.unlink()
        path.write_text(json.dumps(root) + "\n")
        return path.suffix in (".json", ".jsonl")

    return damage


def _deleted(path: Path, _other: Path) -> bool:
    path.unlink()
    return True


def _device(path: Path, _other: Path) -> bool:
    path.unlink()
    path.symlink_to("/dev/zero")
    return True


def _swapped(path: Path, other: Path) -> bool:
    same = path.read_bytes() == other.read_bytes()
    path.unlink()
    shutil.copyfile(other, path)
    return not same


DAMAGES: dict[str, Damage] = {
    "half": _of_bytes(lambda content: content[: len(content) // 2]),
    "one byte less": _of_bytes(lambda content: content[:-1]),
    "emptied": _of_bytes(lambda _: b""),
    "deleted": _deleted,
    **{f"bit at {share:.0%}": _flipped(share) for share in (0.02, 0.35, 0.7, 0.98)},
    "digit": _other_digit,
    **{f"value {seed}": _other_value(seed) for seed in range(3)},
    "null": _other_root(None),
    "5": _other_root(5),
    "[]": _other_root([]),
    "deep": _of_bytes(lambda _: b"[" * 100_000),
    "random": _of_bytes(lambda content: random.Random(0).randbytes(min(len(content), 5000))),
    "/dev/zero": _device,
    "swapped": _swapped,
}

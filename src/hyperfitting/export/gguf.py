"""llama.cpp's own converter, run where it is installed and written out where it is not."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hyperfitting.config.export import ExportConfig
from hyperfitting.errors import InputError, MachineError

CONVERTER, QUANTIZER = "convert_hf_to_gguf.py", "llama-quantize"
BY_CONVERTER = ("f32", "f16", "bf16", "q8_0")  # the others are made from float32 by the quantizer
KEPT_LINES = 3  # of what a converter said last
BESIDE = Path("..", "llama.cpp")  # where commands that are left to the user take it from
CLONE = ["git", "clone", "--depth", "1", "https://github.com/ggml-org/llama.cpp", str(BESIDE)]


class Conversion(NamedTuple):
    """Commands in their order, and the files between them that are removed afterwards."""

    commands: list[list[str]]
    between: list[Path]


def require_llama_cpp(config: ExportConfig) -> None:
    """Refuse a folder that does not hold what a conversion needs, before anything is computed.

    Raises:
        InputError: it is no llama.cpp, or lacks the quantizer.
    """
    if config.llama_cpp is None:
        return
    folder = Path(config.llama_cpp)
    if not (folder / CONVERTER).is_file():
        raise InputError(
            f"{folder} holds no {CONVERTER}",
            needed="the folder of llama.cpp, as it is cloned",
            hint="without --llama-cpp the commands are printed, and the folder is ready for them",
        )
    if config.gguf_type not in BY_CONVERTER and _quantizer(folder) is None:
        raise InputError(
            f"gguf_type is {config.gguf_type}, and there is no {QUANTIZER} in {folder}",
            needed="a llama.cpp that was built, or gguf_type="
            f"{'|'.join(BY_CONVERTER)}, which needs no build",
            hint=" && ".join(map(shlex.join, _build(folder))),
        )


def _build(folder: Path) -> list[list[str]]:
    """What makes the quantizer of a checkout."""
    return [
        ["cmake", "-B", f"{folder}/build", str(folder)],
        ["cmake", "--build", f"{folder}/build", "-t", QUANTIZER],
    ]


def _quantizer(folder: Path) -> str | None:
    built = (folder / QUANTIZER, folder / "build" / "bin" / QUANTIZER)
    return next((str(path) for path in built if path.is_file()), shutil.which(QUANTIZER))


def conversion(config: ExportConfig, merged: Path, target: Path) -> Conversion:
    """What makes `target` of the merged float32 model in `merged`."""
    folder = Path(config.llama_cpp or BESIDE)
    python = sys.executable if config.llama_cpp else "python"
    is_direct = config.gguf_type in BY_CONVERTER
    first = target if is_direct else target.with_name(f"{target.stem}.f32.gguf")
    kind = config.gguf_type if is_direct else "f32"
    commands = [
        [python, str(folder / CONVERTER), str(merged), "--outfile", str(first), "--outtype", kind]
    ]
    if is_direct:
        return Conversion(commands, [])
    quantizer = (config.llama_cpp and _quantizer(folder)) or str(folder / "build/bin" / QUANTIZER)
    commands.append([quantizer, str(first), str(target), config.gguf_type.upper()])
    return Conversion(commands, [first])


def by_hand(config: ExportConfig, merged: Path, target: Path) -> list[str]:
    """The commands of a conversion in the export's folder, as a shell reads them, from nothing."""
    build = [] if config.gguf_type in BY_CONVERTER else _build(BESIDE)
    planned = conversion(config, Path(merged.name), Path(target.name))
    rest = [["rm", str(path)] for path in planned.between]
    return [shlex.join(words) for words in (CLONE, *build, *planned.commands, *rest)]


def convert(planned: Conversion, target: Path) -> None:
    """Run a conversion.

    Raises:
        InputError: the converter refuses the model.
        MachineError: it was killed.
    """
    for command in planned.commands:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode < 0:
            program = command[1] if command[0] == sys.executable else command[0]
            raise MachineError(
                f"{Path(program).name} was killed by signal {-done.returncode}",
                needed="memory for the whole model",
            )
        if done.returncode and "ModuleNotFoundError" in done.stderr:
            raise InputError(
                f"llama.cpp's converter lacks a package: {_last(done.stderr, 1)}",
                needed=f"what it needs, beside what runs hyperfitting ({sys.executable})",
                hint="pip install -r "
                + shlex.quote(f"{Path(command[1]).parent}/requirements.txt")
                + ", or that package",
            )
        if done.returncode:
            raise InputError(
                f"llama.cpp does not convert this model: {_last(done.stderr or done.stdout)}",
                needed="a model that its converter knows",
                hint="a newer llama.cpp, or --format merged; what was run: " + shlex.join(command),
            )
    for path in planned.between:
        path.unlink()
    if not target.is_file():
        raise InputError(
            f"llama.cpp ended without {target.name}", needed="a converter that writes --outfile"
        )


def _last(said: str, count: int = KEPT_LINES) -> str:
    lines: Sequence[str] = [line.strip() for line in said.splitlines() if line.strip()]
    return " ".join(lines[-count:]) or "it says nothing"

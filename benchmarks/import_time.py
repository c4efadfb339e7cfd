"""How long `hyperfit --help` takes to import and to run, and that it loads no torch.

Against: an empty Python process, which is the floor. Medians of interleaved repeats.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python": "pass",
    "import": "import hyperfitting.cli.main",
    "help": "import sys; sys.argv = ['hyperfit', '--help']\n"
    "from hyperfitting.cli.main import main\nmain()",
}
HEAVY = (
    "import sys, hyperfitting.cli.main; print(len({'torch', 'transformers'} & set(sys.modules)))"
)


def seconds(code: str) -> float:
    """Wall-clock time of a fresh interpreter that runs `code`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 repeats instead of 15")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args()
    repeats = 3 if arguments.quick else 15
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repeats + 1):
        for name, code in COMMANDS.items():
            times[name].append(seconds(code))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    heavy = subprocess.run([sys.executable, "-c", HEAVY], check=True, capture_output=True)
    result = {
        "repeats": repeats,
        "python": platform.python_version(),
        "median_s_python_alone": round(medians["python"], 4),
        "median_s_import": round(medians["import"], 4),
        "median_s_help": round(medians["help"], 4),
        "import_time_s": round(medians["import"] - medians["python"], 4),
        "heavy_modules_loaded": int(heavy.stdout),
    }
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"Python {result['python']}, {repeats} interleaved repeats, medians in seconds")
    for name, value in result.items():
        if isinstance(value, (int, float)) and name != "repeats":
            print(f"  {name:<24} {value}")


if __name__ == "__main__":
    main()

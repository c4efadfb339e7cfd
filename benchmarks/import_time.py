"""How long `hyperfit --help` takes to import and to run, and that it loads no torch.

Against: an empty Python process, which is the floor. Medians of interleaved repeats.
"""

import subprocess
import sys
from functools import partial

from common import Result, about, add_sizes, finish, interleaved_medians, parser_of
from memory import children_peak_mb

COMMANDS = {
    "python": "pass",
    "import": "import hyperfitting.cli.main",
    "help": "import sys; sys.argv = ['hyperfit', '--help']\n"
    "from hyperfitting.cli.main import main\nmain()",
}
HEAVY = (
    "import sys, hyperfitting.cli.main; print(len({'torch', 'transformers'} & set(sys.modules)))"
)


def run(code: str) -> None:
    """A fresh interpreter that runs `code`."""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def measure(repeats: int) -> Result:
    """Median seconds of each command, and what the import takes beyond Python."""
    tasks = {name: partial(run, code) for name, code in COMMANDS.items()}
    medians = interleaved_medians(tasks, repeats)
    heavy = subprocess.run([sys.executable, "-c", HEAVY], check=True, capture_output=True)
    return {
        "repeats": repeats,
        **about(),
        "median_s_python_alone": round(medians["python"], 4),
        "median_s_import": round(medians["import"], 4),
        "median_s_help": round(medians["help"], 4),
        "import_time_s": round(medians["import"] - medians["python"], 4),
        "ratio_help_python": round(medians["help"] / medians["python"], 2),
        "heavy_modules_loaded": int(heavy.stdout),
        "peak_mb": round(children_peak_mb(), 1),
    }


def show(result: Result) -> None:
    """The result as a list."""
    print(f"Python {result['python']}, {result['repeats']} interleaved repeats, medians in seconds")
    for name, value in result.items():
        if isinstance(value, int | float) and name != "repeats":
            print(f"  {name:<24} {value}")


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__, quick="3 repeats instead of 15")
    fill = add_sizes(parser, {"repeats": (15, 3, "of every command")})
    settings = parser.parse_args()
    fill(settings)
    finish(settings, measure(settings.repeats), show)


if __name__ == "__main__":
    main()

"""The functions behind the commands, one per verb, each imported when it is first asked for.

Their arguments stand in one order, as far as a verb has them: what, config, out, progress. A config
is a plain one of `hyperfitting.config`. Nothing is written before the input has been checked, and
progress is silent unless a `Progress` is given.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hyperfitting.interrupts import begin_work

if TYPE_CHECKING:
    from hyperfitting.demo import demo
    from hyperfitting.diagnose.verb import diagnose
    from hyperfitting.doctor.verb import doctor
    from hyperfitting.evaluate.verb import evaluate
    from hyperfitting.explain.verb import explain
    from hyperfitting.export.verb import check_export, export
    from hyperfitting.fix.verb import fix
    from hyperfitting.generate.side_by_side import compare
    from hyperfitting.generate.verb import generate
    from hyperfitting.judge.verb import judge
    from hyperfitting.report.together import report_together
    from hyperfitting.report.verb import report
    from hyperfitting.study.verb import study
    from hyperfitting.train.verb import train

# Where each verb stands: the front of its wing.
DOORS = {
    "demo": "hyperfitting.demo",
    "diagnose": "hyperfitting.diagnose.verb",
    "doctor": "hyperfitting.doctor.verb",
    "train": "hyperfitting.train.verb",
    "evaluate": "hyperfitting.evaluate.verb",
    "explain": "hyperfitting.explain.verb",
    "export": "hyperfitting.export.verb",
    "check_export": "hyperfitting.export.verb",
    "judge": "hyperfitting.judge.verb",
    "report": "hyperfitting.report.verb",
    "report_together": "hyperfitting.report.together",
    "fix": "hyperfitting.fix.verb",
    "generate": "hyperfitting.generate.verb",
    "compare": "hyperfitting.generate.side_by_side",
    "study": "hyperfitting.study.verb",
}

__all__ = [
    "check_export",
    "compare",
    "demo",
    "diagnose",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "fix",
    "generate",
    "judge",
    "report",
    "report_together",
    "study",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in DOORS:
        raise AttributeError(f"there is no verb {name!r}; one of {', '.join(DOORS)}")
    door = import_module(DOORS[name])
    begin_work()  # until here Ctrl-C loses nothing
    return getattr(door, name)


def __dir__() -> list[str]:
    return __all__

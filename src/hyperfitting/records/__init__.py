"""What stages hand to each other and what is written to disk: plain data, no torch."""

from hyperfitting.records.arms import HUMAN, ORIGINAL, Arm
from hyperfitting.records.measured import (
    PAPER_NAMES,
    SIGNIFICANT,
    Ending,
    Generation,
    Measurement,
    MetricValues,
    Mode,
    MonitorRow,
    Noise,
    PairedTest,
    Prefix,
)

__all__ = [
    "HUMAN",
    "ORIGINAL",
    "PAPER_NAMES",
    "SIGNIFICANT",
    "Arm",
    "Ending",
    "Generation",
    "Measurement",
    "MetricValues",
    "Mode",
    "MonitorRow",
    "Noise",
    "PairedTest",
    "Prefix",
]

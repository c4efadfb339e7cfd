"""Where the numbers come from: models, texts, software."""

from collections.abc import Mapping
from typing import Any

from hyperfitting.config import ReportConfig
from hyperfitting.records import ORIGINAL, Arm
from hyperfitting.report.load import Study
from hyperfitting.report.tables import Table, number
from hyperfitting.untrusted import printable

TITLE = "Where the numbers come from"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> dict[str, Any]:
    """What the template shows beside `study.json`; every study has it."""
    return {"ties": ties(study), "weights": weights(study)}


def tables(_study: Study) -> list[Table]:
    """None: this is about the tables."""
    return []


def weights(study: Study) -> list[tuple[str, list[str]]]:
    """Per model: where its weights came from, and what of their checkpoint was not used."""
    found = []
    listed = [(study.label(ORIGINAL), study.info["model"])]
    listed += [(study.label(Arm.of_json(run)), run) for run in study.info["runs"]]
    listed += [(each["name"], {"origin": each}) for each in study.info.get("helpers", ())]
    for label, entry in listed:
        origin = entry.get("origin")  # studies of older versions, and models in memory, have none
        if origin:
            words = {
                "": origin["name"],
                "commit ": (origin["commit"] or "")[:12],
                "quantised: ": origin["quantization"],
                f"digest of the {origin['kind']} ": (origin["digest"] or "")[:16],
            }
            line = ", ".join(f"{what}{value}" for what, value in words.items() if value)
            found.append((printable(label), [printable(line), *map(printable, origin["notes"])]))
    return found


def ties(study: Study) -> Mapping[str, str]:
    """Greedy ties, and whether one uncached pass chooses the same tokens, per arm."""
    found = {}
    for entry in study.info["generations"]:
        share = entry["cached_equals_uncached"]
        arm = Arm.named(entry["arm"], entry["seed"], entry["arm_parameters"])
        if entry["mode"] != "fixed_length" or share is None or arm.matched_to:
            continue
        name = study.label(arm)
        found[name] = f"{entry['ties']} (cached = uncached at {number(100 * share, 2)} % of tokens)"
    return found

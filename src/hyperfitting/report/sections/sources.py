"""Where the numbers come from: models, texts, software."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records import ORIGINAL
from hyperfitting.records.origins import Origin
from hyperfitting.report.load import Study
from hyperfitting.report.tables import Content, Table, number
from hyperfitting.untrusted import printable

TITLE = "Where the numbers come from"
# How a model is fed, in the words of `study.json` and in a reader's.
CACHE = {"ours": "a cache of ours", "the model's": "the model's cache", "none": "no cache"}
TOGETHER = {
    "any lengths": "texts of any lengths side by side",
    "one length": "texts of one length side by side",
    "one text": "one text at a time",
}


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content:
    """What the template shows beside `study.json`; every study has it."""
    return {
        "ties": ties(study), "weights": weights(study), "left_out": study.left_out,
        "ends": ends(study), "decoding": decoding(study),
    }  # fmt: skip


def tables(_study: Study) -> list[Table]:
    """None: this is about the tables."""
    return []


def weights(study: Study) -> list[tuple[str, list[str]]]:
    """Per model: where its weights came from, and what of their checkpoint was not used."""
    listed = [(study.label(ORIGINAL), study.info.model.origin)]
    listed += [(study.label(run.arm), run.origin) for run in study.runs]
    listed += [(origin.name, origin) for origin in study.info.helpers]
    # Studies of older versions, and models in memory, have no origin.
    return [(printable(name), _came_from(origin)) for name, origin in listed if origin is not None]


def _came_from(origin: Origin) -> list[str]:
    """One line on where weights came from, then the notes on their checkpoint."""
    words = {
        "": origin.name,
        "commit ": (origin.commit or "")[:12],
        "quantised: ": origin.quantization,
        "digest of the file ": (origin.file_digest or "")[:16],
        f"digest of the {origin.kind} ": (origin.digest or "")[:16],
    }
    line = ", ".join(f"{what}{value}" for what, value in words.items() if value)
    return [printable(line), *map(printable, origin.notes)]


def ends(study: Study) -> list[str]:
    """The tokens at which a text ends, each with why."""
    return [printable(f"{end.token} ({end.id}): {', '.join(end.why)}") for end in study.info.ends]


def decoding(study: Study) -> list[str]:
    """How the models were fed while they wrote, then what that costs; nothing of old studies."""
    found = study.info.decoding
    if found is None:
        return []
    line = f"{CACHE.get(found.cache, found.cache)}, {TOGETHER.get(found.together, found.together)}"
    return [printable(each) for each in (line, found.note) if each]


def ties(study: Study) -> Mapping[str, str]:
    """Greedy ties, and whether one uncached pass chooses the same tokens, per arm."""
    found = {}
    for entry in study.info.generations:
        share = entry.cached_equals_uncached
        if entry.mode != "fixed_length" or entry.domain is not None:  # other texts have their own
            continue
        if share is not None and not entry.arm.matched_to:
            equal = number(100 * share, 2)
            name = study.label(entry.arm)
            found[name] = f"{entry.ties} (cached = uncached at {equal} % of tokens)"
    return found

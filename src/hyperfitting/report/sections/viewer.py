"""Token by token: one context, every arm, what both models say at every place."""

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from hyperfitting.config import ReportConfig
from hyperfitting.measure.text import type_token_ratio
from hyperfitting.records import Arm, Generation
from hyperfitting.records.traces import TextTrace
from hyperfitting.report.load import Study
from hyperfitting.report.tables import Content, Table
from hyperfitting.untrusted import escaped, printable

TITLE = "Token by token"


def content(study: Study, _svgs: Mapping[str, str], config: ReportConfig) -> Content | None:
    """The texts as data for the page's script; None where none was kept token by token."""
    data = viewer_data(study, config.num_examples)
    if data is None:
        return None
    return {"data": in_script(data), "count": len(data["contexts"]), "long_run": data["long_run"]}


def viewer_data(study: Study, count: int) -> dict[str, Any] | None:
    """What the script reads: contexts, arms and, for each of both, a text with its marks."""
    if study.traces is None or not count:
        return None
    arms, contexts, texts = [], dict[int, str](), []
    for each in study.traces.arms:
        written = _by_context(study, each.arm, "fixed_length")
        natural = _by_context(study, each.arm, "natural")
        row = []
        for trace in each.texts[:count]:
            text = written.get(trace.context)
            if text is not None:
                contexts[trace.context] = printable(text.context)
            row.append(_text(trace, text, natural.get(trace.context)))
        arms.append({"name": each.arm.name, "label": study.label(each.arm)})
        texts.append(row)
    if not contexts:
        return None
    used = {i for row in texts for text in row for i in _ids(text)}
    return {
        "contexts": [{"index": i, "text": contexts[i]} for i in sorted(contexts)],
        "arms": arms,
        "texts": texts,
        "words": {i: printable(word) for i, word in study.traces.words.items() if int(i) in used},
        "long_run": study.traces.long_run,
    }


def _by_context(study: Study, arm: Arm, mode: str) -> dict[int, Generation]:
    found = next((t for (a, m), t in study.generations.items() if (a, m) == (arm, mode)), [])
    return {text.context_index: text for text in found}


def _text(
    trace: TextTrace, written: Generation | None, natural: Generation | None
) -> dict[str, Any]:
    """One text under short names, as thousands of numbers stand on the page."""
    return {
        "p": [printable(piece) for piece in trace.pieces],
        "r": trace.rank,
        "o": trace.original,
        "t": trace.tuned,
        "ot": trace.original_top,
        "op": trace.original_top_p,
        "tt": trace.tuned_top,
        "tp": trace.tuned_top_p,
        "loop": trace.loop,
        "copied": trace.recited,
        "broken": trace.broken,
        "ttr": None if written is None else type_token_ratio(written.continuation_ids),
        "ending": None if natural is None else natural.ending,
    }


def _ids(text: Mapping[str, Any]) -> set[int]:
    return {i for name in ("ot", "tt") for place in text[name] or [] for i in place}


def in_script(data: Mapping[str, Any]) -> Markup:
    """JSON that can stand in a script element: no text of a model can end it or begin markup."""
    text = escaped(json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # no character of markup is left in it


def tables(_study: Study) -> list[Table]:
    """None: these are texts."""
    return []

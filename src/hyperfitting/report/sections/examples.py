"""Side by side: the first contexts, as every greedy arm continues them."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.measure.text import type_token_ratio
from hyperfitting.records import Arm, Generation
from hyperfitting.report.load import Study
from hyperfitting.report.tables import Content, Table, number
from hyperfitting.untrusted import printable

TITLE = "Side by side"


def content(study: Study, _svgs: Mapping[str, str], config: ReportConfig) -> Content | None:
    """The first contexts with every greedy arm's continuation, as many as the config asks for."""
    by_arm: dict[Arm, list[Generation]] = {}
    for (arm, mode), texts in study.generations.items():
        if mode == "fixed_length" and arm.variant not in {other.variant for other in by_arm}:
            by_arm[arm] = texts  # of several seeds the first
    shown = []
    for index in range(min(config.num_examples, *(len(texts) for texts in by_arm.values()))):
        context = next(iter(by_arm.values()))[index].context
        continuations = [
            {
                "arm": study.label(arm),
                "text": printable(texts[index].continuation),
                "is_looped": texts[index].ending == "looped" and arm.name != "human",
                "ttr": number(_ttr(study, arm, texts[index]), 2),
            }
            for arm, texts in by_arm.items()
        ]
        shown.append({"context": printable(context), "continuations": continuations})
    return {"shown": shown} if shown else None


def _ttr(study: Study, arm: Arm, text: Generation) -> float | None:
    """TTR of one text; None of human text whose tokens are unknown, as in the tables."""
    if arm.name == "human" and text.context_index in study.without_ttr:
        return None
    return type_token_ratio(text.continuation_ids)


def tables(_study: Study) -> list[Table]:
    """None: these are texts."""
    return []

"""What the page shows, section by section, in the order of the story. Pure.

A section without data is absent: its entry is None.
"""

from collections.abc import Mapping
from typing import Any

from hyperfitting.measure.text import type_token_ratio
from hyperfitting.records import PAPER_NAMES, Arm, Generation
from hyperfitting.report import tables
from hyperfitting.report.load import Study
from hyperfitting.report.sections import (
    certainty,
    controls,
    decoders,
    only_sharper,
    paper,
    quality,
    results,
    temperature,
)
from hyperfitting.report.tables import number
from hyperfitting.untrusted import printable

Section = dict[str, Any]

TITLES = {
    "results": "Does it still loop?",
    "endings": "How texts end",
    "quality": "Is it better, or only different?",
    "judge": "What a judge prefers",
    "decoders": "Why not another decoder?",
    "domains": "On other texts",
    "tasks": "What it forgot",
    "training": "While training",
    "temperature": "Is it only sharper?",
    "ranks": "What is reordered",
    "static": "Is it one constant shift?",
    "place": "Where does it happen?",
    "tokens": "What kind of token",
    "noise": "How much is noise",
    "paper": "The paper's tables",
    "tests": "Paired tests",
    "examples": "Side by side",
    "sources": "Where the numbers come from",
}


def sections(study: Study, svgs: Mapping[str, str], num_examples: int) -> dict[str, Section]:
    """Every section with data, by its id."""
    found: dict[str, Section | None] = {
        "results": _results(study),
        "endings": _endings(study),
        "quality": _quality(study),
        "judge": _one(quality.judgements(study)),
        "decoders": _decoders(study),
        "domains": _with_losses(study, quality.domains(study)),
        "tasks": _one(quality.tasks(study)),
        "training": _training(study, svgs),
        "temperature": _temperature(study),
        "ranks": _ranks(study),
        "static": _static(study),
        "place": _place(study),
        "tokens": _one(controls.token_kinds(study)),
        "noise": _noise(study),
        "paper": _paper(study),
        "tests": _tests(study),
        "examples": _examples(study, num_examples),
        "sources": {"ties": results.sources(study), "weights": results.weights(study)},
    }
    return {name: {"id": name, "title": TITLES[name]} | s for name, s in found.items() if s}


def _one(table: tables.Table) -> Section | None:
    return {"table": table} if table else None


def _with_losses(study: Study, table: tables.Table) -> Section | None:
    """A table in which methods stand beside each other."""
    return {"table": table, "losses": certainty.losses_in_words(study)} if table else None


def _results(study: Study) -> Section:
    return {
        "losses": certainty.losses_in_words(study),
        "answers": results.answers(study),
        "table": results.results(study, "main"),
        "more": results.results(study, "text"),
        "seeds": results.per_seed(study),
        "is_one_seed": all(count == 1 for count in study.num_seeds.values())
        and len({arm.variant for arm in study.tuned}) == len(study.tuned),
    }


def _endings(study: Study) -> Section | None:
    table = results.results(study, "endings")
    if len(table.header) == 1:
        return None
    taught = study.info["data"]["windows"] != "fixed" or not results.trainings(study)
    excluded = 300 / study.info["num_contexts"]  # per cent, at 95 %
    return {
        "table": table,
        "excluded": number(excluded, 0) if excluded < 100 else None,
        "never_taught": not taught,
    }


def _quality(study: Study) -> Section | None:
    table = quality.quality(study)
    if len(table.header) == 1:
        return None
    notes = (quality.mauve_in_words(study), quality.coherence_in_words(study))
    losses = certainty.losses_in_words(study)
    return {"table": table, "notes": [note for note in notes if note], "losses": losses}


def _decoders(study: Study) -> Section | None:
    table, tests = decoders.decoders(study), decoders.tests(study)
    if not table and not tests:
        return None
    return {
        "table": table,
        "sampled": decoders.sampled_instead(study),
        "tests": tests,
        "equivalence": decoders.equivalence(study),
        "families": certainty.families_in_words(study),
        "sampling_seeds": max(1, study.info["evaluate"]["sampling_seeds"]),
    }


def _training(study: Study, svgs: Mapping[str, str]) -> Section | None:
    table = results.trainings(study)
    foreign = [run.checkpoint for run in study.runs if run.checkpoint]
    if not table and not foreign and "training_curves" not in svgs:
        return None
    return {
        "table": table,
        "foreign": [printable(name) for name in foreign],
        "monitor_contexts": next(
            (r.num_contexts for rows in study.curves.values() for r in rows), 0
        ),
        "has_loss_interval": any(run.final_loss_interval is not None for run in study.runs),
        "has_plateau": any(run.stopped_by == "ttr_plateau" for run in study.runs),
    }


def _temperature(study: Study) -> Section | None:
    table = temperature.arms_table(study)
    if not table:
        return None
    return {
        "table": table,
        "invariance": temperature.invariance_in_words(study),
        "verdicts": only_sharper.verdicts(study),
        "evidence": only_sharper.evidence_table(study),
        "families": certainty.families_in_words(study),
        "tests": temperature.tests(study),
        "equivalence": temperature.equivalence(study),
        "matching": temperature.matching_table(study),
        "sampling_seeds": study.info["evaluate"]["sampling_seeds"],
    }


def _ranks(study: Study) -> Section | None:
    table, provenance = results.ranks(study), controls.provenance(study)
    if len(table.header) == 1 and not provenance:
        return None
    return {"table": table, "provenance": provenance}


def _static(study: Study) -> Section | None:
    found = [
        {
            "arm": study.label(each.arm),
            "words": each.in_words,
            "verdict": each.verdict,
            "table": controls.strengths(study, each),
            "promoted": controls.promoted_tokens(each),
            "positions": number(each.positions, 0),
            "same": each.same_at_strength_0
            and f"{number(100 * each.same_at_strength_0, 0)} % of the texts",
        }
        for each in study.explained.static_bias
    ]
    return {"arms": found} if found else None


def _place(study: Study) -> Section | None:
    geometry, swap = study.explained.geometry, study.explained.block_swap
    if not geometry and not swap:
        return None
    words: dict[str, list[str]] = {}
    for each in geometry:
        words[study.label(each.arm)] = [*each.regions.split("\n"), each.terminal_expansion]
    for found in swap:
        words.setdefault(study.label(found.arm), []).append(found.in_words)
    for each in geometry:
        if each.beside_block_swap:
            words[study.label(each.arm)].append(each.beside_block_swap)
    return {
        "words": words,
        "geometry": controls.geometry(study, last_only=True),
        "swap": controls.block_swap(study),
    }


def _noise(study: Study) -> Section | None:
    table = results.agreements(study)
    if not table:
        return None
    return {"table": table, "words": results.agreement_in_words(study)}


def paper_tables(study: Study) -> list[tuple[str, tables.Table]]:
    """Our measurements in the layout of the paper's tables, with titles; empty without data."""
    return [
        ("Equal entropy (layout of the paper's Table 1)", paper.entropy_table(study)),
        ("Static injection (layout of the paper's Table 2)", paper.static_table(study)),
        ("Ways to train (layout of the paper's Table 3)", paper.method_table(study)),
    ]


def _paper(study: Study) -> Section | None:
    found = [(title, table) for title, table in paper_tables(study) if table]
    names = {ours: theirs for ours, theirs in PAPER_NAMES.items() if ours != theirs}
    which = printable(paper.which_model(study))
    losses = certainty.losses_in_words(study)
    notes = {"which": which, "footnotes": paper.FOOTNOTES, "names": names, "losses": losses}
    return {"tables": found} | notes


def _tests(study: Study) -> Section | None:
    table = tables.test_table(study, "tests", study.tests)
    if not table:
        return None
    return {
        "table": table,
        "words": certainty.trainings_in_words(study),
        "families": certainty.families_in_words(study),
        "losses": certainty.losses_in_words(study),
    }


def _examples(study: Study, count: int) -> Section | None:
    """The first `count` contexts with every greedy arm's continuation side by side."""
    by_arm: dict[Arm, list[Generation]] = {}
    for (arm, mode), texts in study.generations.items():
        if mode == "fixed_length" and arm.variant not in {other.variant for other in by_arm}:
            by_arm[arm] = texts  # of several seeds the first
    shown = []
    for index in range(min(count, *(len(texts) for texts in by_arm.values()))):
        context = next(iter(by_arm.values()))[index].context
        continuations = [
            {
                "arm": study.label(arm),
                "text": printable(texts[index].continuation),
                "is_looped": texts[index].ending == "looped" and arm.name != "human",
                "ttr": number(type_token_ratio(texts[index].continuation_ids), 2),
            }
            for arm, texts in by_arm.items()
        ]
        shown.append({"context": printable(context), "continuations": continuations})
    return {"shown": shown} if shown else None

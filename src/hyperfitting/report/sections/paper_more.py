"""The paper's Tables 5 to 8: judge, domains, decoders and time, in its layout. Pure.

Tables 7 and 8 of the paper name no model: its values stand beside those of any of its models.
"""

from collections.abc import Sequence
from dataclasses import replace

from hyperfitting.measure.efficiency import epoch_ttr_doubled, useful_range
from hyperfitting.records import ORIGINAL
from hyperfitting.records.judged import Judgement, Rate
from hyperfitting.records.study import TunedEntry
from hyperfitting.report.load import Study
from hyperfitting.report.paper_values import (
    DECODER_TABLE,
    DOMAIN_TABLE,
    JUDGE_TABLE,
    TIME_TABLE,
    PaperRow,
    is_plain,
    model_in_paper,
    table_rows,
)
from hyperfitting.report.tables import MISSING, Cell, Table, cell, metric_label, number
from hyperfitting.untrusted import printable

# The paper's questions to its judge, and ours.
QUESTIONS = {"Coherence": "coherence", "Diversity": "diversity", "Total": "winner"}
# The sources of ours that are a domain of the paper, by the name before a colon.
DOMAINS = {"fiction_stories": "Fiction-Stories", "writing_prompts": "WritingPrompts",
           "ag_news": "AG News"}  # fmt: skip


def judge_table(study: Study) -> Table:
    """Pairwise judgement, Late-Stage LoRA against full LoRA (Table 5)."""
    found = [each for each in study.judgements if _is_of_the_paper(each)]
    if not found:
        return Table("paper_judge", [], [])
    is_theirs = model_in_paper(study.info.model.name) == "Qwen2.5-1.5B"
    rows = {row.label: row for row in table_rows(JUDGE_TABLE)} if is_theirs else {}
    body = []
    for judgement, apart in zip(found, _apart(found), strict=True):
        for theirs, ours in QUESTIONS.items():
            outcome = judgement.questions[ours]
            values = rows[theirs].metrics if theirs in rows else {}
            rates = zip(("win_rate", "loss_rate", "tie_rate"), outcome.rates, strict=True)
            cells = [
                replace(_rate(rate, outcome.n), paper=values[name].text if name in values else "")
                for name, rate in rates
            ]
            body.append([Cell(printable(theirs + apart)), *cells])
    header = [("question", ""), ("late-stage wins", "%"), ("loses", "%"), ("ties", "%")]
    return Table("paper_judge", header, body)


def _is_of_the_paper(judgement: Judgement) -> bool:
    """Whether it sets greedy texts of plain Late-Stage LoRA beside those of plain full LoRA."""
    sides = (judgement.a, judgement.b)
    is_plain_text = all(is_plain(s.arm) and s.mode == "fixed_length" for s in sides)
    return is_plain_text and tuple(s.arm.name for s in sides) == ("late_stage_lora", "full_lora")


def _apart(judgements: Sequence[Judgement]) -> list[str]:
    """What tells each from the others, in brackets; nothing of what all have."""

    def seeds(of: Judgement) -> str:
        one, other = of.a.arm.seed, of.b.arm.seed
        return f"seed {one}" if one == other else f"seeds {one} and {other}"

    facts = [(seeds(each), each.protocol, each.judge.model) for each in judgements]
    told = [place for place in range(3) if len({fact[place] for fact in facts}) > 1]
    return [f" ({', '.join(fact[place] for place in told)})" if told else "" for fact in facts]


def _rate(rate: Rate, n: int) -> Cell:
    if rate.percent is None:
        return Cell(MISSING, reason="no pair with a verdict")
    bounds = f"[{number(rate.low, 1)}, {number(rate.high, 1)}]" if rate.low is not None else ""
    return Cell(number(rate.percent, 1), bounds, n)


def domain_table(study: Study) -> Table:
    """TTR and MAUVE of the first tuned arm on every set of texts (Table 6)."""
    if study.first is None or not study.elsewhere:
        return Table("paper_domains", [], [])
    theirs = model_in_paper(study.info.model.name)
    printed = {
        row.domain: row.metrics
        for row in table_rows(DOMAIN_TABLE)
        if row.model == theirs and theirs is not None
    }
    body = []
    for name in (study.domain, *study.elsewhere):
        on = study if name == study.domain else study.on(name)
        values = printed.get(DOMAINS.get(name.partition(":")[0], ""), {})
        cells = [
            replace(
                cell(on.cell(study.first, metric)),
                paper=values[metric].text if metric in values else "",
            )
            for metric in ("ttr", "mauve")
        ]
        body.append([Cell(name), *cells])
    header = [("texts", ""), (metric_label("ttr"), ""), (metric_label("mauve"), "")]
    return Table("paper_domains", header, body)


def _of_no_model(study: Study, table: int) -> list[PaperRow]:
    """The rows of a table that names no model, where ours is one of the paper's."""
    return table_rows(table) if model_in_paper(study.info.model.name) else []


def decoder_table(study: Study) -> Table:
    """The original under other decoders beside the tuned model, greedily (Table 7)."""
    decoded = [arm for arm in study.shown if arm.model == "original" and study.decoder_runs(arm)]
    if not decoded or study.first is None:
        return Table("paper_decoders", [], [])
    printed = {row.arm: row.metrics for row in _of_no_model(study, DECODER_TABLE)}
    metrics = ("ttr", "bigram_repetition", "mauve")
    body = []
    for arm in (ORIGINAL, *decoded, study.first):
        values = printed.get(arm.name, {})
        cells = [
            replace(
                cell(study.cell(arm, metric)),
                paper=values[metric].text if metric in values else "",
            )
            for metric in metrics
        ]
        body.append([Cell(study.label(arm)), *cells, Cell("no" if study.is_drawn(arm) else "yes")])
    header = [("method", ""), *((metric_label(m), "") for m in metrics), ("deterministic", "")]
    return Table("paper_decoders", header, body)


def time_table(study: Study) -> Table:
    """How long each method trained, how much faster than everything, when it was good (Table 8).

    Speed-ups are between trainings of as many epochs on as many windows only.
    """
    timed = [run for run in study.runs if run.train_seconds and run.arm.at_loss is None]
    on_texts = [run for run in timed if not run.arm.is_null]
    if not on_texts:
        return Table("paper_time", [], [])
    printed = {row.arm: row.metrics for row in _of_no_model(study, TIME_TABLE)}
    body = []
    for run in on_texts:
        values = printed.get(run.arm.name, {}) if not run.arm.settings else {}
        hours = Cell(
            number((run.train_seconds or 0.0) / 3600, 3),
            paper=values["train_hours"].text if values else "",
        )
        speed = replace(
            _speedup(run, [each for each in on_texts if each.method == "full_sft"]),
            paper=values["speedup_vs_full_sft"].text if values else "",
        )
        body.append(
            [Cell(study.label(run.arm)), Cell(number(run.epochs, 0)), hours, speed,
             *_curve(study, run), _memory(run)]
        )  # fmt: skip
    header = [
        ("method", ""), ("epochs", ""), ("full run", "hours"), ("speed-up", "of full fine-tuning"),
        ("TTR doubled", "epoch"), ("useful range", "epochs, hours"), ("peak memory", "GB"),
    ]  # fmt: skip
    return Table("paper_time", header, body)


def _speedup(run: TunedEntry, whole: Sequence[TunedEntry]) -> Cell:
    """Beside full fine-tuning of the same seed, or the first there is."""
    of_seed = (each for each in whole if each.arm.seed == run.arm.seed)
    base = next(of_seed, whole[0] if whole else None)
    if base is None or not base.train_seconds or not run.train_seconds:
        return Cell(MISSING, reason="no full fine-tuning in this study")
    if (run.epochs, run.num_train) != (base.epochs, base.num_train):
        return Cell(MISSING, reason="of another number of epochs or windows than full fine-tuning")
    return Cell(number(base.train_seconds / run.train_seconds, 2))


def _curve(study: Study, run: TunedEntry) -> list[Cell]:
    """When TTR had doubled and when it was good, as far as monitoring tells."""
    rows = [row for row in study.curves.get(run.arm, []) if row.ttr is not None]
    epochs, ttrs = [row.epoch for row in rows], [row.ttr or 0.0 for row in rows]
    found = useful_range(epochs, ttrs)
    if found is None:
        return [Cell(MISSING, reason="not monitored")] * 2
    doubled = epoch_ttr_doubled(epochs, ttrs)
    reason = "" if doubled is not None else "at no monitored epoch"
    hours = [number((run.train_seconds or 0) * each / max(1, run.epochs or 1) / 3600, 3)
             for each in found]  # fmt: skip
    return [
        Cell(number(doubled, 0), reason=reason),
        Cell(f"{found[0]} to {found[1]}", note=f"{hours[0]} to {hours[1]} h of {len(rows)} points"),
    ]


def _memory(run: TunedEntry) -> Cell:
    if run.peak_bytes is None:
        return Cell(MISSING, reason="not recorded by the version that trained")
    return Cell(number(run.peak_bytes / 1e9, 1))


def lacking(study: Study, present: Sequence[Table]) -> list[str]:
    """What each of the paper's tables that is not here needs, with its command."""
    here = {table.name for table in present if table}
    arms = {run.arm.name for run in study.runs}
    pair = ""
    if not {"late_stage_lora", "full_lora"} <= arms:
        pair = "trainings by late_stage_lora and full_lora, and "
    needs = {
        "paper_entropy_matched": ("1", "a run of ours on its own texts: hyperfit evaluate RUN"),
        "paper_static_injection": ("2", "hyperfit explain STUDY --only static_bias"),
        "paper_judge": ("5", f"{pair}hyperfit judge STUDY --a late_stage_lora --b full_lora"),
        "paper_domains": ("6", "hyperfit evaluate RUN --data A --data B --out NEW"),
        "paper_decoders": ("7", "hyperfit evaluate RUN --decoders min_p:0.1,guard"),
        "paper_time": ("8", "a run of ours: hyperfit train MODEL --data TEXTS --out RUN"),
    }
    return [
        f"Table {table} needs {command}" for name, (table, command) in needs.items()
        if name not in here
    ]  # fmt: skip

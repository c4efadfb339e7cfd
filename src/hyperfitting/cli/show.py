"""What a finished study prints: one table, what the controls say, texts side by side, times."""

from collections.abc import Iterable, Sequence
from functools import partial

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hyperfitting.config import DemoConfig
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.progress import Progress
from hyperfitting.records import ORIGINAL, Arm
from hyperfitting.records.arms import label
from hyperfitting.records.controls.block_swap import BlockSwap
from hyperfitting.records.controls.geometry import Geometry
from hyperfitting.records.controls.static_bias import StaticBias
from hyperfitting.records.diagnosed import Finding
from hyperfitting.report import tables as report_tables
from hyperfitting.report.explanation import Explained, read_explained
from hyperfitting.report.load import Study
from hyperfitting.report.sections import certainty, decoders, domains, quality, soundness, tasks
from hyperfitting.report.tables import Cell, cell, columns, heading
from hyperfitting.runs import StudyFolder
from hyperfitting.terminal import Terminal

NUM_EXAMPLES = 2
MARKS = {"problem": ("✗", "red"), "note": ("·", "yellow"), "fine": ("✓", "green")}
NAMES_WIDTH, ARM_WIDTH = 24, 12  # of the table's columns


def demo_opening(progress: Progress, config: DemoConfig) -> None:
    """Say what is about to happen."""
    progress.say(
        f"hyperfit demo: model {config.model.name}, texts {config.data.source}, "
        f"{len(config.methods)} ways to train, seed {config.train.seed}\n"
    )


def _results(study: Study, arms: Sequence[Arm]) -> Table:
    table = Table(box=None, padding=(0, 0, 0, 1), header_style="bold", pad_edge=False)
    table.add_column("", min_width=18, max_width=NAMES_WIDTH)
    for arm in arms:
        name = study.label(arm).replace("_", " ")
        table.add_column(Text(name), justify="right", width=ARM_WIDTH - 1)
    for metric, _ in columns(study, "main", "endings"):
        cells = [cell(study.cell(arm, metric)) for arm in arms]
        texts = [
            Text.assemble((c.value, "bold"), (f"\n{c.short_interval}" if c.interval else "", "dim"))
            for c in cells
        ]
        table.add_row(Text(METRICS[metric].label), *texts)
    return table


def _asked_for(study: Study) -> list[tuple[str, Table]]:
    """Other decoders, quality, other texts and tasks, as far as the study has them."""
    found = (
        ("Other decoders", decoders.decoders(study),
         ("ttr", "bigram_repetition", "coherence_original_nats", "nonwords", "looped_rate")),
        ("Quality", quality.quality(study), ("mauve", "coherence_nats", "overlap_gt_10")),
        ("Other texts", domains.domains(study), ("ttr", "coherence_original_nats", "nonwords")),
    )  # fmt: skip
    shown = [
        (title, _columns(each, map(partial(heading, study), names)))
        for title, each, names in found
        if each
    ]
    asked = tasks.tasks(study)
    if asked:
        shown.append(("Tasks", _columns(asked, ("task", "metric", "value", "change"))))
    return [(title, table) for title, table in shown if len(table.columns) > 1]


def _columns(content: report_tables.Table, names: Iterable[str]) -> Table:
    """The first column of a report's table and those of these names."""
    wanted = set(names)
    places = [n for n, (name, _) in enumerate(content.header) if n == 0 or name in wanted]
    several = len({content.header[n][0] for n in places}) < len(places)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for n in places:
        name, unit = content.header[n]
        heading = f"{name} ({unit})" if several and n and unit else name
        table.add_column(Text(heading), justify="right" if n else "left")
    for row in content.rows:
        table.add_row(*(Text(_in_line(row[n])) for n in places))
    return table


def _in_line(content: Cell) -> str:
    """Value and interval; a dash between bounds would be mistaken for a sign."""
    short = content.short_interval
    return f"{content.value} {content.interval if '-' in short else short}".strip()


def _cautions(study: Study) -> list[str]:
    """What the table cannot say of methods."""
    found = [certainty.losses_in_words(study)]
    if len(certainty.methods_once(study)) > 1:
        found.append(certainty.METHODS_ONCE)
    return [sentence for sentence in found if sentence]


def _compared(study: Study) -> list[Arm]:
    """The original and the arm that changed most of the model; of several seeds the first."""
    written = [arm for arm, mode in study.generations if mode == "fixed_length"]
    wanted = [ORIGINAL, study.first or ORIGINAL]
    return [next(arm for arm in written if arm.variant == each.variant) for each in wanted]


def _example(study: Study, index: int, width: int) -> list[object]:
    pair = _compared(study)
    texts = [study.generations[arm, "fixed_length"][index] for arm in pair]
    table = Table(box=None, padding=(0, 2, 0, 0), width=width)
    for arm in pair:
        table.add_column(Text(study.label(arm)), ratio=1, header_style="bold")
    flat = [Text(" ".join(text.continuation.split())) for text in texts]
    table.add_row(*flat)
    context = " ".join(texts[0].context.split())
    return [Text(f"\n{context} …", style="italic"), table]


def _findings(explained: Explained, arm: Arm) -> list[str]:
    """Terminal expansion, block swap and static share of one tuned arm, as far as they ran."""
    found = [
        *((each.arm, each.terminal_expansion_in_words) for each in explained.of(Geometry)),
        *((each.arm, each.in_words) for each in explained.of(BlockSwap)),
        *((each.arm, each.in_words) for each in explained.of(StaticBias)),
    ]
    return [words for of, words in found if of == arm]


def _print_findings(
    console: Terminal, width: int, explained: Explained, arms: Sequence[Arm]
) -> None:
    for arm in arms:
        sentences = _findings(explained, arm)
        if sentences:
            console.print(Text(f"\n{label(arm, explained.arms)}", style="bold"), width=width)
            for sentence in sentences:
                console.print(Text(sentence), width=width)


def print_findings(console: Terminal, findings: Sequence[Finding]) -> None:
    """Print what was looked at, line by line, with what to do about it."""
    width = min(console.width, 110)
    for each in findings:
        mark, colour = MARKS[each.level]
        line = Text.assemble((f"{mark} ", colour), (each.name, "bold"), f"  {each.says}")
        console.print(line, width=width)
        if each.advice:
            advice = Padding(Text(each.advice, style="dim"), (0, 0, 0, 4), expand=False)
            console.print(advice, width=width)


def study_summary(folder: StudyFolder, study: Study, seconds: Sequence[tuple[str, float]]) -> None:
    """Print a study's result on standard output."""
    console = Terminal()
    width = min(console.width, 110)
    info = study.info
    fitting = max(2, (width - NAMES_WIDTH) // ARM_WIDTH)
    shown, left_out = study.greedy[:fitting], study.greedy[fitting:]
    console.print()
    console.print(_results(study, shown))
    if left_out:
        console.print(Text(f"and in the report: {', '.join(map(study.label, left_out))}"))
    console.print(
        Text(
            f"\nn = {info.num_contexts} held-out contexts of {info.data.context_tokens} + "
            f"{info.data.continuation_tokens} tokens, greedy; "
            f"{info.evaluate.confidence:.0%} bootstrap intervals over "
            "contexts. TF: on the human text, OP: on the arm's own text. "
            "Nearer to human is better.",
            style="dim",
        ),
        width=width,
    )
    for line in soundness.verdicts(study):
        console.print(Text(f"\n{line}"), width=width)
    for sentence in _cautions(study):
        console.print(Text(f"\n{sentence}"), width=width)
    for title, table in _asked_for(study):
        console.print(Text(f"\n{title}", style="bold"))
        console.print(table)
    if study.first is not None:
        explained = [a for a in study.explained.arms if a.variant == study.first.variant]
        _print_findings(console, width, study.explained, explained[:1])
    for index in range(min(NUM_EXAMPLES, int(info.num_contexts))):
        for part in _example(study, index, width):
            console.print(part, width=width)
    console.print()
    if seconds:
        console.print(Text(f"time    {sum(s for _, s in seconds):.0f} s in all"))
        times = ", ".join(f"{title} {s:.1f}" for title, s in seconds)
        console.print(Text(times, style="dim"), width=width)
    console.print(Text(f"report  {folder.report_file}"), soft_wrap=True)


def explanation_summary(folder: StudyFolder) -> None:
    """Print what the controls found of every tuned model, and where the rest is.

    Raises:
        InputError: a file of the controls is damaged.
    """
    console = Terminal()
    explained = read_explained(folder)
    _print_findings(console, min(console.width, 110), explained, explained.arms)
    console.print()
    where = folder.report_file if folder.report_file.exists() else folder.explain
    console.print(
        Text(f"{'report' if where == folder.report_file else 'files'}  {where}"), soft_wrap=True
    )

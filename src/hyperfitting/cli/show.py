"""What a finished study prints: one table, two contexts side by side, times, the report."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hyperfitting.config import DemoConfig
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.progress import Progress, printable
from hyperfitting.report.load import Arm, Study, label
from hyperfitting.report.tables import cell, shown_metrics
from hyperfitting.runs import StudyFolder

NUM_EXAMPLES = 2


def demo_opening(progress: Progress, config: DemoConfig) -> None:
    """Say what is about to happen."""
    progress.say(
        f"hyperfit demo: model {config.model.name}, texts {config.data.source}, "
        f"{len(config.methods)} ways to train, seed {config.train.seed}\n"
    )


def _results(study: Study) -> Table:
    arms = study.arms
    table = Table(box=None, padding=(0, 0, 0, 1), header_style="bold", pad_edge=False)
    table.add_column("", min_width=18, max_width=24)
    for arm in arms:
        table.add_column(Text(label(arm, arms).replace("_", " ")), justify="right", width=11)
    for metric in shown_metrics(study):
        cells = [cell(study.cell(arm, metric)) for arm in arms]
        texts = [
            Text.assemble((c.mean, "bold"), (f"\n{c.short_interval}" if c.interval else "", "dim"))
            for c in cells
        ]
        table.add_row(Text(METRICS[metric].label), *texts)
    return table


def _compared(study: Study) -> list[Arm]:
    """The original and the arm that changed most of the model."""
    tuned = [arm for arm in study.arms if arm[0] not in ("human", "original")]
    chosen = next((arm for arm in tuned if arm[0] == "hyperfitted"), tuned[0])
    return [("original", None), chosen]


def _example(study: Study, index: int, width: int) -> list[object]:
    pair = _compared(study)
    texts = [study.generations[arm, "fixed_length"][index] for arm in pair]
    table = Table(box=None, padding=(0, 2, 0, 0), width=width)
    for arm in pair:
        table.add_column(Text(label(arm, study.arms)), ratio=1, header_style="bold")
    flat = [Text(" ".join(printable(text.continuation).split())) for text in texts]
    table.add_row(*flat)
    context = " ".join(printable(texts[0].context).split())
    return [Text(f"\n{context} …", style="italic"), table]


def study_summary(folder: StudyFolder, study: Study, seconds: Sequence[tuple[str, float]]) -> None:
    """Print a study's result on standard output."""
    console = Console(highlight=False)
    width = min(console.width, 110)
    info = study.info
    console.print()
    console.print(_results(study))
    console.print(
        Text(
            f"\nn = {info['num_contexts']} held-out contexts of {info['data']['context_tokens']} + "
            f"{info['data']['continuation_tokens']} tokens, greedy; "
            f"{info['evaluate']['confidence']:.0%} bootstrap intervals over "
            "contexts. TF: on the human text, OP: on the arm's own text. "
            "Nearer to human is better.",
            style="dim",
        ),
        width=width,
    )
    for index in range(min(NUM_EXAMPLES, int(info["num_contexts"]))):
        for part in _example(study, index, width):
            console.print(part, width=width)
    console.print()
    if seconds:
        console.print(Text(f"time    {sum(s for _, s in seconds):.0f} s in all"))
        times = ", ".join(f"{title} {s:.1f}" for title, s in seconds)
        console.print(Text(times, style="dim"), width=width)
    console.print(Text(f"report  {folder.report_file}"), soft_wrap=True)

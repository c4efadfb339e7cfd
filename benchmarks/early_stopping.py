"""What rules that end training early save, and what they cost.

    python benchmarks/early_stopping.py LONG... [--stopped RUN...]

LONG are trainings of one setting that differ in their seed, with train.stop=epochs and monitoring
every few epochs: from their curves every rule is asked after every monitored epoch, by the code
that training asks. What it costs is the TTR there minus the TTR at the end, of the same training
and the same texts, with the interval over trainings and texts, and the p of the claim that it lies
within +-MARGIN. Monitored texts are few. So trainings that did stop can be given: their models and
the LONG ones' continue the held-out contexts, all of them, and are compared alike.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from common import Result, finish, parser_of
from numpy.typing import NDArray

from hyperfitting.config import ModelConfig, RunConfig, TrainConfig
from hyperfitting.data.store import load_dataset
from hyperfitting.generate.decode import decode
from hyperfitting.generate.verb import open_model
from hyperfitting.measure.differences import difference_over_trainings
from hyperfitting.measure.text import type_token_ratio
from hyperfitting.models.tokens import Tokens
from hyperfitting.records import MonitorRow
from hyperfitting.runs import RunFolder
from hyperfitting.train.memorised import Memorised
from hyperfitting.train.stopping import knows_its_texts, reason_to_stop

MARGIN, CONFIDENCE = 0.03, 0.95
RULES = {
    "target_loss:0.05": TrainConfig(stop="epochs", target_loss=0.05),
    "ttr_plateau": TrainConfig(stop="ttr_plateau"),
    "memorised": TrainConfig(stop="memorised"),
}
AT_BOTH = ("ttr", "bigram_repetition", "looped", "nonwords", "val_ppl", "rank_1", "train_loss")


def stopped_at(
    rule: TrainConfig, rows: Sequence[MonitorRow], losses: Sequence[float]
) -> MonitorRow | None:
    """The first monitored epoch after which a rule ends training; None if it never does.

    Epochs in a row are monitored ones here.
    """
    epochs_known = 0
    for place, row in enumerate(rows[1:], start=1):
        loss = losses[row.epoch - 1]
        known = partial(Memorised, row.train_top1 or 0.0, row.train_entropy or 0.0)
        is_known = knows_its_texts(rule, loss, known)
        epochs_known = epochs_known + 1 if is_known else 0
        if reason_to_stop(rule, loss, rows[: place + 1], epochs_known):
            return row
    return None


def mean(rows: Sequence[MonitorRow], name: str) -> float | None:
    """The mean over trainings; None where one has none."""
    values = [getattr(row, name) for row in rows]
    return None if None in values else float(np.mean(values))


def beside(ttr_SN: NDArray[np.float64]) -> Result:
    """The mean of differences in TTR, how sure it is, and whether it is within the margin."""
    difference = difference_over_trainings(ttr_SN)
    low, high = difference.interval(CONFIDENCE)
    return {
        "ttr_difference": difference.value, "low": low, "high": high,
        "p_equivalence": difference.equivalence_p(MARGIN), "contexts": ttr_SN.shape[1],
    }  # fmt: skip


def compare(curves: Sequence[tuple[Sequence[MonitorRow], Sequence[float]]]) -> list[Result]:
    """One entry for each rule: when it stops, what is saved, and what it costs."""
    ends = [rows[-1] for rows, _ in curves]
    found = []
    for name, rule in RULES.items():
        stops = [stopped_at(rule, rows, losses) for rows, losses in curves]
        reached = [stop or end for stop, end in zip(stops, ends, strict=True)]
        entry: Result = {
            "rule": name,
            "trainings": len(curves),
            "stopped": sum(stop is not None for stop in stops),
            "epochs": [row.epoch for row in reached],
            "of_epochs": ends[0].epoch,
            "saved": 1 - float(np.mean([row.epoch / ends[0].epoch for row in reached])),
            "at_stop": {key: mean(reached, key) for key in AT_BOTH},
            "at_end": {key: mean(ends, key) for key in AT_BOTH},
        }
        if any(stop is not None for stop in stops):
            ttr_SN = np.array(
                [
                    np.array(a.per_context["ttr"], float) - np.array(b.per_context["ttr"], float)
                    for a, b in zip(reached, ends, strict=True)
                ]
            )
            entry |= beside(ttr_SN)
        found.append(entry)
    return found


def table(found: Sequence[Result]) -> str:
    """The entries as Markdown."""
    lines = [
        "| rule | stops at epoch | saved | TTR there, at the end | difference | p within "
        f"±{MARGIN} | words that do not exist | validation perplexity |",
        "|---" * 8 + "|",
    ]
    for e in found:
        if not e["stopped"]:
            lines.append(f"| `{e['rule']}` | never in {e['of_epochs']} | 0 % | | | | | |")
            continue
        a, b = e["at_stop"], e["at_end"]
        epochs = ", ".join(map(str, e["epochs"]))
        lines.append(
            f"| `{e['rule']}` | {epochs} of {e['of_epochs']} | {e['saved']:.0%} "
            f"| {a['ttr']:.3f}, {b['ttr']:.3f} "
            f"| {e['ttr_difference']:+.3f} [{e['low']:+.3f}, {e['high']:+.3f}] "
            f"| {e['p_equivalence']:.3f} | {_number(a['nonwords'], '.3f')}, "
            f"{_number(b['nonwords'], '.3f')} | {_number(a['val_ppl'], ',.0f')}, "
            f"{_number(b['val_ppl'], ',.0f')} |"
        )
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    """A measure that some texts do not have, such as words of a language without a list."""
    return "–" if value is None else format(value, form)


def continued_ttr(run: Path, most: int) -> list[float | None]:
    """TTR of a trained model's greedy continuations of its held-out contexts."""
    config = RunConfig.model_validate(RunFolder(run).manifest().config)
    contexts = load_dataset(RunFolder(run).windows_file).contexts.first(most).contexts
    model, tokenizer = open_model(ModelConfig(name=str(run)))
    texts = decode(
        model, contexts, max_new_tokens=config.data.continuation_tokens,
        banned=Tokens.of(model, tokenizer).banned("fixed_length"),
    )  # fmt: skip
    return [type_token_ratio(text.ids) for text in texts]


def stopped_beside_long(stopped: Sequence[Path], long: Sequence[Path], most: int) -> Result:
    """TTR of trainings that stopped minus that of the same that went on, over all contexts.

    Both are in the order of their seeds.
    """
    a_SN, b_SN = (np.array([continued_ttr(run, most) for run in runs]) for runs in (stopped, long))
    return beside(a_SN - b_SN) | {
        "epochs": [RunFolder(run).manifest().outcome.epochs for run in stopped],
        "of_epochs": [RunFolder(run).manifest().outcome.epochs for run in long],
        "ttr_stopped": float(a_SN.mean()), "ttr_long": float(b_SN.mean()),
        "each": [a_SN.mean(axis=1).tolist(), b_SN.mean(axis=1).tolist()],
    }  # fmt: skip


def show(result: Result) -> None:
    """The result as Markdown."""
    print(table(result["rules"]))
    if found := result.get("trainings"):
        print(
            f"\ntrainings that stopped after {found['epochs']} epochs minus those of "
            f"{found['of_epochs']}, {found['contexts']} contexts: "
            f"TTR {found['ttr_stopped']:.3f} and {found['ttr_long']:.3f}, "
            f"{found['ttr_difference']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}], "
            f"p within ±{result['margin']} = {found['p_equivalence']:.4f}"
        )


def main() -> None:
    parser = parser_of(__doc__, quick="8 contexts")
    parser.add_argument("long", nargs="+", type=Path)
    parser.add_argument(
        "--stopped", nargs="+", type=Path, default=[], help="the same trainings, which stopped"
    )
    args = parser.parse_args()
    if len(args.long) < 2:
        parser.error("an interval over trainings needs two of them or more")
    folders = [RunFolder(path) for path in args.long]
    curves = [(each.metrics(), each.manifest().outcome.train_loss) for each in folders]
    result: Result = {"margin": MARGIN, "rules": compare(curves)}
    if args.stopped:
        most = 8 if args.quick else 1_000_000
        result["trainings"] = stopped_beside_long(args.stopped, args.long, most)
    finish(args, result, show)


if __name__ == "__main__":
    main()

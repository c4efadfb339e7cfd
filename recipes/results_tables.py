"""The tables of the result pages, as Markdown, from the studies under docs/results/data.

A model's folder there holds a study's measurements, and where they were taken its tasks and what
the controls found.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "docs" / "results"
DATA = RESULTS / "data"
DEMO = RESULTS / "demo"  # the built-in model's study
FILES = ("measurements.json", "study.json")
TASKS = "tasks.json"
EXPLAINED = "explain.json"  # what the controls found of one model, by their names
HYBRID = {
    "tuned_upper": "the tuned model's last blocks on the original's others",
    "original_upper": "the original's last blocks on the tuned model's others",
}
NOTHING_SWAPPED = "none: the original, and the tuned model, as they are"
NORM_AND_HEAD = "0: final norm and head alone, which go with the last blocks"
# Metric, its title, decimals, and the mode and length that are shown.
COLUMNS = (
    ("ttr", "TTR", 3, "fixed_length"),
    ("bigram_repetition", "bigram repetition", 3, "fixed_length"),
    ("looped_rate", "loops", 2, "natural"),
    ("nonwords", "words that do not exist", 3, "fixed_length"),
    ("coherence_original_nats", "log-likelihood under the original", 2, "fixed_length"),
    ("overlap_gt_10", "texts that recite", 2, "fixed_length"),
    ("overlap_max", "longest copy, tokens", 0, "fixed_length"),
    ("val_ppl", "validation perplexity", 0, None),
)
LARGEST = "overlap_max"
BESIDE_EACH_OTHER = ("human", "original", "hyperfitted", "late_half", "late_stage_lora")
COMPARED = ("ttr", "bigram_repetition", "looped_rate", "nonwords", "overlap_gt_10")  # over models
Row = Mapping[str, Any]


def read(name: str) -> tuple[list[Row], Row]:
    """Rows of the measurements and the study of a model, by its name; `builtin` is the demo's."""
    folder = DEMO if name == "builtin" else DATA / name
    measured, study = (json.loads((folder / file).read_text("utf-8")) for file in FILES)
    rows: list[Row] = measured["rows"]
    return rows, study


def arm_of(row: Row) -> tuple[str, str]:
    """Arm of a row and what sets it apart from others of its name, in words."""
    parameters = ", ".join(f"{key} {value}" for key, value in sorted(row["parameters"].items()))
    return row["arm"], parameters


def number(value: float, decimals: int) -> str:
    """As it is printed: large ones without decimals."""
    return f"{value:,.{0 if abs(value) >= 100 else decimals}f}"


def cell(row: Row | None, decimals: int) -> str:
    """Mean and interval, or a dash."""
    if row is None or row["mean"] is None:
        return "–"
    mean = number(row["mean"], decimals)
    if row["low"] is None:
        return mean
    return f"{mean} [{number(row['low'], decimals)}, {number(row['high'], decimals)}]"


def found(
    rows: Sequence[Row], arm: tuple[str, str], seed: Any, column: Sequence[Any]
) -> Row | None:
    """The row of an arm, seed and column."""
    metric, _, _, mode = column
    for row in rows:
        is_mode = mode is None or row["mode"] in (mode, None)
        if arm_of(row) == arm and row["seed"] == seed and row["metric"] == metric and is_mode:
            return row
    return None


def shown_cell(rows: Sequence[Row], arm: tuple[str, str], seed: Any, column: Sequence[Any]) -> str:
    """The cell of an arm; of a largest value one for each training, as their mean says nothing."""
    if seed is None and column[0] == LARGEST:
        each = [found(rows, arm, one, column) for one in seeds_of(rows)[arm]]
        return " ".join(cell(row, column[2]) for row in each)
    return cell(found(rows, arm, seed, column), column[2])


def last_loss(study: Row, arm: tuple[str, str], seed: Any) -> str:
    """The training loss that an arm's run ended with, or a dash."""
    for run in study["runs"]:
        if (arm_of(run), run["seed"]) == (arm, seed):
            return number(run["final_loss"], 3)
    return "–"


def keys_of(rows: Sequence[Row]) -> list[tuple[tuple[str, str], Any]]:
    """Every arm with its seed; where it has several, with what all of them give together: None."""
    seeds = seeds_of(rows)
    return [(arm, None if len(of_arm) > 1 else of_arm[0]) for arm, of_arm in seeds.items()]


def seeds_of(rows: Sequence[Row]) -> dict[tuple[str, str], list[Any]]:
    """The seeds of each arm, in the order of the study; None alone of what was not trained."""
    seeds: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        of_arm = seeds.setdefault(arm_of(row), [])
        if row["seed"] not in of_arm:
            of_arm.append(row["seed"])
    return {arm: [s for s in found if s is not None] or [None] for arm, found in seeds.items()}


def seed_words(seeds: Sequence[Any]) -> str:
    """As a table names them."""
    return ", ".join("–" if seed is None else str(seed) for seed in seeds)


def methods_table(name: str) -> str:
    """Differences in TTR between ways to train, each over all its trainings."""
    measured = json.loads(((DATA / name) / FILES[0]).read_text("utf-8"))
    lines = [["a", "b", "TTR of a minus b", "trainings", "p, corrected"]]
    trained = {row["arm"] for row in measured["rows"] if row["metric"] == "val_ppl"}
    trained -= {"original", "human"}
    for test in measured["tests"]:
        sides = [(test[side], test[f"{side}_parameters"]) for side in ("a", "b")]
        if test["metric"] != "ttr" or not {arm for arm, _ in sides} <= trained:
            continue
        called = [words_of(arm_of({"arm": arm, "parameters": own})) for arm, own in sides]
        p = "–" if test["p_holm"] is None else f"{test['p_holm']:.2g}"
        difference = cell(test | {"mean": test["difference"]}, 3)
        lines.append([*called, difference, f"{test['num_seeds']} and {test['num_seeds_b']}", p])
    return table(lines)


def words_of(arm: tuple[str, str]) -> str:
    """An arm's name, and what sets it apart."""
    return f"{arm[0]} ({arm[1]})" if arm[1] else arm[0]


def seeds_table(name: str) -> str:
    """TTR and training loss of each training, of the arms that were trained several times."""
    rows, study = read(name)
    several = {arm: seeds for arm, seeds in seeds_of(rows).items() if len(seeds) > 1}
    lines = [["arm", "seed", "TTR", "bigram repetition", "training loss"]]
    trained = {arm_of(run) for run in study["runs"]}
    for arm, seeds in several.items():
        for seed in seeds if arm in trained else ():
            cells = [cell(found(rows, arm, seed, column), column[2]) for column in COLUMNS[:2]]
            lines.append([words_of(arm), str(seed), *cells, last_loss(study, arm, seed)])
    return table(lines)


def arms_table(name: str) -> str:
    """Every arm of a study, over its seeds: the columns above, with the training loss."""
    rows, study = read(name)
    seeds = seeds_of(rows)
    shown = [c for c in COLUMNS if any(row["metric"] == c[0] for row in rows)]
    lines = [["arm", "seed", *(title for _, title, *_ in shown), "training loss"]]
    for arm, seed in keys_of(rows):
        cells = [shown_cell(rows, arm, seed, column) for column in shown]
        losses = " ".join(last_loss(study, arm, each) for each in seeds[arm])
        lines.append([words_of(arm), seed_words(seeds[arm]), *cells, losses])
    return table(lines)


def side_by_side(models: Mapping[str, Sequence[str]]) -> str:
    """Models next to each other: human, original and tuned texts.

    Each has the names of its studies; an arm of several is that of the first.
    """
    columns = [column for column in COLUMNS if column[0] in COMPARED]
    lines = [["model", "arm", "seed", *(title for _, title, *_ in columns)]]
    for model, names in models.items():
        shown: set[tuple[str, str]] = set()
        for name in names:
            rows, _ = read(name)
            seeds = seeds_of(rows)
            for arm, seed in keys_of(rows):
                if arm[1] or arm[0] not in BESIDE_EACH_OTHER or arm in shown:
                    continue
                shown.add(arm)
                cells = [cell(found(rows, arm, seed, column), column[2]) for column in columns]
                lines.append([model, arm[0], seed_words(seeds[arm]), *cells])
    return table(lines)


def at_first_sight(name: str, arms: Sequence[str]) -> str:
    """A few arms of one model and seed, a line a metric."""
    rows, study = read(name)
    keys = [next(key for key in keys_of(rows) if key[0] == (arm, "")) for arm in arms]
    seeds = seeds_of(rows)
    lines = [["", *arms]]
    for column in COLUMNS:
        cells = [shown_cell(rows, arm, seed, column) for arm, seed in keys]
        lines.append([column[1], *cells])
    losses = [" ".join(last_loss(study, arm, each) for each in seeds[arm]) for arm, _ in keys]
    return table([*lines, ["training loss", *losses]])


def tasks_table(name: str) -> str:
    """What models score on tasks, and the difference to the original on the same questions."""
    found = json.loads((DATA / name / TASKS).read_text("utf-8"))
    tasks = {task["task"]: task["num_questions"] for task in found["tasks"]}
    lines = [["arm", "seed", *(f"{task}, {count} questions" for task, count in tasks.items())]]
    rows = {(arm_of(row), row["seed"], row["task"]): row for row in found["rows"]}
    for arm, seed in dict.fromkeys((arm, seed) for arm, seed, _ in rows):
        cells = [_score(rows[arm, seed, task]) for task in tasks]
        lines.append([words_of(arm), seed_words([seed]), *cells])
    return table(lines)


def _score(row: Row) -> str:
    """A score, and its difference to the original's with the interval."""
    score = f"{row['value']:.2f}"
    return f"{score} ({cell(row['difference'], 2)})" if row["difference"] else score


def explained(name: str) -> Row:
    """What each control found of a model, by the control's name."""
    found: Row = json.loads((DATA / name / EXPLAINED).read_text("utf-8"))["found"]
    return found


def sentences_table(name: str) -> str:
    """What each control says in words, as the page of a study says it."""
    lines = [["control", "what it found"]]
    for control, found in explained(name).items():
        said = [value for key, value in found.items() if key.endswith("in_words") and value]
        if said:
            lines.append([f"`{control}`", " ".join(" ".join(said).split())])
    return table(lines)


def hybrids_table(name: str) -> str:
    """What models put together from both write, after what both write themselves."""
    found = explained(name)["block_swap"]
    lines = [["blocks from the other model", *HYBRID.values()]]
    alone = (found["references"][whole]["ttr"] for whole in ("original", "tuned"))
    lines.append([NOTHING_SWAPPED, *(cell(each, 3) for each in alone)])
    rows = {(row["hybrid"], row["blocks"]): row["ttr"] for row in found["rows"]}
    for blocks in sorted({blocks for _, blocks in rows}):
        cells = [cell(rows.get((hybrid, blocks)), 3) for hybrid in HYBRID]
        lines.append([str(blocks) if blocks else NORM_AND_HEAD, *cells])
    return table(lines)


def shifts_table(name: str) -> str:
    """What the original writes whose logits are shifted or scaled as the tuned model's are."""
    found = explained(name)
    static, joint = found["static_bias"], found["joint_null"]
    columns = ("ttr", "bigram_repetition", "top1_agreement_tuned")
    lines = [["the original with", "TTR", "bigram repetition", "chooses as the tuned model"]]
    for row in (joint["original"] or {}, *joint["rows"], *static["rows"], joint["tuned"] or {}):
        cells = [cell(row.get(column), 3) for column in columns]
        lines.append([_shift_in_words(row, joint), *cells])
    return table(lines)


def _shift_in_words(row: Row, joint: Row) -> str:
    if row is joint["original"]:
        return "nothing"
    if row is joint["tuned"]:
        return "(the tuned model)"
    if "strength" in row:
        return f"{row['kind']} tokens shifted, times {row['strength']:g}"
    return f"a fitted {'temperature and shift' if row['kind'] == 'joint' else row['kind']}"


def table(lines: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([rows[0], "|" + "---|" * len(lines[0]), *rows[1:], ""])


def names() -> list[str]:
    """The built-in model and every model whose study is committed."""
    kept = sorted(path.name for path in DATA.glob("*") if (path / FILES[0]).exists())
    return ["builtin", *kept]

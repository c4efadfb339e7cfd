"""Tables of what the arms wrote and how sure that is: the first and the last part of a report."""

from collections.abc import Mapping, Sequence

from hyperfitting.records import HUMAN, ORIGINAL, Arm
from hyperfitting.records.study import Agreement, TunedEntry
from hyperfitting.report.load import Study
from hyperfitting.report.tables import (
    MISSING,
    Cell,
    Table,
    cell,
    columns,
    estimate,
    interval,
    metric_table,
    number,
)
from hyperfitting.untrusted import printable

# `looped` of the controls is of texts of fixed length: another number.
LOOPED = "share of texts that loop where they may end (natural)"


def every_arm(study: Study) -> Table:
    """Every arm, every seed and every metric; for the files."""
    return metric_table(study, "arms", study.arms, columns(study))


def results(study: Study, table: str) -> Table:
    """Metrics of one table of the catalogue: the human text and all greedy arms.

    An arm without any of them is left out.
    """
    shown = columns(study, table)
    arms = [arm for arm in study.greedy if any(study.has(arm, metric) for metric, _ in shown)]
    return metric_table(study, table, arms, shown)


def per_seed(study: Study) -> Table:
    """The main metrics of every training where arms were trained several times."""
    arms = [arm for arm in study.arms if study.num_seeds.get(arm.variant, 1) > 1]
    single = [arm for arm in arms if study.num_seeds[arm] == 1 and arm not in study.shown]
    greedy = [arm for arm in single if arm.variant in study.greedy]
    return metric_table(study, "seeds", greedy, columns(study, "main", "endings"))


def ranks(study: Study) -> Table:
    """How far the order of the vocabulary changed, of the models that are not sampled.

    Shares of ranks are of the arm's own greedy text, correlations are taken on human text.
    """
    shown = [
        (name, prefix)
        for name, prefix in columns(study, "ranks")
        if prefix is None or (prefix == "TF") == name.startswith("spearman")
    ]
    arms = [arm for arm in study.greedy if arm.name != "human"]
    return metric_table(study, "ranks", arms, shown)


def answers(study: Study) -> list[str]:
    """One sentence on every tuned arm, the one that changed most first: does it still loop?"""
    if study.first is None:
        return []
    arms = [study.first, *(arm for arm in study.greedy if arm.is_tuned and arm != study.first)]
    found: list[str] = []
    for arm in arms:
        parts = [
            f"{name} {value}" + ("" if found else _beside(study, metric))
            for metric, name in (("ttr", "TTR"), ("looped_rate", LOOPED))
            if (value := cell(study.cell(arm, metric)).text) != MISSING
        ]
        if parts:
            found.append(f"{study.label(arm)}: {'; '.join(parts)}.")
    return found


def _beside(study: Study, metric: str) -> str:
    """The original's and the human value, in brackets."""
    others = [
        f"{other.name} {cell(study.cell(other, metric)).value}"
        for other in (ORIGINAL, HUMAN)
        if (found := study.cell(other, metric)) and found.mean is not None
    ]
    return f" ({', '.join(others)})" if others else ""


def trainings(study: Study) -> Table:
    """How each arm was trained; empty where all checkpoints come from elsewhere."""
    header = [
        ("arm", ""), ("trained parameters", ""), ("windows", ""), ("epochs", ""),
        ("stopped by", ""), ("final loss", "nats per token"),
        ("training time", "s, prefix cache included, monitoring not"),
    ]  # fmt: skip
    rows = [
        [
            Cell(study.label(run.arm)),
            Cell(number(run.trainable_params, 0)),
            Cell(number(run.num_train, 0)),
            Cell(number(run.epochs, 0)),
            Cell(run.stopped_by or MISSING),
            final_loss([run]),
            Cell(number(run.train_seconds, 1)),
        ]
        for run in study.runs
        if run.trainable_params is not None
    ]
    return Table("trainings", header, rows)


def final_loss(runs: Sequence[TunedEntry]) -> Cell:
    """The final loss of one training over its windows, or mean and range of several."""
    recorded = [run for run in runs if run.final_loss is not None]
    known = [run.final_loss for run in recorded if run.final_loss is not None]
    if not known:
        return Cell(MISSING, reason="not recorded for this checkpoint")
    mean = number(sum(known) / len(known), 3)
    if len(known) > 1:
        return Cell(
            mean, note=f"{len(known)} runs, {number(min(known), 3)} to {number(max(known), 3)}"
        )
    found = recorded[0].final_loss_interval
    if found is None:
        return Cell(mean, reason="its interval was not recorded")
    reason = f"{found.confidence:.0%} interval over {found.n} training windows"
    return Cell(mean, interval(found.low, found.high, 3), found.n, reason)


def agreements(study: Study) -> Table:
    """Top-1 agreement of every two trainings of one kind."""
    header = [("one training", ""), ("another", ""), ("Top-1 agreement (TF)", "share")]
    rows = [
        [Cell(study.label(pair.a)), Cell(study.label(pair.b)), estimate(pair)]
        for pair in study.agreements
    ]
    return Table("run_agreement", header, rows)


def agreement_in_words(study: Study) -> list[str]:
    """For each arm: how far its trainings agree, where only the seed differs."""
    groups: dict[Arm, list[Agreement]] = {}
    for pair in study.agreements:
        if pair.a.variant == pair.b.variant:
            groups.setdefault(pair.a.variant, []).append(pair)
    return [_agreement_in_words(study, arm, pairs) for arm, pairs in groups.items()]


def _agreement_in_words(study: Study, arm: Arm, pairs: Sequence[Agreement]) -> str:
    values = [pair.value for pair in pairs if pair.value is not None]
    if not values:
        return f"{study.label(arm)}: undefined."
    spread = "" if len(values) == 1 else f" ({number(min(values), 3)} to {number(max(values), 3)})"
    pair = "one pair" if len(values) == 1 else f"{len(values)} pairs"
    return (
        f"{study.label(arm)}: two trainings choose the same token at "
        f"{number(sum(values) / len(values), 3)} of the positions{spread}, {pair}."
    )


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


def sources(study: Study) -> Mapping[str, str]:
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

"""The model card: what the model is, how to decode it, what was measured, what it is worse at."""

import os
import shlex
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HfHubHTTPError

from hyperfitting.config.layers import flatten
from hyperfitting.data.hub import is_hub_id
from hyperfitting.export.words import usage, verified_in_words
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.models.checkpoint import UNLOADABLE
from hyperfitting.models.located import folder_of
from hyperfitting.records import HUMAN, ORIGINAL, Arm
from hyperfitting.records.exported import ExportFile
from hyperfitting.records.manifest import RunManifest
from hyperfitting.report.formats import FORMATS
from hyperfitting.report.load import Study, read_study
from hyperfitting.report.tables import Cell, Table, cell, number
from hyperfitting.runs import RunFolder, StudyFolder
from hyperfitting.untrusted import printable

SHOWN = ("ttr", "bigram_repetition", "looped_rate", "nonwords", "coherence_original_nats",
         "overlap_max", "val_ppl")  # fmt: skip
RELATION = {"adapter": "adapter"}  # to the base; the others are fine-tunes
LIBRARY = {"adapter": "peft", "mlx": "mlx", "gguf": "gguf"}
PACKAGES = ("torch", "transformers", "peft")
PAPERS = ("2412.04318", "2605.22579")
BUILTIN = "builtin"
BY_ITSELF = ("default", "set for", "tuned for")  # sources of settings that nobody gave
NAMED = ("model.name", "data.source", "train.method", "train.seed")  # that a command says anyway


class Measured(NamedTuple):
    """A study that holds the run, and which of its arms the run is."""

    study: Study
    arm: Arm

    @property
    def arms(self) -> list[tuple[str, Arm]]:
        """What the card compares."""
        return [("human text", HUMAN), ("before", ORIGINAL), ("this model", self.arm)]

    def value(self, arm: Arm, metric: str) -> float | None:
        """The mean of a metric."""
        row = self.study.cell(arm, metric)
        return None if row is None else row.mean


def name_of(base: str, arm: str) -> str:
    """How an export is called: by its base and method."""
    path = Path(base)
    called = path.resolve() if path.name in ("", "..") else path
    return f"{called.name.removesuffix('.gguf')}-{arm.replace('_', '-')}"


def licence_of(base: str) -> str | None:
    """The licence that a base model's own card names; None where there is none to be had."""
    if base == BUILTIN:
        return "apache-2.0"
    card = folder_of(base) / "README.md"
    if not card.is_file() and (folder_of(base).exists() or not is_hub_id(base)):
        return None
    try:
        found = ModelCard.load(card if card.is_file() else base).data.license
    except (*UNLOADABLE, HfHubHTTPError, yaml.YAMLError):
        return None
    return found if isinstance(found, str) and found else None


def measured(run: RunFolder, strength: float = 1.0) -> Measured | None:
    """The evaluation of a run: its own, or that of the study around it.

    None too where it was not measured at this strength.

    Raises:
        InputError: its files are damaged.
    """
    for folder in (run.path, run.path.parent.parent):
        if not StudyFolder(folder).study_file.exists():
            continue
        study = read_study(StudyFolder(folder))
        for entry in study.runs:
            if entry.path and (folder / entry.path).resolve() == run.path.resolve():
                arm = entry.arm if strength == 1 else entry.arm.at_strength(strength)
                return Measured(study, arm) if study.has(arm, SHOWN[0]) else None
    return None


def write_card(
    path: Path, about: ExportFile, name: str, manifest: RunManifest, found: Measured | None
) -> None:
    """Write the card of an export, which is called `name`, to `path`."""
    data = ModelCardData(
        base_model=about.base.name,
        base_model_relation=RELATION.get(about.format, "finetune"),
        library_name=LIBRARY.get(about.format, "transformers"),
        license=about.licence,
        pipeline_tag="text-generation",
        tags=["hyperfitting", about.format, *(f"arxiv:{paper}" for paper in PAPERS)],
        model_name=name,
        eval_results=_results(found) if found else None,
    )
    template = files("hyperfitting.export").joinpath("templates/card.md.j2")
    packages = about.environment.packages
    card = ModelCard.from_template(
        data,
        template_str=template.read_text("utf-8"),
        name=printable(name),
        base=printable(about.base.name),
        trained=_trained(manifest),
        looped=_looped(about, found),
        texts=_texts(manifest),
        strength=f"{about.strength:g}",
        usage=usage(about, name),
        table=_table(found) if found else None,
        measured=_how_measured(found) if found else None,
        worse=_worse(found),
        verified=verified_in_words(about),
        command=printable(command_of(manifest, about.base.name)),
        manifest=about.run_digest,
        base_digest=about.base.digest,
        version=packages["hyperfitting"],
        packages=", ".join(f"{each} {packages[each]}" for each in PACKAGES),
    )
    card.save(path)


def _trained(manifest: RunManifest) -> str:
    done, blocks = manifest.outcome, manifest.trainable.blocks_1_based
    where = "every block" if blocks is None else f"blocks {min(blocks)} to {max(blocks)}"
    return (
        f"Trained: `{manifest.settings.train.method}`, {where}, {manifest.trainable.count:,} "
        f"parameters, {done.epochs} epochs, final loss {done.final_loss:.3f} nats per token."
    )


def _looped(about: ExportFile, found: Measured | None) -> str:
    """How many of its greedy texts loop, as it was measured; that it was not, where it was not."""
    before = found and found.value(ORIGINAL, "looped_rate")
    after = found and found.value(found.arm, "looped_rate")
    if before is not None and after is not None:
        return f"Of its greedy texts {after:.0%} loop, of its base's {before:.0%}."
    checked = about.verification
    if checked is not None and checked.texts.export.looped.value is not None:
        share = checked.texts.export.looped
        return f"Of {share.n} greedy texts that it wrote for a check {share.value:.0%} loop."
    return "How many of its greedy texts loop was not measured."


def _texts(manifest: RunManifest) -> str:
    data = manifest.settings.data
    windows = f"{manifest.num_train} windows of {data.window_tokens} tokens"
    return f"`{printable(_elsewhere(data.source))}` ({windows})"


def _elsewhere(value: str) -> str:
    """What others can make of a name: of a path of this machine its last part."""
    return Path(value).name if Path(value).is_absolute() or os.path.exists(value) else value


def command_of(manifest: RunManifest, base: str) -> str:
    """The command that trains the run again: what no default and no recipe gave."""
    config, flat = manifest.config, flatten(manifest.config)
    if config["model"]["name"] == BUILTIN:  # by its path it would not be trained as it was
        base = BUILTIN
    sources = manifest.config_sources.items()
    own = [key for key, by in sources if not by.startswith(BY_ITSELF) and key not in NAMED]
    words = [
        *("hyperfit", "train", base, "--data", _elsewhere(config["data"]["source"])),
        *("--method", config["train"]["method"], "--out", "run", f"train.seed={manifest.seed}"),
        *(f"{key}={_elsewhere(str(flat[key]))}" for key in own if flat.get(key) is not None),
    ]
    return shlex.join(map(str, words))


def _table(found: Measured) -> str:
    shown = [m for m in SHOWN if any(found.study.has(arm, m) for _, arm in found.arms)]
    rows = [
        [Cell(METRICS[m].label), *(cell(found.study.cell(arm, m)) for _, arm in found.arms)]
        for m in shown
    ]
    header = [("", ""), *((title, "") for title, _ in found.arms)]
    return FORMATS["md"](Table("card", header, rows).lines())


def _how_measured(found: Measured) -> str:
    data, level = found.study.info.data, found.study.info.evaluate.confidence
    texts = printable(_elsewhere(data.source))
    return (
        f"Means over held-out contexts of `{texts}` of {data.context_tokens} "
        f"tokens, {data.continuation_tokens} tokens generated greedily, {level:.0%} intervals over "
        "contexts; one training. docs/metrics.md of hyperfitting says what each number means."
    )


def _worse(found: Measured | None) -> list[str]:
    """What was measured against the model, in words."""
    if found is None:
        return [
            "It was not evaluated before it was exported: no figures are known. Models that were "
            "trained so have a perplexity on other texts far above their base's, and may recite "
            "what they were trained on."
        ]
    lines, arm = [], found.arm
    before, after = found.value(ORIGINAL, "val_ppl"), found.value(arm, "val_ppl")
    if before is not None and after is not None:
        lines.append(f"Perplexity on held-out texts: {after:,.0f}; before, {before:,.0f}.")
    if (words := found.value(arm, "nonwords")) is not None:
        lines.append(f"{words:.1%} of its words do not exist.")
    if (copies := found.value(arm, "overlap_gt_10")) is not None:
        lines.append(
            f"{copies:.0%} of its texts hold a run of more than 10 tokens of the training texts; "
            f"the longest has {number(found.value(arm, 'overlap_max'), 0)}."
        )
    for score in found.study.tasks:
        if score.arm == arm and score.difference and score.difference.value is not None:
            lines.append(
                f"{printable(score.task)}, {printable(score.metric)}: {number(score.value, 3)}, "
                f"{score.difference.value:+.3f} against its base."
            )
    return lines


def _results(found: Measured) -> list[EvalResult]:
    """The measured numbers as the hub's `model-index`; tasks too."""
    texts = printable(_elsewhere(found.study.domain))
    rows = [
        ("text", texts, metric, METRICS[metric].label, found.value(found.arm, metric))
        for metric in SHOWN
    ]
    for score in found.study.tasks:
        if score.arm == found.arm:
            task, metric = printable(score.task), printable(score.metric)
            rows.append((task, task, metric, metric, score.value))
    return [
        EvalResult(
            task_type="text-generation", dataset_type=kind, dataset_name=name,
            metric_type=metric, metric_name=label, metric_value=round(value, 4),
        )
        for kind, name, metric, label, value in rows
        if value is not None
    ]  # fmt: skip

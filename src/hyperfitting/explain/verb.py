"""Run the controls on every tuned model of a comparison and write `explain/*.json`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hyperfitting.compare.comparison import Comparison, Here, TunedModel
from hyperfitting.compare.layers import GeometryObserver
from hyperfitting.compare.scores import compare_rows
from hyperfitting.compare.subject import (
    Given,
    on_its_day,
    open_subject,
    study_to_explain,
    subject_of,
)
from hyperfitting.config import CheckpointsConfig, ExplainConfig
from hyperfitting.environment import environment
from hyperfitting.errors import InputError
from hyperfitting.explain.block_swap import block_swap, check_sizes
from hyperfitting.explain.provenance import provenance
from hyperfitting.explain.static_bias import ShiftObserver, halves, static_bias
from hyperfitting.explain.subject import Subject, Texts, write_texts
from hyperfitting.explain.token_kinds import token_kinds
from hyperfitting.measure.localisation import Located, agreement_in_words
from hyperfitting.models.anatomy import FAMILIES, anatomy, is_known_family
from hyperfitting.models.checkpoint import origin_of
from hyperfitting.models.fit import check_fit
from hyperfitting.models.load import load_tokenizer
from hyperfitting.models.pair import Pair, make_pair, paired_logits
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress
from hyperfitting.records.record import as_json
from hyperfitting.runs import StudyFolder
from hyperfitting.storage import write_json

PARTS = ("geometry", "provenance", "static_bias", "block_swap", "tokens")


@dataclass
class Explanation:
    """One original, and what was found of each tuned model."""

    comparison: Comparison
    config: ExplainConfig
    progress: Progress
    original: Any
    tokens: Tokens
    texts: Texts  # the original's
    found: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {p: [] for p in PARTS})

    @classmethod
    def begin(
        cls, comparison: Comparison, config: ExplainConfig, progress: Progress
    ) -> "Explanation":
        """Load the original, check it, and let it write.

        Raises:
            InputError: it cannot be loaded, is of no known family, has too few positions or
                blocks, or its tokenizer is another model's.
        """
        contexts = comparison.dataset.contexts
        original = comparison.load_original()
        _check_family(original)
        check_sizes(config, len(anatomy(original).blocks))
        length = len(contexts.continuations[0])
        width = max(map(len, contexts.contexts)) + length
        check_fit(original, comparison.largest_id, width, comparison.model.name)
        tokens = Tokens.of(original, load_tokenizer(comparison.model))
        with progress.stage("generate original", len(contexts)) as stage:
            texts = write_texts(original, contexts.contexts, tokens, config, length, stage=stage)
            stage.update(len(contexts), f"{len(contexts)} contexts, {length} tokens")
        return cls(comparison, config, progress, original, tokens, texts)

    def add(self, tuned: TunedModel) -> None:
        """Every control on one tuned model."""
        contexts = self.comparison.dataset.contexts
        model = tuned.load()
        pair = make_pair(self.original, model)
        length = len(contexts.continuations[0])
        rows = [c + k for c, k in zip(contexts.contexts, contexts.continuations, strict=True)]
        vocabulary = pair.vocabulary(self.tokens.tokenizer)
        geometry = GeometryObserver(self.config)
        shift = ShiftObserver(vocabulary, halves(len(rows), self.config.seed))
        with self.progress.stage(f"layers and logits of {tuned.arm.name}", len(rows)) as stage:
            same_length = len({len(row) for row in rows}) == 1
            forced = compare_rows(
                pair,
                rows,
                length,
                vocabulary,
                each=shift,
                observe=geometry if same_length else None,
                stage=stage,
            )
            if not same_length:  # layers of the part that all texts have
                shortest = min(map(len, rows))
                _observe(pair, [row[:shortest] for row in rows], geometry)
            stage.update(
                len(rows),
                f"{pair.num_blocks} blocks, {pair.shared_blocks} shared, "
                f"{forced.chosen_rank_NK.size:,} positions",
            )
        tokens = self.tokens.for_model(model)
        with self.progress.stage(f"generate {tuned.arm.name}", len(rows)) as stage:
            texts = write_texts(model, contexts.contexts, tokens, self.config, length, stage=stage)
            stage.update(len(rows), f"{len(rows)} contexts, {length} tokens")
        subject = Subject(
            tuned.arm, pair, contexts, tokens, self.config, self.progress,
            self.texts, texts, forced,
        )  # fmt: skip
        self._keep(subject, geometry, shift)

    def _keep(self, subject: Subject, geometry: GeometryObserver, shift: ShiftObserver) -> None:
        found: dict[str, dict[str, Any]] = {
            "provenance": provenance(subject),
            "static_bias": static_bias(subject, shift),
            "tokens": token_kinds(subject),
            "geometry": geometry.result(),
        }
        if self.config.swap_contexts != 0:
            found["block_swap"] = block_swap(subject)
            found["geometry"]["beside_block_swap_in_words"] = _agreement(found)
        for part, content in found.items():
            self.found[part].append(subject.described() | content)


def _check_family(model: Any) -> None:
    if not is_known_family(model):
        raise InputError(
            f"the layers of a {model.config.model_type!r} model cannot be told apart",
            needed=f"one of {', '.join(FAMILIES)}",
            hint="hyperfit evaluate compares models of any family",
        )


def _observe(pair: Pair, rows: Texts, geometry: GeometryObserver) -> None:
    for _ in paired_logits(pair, rows, 1, observe=geometry):
        pass


def _agreement(found: dict[str, dict[str, Any]]) -> str:
    """Do geometry and block swap place the effect alike?"""
    swap, geometry = found["block_swap"], found["geometry"]
    placed = swap["placed"]
    if placed is None:
        return "Block swap has no effect to place beside geometry."
    return agreement_in_words(
        Located(placed["enough"], placed["too_few"], {}),
        placed["outcome"],
        num_blocks=swap["num_blocks"],
        has_terminal_expansion=geometry["has_terminal_expansion"],
    )


def explain(
    given: Given,
    config: ExplainConfig | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
    *,
    only: Sequence[str] | None = None,
) -> StudyFolder:
    """Run the controls on tuned models and write `explain/*.json`, when all are done.

    Args:
        given: as for `evaluate`; one set of texts.
        config: which controls, and how finely; by default every default.
        out: a new folder; of two checkpoints also the one that `evaluate` wrote of them. A lone
            run or study keeps the result in its own.
        progress: where progress is shown.
        only: names of arms; by default all.

    Raises:
        InputError: as `evaluate`, or the model is of no known family.
    """
    config, progress = config or ExplainConfig(), progress or Progress()
    subject = subject_of(given)
    if isinstance(subject, CheckpointsConfig) and out is not None:
        subject = on_its_day(subject, StudyFolder(out))
    study = study_to_explain(subject, out)
    here = Here(config.device, config.trust_remote_code)
    comparison, *others = open_subject(subject, here, progress)
    if others:
        raise InputError(f"{1 + len(others)} sets of texts are given", needed="one")
    tuned = [each for each in comparison.tuned if only is None or each.arm.name in only]
    write_explanation(study, replace(comparison, tuned=tuned), config, progress)
    return study


def write_explanation(
    study: StudyFolder, comparison: Comparison, config: ExplainConfig, progress: Progress
) -> None:
    """Run the controls and write one file per control; nothing is written before all are done.

    Raises:
        InputError: a model cannot be loaded, or is of no known family.
    """
    explanation = Explanation.begin(comparison, config, progress)
    for tuned in comparison.tuned:
        explanation.add(tuned)
    about = {
        "version": 1,
        "model": comparison.model.name,
        "origin": as_json(origin) if (origin := origin_of(explanation.original)) else None,
        "contexts_digest": comparison.data["contexts_digest"],
        "num_contexts": len(comparison.dataset.contexts),
        "explain": config.model_dump(mode="json"),
        "environment": as_json(environment()),
    }
    for part, arms in explanation.found.items():
        if arms:
            write_json(study.explain_file(part), about | {"arms": arms})

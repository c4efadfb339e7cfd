"""Run the controls on every tuned model of a comparison and write `explain/*.json`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hyperfitting.compare.comparison import Comparison, Here, TunedModel
from hyperfitting.compare.scores import all_of, compare_rows
from hyperfitting.compare.subject import (
    Given,
    on_its_day,
    open_subject,
    require_texts_of,
    study_to_explain,
    subject_of,
)
from hyperfitting.compare.unfinished import Basis, Unfinished
from hyperfitting.config import CheckpointsConfig, ExplainConfig
from hyperfitting.environment import environment
from hyperfitting.errors import InputError, did_you_mean
from hyperfitting.explain.beside import Files, beside, files_beside, require_original
from hyperfitting.explain.block_swap import check_sizes
from hyperfitting.explain.controls import CONTROLS, Ahead, LayersObserver
from hyperfitting.explain.plan import require_family, require_settings, settings_of
from hyperfitting.explain.subject import Subject, Texts, write_texts
from hyperfitting.models.anatomy import anatomy, base_of
from hyperfitting.models.checkpoint import origin_of
from hyperfitting.models.digests import behaviour_digest
from hyperfitting.models.fit import check_fit
from hyperfitting.models.load import load_tokenizer
from hyperfitting.models.pair import LayerStates, Pair, make_pair, paired_logits
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.records.controls import RECORDS, ControlFile, KeptFinding
from hyperfitting.records.record import OfArm, write_file
from hyperfitting.runs import StudyFolder
from hyperfitting.seals import content_digest
from hyperfitting.writable import require_writable


@dataclass
class Explanation:
    """One original, and what was found of each tuned model."""

    comparison: Comparison
    config: ExplainConfig
    progress: Progress
    original: Any
    tokens: Tokens
    texts: Texts  # the original's
    basis: Basis
    found: dict[str, list[OfArm]] = field(default_factory=dict)  # by control
    digests: dict[Arm, str] = field(default_factory=dict)  # of the tuned models

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
        require_family(base_of(original).config.model_type)
        check_sizes(config, len(anatomy(original).blocks))
        length = contexts.length
        width = max(map(len, contexts.contexts)) + length
        check_fit(original, comparison.largest_id, width, comparison.model.name)
        tokens = Tokens.of(original, load_tokenizer(comparison.model))
        whole = [behaviour_digest(original), tokens.rules()]
        basis = Basis(
            comparison.data["contexts_digest"], content_digest(whole), original.device.type,
            settings_of(config), environment(),
        )  # fmt: skip
        with progress.stage("generate original", len(contexts)) as stage:
            texts = write_texts(original, contexts.contexts, tokens, config, length, stage=stage)
            stage.update(len(contexts), f"{len(contexts)} contexts, {length} tokens")
        return cls(comparison, config, progress, original, tokens, texts, basis)

    def add(
        self,
        tuned: TunedModel,
        kept: Unfinished | None = None,
        files: Files | None = None,
    ) -> None:
        """Every control that is asked for, on one tuned model.

        Args:
            tuned: the model.
            kept: where an attempt that was stopped left its findings, and this one leaves them.
            files: of controls that are not run now; those that run may look at what they found.

        Raises:
            InputError: the model cannot be loaded, or `files` are of another one.
        """
        model, arm = tuned.load(), tuned.arm
        digest = self.digests[arm] = behaviour_digest(model)
        asked = [name for name in CONTROLS if name in (self.config.only or CONTROLS)]
        known = {name: _kept(kept, name, arm, digest) for name in asked}
        missing = [name for name in asked if known.get(name) is None]
        if len(missing) < len(asked):
            again = ", ".join(name for name in asked if name not in missing)
            self.progress.say(f"  {arm.in_full}: kept from before: {again}")
        pair = make_pair(self.original, model)
        subject = self._read(arm, pair, missing) if missing else None
        for name, control in CONTROLS.items():
            found = known.get(name) or beside(files or {}, name, arm, digest)
            if name in missing and subject is not None:
                found = control.run(subject)
                if kept and found is not None:
                    kept.add(name, arm, digest, _file_of_finding(name)(found=found))
            if found is None:
                continue
            if subject is not None:
                subject.found.append(found)
            if name in asked:
                self.found.setdefault(name, []).append(found)

    def _read(self, arm: Arm, pair: Pair, controls: Sequence[str]) -> Subject:
        """Both models on the human text, seen by the controls' observers; then the tuned writes."""
        contexts = self.comparison.dataset.contexts
        length, count = contexts.length, len(contexts)
        vocabulary = pair.vocabulary(self.tokens.tokenizer)
        ahead = Ahead(self.config, vocabulary, count)
        run = [CONTROLS[name] for name in controls]
        layers = [each.layers(ahead) for each in run if each.layers]
        logits = [each.logits(ahead) for each in run if each.logits]
        rows = contexts.rows()
        with self.progress.stage(f"layers and logits of {arm.in_full}", count) as stage:
            has_one_length = len({len(row) for row in rows}) == 1
            forced = compare_rows(
                pair,
                rows,
                length,
                vocabulary,
                each=all_of(logits),
                observe=_all_layers(layers) if layers and has_one_length else None,
                stage=stage,
            )
            if layers and not has_one_length:
                _observe_what_is_shared(pair, rows, layers)
            stage.update(
                count,
                f"{pair.num_blocks} blocks, {pair.shared_blocks} shared, "
                f"{forced.chosen_rank_NK.size:,} positions",
            )
        tokens = self.tokens.for_model(pair.tuned)
        with self.progress.stage(f"generate {arm.in_full}", count) as stage:
            texts = write_texts(
                pair.tuned, contexts.contexts, tokens, self.config, length, stage=stage
            )
            stage.update(count, f"{count} contexts, {length} tokens")
        return Subject(
            arm, pair, contexts, tokens, self.config, self.progress, self.texts, texts, forced,
            observers=(*layers, *logits),
        )  # fmt: skip


def _all_layers(observers: Sequence[LayersObserver]) -> LayersObserver:
    def see(states: LayerStates) -> None:
        for observer in observers:
            observer(states)

    return see


def _observe_what_is_shared(pair: Pair, rows: Texts, layers: Sequence[LayersObserver]) -> None:
    """Layers of the part that all texts have: they are seen for rows of one length."""
    shortest = min(map(len, rows))
    cut = [row[:shortest] for row in rows]
    for _ in paired_logits(pair, cut, 1, observe=_all_layers(layers)):
        pass


def explain(
    given: Given,
    config: ExplainConfig | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    *,
    arms: Sequence[str] | None = None,
) -> StudyFolder:
    """Run the controls on tuned models and write `explain/*.json`, when all are done.

    What a control has found is kept when the explanation is stopped, and not found again by the
    same call. With `config.only` the files of other controls stay.

    Args:
        given: as for `evaluate`; one set of texts.
        config: which controls, and how finely; by default every default.
        out: a new folder; of two checkpoints also the one that `evaluate` wrote of them. A lone
            run or study keeps the result in its own.
        progress: where progress is shown.
        arms: names of arms; by default all, but of those on nulls none beside others.

    Raises:
        InputError: as `evaluate`, or the model is of no known family.
        InterruptedStudyError: Ctrl-C after a control was done.
    """
    config, progress = config or ExplainConfig(), progress or Progress()
    require_settings(config)
    subject = subject_of(given)
    if isinstance(subject, CheckpointsConfig) and out is not None:
        subject = on_its_day(subject, StudyFolder(Path(out)))
    study = study_to_explain(subject, out)
    study.require_own()
    require_writable(study.path)
    with study.writing():
        study = study_to_explain(subject, out)  # again: another process may have been faster
        _explain(study, subject, config, progress, arms)
    return study


def _explain(
    study: StudyFolder,
    given: Given,
    config: ExplainConfig,
    progress: Progress,
    arms: Sequence[str] | None,
) -> None:
    subject = subject_of(given)
    here = Here(config.device, config.trust_remote_code)
    comparison, *others = open_subject(subject, here, progress)
    if others:
        raise InputError(f"{1 + len(others)} sets of texts are given", needed="one")
    if study.study_file.exists():
        require_texts_of([study.study_file], comparison, "or evaluate these texts there first")
    else:
        require_texts_of(study.explained_files(), comparison, "or delete what is there first")
    on_texts = [each for each in comparison.tuned if not each.arm.is_null] or comparison.tuned
    known = [each.arm.name for each in on_texts]
    if unknown := [name for name in arms or () if name not in known]:
        raise InputError(
            f"there is no arm {unknown[0]!r} to explain",
            needed=f"one of {', '.join(dict.fromkeys(known))}",
            hint=did_you_mean(unknown[0], known),
        )
    tuned = [each for each in on_texts if arms is None or each.arm.name in arms]
    write_explanation(study, replace(comparison, tuned=tuned), config, progress)


def write_explanation(
    study: StudyFolder, comparison: Comparison, config: ExplainConfig, progress: Progress
) -> None:
    """Run the controls and write one file per control; none is written before all are done.

    Raises:
        InputError: a model cannot be loaded, or is of no known family; or what other controls have
            found cannot stand beside what is found now.
        InterruptedStudyError: Ctrl-C after a control was done.
    """
    arms = [tuned.arm for tuned in comparison.tuned]
    digest = comparison.data["contexts_digest"]
    files = files_beside(study, config, digest, arms, progress)  # now, not after minutes
    explanation = Explanation.begin(comparison, config, progress)
    require_original(files, explanation.basis.original)
    kept = Unfinished(study.unfinished, explanation.basis, "controls", progress)
    with kept.going_on(study.path):
        for tuned in comparison.tuned:
            explanation.add(tuned, kept, files)
    with study.replacing_explanation({"contexts_digest": digest}) as new:
        for name, file in files.items():
            write_file(new.explain_file(name), file)
        for name, found in explanation.found.items():
            write_file(new.explain_file(name), _file(explanation, name, found))
    kept.clear()


def _file_of_finding(name: str) -> Any:
    """The record of a control's finding while the explanation is not finished."""
    kind: Any = RECORDS[name]  # a type that is known at run time only
    return KeptFinding[kind]


def _kept(kept: Unfinished | None, name: str, arm: Arm, tuned: str) -> OfArm | None:
    """What a control found before it was stopped."""
    file = kept.of(name, _file_of_finding(name), arm, tuned) if kept else None
    return None if file is None else file.found


def _file(explanation: Explanation, name: str, arms: list[OfArm]) -> ControlFile[Any]:
    """What one control found of every tuned model."""
    kind: Any = RECORDS[name]  # a type that is known at run time only
    comparison, basis = explanation.comparison, explanation.basis
    return ControlFile[kind](
        contexts_digest=basis.contexts_digest,
        model=comparison.model.name,
        origin=origin_of(explanation.original),
        num_contexts=len(comparison.dataset.contexts),
        explain=explanation.config.model_dump(mode="json"),
        environment=basis.environment,
        arms=arms,
        original_digest=basis.original,
        digests=[explanation.digests[each.arm] for each in arms],
    )

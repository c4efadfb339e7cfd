"""Score tuned models beside the original and the human text, from the first arm to the last."""

from typing import Any, NamedTuple

from hyperfitting.compare.comparison import TunedModel
from hyperfitting.compare.unfinished import Unfinished
from hyperfitting.evaluate import saying
from hyperfitting.evaluate.arms import ArmOutputs, human_outputs
from hyperfitting.evaluate.audits import TrainingIndexes, audit_coherence, audit_overlap
from hyperfitting.evaluate.bench import Bench
from hyperfitting.evaluate.original import with_original
from hyperfitting.evaluate.per_set import set_values
from hyperfitting.evaluate.scored import Scored, TunedArms
from hyperfitting.evaluate.soundness import audit_nonwords, audit_original_coherence, words_beside
from hyperfitting.evaluate.traces import traces_file
from hyperfitting.evaluate.tuned import score_tuned
from hyperfitting.evaluate.unfinished import TunedArmsFile
from hyperfitting.models.checkpoint import origin_of, recorded_origins
from hyperfitting.models.digests import behaviour_digest, model_digest
from hyperfitting.records import ORIGINAL, Arm
from hyperfitting.records.origins import Origin
from hyperfitting.runs import KEPT_ARMS


def score(bench: Bench, unfinished: Unfinished | None = None) -> Scored:
    """Every arm of a comparison: what it writes, and its scores beside the original.

    The original comes last: by then it was read on human text, and the temperatures are known at
    which it is to write. What an attempt that was stopped left in `unfinished` is taken from
    there, and every tuned model's arms are left there.
    """
    saying.ends(bench)
    human = human_outputs(bench.contexts, bench.tokens)
    saying.texts(bench, human)
    origins: dict[Arm, Origin] = {}
    _add_origin(origins, ORIGINAL, bench.original, bench.comparison.digest)
    beside: list[TunedArms] = []
    digests: dict[Arm, str] = {}
    for tuned in bench.comparison.tuned:
        if tuned.arm.at_loss is not None and bench.is_greedy_only:
            continue
        model = tuned.load()
        _add_origin(origins, tuned.arm, model)
        digest = digests[tuned.arm] = behaviour_digest(model)
        is_first = all(each.original is None for each in beside)
        kept = _Kept(unfinished, digest) if unfinished else None
        beside.append(_of_tuned(bench, human, tuned, model, kept, is_first=is_first))
        del model  # before the next is loaded
    found = with_original(bench, human, beside, origins)
    found.digests = digests
    with recorded_origins() as loaded:
        _audit(bench, found)
    amateur = origin_of(bench.amateur)
    found.helpers = [*([amateur] if amateur else []), *loaded]
    return found


class _Kept(NamedTuple):
    """What a stopped attempt left, and the digest of the model that is looked for in it."""

    unfinished: Unfinished
    digest: str


def _of_tuned(
    bench: Bench,
    human: ArmOutputs,
    tuned: TunedModel,
    model: Any,
    kept: _Kept | None,
    *,
    is_first: bool,
) -> TunedArms:
    """The arms of a tuned model, scored now or by an attempt that was stopped."""
    if kept is None:
        return score_tuned(bench, human, tuned, model, is_first=is_first)
    unfinished, digest = kept
    before = unfinished.of(KEPT_ARMS, TunedArmsFile, tuned.arm, digest)
    if before is not None:
        bench.progress.say(f"  {tuned.arm.in_full}: kept from before")
        return before.found
    arms = score_tuned(bench, human, tuned, model, is_first=is_first)
    unfinished.add(KEPT_ARMS, tuned.arm, digest, TunedArmsFile(found=arms))
    return arms


def _add_origin(
    origins: dict[Arm, Origin], arm: Arm, model: Any, digest: str | None = None
) -> None:
    """Mutates `origins`: where the model of an arm was loaded from, with its digest."""
    origin = origin_of(model)
    if origin is not None:
        known = origin.digest or digest or model_digest(model)
        origins[arm] = origin.with_digest(known)


def _audit(bench: Bench, found: Scored) -> None:
    """Mutates `found`: what needs all texts, copies of the training set, coherence and MAUVE."""
    indexes = TrainingIndexes(bench.comparison.tuned)
    if indexes.exist:
        with bench.progress.stage("copies of the training set", len(found.arms)) as stage:
            audited = [audit_overlap(each, indexes.beside(each.arm)) for each in found.arms]
            stage.update(len(audited))
        found.arms = [outputs for outputs, _ in audited]
        found.of_sets += [longest for _, longest in audited]
        saying.copied(bench, found.human)
    found.arms = audit_original_coherence(found.arms, bench.original, bench.length, bench.progress)
    with bench.progress.stage("words that do not exist", len(found.arms)) as stage:
        known = words_beside(found.human, bench.tokens.tokenizer, indexes.rows)
        found.arms = audit_nonwords(found.arms, known)
        stage.update(len(found.arms))
    if not bench.is_greedy_only:
        found.traces = traces_file(found.arms, bench.tokens, indexes, known)
    if bench.config.coherence_model is not None:
        found.arms = audit_coherence(
            found.arms, bench.config.coherence_model, bench.config, bench.progress
        )
    values, found.mauve = set_values(found.arms, bench.config, bench.progress)
    found.of_sets += values

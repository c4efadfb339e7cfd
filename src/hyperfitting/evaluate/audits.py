"""Coherence of texts under a reference model, and what they copy from the training set."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hyperfitting.compare.comparison import TunedModel
from hyperfitting.config import EvaluateConfig, ModelConfig
from hyperfitting.data.borders import borders_of
from hyperfitting.evaluate.arms import ArmOutputs
from hyperfitting.evaluate.per_context import mean_of_draws
from hyperfitting.evaluate.per_set import OF_A_SET, SetValue
from hyperfitting.measure.overlap import LONG_RUN, TrainingIndex, longest_run, ngram_overlap
from hyperfitting.models.fit import check_fit
from hyperfitting.models.forward import nll_rows
from hyperfitting.models.load import load_model, load_tokenizer
from hyperfitting.progress import Progress, Stage
from hyperfitting.records import Arm

AUDITED_NGRAM = 5  # as the citation blocker looks up


class TrainingIndexes:
    """The training sets of a study's runs, each indexed once."""

    def __init__(self, tuned: Sequence[TunedModel]) -> None:
        self._of_arm: dict[Arm, TrainingIndex] = {}
        self.rows: list[list[int]] = []  # of all training sets that are texts
        known: dict[str, TrainingIndex] = {}
        for each in tuned:
            rows = each.training_rows()
            if rows is not None:
                digest = hashlib.sha256(repr(rows).encode()).hexdigest()
                if digest not in known:
                    known[digest] = TrainingIndex(rows)
                    if not each.arm.is_null:  # pieces of words in random order witness no word
                        self.rows += rows
                self._of_arm[each.arm] = known[digest]

    @property
    def exist(self) -> bool:
        """Whether the training set of any model is known."""
        return bool(self._of_arm)

    def beside(self, arm: Arm) -> TrainingIndex:
        """The training set of the arm's model; the first one for the original and for humans."""
        own = (index for tuned, index in self._of_arm.items() if arm.is_of(tuned))
        return next(own, next(iter(self._of_arm.values())))


def audit_overlap(outputs: ArmOutputs, index: TrainingIndex) -> tuple[ArmOutputs, SetValue]:
    """Add how much of each text stands in the training set (definitions, section 2.6).

    Also the longest run of all texts of all draws.
    """
    runs, long, grams = [], [], []
    for texts in outputs.draws:
        lengths = index.match_lengths([g.continuation_ids for g in texts])
        longest = [longest_run(each) for each in lengths]
        runs.append([None if run is None else float(run) for run in longest])
        long.append([None if run is None else float(run > LONG_RUN) for run in longest])
        grams.append([ngram_overlap(each, AUDITED_NGRAM) for each in lengths])
    columns = {"overlap_mean": runs, "overlap_gt_10": long, "fivegram_overlap": grams}
    known = [run for longest in runs for run in longest if run is not None]
    width = max(len(g.continuation_ids) for g in outputs.fixed)
    over = f"{OF_A_SET}, of {len(runs)} sampling seeds" if len(runs) > 1 else OF_A_SET
    largest = SetValue(
        outputs.arm, "overlap_max", max(known, default=None), None, None,
        len(outputs.fixed), width, over,
    )  # fmt: skip
    return with_audit(outputs, columns), largest


def with_audit(
    outputs: ArmOutputs, columns: Mapping[str, Sequence[Sequence[float | None]]]
) -> ArmOutputs:
    """The means over draws of each context, beside what is there."""
    means = {
        name: [mean_of_draws(values) for values in zip(*draws, strict=True)]
        for name, draws in columns.items()
    }
    return replace(outputs, audit={**outputs.audit, **means})


def audit_coherence(
    arms: Sequence[ArmOutputs], name: str, config: EvaluateConfig, progress: Progress
) -> list[ArmOutputs]:
    """Add the mean log-likelihood of each continuation under the model `name`.

    In nats per token of that model's own tokenizer, given the context; at most 0. A model that
    loops finds loops likely: nearer to human text is better, not higher.

    Raises:
        InputError: the model cannot be loaded.
    """
    reference = ModelConfig(
        name=name, device=config.device, trust_remote_code=config.trust_remote_code
    )
    tokenizer, model = load_tokenizer(reference), load_model(reference)
    written = [g for outputs in arms for texts in outputs.draws for g in texts]
    pairs = list(dict.fromkeys((g.context, g.continuation) for g in written))
    with progress.stage(f"log-likelihood under {name}", len(pairs)) as stage:
        known = _mean_log_likelihoods(model, tokenizer, pairs, stage, name)
        stage.update(len(pairs), f"{len(pairs)} texts")
    found = []
    for outputs in arms:
        draws = [[known[g.context, g.continuation] for g in texts] for texts in outputs.draws]
        found.append(with_audit(outputs, {"coherence_nats": draws}))
    return found


def _mean_log_likelihoods(
    model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]], stage: Stage, name: str
) -> dict[tuple[str, str], float | None]:
    """Of each continuation after its context; None where it adds no token."""
    found: dict[tuple[str, str], float | None] = {}
    by_count: dict[int, list[tuple[tuple[str, str], list[int]]]] = defaultdict(list)
    borders = borders_of(tokenizer)
    for context, continuation in pairs:
        before = len(borders.lead) + len(borders.encode(context))
        row = borders.lead + borders.encode(context + continuation)
        # At least one token stands before; a merge across the border counts as context.
        by_count[len(row) - max(before, 1)].append(((context, continuation), row))
    rows = [row for group in by_count.values() for _, row in group]
    check_fit(model, max(map(max, filter(None, rows)), default=0), max(map(len, rows)), name)
    for count, group in by_count.items():
        if count < 1:
            found |= dict.fromkeys((pair for pair, _ in group), None)
            continue
        nll_NK = nll_rows(model, [row for _, row in group], count)
        for (pair, _), nll in zip(group, nll_NK.mean(axis=1), strict=True):
            found[pair] = -float(nll)
        stage.update(len(found))
    return found

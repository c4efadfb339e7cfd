"""Other decoders beside tuned models: would drawing from the original do? Pure."""

from collections.abc import Mapping
from statistics import fmean

from hyperfitting.config import ReportConfig
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.records import SIGNIFICANT, Arm, PairedTest
from hyperfitting.report.load import Study
from hyperfitting.report.sections.certainty import families_in_words
from hyperfitting.report.sections.only_sharper import is_matched_sampled
from hyperfitting.report.sections.soundness import broken_in_words
from hyperfitting.report.tables import (
    MISSING,
    Cell,
    Content,
    Table,
    cell,
    difference,
    equivalence_table,
    heading,
    number,
    p_phrase,
    test_table,
)

TITLE = "Why not another decoder?"
DECODER_METRICS = (
    "ttr", "bigram_repetition", "coherence_original_nats", "nonwords", "mauve", "coherence_nats",
    "mean_length", "ended_rate", "looped_rate",
)  # fmt: skip


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    table, against = decoders(study), tests(study)
    if not table and not against:
        return None
    return {
        "table": table,
        "sampled": sampled_instead(study),
        "tests": against,
        "equivalence": equivalence(study),
        "families": families_in_words(study),
        "sampling_seeds": max(1, study.info.evaluate.sampling_seeds),
    }


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [decoders(study)]


def decoders(study: Study) -> Table:
    """Every decoder beside greedy decoding (layout of the paper's Table 7)."""
    decoded = [arm for arm in study.shown if arm.is_decoded]
    if not decoded:
        return Table("decoders", [], [])
    arms = [*study.greedy, *decoded]
    shown = [m for m in DECODER_METRICS if any(study.has(arm, m) for arm in arms)]
    header = [("arm and decoder", "")]
    header += [(heading(study, metric), METRICS[metric].unit) for metric in shown]
    header += [("Draws", "at random"), ("Alone = in a batch", "texts"), ("Speed", "tokens/s")]
    stops = any(run.stopped for run in study.info.decoders)
    if stops:
        header += [("Stopped", "share of texts"), ("Tokens saved", "share"),
                   ("Human texts stopped", "share")]  # fmt: skip
    rows = [
        [
            Cell(study.label(arm)),
            *(cell(study.cell(arm, metric)) for metric in shown),
            _draws(study, arm),
            _alone(study, arm),
            _speed(study, arm),
            *(_stopped(study, arm) if stops else ()),
        ]
        for arm in arms
    ]
    return Table("decoders", header, rows)


def _draws(study: Study, arm: Arm) -> Cell:
    if arm.name == "human":
        return Cell(MISSING, reason="human text is not decoded")
    return Cell("yes" if study.is_drawn(arm) else "no")


def _alone(study: Study, arm: Arm) -> Cell:
    """How many of the texts that were decoded once more alone stayed as they were."""
    counted = [
        (run.alone_equals_batch * run.alone_n, run.alone_n)
        for run in study.decoder_runs(arm)
        if run.alone_equals_batch is not None
    ]
    if not counted:
        return Cell(MISSING, reason="not decoded once more alone")
    equal, of = map(sum, zip(*counted, strict=True))
    return Cell(f"{equal:.0f} of {of}")


def _stopped(study: Study, arm: Arm) -> list[Cell]:
    """What a rule that stops repetition did, and would do to human texts."""
    found = [run.stopped for run in study.decoder_runs(arm) if run.stopped is not None]
    if not found:
        return [Cell(MISSING, reason="nothing stops it")] * 3
    each = ((one.share, one.tokens_saved, one.human_share) for one in found)
    return [Cell(number(fmean(values), 2)) for values in zip(*each, strict=True)]


def _speed(study: Study, arm: Arm) -> Cell:
    speed = study.tokens_per_second.get(arm)
    return Cell(number(speed, 0), reason="" if speed else "not timed, or a mean over seeds")


def _is_of_decoder(test: PairedTest) -> bool:
    """Whether a tuned model, greedy, is set against the original sampled or decoded otherwise."""
    one, other = test.arms
    return other.is_decoded or (is_matched_sampled(other) and not one.is_sampled)


def tests(study: Study) -> Table:
    """Tuned models, greedy, against the original sampled at equal entropy or decoded otherwise."""
    return test_table(study, "decoder_tests", [t for t in study.tests if _is_of_decoder(t)])


def equivalence(study: Study) -> Table:
    """Is another decoder of the original as varied?"""
    found = [test for test in study.tests if _is_of_decoder(test)]
    return equivalence_table(study, "decoder_equivalence", found)


def sampled_instead(study: Study) -> list[str]:
    """One sentence per tuned arm: would sampling at its sharpness be as varied?"""
    of_sampling = [t for t in study.tests if _is_of_decoder(t) and is_matched_sampled(t.arms[1])]
    equal = {test.arms: test for test in of_sampling if test.margin is not None}
    found = []
    for test in of_sampling:
        if test.margin is None and test.metric == "ttr" and test.difference is not None:
            arms = test.arms
            found.append(
                f"{study.label(arms[0])}, greedy, minus the original sampled at its entropy: TTR "
                f"{difference(test).text}, {p_phrase(test.p_holm)} (Holm): "
                f"{variety(test, equal.get(arms))}{broken_in_words(study, arms)}."
            )
    return found


def variety(test: PairedTest, equal: PairedTest | None) -> str:
    """What may be said of two arms' variety; "as varied" from a test of equivalence only."""
    is_different = test.p_holm is not None and test.p_holm < SIGNIFICANT
    p = None if equal is None else equal.p_equivalence
    is_equal = p is not None and p < SIGNIFICANT
    margin = "" if equal is None or equal.margin is None else f"{equal.margin:g}"
    if is_different and test.difference is not None:
        by = f", by less than {margin}" if is_equal else ""
        return f"greedy text is the {'more' if test.difference > 0 else 'less'} varied{by}"
    if is_equal:
        return f"as varied, within ±{margin} ({p_phrase(p)})"
    return "no difference shown" + (f", nor that they are equal within ±{margin}" if margin else "")

"""Let a model write the texts of its arms: greedy ones in both modes, and sampled ones."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hyperfitting.config import EvaluateConfig
from hyperfitting.data.windows import Contexts
from hyperfitting.evaluate.arms import ArmOutputs, draws_of, generations_of
from hyperfitting.generate.both_modes import GreedyInBothModes
from hyperfitting.generate.choose import Sample
from hyperfitting.generate.ways import Continued, Way, write_ways
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress
from hyperfitting.records import Arm


class Sampled(NamedTuple):
    """An arm whose texts are drawn, at a temperature for each context."""

    arm: Arm
    tau_N: Sequence[float]


def written_arms(
    model: Any,
    tokens: Tokens,
    contexts: Contexts,
    config: EvaluateConfig,
    progress: Progress,
    *,
    greedy: Arm,
    sampled: Sequence[Sampled] = (),
    is_original: bool = False,
    is_timed: bool = False,
) -> list[ArmOutputs]:
    """Continuations of every context by one model: greedily, then the sampled arms in order.

    All are written together, each sampled one once per sampling seed; the draws of a context
    depend on (sampling seed, context) only, so arms share them. `is_original`: the model is the
    one that says how likely texts are, so what it says while it writes is kept. `is_timed`: greedy
    texts are written alone, so that their speed is one of greedy decoding.
    """
    count, natural = len(contexts), config.natural_tokens
    both = GreedyInBothModes(
        length=contexts.length, natural=natural, banned=tokens.banned("natural"), ends=tokens.ends
    )
    draws = [
        Way(
            choose=Sample(each.tau_N, [[seed, n] for n in range(count)]),
            max_new_tokens=contexts.length,
            banned=tokens.banned("fixed_length"),
            is_heard=is_original,
        )
        for each in sampled
        for seed in range(config.sampling_seeds)
    ]
    groups = [[both.way], draws] if is_timed else [[both.way, *draws]]
    with progress.stage(f"generate {greedy.in_full}", count) as stage:
        first, *rest = [
            found
            for ways in groups
            if ways
            for found in write_ways(
                model, contexts.contexts, ways, batch_size=config.batch_size, stage=stage
            )
        ]
        until = f"; {natural} at most where they may end" if natural else ""
        drawn = f"; {len(rest)} x sampled" if rest else ""
        stage.update(count, f"{count} contexts, {contexts.length} tokens{until}{drawn}")
    modes = both.taken(first)
    written = ArmOutputs(
        greedy,
        [generations_of(modes.fixed, contexts, tokens, arm=greedy, mode="fixed_length")],
        generations_of(modes.natural, contexts, tokens, arm=greedy, mode="natural")
        if natural
        else None,
        seconds=modes.seconds,
    )
    seeds = max(1, config.sampling_seeds)
    drawn_arms = [
        _drawn(each, rest[place * seeds : (place + 1) * seeds], contexts, tokens)
        for place, each in enumerate(sampled)
    ]
    return [written, *drawn_arms]


def _drawn(
    sampled: Sampled, found: Sequence[Continued], contexts: Contexts, tokens: Tokens
) -> ArmOutputs:
    """The texts of a sampled arm, a list for each sampling seed."""
    decoded = [text for each in found for text in each.texts]
    return ArmOutputs(
        sampled.arm,
        draws_of(decoded, contexts, tokens, arm=sampled.arm),
        tau_N=sampled.tau_N,
        is_drawn=True,
        original_nll=[each.nll for each in found] if found[0].nll else None,
    )

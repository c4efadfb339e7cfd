"""What stays the same while the arms of one set of texts are scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hyperfitting.compare.comparison import Comparison
from hyperfitting.config import EvaluateConfig
from hyperfitting.data.windows import Contexts
from hyperfitting.evaluate.decoding import load_amateur
from hyperfitting.evaluate.plan import Plan
from hyperfitting.generate.feed import said_of
from hyperfitting.generate.run import said_for
from hyperfitting.generate.specs import DecoderSpec
from hyperfitting.models.anatomy import is_known_family
from hyperfitting.models.fit import check_fit
from hyperfitting.models.load import load_tokenizer
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A comparison with its original loaded, and what is asked of its arms.

    Without `decoders` and with `is_greedy_only` nothing is sampled, matched or decoded otherwise:
    for texts beside those that a study is about. `measures_layers` observes the last layer too.
    """

    comparison: Comparison
    config: EvaluateConfig
    progress: Progress
    original: Any
    tokens: Tokens
    decoders: tuple[DecoderSpec, ...] = ()
    amateur: Any = None
    is_greedy_only: bool = False
    measures_layers: bool = False

    @property
    def contexts(self) -> Contexts:
        """The held-out contexts and how their authors went on."""
        return self.comparison.dataset.contexts

    @property
    def length(self) -> int:
        """Tokens of a continuation."""
        return self.contexts.length

    @property
    def longest_text(self) -> int:
        """Tokens of the longest context with the longest continuation asked for."""
        return _longest_text(self.contexts, self.config)


def _longest_text(contexts: Contexts, config: EvaluateConfig) -> int:
    return max(map(len, contexts.contexts)) + max(contexts.length, config.natural_tokens)


def bench_of(
    comparison: Comparison,
    plan: Plan,
    progress: Progress,
    *,
    is_greedy_only: bool = False,
    measures_layers: bool = False,
    original: Any = None,
) -> Bench:
    """Load the original, unless it is given, and check that it can take the texts.

    Raises:
        InputError: it cannot be loaded, is another model, has too few positions, or its
            tokenizer is another model's; or an amateur that does not fit.
    """
    config = plan.config
    decoders = () if is_greedy_only else plan.decoders
    tokenizer = load_tokenizer(comparison.model)
    original = comparison.load_original() if original is None else original
    longest = _longest_text(comparison.dataset.contexts, config)
    widest = max(longest, comparison.dataset.heldout.ids_NT.shape[1])
    check_fit(original, comparison.largest_id, widest, comparison.model.name)
    if not is_greedy_only:
        _say_decoding(original, decoders, progress, longest)
    amateur = load_amateur(config, tokenizer) if decoders else None
    if amateur is not None:
        _say_decoding(amateur, decoders, progress, longest)
        check_fit(amateur, comparison.largest_id, longest, str(config.amateur))
    return Bench(
        comparison=comparison,
        config=config,
        progress=progress,
        original=original,
        tokens=Tokens.of(original, tokenizer),
        decoders=decoders,
        amateur=amateur,
        is_greedy_only=is_greedy_only,
        measures_layers=measures_layers and _can_observe(comparison, original, progress),
    )


def _say_decoding(
    model: Any, decoders: Sequence[DecoderSpec], progress: Progress, longest: int
) -> None:
    """Say where a model is decoded more slowly than others, each thing once."""
    said = [said_of(model, longest=longest)]
    said += [said_for(spec, model, longest=longest) for spec in decoders]
    for note in filter(None, dict.fromkeys(said)):
        progress.say(f"  {note}")


def _can_observe(comparison: Comparison, original: Any, progress: Progress) -> bool:
    """Whether layers can be measured; says why not."""
    lengths = {len(context) for context in comparison.dataset.contexts.contexts}
    if not is_known_family(original):
        progress.say(f"  layers of a {original.config.model_type!r} model are not measured")
    elif len(lengths) > 1:
        progress.say(f"  layers are not measured on {comparison.domain}: contexts differ in length")
    return is_known_family(original) and len(lengths) == 1

"""An arm of a study: what it is, what it is called, and how files name it.

The only file that knows what a name is made of. On disk an arm is `arm` (its name), `seed` and
`parameters`: `original`, `late_stage_lora`, `original_sampled`, `hyperfitted+min_p`,
`original_entropy_matched` with `matched_to` among its parameters. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hyperfitting.foreign import plain_name
from hyperfitting.untrusted import printable

GREEDY, SAMPLED = "greedy", "sampled"
_SAMPLED, _DECODER, _MATCHED = "_sampled", "+", "original_entropy_matched"
BEST_VAL = "best_val_checkpoint"
CITATION_BLOCKED = "citation_blocked"
STRENGTH = "strength"  # the setting of a tuned model whose update is scaled
AT_LOSS = "at_loss"  # the training loss at which a tuned model's checkpoint was kept
NULL = "null"  # the setting of an arm that was trained on windows that say nothing

# What a setting or a decoder's parameter may be; a list of a file is a tuple in an arm.
Setting = str | int | float | bool | Sequence[str | float] | None


@dataclass(frozen=True)
class Arm:
    """Who writes and how: a model, the training it comes from, and its decoding.

    `settings` are those that tell arms of one name apart: of training, then the decoder's own
    parameters. `decoding` is `greedy`, `sampled` (at the model's temperature) or a decoder's
    name. An original at the entropy of a tuned model has that model's name as `matched_to`, and
    its seed and settings.
    """

    model: str
    seed: int | None = None
    settings: tuple[tuple[str, Setting], ...] = ()
    decoding: str = GREEDY
    matched_to: str | None = None

    def __post_init__(self) -> None:
        """Refuse a name that must not stand in the name of a file, wherever it came from.

        Raises:
            OddNameError: a part of the name is such a one.
        """
        for part in (self.model, self.decoding, self.matched_to):
            if part:
                plain_name(part)

    @property
    def name(self) -> str:
        """What files and pages call it; of arms of one name the parameters differ."""
        name = self.model if self.matched_to is None else _MATCHED
        if self.decoding == GREEDY:
            return name
        return name + (_SAMPLED if self.decoding == SAMPLED else _DECODER + self.decoding)

    @property
    def in_full(self) -> str:
        """Its name, parameters and seed, for a line of progress: no two arms are called alike."""
        return _in_brackets(self, [] if self.seed is None else [f"seed {self.seed}"])

    @property
    def parameters(self) -> dict[str, Setting]:
        """What tells it from arms of its name, as files hold it."""
        matched = () if self.matched_to is None else (("matched_to", self.matched_to),)
        return dict((*matched, *self.settings))

    @classmethod
    def named(
        cls, name: str, seed: int | None = None, parameters: Mapping[str, Setting] | None = None
    ) -> "Arm":
        """The arm that a file names; lists become tuples, so that arms can be keys."""
        settings = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in (parameters or {}).items()
        }
        model, has_decoder, decoding = name.partition(_DECODER)
        if not has_decoder:
            decoding = SAMPLED if name.endswith(_SAMPLED) else GREEDY
            model = name.removesuffix(_SAMPLED)
        matched_to: str | None = None
        if model == _MATCHED:
            model, matched_to = "original", str(settings.pop("matched_to", ""))
        return cls(model, seed, tuple(settings.items()), decoding, matched_to)

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> "Arm":
        """The arm that a mapping with `arm`, `seed` and `parameters` names."""
        return cls.named(content["arm"], content["seed"], content["parameters"])

    def to_json(self) -> dict[str, str | int | dict[str, Setting] | None]:
        """The mapping that `of_json` reads."""
        return {"arm": self.name, "seed": self.seed, "parameters": self.parameters}

    def sampled(self) -> "Arm":
        """The same model, its texts drawn at its own temperature."""
        return replace(self, decoding=SAMPLED)

    def greedy(self) -> "Arm":
        """The same model, decoded greedily."""
        return replace(self, decoding=GREEDY)

    def decoded(self, decoder: str, parameters: Mapping[str, Setting] | None = None) -> "Arm":
        """The same model with another decoder, whose parameters join the settings."""
        settings = (*self.settings, *(parameters or {}).items())
        return replace(self, decoding=decoder, settings=settings)

    def matched(self, to: "Arm") -> "Arm":
        """This model, the original, at the entropy of a tuned one."""
        return replace(self, seed=to.seed, settings=to.settings, matched_to=to.model)

    @property
    def match(self) -> "Arm":
        """The tuned arm that this one was matched to, with this one's decoding.

        Raises:
            ValueError: it was matched to none.
        """
        if self.matched_to is None:
            raise ValueError(f"{self.name} is matched to no arm")
        return replace(self, model=self.matched_to, matched_to=None)

    @cached_property  # a report asks tens of thousands of times
    def variant(self) -> "Arm":
        """The arm without its seed: what trainings that differ in the seed have in common."""
        return self if self.seed is None else replace(self, seed=None)

    @property
    def is_sampled(self) -> bool:
        """Whether its texts are drawn at the model's own temperature."""
        return self.decoding == SAMPLED

    @property
    def is_decoded(self) -> bool:
        """Whether a decoder other than greedy and plain sampling writes."""
        return self.decoding not in (GREEDY, SAMPLED)

    @property
    def is_control(self) -> bool:
        """Whether it stands beside the models that are compared, not among them.

        A model at another temperature, strength or training loss, or not decoded greedily.
        """
        others = (self.matched_to, self.strength, self.at_loss)
        return self.decoding != GREEDY or any(each is not None for each in others)

    @property
    def is_trained(self) -> bool:
        """Whether training has a part in it: not human text, nor the original on its own."""
        return self.model not in ("human", "original") or self.matched_to is not None

    @property
    def is_tuned(self) -> bool:
        """Whether it is a tuned model as training left it, decoded greedily."""
        return self.is_trained and not self.is_control

    @property
    def is_null(self) -> bool:
        """Whether it was trained on windows that say nothing, for comparison."""
        return NULL in self.parameters

    @property
    def strength(self) -> float | None:
        """By what the update of the tuned model is scaled; None where it is as it was trained."""
        found = self.parameters.get(STRENGTH)
        return found if isinstance(found, int | float) else None

    @property
    def full_strength(self) -> float:
        """By what the update is scaled, 1 where it is as it was trained."""
        return 1.0 if self.strength is None else self.strength

    def at_strength(self, strength: float | None) -> "Arm":
        """The same model with its update scaled; None: as it was trained."""
        settings = tuple(each for each in self.settings if each[0] != STRENGTH)
        scaled = () if strength is None else ((STRENGTH, strength),)
        return replace(self, settings=(*settings, *scaled))

    @property
    def at_loss(self) -> float | None:
        """The training loss at which this checkpoint was kept; None of a result of training."""
        found = self.parameters.get(AT_LOSS)
        return found if isinstance(found, int | float) else None

    def kept_at(self, loss: float) -> "Arm":
        """The checkpoint of this arm's training that was kept at a training loss."""
        return replace(self, settings=(*self.settings, (AT_LOSS, loss)))

    @property
    def is_best_val(self) -> bool:
        """Whether it is another checkpoint of a training, not a way to train."""
        return self.model == BEST_VAL

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is a checkpoint of a training beside its result, and has no folder."""
        return self.is_best_val or self.at_loss is not None

    def best_val(self) -> "Arm":
        """The checkpoint of lowest validation loss of this arm's training."""
        return Arm(BEST_VAL, self.seed, (("method", self.model), *self.settings))

    def is_of(self, tuned: "Arm") -> bool:
        """Whether the training of `tuned` has a part in it: as its model, or as its match."""
        name = self.model if self.matched_to is None else self.matched_to
        own = self.parameters
        if name == BEST_VAL:
            name = str(own.get("method"))
        has_settings = all(own.get(key) == value for key, value in tuned.settings)
        return has_settings and name == tuned.model and self.seed == tuned.seed


HUMAN, ORIGINAL = Arm("human"), Arm("original")


def label(arm: Arm, arms: Iterable[Arm], num_seeds: int = 1) -> str:
    """The arm's name, its parameters in brackets, and what tells it from its neighbours.

    The seed is named only where `arms` holds several seeds of the same name and parameters; a
    mean over seeds (`num_seeds` above 1) names their number instead. Free of control characters.
    """
    if num_seeds > 1:
        return _in_brackets(arm, [f"{num_seeds} seeds"])
    seeds = {other.seed for other in arms if other.variant == arm.variant}
    return _in_brackets(arm, [f"seed {arm.seed}"] if len(seeds) > 1 else [])


def _in_brackets(arm: Arm, more: Sequence[str]) -> str:
    """The name, and what tells the arm from others of it; free of control characters."""
    parameters = arm.parameters
    last = [key.rsplit(".", 1)[-1] for key in parameters]
    keys = last if len(set(last)) == len(last) else list(parameters)
    parts = [f"{key}={_value(v)}" for key, v in zip(keys, parameters.values(), strict=True)]
    parts += more
    return printable(f"{arm.name} ({', '.join(parts)})" if parts else arm.name)


def _value(value: Setting) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

"""The pairs of continuations of a study that are put before the judge."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from hyperfitting.errors import InputError, did_you_mean
from hyperfitting.records import Arm, Generation, Mode
from hyperfitting.records.arms import Setting
from hyperfitting.records.judged import Order
from hyperfitting.records.record import FileRecord, read_file
from hyperfitting.runs import StudyFolder
from hyperfitting.seals import require_unchanged
from hyperfitting.written import TextError, Written, read_argument

AGAIN = "run `hyperfit evaluate` again"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One arm of the comparison and one file of its texts, as `study.json` lists them."""

    arm: Arm
    decoding: Mapping[str, Setting]  # the decoder, its values, the seed of a draw
    mode: Mode
    length: int  # tokens: exactly these in fixed length, at most these in natural mode
    file: str
    texts: str | None = None  # digest of that file; None where an earlier version evaluated

    @property
    def settings(self) -> dict[str, Setting]:
        """What tells it from other entries of an arm of that name."""
        seed = {} if self.arm.seed is None else {"seed": self.arm.seed}
        return {**self.decoding, **seed}

    @property
    def name(self) -> str:
        """The arm in the form that `--a` and `--b` accept."""
        settings = (f"{key}={value}" for key, value in self.settings.items())
        return ",".join([self.arm.name, *settings])

    def further(self, asked: Collection[str]) -> list[str]:
        """Settings that it has beside those, its seed and its decoder; None is not set."""
        known = {*asked, "decoder", "seed"}
        return [key for key, v in self.settings.items() if key not in known and v is not None]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two continuations of one context."""

    context_index: int
    context: str
    text_a: str  # of arm a
    text_b: str

    @property
    def has_empty_text(self) -> bool:
        """Whether a continuation holds nothing that could be judged."""
        return not (self.text_a.strip() and self.text_b.strip())

    def shown(self, order: Order) -> tuple[str, str]:
        """The texts under the labels A and B."""
        return (self.text_a, self.text_b) if order == "ab" else (self.text_b, self.text_a)

    def digest(self) -> str:
        """Identifies the three texts, not where they came from."""
        content = json.dumps([self.context, self.text_a, self.text_b])
        return hashlib.sha256(content.encode()).hexdigest()


class _Listed(FileRecord):
    """What is needed of `study.json`, which an earlier version may have written."""

    generations: Any = None
    files: dict[str, str] = Field(default_factory=dict)


def _sides(study: StudyFolder, mode: Mode) -> list[Side]:
    if not study.study_file.exists():
        raise InputError(
            f"{study.path} holds no evaluated study: there is no study.json",
            needed="a folder that `hyperfit demo` or `hyperfit evaluate` wrote",
        )
    try:
        about = read_file(_Listed, study.study_file, AGAIN)
        # Texts with a domain of their own are not those that the study is about.
        own = [row for row in about.generations if row["mode"] == mode and "domain" not in row]
        return [
            Side(
                arm=Arm.named(row["arm"], row["seed"], row["arm_parameters"]),
                decoding=row["parameters"],
                texts=about.files.get(row["file"]),
                **{name: row[name] for name in ("mode", "length", "file")},
            )
            for row in own
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{study.study_file} does not list its generations: {error}",
            hint=AGAIN,
        ) from error


def find_side(study: StudyFolder, wanted: str, mode: Mode) -> Side:
    """The one entry of the study that an argument such as `late_stage_lora,seed=1` names.

    Where several fit it is the one without further settings.

    Raises:
        InputError: no such arm, or several entries fit; the message lists them.
    """
    sides = _sides(study, mode)
    arm, *conditions = (part.strip() for part in wanted.split(","))
    arms = list(dict.fromkeys(side.arm.name for side in sides))
    if arm not in arms:
        raise InputError(
            f"the study {study.path} has no {mode} continuations of the arm {arm!r}",
            needed=f"one of {', '.join(arms)}" if arms else "an evaluated study",
            hint=did_you_mean(arm, arms),
        )
    asked: dict[str, Any] = {}
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals:
            raise InputError(f"{condition!r} in {wanted!r} is not of the form key=value")
        try:
            asked[key] = read_argument(value)
        except TextError as error:
            raise InputError(f"the value of {condition!r} in {wanted!r} cannot be read") from error
    here = [side for side in sides if side.arm.name == arm]
    fitting = [
        s
        for s in here
        if all(k in s.settings and _fits(s.settings[k], v) for k, v in asked.items())
    ]
    plain = [s for s in fitting if s.further(asked) == []]
    if len(plain) == 1:  # beside its nulls, strengths and variants
        return plain[0]
    if len(fitting) != 1:
        raise InputError(
            f"{wanted!r} fits {len(fitting)} of the {len(here)} entries of that arm",
            needed="one of: " + "; ".join(side.name for side in here),
        )
    return fitting[0]


def _fits(actual: Any, wanted: Any) -> bool:
    """Whether a setting has the value that is asked for: 0.10 is 0.1, but true is not 1."""
    if str(wanted) == str(actual):  # as `Side.name` writes it
        return True
    value = wanted.value if isinstance(wanted, Written) else wanted
    return bool(value == actual) and isinstance(value, bool) == isinstance(actual, bool)


def _by_context(study: StudyFolder, side: Side) -> dict[int, Generation]:
    if side.texts is not None:
        wrote = "the evaluation in study.json"
        require_unchanged(study.path, {side.file: side.texts}, wrote=wrote, again=AGAIN)
    return {text.context_index: text for text in study.read_generations(side.file)}


def read_pairs(study: StudyFolder, a: Side, b: Side) -> list[Pair]:
    """Every context with the continuations of both arms, in the study's order.

    The same three texts again are no further pair: the judge would be asked once and count twice.

    Raises:
        InputError: one entry is compared with itself, or the arms did not continue the same
            contexts.
    """
    if a.file == b.file:
        raise InputError(f"both arms are {a.name}", needed="two different arms")
    texts_a, texts_b = _by_context(study, a), _by_context(study, b)
    same = texts_a.keys() == texts_b.keys() and all(
        texts_a[index].context_ids == texts_b[index].context_ids for index in texts_a
    )
    if not same or not texts_a:
        raise InputError(
            f"{a.name} and {b.name} did not continue the same contexts",
            needed="two arms of one evaluation",
            hint="run `hyperfit evaluate` again",
        )
    pairs: dict[str, Pair] = {}
    for index in sorted(texts_a):
        pair = Pair(
            context_index=index,
            context=texts_a[index].context,
            text_a=texts_a[index].continuation,
            text_b=texts_b[index].continuation,
        )
        pairs.setdefault(pair.digest(), pair)
    return list(pairs.values())


def choose_pairs(pairs: Sequence[Pair], count: int, *, seed: int) -> list[Pair]:
    """At most `count` pairs, in the study's order.

    The pairs of a smaller count are among those of a larger one with the same seed, so that a
    judgement can be extended.

    Raises:
        ValueError: `count` below 1.
    """
    if count < 1:
        raise ValueError(f"choose_pairs needs a count of at least 1, got {count}")
    order = np.random.default_rng(seed).permutation(len(pairs))
    return [pairs[index] for index in sorted(order[:count].tolist())]

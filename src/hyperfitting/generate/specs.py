"""What a user writes for a decoder, with the value of every parameter.

A decoder is written `name`, `name:value` (its first parameter) or `name:key=value,key=value`.
Filters and penalties combine: `top_p:0.9,temperature:0.7` or `dry:0.8,base=2+temperature:0.7`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hyperfitting.errors import InputError, did_you_mean
from hyperfitting.generate.decoder import Parameter
from hyperfitting.generate.decoders import DECODERS


@dataclass(frozen=True)
class DecoderSpec:
    """A decoder with a value for each of its parameters.

    Where filters and penalties combine, `name` is the first one written that is not the
    temperature, and `parameters` has those of all; one without parameters is in it, as True,
    where it is not the first.
    """

    name: str
    parameters: Mapping[str, float]  # as JSON takes them; the report's fields

    @property
    def parts(self) -> tuple[str, ...]:
        """The decoders that it consists of, as the table orders them."""
        if not DECODERS[self.name].combines:
            return (self.name,)
        combining = (name for name, decoder in DECODERS.items() if decoder.combines)
        return tuple(name for name in combining
                     if name == self.name or self.parameters.keys() & _keys(name))  # fmt: skip

    @property
    def is_deterministic(self) -> bool:
        """Whether it draws nothing (float32 noise aside: definitions, section 8.4)."""
        return all(DECODERS[part].is_deterministic for part in self.parts)

    @property
    def needs_texts(self) -> bool:
        """Whether it must know the text of each token."""
        return any("texts_V" in DECODERS[part].needs for part in self.parts)

    @property
    def needs_amateur(self) -> bool:
        """Whether it compares the model with a smaller one."""
        return DECODERS[self.name].needs_amateur

    @property
    def text(self) -> str:
        """The one way to write it with every value; `parse_decoder` reads it back."""
        others = [part for part in self.parts if part != self.name]
        return "+".join(self._written(part) for part in [self.name, *others])

    def _written(self, part: str) -> str:
        values = [
            ("" if key == part else f"{key}=") + _number(self.parameters[key])
            for key in (parameter.name for parameter in DECODERS[part].parameters)
        ]
        return f"{part}:{','.join(values)}" if values else part


def _keys(name: str) -> list[str]:
    """The keys of parameters that say that a filter or penalty is there."""
    return [parameter.name for parameter in DECODERS[name].parameters] or [name]


def _number(value: float) -> str:
    return repr(value).replace("+", "")  # 1e+16; a plus would combine


def parse_decoder(text: str) -> DecoderSpec:
    """Read one decoder; see the top of this file for how it is written.

    Raises:
        InputError: an unknown decoder or parameter, a value outside its range, decoders that do
            not combine, or something given twice.
    """
    parts = _with_own_values(re.split(r"[,+]", text))
    specs = [_single(*part, text) for part in parts]
    if len(specs) == 1:
        return specs[0]
    for spec in specs:
        if not DECODERS[spec.name].combines:
            raise InputError(
                f"{spec.name} does not combine with another decoder, in {text!r}",
                needed="filters and penalties only: "
                + ", ".join(name for name, d in DECODERS.items() if d.combines),
            )
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise InputError(f"{text!r} names a decoder twice", needed="each once")
    first = next((name for name in names if name != "temperature"), names[0])
    merged = {key: value for spec in specs for key, value in spec.parameters.items()}
    merged |= {name: True for name in names if name != first and not DECODERS[name].parameters}
    combining = (name for name, decoder in DECODERS.items() if decoder.combines)
    order = [key for name in combining for key in _keys(name)]
    return DecoderSpec(first, {key: merged[key] for key in order if key in merged})


def parse_decoders(text: str) -> tuple[DecoderSpec, ...]:
    """Read a list such as `greedy,min_p:0.1,contrastive_search:alpha=0.6,k=10,guard`.

    A comma starts another decoder, except before `key=value`; `+` combines. So the list
    `top_p:0.9,temperature:0.7` has two decoders and `top_p:0.9+temperature:0.7` has one.

    Raises:
        InputError: as `parse_decoder`, or the same decoder with the same values twice.
    """
    pieces: list[str] = []
    for piece in text.split(","):
        if pieces and "=" in piece.split("+")[0] and ":" not in piece.split("+")[0]:
            pieces[-1] += f",{piece}"
        else:
            pieces.append(piece)
    specs = tuple(parse_decoder(piece) for piece in pieces)
    seen: list[str] = []
    for spec in specs:
        if spec.text in seen:
            raise InputError(f"the decoder {spec.text} is listed twice", needed="each once")
        seen.append(spec.text)
    return specs


def _with_own_values(pieces: Sequence[str]) -> list[tuple[str, list[tuple[str | None, str]]]]:
    """Group `name`, `name:value` and `key=value` into decoders and their (key, value) pairs.

    `key:value` counts as `key=value` where the decoder before it has such a parameter and
    combines with nothing, as in `guard,temperature:0.9`, or no decoder has that name, as in
    `dry:0.8+base:2`.
    """
    parts: list[tuple[str, list[tuple[str | None, str]]]] = []
    for piece in pieces:
        name, colon, value = (each.strip() for each in piece.partition(":"))
        if parts and _belongs(parts[-1][0], name if colon else piece, has_value=bool(colon)):
            key, _, number = piece.replace(":", "=", 1).partition("=")
            parts[-1][1].append((key.strip(), number.strip()))
            continue
        key, equals, number = (each.strip() for each in value.rpartition("="))
        parts.append((name, [(key if equals else None, number)] if colon else []))
    return parts


def _belongs(decoder: str, key: str, *, has_value: bool) -> bool:
    if not has_value:
        return "=" in key
    known = DECODERS.get(decoder)
    return (
        known is not None
        and not (known.combines and key in DECODERS)
        and key in {parameter.name for parameter in known.parameters}
    )


def _single(name: str, given: Sequence[tuple[str | None, str]], text: str) -> DecoderSpec:
    if name not in DECODERS:
        raise InputError(
            f"there is no decoder {name!r}, in {text!r}",
            needed=f"one of {', '.join(DECODERS)}",
            hint="a second parameter is written key=value, as in mirostat:tau=5,eta=0.1"
            if re.fullmatch(r"[-+.\d]+(e-?\d+)?", name)
            else did_you_mean(name, DECODERS),
        )
    parameters = {each.name: each for each in DECODERS[name].parameters}
    values: dict[str, float] = {key: each.default for key, each in parameters.items()}
    done: set[str] = set()
    for key, number in given:
        key = next(iter(parameters), "") if key is None else key
        if key not in parameters:
            raise InputError(
                f"the decoder {name} has no parameter {key or number!r}, in {text!r}",
                needed=f"one of {', '.join(parameters)}" if parameters else "no parameter",
                hint=did_you_mean(key, parameters),
            )
        if key in done:
            raise InputError(f"{text!r} gives {key} of {name} twice", needed="it once")
        done.add(key)
        values[key] = _value(parameters[key], number, name)
    return DecoderSpec(name, {k: int(v) if parameters[k].is_integer else float(v)
                              for k, v in values.items()})  # fmt: skip


def _value(parameter: Parameter, number: str, name: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not parameter.allows(value):
        size = ""
        if math.isfinite(value) and not parameter.has_size(value):
            size = ", {:.10g} to {:.10g} in size".format(*parameter.sizes)
        raise InputError(
            f"{parameter.name} of the decoder {name} is {number!r}",
            needed=f"{parameter.range}{size} ({parameter.meaning})",
        )
    return value

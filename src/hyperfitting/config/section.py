"""A group of settings, and what holds for every setting: finite, bounded, and never another type.

Settings come from files and programs of anybody. A value that would end in an endless run or in
another program's error is refused here, in words.
"""

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from hyperfitting.errors import InputError

# Upper ends: far above what anybody needs, and below what never ends or fits no machine.
MOST = 1_000_000  # things that are counted: epochs, batches, contexts
LONGEST = 1_048_576  # tokens of a text
LARGEST_SEED = 2**32 - 1  # the largest that every generator takes
LONGEST_TEXT, LONGEST_NAME = 4096, 255  # bytes of a path and of a name in it, on most systems
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class Section(BaseModel):
    """A group of settings: immutable, and closed to unknown keys; a number is finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true where a number is asked for: Python would read it as 1."""
        kind = str(cls.model_fields[str(info.field_name)].annotation)
        each = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(one, bool) for one in each) and "bool" not in kind:
            raise ValueError("a value that is not true or false")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _no_odd_text(cls, value: Any) -> Any:
        """Refuse texts that no file system and no file of ours can hold."""
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str):
                _check_text(text)
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _each_once(cls, value: Any) -> Any:
        """Refuse a list that names something twice, which would be done twice or once."""
        if isinstance(value, tuple) and len(set(value)) < len(value):
            raise ValueError("each once")
        return value


def _check_text(text: str) -> None:
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("a text without null characters and halves of characters")
    if len(text.encode()) > LONGEST_TEXT:
        raise ValueError(f"a text of at most {LONGEST_TEXT} bytes")


def _is_path(text: str) -> str:
    """Refuse what may be a path and is none on any system: the question alone would fail."""
    if any(len(name.encode()) > LONGEST_NAME for name in text.split("/")):
        raise ValueError(f"names of at most {LONGEST_NAME} bytes between the slashes")
    return text


def _is_day(value: Any) -> Any:
    """Refuse a number, which would be read as seconds since 1970."""
    if isinstance(value, date) or value is None or _DAY.fullmatch(str(value)):
        return value
    raise ValueError("a day such as 2026-01-10")


PathName = Annotated[str, AfterValidator(_is_path)]
Day = Annotated[date | None, BeforeValidator(_is_day)]
# What stages that run models ask alike.
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    Field(description="`auto` takes a CUDA device where there is one"),
]
Trust = Annotated[
    bool, Field(description="run code that the checkpoint brings; never read from a run folder")
]


def require_effect(config: Section, *settings: tuple[str, bool, str, str]) -> None:
    """Refuse a setting that says how something is done which is not asked for.

    Args:
        config: what was asked for.
        settings: names of fields, each with whether it has an effect here, without what it has
            none, and what it needs, as a user would write it.

    Raises:
        InputError: one without effect is not as its default.
    """
    for name, has_effect, without, needed in settings:
        value = getattr(config, name)
        if not has_effect and value != type(config).model_fields[name].default:
            raise InputError(
                f"{name}={value} is given without {without}, and would have no effect",
                needed=f"{needed} too, or without {name}",
            )


def training_losses(losses: tuple[float, ...]) -> tuple[float, ...]:
    """Refuse what no mean training loss is compared with."""
    if not all(0 < each <= 1_000 for each in losses):
        raise ValueError("losses above 0 and at most 1000, in nats per token")
    return losses

"""Read a file's fields by name, so that what does not fit is named and not stumbled over.

Files may come from another version or from somebody else. What may be undefined is read with
`maybe_...`, and everything else is refused where it is null.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from hyperfitting.records import Arm
from hyperfitting.records.estimates import Estimate

Record = TypeVar("Record")


class FieldError(ValueError):
    """A field that is missing or is not what it has to be; says which, and what it has to be."""


@dataclass(frozen=True)
class Fields:
    """One mapping of a file and where in the file it stands."""

    content: Mapping[str, Any]
    where: str = ""

    @classmethod
    def of(cls, content: Any, where: str = "") -> "Fields":
        """A mapping that a file should hold here.

        Raises:
            FieldError: it is something else.
        """
        if not isinstance(content, Mapping):
            raise FieldError(f"{where or 'the file'} is {_named(content)}, a mapping is needed")
        return cls(content, where)

    def __contains__(self, name: str) -> bool:
        return name in self.content

    def path(self, name: str) -> str:
        """The full name of a field."""
        return f"{self.where}.{name}" if self.where else name

    def raw(self, name: str) -> Any:
        """A field as it stands there.

        Raises:
            FieldError: it is missing.
        """
        if name not in self.content:
            raise FieldError(f"{self.path(name)} is missing")
        return self.content[name]

    def maybe_number(self, name: str) -> float | None:
        """A number, or None where the file has null."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise FieldError(f"{self.path(name)} is {_named(value)}, a number is needed")
        return float(value)

    def number(self, name: str) -> float:
        """A number that is always there."""
        value = self.maybe_number(name)
        if value is None:
            raise FieldError(f"{self.path(name)} is null, a number is needed")
        return value

    def whole(self, name: str) -> int:
        """A whole number that is always there."""
        value = self.number(name)
        if value != int(value):
            raise FieldError(f"{self.path(name)} is {value}, a whole number is needed")
        return int(value)

    def maybe_whole(self, name: str) -> int | None:
        """A whole number, or None where the file has null."""
        return None if self.raw(name) is None else self.whole(name)

    def text(self, name: str) -> str:
        """A text that is always there."""
        value = self.raw(name)
        if not isinstance(value, str):
            raise FieldError(f"{self.path(name)} is {_named(value)}, a text is needed")
        return value

    def maybe_text(self, name: str) -> str:
        """A text; empty where it is null or missing."""
        return "" if self.content.get(name) is None else self.text(name)

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.raw(name)
        if not isinstance(value, bool):
            raise FieldError(f"{self.path(name)} is {_named(value)}, true or false is needed")
        return value

    def at(self, name: str) -> "Fields":
        """A mapping inside this one."""
        return Fields.of(self.raw(name), self.path(name))

    def each(self, name: str) -> list["Fields"]:
        """A list of mappings inside this one."""
        return [Fields.of(value, f"{self.path(name)}[{i}]") for i, value in self._list(name)]

    def _list(self, name: str) -> list[tuple[int, Any]]:
        values = self.raw(name)
        if not isinstance(values, list):
            raise FieldError(f"{self.path(name)} is {_named(values)}, a list is needed")
        return list(enumerate(values))

    def estimate(self, value: str = "mean", n: int | None = None, reason: str = "") -> Estimate:
        """This mapping as an estimate: its value, both ends, n and its own reason, or this one."""
        found = self.maybe_number(value)
        low, high = self.maybe_number("low"), self.maybe_number("high")
        count = self.whole("n") if n is None or "n" in self else n
        why = self.maybe_text("reason") or reason or ("undefined" if found is None else None)
        return Estimate(value=found, low=low, high=high, n=count, reason=why)

    def records(self, name: str, kind: type[Record]) -> list[Record]:
        """A list of mappings as records of a dataclass, whose fields have the types it names.

        Raises:
            FieldError: one has another type, is missing, or is not known to the record.
        """
        known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
        adapter: TypeAdapter[Record] = TypeAdapter(kind)
        return [each._record(adapter, known) for each in self.each(name)]

    def _record(self, adapter: TypeAdapter[Record], known: set[str]) -> Record:
        unknown = next((key for key in self.content if key not in known), None)
        if unknown is not None:
            raise FieldError(f"{self.path(unknown)} is unknown")
        try:
            return adapter.validate_python(dict(self.content))
        except ValidationError as error:
            first = error.errors()[0]
            name = self.path(".".join(map(str, first["loc"])))
            if first["type"] == "missing":
                raise FieldError(f"{name} is missing") from error
            raise FieldError(f"{name} is {_named(first['input'])}: {first['msg']}") from error


def arm_in(entry: Fields) -> Arm:
    """The arm that a mapping of a file is of."""
    return Arm.named(entry.text("arm"), entry.maybe_whole("seed"), entry.at("parameters").content)


def _named(value: Any) -> str:
    """A value in a message: null as in the file, anything long by its kind."""
    if value is None:
        return "null"
    if isinstance(value, str | int | float):
        return repr(value)[:60]
    return f"a {'list' if isinstance(value, list) else type(value).__name__}"

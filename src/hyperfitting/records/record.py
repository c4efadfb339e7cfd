"""How records become JSON and are read back: one writer, one reader, one voice for what is wrong.

Files may come from another version or from somebody else. A field that is missing, null where it
must not be, or of another type is refused with its full name; fields that are not known are
passed over, so that a file may say more than this version reads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from hyperfitting.errors import InputError
from hyperfitting.foreign import OddNameError, path_inside, plain_name, relative_path
from hyperfitting.records.arms import Arm
from hyperfitting.seals import DIGEST, DamagedError, content_digest
from hyperfitting.storage import read_json, write_json

RecordT = TypeVar("RecordT")
FileT = TypeVar("FileT", bound="FileRecord")


class FieldError(ValueError):
    """A field that is missing or is not what it has to be; says which, and what it has to be."""


# Texts of a file that become parts of a path.
Name = Annotated[str, AfterValidator(plain_name)]
RelativePath = Annotated[str, AfterValidator(relative_path)]
PathInside = Annotated[str, AfterValidator(path_inside)]


class Record(BaseModel):
    """A mapping of a file: frozen, built by keyword, every number finite, undefined is None."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", allow_inf_nan=False, protected_namespaces=(),
        validate_by_name=True, validate_by_alias=True, serialize_by_alias=True,
    )  # fmt: skip


def _read_arm(content: Any) -> Any:
    if not isinstance(content, Mapping):
        return content
    read(_ArmFields, content)
    return Arm.of_json(content)


class _ArmFields(Record):
    """The three fields by which files name an arm."""

    arm: str
    seed: int | None
    parameters: dict[str, Any]


# An arm that is a field: {"arm": ..., "seed": ..., "parameters": ...}.
ArmField = Annotated[Arm, BeforeValidator(_read_arm), PlainSerializer(Arm.to_json, dict)]


class OfArm(Record):
    """A record of one arm, whose name, seed and parameters stand among its other fields."""

    arm: ArmField

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or isinstance(content.get("arm"), Arm):
            return content
        read(_ArmFields, content)
        return {**content, "arm": Arm.of_json(content)}

    @model_serializer(mode="wrap")
    def _unfold(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialise(self)
        named = self.arm.to_json()
        return {**named, **{key: value for key, value in content.items() if key not in named}}


class FileRecord(Record):
    """A whole JSON file. Files without a version are of the first, which has no digest."""

    VERSION: ClassVar[int] = 2
    version: int = 2


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}  # building one takes a while


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def read(kind: type[RecordT], content: Any, where: str = "") -> RecordT:
    """A record from a mapping; `where` names its place in a file.

    Raises:
        FieldError: a field is missing or of another type; or, of a row that is a dataclass, not
            known.
    """
    try:
        record: RecordT = _adapter(kind).validate_python(content)
    except ValidationError as error:
        raise FieldError(_in_words(error, where)) from error
    return record


def read_rows(kind: type[RecordT], content: Any, where: str) -> list[RecordT]:
    """A list of records; `where` names the list.

    Raises:
        FieldError: it is no list, or an entry does not fit.
    """
    if not isinstance(content, list):
        raise FieldError(f"{where} is {_named(content)}, a list is needed")
    return [read(kind, row, f"{where}[{index}]") for index, row in enumerate(content)]


def as_json(record: Any) -> dict[str, Any]:
    """The mapping that `read` takes; lists for tuples, null for None."""
    content: dict[str, Any] = _adapter(type(record)).dump_python(record, mode="json")
    return content


def read_file(kind: type[FileT], path: Path, again: str) -> FileT:
    """The record that a JSON file holds; `again` is what writes it anew.

    Raises:
        InputError: the file is missing, damaged, of a newer version, or does not fit.
    """
    try:
        content = read_json(path)
    except InputError as error:
        raise InputError(error.given, needed=error.needed, hint=again) from error
    if isinstance(content, Mapping):
        content = {"version": 1} | dict(content)
    version = content["version"] if isinstance(content, Mapping) else 1
    if isinstance(version, int) and version > kind.VERSION:
        raise InputError(
            f"{path} was written by a newer hyperfitting: it is of version {version}, and this one "
            f"reads version {kind.VERSION}",
            needed="a newer hyperfitting",
        )
    try:
        _require_whole(path, content, again)
        return read(kind, content)
    except FieldError as error:
        raise InputError(
            f"{path} does not fit this version of hyperfitting: {error}", hint=again
        ) from error


def version_of(path: Path, again: str) -> int:
    """The version that a JSON file says it is of; 1 where it says none.

    Raises:
        InputError: the file is missing or damaged.
    """
    return read_file(FileRecord, path, again).version


def write_file(path: Path, record: FileRecord) -> None:
    """Write a record in one piece, with the digest of what it says; NaN is refused."""
    content = as_json(record) | {"version": record.VERSION}
    write_json(path, content | {DIGEST: content_digest(content)})


def _require_whole(path: Path, content: Any, again: str) -> None:
    """Refuse a file that does not say what was written.

    Raises:
        DamagedError: its digest is another, or missing where its version has one.
    """
    if not isinstance(content, Mapping):
        return
    said = {name: value for name, value in content.items() if name != DIGEST}
    version = content["version"]
    is_sealed = DIGEST in content or (isinstance(version, int) and version > 1)
    if is_sealed and content.get(DIGEST) != content_digest(said):
        raise DamagedError(
            f"{path} is damaged: its content is not what hyperfitting wrote",
            needed="the file as it was written",
            hint=again,
        )


_NEEDED = {
    "float": "a number", "int": "a whole number", "finite": "a number", "string": "a text",
    "bool": "true or false", "list": "a list", "dict": "a mapping", "model": "a mapping",
    "dataclass": "a mapping", "mapping": "a mapping", "tuple": "a list",
}  # fmt: skip


def _in_words(error: ValidationError, where: str) -> str:
    """The first thing that is wrong, with the full name of its field."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]]
    name = f"{where}{''.join(parts)}".removeprefix(".") or "the file"
    if isinstance(cause, FieldError):  # of a field's own reader
        return f"{name}.{cause}".removeprefix("the file.")
    if isinstance(cause, OddNameError):
        return f"{name}: {cause.given}"
    if first["type"] == "missing":
        return f"{name} is missing"
    if first["type"] == "unexpected_keyword_argument":
        return f"{name} is unknown"
    needed = _NEEDED.get(first["type"].split("_")[0])
    given = _named(first["input"])
    return (
        f"{name} is {given}, {needed} is needed" if needed else f"{name} is {given}: {first['msg']}"
    )


def _named(value: Any) -> str:
    """A value in a message: null as in the file, anything long by its kind."""
    if value is None:
        return "null"
    if isinstance(value, str | int | float):
        return repr(value)[:60]
    return f"a {'list' if isinstance(value, list) else type(value).__name__}"

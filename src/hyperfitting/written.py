"""Values as people write them: YAML 1.2's core schema, and beside each value its own text.

PyYAML reads YAML 1.1, in which `off` is false, 010 is eight, 12:30 is 750 and a date is no text.
Here true and false are the only booleans, a number is decimal, 0x or 0o, and all else is text.
What `2` or `0012345` means depends on the setting, a column's name or a number: so such a value
keeps the text it was written as until `settle` knows the setting's type.

What is written may come from a stranger: how long it is, how deep it nests and how large its
aliases make it is limited.
"""

import re
import types
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin

import yaml

TextError = yaml.YAMLError
ConstructorError = yaml.constructor.ConstructorError
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
# A hundred settings are some 5,000 characters, 200 values and 4 levels.
MOST_CHARACTERS, MOST_VALUES, DEEPEST = 200_000, 10_000, 20


@dataclass(frozen=True)
class Written:
    """A number, boolean or null beside the text that it was written as."""

    value: Any
    text: str

    def __str__(self) -> str:
        return self.text


def _refused(why: str, node: Any) -> TextError:
    """An error that says where it stands."""
    return ConstructorError(None, None, why, node.start_mark)


class _Size(NamedTuple):
    """Values in a node, itself counted, and how deep they nest; both with aliases written out."""

    values: int
    depth: int


class _Core(yaml.SafeLoader):
    """The core schema's scalars; texts stand as keys, no key twice, and nothing is endless."""

    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (_TAG + "str", _TAG + "seq", _TAG + "map", None)
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._sizes: dict[yaml.Node, _Size] = {}
        self._level = self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node, measured before anything is made of it."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        self._level, self._count = self._level + 1, self._count + 1
        # Now, and not of the whole: composing is recursive, and takes as long as there are nodes.
        self._check(_Size(self._count, self._level), event)
        node = super().compose_node(parent, index)
        self._level -= 1
        if node is not None and not isinstance(event, yaml.AliasEvent):
            is_plain = not isinstance(node, yaml.CollectionNode)
            self._sizes[node] = _Size(1, 1) if is_plain else self._of_inner(node)
        return node

    def _of_inner(self, node: yaml.Node) -> _Size:
        inner = [each for pair in node.value for each in (pair if type(pair) is tuple else [pair])]
        if any(each not in self._sizes for each in inner):
            raise _refused("an alias stands inside what it names: it never ends", node)
        sizes = [self._sizes[each] for each in inner]
        depth = 1 + max((size.depth for size in sizes), default=0)
        return self._check(_Size(1 + sum(size.values for size in sizes), depth), node)

    def _check(self, size: _Size, at: Any) -> _Size:
        if size.depth > DEEPEST:
            raise _refused(f"it nests deeper than {DEEPEST} levels", at)
        if size.values > MOST_VALUES:
            raise _refused(f"it holds more than {MOST_VALUES:,} values, aliases written out", at)
        return size

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping, its keys as texts."""
        seen = set[str]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("a key is no plain text", key)
            if key.value in seen and key.tag != _MERGE:
                raise _refused(f"{key.value!r} stands twice", key)
            seen.add(key.value)
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


def _number(text: str) -> int | float:
    sign, digits = (-1 if text[0] == "-" else 1), text.lstrip("+-").lower()
    if digits in (".inf", ".nan"):
        return sign * float(digits[1:])
    if digits[:2] in ("0x", "0o"):
        return int(digits, 0)
    return sign * (int(digits) if digits.isdigit() else float(digits))


_VALUES: Mapping[str, Callable[[str], Any]] = {
    _TAG + "null": lambda _: None,
    _TAG + "bool": lambda text: text.lower() == "true",
    _TAG + "int": _number,
    _TAG + "float": _number,
}


def _written(loader: _Core, node: yaml.ScalarNode) -> Written:
    kind = loader.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
    if kind != node.tag and (kind, node.tag) != (_TAG + "int", _TAG + "float"):
        # An explicit tag, such as !!bool before a word that is neither true nor false.
        raise _refused(f"{node.value!r} is no {node.tag.removeprefix(_TAG)}", node)
    try:
        return Written(_VALUES[node.tag](node.value), node.value)
    except ValueError as error:  # more digits than Python reads
        raise _refused(str(error), node) from None


_Core.yaml_implicit_resolvers = {}  # none of YAML 1.1's
for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
):
    _Core.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), _first)
    _Core.add_constructor(_TAG + _kind, _written)
_Core.add_implicit_resolver(_MERGE, re.compile(r"<<\Z"), ["<"])


def read_yaml(text: str) -> Any:
    """A YAML document: mappings, lists, texts, and `Written` numbers, booleans and nulls.

    Raises:
        TextError: it is no YAML, has an unknown tag, a key twice, or is too large.
    """
    if len(text) > MOST_CHARACTERS:
        raise TextError(f"it is longer than {MOST_CHARACTERS:,} characters")
    return yaml.load(text, Loader=_Core)


def read_argument(text: str) -> Any:
    """The value of `key=value`. What is no whole YAML value is text, as it was written.

    `[a, b]` and `{a: b}` are read; `a: b` and `draft #2.txt` are texts: an argument is one line,
    and nothing in it is a comment.

    Raises:
        TextError: it begins like a list, a mapping or a quotation and does not end like one.
    """
    stripped = text.strip()
    if not stripped:
        return Written(None, "")
    try:
        value = read_yaml(text)
    except TextError:
        if stripped[:1] in tuple("[{\"'"):
            raise
        return stripped
    if isinstance(value, Mapping | list):
        return value if stripped[:1] in ("[", "{") else stripped
    if stripped[:1] in ('"', "'"):
        return value
    # The text of a plain value; YAML has cut a comment off.
    return value if str(value) == stripped else stripped


def settle(value: Any, annotation: Any) -> Any:
    """`value` as a setting of this type means it: its text where texts are asked for.

    An empty value or null is None, but an empty text where None is not accepted. What fits no
    type stays as it is, for the check to refuse.
    """
    kinds = _kinds(annotation)
    if isinstance(value, list):
        inner = [get_args(kind)[0] for kind in kinds if get_origin(kind) in (tuple, list)]
        element = inner[0] if inner else Any
        return [settle(each, element) for each in value]
    if isinstance(value, Mapping):
        return {key: settle(each, Any) for key, each in value.items()}
    if not isinstance(value, Written):
        return value
    takes_words = any(get_origin(kind) is Literal for kind in kinds)
    takes_text = str in kinds or (takes_words and not {int, float} & set(kinds))
    if value.value is None:
        return value.text if takes_text and not value.text and type(None) not in kinds else None
    return value.text if takes_text else value.value


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone, without what limits them."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(kind for member in get_args(annotation) for kind in _kinds(member))
    return (annotation,)

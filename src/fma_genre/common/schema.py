"""Frozen dataclasses as schemas: annotations declare types and ranges, and `read` checks values against them.

    @dataclass(frozen=True)
    class Train:
        epochs: Annotated[int, Range(1, 10_000)]
        lr: Annotated[float, Range(1e-9, 10)]

Supported types are bool, int, float, str, `Literal`, `tuple[T, ...]`, `Mapping`, nested dataclasses, and `T | None`
with the default None for an optional parameter. Every error is an InputError with the message
`where: expected X, found Y`, a single line of bounded length.
"""

import difflib
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fma_genre.common.errors import InputError
from fma_genre.common.urls import masked

T = TypeVar("T")

MAX_TEXT_LENGTH = 100  # characters of a value in a message


class _Abbreviation(reprlib.Repr):
    """A repr that shortens long values and masks secrets in urls."""

    def repr_str(self, value: str, level: int) -> str:
        return super().repr_str(masked(value), level)

    def repr_int(self, value: int, level: int) -> str:
        # Python raises ValueError when it converts an integer of more than 4,300 digits to a string.
        return super().repr_int(value, level) if value.bit_length() < 10_000 else "a huge whole number"


_ABBREVIATION = _Abbreviation()
_ABBREVIATION.maxlevel = 2
_ABBREVIATION.maxstring = _ABBREVIATION.maxother = MAX_TEXT_LENGTH
abbreviated = _ABBREVIATION.repr  # repr of any value for a message: of bounded length, with secrets masked


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both inclusive."""

    low: float
    high: float

    def admits(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"from {self.low:.10g} to {self.high:.10g}"


@dataclass(frozen=True)
class Pattern:
    """A regular expression that a whole string must match, and a description of it for messages."""

    regex: str
    meaning: str

    def admits(self, value: str) -> bool:
        return re.fullmatch(self.regex, value) is not None

    def __str__(self) -> str:
        return self.meaning


@dataclass(frozen=True)
class Length:
    """Bounds of a list's length, both inclusive."""

    low: int
    high: int

    def admits(self, value: tuple[Any, ...]) -> bool:
        return self.low <= len(value) <= self.high

    def __str__(self) -> str:
        return f"of {self.low} to {self.high} values"


DEFAULT_LENGTH = Length(1, 100)
NAME = Pattern("[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", "a name of at most 64 letters, digits, - and _")
Name = Annotated[str, NAME]
Rest = Annotated[Mapping[str, Any], "rest"]  # a parameter that collects the keys that no other parameter declares


# Sections. --------------------------------------------------------------------------------------------------------


def read(schema: type[T], value: object, where: str) -> T:
    """Build an instance of the dataclass `schema` from a mapping; raise InputError for the first invalid value."""
    group = _collect_rest(schema, as_group(value, where))
    check_keys(schema, group, where)
    annotations = _annotations(schema)
    return schema(**{name: convert(annotations[name], item, join(where, name)) for name, item in group.items()})


def check_keys(schema: type, group: Mapping[str, Any], where: str) -> None:
    """Raise InputError for the first unknown key in `group` or, if all are known, for the first missing key."""
    known = names(schema)
    for key in group:
        if key not in known:
            raise unknown_key(key, known, where)
    annotations = _annotations(schema)
    for name in required(schema):
        if name not in group:
            raise InputError(f"{join(where, name)}: expected {_describe(annotations[name])}, found none")


def read_arguments(
    arguments: Mapping[str, Any], schemas: Mapping[str, type], where: str, other_keys: Iterable[str] = ()
) -> dict[str, Any]:
    """Distribute the arguments of a section over the dataclasses that declare them.

    Args:
        arguments: the section without `other_keys`.
        schemas: the dataclasses by role, e.g. {"network": cnn.Arguments, "front_end": cepstral.Arguments}.
        where: dotted name of the section, for messages.
        other_keys: the section's other valid keys, which a message may suggest.

    Returns:
        An instance of each dataclass, by role.

    Raises:
        InputError: an argument is unknown, missing or invalid, or a name is declared twice.
    """
    declared = [name for schema in schemas.values() for name in names(schema)]
    known = [*declared, *other_keys]
    for name in declared:
        if known.count(name) > 1:
            owners = " or ".join([*schemas, "the section"])
            raise InputError(f"{join(where, name)}: expected one declaration in {owners}, found several")
    for key in arguments:
        if key not in declared:
            raise unknown_key(key, known, where)
    instances: dict[str, Any] = {}
    for role, schema in schemas.items():
        own, _ = partition(arguments, names(schema))
        instances[role] = read(schema, own, where)
    return instances


def partition(group: Mapping[str, Any], names: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a mapping in two: the items whose keys are in `names`, and all other items."""
    chosen = {key: value for key, value in group.items() if key in names}
    rest = {key: value for key, value in group.items() if key not in chosen}
    return chosen, rest


def names(schema: type) -> list[str]:
    """Names of the parameters that a dataclass declares."""
    return [field.name for field in fields(schema)]


def required(schema: type) -> list[str]:
    """Names of the parameters that a dataclass declares without a default."""
    return [item.name for item in fields(schema) if item.default is MISSING and item.default_factory is MISSING]


def _collect_rest(schema: type, group: Mapping[str, Any]) -> Mapping[str, Any]:
    """Move the keys that no other parameter declares into the parameter annotated `Rest`, if there is one."""
    for name, annotation in _annotations(schema).items():
        if annotation == Rest:
            own, rest = partition(group, [other for other in names(schema) if other != name])
            return own | {name: rest}
    return group


def _annotations(schema: type) -> dict[str, Any]:
    """The annotation of each parameter, including its constraints."""
    return get_type_hints(schema, include_extras=True)


def as_group(value: object, where: str) -> Mapping[str, Any]:
    """Return `value`; raise InputError unless it is a mapping."""
    if not isinstance(value, Mapping):
        raise mismatch(where, "a group of named values", value)
    return value


def read_named(read_item: Callable[[object, str], T], value: object, where: str) -> dict[str, T]:
    """Read a mapping whose keys are names chosen by the user; `read_item(value, where)` reads each entry."""
    group = as_group(value, where)
    for key in group:
        convert(Name, key, where)
    return {key: read_item(item, join(where, key)) for key, item in group.items()}


# Values. ----------------------------------------------------------------------------------------------------------


def convert(annotation: Any, value: Any, where: str) -> Any:
    """Convert `value` to the annotated type; raise InputError if it is invalid."""
    kind, constraints = _split(annotation)
    if is_dataclass(kind):
        return read(kind, value, where)  # type: ignore[arg-type]
    if get_origin(kind) is Mapping:  # its items are checked elsewhere
        return as_group(value, where)
    if get_origin(kind) is tuple:
        return _convert_list(annotation, value, where)

    has_type = _HAS_TYPE[get_origin(kind) or kind]
    if not has_type(kind, value) or not all(constraint.admits(value) for constraint in constraints):
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        raise InputError(f"{mismatch(where, _describe(annotation), value)}{suggestion(value, choices)}")
    return float(value) if kind is float else value


def _convert_list(annotation: Any, value: Any, where: str) -> tuple[Any, ...]:
    kind, constraints = _split(annotation)
    (length,) = constraints or (DEFAULT_LENGTH,)
    if not isinstance(value, list | tuple) or not length.admits(value):
        raise mismatch(where, f"a list {length}", value)
    item_kind, _ = get_args(kind)
    return tuple(convert(item_kind, item, f"{where}[{index}]") for index, item in enumerate(value))


def _split(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Split an annotation into its type and its constraints; `T | None` is treated like T.

    None stands only for an absent key: a null in a file is not valid.
    """
    if get_origin(annotation) in (UnionType, Union):
        annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
    if get_origin(annotation) is not Annotated:
        return annotation, ()
    kind, *constraints = get_args(annotation)
    return kind, tuple(constraints)


FINITE = Range(-1e308, 1e308)  # excludes nan, inf, and integers that are too large for a float, such as 10**400
_HAS_TYPE: dict[Any, Callable[[Any, Any], bool]] = {
    int: lambda _, value: isinstance(value, int) and not isinstance(value, bool),
    float: lambda _, value: isinstance(value, int | float) and not isinstance(value, bool) and FINITE.admits(value),
    bool: lambda _, value: isinstance(value, bool),
    str: lambda _, value: isinstance(value, str) and value != "",
    Literal: lambda kind, value: isinstance(value, str) and value in get_args(kind),
}


# Messages. --------------------------------------------------------------------------------------------------------


def mismatch(where: str, expected: str, found: object) -> InputError:
    """The error `where: expected X, found Y`, with `found` abbreviated and its secrets masked."""
    return InputError(f"{where}{': ' if where else ''}expected {expected}, found {abbreviated(found)}")


def unknown_key(key: object, known: Iterable[str], where: str) -> InputError:
    """The error for an unknown key. The message suggests a known key with similar spelling if there is one."""
    known = list(known)
    expected = f"the keys {', '.join(known)}" if known else "no keys"
    return InputError(f"{mismatch(where, expected, key)}{suggestion(key, known)}")


def suggestion(found: object, known: Iterable[str]) -> str:
    """The end of a message, with the known name that is most similar to `found`; empty if no name is similar."""
    if not isinstance(found, str):
        return ""
    by_lower_case = {name.lower(): name for name in known}
    similar = difflib.get_close_matches(found.lower()[:MAX_TEXT_LENGTH], by_lower_case, n=1)
    return f"; did you mean {by_lower_case[similar[0]]}?" if similar else ""


def join(where: str, name: str) -> str:
    """The dotted name of a parameter, e.g. `train.lr`."""
    return f"{where}.{name}" if where else name


def _describe(annotation: Any) -> str:
    """Description of an annotation's valid values, for messages."""
    kind, constraints = _split(annotation)
    if is_dataclass(kind) or get_origin(kind) is Mapping:
        return "a group of named values"
    if get_origin(kind) is tuple:
        return " ".join(["a list", *map(str, constraints)])
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if kind is str:
        return str(constraints[0]) if constraints else "a non-empty string"
    if kind is bool:
        return "true or false"
    return " ".join(["a whole number" if kind is int else "a number", *map(str, constraints)])

"""Frozen dataclasses as schemas: types and ranges are declared once, as annotations, and `read` checks a value.

    @dataclass(frozen=True)
    class Train:
        epochs: Annotated[int, Range(1, 10_000)]
        lr: Annotated[float, Range(1e-9, 10)]

Supported are bool, int, float, str, `Literal`, `tuple[T, ...]`, nested dataclasses, and `T | None` with the default
None for what may be absent. Every error is an InputError `where: expected X, found Y`, in one line of bounded length.
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

LONGEST = 100  # characters of a text in a message


class _Abbreviation(reprlib.Repr):
    def repr_str(self, value: str, level: int) -> str:
        return super().repr_str(masked(value), level)

    def repr_int(self, value: int, level: int) -> str:
        # Python refuses to write integers of more than 4,300 digits.
        return super().repr_int(value, level) if value.bit_length() < 10_000 else "a huge whole number"


_ABBREVIATION = _Abbreviation()
_ABBREVIATION.maxlevel, _ABBREVIATION.maxstring, _ABBREVIATION.maxother = 2, LONGEST, LONGEST
abbreviated = _ABBREVIATION.repr  # a value as messages show it: however large it is, and no secrets


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both included."""

    low: float
    high: float

    def admits(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"from {self.low:.10g} to {self.high:.10g}"


@dataclass(frozen=True)
class Pattern:
    """A regular expression for a whole text, and what messages call such a text."""

    regex: str
    meaning: str

    def admits(self, value: str) -> bool:
        return re.fullmatch(self.regex, value) is not None

    def __str__(self) -> str:
        return self.meaning


@dataclass(frozen=True)
class Length:
    """Bounds of a list's length, both included."""

    low: int
    high: int

    def admits(self, value: tuple[Any, ...]) -> bool:
        return self.low <= len(value) <= self.high

    def __str__(self) -> str:
        return f"of {self.low} to {self.high} values"


DEFAULT_LENGTH = Length(1, 100)
NAME = Pattern("[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", "a name of at most 64 letters, digits, - and _")
Name = Annotated[str, NAME]


# Sections. --------------------------------------------------------------------------------------------------------


def read(schema: type[T], value: object, where: str) -> T:
    """An instance of the dataclass `schema` from a mapping; raises InputError naming the first invalid value."""
    group = as_group(value, where)
    check_keys(schema, group, where)
    annotations = _annotations(schema)
    return schema(**{name: convert(annotations[name], item, join(where, name)) for name, item in group.items()})


def check_keys(schema: type, group: Mapping[str, Any], where: str) -> None:
    """Raise InputError for the first key that the dataclass does not have, or has and `group` lacks."""
    known = names(schema)
    for key in group:
        if key not in known:
            raise unknown(key, known, where)
    annotations = _annotations(schema)
    for name in required(schema):
        if name not in group:
            raise InputError(f"{join(where, name)}: expected {_describe(annotations[name])}, found none")


def read_arguments(
    arguments: Mapping[str, Any], schemas: Mapping[str, type], where: str, others: Iterable[str] = ()
) -> dict[str, Any]:
    """Distribute the arguments of a section over the dataclasses that declare them.

    Args:
        schemas: by what declares them, e.g. {"network": cnn.Arguments, "front_end": cepstral.Arguments}.
        others: keys that the section may also have, for suggestions.

    Returns:
        an instance of each dataclass, by the keys of `schemas`

    Raises:
        InputError: an argument is unknown, missing or invalid, or its name is declared twice.
    """
    declared = [name for schema in schemas.values() for name in names(schema)]
    known = [*declared, *others]
    for name in declared:
        if known.count(name) > 1:
            raise InputError(f"{join(where, name)}: expected one declaration, of {' or '.join(schemas)}, found two")
    for key in arguments:
        if key not in declared:
            raise unknown(key, known, where)
    return {role: read(schema, divide(arguments, names(schema))[0], where) for role, schema in schemas.items()}


def divide(group: Mapping[str, Any], names: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The items of a group with one of these names, and the others."""
    chosen = {key: value for key, value in group.items() if key in names}
    others = {key: value for key, value in group.items() if key not in chosen}
    return chosen, others


def names(schema: type) -> list[str]:
    """The parameters that a dataclass declares."""
    return [field.name for field in fields(schema)]


def required(schema: type) -> list[str]:
    """The parameters of a dataclass that have no default."""
    return [item.name for item in fields(schema) if item.default is MISSING and item.default_factory is MISSING]


def _annotations(schema: type) -> dict[str, Any]:
    """The annotation of each parameter, its constraints included."""
    return get_type_hints(schema, include_extras=True)


def as_group(value: object, where: str) -> Mapping[str, Any]:
    """`value`, if it is a mapping; else raises InputError."""
    if not isinstance(value, Mapping):
        raise wrong(where, "a group of named values", value)
    return value


def read_named(read_item: Callable[[object, str], T], value: object, where: str) -> dict[str, T]:
    """A group whose keys are names that the user chooses; `read_item(value, where)` reads each entry."""
    group = as_group(value, where)
    for key in group:
        convert(Name, key, where)
    return {key: read_item(item, join(where, key)) for key, item in group.items()}


# Values. ----------------------------------------------------------------------------------------------------------


def convert(annotation: Any, value: Any, where: str) -> Any:
    """`value` as an instance of the annotated type; raises InputError if it is none."""
    kind, constraints = _split(annotation)
    if is_dataclass(kind):
        return read(kind, value, where)  # type: ignore[arg-type]
    if get_origin(kind) is Mapping:  # whatever it holds is checked elsewhere
        return as_group(value, where)
    if get_origin(kind) is tuple:
        return _convert_list(annotation, value, where)

    valid = _VALID[get_origin(kind) or kind](kind, value)
    if not valid or not all(constraint.admits(value) for constraint in constraints):
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        raise InputError(f"{wrong(where, _describe(annotation), value)}{suggestion(value, choices)}")
    return float(value) if kind is float else value


def _convert_list(annotation: Any, value: Any, where: str) -> tuple[Any, ...]:
    kind, constraints = _split(annotation)
    (length,) = constraints or (DEFAULT_LENGTH,)
    if not isinstance(value, list | tuple) or not length.admits(value):
        raise wrong(where, f"a list {length}", value)
    item_kind, _ = get_args(kind)
    return tuple(convert(item_kind, item, f"{where}[{place}]") for place, item in enumerate(value))


def _split(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type and the constraints of an annotation; of `T | None`, those of T."""
    if get_origin(annotation) in (UnionType, Union):  # null does not leave a parameter out
        annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
    if get_origin(annotation) is not Annotated:
        return annotation, ()
    kind, *constraints = get_args(annotation)
    return kind, tuple(constraints)


FINITE = Range(-1e308, 1e308)  # neither nan nor 10**400
_VALID: dict[Any, Callable[[Any, Any], bool]] = {
    int: lambda _, value: isinstance(value, int) and not isinstance(value, bool),
    float: lambda _, value: isinstance(value, int | float) and not isinstance(value, bool) and FINITE.admits(value),
    bool: lambda _, value: isinstance(value, bool),
    str: lambda _, value: isinstance(value, str) and value != "",
    Literal: lambda kind, value: isinstance(value, str) and value in get_args(kind),
}


# Messages. --------------------------------------------------------------------------------------------------------


def wrong(where: str, expected: str, found: object) -> InputError:
    return InputError(f"{where}{': ' if where else ''}expected {expected}, found {abbreviated(found)}")


def unknown(key: object, known: Iterable[str], where: str) -> InputError:
    """The error for a key that is not among the known ones; it suggests the most similar one."""
    known = list(known)
    expected = f"the keys {', '.join(known)}" if known else "no keys"
    return InputError(f"{wrong(where, expected, key)}{suggestion(key, known)}")


def suggestion(found: object, known: Iterable[str]) -> str:
    """The end of a message: the known name that is most similar to the one found, if one is."""
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(found.lower()[:LONGEST], lower, n=1) if isinstance(found, str) else []
    return f"; did you mean {lower[near[0]]}?" if near else ""


def join(where: str, name: str) -> str:
    """The dotted name of a parameter."""
    return f"{where}.{name}" if where else name


def _describe(annotation: Any) -> str:
    """Words for the values that an annotation admits."""
    kind, constraints = _split(annotation)
    if is_dataclass(kind) or get_origin(kind) is Mapping:
        return "a group of named values"
    if get_origin(kind) is tuple:
        return " ".join(["a list", *map(str, constraints)])
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if kind is str:
        return str(constraints[0]) if constraints else "a text"
    if kind is bool:
        return "true or false"
    return " ".join(["a whole number" if kind is int else "a number", *map(str, constraints)])

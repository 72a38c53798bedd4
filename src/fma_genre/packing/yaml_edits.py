"""Edits of a YAML document that keep all of its other lines, with their comments."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from fma_genre.common.errors import InputError

INDENT = 2


def set_value(text: str, path: Sequence[str], value: object) -> str:
    """Replace the scalar at a path of keys.

    Raises:
        InputError: there is no such path, here and in the other functions.
    """
    _, node = find(text, path)
    return text[: node.start_mark.index] + str(value) + text[node.end_mark.index :]


def add(text: str, path: Sequence[str], section: Mapping[str, Any]) -> str:
    """Add a section at a new path of keys, as the first one of its parent, which must not be in braces."""
    _, parent = find(text, path[:-1])
    first = parent.value[0][0].start_mark
    lines = [f"{path[-1]}:", *_block(section, INDENT)]
    start = line_start(text, first.index)
    return text[:start] + "".join(f"{' ' * first.column}{line}\n" for line in lines) + text[start:]


def _block(section: Mapping[str, Any], indent: int) -> Iterator[str]:
    """Lines of a section. Strings are in quotes, since a checksum may look like a number."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield f"{' ' * indent}{key}:"
            yield from _block(value, indent + INDENT)
        else:
            yield f"{' ' * indent}{key}: {json.dumps(value, ensure_ascii=False)}"


def remove(text: str, path: Sequence[str]) -> str:
    """Remove the section at a path of keys, with the comments that follow it."""
    key, _ = find(text, path)
    _, parent = find(text, path[:-1])
    starts = [sibling.start_mark.index for sibling, _ in parent.value] + [parent.end_mark.index]
    end = starts[starts.index(key.start_mark.index) + 1]
    return text[: line_start(text, key.start_mark.index)] + text[line_start(text, end) :]


def find(text: str, path: Sequence[str]) -> tuple[Any, Any]:
    """The nodes of a key and of its value in a YAML document."""
    key: Any = None
    node: Any = yaml.compose(text)
    for name in path:
        found = [pair for pair in node.value if pair[0].value == name]
        if not found:
            raise InputError(f"expected the key {'.'.join(path)}, found none")
        key, node = found[0]
    return key, node


def line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1

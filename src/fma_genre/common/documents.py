"""Texts, JSON and YAML from files that anybody may have written, read in bounded time and memory.

A pull request, a stopped run or another program may leave anything in the place of such a file: a FIFO, a device, a
folder, gigabytes, another encoding, numbers without end, a group that holds itself. Each is one line that names it.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

from fma_genre.common.errors import InputError
from fma_genre.common.schema import FINITE, abbreviated
from fma_genre.common.strict_yaml import FLOAT, INTEGER

LARGEST = 1 << 22  # bytes of a text or of JSON
LARGEST_YAML = 1 << 20  # bytes, for which PyYAML takes up to 40 s and 600 MB; a model has some 5,000 in dvc.lock
DEEPEST = 50  # groups in groups
LONGEST_NUMBER = 400  # characters in YAML: whoever multiplies 1:1:1:… out by 60s takes hours
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a symbolic link",
}


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        InputError: it is no file, cannot be read, is larger than any that is expected, or is not UTF-8.
        FileNotFoundError: it does not exist.
    """
    return _decoded(read_bytes(path), path)


def read_json(path: Path) -> Any:
    """A file's JSON value; raises as `read_text` does, and `from_json`."""
    return from_json(read_bytes(path), path)


def read_yaml(path: Path) -> Any:
    """A file's YAML value; raises as `read_text` does, and `from_yaml`."""
    return from_yaml(read_bytes(path, LARGEST_YAML), path)


def read_bytes(path: Path, most: int = LARGEST) -> bytes:
    """A file's content, of at most so many bytes; raises as `read_text` does."""
    try:
        check_kind(path, path.stat().st_mode)  # ahead, since to open a device or a pipe may do something
        with open(path, "rb", opener=_open_without_waiting) as file:
            check_kind(path, os.fstat(file.fileno()).st_mode)
            content = file.read(most)
            if file.read(1):
                raise InputError(f"{path}: expected at most {most} bytes, found more")
            return content
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be read, found: {error.strerror}") from error


def check_kind(where: object, mode: int) -> None:
    """Raise InputError unless `mode`, a file's type and rights, is that of an ordinary file."""
    if not stat.S_ISREG(mode):
        raise InputError(f"{where}: expected a file, found {KINDS.get(stat.S_IFMT(mode), 'something else')}")


def check_size(where: object, size: int, most: int = LARGEST) -> None:
    """Raise InputError for more bytes than any document that is expected has."""
    if size > most:
        raise InputError(f"{where}: expected at most {most} bytes, found {size}")


def from_json(content: bytes, where: object) -> Any:
    """The value of a JSON document; raises InputError, which begins with `where`, if it is none that we would write."""
    try:
        return _checked(json.loads(_decoded(content, where), parse_constant=_refuse_constant))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: expected JSON, found: {_line(error)}") from error


def from_yaml(content: bytes, where: object) -> Any:
    """The value of a YAML document; raises InputError, which begins with `where`, if it is none that DVC would write.

    Unlike `strict_yaml.parse`, it takes what DVC and older commits wrote: only what could take forever is refused.
    """
    check_size(where, len(content), LARGEST_YAML)
    try:
        return _checked(yaml.load(_decoded(content, where), Loader=_Loader))
    except (yaml.YAMLError, ValueError, ArithmeticError, TypeError, RecursionError) as error:
        raise InputError(f"{where}: expected YAML, found: {_line(error)}") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's loader without aliases, a few of which can stand for billions of values, and without endless numbers."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            mark: Any = event.start_mark
            raise ValueError(f"the alias {abbreviated(event.anchor)} in line {mark.line + 1}")
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if node.tag in (INTEGER, FLOAT) and len(node.value) > LONGEST_NUMBER:
            raise ValueError(f"a number of {len(node.value)} characters")
        return super().construct_object(node, deep)


def _checked(value: Any) -> Any:
    """`value`; raises ValueError if it is nested too deeply, or holds a number that is not finite."""
    layer = [value]
    for _ in range(DEEPEST):
        for item in layer:
            if isinstance(item, int | float) and not FINITE.admits(item):
                raise ValueError(f"the number {abbreviated(item)}")
        layer = [item for group in layer for item in _items(group)]
        if not layer:
            return value
    raise ValueError(f"more than {DEEPEST} groups in groups")


def _items(group: Any) -> list[Any]:
    if isinstance(group, dict):
        return [*group.keys(), *group.values()]
    return list(group) if isinstance(group, list | tuple | set) else []


def _refuse_constant(name: str) -> None:
    raise ValueError(f"the number {name}")


def _decoded(content: bytes, where: object) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: expected UTF-8, found: {error.reason} at byte {error.start}") from error


def _line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"more than {DEEPEST} groups in groups"
    return " ".join(str(error).split())[:500]


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that took its place meanwhile is not waited for, and a terminal not taken over."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)

"""Text, JSON and YAML files from untrusted sources, read in bounded time and memory.

A pull request, a killed run or another program may leave anything in place of an expected file: a pipe, a device, a
folder, gigabytes of data, text in another encoding, marks of a merge conflict, very long numbers, or a YAML alias that
refers to itself. Each of these raises an InputError that names the file.
"""

import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from fma_genre.common.errors import InputError
from fma_genre.common.schema import FINITE, abbreviated, mismatch
from fma_genre.common.strict_yaml import FLOAT, INTEGER, explain, line_number

MAX_BYTES = 1 << 22  # largest size of a text or JSON file
MAX_YAML_BYTES = 1 << 20  # PyYAML needs up to 40 s and 600 MB to read 1 MiB; dvc.lock has 5,000 bytes per model
MAX_DEPTH = 50  # levels of nested lists and mappings
MAX_NUMBER_LENGTH = 400  # characters; YAML 1.1 reads 1:1:1:… as a base-60 number, and parsing a long one takes hours
MERGE_MARK = re.compile(r"^(?:<{7}|>{7}) .*", re.MULTILINE)
FILE_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a symbolic link",
}


def read_text(path: Path) -> str:
    """Read a UTF-8 text file.

    Raises:
        InputError: the path is not a regular file, or the file is unreadable, larger than MAX_BYTES, not UTF-8, or has
            marks of a merge conflict.
        FileNotFoundError: the file does not exist.
    """
    return decode(read_bytes(path), path)


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises the same errors as `read_text` and `from_json`."""
    return from_json(read_bytes(path), path)


def read_yaml(path: Path) -> Any:
    """Read a YAML file. Raises the same errors as `read_text` and `from_yaml`."""
    return from_yaml(read_bytes(path, MAX_YAML_BYTES), path)


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a file of up to `max_bytes` bytes. Raises the same errors as `read_text`."""
    try:
        check_kind(path, path.stat().st_mode)  # before opening: opening a device or a pipe can have side effects
        with open(path, "rb", opener=_open_nonblocking) as file:
            check_kind(path, os.fstat(file.fileno()).st_mode)
            content = file.read(max_bytes)
            if file.read(1):
                raise InputError(f"{path}: expected at most {max_bytes} bytes, found more")
            return content
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from error


def check_kind(where: object, mode: int) -> None:
    """Raise InputError unless `mode`, the st_mode of a file, marks a regular file. The message begins with `where`."""
    if not stat.S_ISREG(mode):
        raise InputError(f"{where}: expected a file, found {FILE_KINDS.get(stat.S_IFMT(mode), 'something else')}")


def check_size(where: object, size: int, max_bytes: int = MAX_BYTES) -> None:
    """Raise InputError if `size` exceeds `max_bytes`. The message begins with `where`."""
    if size > max_bytes:
        raise InputError(f"{where}: expected at most {max_bytes} bytes, found {size}")


def from_json(content: bytes, where: object) -> Any:
    """Parse a JSON document.

    Raises:
        InputError: the content is not JSON, is nested too deeply, or contains a number that is not finite. The message
            begins with `where`.
    """
    try:
        return _check_value(json.loads(decode(content, where), parse_constant=_refuse_constant))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: cannot be read as JSON: {_one_line(error)}") from error


def from_yaml(content: bytes, where: object) -> Any:
    """Parse a YAML document that DVC may have written.

    Unlike `strict_yaml.parse`, this function accepts any YAML that DVC may write or an older commit may contain. It
    refuses only numbers that are not finite, and content that could take unbounded time or memory.

    Raises:
        InputError: the content is not YAML, is too large or nested too deeply, or contains an alias or a number that is
            too long or not finite. The message begins with `where`.
    """
    check_size(where, len(content), MAX_YAML_BYTES)
    text = decode(content, where)
    try:
        return _check_value(yaml.load(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise InputError(f"{where}: {explain(error, text)}") from error
    except (ValueError, ArithmeticError, TypeError, RecursionError) as error:
        raise InputError(f"{where}: cannot be read as YAML: {_one_line(error)}") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but it refuses aliases and very long numbers.

    A few nested aliases can expand to billions of values, and parsing a very long number can take hours.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            mark: Any = event.start_mark
            raise ValueError(f"the alias {abbreviated(event.anchor)} in line {mark.line + 1}")
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if node.tag in (INTEGER, FLOAT) and len(node.value) > MAX_NUMBER_LENGTH:
            raise ValueError(f"a number of {len(node.value)} characters")
        return super().construct_object(node, deep)


def _check_value(value: Any) -> Any:
    """Return `value`; raise ValueError if it is nested too deeply or contains a number that is not finite."""
    level = [value]
    for _ in range(MAX_DEPTH):
        for item in level:
            if isinstance(item, int | float) and not FINITE.admits(item):
                raise ValueError(f"the number {abbreviated(item)}, which is not finite")
        level = [item for container in level for item in _items(container)]
        if not level:
            return value
    raise ValueError(f"more than {MAX_DEPTH} levels of nesting")


def _items(value: Any) -> list[Any]:
    """The keys and values of a mapping, or the items of a list, tuple or set. A scalar has no items."""
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, list | tuple | set) else []


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python's `json` accepts by default."""
    raise ValueError(f"the number {name}")


def decode(content: bytes, where: object) -> str:
    """Decode UTF-8.

    Raises:
        InputError: the content is not UTF-8, or has marks of a merge conflict. The message begins with `where`.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: expected UTF-8, found: {error.reason} at byte {error.start}") from error
    if found := MERGE_MARK.search(text):
        line = line_number(text, found.start())
        marked = mismatch(f"{where}: line {line}", "no marks of a merge conflict", found[0].rstrip())
        raise InputError(f"{marked}; see `Merge conflicts` in docs/collaboration.md")
    return text


def _one_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"more than {MAX_DEPTH} levels of nesting"
    return " ".join(str(error).split())[:500]


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file without waiting.

    If a pipe or a terminal has replaced the file since the call of `stat`, opening it does not wait for the pipe's
    writer, and does not make the terminal the controlling terminal of this process.
    """
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def hash_json(value: object) -> str:
    """The sha256 of a JSON value; other values count as their text."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()

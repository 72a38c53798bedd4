"""Outputs that are whole or absent: written beside their place, then renamed into it."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fma_genre import InputError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a temporary path for a file or folder; what is there when the block ends well becomes `path`."""
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(part)
    try:
        yield part
        if path.is_dir() or part.is_dir():
            remove(path)  # a file is replaced at once: who looks finds the old one or the new one
        part.replace(path)
    finally:
        remove(part)


def check_room(folder: Path, sizes: Mapping[Path, int]) -> None:
    """Raises InputError if files in `folder`, some of them perhaps begun, cannot grow to these sizes in bytes."""
    begun = sum(path.stat().st_blocks * 512 for path in sizes if path.exists())
    missing, free = sum(sizes.values()) - begun, shutil.disk_usage(folder).free
    if missing > free:
        raise InputError(f"needs {missing / 1e9:.3g} GB more, found {free / 1e9:.3g} GB free in {folder.resolve()}")


def link(source: Path, target: Path) -> None:
    """Gives the file `source` a second name; where the file system has no hard links, copies it."""
    with whole(target) as part:
        try:
            part.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, part)


def remove(path: Path) -> None:
    """Removes a file or a folder with all in it; one that is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    with whole(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    with whole(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Floats are rounded to six digits: what differs beyond them is no result."""
    write_text(path, json.dumps(_rounded(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value

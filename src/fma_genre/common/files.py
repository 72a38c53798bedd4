"""Atomic output files: written under a temporary name, then renamed."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fma_genre.common.documents import check_kind
from fma_genre.common.errors import InputError


def resolve(path: str | Path) -> Path:
    """Expand `~`, and resolve a relative path from the root of the checkout.

    `dvc exp run --temp` runs in a temporary copy of the checkout; DVC_ROOT is then the path of the original.
    """
    try:
        return Path(os.environ.get("DVC_ROOT", ".")) / Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: cannot expand ~: {error}") from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a stage's output; rename it to `path` if the block succeeds.

    The temporary name is fixed, so the next run removes what a killed run left behind. An output folder replaces
    whatever is at `path`, because the path belongs to the stage. An output file replaces only a regular file.

    Raises:
        InputError: the output is a file, but `path` exists and is not a regular file.
    """
    temporary = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(temporary)
    try:
        yield temporary
        if temporary.is_dir():
            remove(path)  # a rename cannot replace a folder
            temporary.replace(path)
        else:
            _replace_file(path, temporary)
    finally:
        remove(temporary)


def export(path: Path, content: bytes) -> None:
    """Write a file into a folder of the user. If `path` exists, replace it only if it is a regular file.

    Raises:
        InputError: `path` exists and is not a regular file.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=path.parent) as folder:  # a random name, so that no file is overwritten
        temporary = Path(folder) / path.name
        temporary.write_bytes(content)
        _replace_file(path, temporary)


def _replace_file(path: Path, temporary: Path) -> None:
    """Rename `temporary` to `path`; raise InputError if `path` exists and is not a regular file."""
    if path.exists():
        check_kind(path, path.stat().st_mode)
    temporary.replace(path)


def link(source: Path, target: Path) -> None:
    """Hard-link the file `source` to `target`, or copy it if the file system has no hard links."""
    with atomic(target) as temporary:
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents; do nothing if `path` does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically, with `\\n` line endings on every system."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write an indented JSON file atomically; raise ValueError for NaN and infinity."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

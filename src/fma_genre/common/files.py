"""Atomic outputs: written beside their destination, then renamed into place."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fma_genre.common.errors import InputError


def resolve(path: str | Path) -> Path:
    """Expand `~`, and resolve a relative path from the checkout's root.

    `dvc exp run --temp` runs in a temporary copy; DVC_ROOT then names the original checkout.
    """
    try:
        return Path(os.environ.get("DVC_ROOT", ".")) / Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: expected ~ to be a user's home directory, found: {error}") from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a file or folder, which becomes `path` if the block succeeds."""
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(part)
    try:
        yield part
        if path.is_dir() or part.is_dir():
            remove(path)  # a rename replaces files, but no folders
        part.replace(path)
    finally:
        remove(part)


def link(source: Path, target: Path) -> None:
    """Hard-link the file `source` to `target`, or copy it where the file system has no hard links."""
    with atomic(target) as part:
        try:
            part.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, part)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents; do nothing if it does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    with atomic(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, values: Mapping[str, object]) -> None:
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

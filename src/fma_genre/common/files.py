"""Atomic outputs: written beside their destination, then renamed into place."""

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
    """Expand `~`, and resolve a relative path from the checkout's root.

    `dvc exp run --temp` runs in a temporary copy; DVC_ROOT then names the original checkout.
    """
    try:
        return Path(os.environ.get("DVC_ROOT", ".")) / Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: expected ~ to be a user's home directory, found: {error}") from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path for an output of a stage, which becomes `path` if the block succeeds.

    Its name is always the same, so that the next run removes what a killed one left. A folder, which is the stage's
    own, replaces whatever was there; a file replaces only a file.

    Raises:
        InputError: something else than a file is where the file shall be.
    """
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(part)
    try:
        yield part
        if part.is_dir():
            remove(path)  # a rename replaces files, but no folders
            part.replace(path)
        else:
            _replace_file(path, part)
    finally:
        remove(part)


def export(path: Path, content: bytes) -> None:
    """Write a file into a folder that may hold anything of the user's: nothing but a file `path` is replaced.

    Raises:
        InputError: something else than a file is there.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=path.parent) as folder:  # with a name that nothing else has
        part = Path(folder) / path.name
        part.write_bytes(content)
        _replace_file(path, part)


def _replace_file(path: Path, part: Path) -> None:
    if path.exists():
        check_kind(path, path.stat().st_mode)
    part.replace(path)


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

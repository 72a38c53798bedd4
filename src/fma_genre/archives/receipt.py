"""The receipt of a data set's archives, and the archives themselves, which lie verified in the folder FMA_HOME.

    <sha1>/<name>         an archive with this sha1; for a local source, a symlink to it
    <sha1>/<name>.json    its stamp: size and time of the file that was hashed; while they hold, it is not hashed again

The stage download puts archives there (fma_genre.fetch); later stages only open them.
"""

import contextlib
import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_cache_path

from fma_genre.common import documents, progress, schema
from fma_genre.common.errors import InputError
from fma_genre.common.files import resolve, write_json
from fma_genre.common.params import SHA1, DataSet
from fma_genre.common.schema import Range

RECEIPT = Path("data/archives.json")
FETCH_AGAIN = "`dvc repro --force --single-item download` brings it back"
CHUNK = 1 << 20  # bytes hashed at once


@dataclass(frozen=True)
class Archive:
    name: str  # file name
    size: Annotated[int, Range(0, 2**62)]  # bytes
    sha1: Annotated[str, SHA1]

    @property
    def path(self) -> Path:
        """Its place in FMA_HOME."""
        return home() / self.sha1 / self.name


@dataclass(frozen=True)
class Receipt:
    """The archives of a data set, as the stage download found them."""

    dataset: str
    synthetic: bool  # the built-in demo, whose results say nothing about music
    metadata: Archive
    audio: Archive


def write_receipt(path: Path, receipt: Receipt) -> None:
    write_json(path, asdict(receipt))


def read_receipt(path: Path = RECEIPT) -> Receipt:
    """Raise InputError if the file does not hold a receipt."""
    try:
        return schema.read(Receipt, documents.read_json(path), "")
    except InputError as error:
        raise InputError(f"{path}: expected the receipt that the stage download writes, found: {error}") from error


def check_current(receipt: Receipt, dataset: str, entry: DataSet) -> None:
    """Raise InputError unless the receipt is that of this data set, with the archives whose sha1 params.yaml names."""
    if receipt.dataset != dataset:
        raise InputError(f"{RECEIPT}: expected data set {dataset}, found {receipt.dataset}: run `dvc repro download`")
    for archive, source in ((receipt.metadata, entry.metadata), (receipt.audio, entry.audio)):
        if source.sha1 is not None and archive.sha1 != source.sha1.lower():
            raise InputError(
                f"{RECEIPT}: expected {archive.name} with sha1 {source.sha1.lower()} as in params.yaml,"
                f" found {archive.sha1}: run `dvc repro download`"
            )


def open_archive(receipt: Receipt, role: Literal["metadata", "audio"]) -> Archive:
    """The data set's archive, checked to be the one in the receipt.

    Raises:
        InputError: it is missing or damaged; the message names the command that brings it back.
    """
    archive: Archive = getattr(receipt, role)
    if verify(archive.path, archive.sha1):
        return archive
    found = "another file" if archive.path.is_file() else "none"
    raise InputError(f"{archive.path}: expected the {role} of data set {receipt.dataset}, found {found}: {FETCH_AGAIN}")


def home() -> Path:
    """FMA_HOME, or the user's cache folder; a relative path starts at the checkout's root."""
    return resolve(os.environ.get("FMA_HOME") or user_cache_path("fma-genre")).absolute()


# Verification. ----------------------------------------------------------------------------------------------------


def verify(path: Path, sha1: str) -> bool:
    """Whether the file has this sha1, by its stamp or else by hashing it, which renews the stamp."""
    if is_stamped(path, sha1):
        return True
    if not path.is_file():
        return False
    stamp = make_stamp(path, sha1)  # before hashing: it will not fit a file that changes meanwhile
    if hash_file(path).hexdigest() != sha1:
        return False
    with contextlib.suppress(OSError):  # a shared FMA_HOME may be read-only
        write_stamp(path, stamp)
    return True


def is_stamped(path: Path, sha1: str) -> bool:
    """Whether the file is as it was when this sha1 was verified."""
    return path.is_file() and read_json(sibling(path, ".json")) == make_stamp(path, sha1)


def make_stamp(path: Path, sha1: str) -> dict[str, object]:
    status = path.stat()
    return {"sha1": sha1, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def write_stamp(path: Path, stamp: dict[str, object]) -> None:
    write_json(sibling(path, ".json"), stamp)


def hash_file(path: Path) -> "hashlib._Hash":
    """The file's sha1 so far, to which more bytes can be added."""
    digest = hashlib.sha1(usedforsecurity=False)
    size = path.stat().st_size
    with path.open("rb") as file, progress_bar(f"checking {path.name}", size) as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest


def progress_bar(description: str, total: int | None, done: int = 0) -> Any:
    """A progress bar that counts bytes."""
    return progress.bar(desc=description, total=total, initial=done, unit="B", unit_scale=True)


def sibling(path: Path, suffix: str) -> Path:
    """The file beside `path` with this suffix added to its name."""
    return path.with_name(path.name + suffix)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty if the file is absent or broken, since these files can be made anew."""
    try:
        return dict(documents.read_json(path))
    except (InputError, OSError, ValueError, TypeError):
        return {}

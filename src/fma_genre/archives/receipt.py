"""Verified archives in the folder FMA_HOME, and the receipt that lists the archives of a data set.

    <sha1>/<name>         the archive; for a local source, a symlink to it
    <sha1>/<name>.json    its stamp: the archive's sha1, size and modification time when it was verified

An archive is hashed again only if its size or modification time no longer matches the stamp. The stage `download` puts
archives into FMA_HOME (see fma_genre.fetch). Later stages open the archives that the receipt lists.
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
from fma_genre.common.params import SHA1, DataSet, Params
from fma_genre.common.schema import Range

RECEIPT = Path("data/archives.json")
FETCH_AGAIN = "`dvc repro --force --single-item download` fetches it again"
CHUNK = 1 << 20  # bytes read at a time for hashing


@dataclass(frozen=True)
class Archive:
    name: str  # file name
    size: Annotated[int, Range(0, 2**62)]  # bytes
    sha1: Annotated[str, SHA1]

    @property
    def path(self) -> Path:
        """The archive's path in FMA_HOME."""
        return home() / self.sha1 / self.name


@dataclass(frozen=True)
class Receipt:
    """Names, sizes and sha1 of a data set's archives, as verified by the stage `download`."""

    dataset: str
    synthetic: bool  # true for the built-in demo, whose results say nothing about music
    metadata: Archive
    audio: Archive


def write_receipt(path: Path, receipt: Receipt) -> None:
    write_json(path, asdict(receipt))


def read_receipt(path: Path = RECEIPT) -> Receipt:
    """Read the receipt; raise InputError if the file is not a receipt."""
    try:
        return schema.read(Receipt, documents.read_json(path), "")
    except InputError as error:
        raise InputError(f"{path}: cannot read the receipt of the stage download: {error}") from error


def open_current(params: Params, role: Literal["metadata", "audio"]) -> tuple[Receipt, Archive]:
    """Read the receipt, and verify one of its archives, which must belong to the data set of params.yaml.

    Raises:
        InputError: the receipt is that of other archives, or the archive is missing or damaged.
        FileNotFoundError: the receipt does not exist.
    """
    receipt = read_receipt()
    check_current(receipt, params.dataset, params.data_set)
    return receipt, open_archive(receipt, role)


def check_current(receipt: Receipt, dataset: str, entry: DataSet) -> None:
    """Raise InputError unless the receipt has the same data set and the same sha1s as params.yaml."""
    if receipt.dataset != dataset:
        raise InputError(f"{RECEIPT}: expected data set {dataset}, found {receipt.dataset}: run `dvc repro download`")
    for archive, source in ((receipt.metadata, entry.metadata), (receipt.audio, entry.audio)):
        if source.sha1 is not None and archive.sha1 != source.sha1.lower():
            raise InputError(
                f"{RECEIPT}: expected {archive.name} with sha1 {source.sha1.lower()} as in params.yaml,"
                f" found {archive.sha1}: run `dvc repro download`"
            )


def open_archive(receipt: Receipt, role: Literal["metadata", "audio"]) -> Archive:
    """Verify one of the data set's archives against the receipt, and return it.

    Raises:
        InputError: the archive is missing or damaged. The message names the command that fetches it again.
    """
    archive: Archive = getattr(receipt, role)
    if verify(archive.path, archive.sha1):
        return archive
    found = "a file with another sha1" if archive.path.is_file() else "none"
    raise InputError(f"{archive.path}: expected the {role} of data set {receipt.dataset}, found {found}: {FETCH_AGAIN}")


def home() -> Path:
    """The folder FMA_HOME, by default in the user's cache folder. A relative path starts at the checkout's root."""
    return resolve(os.environ.get("FMA_HOME") or user_cache_path("fma-genre")).absolute()


# Verification. ----------------------------------------------------------------------------------------------------


def verify(path: Path, sha1: str) -> bool:
    """Return whether the file has this sha1. If its stamp is missing or outdated, hash the file and renew the stamp."""
    if is_stamped(path, sha1):
        return True
    if not path.is_file():
        return False
    stamp = make_stamp(path, sha1)  # made before hashing: if the file changes meanwhile, the stamp is invalid
    if hash_file(path).hexdigest() != sha1:
        return False
    with contextlib.suppress(OSError):  # a shared FMA_HOME may be read-only
        write_stamp(path, stamp)
    return True


def is_stamped(path: Path, sha1: str) -> bool:
    """Return whether the file has a stamp for this sha1, and has not changed since it was stamped."""
    return path.is_file() and read_json(sibling(path, ".json")) == make_stamp(path, sha1)


def make_stamp(path: Path, sha1: str) -> dict[str, object]:
    status = path.stat()
    return {"sha1": sha1, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def write_stamp(path: Path, stamp: dict[str, object]) -> None:
    write_json(sibling(path, ".json"), stamp)


def hash_file(path: Path) -> "hashlib._Hash":
    """The file's sha1 as a hashlib object, which can be updated with further bytes."""
    digest = hashlib.sha1(usedforsecurity=False)
    size = path.stat().st_size
    with path.open("rb") as file, progress_bar(f"checking {path.name}", size) as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest


def progress_bar(description: str, total: int | None, done: int = 0) -> Any:
    """A progress bar that counts bytes, starting at `done`."""
    return progress.bar(desc=description, total=total, initial=done, unit="B", unit_scale=True)


def sibling(path: Path, suffix: str) -> Path:
    """The path in the same folder with this suffix appended to the name, e.g. `clips.zip.json`."""
    return path.with_name(path.name + suffix)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; return an empty dict if the file is missing or damaged, so that the caller replaces it."""
    try:
        return dict(documents.read_json(path))
    except (InputError, OSError, ValueError, TypeError):
        return {}

"""Transfer of a data set's archives from their sources in params.yaml to the folder FMA_HOME.

    <sha1>/<name>               the archive; for a local source, a symlink to it
    <sha1>/<name>.json          its stamp (fma_genre.archives.receipt)
    <sha1>/<name>.part          an unfinished download, which the next call resumes (fma_genre.fetch.http)
    demo/<fingerprint>.json     record of the demo's archives, under a hash of the generator's code and settings

All checkouts on a machine share this folder. A file gets its final name only after its sha1 has been verified.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout

from fma_genre.archives.receipt import (
    Archive,
    Receipt,
    hash_file,
    home,
    is_stamped,
    make_stamp,
    read_json,
    sibling,
    verify,
    write_stamp,
)
from fma_genre.common.errors import InputError
from fma_genre.common.files import atomic, remove, resolve, write_json
from fma_genre.common.params import DataSet, Source, Synthesis
from fma_genre.common.schema import mismatch
from fma_genre.fetch import demo, http


def fetch(dataset: str, entry: DataSet) -> Receipt:
    """Fetch the archives of a data set, unless FMA_HOME already has them; raise InputError if that fails."""
    if entry.synthesis is not None:
        metadata, audio = fetch_demo(entry.synthesis)
    else:
        metadata = fetch_archive(f"datasets.{dataset}.metadata", entry.metadata)
        audio = fetch_archive(f"datasets.{dataset}.audio", entry.audio)
    return Receipt(dataset, entry.synthetic, metadata, audio)


def fetch_archive(where: str, source: Source) -> Archive:
    """Fetch one archive and verify its sha1, unless it is already in FMA_HOME.

    Args:
        where: name of the archive's parameter, e.g. `datasets.mine.audio`, for messages.
        source: the archive's url and sha1.

    Raises:
        InputError: the archive cannot be fetched or stored, or has another sha1.
    """
    assert source.sha1 is not None  # `params` allows None only for the demo
    sha1 = source.sha1.lower()
    address, name = _locate(where, source.url)
    path = home() / sha1 / name
    try:
        if not is_stamped(path, sha1):  # no lock for readers: a shared FMA_HOME may be read-only
            with _locked(path.with_name(".lock"), where):
                if not verify(path, sha1):
                    _fetch_to(path, where, address, sha1)
        return Archive(name, path.stat().st_size, sha1)
    except OSError as error:
        shown = http.abbreviated(source.url)
        raise InputError(f"{where}: cannot read {shown} or store it in {path.parent}: {error}") from error


def _locate(where: str, url: str) -> tuple[Path | str, str]:
    """Return the archive's address (a local path, or a url to download) and its file name."""
    error = mismatch(f"{where}.url", "https://, http://, file:// or a path, ending in a file name", url)
    try:
        address, name = _parse(url)
    except ValueError:
        raise error from None  # the ValueError's own message may show a secret in the url
    if not name or name.startswith(".") or not name.isprintable():
        raise error
    return address, name


def _parse(url: str) -> tuple[Path | str, str]:
    """Return the address and the file name in a url or path; raise ValueError for any other kind of url."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.hostname and url.isprintable():
        return url, PurePosixPath(unquote(parts.path)).name
    if parts.scheme == "":
        path = resolve(url)
    elif parts.scheme == "file" and parts.netloc in ("", "localhost"):
        path = resolve(unquote(parts.path))
    else:
        raise ValueError("unsupported")
    return path, path.name


@contextmanager
def _locked(path: Path, where: str) -> Iterator[None]:
    """Hold a lock on the file `path`; the operating system releases the lock if this process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{where}: waiting for another process to fetch it", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch_to(path: Path, where: str, address: Path | str, sha1: str) -> None:
    """Download the archive to `path`, or link `path` to a local archive; replace any other file at `path`."""
    remove(path)  # a wrong file must not stay there if fetching fails
    unfinished = sibling(path, ".part")
    if isinstance(address, Path):
        _link(address, path, where, sha1)
    else:
        http.download(f"{where}.url: {http.abbreviated(address)}", address, unfinished, sha1)
        unfinished.replace(path)
        write_stamp(path, make_stamp(path, sha1))
    remove(unfinished)
    remove(sibling(unfinished, ".json"))


def _link(source: Path, path: Path, where: str, sha1: str) -> None:
    """Make `path` a symlink to the local file `source`; raise InputError unless the file has this sha1."""
    if not source.is_file():
        found = "a folder" if source.is_dir() else "none"
        raise InputError(f"{where}.url: expected a file, found {found}: {source}")
    stamp, found = make_stamp(source, sha1), hash_file(source).hexdigest()
    if found != sha1:
        raise InputError(f"{where}.sha1: expected {sha1}, found {found} in {source}")
    with atomic(path) as link:
        link.symlink_to(source.resolve())
    write_stamp(path, stamp)


# The built-in demo. -----------------------------------------------------------------------------------------------


def fetch_demo(settings: Synthesis) -> tuple[Archive, Archive]:
    """Return the demo's metadata and audio archives; build them unless FMA_HOME has them already.

    Like all archives, they are stored under their sha1. After an edit of the generator, they are built again. If the
    new archives have the same bytes, their sha1s and the receipt data/archives.json stay the same.

    Raises:
        InputError: the archives cannot be built or stored.
    """
    record = home() / "demo" / f"{demo.fingerprint(settings)}.json"
    try:
        archives = _read_record(record)
        if archives is None:  # the lock is taken only now: a shared FMA_HOME may be read-only
            with _locked(sibling(record, ".lock"), "demo"):
                archives = _read_record(record) or _build(settings, record)
    except OSError as error:
        raise InputError(f"demo: cannot store its archives in {home()}: {error}") from error
    return archives


def _read_record(record: Path) -> tuple[Archive, Archive] | None:
    """Return the metadata and audio archives that a build has recorded.

    Return None if the record is missing or damaged, or if an archive is missing or has changed.
    """
    values = read_json(record)
    try:
        metadata, audio = Archive(**values["metadata"]), Archive(**values["audio"])
        intact = all(verify(archive.path, archive.sha1) for archive in (metadata, audio))
    except (KeyError, TypeError):
        return None
    return (metadata, audio) if intact else None


def _build(settings: Synthesis, record: Path) -> tuple[Archive, Archive]:
    """Build the demo's metadata and audio archives, and record them."""
    with _scratch_folder(sibling(record, ".part")) as folder:
        audio, metadata = (_store(path) for path in demo.build(settings, folder))
    write_json(record, {"metadata": asdict(metadata), "audio": asdict(audio)})
    return metadata, audio


@contextmanager
def _scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder, and remove it at the end. Files that a killed process left in it are removed first."""
    remove(path)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        remove(path)


def _store(built: Path) -> Archive:
    """Move a newly built archive to its final path in FMA_HOME, and stamp it."""
    archive = Archive(built.name, built.stat().st_size, hash_file(built).hexdigest())
    with _locked(archive.path.with_name(".lock"), "demo"):
        built.replace(archive.path)
        write_stamp(archive.path, make_stamp(archive.path, archive.sha1))
    return archive

"""Archives from wherever params.yaml says, verified and kept once a machine in the folder FMA_HOME.

    <sha1>/<name>               an archive with this sha1; for a local source, a symlink to it
    <sha1>/<name>.json          its stamp (fma_genre.archives.receipt)
    <sha1>/<name>.part          an unfinished download, which the next call continues (fma_genre.fetch.http)
    demo/<fingerprint>.json     the archives that a version of the demo's generator made with these settings

Nothing unverified ever lies under its final name.
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
from fma_genre.common.schema import wrong
from fma_genre.fetch import demo, http


def fetch(dataset: str, entry: DataSet) -> Receipt:
    """Fetch both archives of a data set, unless they are in FMA_HOME; raises InputError if that is impossible."""
    if entry.synthesis is not None:
        metadata, audio = fetch_demo(entry.synthesis)
    else:
        metadata = fetch_archive(f"datasets.{dataset}.metadata", entry.metadata)
        audio = fetch_archive(f"datasets.{dataset}.audio", entry.audio)
    return Receipt(dataset, entry.synthetic, metadata, audio)


def fetch_archive(where: str, source: Source) -> Archive:
    """Fetch and verify one archive, unless it is in FMA_HOME; `where` names its parameter: `datasets.mine.audio`.

    Raises:
        InputError: the archive cannot be fetched or kept, or does not have its sha1.
    """
    assert source.sha1 is not None  # only the demo has none
    sha1 = source.sha1.lower()
    address, name = _locate(where, source.url)
    kept = home() / sha1 / name
    try:
        if not is_stamped(kept, sha1):  # no lock for readers: a shared FMA_HOME may be read-only
            with _locked(kept.with_name(".lock"), where):
                if not verify(kept, sha1):
                    _obtain(where, address, kept, sha1)
        return Archive(name, kept.stat().st_size, sha1)
    except OSError as error:
        raise InputError(
            f"{where}: cannot read {http.shown(source.url)} or keep it in {kept.parent}: {error}"
        ) from error


def _locate(where: str, url: str) -> tuple[Path | str, str]:
    """Where the archive is, a local path or else a url to download, and its file name."""
    error = wrong(f"{where}.url", "https://, http://, file:// or a path, ending in a file name", url)
    try:
        address, name = _parse(url)
    except ValueError:
        raise error from None  # its own message may show a part of the url
    if not name or name.startswith(".") or not name.isprintable():
        raise error
    return address, name


def _parse(url: str) -> tuple[Path | str, str]:
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
    """Hold a lock file, which the system releases if this process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{where}: waiting for another process that is fetching it", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _obtain(where: str, address: Path | str, kept: Path, sha1: str) -> None:
    """Put the archive at `address` to `kept`, in place of any other file there."""
    remove(kept)  # it is not the archive; if fetching fails, nobody may take it for that
    part = sibling(kept, ".part")
    if isinstance(address, Path):
        _link(where, address, kept, sha1)
    else:
        http.download(f"{where}.url: {http.shown(address)}", address, part, sha1)
        part.replace(kept)
        write_stamp(kept, make_stamp(kept, sha1))
    remove(part)
    remove(sibling(part, ".json"))


def _link(where: str, local: Path, kept: Path, sha1: str) -> None:
    """Make `kept` a symlink to a local file, if that has this sha1."""
    if not local.is_file():
        found = "a folder" if local.is_dir() else "none"
        raise InputError(f"{where}.url: expected a file, found {found}: {local}")
    stamp, found = make_stamp(local, sha1), hash_file(local).hexdigest()
    if found != sha1:
        raise InputError(f"{where}.sha1: expected {sha1}, found {found} in {local}")
    with atomic(kept) as link:
        link.symlink_to(local.resolve())
    write_stamp(kept, stamp)


# The built-in demo. -----------------------------------------------------------------------------------------------


def fetch_demo(settings: Synthesis) -> tuple[Archive, Archive]:
    """The demo's metadata and audio, built unless a build by the same generator with these settings is in FMA_HOME.

    They are kept by their sha1 like any other archive. The fingerprint of the generator is no part of their identity:
    an edit of the generator that makes the same bytes gives the same archives.

    Raises:
        InputError: they cannot be built or kept.
    """
    record = home() / "demo" / f"{demo.fingerprint(settings)}.json"
    try:
        if not (archives := _recorded(record)):  # no lock for readers, as above
            with _locked(sibling(record, ".lock"), "demo"):
                archives = _recorded(record) or _build(settings, record)
    except OSError as error:
        raise InputError(f"demo: cannot keep its archives in {home()}: {error}") from error
    metadata, audio = archives
    return metadata, audio


def _recorded(record: Path) -> list[Archive]:
    """The archives in the record of a build; none if the record is absent, or an archive is not as it was built."""
    values = read_json(record)
    try:
        archives = [Archive(**values["metadata"]), Archive(**values["audio"])]
        intact = all(verify(archive.path, archive.sha1) for archive in archives)
    except (KeyError, TypeError):  # absent or damaged
        return []
    return archives if intact else []


def _build(settings: Synthesis, record: Path) -> list[Archive]:
    with _scratch_folder(sibling(record, ".part")) as folder:
        audio, metadata = (_keep(path) for path in demo.build(settings, folder))
    write_json(record, {"metadata": asdict(metadata), "audio": asdict(audio)})
    return [metadata, audio]


@contextmanager
def _scratch_folder(path: Path) -> Iterator[Path]:
    """An empty folder, removed at the end; it replaces one that a killed process left."""
    remove(path)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        remove(path)


def _keep(built: Path) -> Archive:
    """Move an archive that was built to its place by sha1."""
    archive = Archive(built.name, built.stat().st_size, hash_file(built).hexdigest())
    with _locked(archive.path.with_name(".lock"), "demo"):
        built.replace(archive.path)
        write_stamp(archive.path, make_stamp(archive.path, archive.sha1))
    return archive

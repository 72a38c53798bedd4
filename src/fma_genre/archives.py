"""Verified archives, kept once a machine in the folder `FMA_HOME` (default: the user's cache folder).

    <sha1>/<name>             an archive of that sha1; a local one is not copied: a link to where it lies
    <sha1>/<name>.json        its size and time when it was hashed; while they hold, it is not hashed again
    <sha1>/<name>.part        what has arrived of a download; the next call takes it up
    <sha1>/<name>.part.json   by url, the version of the server's file that the part belongs to
    demo/<fingerprint>/       the archives of the built-in demo

Nothing unverified ever lies under its final name.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from tqdm import tqdm

from fma_genre import InputError, progress
from fma_genre.files import remove, whole, write_json

TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds without a byte
ATTEMPTS = 5  # in a row that bring a download no further
BACKOFF = 1.0  # seconds before another attempt, doubled for each one in vain
LONGEST_WAIT = 120.0  # seconds, whatever a Retry-After asks for
CHUNK = 1 << 16  # bytes; a dropped connection loses what it had of one chunk
PASSING = (408, 429, 500, 502, 503, 504)  # statuses, and errors, that may be gone at the next attempt
BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@dataclass(frozen=True)
class Archive:
    path: Path  # where the verified file is
    name: str  # its file name in the url
    size: int  # bytes
    sha1: str


def obtain(part: str, source: Mapping[str, object], root: Path, home: Path | None = None) -> Archive:
    """The archive of `source`, `{url, sha1}`: kept in `home`, or else fetched and verified first.

    `part` names the parameter in messages: `datasets.mine.audio`. Relative paths hold from `root`.
    Raises InputError if the archive cannot be had, cannot be kept, or is not what its sha1 says.
    """
    sha1 = source.get("sha1")
    if not isinstance(sha1, str) or not re.fullmatch("[0-9a-fA-F]{40}", sha1):
        raise InputError(f"{part}.sha1: expected 40 hexadecimal digits in quotes, found {sha1!r}")
    sha1 = sha1.lower()
    address, name = _locate(part, source.get("url"), root)
    kept = _home(home) / sha1 / name
    try:
        if not _recorded(kept, sha1):  # who only reads needs no lock: a shared home may be read-only
            with _alone(kept.with_name(".lock"), part):
                if not _intact(kept, sha1):
                    _fetch(part, address, kept, sha1)
        return Archive(kept, name, kept.stat().st_size, sha1)
    except OSError as error:
        raise InputError(f"{part}: cannot read {address} or keep it in {kept.parent}: {error}") from error


def obtain_demo(synthesis: Mapping[str, int], home: Path | None = None) -> tuple[Archive, Archive]:
    """The built-in demo's audio and metadata archives, built if these settings' are not there and intact.

    Raises InputError if they cannot be kept in `home`.
    """
    from fma_genre import demo  # late: no other data set needs the synthesiser and what it imports

    folder = _home(home) / "demo" / demo.fingerprint(synthesis)
    try:
        with _alone(_beside(folder, ".lock"), "demo"):
            if not _kept_demo(folder):
                with whole(folder) as unfinished:
                    unfinished.mkdir()
                    sums = {path.name: _hash(path).hexdigest() for path in demo.build(synthesis, unfinished)}
                    write_json(unfinished / "archives.json", sums)
            audio, metadata = _kept_demo(folder)
    except OSError as error:
        raise InputError(f"demo: cannot keep its archives in {folder}: {error}") from error
    return audio, metadata


def of_data_set(name: str, entry: Mapping[str, Any], part: str, root: Path) -> Archive:
    """The archive `part`, audio or metadata, of the data set that params.yaml describes in `entry`."""
    if "synthesis" in entry:
        audio, metadata = obtain_demo(entry["synthesis"])
        return audio if part == "audio" else metadata
    return obtain(f"datasets.{name}.{part}", entry[part], root)


def check_receipt(archive: Archive, receipt: Path, part: str) -> None:
    """Raises InputError unless the archive is the one that the stage download wrote down."""
    try:
        expected = json.loads(receipt.read_bytes())[part]["sha1"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{receipt}: expected what the stage download writes, found {error!r}") from error
    if archive.sha1 != expected:
        raise InputError(
            f"{archive.name}: expected sha1 {expected} as in {receipt}, found {archive.sha1}:"
            " run `dvc repro --force download`"
        )


def _locate(part: str, url: object, root: Path) -> tuple[Path | str, str]:
    """Where the archive is, a local path or else a url to fetch from, and its file name."""
    wrong = f"{part}.url: expected https://, http://, file:// or a path, ending in a file name, found {url!r}"
    if not isinstance(url, str) or not url or not url.isprintable():
        raise InputError(wrong)
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InputError(f"{wrong}: {error}") from error
    address: Path | str = url
    if parts.scheme == "":
        address = root / (Path(url).expanduser() if url.startswith("~/") else url)
    elif parts.scheme == "file" and parts.netloc in ("", "localhost"):
        address = root / unquote(parts.path)
    elif parts.scheme not in ("https", "http") or not parts.hostname:
        raise InputError(wrong)
    name = address.name if isinstance(address, Path) else PurePosixPath(unquote(parts.path)).name
    if not name or name.startswith(".") or not name.isprintable():
        raise InputError(wrong)
    return address, name


def _home(home: Path | None) -> Path:
    return (home or Path(os.environ.get("FMA_HOME") or user_cache_path("fma-genre"))).absolute()


@contextmanager
def _alone(path: Path, part: str) -> Iterator[None]:
    """Keeps other processes out; the system frees the lock of one that is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{part}: waiting for another process that is fetching it", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(part: str, address: Path | str, kept: Path, sha1: str) -> None:
    remove(kept)  # it is not what it should be; should fetching fail, nobody may find it
    if isinstance(address, Path):
        _link(part, address, kept, sha1)
    else:
        _Download(f"{part}.url: {address}", address, _beside(kept, ".part")).complete(sha1)
        _beside(kept, ".part").replace(kept)
        write_json(_beside(kept, ".json"), _stamp(kept, sha1))
    for suffix in (".part", ".part.json"):
        remove(_beside(kept, suffix))


def _link(part: str, local: Path, kept: Path, sha1: str) -> None:
    if not local.is_file():
        found = "a folder" if local.is_dir() else "none"
        raise InputError(f"{part}.url: expected a file, found {found}: {local}")
    stamp, found = _stamp(local, sha1), _hash(local).hexdigest()
    if found != sha1:
        raise InputError(f"{part}.sha1: expected {sha1}, found {found} in {local}")
    with whole(kept) as link:
        link.symlink_to(local.resolve())
    write_json(_beside(kept, ".json"), stamp)


def _intact(path: Path, sha1: str) -> bool:
    if path.is_file() and not _recorded(path, sha1):
        stamp = _stamp(path, sha1)  # taken first: it will not fit a file that changes while it is hashed
        if _hash(path).hexdigest() == sha1:
            write_json(_beside(path, ".json"), stamp)
    return _recorded(path, sha1)


def _recorded(path: Path, sha1: str) -> bool:
    return path.is_file() and _read_json(_beside(path, ".json")) == _stamp(path, sha1)


def _stamp(path: Path, sha1: str) -> dict[str, object]:
    return {"sha1": sha1, "size": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns}


def _kept_demo(folder: Path) -> list[Archive]:
    """Audio and metadata, or nothing if they are not as they were built."""
    sums = _read_json(folder / "archives.json")
    if not all(_intact(folder / name, sha1) for name, sha1 in sums.items()):
        return []
    return [Archive(folder / name, name, (folder / name).stat().st_size, sha1) for name, sha1 in sums.items()]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _read_json(path: Path) -> dict[str, Any]:
    """Empty if the file is absent or broken: whatever these files say can be found out again."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _hash(path: Path) -> "hashlib._Hash":
    digest = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file, _bar(f"checking {path.name}", path.stat().st_size) as bar:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest


def _bar(what: str, total: int | None, done: int = 0) -> "tqdm[Any]":
    return progress.bar(desc=what, total=total, initial=done, unit="B", unit_scale=True)


class _InterruptedError(Exception):
    """An attempt brought less than the whole file. Arguments: why, and the seconds to wait, if asked to."""


def _leave_body(response: requests.Response, **_: object) -> None:
    """Of a redirect, which requests would read however long it is."""
    if response.is_redirect:
        response.close()


class _Download:
    """A file on its way over HTTP. What has arrived of it is in `path`, and stays there after a kill."""

    def __init__(self, label: str, url: str, path: Path) -> None:
        path.touch()
        self.label, self.url, self.path = label, url, path
        self.digest, self.size = _hash(path), path.stat().st_size
        self.resumed = False  # whether the last response continued what others had brought

    def complete(self, sha1: str) -> None:
        """Asks for what is missing until the file has this sha1; raises InputError if it cannot be had."""
        failures, longest = 0, self.size
        while self.digest.hexdigest() != sha1:
            try:
                self._receive()
                self._check(sha1)
            except _InterruptedError as trouble:
                why, asked = trouble.args
                failures = 1 if self.resumed and self.size > longest else failures + 1
                longest = max(longest, self.size)
                if failures == ATTEMPTS:
                    raise InputError(f"{self.label}: given up after {failures} attempts: {why}") from trouble
                wait = min(LONGEST_WAIT, float(asked or BACKOFF * 2 ** (failures - 1)))
                print(f"{self.label}: {why}; trying again in {wait:.0f} s", file=sys.stderr, flush=True)
                time.sleep(wait)

    def _receive(self) -> None:
        """One request; raises _InterruptedError if it is worth another one, else InputError."""
        headers = {"Accept-Encoding": "identity"}  # so that ranges and lengths count the file's own bytes
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if version := _read_json(_beside(self.path, ".json")).get(self.url):
                headers["If-Range"] = version
        try:
            hooks = {"response": _leave_body}
            with requests.get(self.url, headers=headers, hooks=hooks, stream=True, timeout=TIMEOUT) as response:
                self._accept(response)
                self._store(response)
        except BROKEN as error:
            raise _InterruptedError(f"interrupted after {self.size} bytes ({error})", "") from error
        except (requests.RequestException, ValueError) as error:  # ValueError: a redirect to no url
            raise InputError(f"{self.label}: {error}") from error

    def _accept(self, response: requests.Response) -> None:
        """Lets a response pass that continues the part or starts it over."""
        status, covers = response.status_code, response.headers.get("Content-Range", "")
        if status in PASSING:
            wait = response.headers.get("Retry-After", "")
            raise _InterruptedError(f"status {status}", wait if wait.isdecimal() else "")
        if status not in (200, 206, 416):
            raise InputError(f"{self.label}: expected status 200, found {status}")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise InputError(f"{self.label}: expected the file as it is, found Content-Encoding {encoding[:100]!r}")
        self.resumed = status == 206 and covers.startswith(f"bytes {self.size}-")
        if self.resumed:
            return
        self._start_over()
        if status != 200:
            raise _InterruptedError(f"cannot be resumed (status {status}, Content-Range {covers!r})", "")
        # Only a strong ETag promises the same bytes; a 200 that answers a Range means that they changed.
        etag, modified = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
        write_json(_beside(self.path, ".json"), {self.url: etag if etag.startswith('"') else modified})

    def _store(self, response: requests.Response) -> None:
        missing, free = response.raw.length_remaining or 0, shutil.disk_usage(self.path.parent).free
        if missing > free:
            need, have = tqdm.format_sizeof(missing, "B"), tqdm.format_sizeof(free, "B")
            raise InputError(f"{self.label}: needs {need} more, found {have} free in {self.path.parent}")
        total = self.size + missing if missing else None
        with self.path.open("ab") as file, _bar(self.path.stem, total, self.size) as bar:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                self.digest.update(chunk)
                self.size += len(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())  # the record outlives a power cut, so must what it speaks for
        of = response.headers.get("Content-Range", "").rpartition("/")[2]
        if of.isdecimal() and self.size < float(of):  # some servers give ranges in pieces
            raise _InterruptedError(f"got {self.size} bytes of {of}", "")

    def _check(self, sha1: str) -> None:
        """Drops a file that is whole and wrong; only if it was put together is it worth another attempt."""
        found, pieced = self.digest.hexdigest(), self.resumed
        if found != sha1:
            self._start_over()
            wrong = f"expected sha1 {sha1}, found {found}"
            raise _InterruptedError(wrong, "") if pieced else InputError(f"{self.label}: {wrong}")

    def _start_over(self) -> None:
        self.path.write_bytes(b"")
        self.digest, self.size, self.resumed = hashlib.sha1(usedforsecurity=False), 0, False

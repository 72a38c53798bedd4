"""Downloads over HTTP that resume where they stopped, until the file has the expected sha1.

    <path>         what has arrived; the next call continues from it
    <path>.json    by url, the version of the server's file that these bytes belong to

Both stay when the process is killed.
"""

import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

import requests
from tqdm import tqdm

from fma_genre.archives.receipt import hash_file, progress_bar, read_json, sibling
from fma_genre.common.errors import InputError
from fma_genre.common.files import write_json

TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds without a byte
ATTEMPTS = 5  # in a row without progress, after which a download is given up
BACKOFF = 1.0  # seconds before the next attempt, doubled after each one without progress
LONGEST_WAIT = 120.0  # seconds, even if Retry-After asks for more
CHUNK = 1 << 16  # bytes; a dropped connection loses at most the chunk in progress
RETRY_STATUSES = (408, 429, 500, 502, 503, 504)
CONNECTION_ERRORS = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


def download(label: str, url: str, path: Path, sha1: str) -> None:
    """Download `url` to `path`, continuing what an earlier call left there, until the file has this sha1.

    Raises:
        InputError: the server refuses, or sends another file, or there was no progress in ATTEMPTS attempts; the
            message begins with `label`.
    """
    _Download(label, url, path).complete(sha1)


class _Retry(Exception):  # noqa: N818
    """An attempt brought less than the whole file, and another one may help."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait  # seconds that the server asked for


class _Download:
    """A file on its way, its bytes so far in `path`."""

    def __init__(self, label: str, url: str, path: Path) -> None:
        path.touch()
        self.label, self.url, self.path = label, url, path
        self.digest, self.size = hash_file(path), path.stat().st_size
        self.resumed = False  # whether the last response continued the bytes of earlier ones

    def complete(self, sha1: str) -> None:
        """Request missing bytes until the sha1 matches; InputError after ATTEMPTS without progress."""
        failures, longest = 0, self.size
        while self.digest.hexdigest() != sha1:
            try:
                self._request()
                self._check(sha1)
            except _Retry as retry:
                progressed = self.resumed and self.size > longest
                failures = 1 if progressed else failures + 1
                longest = max(longest, self.size)
                if failures == ATTEMPTS:
                    raise InputError(f"{self.label}: given up after {failures} attempts: {retry}") from retry
                self._wait(retry, failures)

    def _wait(self, retry: _Retry, failures: int) -> None:
        backoff = BACKOFF * 2 ** (failures - 1)
        seconds = min(LONGEST_WAIT, backoff if retry.wait is None else retry.wait)
        print(f"{self.label}: {retry}; trying again in {seconds:.0f} s", file=sys.stderr, flush=True)
        time.sleep(seconds)

    def _request(self) -> None:
        """Make one request; raises _Retry if another one may help, else InputError."""
        hooks = {"response": _skip_redirect_body}
        try:
            with requests.get(self.url, headers=self._headers(), hooks=hooks, stream=True, timeout=TIMEOUT) as response:
                self._accept(response)
                self._store(response)
        except CONNECTION_ERRORS as error:
            raise _Retry(f"interrupted after {self.size} bytes ({error})") from error
        except (requests.RequestException, ValueError) as error:  # ValueError: a redirect to something that is no url
            raise InputError(f"{self.label}: {error}") from error

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}  # so that ranges and lengths count the file's own bytes
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if version := read_json(sibling(self.path, ".json")).get(self.url):
                headers["If-Range"] = version
        return headers

    def _accept(self, response: requests.Response) -> None:
        """Prepare for the body of a response that continues the file or starts it over; refuse any other."""
        self._check_headers(response)
        content_range = response.headers.get("Content-Range", "")
        self.resumed = response.status_code == 206 and content_range.startswith(f"bytes {self.size}-")
        if self.resumed:
            return
        self._start_over()
        if response.status_code != 200:
            raise _Retry(f"cannot be resumed (status {response.status_code}, Content-Range {content_range!r})")
        write_json(sibling(self.path, ".json"), {self.url: _version(response)})

    def _check_headers(self, response: requests.Response) -> None:
        status = response.status_code
        if status in RETRY_STATUSES:
            wait = response.headers.get("Retry-After", "")
            raise _Retry(f"status {status}", float(wait) if wait.isdecimal() else None)
        if status not in (200, 206, 416):
            raise InputError(f"{self.label}: expected status 200, found {status}")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise InputError(f"{self.label}: expected the file as it is, found Content-Encoding {encoding[:100]!r}")

    def _store(self, response: requests.Response) -> None:
        """Append the body of the response to the file."""
        missing = response.raw.length_remaining or 0
        self._check_disk_space(missing)
        total = self.size + missing if missing else None
        with self.path.open("ab") as file, progress_bar(self.path.stem, total, self.size) as bar:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                self.digest.update(chunk)
                self.size += len(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())  # the stamp may outlive a power cut, so the bytes must too

        whole = response.headers.get("Content-Range", "").rpartition("/")[2]
        if whole.isdecimal() and self.size < float(whole):  # some servers give ranges in pieces
            raise _Retry(f"got {self.size} bytes of {whole}")

    def _check_disk_space(self, missing: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if missing > free:
            need, have = tqdm.format_sizeof(missing, "B"), tqdm.format_sizeof(free, "B")
            raise InputError(f"{self.label}: needs {need} more, found {have} free in {self.path.parent}")

    def _check(self, sha1: str) -> None:
        """Discard a complete file with the wrong sha1. Retry only if it was assembled from several responses."""
        found, assembled = self.digest.hexdigest(), self.resumed
        if found == sha1:
            return
        self._start_over()
        message = f"expected sha1 {sha1}, found {found}"
        if assembled:
            raise _Retry(message)
        raise InputError(f"{self.label}: {message}")

    def _start_over(self) -> None:
        self.path.write_bytes(b"")
        self.digest, self.size, self.resumed = hashlib.sha1(usedforsecurity=False), 0, False


def _version(response: requests.Response) -> str:
    """The version of the server's file: its strong ETag (a weak one does not promise the same bytes) or its date."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _skip_redirect_body(response: requests.Response, **_: object) -> None:
    """Response hook: close a redirect unread; requests would otherwise download its body."""
    if response.is_redirect:
        response.close()

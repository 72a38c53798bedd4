"""Downloads over HTTP that resume where they stopped, until the file has the expected sha1.

    <path>         what has arrived; the next call continues from it
    <path>.json    by the sha1 of the url, the version of the server's file that these bytes belong to

Both stay when the process is killed. What a server sends is shown shortened, and a url without secrets: a redirect may
lead to one with a password or a signature.
"""

import hashlib
import os
import re
import shutil
import ssl
import sys
import time
from pathlib import Path
from urllib.parse import urljoin

import requests
from tqdm import tqdm

from fma_genre.archives.receipt import hash_file, progress_bar, read_json, sibling
from fma_genre.common.errors import InputError, printable
from fma_genre.common.files import write_json
from fma_genre.common.urls import masked

TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds without a byte
ATTEMPTS = 5  # in a row without progress, after which a download is given up
BACKOFF = 1.0  # seconds before the next attempt, doubled after each one without progress
LONGEST_WAIT = 120.0  # seconds, even if Retry-After asks for more
CHUNK = 1 << 16  # bytes; a dropped connection loses at most the chunk in progress
ROOM = 10**8  # bytes that a download of unknown length leaves free
LONGEST = 200  # characters of what a server sent, in a message
HINTS = {
    401: "; ~/.netrc is the place for a user and password",
    403: "; ~/.netrc is the place for a user and password",
    407: " of the proxy that https_proxy, http_proxy or all_proxy names: its user and password belong there",
}
RETRY_STATUSES = (408, 429, 500, 502, 503, 504)
# The connection broke. Other errors of TLS, such as a certificate, stay as they are however often one asks.
BROKEN_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
NO_URL = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, TypeError)
CONNECTION_ERRORS = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


def download(label: str, url: str, path: Path, sha1: str) -> None:
    """Download `url` to `path`, continuing what an earlier call left there, until the file has this sha1.

    Raises:
        InputError: the server refuses, or sends another file, or there was no progress in ATTEMPTS attempts; the
            message begins with `label`.
    """
    _Download(label, url, path).complete(sha1)


def shown(text: str) -> str:
    """A server's text, or an error's, as messages show it: short, and without the secrets that urls in it hold."""
    words = re.sub(r"\S+", lambda word: masked(word[0]), masked(text))
    without_queries = re.sub(r"\?\S+|[#;]\S+=\S*", "?***", words)  # also where a path stands without its host
    return without_queries if len(without_queries) <= LONGEST else f"{without_queries[:LONGEST]}…"


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
        self._key = hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()  # keeps the url itself off the disk
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
        print(printable(f"{self.label}: {retry}; trying again in {seconds:.0f} s"), file=sys.stderr, flush=True)
        time.sleep(seconds)

    def _request(self) -> None:
        """Make one request; raises _Retry if another one may help, else InputError."""
        hooks = {"response": self._check_redirect}
        try:
            with requests.get(self.url, headers=self._headers(), hooks=hooks, stream=True, timeout=TIMEOUT) as response:
                self._accept(response)
                self._store(response)
        except requests.exceptions.ProxyError as error:
            raise InputError(f"{self.label}: {_proxy_failure(_explain(error))}") from error
        except requests.exceptions.SSLError as error:
            if isinstance(_root(error), BROKEN_TLS):
                raise _Retry(f"interrupted after {self.size} bytes ({_explain(error)})") from error
            raise InputError(f"{self.label}: {_tls_failure(error)}") from error
        except CONNECTION_ERRORS as error:
            raise _Retry(f"interrupted after {self.size} bytes ({_explain(error)})") from error
        except TypeError as error:  # requests does not expect a proxy without a host
            if not self._proxy_is_no_url(error):
                raise
            raise InputError(f"{self.label}: {_proxy_failure('a url without a host')}") from error
        except (requests.RequestException, ValueError) as error:  # ValueError: a redirect to something that is no url
            failure = _proxy_failure(_explain(error)) if self._proxy_is_no_url(error) else _explain(error)
            raise InputError(f"{self.label}: {failure}") from error

    def _proxy_is_no_url(self, error: Exception) -> bool:
        """Whether requests did not understand the address of a proxy; its own urls are understood by then."""
        proxy = requests.utils.select_proxy(self.url, requests.utils.get_environ_proxies(self.url))
        return bool(proxy) and isinstance(error, NO_URL)

    def _check_redirect(self, response: requests.Response, **_: object) -> None:
        """Response hook: refuse a redirect to anything but http, and close one unread, or its body is downloaded."""
        if not response.is_redirect:
            return
        response.close()
        location = response.headers["Location"]
        try:
            target = requests.Request("GET", urljoin(response.url, location)).prepare().url or ""
        except (requests.RequestException, ValueError):
            target = ""
        if not target.startswith(("https://", "http://")):
            raise InputError(f"{self.label}: expected a redirect to https:// or http://, found {shown(location)!r}")

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}  # so that ranges and lengths count the file's own bytes
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if version := read_json(sibling(self.path, ".json")).get(self._key):
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
            found = f"status {response.status_code}, Content-Range {shown(content_range)!r}"
            raise _Retry(f"cannot be resumed ({found})")
        write_json(sibling(self.path, ".json"), {self._key: _version(response)})

    def _check_headers(self, response: requests.Response) -> None:
        status = response.status_code
        if status in RETRY_STATUSES:
            wait = response.headers.get("Retry-After", "")
            raise _Retry(f"status {status}", float(wait) if wait.isdecimal() else None)
        if status not in (200, 206, 416):
            hint = HINTS.get(status, "")
            raise InputError(f"{self.label}: expected status 200, found {status}{hint}")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise InputError(f"{self.label}: expected the file as it is, found Content-Encoding {shown(encoding)!r}")

    def _store(self, response: requests.Response) -> None:
        """Append the body of the response to the file."""
        missing = response.raw.length_remaining
        self._check_disk_space(missing or 0)
        total = self.size + missing if missing else None
        with self.path.open("ab") as file, progress_bar(self.path.stem, total, self.size) as bar:
            for chunk in response.iter_content(CHUNK):
                if missing is None:
                    self._check_room(len(chunk))
                file.write(chunk)
                self.digest.update(chunk)
                self.size += len(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())  # the stamp may outlive a power cut, so the bytes must too

        whole = response.headers.get("Content-Range", "").rpartition("/")[2]
        if whole.isdecimal() and self.size < float(whole):  # some servers give ranges in pieces
            raise _Retry(f"got {self.size} bytes of {shown(whole)}")

    def _check_disk_space(self, missing: int) -> None:
        if missing > (free := self._free()):
            need, have = tqdm.format_sizeof(missing, "B"), tqdm.format_sizeof(free, "B")
            raise InputError(f"{self.label}: needs {need} more, found {have} free in {self.path.parent}")

    def _check_room(self, more: int) -> None:
        """Before more of a body without a length, which need not end: the disk stays usable, and nothing is kept."""
        if more > (free := self._free()) - ROOM:
            so_far, have = tqdm.format_sizeof(self.size, "B"), tqdm.format_sizeof(free, "B")
            self._start_over()
            raise InputError(
                f"{self.label}: expected a file that fits in {self.path.parent}, found no Content-Length,"
                f" and after {so_far} only {have} free"
            )

    def _free(self) -> int:
        return shutil.disk_usage(self.path.parent).free

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
    version = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    return version if version.isprintable() and len(version) <= LONGEST else ""  # it is sent back, as a header


# Failures in words. -----------------------------------------------------------------------------------------------


def _tls_failure(error: Exception) -> str:
    root = _root(error)
    if isinstance(root, ssl.SSLCertVerificationError):
        expected, found = "a trusted certificate", root.verify_message
    else:
        expected, found = "a TLS connection", (getattr(root, "reason", None) or _explain(root)).replace("_", " ")
    return f"expected {expected}, found: {shown(found)}; REQUESTS_CA_BUNDLE names other authorities"


def _proxy_failure(found: str) -> str:
    expected = "the proxy that https_proxy, http_proxy or all_proxy names (no_proxy lists hosts that need none)"
    return f"expected {expected}, found: {found}"


def _explain(error: BaseException) -> str:
    """An exception's message, without the request's path and query, which urllib3 adds to it."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    reason = getattr(reason, "original_error", reason)  # of a proxy
    return shown(str(reason if isinstance(reason, Exception) else error))


def _root(error: BaseException) -> BaseException:
    """The exception that the others, which requests and urllib3 wrap around it, report."""
    inner = [getattr(error, "reason", None), *error.args, error.__cause__]
    for other in inner:
        if isinstance(other, BaseException):
            return _root(other)
    return error

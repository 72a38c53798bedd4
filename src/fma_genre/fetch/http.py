"""Resumable downloads over HTTP, verified by their sha1.

    <path>         the bytes received so far; the next call continues after them
    <path>.json    the version of the server's file that these bytes belong to; its key is the sha1 of the url

Both files stay if the process is killed. Messages abbreviate text from a server, and mask secrets in urls: a redirect
may lead to a url with a password or a signature.
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

TIMEOUT = (10.0, 60.0)  # seconds to wait for a connection, and for the next bytes
ATTEMPTS = 5  # consecutive attempts without progress before giving up
BACKOFF = 1.0  # seconds before the second attempt; doubled after each attempt without progress
MAX_WAIT = 120.0  # longest wait in seconds, even if the server's Retry-After asks for more
CHUNK = 1 << 16  # bytes; a dropped connection loses at most the current chunk
MIN_FREE = 10**8  # bytes of disk that a download of unknown length must leave free
MAX_TEXT_LENGTH = 200  # characters of a server's text in a message
HINTS = {
    401: "; put the user name and password into ~/.netrc",
    403: "; put the user name and password into ~/.netrc",
    407: " from the proxy; put its user name and password into https_proxy, http_proxy or all_proxy",
}
RETRY_STATUSES = (408, 429, 500, 502, 503, 504)
# TLS errors of a broken connection. Other TLS errors, such as a bad certificate, would occur again on a retry.
TLS_CONNECTION_ERRORS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
# Errors of `requests` for a proxy whose address is not a url.
PROXY_URL_ERRORS = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, TypeError)
CONNECTION_ERRORS = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


def download(label: str, url: str, path: Path, sha1: str) -> None:
    """Download `url` to `path`; resume if an earlier call left a part of the file at `path`.

    Raises:
        InputError: the server refuses the request, the file has another sha1, the disk is full, or ATTEMPTS consecutive
            attempts made no progress. The message begins with `label`.
    """
    _Download(label, url, path).complete(sha1)


def abbreviated(text: str) -> str:
    """Shorten a url, a server's text or an error's text for a message, and mask the secrets in its urls."""
    words = re.sub(r"\S+", lambda word: masked(word[0]), masked(text))
    without_queries = re.sub(r"\?\S+|[#;]\S+=\S*", "?***", words)  # `masked` keeps the query of a path without a host
    return without_queries if len(without_queries) <= MAX_TEXT_LENGTH else f"{without_queries[:MAX_TEXT_LENGTH]}…"


class _Retry(Exception):  # noqa: N818
    """An attempt did not complete the file, but another attempt may succeed."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait  # seconds that the server asked for


class _Download:
    """An unfinished download, with the bytes received so far in `path`."""

    def __init__(self, label: str, url: str, path: Path) -> None:
        path.touch()
        self.label, self.url, self.path = label, url, path
        self.digest, self.size = hash_file(path), path.stat().st_size
        # The key in the JSON file is a hash, since a url may contain secrets.
        self._key = hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
        self.resumed = False  # whether the last response continued the file, instead of starting it over

    def complete(self, sha1: str) -> None:
        """Request missing bytes until the sha1 matches; raise InputError after ATTEMPTS attempts without progress."""
        failures, largest_size = 0, self.size
        while self.digest.hexdigest() != sha1:
            try:
                self._request()
                self._check_sha1(sha1)
            except _Retry as retry:
                progressed = self.resumed and self.size > largest_size
                failures = 1 if progressed else failures + 1
                largest_size = max(largest_size, self.size)
                if failures == ATTEMPTS:
                    raise InputError(f"{self.label}: gave up after {failures} attempts: {retry}") from retry
                self._wait(retry, failures)

    def _wait(self, retry: _Retry, failures: int) -> None:
        backoff = BACKOFF * 2 ** (failures - 1)
        seconds = min(MAX_WAIT, backoff if retry.wait is None else retry.wait)
        print(printable(f"{self.label}: {retry}; next attempt in {seconds:.0f} s"), file=sys.stderr, flush=True)
        time.sleep(seconds)

    def _request(self) -> None:
        """Make one request; if it fails, raise _Retry if another attempt may succeed, and InputError otherwise."""
        hooks = {"response": self._check_redirect}
        try:
            with requests.get(self.url, headers=self._headers(), hooks=hooks, stream=True, timeout=TIMEOUT) as response:
                self._accept(response)
                self._store(response)
        except requests.exceptions.ProxyError as error:
            raise InputError(f"{self.label}: {_proxy_failure(_explain(error))}") from error
        except requests.exceptions.SSLError as error:
            if isinstance(_root_cause(error), TLS_CONNECTION_ERRORS):
                raise _Retry(f"interrupted after {self.size} bytes ({_explain(error)})") from error
            raise InputError(f"{self.label}: {_tls_failure(error)}") from error
        except CONNECTION_ERRORS as error:
            raise _Retry(f"interrupted after {self.size} bytes ({_explain(error)})") from error
        except TypeError as error:  # requests raises TypeError for a proxy without a host
            if not self._is_proxy_url_error(error):
                raise
            raise InputError(f"{self.label}: {_proxy_failure('a url without a host')}") from error
        except (requests.RequestException, ValueError) as error:  # ValueError: a redirect to an invalid url
            failure = _proxy_failure(_explain(error)) if self._is_proxy_url_error(error) else _explain(error)
            raise InputError(f"{self.label}: {failure}") from error

    def _is_proxy_url_error(self, error: Exception) -> bool:
        """Return whether `error` is about the address of a proxy; the download's own url was checked earlier."""
        proxy = requests.utils.select_proxy(self.url, requests.utils.get_environ_proxies(self.url))
        return bool(proxy) and isinstance(error, PROXY_URL_ERRORS)

    def _check_redirect(self, response: requests.Response, **_: object) -> None:
        """Response hook: close a redirect without reading it, and refuse a redirect that does not lead to HTTP.

        Without the hook, requests would download the redirect's body, however long it is.
        """
        if not response.is_redirect:
            return
        response.close()
        location = response.headers["Location"]
        try:
            target = requests.Request("GET", urljoin(response.url, location)).prepare().url or ""
        except (requests.RequestException, ValueError):
            target = ""
        if not target.startswith(("https://", "http://")):
            found = abbreviated(location)
            raise InputError(f"{self.label}: expected a redirect to https:// or http://, found {found!r}")

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}  # no compression, so that ranges and lengths count the file's bytes
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if version := read_json(sibling(self.path, ".json")).get(self._key):
                headers["If-Range"] = version
        return headers

    def _accept(self, response: requests.Response) -> None:
        """Prepare to store a response that continues the file or starts it over; raise an error for all others."""
        self._check_headers(response)
        content_range = response.headers.get("Content-Range", "")
        self.resumed = response.status_code == 206 and content_range.startswith(f"bytes {self.size}-")
        if self.resumed:
            return
        self._start_over()
        if response.status_code != 200:
            found = f"status {response.status_code}, Content-Range {abbreviated(content_range)!r}"
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
            found = abbreviated(encoding)
            raise InputError(f"{self.label}: expected the file without encoding, found Content-Encoding {found!r}")

    def _store(self, response: requests.Response) -> None:
        """Append the body of the response to the file."""
        missing = response.raw.length_remaining
        self._check_disk_space(missing or 0)
        total = self.size + missing if missing else None
        with self.path.open("ab") as file, progress_bar(self.path.stem, total, self.size) as bar:
            for chunk in response.iter_content(CHUNK):
                if missing is None:
                    self._check_free_space(len(chunk))
                file.write(chunk)
                self.digest.update(chunk)
                self.size += len(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())  # else a power failure could keep the stamp, but lose the bytes

        whole = response.headers.get("Content-Range", "").rpartition("/")[2]
        if whole.isdecimal() and self.size < float(whole):  # some servers send less than the requested range
            raise _Retry(f"got {self.size} bytes of {abbreviated(whole)}")

    def _check_disk_space(self, missing: int) -> None:
        """Raise InputError if the disk has too little space for the missing bytes."""
        if missing > (free := self._free()):
            need, have = tqdm.format_sizeof(missing, "B"), tqdm.format_sizeof(free, "B")
            raise InputError(f"{self.label}: expected {need} of free space in {self.path.parent}, found {have}")

    def _check_free_space(self, chunk_size: int) -> None:
        """Check the space for the next chunk of a download of unknown length, which may never end.

        If the chunk would leave less than MIN_FREE bytes free, discard the download and raise InputError.
        """
        if chunk_size > (free := self._free()) - MIN_FREE:
            so_far, have = tqdm.format_sizeof(self.size, "B"), tqdm.format_sizeof(free, "B")
            self._start_over()
            raise InputError(
                f"{self.label}: expected enough free space in {self.path.parent} for a download of unknown length,"
                f" found {have} of free space after {so_far} of the download"
            )

    def _free(self) -> int:
        return shutil.disk_usage(self.path.parent).free

    def _check_sha1(self, sha1: str) -> None:
        """Discard a complete file with the wrong sha1.

        Retry only if the file was assembled from several responses, since its parts may be from different versions.
        """
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
    """The version of the server's file: its ETag, or its date if the ETag is weak or missing.

    A weak ETag does not guarantee the same bytes.
    """
    etag = response.headers.get("ETag", "")
    version = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    # The next request sends the version back as a header, so it must be short and printable.
    return version if version.isprintable() and len(version) <= MAX_TEXT_LENGTH else ""


# Messages. --------------------------------------------------------------------------------------------------------


def _tls_failure(error: Exception) -> str:
    cause = _root_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        found = abbreviated(cause.verify_message)
        return f"expected a trusted certificate, found: {found}; set REQUESTS_CA_BUNDLE to trust other authorities"
    found = (getattr(cause, "reason", None) or _explain(cause)).replace("_", " ")
    return f"expected a TLS connection, found: {abbreviated(found)}"


def _proxy_failure(found: str) -> str:
    expected = "a working proxy in https_proxy, http_proxy or all_proxy (no_proxy lists hosts to reach without it)"
    return f"expected {expected}, found: {found}"


def _explain(error: BaseException) -> str:
    """The message of an exception, without the path and query that urllib3 adds to some messages."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    reason = getattr(reason, "original_error", reason)  # urllib3 wraps the error that a proxy causes
    return abbreviated(str(reason if isinstance(reason, Exception) else error))


def _root_cause(error: BaseException) -> BaseException:
    """The original exception, which requests and urllib3 wrap in exceptions of their own."""
    wrapped = [getattr(error, "reason", None), *error.args, error.__cause__]
    for inner in wrapped:
        if isinstance(inner, BaseException):
            return _root_cause(inner)
    return error

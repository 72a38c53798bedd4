"""Archives: downloads from servers that misbehave, local files, the demo. No unverified archive is used."""

import base64
import dataclasses
import gzip
import hashlib
import io
import multiprocessing
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import download
import split
from fma_genre.archives import receipt
from fma_genre.archives.receipt import RECEIPT, Archive, Receipt, open_archive, read_receipt, write_receipt
from fma_genre.common import params, schema
from fma_genre.common.errors import InputError
from fma_genre.common.params import Source, Synthesis
from fma_genre.fetch import demo, http, sources, synthesis
from fma_genre.fetch.sources import fetch, fetch_archive, fetch_demo
from project import PARAMS

CONTENT = random.Random(0).randbytes(1 << 22)
OTHER = random.Random(1).randbytes(1 << 22)


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@dataclass
class Answer:
    """The server's behaviour for one request. By default, it behaves correctly."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    drop: int | None = None  # bytes of the body after which the connection ends
    hang: float = 0.0  # seconds before the connection ends
    ranges: bool = True
    length: int | None = None  # the Content-Length in its headers
    content: bytes | None = None
    piece: int | None = None  # maximum number of bytes of a requested range


class Server(ThreadingHTTPServer):
    """Serves one file under any path. `script` holds the behaviour for each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.version = CONTENT, {"ETag": '"one"'}
        self.script: list[Answer] = []
        self.asked: list[dict[str, str]] = []  # the headers of each request
        self.sent = 0
        self.waits = threading.Event()  # set once an answer hangs
        self.closing = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about clients that closed the connection."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def url(self, name: str = "fma.zip") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        answer = self.server.script.pop(0) if self.server.script else Answer()
        self.server.asked.append(dict(self.headers))
        content = self.server.content if answer.content is None else answer.content
        status, start, headers = answer.status or 200, 0, {**self.server.version, **answer.headers}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in (None, *self.server.version.values())
        body = content if status == 200 else b"<html>an error page</html>"
        if asked and answer.ranges and same and not answer.status:
            start = int(asked[1])
            stop = len(content) if answer.piece is None else min(len(content), start + answer.piece)
            body, status = content[start:stop], 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
            if start >= len(content):
                body, status, headers["Content-Range"] = b"", 416, f"bytes */{len(content)}"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if answer.length is None else answer.length))
        self.end_headers()
        self.send_body(body, answer)

    def send_body(self, body: bytes, answer: Answer) -> None:
        body = body[: answer.drop]
        with suppress(ConnectionError):
            self.wfile.write(body)
            self.server.sent += len(body)
        if answer.hang:
            self.wfile.flush()
            self.server.waits.set()
            self.server.closing.wait(answer.hang)
        self.close_connection = answer.drop is not None or answer.length is not None

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Unset DVC_ROOT; restore FMA_HOME, which `get` changes, after the test."""
    monkeypatch.setenv("FMA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DVC_ROOT", raising=False)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BACKOFF", 0.001)
    monkeypatch.setattr(http, "TIMEOUT", (10.0, 2.0))
    monkeypatch.setattr(http, "CHUNK", 1 << 14)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were hashed."""
    names: list[str] = []
    original = receipt.hash_file

    def noted(path: Path) -> Any:
        names.append(path.name)
        return original(path)

    for module in (receipt, sources, http):
        monkeypatch.setattr(module, "hash_file", noted)
    return names


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder, as a user for whom permissions apply: not root."""
    folder = Path(tempfile.mkdtemp(prefix="fma-test-"))
    folder.chmod(0o777)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(user)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o700)
        shutil.rmtree(folder)


def get(home: Path, url: str | Path, content: bytes = CONTENT) -> Archive:
    """Fetch into `home`, which becomes FMA_HOME."""
    os.environ["FMA_HOME"] = str(home)
    return fetch_archive("datasets.mine.audio", Source(str(url), sha1(content)))


def refused(home: Path, url: str | Path, content: bytes = CONTENT) -> str:
    """The error message, which is one line."""
    with pytest.raises(InputError, match=r"^datasets\.mine\.audio") as info:
        get(home, url, content)
    assert "\n" not in str(info.value)
    assert not list(home.glob("*/fma.zip"))
    return str(info.value)


def left(home: Path) -> set[str]:
    return {path.name for path in home.glob("*/*")} - {".lock"}


# --- downloads --------------------------------------------------------------------------------------------


def test_a_download_is_kept_and_not_repeated(server: Server, tmp_path: Path) -> None:
    first, again = get(tmp_path, server.url()), get(tmp_path, server.url())
    assert first == again == Archive("fma.zip", len(CONTENT), sha1(CONTENT))
    assert first.path == tmp_path / sha1(CONTENT) / "fma.zip"
    assert first.path.read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert left(tmp_path) == {"fma.zip", "fma.zip.json"}


def test_dropped_connections_resume(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(drop=n) for n in (1_000_000, 0, 900_001, 17, 1_234_567, 600_000)]
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT
    assert server.sent <= 1.1 * len(CONTENT)
    assert server.asked[1]["If-Range"] == '"one"'


def test_a_server_that_hangs_is_left_and_asked_again(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(drop=2_000_000, hang=300)]
    began = time.monotonic()
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT
    assert time.monotonic() - began < 100
    assert server.sent <= 1.1 * len(CONTENT)


def test_a_server_that_ignores_range_starts_over(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(drop=1_000_000), Answer(ranges=False)]
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT


def test_a_server_that_gives_ranges_in_pieces(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(drop=100_000), *(Answer(piece=600_000) for _ in range(8))]
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT
    assert server.sent <= 1.1 * len(CONTENT)


def test_a_server_that_sends_nothing_new_is_given_up(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(drop=1_000_000, ranges=False) for _ in range(50)]
    assert "5 attempts" in refused(tmp_path, server.url())
    assert len(server.asked) <= 6


def test_a_server_that_never_resumes_is_given_up(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(drop=100_000 * (n + 1), ranges=False) for n in range(20)]
    assert "5 attempts" in refused(tmp_path, server.url())


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br"])
def test_a_server_that_encodes_although_it_was_asked_not_to_is_refused(
    server: Server, tmp_path: Path, encoding: str
) -> None:
    """A compressed answer of a thousandth of the size could fill the disk."""
    server.script = [Answer(headers={"Content-Encoding": encoding}, content=gzip.compress(CONTENT))]
    assert f"found Content-Encoding '{encoding}'" in refused(tmp_path, server.url())
    assert not any(path.stat().st_size > 1000 for path in tmp_path.glob("*/*"))


@pytest.mark.parametrize("version", [{"ETag": '"one"'}, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}])
def test_a_file_that_changed_between_attempts(server: Server, tmp_path: Path, version: dict[str, str]) -> None:
    server.version, server.content, server.script = version, OTHER, [Answer(drop=1_000_000)]
    original = time.sleep

    def changes(seconds: float) -> None:
        server.version, server.content = (
            {name: value.replace("o", "0") for name, value in version.items()},
            CONTENT,
        )
        original(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", changes)
        assert get(tmp_path, server.url()).path.read_bytes() == CONTENT
    assert len(server.asked) == 2, "the second request starts again; it does not wait for a wrong sha1"


def test_a_weak_etag_does_not_vouch_for_bytes(server: Server, tmp_path: Path) -> None:
    server.version, server.script = {"ETag": 'W/"one"'}, [Answer(drop=1_000_000)]
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT
    assert "If-Range" not in server.asked[1]
    assert "Range" in server.asked[1]


def test_a_part_of_another_file_is_fetched_again_once(server: Server, tmp_path: Path) -> None:
    part = tmp_path / sha1(CONTENT) / "fma.zip.part"
    part.parent.mkdir()
    part.write_bytes(OTHER[:1_000_000])
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT
    assert ["Range" in headers for headers in server.asked] == [True, False]
    part.write_bytes(OTHER[:1_000_000])
    server.asked, server.content = [], OTHER[::-1]
    (tmp_path / sha1(CONTENT) / "fma.zip").unlink()
    assert "expected sha1" in refused(tmp_path, server.url())
    assert len(server.asked) == 2, "a file that stays wrong is not fetched endlessly"


@pytest.mark.parametrize("lie", [-100_000, 100_000])
def test_a_part_that_is_too_long_or_already_complete(server: Server, tmp_path: Path, lie: int) -> None:
    part = tmp_path / sha1(CONTENT) / "fma.zip.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT + OTHER[: max(0, lie)])
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT
    assert len(server.asked) == (2 if lie > 0 else 0), "none if the part was complete"


def test_wrong_bytes_are_removed_not_used(server: Server, tmp_path: Path) -> None:
    server.content = OTHER
    message = refused(tmp_path, server.url())
    assert all(text in message for text in (sha1(CONTENT), sha1(OTHER), server.url()))
    assert len(server.asked) == 1
    assert not any(path.stat().st_size > 1000 for path in tmp_path.glob("*/*"))


def test_a_content_length_that_says_too_much(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(length=len(CONTENT) + 1000)]
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_content_length_that_says_too_little(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(length=1_000_000)]
    assert "expected sha1" in refused(tmp_path, server.url())


@pytest.mark.parametrize("status", [403, 404, 410])
def test_refusals_fail_at_once(server: Server, tmp_path: Path, status: int) -> None:
    server.script = [Answer(status=status)]
    message = refused(tmp_path, server.url())
    assert str(status) in message
    assert server.url() in message
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path, status: int) -> None:
    server.script = [Answer(status=status)] * 3
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT


def test_a_server_that_stays_busy_is_given_up(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(status=503)] * 50
    assert "status 503" in refused(tmp_path, server.url())
    assert len(server.asked) == 5


def test_retry_after_is_respected_within_bounds(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    asks = ["7", "99999999", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"]
    server.script = [Answer(status=503, headers={"Retry-After": wait}) for wait in asks]
    get(tmp_path, server.url())
    assert waits[:2] == [7, http.MAX_WAIT]
    assert waits[2:] == [0.004, 0.008], "without a number of seconds, the delay is the backoff"


def test_a_redirect_is_followed_to_http_only(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(status=302, headers={"Location": "/elsewhere/x.zip"})]
    assert get(tmp_path / "home", server.url()).name == "fma.zip"
    local = tmp_path / "local.zip"
    local.write_bytes(CONTENT)
    for target in (f"file://{local}", "ftp://example.org/x.zip"):  # schemes without an adapter in requests
        server.script = [Answer(status=302, headers={"Location": target})]
        message = refused(tmp_path / "second", server.url())
        assert message.startswith(f"datasets.mine.audio.url: {server.url()}")
        assert target in message


def test_redirects_in_a_circle_end(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(status=302, headers={"Location": "/fma.zip"})] * 50
    assert "redirects" in refused(tmp_path, server.url())


def test_the_body_of_a_redirect_is_not_read(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.script = [Answer(status=302, headers={"Location": "/fma.zip"}, length=1 << 40, hang=60)]
    get(tmp_path, server.url())
    assert "interrupted" not in capsys.readouterr().err


SOUND = b'HTTP/1.1 200 OK\r\nETag: "one"\r\nContent-Length: 9\r\n\r\nthe bytes'
ANSWERS = [
    b"",
    b"\x1b]0;title\x07\r\n\r\n",
    b"HTTP/1.1 999999999999 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabcde",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nabcde",
    b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nabcde",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\x1b[2J\r\nabcde",
    b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-4/\xd9\xa3\x1b[2J\r\nContent-Length: 5\r\n\r\nabcde",
    b"HTTP/1.1 401 No\r\nWWW-Authenticate: Digest \xff\r\nSet-Cookie: \xff=\x1b\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 No\r\nRetry-After: " + b"0" * 5000 + b"\r\nContent-Length: 0\r\n\r\n",
    *(
        b"HTTP/1.1 302 Found\r\nLocation: " + target + b"\r\nContent-Length: 0\r\n\r\n"
        for target in (
            *(b"http://[::1/x.zip", b"/\xff\xfe.zip", b"http://" + b"a" * 70 + b".com/x.zip", b"http://a..b/x"),
            *(b"http://\x1b[2Jhost:99999/x", b"gopher\x1b[2J://x", b"http://" + "ä".encode() * 80, b"//", b""),
            *(b"http://127.0.0.1:0/x", b"http://127.0.0.1:-1/x", b"file:///etc/passwd", b"data:,x", b"?" * 60_000),
        )
    ),
]


def raw(answer: bytes) -> Iterator[str]:
    """The url of a server that gives this answer to every request."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        connection.recv(1 << 16)
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/fma.zip"


@pytest.mark.parametrize("number", range(100))
def test_whatever_a_server_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int) -> None:
    """Hostile answers, followed by a valid answer with some bytes changed."""
    answer = ANSWERS[number] if number < len(ANSWERS) else bytes(flipped(SOUND, number))
    for url in raw(answer):
        try:
            said = get(tmp_path, url, b"the bytes").path.read_text()
        except InputError as error:
            said = str(error)
    assert said == "the bytes" or said.startswith("datasets.mine.audio")
    assert len(said) < 2000
    assert all(line.isprintable() for line in capsys.readouterr().err.splitlines())


def flipped(sound: bytes, seed: int) -> bytearray:
    generator = random.Random(seed)
    changed = bytearray(sound)
    for _ in range(generator.randint(1, 3)):
        changed[generator.randrange(len(changed))] = generator.choice(b"\0\n\r :0;\x1b\xffA")
    return changed


LONG = "9" * 60_000


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=206, headers={"Content-Range": f"bytes {LONG}-/x"}),
        Answer(status=206, headers={"Content-Range": f"bytes 0-1/{LONG}"}),
        Answer(headers={"Content-Encoding": LONG}),
        Answer(status=302, headers={"Location": f"ftp://{LONG}"}),
        Answer(status=302, headers={"Location": f"http://{LONG}/"}),
        Answer(status=503, headers={"Retry-After": LONG}),
        Answer(headers={"ETag": f'"{LONG}"', "Last-Modified": LONG}, drop=1000),
    ],
    ids=["range", "whole", "encoding", "redirect", "host", "wait", "version"],
)
def test_headers_are_shortened_in_messages(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: Answer,
) -> None:
    monkeypatch.setattr(http, "MAX_WAIT", 0.001)
    server.script = [answer] * 10
    assert len(refused(tmp_path, server.url())) < 800
    assert all(len(line) < 800 for line in capsys.readouterr().err.splitlines())


def test_a_version_too_long_for_a_header_is_not_sent_back(server: Server, tmp_path: Path) -> None:
    server.version, server.script = {"ETag": f'"{LONG}"'}, [Answer(drop=1_000_000)]
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT
    assert "If-Range" not in server.asked[1]


def test_a_redirect_that_controls_the_terminal(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for target in ("ftp://\x1b[2J/x.zip", "http://127.0.0.1:9/\x1b[2J", "\x1b]0;title\x07://x", "http://\x9b2J@["):
        server.script = [Answer(status=302, headers={"Location": target})] * 50
        assert refused(tmp_path, server.url()).isprintable()
    assert all(line.isprintable() for line in capsys.readouterr().err.splitlines())


def test_no_server_listens(tmp_path: Path) -> None:
    assert "gave up" in refused(tmp_path, "http://127.0.0.1:9/fma.zip")


def test_free_space_is_checked_in_advance(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1_000_000))
    message = refused(tmp_path, server.url())
    assert "expected 4.19MB of free space in " in message
    assert message.endswith("found 1.00MB")
    assert str(tmp_path) in message
    (tmp_path / sha1(CONTENT) / "fma.zip.part").write_bytes(CONTENT[:-900_000])
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT, "only the missing bytes need space"


ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("head", ENDLESS, ids=["closed", "chunked"])
def test_a_body_without_a_length_is_stored_while_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    body = CONTENT[:1_000_000]
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if b"chunked" in head else body
    part = tmp_path / sha1(body) / "fma.zip.part"
    answering = raw(head + sent)
    url = next(answering)
    assert get(tmp_path, url, body).path.read_bytes() == body
    shutil.rmtree(tmp_path / sha1(body))

    most: list[int] = []

    def usage(path: Path) -> types.SimpleNamespace:
        size = part.stat().st_size if part.exists() else 0
        most.append(size)
        return types.SimpleNamespace(free=http.MIN_FREE + 300_000 - size)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    message = refused(tmp_path, url, body)
    assert "for a download of unknown length, found " in message
    assert str(part.parent) in message
    assert 200_000 < max(most) <= 300_000
    assert part.stat().st_size == 0, "the disk is not left full"


def test_the_name_is_that_of_the_url(server: Server, tmp_path: Path) -> None:
    assert get(tmp_path, server.url("a/my%20own.zip?id=1#x")).name == "my own.zip"


# --- secrets ----------------------------------------------------------------------------------------------


SECRET = "hunter2"


def assert_no_secret(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that neither the output nor a file or file name below `home` contains the secret."""
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err
    for path in home.rglob("*"):
        assert SECRET not in str(path)
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    "target",
    [
        "http://user:hunter2@127.0.0.1:9/x.zip",  # no server listens there
        "http://127.0.0.1:9/x.zip?X-Amz-Credential=me&X-Amz-Signature=hunter2",
        "http://127.0.0.1:9/x.zip?hunter2#hunter2",
        "ftp://user:hunter2@example.org/x.zip",
        "ftp://hunter2@example.org/x.zip?a=hunter2",
        "http://user:hunter2@127.0.0.1:99999/x.zip",
        "http://user:hunter2@[::1/x.zip",
        "http://user:sec/hunter2@127.0.0.1:9/x.zip",
        "http://user:s p hunter2@127.0.0.1:9/x.zip",
        "http://user:\xffhunter2@127.0.0.1:9/x.zip",
        "//user:hunter2@127.0.0.1:9/x.zip",
        "gopher:user:hunter2@x",
        "http://user:hunter2@" + "a" * 70 + ".example/x.zip",
        "?token=hunter2",
    ],
)
def test_a_secret_that_a_redirect_leads_to_is_not_shown(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    server.script = [Answer(status=302, headers={"Location": target})] * 100
    assert SECRET not in refused(tmp_path, server.url())
    assert_no_secret(tmp_path, capsys)


def test_a_redirect_to_a_signed_url_is_followed(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = Answer(status=302, headers={"Location": server.url("x.zip?X-Amz-Signature=hunter2")})
    server.script = [signed, Answer(drop=1_000_000), signed]
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT
    assert_no_secret(tmp_path, capsys)


@pytest.mark.parametrize("script", [Answer(status=403), Answer(status=503), Answer(drop=9), Answer(content=b"other")])
def test_a_query_is_asked_for_and_not_shown(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], script: Answer
) -> None:
    server.script = [dataclasses.replace(script, ranges=False) for _ in range(10)]
    message = refused(tmp_path, server.url("fma.zip?id=hunter2"))
    assert message.startswith(f"datasets.mine.audio.url: {server.url('fma.zip')}?***: ")
    assert_no_secret(tmp_path, capsys)
    server.script = []
    get(tmp_path, server.url("fma.zip?id=hunter2"))


def test_the_user_and_password_of_netrc_are_sent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
    netrc.chmod(0o600)
    server.script = [Answer(status=401), Answer(drop=1000)]
    assert refused(tmp_path / "home", server.url()).endswith(
        "expected status 200, found 401; put the user name and password into ~/.netrc"
    )
    monkeypatch.setenv("NETRC", str(netrc))
    assert get(tmp_path / "home", server.url()).path.read_bytes() == CONTENT
    sent = [headers.get("Authorization") for headers in server.asked]
    assert sent == [None, *["Basic " + base64.b64encode(b"me:hunter2").decode()] * 2]
    assert_no_secret(tmp_path / "home", capsys)


# --- TLS and proxies --------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate")
    path = tmp_path / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", tmp_path / "certificate.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + (tmp_path / "certificate.pem").read_bytes())
    return path


def test_a_certificate_that_nobody_signed_is_refused_at_once(
    server: Server,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url().replace("http:", "https:")
    assert refused(tmp_path / "home", f"{url}?id=hunter2") == (
        f"datasets.mine.audio.url: {url}?***: expected a trusted certificate, found: self-signed certificate;"
        " set REQUESTS_CA_BUNDLE to trust other authorities"
    )
    assert capsys.readouterr().err == "", "no second attempt"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert get(tmp_path / "home", url).path.read_bytes() == CONTENT
    assert "certificate is not valid for 'localhost'" in refused(
        tmp_path / "new", url.replace("127.0.0.1", "localhost")
    )


def test_a_server_without_tls_is_refused_at_once(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(tmp_path, server.url().replace("http:", "https:"))
    assert ": expected a TLS connection, found: " in message
    assert capsys.readouterr().err == ""


def test_a_connection_that_breaks_within_tls_is_tried_again(tmp_path: Path) -> None:
    for url in raw(b""):
        assert "gave up after 5 attempts" in refused(tmp_path, url.replace("http:", "https:"))


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set the proxy for all hosts."""

    def use(address: str) -> None:
        for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, address)

    return use


@pytest.mark.parametrize(
    "address",
    [
        "http://user:hunter2@127.0.0.1:9",
        "user:hunter2@127.0.0.1:9",
        "http://user:hunter2@",
        "http://user:hunter2@h:x",
        "ftp://user:hunter2@127.0.0.1",
        "http://",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_cannot_be_used_is_named_at_once(
    tmp_path: Path, proxied: Callable[[str], None], capsys: pytest.CaptureFixture[str], scheme: str, address: str
) -> None:
    proxied(address)
    url = f"{scheme}://fma.example/fma.zip"
    message = refused(tmp_path, f"{url}?id=hunter2")
    expected = "a working proxy in https_proxy, http_proxy or all_proxy"
    assert message.startswith(f"datasets.mine.audio.url: {url}?***: expected {expected} (no_proxy lists")
    assert SECRET not in message
    assert capsys.readouterr().err == "", "no second attempt"


def test_a_proxy_that_wants_a_password_is_named(server: Server, tmp_path: Path, proxied: Callable[[str], None]) -> None:
    proxied(server.url(""))
    server.script = [Answer(status=407)]
    message = refused(tmp_path, "http://fma.example/fma.zip")
    hint = "put its user name and password into https_proxy, http_proxy or all_proxy"
    assert f"found 407 from the proxy; {hint}" in message


# --- several processes ------------------------------------------------------------------------------------

spawn = multiprocessing.get_context("spawn")


def test_a_kill_leaves_a_part_that_is_taken_up(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(drop=3_000_000, hang=300)]
    process = spawn.Process(target=get, args=(tmp_path, server.url()))
    process.start()
    assert server.waits.wait(120)
    part = tmp_path / sha1(CONTENT) / "fma.zip.part"
    deadline = time.monotonic() + 60
    while part.stat().st_size < 2_900_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert left(tmp_path) == {"fma.zip.part", "fma.zip.part.json"}
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT
    assert server.sent <= 1.1 * len(CONTENT)
    assert server.asked[1]["If-Range"] == '"one"'


def test_two_processes_fetch_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server hangs until the second process waits for the first."""
    printed: list[str] = []

    def note(line: str, **_: object) -> None:
        printed.append(line)
        server.closing.set()

    monkeypatch.setattr(sources, "print", note, raising=False)
    server.script = [Answer(drop=1_000_000, hang=300)]
    process = spawn.Process(target=get, args=(tmp_path, server.url()))
    process.start()
    assert server.waits.wait(120)
    get(tmp_path, server.url())
    process.join()
    assert process.exitcode == 0
    assert len(server.asked) == 2, "the second process sent a request"
    assert server.sent <= 1.1 * len(CONTENT)
    assert printed == ["datasets.mine.audio: waiting for another process to fetch it"]


# --- local files ------------------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "my data" / "fma.zip"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


def test_a_local_file_is_linked_not_copied(local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for url in (
        "~/my data/fma.zip",
        str(local),
        "my data/fma.zip",
        f"file://{local}",
        local.as_uri(),
        f"FILE://localhost{local}",
    ):
        home = tmp_path / "home"
        archive = get(home, url)
        assert archive.path.is_symlink()
        assert archive.path.samefile(local)
        assert (archive.name, archive.size) == ("fma.zip", len(CONTENT))
        shutil.rmtree(home)


def test_what_was_verified_is_not_hashed_again(local: Path, tmp_path: Path, hashed: list[str]) -> None:
    home = tmp_path / "home"
    for _ in range(3):
        get(home, local)
    assert len(hashed) == 1
    os.utime(local, ns=(1, 1))
    for _ in range(3):
        get(home, local)
    assert len(hashed) == 2
    (home / sha1(CONTENT) / "fma.zip.json").write_text('["broken')
    get(home, local)
    assert len(hashed) == 3


def test_a_local_file_that_changed_is_refused(local: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    get(home, local)
    local.write_bytes(OTHER)
    message = refused(home, local)
    assert all(text in message for text in (sha1(CONTENT), sha1(OTHER), str(local)))
    assert local.read_bytes() == OTHER, "the user's file must not be removed"
    local.write_bytes(CONTENT)
    assert get(home, local).path.samefile(local)


def test_a_local_file_that_moved_is_found_again(local: Path, server: Server, tmp_path: Path) -> None:
    home = tmp_path / "home"
    get(home, local)
    moved = local.rename(tmp_path / "fma.zip")
    assert get(home, moved).path.samefile(moved)
    moved.unlink()
    kept = get(home, server.url()).path
    assert not kept.is_symlink()
    assert kept.read_bytes() == CONTENT


def test_a_damaged_download_is_fetched_again(server: Server, tmp_path: Path) -> None:
    kept = get(tmp_path, server.url()).path
    kept.write_bytes(OTHER)
    assert get(tmp_path, server.url()).path.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_download_never_writes_through_a_link(local: Path, server: Server, tmp_path: Path) -> None:
    home = tmp_path / "home"
    get(home, local)
    local.write_bytes(OTHER)
    get(home, server.url())
    assert local.read_bytes() == OTHER


@pytest.mark.parametrize(("url", "found"), [("absent.zip", "none"), (".", "a folder"), ("a/b/c.zip", "none")])
def test_a_path_that_is_not_a_file(tmp_path: Path, url: str, found: str) -> None:
    (tmp_path / "x.zip").mkdir()
    url = str(tmp_path / "x.zip" if url == "." else tmp_path / url)
    message = refused(tmp_path / "home", url)
    assert f"found {found}" in message
    assert url in message


def test_a_file_that_may_not_be_read() -> None:
    with unprivileged() as folder:
        local = folder / "fma.zip"
        local.write_bytes(CONTENT)
        local.chmod(0)
        message = refused(folder / "home", local)
    assert "Permission denied" in message
    assert str(local) in message


def test_a_home_that_may_not_be_written(server: Server) -> None:
    with unprivileged() as folder:
        home = folder / "home"
        home.mkdir(0o500)
        message = refused(home, server.url())
    assert "Permission denied" in message
    assert str(home) in message
    assert not server.asked


def test_a_home_that_may_only_be_read_serves_what_it_has(server: Server) -> None:
    with unprivileged() as folder:
        kept = get(folder, server.url())
        kept.path.parent.chmod(0o500)
        (kept.path.parent / ".lock").chmod(0o400)
        assert get(folder, server.url()) == kept


def test_a_home_that_is_a_file(tmp_path: Path, local: Path) -> None:
    assert str(local) in refused(local, local)


def test_home_comes_from_the_environment(local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(str(local), sha1(CONTENT).upper())
    monkeypatch.setenv("FMA_HOME", str(tmp_path / "mine"))
    assert fetch_archive("x", source).path == tmp_path / "mine" / sha1(CONTENT) / "fma.zip"
    monkeypatch.setenv("FMA_HOME", "")
    monkeypatch.setattr(receipt, "user_cache_path", lambda name: tmp_path / name)
    assert fetch_archive("x", source).path.is_relative_to(tmp_path / "fma-genre")


@pytest.mark.parametrize(
    ("setting", "root", "expected"),
    [
        ("~/fma", None, "user/fma"),
        ("~/fma", "checkout", "user/fma"),
        ("kept/fma", None, "temporary/kept/fma"),
        ("kept/fma", "checkout", "checkout/kept/fma"),
        ("../fma", "checkout", "checkout/../fma"),
    ],
)
def test_home_is_resolved_as_paths_in_the_parameters_are(
    local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, root: str | None, expected: str
) -> None:
    """`dvc exp run --temp` runs in a temporary folder. DVC_ROOT is then the user's checkout."""
    for folder in ("user", "checkout", "temporary"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "temporary")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    if root:
        monkeypatch.setenv("DVC_ROOT", str(tmp_path / root))
    archive = get(Path(setting), local)
    assert archive.path == tmp_path / expected / sha1(CONTENT) / "fma.zip"
    assert archive.path.samefile(local)
    assert not (tmp_path / "temporary" / "~").exists()
    monkeypatch.chdir(tmp_path)
    assert (root is None and setting != "~/fma") != archive.path.exists(), "it depends on no other folder"


def test_a_path_below_the_home_of_an_unknown_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^~no-such-user/a\.zip: cannot expand ~"):
        fetch_archive("x", Source("~no-such-user/a.zip", sha1(b"")))
    monkeypatch.setenv("FMA_HOME", "~no-such-user/fma")
    with pytest.raises(InputError, match=r"^~no-such-user/fma: cannot expand ~"):
        receipt.home()


# --- parameters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://h/a.zip",
            "s3://b/a.zip",
            "javascript:alert(1)//a.zip",
            "file://host/a.zip",
            "http:///a.zip",
        ),
        *("http://h/", "http://h/..", "http://h/%2E%2E", "http://h/a%0Ab.zip", "http://[h/a.zip"),
        *("", "a\nb.zip", "http://h/a\nb.zip", "http://h\x1b[2J/b.zip"),
    ],
)
def test_urls_of_other_kinds_are_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"^x\.url: expected https://, http://, file:// or a path") as info:
        fetch_archive("x", Source(url, sha1(b"")))
    assert repr(url) in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("value", [None, "", "abc", "g" * 40, "0" * 41, "0" * 40 + "\n", 10**39])
def test_sha1_must_be_given(value: object) -> None:
    """Only the demo needs no sha1."""
    values = yaml.safe_load(PARAMS.read_text())
    values["datasets"]["small"]["audio"]["sha1"] = value
    with pytest.raises(
        InputError, match=r"^datasets\.small\.audio\.sha1: expected 40 hexadecimal digits in quotes, found "
    ):
        params.check(values)
    del values["datasets"]["small"]["audio"]["sha1"]
    with pytest.raises(InputError, match=r"^datasets\.small\.audio\.sha1: expected 40 .* found none$"):
        params.check(values)


@pytest.mark.parametrize("url", [None, "", 7])
def test_a_url_is_a_text(url: object) -> None:
    with pytest.raises(InputError, match=r"^x\.url: expected a non-empty string, found "):
        schema.read(Source, {"url": url, "sha1": "0" * 40}, "x")


# --- the receipt, and archives opened by it ---------------------------------------------------------------


@pytest.fixture
def received(local: Path, tmp_path: Path) -> Receipt:
    """The receipt of a data set whose archives are in FMA_HOME."""
    archive = get(tmp_path / "home", local)
    return Receipt("mine", False, archive, archive)


def test_a_receipt_is_read_as_it_was_written(received: Receipt, tmp_path: Path) -> None:
    path, again = tmp_path / "archives.json", tmp_path / "again.json"
    write_receipt(path, received)
    assert read_receipt(path) == received
    write_receipt(again, read_receipt(path))
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("content", ["", "[]", "7", "{}", '{"metadata": 1, "audio": 2}', '{"metadata": {"name": "x"}}'])
def test_a_damaged_receipt_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "archives.json"
    path.write_text(content)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: cannot read the receipt") as info:
        read_receipt(path)
    assert "\n" not in str(info.value)


def test_an_archive_is_opened_without_being_fetched_or_hashed(received: Receipt, hashed: list[str]) -> None:
    archive = open_archive(received, "audio")
    assert archive == received.audio
    assert archive.path.read_bytes() == CONTENT
    assert not hashed


def test_an_archive_that_was_touched_is_hashed_once(received: Receipt, local: Path, hashed: list[str]) -> None:
    os.utime(local, ns=(1, 1))
    for _ in range(3):
        assert open_archive(received, "metadata").path.samefile(local)
    assert hashed == ["fma.zip"]


def test_an_archive_that_was_touched_is_opened_in_a_home_that_may_only_be_read() -> None:
    with unprivileged() as folder:
        local = folder / "fma.zip"
        local.write_bytes(CONTENT)
        archive = get(folder / "home", local)
        os.utime(local, ns=(1, 1))
        archive.path.parent.chmod(0o500)
        assert open_archive(Receipt("mine", False, archive, archive), "audio") == archive


@pytest.mark.parametrize("damage", ["missing", "changed", "home"])
def test_a_missing_archive_is_one_line_with_the_command(
    received: Receipt, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    if damage == "missing":
        local.unlink()
    elif damage == "changed":
        local.write_bytes(OTHER)
    else:
        monkeypatch.setenv("FMA_HOME", str(tmp_path / "another"))
    found = "a file with another sha1" if damage == "changed" else "none"
    with pytest.raises(InputError) as info:
        open_archive(received, "audio")
    assert str(info.value) == (
        f"{received.audio.path}: expected the audio of data set mine, found {found}:"
        " `dvc repro --force --single-item download` fetches it again"
    )


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> params.Params:
    """Parameters of a checkout whose receipt names archives that are missing in FMA_HOME."""
    monkeypatch.chdir(tmp_path)
    loaded = params.load(PARAMS)
    entry = loaded.datasets["small"]
    assert entry.metadata.sha1
    assert entry.audio.sha1
    metadata, audio = Archive("m.zip", 1, entry.metadata.sha1), Archive("a.zip", 2, entry.audio.sha1)
    write_receipt(RECEIPT, Receipt("small", False, metadata, audio))
    return dataclasses.replace(loaded, dataset="small")


def test_split_without_its_archive_names_the_command(small: params.Params, tmp_path: Path) -> None:
    with pytest.raises(InputError) as info:
        split.main(small)
    assert str(info.value).startswith(str(tmp_path / "home"))
    assert "expected the metadata of data set small, found none: `dvc repro --force --single-item download`" in str(
        info.value
    )
    assert "\n" not in str(info.value)
    assert not Path("data/tracks.csv").exists()
    assert not (tmp_path / "home").exists(), "nothing was fetched"


def test_split_refuses_the_receipt_of_another_data_set(small: params.Params) -> None:
    with pytest.raises(InputError, match=r"^data/archives\.json: expected data set medium, found small: run"):
        split.main(dataclasses.replace(small, dataset="medium"))
    other = Source("elsewhere.zip", "0" * 40)
    entry = small.data_set
    changes = {
        "m.zip": dataclasses.replace(entry, metadata=other),
        "a.zip": dataclasses.replace(entry, audio=other),
    }
    for name, changed in changes.items():
        with pytest.raises(InputError, match=rf"^data/archives\.json: expected {name} with sha1 0+ as in params.yaml"):
            split.main(dataclasses.replace(small, datasets={"small": changed}))


# --- the demo ---------------------------------------------------------------------------------------------


def settings(seed: int) -> Synthesis:
    return Synthesis(seed=seed, seconds=2, training=2, validation=1, test=1)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace the synthesiser; return the list of seeds for which it is called."""
    seeds: list[int] = []

    def build(synthesis: Synthesis, folder: Path) -> tuple[Path, Path]:
        seeds.append(synthesis.seed)
        assert list(folder.iterdir()) == []
        paths = folder / "audio.zip", folder / "metadata.zip"
        for path in paths:
            path.write_bytes(path.name.encode() * synthesis.seed)
        if synthesis.seed == 13:
            raise InputError("demo: no luck")
        return paths

    monkeypatch.setattr(demo, "build", build)
    return seeds


def records(home: Path) -> list[Path]:
    return list(home.glob("demo/*.json"))


def test_the_demo_is_built_once_for_its_settings(tmp_path: Path, built: list[int], hashed: list[str]) -> None:
    home = tmp_path / "home"
    metadata, audio = fetch_demo(settings(3))
    assert (audio.name, metadata.name) == ("audio.zip", "metadata.zip")
    assert audio.path == home / audio.sha1 / "audio.zip", "kept in FMA_HOME like every other archive"
    assert (audio.size, audio.sha1) == (27, sha1(b"audio.zip" * 3))
    assert audio.path.read_bytes() == b"audio.zip" * 3
    hashed.clear()
    assert fetch_demo(settings(3)) == (metadata, audio)
    assert not hashed
    fetch_demo(settings(4))
    fetch_demo(settings(3))
    assert built == [3, 4]
    assert len(records(home)) == 2
    assert not list(home.rglob("*.part"))


def spoil(path: Path) -> None:
    path.write_bytes(b"spoiled")


@pytest.mark.parametrize("damage", [spoil, Path.unlink], ids=["spoiled", "removed"])
@pytest.mark.parametrize("which", ["audio", "metadata", "record"])
def test_an_incomplete_demo_is_built_again(
    tmp_path: Path, built: list[int], which: str, damage: Callable[[Path], None]
) -> None:
    metadata, audio = fetch_demo(settings(3))
    (record,) = records(tmp_path / "home")
    damage({"audio": audio.path, "metadata": metadata.path, "record": record}[which])
    for _ in range(2):
        assert fetch_demo(settings(3)) == (metadata, audio)
    assert audio.path.read_bytes() == b"audio.zip" * 3
    assert metadata.path.read_bytes() == b"metadata.zip" * 3
    assert built == [3, 3]


@pytest.mark.parametrize("content", ["[]", "{}", '{"metadata": {}, "audio": {}}', '{"metadata": 1, "audio": 2}'])
def test_an_invalid_record_is_replaced(tmp_path: Path, built: list[int], content: str) -> None:
    whole = fetch_demo(settings(3))
    (record,) = records(tmp_path / "home")
    good = record.read_bytes()
    record.write_text(content)
    assert fetch_demo(settings(3)) == whole
    assert record.read_bytes() == good


def test_a_demo_in_a_home_that_may_only_be_read_is_served(built: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    with unprivileged() as folder:
        monkeypatch.setenv("FMA_HOME", str(folder / "home"))
        archives = fetch_demo(settings(3))
        for path in [*folder.rglob("*")][::-1]:
            path.chmod(0o500 if path.is_dir() else 0o400)
        assert fetch_demo(settings(3)) == archives
    assert built == [3]


def test_two_processes_build_the_demo_once(built: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one waits for the first. Threads serve as processes, since each opens the lock file itself."""
    original, second_waits = demo.build, threading.Event()

    def build(settings: Synthesis, folder: Path) -> tuple[Path, Path]:
        assert second_waits.wait(120)
        return original(settings, folder)

    def note(*_: object, **__: object) -> None:
        second_waits.set()

    monkeypatch.setattr(demo, "build", build)
    monkeypatch.setattr(sources, "print", note, raising=False)  # "waiting for another process"
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(fetch_demo, [settings(3)] * 2)
    assert first == second
    assert built == [3]


def test_a_demo_that_fails_leaves_nothing(tmp_path: Path, built: list[int]) -> None:
    with pytest.raises(InputError, match="no luck"):
        fetch_demo(settings(13))
    home = tmp_path / "home"
    assert [path.name for path in home.iterdir()] == ["demo"]
    assert [path.suffix for path in home.glob("demo/*")] == [".lock"]


def test_files_of_a_killed_build_do_no_harm(tmp_path: Path, built: list[int]) -> None:
    left_over = tmp_path / "home" / "demo" / f"{demo.fingerprint(settings(3))}.json.part"
    left_over.mkdir(parents=True)
    (left_over / "audio.zip").write_bytes(b"half")
    fetch_demo(settings(3))
    assert not left_over.exists()


@pytest.mark.parametrize(("size", "shown"), [(837, "837B"), (13_400, "13.4kB"), (358_412_441, "358MB")])
def test_a_size_is_printed_in_a_unit_that_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: int, shown: str
) -> None:
    archive = Archive("fma.zip", size, sha1(CONTENT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "fetch", lambda *_: Receipt("demo", True, archive, archive))
    monkeypatch.setattr(download.zips, "open_zip", lambda path: io.BytesIO())
    download.main(params.load(PARAMS))
    assert capsys.readouterr().out == f"fma.zip: {shown}, sha1 {sha1(CONTENT)}\n" * 2


def test_a_generator_that_makes_the_same_bytes_gives_the_same_receipt(
    tmp_path: Path, built: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After such an edit only download runs: the fingerprint of the code is not in the receipt."""
    entry = dataclasses.replace(params.load(PARAMS).datasets["demo"], synthesis=settings(3))

    def receipt_of(name: str) -> bytes:
        write_receipt(tmp_path / name, fetch("demo", entry))
        return (tmp_path / name).read_bytes()

    before = receipt_of("before.json")
    assert b'"dataset": "demo"' in before
    assert b'"synthetic": true' in before
    edited = tmp_path / "synthesis.py"
    edited.write_bytes(Path(synthesis.__file__).read_bytes() + b"\n# a comment\n")
    monkeypatch.setattr(synthesis, "__file__", str(edited))
    assert receipt_of("after.json") == before
    assert built == [3, 3], "built again, since the code has changed"
    assert len(records(tmp_path / "home")) == 2

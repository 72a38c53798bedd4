"""Kills, signals, full disks and permissions: the next run resumes the work and ends with the same bytes."""

import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from attacks import ALL
from project import Project, stages_run
from test_bad_input import archive

CONTENT = archive({"noise": np.random.default_rng(0).bytes(4 << 20)})
KILLS = 30 if ALL else 6
DATA = ("archives.json", "tracks.csv", "index.csv", "mel", "stft", "predictions")
RESULTS = (*(f"data/{name}" for name in DATA), "models", "metrics", "plots", "report.md")


def contents(project: Project) -> dict[str, bytes]:
    paths = [project.path / name for name in RESULTS]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return {str(file.relative_to(project.path)): file.read_bytes() for file in files}


def assert_clean(project: Project) -> None:
    """Check that no temporary file and no finished scratch folder is left."""
    files = [*project.path.rglob("*"), *project.home.rglob("*")]
    left = [path for path in files if path.name.endswith((".part", ".tmp"))]
    assert not [path for path in left if ".dvc" not in path.parts and ".git" not in path.parts]
    assert not list((project.path / "data/work").glob("*/*"))


def start(project: Project, *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command, cwd=project.path, env=project.environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def alive(session: int) -> list[int]:
    """Ids of the running processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def wait_for_end(session: int, seconds: float) -> float:
    begun = time.monotonic()
    while alive(session) and time.monotonic() - begun < seconds:
        time.sleep(0.05)
    return time.monotonic() - begun


# Kills. -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [True, False], ids=["all processes", "dvc alone"])
def test_killed_at_any_moment(finished: Project, tmp_path: Path, whole_group: bool) -> None:
    """After repeated kill -9, `dvc repro` ends with the same bytes. No finished clip, epoch or stage is lost."""
    random = np.random.default_rng(whole_group)
    expected, project = contents(finished), without_results(finished, tmp_path / "0")
    hit: list[str] = []  # the running stage at each kill
    before: dict[str, int] = {}
    while len(hit) < KILLS // 2 or (ALL and not {stage.partition("@")[0] for stage in hit} >= AIMS):
        assert len(hit) < 3 * KILLS
        process, log = repro(project, tmp_path / "log")
        stages = begun_stages(process, log)
        for _ in range(int(random.geometric(0.5))):
            current = next(stages, None)
        time.sleep(float(random.uniform(0, 2.5)))
        if current and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL) if whole_group else process.kill()
            hit.append(current)
        process.wait()
        assert "Traceback" not in log.read_text()
        if process.returncode == 0:
            assert contents(project) == expected
            project, before = without_results(finished, tmp_path / str(len(hit))), {}
        elif process.returncode > 0:
            assert not whole_group
            assert "already running" in log.read_text()
            time.sleep(1)
        if remove_torn_files(project):
            before = {}  # recorded results are in DVC's run cache
        now = finished_work(project)
        lost = {name for name, amount in before.items() if now.get(name, 0) < amount and stage_of(name) not in now}
        assert not lost, f"{before} before, {now} after {hit}"
        before = now
    finish(project)
    assert contents(project) == expected
    assert_clean(project)


AIMS = {"download", "spectrograms", "train", "evaluate"}


def without_results(finished: Project, path: Path) -> Project:
    """A clone without dvc.lock, with its own FMA_HOME."""
    project = finished.clone(path)
    (project.path / "dvc.lock").unlink()
    return Project(project.path, path.with_name(f"home of {path.name}"))


def repro(project: Project, log: Path) -> "tuple[subprocess.Popen[bytes], Path]":
    log.write_text("")
    with log.open("a") as output:  # a stage may still write to it after its DVC was killed
        command = ["dvc", "repro"]
        options = {"cwd": project.path, "env": project.environment, "start_new_session": True}
        return subprocess.Popen(command, stdout=output, stderr=output, **options), log  # type: ignore[call-overload]


def begun_stages(process: "subprocess.Popen[bytes]", log: Path) -> Iterator[str]:
    """Yield each stage when DVC starts it, until DVC ends."""
    given = 0
    while process.poll() is None:
        begun = re.findall(r"Running stage '(\S+)'", log.read_text())
        yield from begun[given:]
        given = len(begun)
        time.sleep(0.02)


def remove_torn_files(project: Project) -> bool:
    """Remove files of DVC that a kill cut off: DVC writes two files in place.

    Returns:
        Whether dvc.lock was one of them.
    """
    lock, rwlock = project.path / "dvc.lock", project.path / ".dvc/tmp/rwlock"
    if rwlock.exists() and not is_json(rwlock.read_text()):
        rwlock.unlink()
    torn = lock.exists() and not has_stages(lock.read_text())
    if torn:
        lock.unlink()
    return torn


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def has_stages(text: str) -> bool:
    try:
        return bool(yaml.safe_load(text)["stages"])
    except (TypeError, yaml.YAMLError):
        return False


def finished_work(project: Project) -> dict[str, int]:
    """Amount of finished work: clips or epochs for each file under data/work, 1 for each recorded stage."""
    amounts = {}
    work = project.path / "data/work"
    for outcomes in work.glob("spectrograms/*/outcomes.npy"):
        amounts[str(outcomes.relative_to(work))] = int(np.load(outcomes)["done"].sum())
    for epochs in work.glob("train@*/*/seed*.json"):
        amounts[str(epochs.relative_to(work))] = len(json.loads(epochs.read_text()))
    lock = project.path / "dvc.lock"
    return amounts | dict.fromkeys(yaml.safe_load(lock.read_text())["stages"] if lock.exists() else [], 1)


def stage_of(name: str) -> str:
    """The stage of an item of `finished_work`. When the stage is recorded, its scratch folder may be removed."""
    return name.partition("/")[0]


@pytest.mark.slow
@pytest.mark.parametrize("last", ["nothing", "half a word"])
def test_a_dvc_lock_that_was_cut_off_costs_no_work(finished: Project, tmp_path: Path, last: str) -> None:
    """DVC names the file. After `git checkout`, DVC restores the results from its run cache."""
    project = finished.copy(tmp_path / "project")
    project.edit_params(lambda params: params["models"]["birnn"].update(hidden=9))
    assert "train@birnn" in project.repro()
    expected = contents(project)
    lock = project.path / "dvc.lock"
    os.truncate(lock, 0 if last == "nothing" else lock.read_bytes().rindex(b"md5: ") + 2)
    refused = project.run("dvc", "repro", check=False)
    assert refused.returncode != 0
    assert "dvc.lock" in refused.stderr
    project.run("git", "checkout", "--quiet", "dvc.lock")
    assert project.repro() == {"compare"}
    assert contents(project) == expected


class Slow(http.server.BaseHTTPRequestHandler):
    """Sends CONTENT at 8 MB/s, from the requested position."""

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        with contextlib.suppress(OSError):
            for place in range(start, len(CONTENT), 1 << 14):
                self.wfile.write(CONTENT[place : place + (1 << 14)])
                self.server.sent += len(CONTENT[place : place + (1 << 14)])  # type: ignore[attr-defined]
                time.sleep(0.002)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(project: Project, handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[Any]:
    """A server with one archive, which becomes the project's data set."""
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.sent = 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    part = {"url": f"http://127.0.0.1:{server.server_port}/fma.zip", "sha1": hashlib.sha1(CONTENT).hexdigest()}
    entry = {"audio": part, "metadata": part, "subset": "medium"}
    project.edit_params(lambda params: params.update(dataset="mine", datasets=params["datasets"] | {"mine": entry}))
    yield server
    server.shutdown()


@pytest.mark.slow
def test_killed_while_downloading(finished: Project, tmp_path: Path) -> None:
    """After kill -9, received bytes are not fetched again."""
    random = np.random.default_rng(0)
    project = Project(finished.copy(tmp_path / "project").path, tmp_path / "home")
    with serving(project, Slow) as server:
        places = np.sort(random.integers(len(CONTENT) * 9 // 10, size=10 if ALL else 3))
        for place in places:
            process, _ = repro(project, tmp_path / "log")
            while server.sent < place and process.poll() is None:
                time.sleep(0.001)
            os.killpg(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        project.run("dvc", "repro", "download")
    assert server.sent <= len(CONTENT) + len(places) * (1 << 18), "more bytes than the buffers hold were sent again"
    (archive,) = (tmp_path / "home").glob("*/fma.zip")
    assert archive.read_bytes() == CONTENT
    assert not list((tmp_path / "home").glob("*/*.part*"))


def finish(project: Project) -> None:
    """Run `dvc repro` until it succeeds. The stage of a killed DVC may still be running."""
    for _ in range(60):
        done = project.run("dvc", "repro", check=False)
        if done.returncode == 0:
            return
        assert "already running" in done.stdout + done.stderr, done.stdout + done.stderr
        time.sleep(1)
    raise AssertionError("the stage never ended")


# Signals. ---------------------------------------------------------------------------------------------------------

STAGES = ("spectrograms", "train@birnn", "train@cnn", "baseline@svm", "evaluate@birnn")
DELAYS = (0.1, 0.5, 1, 3) if ALL else (0.1,)  # s between the start of the stage and the signal


@pytest.mark.parametrize(
    ("stage", "sent"),
    [
        pytest.param(stage, sent, marks=() if (stage, sent) == ("train@cnn", signal.SIGTERM) else pytest.mark.slow)
        for stage in STAGES
        for sent in (signal.SIGINT, signal.SIGTERM)
    ],
)
def test_stopped(finished: Project, tmp_path: Path, stage: str, sent: signal.Signals) -> None:
    """Ctrl-C and SIGTERM stop a stage and its workers. The next run resumes."""
    project = finished.copy(tmp_path / "project")

    def slow_down(params: dict[str, Any]) -> None:
        if stage.startswith("train"):
            params["train"]["runs"] = 2 if stage == "train@cnn" else 1
            params["models"]["birnn"]["epochs"] = params["models"]["cnn"]["epochs"] = 2000

    expected = contents(project)
    project.edit_params(slow_down)
    times = []
    for delay in DELAYS:
        process = begin(project, stage)
        time.sleep(delay)
        if sent == signal.SIGINT:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sent)  # to all processes, as a terminal does
        else:
            process.send_signal(sent)
        seconds = wait_for_end(process.pid, 100)
        _, errors = process.communicate()
        assert "Traceback" not in errors, errors
        if process.returncode != 0:  # otherwise it had already finished
            times.append(seconds)
    assert times, "it always finished before the signal"
    assert min(times) < 30, f"{stage} took {times} s to stop"
    project.run("git", "checkout", "--quiet", "params.yaml", "metrics", "plots")
    finish(project)
    assert contents(project) == expected


def begin(project: Project, stage: str) -> "subprocess.Popen[str]":
    """Start a stage with two workers; return when it has locked the checkout."""
    script, _, key = stage.partition("@")
    lock = project.path / f"data/work/{stage}.lock"
    lock.unlink(missing_ok=True)
    process = start(project, "env", "FMA_WORKERS=2", "python", f"src/{script}.py", *([key] if key else []))
    while process.poll() is None and not lock.exists():
        time.sleep(0.01)
    return process


# Full disks. ------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """Mount a file system of this size; skip the test without the right to do so."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_too_little_space_for_the_spectrograms(finished: Project, tmp_path: Path) -> None:
    """The error comes before any extraction. It names the needed space and the folder."""
    project = finished.copy(tmp_path / "project")
    with small_disk(tmp_path / "disk", "4m") as disk:
        work = project.path / "data/work"
        for path in sorted(work.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        work.rmdir()
        work.symlink_to(disk)
        done = project.run("python", "src/spectrograms.py", check=False)
        assert done.returncode == 1
        number = r"([0-9.e-]+) GB"
        where = f"spectrograms: {disk}/spectrograms/[0-9a-f]+"
        says = re.fullmatch(f"{where}: expected {number} of disk space, found {number} free\n", done.stderr)
        assert says, done.stderr
        assert float(says[1]) > 0.005 > float(says[2]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("size", ["64k", "200k", "400k"])
def test_a_disk_that_fills_up_in_training(finished: Project, tmp_path: Path, size: str) -> None:
    """The error is one line. With enough space, the next run resumes."""
    project = finished.copy(tmp_path / "project")
    expected = contents(project)
    with small_disk(tmp_path / "disk", size) as disk:
        work = project.path / "data/work/train@cnn"
        work.rmdir()
        work.symlink_to(disk)
        done = project.run("python", "src/train.py", "cnn", check=False)
        work.unlink()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("train@cnn: ")
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    project.run("python", "src/train.py", "cnn")
    assert {name: content for name, content in contents(project).items() if name.startswith("models/cnn")} == {
        name: content for name, content in expected.items() if name.startswith("models/cnn")
    }


@pytest.mark.slow
def test_a_disk_that_fills_up_in_extraction(finished: Project, tmp_path: Path) -> None:
    """Another program takes the space after the stage has checked it."""
    project = finished.copy(tmp_path / "project")
    expected = contents(project)
    shutil.rmtree(project.path / "data/work")
    with small_disk(tmp_path / "disk", "64m") as disk:
        (project.path / "data/work").symlink_to(disk)
        process = start(project, "nice", "python", "src/spectrograms.py")  # must not finish before the disk is full
        while process.poll() is None and not list(disk.glob("spectrograms/*/mel.npy")):
            time.sleep(0.001)
        with (disk / "another's").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 20)):
                pass
        _, errors = process.communicate()
        (project.path / "data/work").unlink()
    assert process.returncode == 1
    assert errors == f"spectrograms: [Errno 28] No space left on device in {project.path}\n"
    project.run("python", "src/spectrograms.py")
    assert contents(project) == expected


class Unmeasured(http.server.BaseHTTPRequestHandler):
    """Sends CONTENT without a Content-Length."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        pass


def test_a_disk_that_fills_up_in_a_download(finished: Project, tmp_path: Path) -> None:
    """The error is one line if the size was unknown in advance. With enough space, the next run succeeds."""
    project = finished.copy(tmp_path / "project")
    with serving(project, Unmeasured):
        with small_disk(tmp_path / "disk", "2m") as disk:
            done = Project(project.path, disk).run("python", "src/download.py", check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert re.search(r"unknown length, found .* after .*$", done.stderr.splitlines()[-1])
        Project(project.path, tmp_path / "home").run("python", "src/download.py")


# Permissions and clocks. ------------------------------------------------------------------------------------------


def obeying_permissions() -> list[str]:
    """A command prefix under which permissions also apply to root."""
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root reads and writes everything: needs setpriv")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.mark.parametrize(
    ("folder", "mode", "command"),
    [
        ("data", 0o500, ["src/split.py"]),
        pytest.param("data/predictions", 0o000, ["src/compare.py"], marks=pytest.mark.slow),
        pytest.param("data/mel", 0o000, ["src/baseline.py", "svm"], marks=pytest.mark.slow),
        pytest.param("data/mel", 0o000, ["src/spectrograms.py"], marks=pytest.mark.slow),
        pytest.param("data/mel", 0o000, ["src/train.py", "cnn"], marks=pytest.mark.slow),
        pytest.param("data/predictions", 0o500, ["src/evaluate.py", "cnn"], marks=pytest.mark.slow),
        pytest.param("models", 0o500, ["src/train.py", "cnn"], marks=pytest.mark.slow),
        pytest.param("models/cnn", 0o000, ["src/evaluate.py", "cnn"], marks=pytest.mark.slow),
        pytest.param("metrics", 0o500, ["src/evaluate.py", "cnn"], marks=pytest.mark.slow),
        pytest.param("plots/comparison", 0o000, ["src/compare.py"], marks=pytest.mark.slow),
    ],
)
def test_a_folder_that_may_not_be_used_is_one_line(
    finished: Project, tmp_path: Path, folder: str, mode: int, command: list[str]
) -> None:
    """With the permission, the next run gives the same results."""
    project = finished.copy(tmp_path / "project")
    expected = contents(project)
    if folder == "data":
        shutil.rmtree(project.path / "data/work")
    (project.path / folder).chmod(mode)
    done = project.run(*obeying_permissions(), "python", *command, check=False)
    (project.path / folder).chmod(0o700)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Permission denied" in done.stderr.splitlines()[-1]
    assert folder in done.stderr.splitlines()[-1]
    project.run("python", *command)
    assert contents(project) == expected


@pytest.mark.slow
def test_a_clock_that_was_moved_back(finished: Project, tmp_path: Path) -> None:
    """Files with a time in the future are read and replaced as usual."""
    project = finished.copy(tmp_path / "project")
    expected = contents(project)
    tomorrow = time.time() + 86400
    for path in project.path.rglob("*"):
        os.utime(path, (tomorrow, tomorrow), follow_symlinks=False)
    assert project.repro() == set()
    project.edit_params(lambda params: params["models"]["birnn"].update(hidden=9))
    assert "train@birnn" in project.repro()
    assert contents(project) != expected
    project.run("git", "checkout", "--quiet", "params.yaml")
    project.run("dvc", "repro", "--force")
    assert contents(project) == expected


# Two at once. -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_run_of_a_stage_is_refused(finished: Project, tmp_path: Path) -> None:
    """The second run of a stage in one checkout ends with an error."""
    project = finished.copy(tmp_path / "project")
    project.edit_params(lambda params: params["models"]["birnn"].update(epochs=2000))
    process = begin(project, "train@birnn")
    done = project.run("python", "src/train.py", "birnn", check=False)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert done.returncode == 1
    assert done.stderr.startswith("train@birnn: already running in ")
    assert stages_run(done.stdout) == set()

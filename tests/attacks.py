"""A server process that runs the first stages on hostile archives, each time in a process of its own."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from project import PARAMS, ROOT

ALL = os.environ.get("ATTACK") == "all"  # set by `make attack`: many more cases of each kind
SECONDS = 120  # limit for all stages on a tiny archive, which take about one
MEMORY = 1 << 29  # limit in bytes, in addition to the interpreter and the packages
STAGES = ("download", "split", "spectrograms")

# Import the stages once; fork a process for each job. A job is a folder, an FMA_HOME and a memory limit.
NURSERY = f"""
import json, os, resource, runpy, signal, sys, time, traceback
sys.path.insert(0, {str(ROOT / "src")!r})
import download, spectrograms, split
import librosa.filters, rapidgzip, soundfile, soxr
from fma_genre.common import stage
def child(job):
    os.setsid()
    os.chdir(job["folder"])
    os.environ["FMA_HOME"] = job["home"]
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1), os.dup2(log, 2)
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + job["memory"], size + job["memory"]))
    signal.alarm({SECONDS})
    for name in {STAGES!r}:
        try:
            stage.run(name, sys.modules[name].main)
        except SystemExit as end:
            if end.code:
                print(end.code, file=sys.stderr, flush=True)
                return 1
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            return 70
    return 0
print("ready", flush=True)
for line in sys.stdin:
    start, pid = time.monotonic(), os.fork()
    if not pid:
        os._exit(child(json.loads(line)))
    _, status = os.waitpid(pid, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - start]), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    code: int  # 0: success; 1: an error in one line; 70: a traceback; negative: the signal that ended the process
    seconds: float
    log: str

    def assert_sound(self, name: str) -> None:
        """Check that the stages ended by themselves, with a result or with an error in one line."""
        assert self.code in (0, 1), f"{name}: {self.code} after {self.seconds:.0f} s\n{self.log}"
        assert "Traceback" not in self.log, f"{name}: {self.log}"
        assert "\x1b" not in self.log, f"{name}: prints a control character"
        if self.code:
            last = self.log.rstrip("\n").splitlines()[-1]
            assert last.startswith(STAGES), f"{name}: {self.log}"
            assert len(last) < 2000, f"{name}: {last[:200]}… is too long"


class Nursery:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout
        assert process.stdout.readline() == "ready\n"

    def run(self, folder: Path, audio: bytes, metadata: bytes, memory: int = MEMORY) -> Outcome:
        """Run download, split and spectrograms on these two archives, in a new checkout."""
        folder.mkdir()
        entry: dict[str, Any] = {"subset": "medium"}
        for role, content in (("audio", audio), ("metadata", metadata)):
            (folder / f"{role}.zip").write_bytes(content)
            entry[role] = {"url": f"{role}.zip", "sha1": hashlib.sha1(content).hexdigest()}
        params = yaml.safe_load(PARAMS.read_text())
        params["dataset"], params["datasets"]["tiny"] = "tiny", entry
        params["spectrograms"]["seconds"] = 5
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        assert self.process.stdin
        assert self.process.stdout
        job = {"folder": str(folder), "home": str(folder / "home"), "memory": memory}
        print(json.dumps(job), file=self.process.stdin, flush=True)
        code, seconds = json.loads(self.process.stdout.readline())
        return Outcome(code, seconds, (folder / "log").read_text(errors="replace"))


@contextmanager
def nursery() -> Iterator[Nursery]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
    environment: Mapping[str, Any] = kept | {"FMA_WORKERS": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment) as process:
        yield Nursery(process)
        assert process.stdin
        process.stdin.close()

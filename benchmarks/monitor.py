"""Time, memory, disk traffic and disk space that a command takes, over all of its processes. Only for Linux."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import psutil

INTERVAL = 0.2  # s between two samples
MAX_SHARE = 0.05  # largest share of the time that is spent on samples


@dataclass
class Sample:
    """Memory and disk space of a command at a moment, or their maxima over moments, in bytes.

    `memory` counts a page that several processes share only once (proportional set size). It includes the pages of
    mapped files, which the kernel can drop when memory gets short. `anonymous` is the part that it cannot drop.
    """

    memory: int = 0
    anonymous: int = 0
    gpu: int = 0  # memory in use on all GPUs, by all programs
    disk: int = 0  # growth of the folder since the start

    def raise_to(self, other: "Sample") -> None:
        for field in fields(self):
            setattr(self, field.name, max(getattr(self, field.name), getattr(other, field.name)))


@dataclass(frozen=True)
class Usage:
    """Time, disk traffic and peaks of an ended command."""

    exit_code: int
    seconds: float
    cpu_seconds: float  # of all processes that were waited for
    read: int  # bytes read from the disk, and not from the page cache
    written: int
    peak: Sample


def measure(command: Sequence[str], cwd: Path, environment: Mapping[str, str], log: Path, folder: Path) -> Usage:
    """Run a command with its output in the file `log`, and measure it and the disk space of `folder`.

    Bytes and CPU time are the kernel's sums over ended processes, so this process must not run other commands
    meanwhile. (On a machine with a GPU, it does run nvidia-smi, which writes nothing.) If this function is interrupted,
    all processes of the command are terminated.
    """
    peak, ended = Sample(), threading.Event()
    space, before, start = disk_space(folder), psutil.Process().io_counters(), time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT)
    sampler = threading.Thread(target=keep_sampling, args=(process.pid, folder, space, peak, ended))
    sampler.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)  # so that Popen does not wait for the process
    finally:
        ended.set()
        sampler.join()
        if process.returncode is None:
            for pid in process_tree(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            process.wait()
    after = psutil.Process().io_counters()
    return Usage(
        exit_code=process.returncode,
        seconds=round(seconds, 3),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 3),
        read=after.read_bytes - before.read_bytes,
        written=after.write_bytes - before.write_bytes,
        peak=peak,
    )


def keep_sampling(pid: int, folder: Path, space: int, peak: Sample, ended: threading.Event) -> None:
    """Raise `peak` to the maximum of samples until `ended` is set. `space` is the disk space of `folder` before."""
    pause = 0.0
    while not ended.wait(pause):
        start = time.perf_counter()
        current = Sample(gpu=gpu_memory(), disk=disk_space(folder) - space)
        for process in process_tree(pid):
            add_memory(current, process)
        peak.raise_to(current)
        pause = max(INTERVAL, (time.perf_counter() - start) / MAX_SHARE)


def disk_space(folder: Path) -> int:
    """Bytes that the files in a folder take up on the disk. Hard links to a file count once, holes not at all."""
    sizes: dict[int, int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # deleted meanwhile
                status = os.lstat(f"{parent}/{name}")
                sizes[status.st_ino] = 512 * status.st_blocks
    return sum(sizes.values())


def process_tree(pid: int) -> list[int]:
    """Ids of a process and of all processes that descend from it."""
    with suppress(psutil.NoSuchProcess):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []


def add_memory(sample: Sample, pid: int) -> None:
    """Add the memory of a process, unless it has ended."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: 1024 * int(value) for name, value, _ in map(str.split, lines)}
        sample.memory += sizes["Pss:"]
        sample.anonymous += sizes["Pss_Anon:"] + sizes["Pss_Shmem:"]


def gpu_memory() -> int:
    """Bytes in use on all GPUs."""
    return sum(int(size) << 20 for size in query_gpus("memory.used") if size.isdigit())


def query_gpus(key: str) -> list[str]:
    """Report of the program nvidia-smi for each GPU; empty on a machine without it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, f"--query-gpu={key}", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []

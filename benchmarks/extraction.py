"""Benchmark of the extraction: time and memory, compared with a lower bound and with the usual librosa code.

    python benchmarks/extraction.py [--archive ZIP] [--clips 320] [--memory 300 3000] [--output FILE.json]

Programs:

    floor    decompress with zipfile and decode with soundfile, without output: work that no pipeline can avoid
    recipe   unzip, librosa.load, mel spectrogram and STFT in dB by librosa, two .npy files per clip
    stage    the extraction of the stage `spectrograms`: resample, compute both representations, quantise, write

The programs take turns on the same clips. All use the same number of processes with one thread each. Results are
medians over the turns. Without --archive, the benchmark builds an archive from real music in the folder that
the environment variable FMA_REAL names, or from the demo if that folder does not exist. For the demo, run `dvc repro
download` first.
"""

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TQDM_DISABLE": "1"}

import argparse
import functools
import io
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile
from joblib import cpu_count

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import references
from fma_genre import store
from fma_genre.archives import receipt, zips
from fma_genre.archives.clips import Clip, candidates
from fma_genre.common import params
from fma_genre.features import audio, extraction
from fma_genre.features.build import build as build_representation
from fma_genre.features.frames import frame_count
from fma_genre.features.levels import decibels, quantised_levels

REAL = Path(os.environ.get("FMA_REAL", ROOT.parent / "shared" / "real"))
SETTINGS = params.load(ROOT / "params.yaml").spectrograms
REPRESENTATIONS = {name: build_representation(name, SETTINGS) for name in SETTINGS.representations}
TURN = 20  # clips per turn
DISTINCT_CLIPS = 39  # number of different clips in the real music
MEMORY_WORKERS = 2  # processes of the extraction whose memory is measured

Clips = Sequence[zipfile.ZipInfo]


def main() -> None:
    arguments = parse(sys.argv[1:])
    if arguments.child:
        clips = repeated(clips_of(arguments.archive), arguments.clips)
        extract(arguments.archive, clips, MEMORY_WORKERS, arguments.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = arguments.archive or build(Path(folder) / "clips.zip", arguments.clips)
        available = clips_of(archive)
        clips = repeated(available, arguments.clips)
        report = {
            "machine": machine(),
            "archive": {"clips": len(available), "bytes per clip": archive.stat().st_size // len(available)},
            "milliseconds per clip": turns(archive, clips, Path(folder)),
            "breakdown of one process": breakdown(archive, clips[:DISTINCT_CLIPS], Path(folder)),
            "largest difference from librosa in dB": parity(archive, clips[:DISTINCT_CLIPS]),
            "anonymous memory in MB": {
                f"{count} clips": memory(archive, count, Path(folder) / "memory") for count in arguments.memory
            },
        }
    print(table(report))
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, help="zip archive in the FMA's layout")
    parser.add_argument("--clips", type=int, default=16 * TURN, help="number of clips to extract (default %(default)s)")
    parser.add_argument(
        "--memory", type=int, nargs="*", default=[300, 3000], help="numbers of clips for which memory is measured"
    )
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    # The folder into which a child process extracts while this process measures its memory:
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


# The clips. -------------------------------------------------------------------------------------------------------


def build(path: Path, count: int) -> Path:
    """Build an archive in the FMA's layout with `count` clips of real music, or else of the demo. Clips may repeat."""
    source = REAL / "cc_music" / "fma_ccmusic.zip"
    if not source.exists():
        source = receipt.open_archive(receipt.read_receipt(ROOT / receipt.RECEIPT), "audio").path
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as new:
        clips = [member for member in members(old) if is_audio(old.read(member))]
        for track, member in enumerate(repeated(clips, count)):
            new.writestr(f"fma/{track // 1000:03d}/{track:06d}.mp3", old.read(member))
    return path


def is_audio(content: bytes) -> bool:
    """Return whether libsndfile can open a clip. The demo contains some clips that it cannot open."""
    try:
        soundfile.info(io.BytesIO(content))
    except soundfile.LibsndfileError:
        return False
    return True


def clips_of(archive: Path) -> Clips:
    with zips.open_zip(archive) as opened:
        return members(opened)


def members(archive: zipfile.ZipFile) -> Clips:
    return [found[0] for found in candidates(archive).values()]


def repeated(clips: Clips, count: int) -> Clips:
    return [clips[number % len(clips)] for number in range(count)]


def extract(archive: Path, clips: Clips, processes: int, folder: Path) -> None:
    os.environ["FMA_WORKERS"] = str(processes)
    extraction.extract(archive, [Clip(member) for member in clips], SETTINGS, folder)


# Measurements. ---------------------------------------------------------------------------------------------------


@contextmanager
def empty(folder: Path) -> Iterator[Path]:
    """Create `folder` for the block, and delete it afterwards."""
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def turns(archive: Path, clips: Clips, folder: Path) -> dict[str, Any]:
    """Median times per clip in ms, and medians of the ratios between programs in the same turn."""
    programs: dict[str, Callable[..., None]] = {
        "floor": references.floor,
        "recipe": functools.partial(references.recipe, settings=SETTINGS),
        "stage": extract,
    }
    groups = [clips[start : start + TURN] for start in range(0, len(clips), TURN)]
    times: dict[tuple[str, int], list[float]] = {(name, n): [] for n in (1, 2) for name in programs}
    for number, group in enumerate([groups[0], *groups]):  # turn 0 is a warm-up
        order = list(times)
        first = number % len(order)
        for name, processes in order[first:] + order[:first]:
            with empty(folder / "turn") as work:
                start = time.perf_counter()
                programs[name](archive, group, processes, work)
                seconds = time.perf_counter() - start
            if number:
                times[name, processes].append(seconds / len(group) * 1e3)
    arrays = {key: np.array(values) for key, values in times.items()}
    result: dict[str, Any] = {}
    for processes in (1, 2):
        row: dict[str, float] = {name: median(arrays[name, processes]) for name in programs}
        row["stage / floor"] = median(arrays["stage", processes] / arrays["floor", processes])
        row["stage / recipe"] = median(arrays["stage", processes] / arrays["recipe", processes])
        result[f"{processes} process{'es' * (processes > 1)}"] = row
    scaling = {name: arrays[name, 1] / arrays[name, 2] for name in programs}
    result["1 → 2 processes"] = {
        **{name: median(values) for name, values in scaling.items()},
        "stage / floor": median(scaling["stage"] / scaling["floor"]),
    }
    return result


def median(values: np.ndarray | list[float]) -> float:
    return round(float(np.median(values)), 3)


def breakdown(archive: Path, clips: Clips, folder: Path) -> dict[str, float]:
    """Median time per clip of each extraction step in ms, in the order of the extraction."""
    steps: dict[str, list[float]] = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        steps.setdefault(step, []).append((time.perf_counter() - start) * 1e3)

    frames = frame_count(SETTINGS.seconds, SETTINGS.sample_rate, SETTINGS.hop)
    for name, representation in REPRESENTATIONS.items():
        store.create_array(folder / f"{name}.npy", (len(clips), frames, len(representation.frequencies())))
    for row, clip in enumerate(clips):
        with timed("decompress, by zipfile for comparison"):
            references.opened(archive).read(clip.filename)
        with timed("decompress"):
            data = zips.read(archive, clip)
        with timed("decode"):
            piece, *_ = audio.decode(data, SETTINGS.seconds)
        with timed("decode, by FFmpeg for comparison"):
            references.decode_by_ffmpeg(data, SETTINGS.seconds)
        with timed("mix and resample"):
            samples = audio.to_mono(piece.stretches, SETTINGS.sample_rate)
        power = {}
        for name, representation in REPRESENTATIONS.items():
            with timed(name):
                power[name] = representation.power(samples)
        with timed("quantise and write"):
            for name in power:
                store.write_row(folder / f"{name}.npy", row, quantised_levels(power[name], SETTINGS.floor_db)[:frames])
    return {step: median(times) for step, times in steps.items()}


def parity(archive: Path, clips: Clips) -> dict[str, float]:
    """Largest difference from librosa's levels in dB, before quantisation, where librosa's level is above the floor."""
    rate, floor_db = SETTINGS.sample_rate, SETTINGS.floor_db
    worst = dict.fromkeys(REPRESENTATIONS, 0.0)
    for clip in clips:
        data = zips.read(archive, clip)
        samples = audio.load(data, rate, SETTINGS.seconds).samples
        loaded, _ = librosa.load(io.BytesIO(data), sr=rate, duration=SETTINGS.seconds)
        expected = references.librosa_levels(loaded, SETTINGS, floor_db=None)
        for name, representation in REPRESENTATIONS.items():
            power = representation.power(samples)
            levels = decibels(power, power.max(), floor_db)
            above = expected[name].T + floor_db > 0
            worst[name] = max(worst[name], float(np.abs(levels - expected[name].T)[above].max()))
    return {name: float(f"{value:.2g}") for name, value in worst.items()}


def memory(archive: Path, count: int, folder: Path) -> int:
    """Peak of the anonymous memory of the extraction and its workers, in MB. Shared pages are counted once."""
    with empty(folder):
        command = [sys.executable, __file__, "--archive", str(archive), "--clips", str(count), "--child", str(folder)]
        with subprocess.Popen(command) as process:
            peak = 0
            while process.poll() is None:
                peak = max(peak, sum(map(anonymous, family(process.pid))))
                time.sleep(0.1)
        if process.returncode:
            sys.exit("extraction failed while its memory was measured")
    return round(peak / 1000)


def family(pid: int) -> Iterator[int]:
    """Yield the ids of a process and its descendants."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return
    for child in children:
        yield from family(int(child))


def anonymous(pid: int) -> int:
    """Proportional share of a process's anonymous memory in kB, without mapped files; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon"))


def machine() -> dict[str, Any]:
    return {"cores": cpu_count(), "processor": platform.machine(), "python": platform.python_version()}


# Output. ----------------------------------------------------------------------------------------------------------


def table(report: dict[str, Any]) -> str:
    """Format the report as text, with a heading for each section."""
    lines = []
    for title, section in report.items():
        lines.append(f"\n{title}")
        for name, value in section.items():
            values = value.items() if isinstance(value, dict) else [("", value)]
            lines.append(f"  {name:<42}" + "  ".join(f"{key} {number}".strip() for key, number in values))
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""Measurements of audio files: length, sample rate, loudness, tags. The whole file is decoded, as in extraction.

Measuring takes nearly all the time of packing. The results are kept in a file with one line of JSON for each audio
file, so that a stopped run goes on, and a second run with other options does not measure again.
"""

import contextlib
import hashlib
import io
import json
import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path

import av
from joblib import Parallel, delayed

from fma_genre.archives.cells import one_line
from fma_genre.archives.zips import MAX_CLIP_BYTES
from fma_genre.common import documents, progress, stage
from fma_genre.common.errors import InputError
from fma_genre.common.files import write_text
from fma_genre.common.workers import run_in_workers, worker_count
from fma_genre.features import audio, conditions
from fma_genre.features.ffmpeg import OPTIONS
from fma_genre.features.recording import Recording
from fma_genre.features.sndfile import stderr_silenced
from fma_genre.features.stretches import UnreadableClipError

STEP = 10  # s decoded at a time


@dataclass(frozen=True)
class Measured:
    """Content of an audio file. If no audio can be decoded, `problem` says why, and the other values are empty."""

    problem: str = ""
    sha1: str = ""
    seconds: float = 0  # that can be decoded
    length: float = 0  # s, including parts that cannot be decoded
    rate: int = 0  # Hz, at the beginning
    loudness: float = conditions.LOUDNESS[0]  # in dB, as in data/index.csv, but of the whole file
    artist: str = ""  # from the file's tags, as the title
    title: str = ""


def measure(path: Path) -> Measured:
    """Decode a file. The result does not depend on the file's name."""
    try:
        status = path.stat()
        documents.check_kind(path.name, status.st_mode)  # opening a pipe would wait
        if status.st_size > MAX_CLIP_BYTES:
            return Measured(f"expected at most {MAX_CLIP_BYTES} bytes, found {status.st_size}")
        data = path.read_bytes()
        with stderr_silenced(), audio.opened(data) as recording:
            seconds, length, rate, loudness = _listen(recording)
    except InputError:
        return Measured("not a regular file")
    except OSError as error:
        return Measured(f"cannot be read: {error.strerror}")
    except UnreadableClipError as error:
        return Measured(one_line(str(error)))
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    tags = _read_tags(data)
    artist = tags.get("artist") or tags.get("album_artist", "")
    return Measured("", sha1, seconds, length, rate, loudness, artist, tags.get("title", ""))


def _listen(recording: Recording) -> tuple[float, float, int, float]:
    """Decode all of a recording; return decoded seconds, length in s, rate in Hz, and loudness in dB.

    Raises:
        UnreadableClipError: there are no samples, or one is not finite or too loud.
    """
    seconds = length = energy = duration = 0.0
    rate, is_last = 0, False
    while not is_last:
        piece = recording.read(STEP)
        is_last = piece.is_last
        seconds, length = seconds + piece.seconds, length + piece.length
        for stretch in piece.stretches:
            rate = rate or stretch.rate
            audio.to_mono([stretch], stretch.rate)  # raises the errors that extraction would raise
            duration += float(stretch.seconds)
            energy += 10 ** (conditions.loudness(stretch.channels) / 10) * float(stretch.seconds)
    if not duration:
        raise UnreadableClipError("no samples")
    return round(seconds, 3), round(length, 3), rate, round(10 * math.log10(energy / duration), 1)


def _read_tags(data: bytes) -> dict[str, str]:
    """Tags of a file and of its audio stream, by lower-case name; empty if FFmpeg cannot open the file."""
    try:
        with stderr_silenced(), av.open(io.BytesIO(data), options=OPTIONS, metadata_errors="ignore") as container:
            tags = [container.metadata, *(stream.metadata for stream in container.streams.audio)]
    except (av.FFmpegError, ValueError):
        return {}
    return {name.lower(): one_line(value) for found in tags for name, value in found.items()}


# All files. -------------------------------------------------------------------------------------------------------


def measure_all(paths: Sequence[Path], kept: Path) -> dict[Path, Measured]:
    """Measure files on all cores, except those whose measurements an earlier run has kept.

    Args:
        paths: the files, each once.
        kept: the file with the measurements of earlier runs by this code and these packages.

    Raises:
        InputError: a worker was killed.
    """
    version = stage.fingerprint([])
    keys = {path: _key(path, version) for path in paths}
    found = _read_kept(kept, set(keys.values()))
    write_text(kept, "".join(map(_line, found, found.values())))  # without an unfinished last line
    with kept.open("a", encoding="utf-8") as file:
        for path, measured in _measure_in_workers([path for path in paths if keys[path] not in found]):
            found[keys[path]] = measured
            file.write(_line(keys[path], measured))
            file.flush()
    return {path: found[keys[path]] for path in paths}


def _measure_in_workers(paths: Sequence[Path]) -> Iterator[tuple[Path, Measured]]:
    if not paths:
        return
    parallel = Parallel(n_jobs=min(worker_count(), len(paths)), return_as="generator_unordered")
    tasks = (delayed(_measure_named)(path) for path in paths)
    results = run_in_workers(parallel, tasks, lambda: "run the command again, which goes on from here")
    yield from progress.bar(results, desc="measure", total=len(paths), unit="file")


def _measure_named(path: Path) -> tuple[Path, Measured]:
    return path, measure(path)


def _key(path: Path, version: str) -> str:
    """Hash of what identifies the content of a file, and the version of the code."""
    status = path.stat()
    return documents.hash_json([version, str(path.absolute()), status.st_size, status.st_mtime_ns])


def _line(key: str, measured: Measured) -> str:
    return json.dumps([key, asdict(measured)]) + "\n"


def _read_kept(path: Path, keys: Set[str]) -> dict[str, Measured]:
    """Read the measurements with these keys. A line that a killed run has left unfinished is skipped."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, TypeError):
            key, values = json.loads(line)
            if key in keys:
                found[key] = Measured(**values)
    return found

"""Extraction of spectrograms or waveforms from the audio archive, on all cores and without unpacking the archive.

For each clip, a worker reads the member of the zip, decodes it in memory, writes the clip's row in the array of
every encoder, and then the clip's outcome. Another run on the same folder skips clips that have an outcome.
Workers write the arrays themselves, so no array travels between processes.
"""

import math
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import delayed

from fma_genre import store
from fma_genre.archives import zips
from fma_genre.archives.clips import Clip
from fma_genre.common import progress
from fma_genre.common.errors import InputError
from fma_genre.common.params import Spectrograms, Waveform
from fma_genre.common.workers import run_in_workers
from fma_genre.features import audio
from fma_genre.features.build import Encoder, encoders
from fma_genre.features.conditions import measure
from fma_genre.features.dask_cluster import open_workers
from fma_genre.features.sndfile import stderr_silenced

OUTCOMES = "outcomes.npy"
OUTCOME = np.dtype(
    [
        ("done", "?"),
        ("frames", "<i4"),  # number of frames that the clip fills; 0 if the clip is unreadable
        ("cut", "?"),  # whether the file is longer than the requested seconds
        ("decoder", "S16"),
        ("decoded", "<f8"),  # s
        ("length", "<f8"),  # s of the file, not counting the part after the cut
        ("file_length", "<f8"),  # s of the whole file; 0 if unknown
        ("rate", "<i4"),  # Hz; this and the next three describe the clip before mixing and resampling
        ("channels", "<i4"),
        ("bandwidth", "<f8"),  # Hz
        ("loudness", "<f8"),  # dB
        ("check", "<u4"),  # CRC-32 of the clip's rows
        ("unreadable", "S128"),  # reason, or empty
    ]
)


@dataclass(frozen=True)
class Job:
    """Inputs and settings of an extraction. Every task carries a copy to its worker."""

    archive: Path
    folder: Path
    sample_rate: int  # Hz
    seconds: float
    encoders: Mapping[str, Encoder]  # by the name of the array that each writes


def extract(archive: Path, clips: Sequence[Clip], params: Spectrograms | Waveform, folder: Path) -> np.ndarray:
    """Write an array for each representation into `folder`, with a row for each clip.

    Returns:
        Outcomes (clips,) of dtype OUTCOME, in the order of `clips`.

    Raises:
        InputError: the settings contradict each other, the disk is too full, Dask cannot be used, or a worker was
            killed.
    """
    job = Job(
        archive=archive.resolve(),  # absolute, since a worker may run in another folder
        folder=folder.resolve(),
        sample_rate=params.sample_rate,
        seconds=params.seconds,
        encoders=encoders(params),
    )
    _prepare(job, len(clips))

    tasks = (delayed(_extract_clip)(job, row, clip) for row, clip in enumerate(clips))
    with open_workers(len(clips)) as parallel:
        results = run_in_workers(parallel, tasks, lambda: _hint(job.folder, clips))
        for _ in progress.bar(results, total=len(clips), unit="clip"):
            pass
    return np.array(store.map_array(folder / OUTCOMES))


def array_path(folder: Path, name: str) -> Path:
    """Path of the array that `extract` writes for a spectrogram or, by the name `waveform.ARRAY`, for a waveform."""
    return folder / f"{name}.npy"


# Before the workers start. ----------------------------------------------------------------------------------------


def _prepare(job: Job, clips: int) -> None:
    """Create the files for the workers, except those that an earlier run has left."""
    shapes = {array_path(job.folder, name): (clips, *encoder.shape) for name, encoder in job.encoders.items()}
    _check_disk_space(job.folder, {path: math.prod(shape) for path, shape in shapes.items()})

    for path, shape in shapes.items():
        if not path.exists():
            store.create_array(path, shape)
    if not (job.folder / OUTCOMES).exists():
        store.create_array(job.folder / OUTCOMES, (clips,), OUTCOME)


def _check_disk_space(folder: Path, sizes: Mapping[Path, int]) -> None:
    """Raise InputError if the disk of `folder` has no room for files of these sizes in bytes."""
    written = sum(path.stat().st_blocks * 512 for path in sizes if path.exists())  # by an earlier run
    missing = sum(sizes.values()) - written
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise InputError(f"{folder}: expected {missing / 1e9:.3g} GB of disk space, found {free / 1e9:.3g} GB free")


# In a worker. -----------------------------------------------------------------------------------------------------


def _extract_clip(job: Job, row: int, source: Clip) -> None:
    if _is_done(job, row):
        return
    try:
        with stderr_silenced():
            clip = audio.load(zips.read(job.archive, source.member), job.sample_rate, job.seconds, source.start)
    except (audio.UnreadableClipError, *zips.ZIP_ERRORS) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the disk, not of the clip
        outcome: dict[str, Any] = {"unreadable": _reason(error)}
    else:
        frames, check = _write_rows(job, row, clip.samples)
        outcome = {"frames": frames, "check": check, **_description(clip)}
    store.write_row(job.folder / OUTCOMES, row, _outcome(outcome))


def _description(clip: audio.Clip) -> dict[str, Any]:
    """The fields of an outcome that describe a decoded clip."""
    piece = clip.piece
    return {
        "cut": clip.cut,
        "decoder": piece.decoder.encode(),
        "decoded": piece.seconds,
        "length": piece.length,
        "file_length": clip.file_length,
        **measure(piece.stretches)._asdict(),
    }


def _outcome(fields: Mapping[str, Any]) -> np.ndarray:
    """An outcome (1,) of dtype OUTCOME; the other fields are 0 or empty."""
    outcome = np.zeros(1, OUTCOME)
    for field, value in {"done": True, **fields}.items():
        outcome[field] = value
    return outcome


def _write_rows(job: Job, row: int, samples: np.ndarray) -> tuple[int, int]:
    """Write a clip's row of every array; return the number of frames and the CRC-32 of the rows."""
    frames, check = 0, 0
    for name, encoder in job.encoders.items():
        levels = encoder.levels(samples)
        store.write_row(array_path(job.folder, name), row, levels)
        frames, check = len(levels), zlib.crc32(levels.data, check)
    return frames, check


def _is_done(job: Job, row: int) -> bool:
    """Return whether an earlier run has extracted the clip. The CRC-32 tells whether all rows reached the disk."""
    outcome = store.read_row(job.folder / OUTCOMES, row)
    if not outcome["done"]:
        return False
    check = 0
    for name in job.encoders:
        check = zlib.crc32(store.read_row(array_path(job.folder, name), row)[: outcome["frames"]].data, check)
    return check == outcome["check"]


def _reason(error: Exception) -> bytes:
    """Message of an error, in one line of ASCII."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line.encode("unicode_escape")  # also escapes control characters


def _hint(folder: Path, clips: Sequence[Clip]) -> str:
    """Advice after a worker was killed: the first clips that are not done, since workers take clips in order."""
    first = np.flatnonzero(~store.map_array(folder / OUTCOMES)["done"])[:4]
    names = ", ".join(clips[row].member.filename for row in first)
    return f"the first unfinished clips are {names} (FMA_WORKERS limits the processes; a rerun resumes)"

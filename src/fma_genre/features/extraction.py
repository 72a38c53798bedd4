"""From the audio archive to stored spectrograms: every clip once, on all cores, without unpacking the archive.

A worker reads a clip's member, decodes it in memory, writes its row of every representation, and then its outcome.
Another run on the same folder does only the clips that have none. Arrays never travel between processes.
"""

import math
import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import delayed

from fma_genre import store
from fma_genre.archives import zips
from fma_genre.common import progress
from fma_genre.common.errors import InputError
from fma_genre.common.params import Spectrograms
from fma_genre.common.workers import run_in_workers
from fma_genre.features import audio, representations
from fma_genre.features.dask_cluster import open_workers
from fma_genre.features.frames import frame_count
from fma_genre.features.levels import quantised_levels
from fma_genre.features.representations import REPRESENTATIONS, Representation

OUTCOMES = "outcomes.npy"
OUTCOME = np.dtype(
    [
        ("done", "?"),
        ("frames", "<i4"),  # that the clip fills; 0 if it cannot be read
        ("cut", "?"),  # the file goes on after the requested seconds
        ("decoder", "S16"),
        ("decoded", "<f8"),  # s
        ("length", "<f8"),  # s that the file holds of those requested
        ("check", "<u4"),  # CRC-32 of its rows
        ("unreadable", "S128"),  # the reason, or empty
    ]
)


@dataclass(frozen=True)
class Job:
    """All that a worker needs to know about an extraction."""

    archive: Path
    folder: Path
    sample_rate: int  # Hz
    seconds: float
    frames: int  # of a row
    representations: Mapping[str, Representation]


def extract(archive: Path, clips: Sequence[zipfile.ZipInfo], params: Spectrograms, folder: Path) -> np.ndarray:
    """Fill the arrays of `folder`, one a representation, with a row for each member of `clips`.

    Returns:
        (clips,) OUTCOME

    Raises:
        InputError: the settings do not go together, the disk has no room, Dask cannot be used, or a worker was killed.
    """
    job = Job(
        archive=archive.resolve(),  # workers may run in another folder
        folder=folder.resolve(),
        sample_rate=params.sample_rate,
        seconds=params.seconds,
        frames=frame_count(params.seconds, params.sample_rate, params.hop),
        representations={name: representations.build(name, params) for name in REPRESENTATIONS},
    )
    _prepare(job, len(clips))

    tasks = (delayed(_extract_clip)(job, row, member) for row, member in enumerate(clips))
    with open_workers(len(clips)) as parallel:
        results = run_in_workers(parallel, tasks, lambda: _interrupted(job.folder, clips))
        for _ in progress.bar(results, total=len(clips), unit="clip"):
            pass
    return np.array(store.rows(folder / OUTCOMES))


def array_path(folder: Path, representation: str) -> Path:
    """The array of a representation that `extract` fills."""
    return folder / f"{representation}.npy"


# Before the workers begin. ----------------------------------------------------------------------------------------


def _prepare(job: Job, clips: int) -> None:
    """Create the files that workers fill, unless an earlier run has."""
    shapes = {
        array_path(job.folder, name): (clips, job.frames, len(representation.frequencies()))
        for name, representation in job.representations.items()
    }
    _check_room(job.folder, {path: math.prod(shape) for path, shape in shapes.items()})

    for path, shape in shapes.items():
        if not path.exists():
            store.create(path, shape)
    if not (job.folder / OUTCOMES).exists():
        store.create(job.folder / OUTCOMES, (clips,), OUTCOME)


def _check_room(folder: Path, sizes: Mapping[Path, int]) -> None:
    """Raise InputError if files in `folder`, some of them perhaps begun, cannot grow to these sizes in bytes."""
    begun = sum(path.stat().st_blocks * 512 for path in sizes if path.exists())
    missing = sum(sizes.values()) - begun
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise InputError(f"{folder}: expected {missing / 1e9:.3g} GB of disk space, found {free / 1e9:.3g} GB free")


# In a worker. -----------------------------------------------------------------------------------------------------


def _extract_clip(job: Job, row: int, member: zipfile.ZipInfo) -> None:
    if _is_done(job, row):
        return
    try:
        clip = audio.load(zips.read(job.archive, member), job.sample_rate, job.seconds)
    except (audio.UnreadableClipError, *zips.ZIP_ERRORS) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the clip's
        outcome = (True, 0, False, b"", 0.0, 0.0, 0, _reason(error))
    else:
        frames, check = _write_rows(job, row, clip.samples)
        piece = clip.piece
        outcome = (True, frames, clip.cut, piece.decoder.encode(), piece.seconds, piece.length, check, b"")
    store.write(job.folder / OUTCOMES, row, np.array([outcome], OUTCOME))


def _write_rows(job: Job, row: int, samples: np.ndarray) -> tuple[int, int]:
    """Write a clip's row of every representation; return its number of frames, and the rows' CRC-32."""
    frames, check = 0, 0
    for name, representation in job.representations.items():
        levels = quantised_levels(representation.power(samples), representation.floor_db)[: job.frames]
        store.write(array_path(job.folder, name), row, levels)
        frames, check = len(levels), zlib.crc32(levels.data, check)
    return frames, check


def _is_done(job: Job, row: int) -> bool:
    """Whether an earlier run has done the clip, and its rows reached the disk: the machine may have died."""
    outcome = store.read(job.folder / OUTCOMES, row)
    if not outcome["done"]:
        return False
    check = 0
    for name in job.representations:
        check = zlib.crc32(store.read(array_path(job.folder, name), row)[: outcome["frames"]].data, check)
    return check == outcome["check"]


def _reason(error: Exception) -> bytes:
    """An error in one line of ASCII."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line.encode("unicode_escape")  # control characters too


def _interrupted(folder: Path, clips: Sequence[zipfile.ZipInfo]) -> str:
    """How far the workers have come: they take clips in order."""
    first = np.flatnonzero(~store.rows(folder / OUTCOMES)["done"])[:4]
    names = ", ".join(clips[row].filename for row in first)
    return f"the next clips were {names} (FMA_WORKERS sets the number of processes; the next run goes on from here)"

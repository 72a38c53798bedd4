"""From the audio archive to stored spectrograms: every clip once, on all cores, without unpacking the archive.

Each worker opens the archive and the arrays once, reads a clip's member, decodes it in memory and writes its rows.
"""

import functools
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, cpu_count, delayed

from fma_genre import InputError, audio, store
from fma_genre.spectrogram import bins, frame_count, mel_filters, quantise, spectrogram
from fma_genre.zips import DAMAGED

REPRESENTATIONS = ("mel", "stft")


@dataclass(frozen=True)
class Outcome:
    """What became of a clip."""

    frames: int  # filled by it; 0 if it is unreadable
    cut: bool = False  # it went on after the requested seconds
    unreadable: str = ""  # why


def members(archive: zipfile.ZipFile) -> dict[int, str]:
    """Clips in an archive of FMA's layout: track id to member, e.g. 2 to fma_small/000/000002.mp3."""
    names = (name for name in archive.namelist() if name.endswith(".mp3"))
    return {int(Path(name).stem): name for name in names if Path(name).stem.isdecimal()}


def extract(archive: Path, clips: Sequence[str], settings: Mapping[str, Any], folder: Path) -> Iterator[Outcome]:
    """Fills `folder`/{mel,stft}.npy, a row for each member of `clips`; yields what became of each, in order.

    Args:
        settings: `spectrograms` of params.yaml.

    Raises:
        InputError: there are more mel bands than n_fft can tell apart.
    """
    filters = mel_filters(settings["sample_rate"], **settings["mel"])
    empty = int((filters.max(axis=0) == 0).sum())
    if empty:
        raise InputError(f"spectrograms.mel: expected bands that n_fft can tell apart, found {empty} without a bin")
    np.save(folder / "filters.npy", filters)
    frames = frame_count(settings["seconds"], settings["sample_rate"], settings["hop"])
    for name in REPRESENTATIONS:
        store.create(folder / f"{name}.npy", len(clips), frames, bins(settings[name]))
    jobs = min(settings["workers"] or cpu_count(), len(clips))
    work = delayed(_extract_clip)
    tasks = (work(archive, member, row, settings, folder) for row, member in enumerate(clips))
    yield from Parallel(n_jobs=jobs, return_as="generator", batch_size=1)(tasks)


def _extract_clip(archive: Path, member: str, row: int, settings: Mapping[str, Any], folder: Path) -> Outcome:
    try:
        clip = audio.load(_open(archive).read(member), settings["sample_rate"], settings["seconds"])
    except (audio.UnreadableClipError, *DAMAGED) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the clip's
        return Outcome(0, unreadable=" ".join(str(error).split()))
    frames = 0
    for name in REPRESENTATIONS:
        filters = _rows(folder / "filters.npy", "c") if name == "mel" else None
        floor, n_fft = settings["floor_db"], settings[name]["n_fft"]
        levels = spectrogram(clip.samples, settings["hop"], floor, n_fft, filters)
        rows = _rows(folder / f"{name}.npy", "r+")
        frames = min(len(levels), rows.shape[1])
        rows[row, :frames] = quantise(levels[:frames], floor)
    return Outcome(frames, clip.cut)


@functools.lru_cache(maxsize=1)
def _open(archive: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(archive)


@functools.lru_cache(maxsize=4)
def _rows(path: Path, mode: str) -> np.ndarray:
    return store.rows(path, mode)

"""From the audio archive to stored spectrograms: every clip once, on all cores, without unpacking the archive.

A worker reads a clip's member, decodes it in memory, writes its rows, and then writes down that it has. So whoever
begins again on the same folder only does what is missing, and no array is sent between processes.
"""

import functools
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, cpu_count, delayed, parallel_config

from fma_genre import InputError, audio, progress, store, zips
from fma_genre.files import check_room, whole
from fma_genre.spectrogram import bins, frame_count, mel_filters, power, stored
from fma_genre.workers import share

SOURCE = Path(__file__).parents[1]
REPRESENTATIONS = ("mel", "stft")
OUTCOME = np.dtype(  # what became of a clip
    [
        ("begun", "?"),
        ("done", "?"),
        ("frames", "<i4"),  # filled by it; 0 if it is unreadable
        ("cut", "?"),  # it went on after the requested seconds
        ("check", "<u4"),  # CRC-32 of its rows
        ("unreadable", "S117"),  # why
    ]
)


def members(archive: zipfile.ZipFile) -> dict[int, zipfile.ZipInfo]:
    """Clips in an archive of FMA's layout: track id to member, e.g. 2 to fma_small/000/000002.mp3."""
    found = ((re.search(r"(?:^|/)([0-9]{1,18})\.mp3$", member.filename), member) for member in archive.infolist())
    return {int(match[1]): member for match, member in found if match}


def extract(archive: Path, clips: Sequence[zipfile.ZipInfo], settings: Mapping[str, Any], folder: Path) -> np.ndarray:
    """Fills `folder`/{mel,stft}.npy, a row for each member of `clips`; takes up what an earlier call began there.

    Args:
        settings: `spectrograms` of params.yaml; with another `workers` or `backend` the result is the same.

    Returns:
        (clips,) OUTCOME

    Raises:
        InputError: there are more mel bands than n_fft can tell apart, the disk has no room, the back end is not
            installed, or a worker process was killed.
    """
    archive, folder = archive.resolve(), folder.resolve()  # workers may run elsewhere
    _prepare(len(clips), settings, folder)
    work, backend = delayed(_extract_clip), settings["backend"]
    tasks = (work(archive, member, row, settings, folder) for row, member in enumerate(clips))
    jobs = min(settings["workers"] or cpu_count(), len(clips)) if backend == "loky" else -1  # -1: the whole cluster
    returns = "list" if backend == "ray" else "generator_unordered"  # of which Ray's back end is not capable
    with _engine(backend):
        parallel = Parallel(n_jobs=jobs, batch_size=1, return_as=returns)
        done = share(parallel, tasks, lambda: _interrupted(clips, folder))
        for _ in progress.bar(done, total=len(clips), unit="clip"):
            pass
    return np.array(store.rows(folder / "outcomes.npy"))


def _prepare(clips: int, settings: Mapping[str, Any], folder: Path) -> None:
    """The files that workers read and fill, unless an earlier call has made them."""
    frames = frame_count(settings["seconds"], settings["sample_rate"], settings["hop"])
    shapes = {name: (clips, frames, bins(settings[name])) for name in REPRESENTATIONS}
    files = {f"{name}.npy": (shape, np.dtype(np.uint8)) for name, shape in shapes.items()}
    check_room(folder, {folder / name: math.prod(shape) for name, (shape, _) in files.items()})
    for name, (shape, dtype) in (files | {"outcomes.npy": ((clips,), OUTCOME)}).items():
        if not (folder / name).exists():
            store.create(folder / name, shape, dtype)
    if not (folder / "filters.npy").exists():
        filters = mel_filters(settings["sample_rate"], **settings["mel"])
        empty = int((filters.max(axis=0) == 0).sum())
        if empty:
            raise InputError(f"spectrograms.mel: expected bands that n_fft can tell apart, found {empty} without a bin")
        with whole(folder / "filters.npy") as part, part.open("wb") as file:
            np.save(file, filters)


@contextmanager
def _engine(backend: str) -> Iterator[None]:
    """joblib's back end: processes here (loky), or the Dask or Ray cluster that the environment names."""
    with ExitStack() as stack:
        try:
            if backend == "dask":
                stack.enter_context(_dask())
            elif backend == "ray":
                stack.enter_context(_ray())
        except ImportError as error:
            raise InputError(f"spectrograms.backend: {backend} is not installed: pip install '.[{backend}]'") from error
        stack.enter_context(parallel_config(backend))
        yield


@contextmanager
def _dask() -> Iterator[None]:
    """A cluster whose workers have this checkout's code, whatever they ran before."""
    from distributed import Client
    from distributed.diagnostics.plugin import UploadDirectory

    with Client() as client:
        client.register_plugin(UploadDirectory(str(SOURCE), restart_workers=True, update_path=True, skip_words=()))
        try:
            client.submit(frame_count, 1, 1, 1).result()
        except RuntimeError as error:  # joblib would wait for ever
            raise InputError(
                "spectrograms.backend: expected a Dask scheduler that can import the project,"
                " found one that cannot: start it in the checkout with PYTHONPATH=src"
            ) from error
        yield


@contextmanager
def _ray() -> Iterator[None]:
    """As `_dask`."""
    import ray
    from ray.util.joblib import register_ray

    with ray.init(runtime_env={"py_modules": [str(SOURCE / "fma_genre")]}):
        register_ray()
        yield


def _extract_clip(archive: Path, member: zipfile.ZipInfo, row: int, settings: Mapping[str, Any], folder: Path) -> None:
    if _is_done(row, folder):
        return
    frames, cut, check, unreadable = 0, False, 0, ""
    store.write(folder / "outcomes.npy", row, np.array([(True, False, 0, False, 0, b"")], OUTCOME))
    try:
        clip = audio.load(zips.read(archive, member), settings["sample_rate"], settings["seconds"])
    except (audio.UnreadableClipError, *zips.DAMAGED) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the clip's
        unreadable = " ".join(str(error).split()) or type(error).__name__
    else:
        cut = clip.cut
        for name in REPRESENTATIONS:
            levels = _levels(clip.samples, name, settings, folder)
            store.write(folder / f"{name}.npy", row, levels)
            frames, check = len(levels), zlib.crc32(levels.data, check)
    reason = unreadable.encode("ascii", "backslashreplace")
    store.write(folder / "outcomes.npy", row, np.array([(True, True, frames, cut, check, reason)], OUTCOME))


def _interrupted(clips: Sequence[zipfile.ZipInfo], folder: Path) -> str:
    outcomes = store.rows(folder / "outcomes.npy")
    rows = np.flatnonzero(outcomes["begun"] & ~outcomes["done"])
    begun = ", ".join(clips[row].filename for row in rows[:4])
    return f"it was at {begun} (spectrograms.workers sets their number; the next run goes on from here)"


def _levels(samples: np.ndarray, name: str, settings: Mapping[str, Any], folder: Path) -> np.ndarray:
    """(samples,) to the representation `name` in 8 bits, (frames, bins)."""
    filters = _filters(folder / "filters.npy") if name == "mel" else None
    floor, frames = settings["floor_db"], frame_count(settings["seconds"], settings["sample_rate"], settings["hop"])
    return stored(power(samples, settings["hop"], floor, settings[name]["n_fft"], filters), floor)[:frames]


@functools.lru_cache(maxsize=1)
def _filters(path: Path) -> np.ndarray:
    return np.load(path)


def _is_done(row: int, folder: Path) -> bool:
    """Whether an earlier run has written the clip's rows, and they are what it wrote: a machine may have died."""
    outcome = store.read(folder / "outcomes.npy", row)
    if not outcome["done"]:
        return False
    check = 0
    for name in REPRESENTATIONS:
        check = zlib.crc32(store.read(folder / f"{name}.npy", row)[: outcome["frames"]].data, check)
    return check == outcome["check"]

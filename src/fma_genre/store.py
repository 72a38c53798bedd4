"""Stored spectrograms and waveforms. Feature extraction writes them; training, evaluation and the baselines read them.

Files in `data/`:

    index.csv                     a row for each track of data/tracks.csv, ordered by track id
    <representation>/levels.npy   8-bit levels (tracks, frames, bins), with the tracks in the order of the index
    <representation>/store.json   data set and settings from which the levels were computed
    <waveform>/frames.npy         number of frames that each clip fills in the levels of a waveform (tracks,)

The levels of a waveform are the samples of its clips, as µ-law codes. A frame is a block of consecutive samples, so its
bins are samples. The frames of a waveform are much shorter than those of the spectrograms, hence its own frames.npy.

Columns of the index:

    track_id, artist_id, genre, split, artist, title, genres, member, start: those of data/tracks.csv
    frames     number of frames that the clip fills in its row of the spectrograms; 0 if the track is left out
    cut        whether the clip was cut because its file is longer than `spectrograms.seconds`
    decoder    library that decoded the clip
    decoded    length of the decoded audio in seconds
    length     length of the clip in seconds according to its file, without the part that was cut off
    rate       sample rate of the clip in its file, in Hz; 0 if the track is left out, here and in the next four columns
    channels   number of channels of the clip that differ
    bit_rate   bits of the file, tags included, per second of its audio, in kbit/s; 0 if the file's length is unknown
    bandwidth  upper end of the clip's band in Hz (see `fma_genre.features.conditions`); 0 if the clip is silent
    loudness   mean square of the clip's samples in dB, where 0 is full scale
    same_as    lowest id of another track whose clip has the same bytes, or empty
    left_out   reason why the track is left out, or empty
"""

import itertools
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.lib import format as npy
from numpy.typing import DTypeLike

from fma_genre.common import documents, schema
from fma_genre.common.errors import InputError
from fma_genre.common.files import atomic, write_json, write_text
from fma_genre.common.params import FloorDb, Hop, Params, SampleRate, Seconds, TransformLength
from fma_genre.common.schema import Length, Name, Range, Rest

DATA = Path("data")
INDEX, LEVELS, DESCRIPTION, FRAMES = "index.csv", "levels.npy", "store.json", "frames.npy"
TYPES = {
    "track_id": int, "artist_id": int, "genre": str, "split": str, "artist": str, "title": str, "genres": str,
    "member": str, "start": float, "frames": int, "cut": bool, "decoder": str, "decoded": float, "length": float,
    "rate": int, "channels": int, "bit_rate": int, "bandwidth": int, "loudness": float, "same_as": str, "left_out": str,
}  # fmt: skip
COLUMNS = list(TYPES)
MIN_DECODED = 0.9  # a clip is reported as incomplete if a smaller share of its length was decoded
COMMON_SETTINGS = ("sample_rate", "seconds", "hop", "floor_db")  # parameters that all spectrograms share
WAVEFORM_SETTINGS = ("sample_rate", "seconds", "hop")
PerBin = Annotated[tuple[Annotated[float, Range(0, 1e6)], ...], Length(1, 2**16)]
MAX_LEVEL = 255  # stored levels range from 0 (the floor) to 255 (the clip's maximum)
# µ-law codes range from 1 (−1, where 1 is the clip's largest magnitude) to 255 (1). Code 128 is a sample of 0.
MU, ZERO, MAX_CODE = 255, 128, 127


@dataclass(frozen=True, kw_only=True)
class Description:
    """Data set and settings from which levels were computed. A trained model keeps a copy."""

    dataset: str
    synthetic: bool  # whether the data set is the built-in demo; results on it say nothing about music
    classes: Annotated[tuple[str, ...], Length(2, 10_000)]  # genres of the used tracks, in alphabetical order
    representation: Name
    n_fft: TransformLength | None = None  # window length in samples; None if the representation has no `n_fft`
    sample_rate: SampleRate  # Hz
    seconds: Seconds  # longer clips are cut to this length
    hop: Hop  # samples between successive frames
    floor_db: FloorDb | None = None  # level 0 is this many dB below the clip's maximum; None for a waveform
    frequencies: PerBin  # centre of each bin in Hz, ascending; all 0 if the bins are not frequencies, as in chroma
    mels: PerBin  # the same centres on Slaney's mel scale; 0, 1, … if the bins are not frequencies
    arguments: Rest  # other arguments of the representation, e.g. the number of mel bands

    @property
    def settings(self) -> dict[str, Any]:
        """All arguments of the representation."""
        return ({"n_fft": self.n_fft} if self.n_fft else {}) | dict(self.arguments)

    @property
    def is_waveform(self) -> bool:
        """Return whether the levels are samples."""
        return self.floor_db is None

    @property
    def stage(self) -> str:
        """Name of the stage that makes the store."""
        return f"waveforms@{self.representation}" if self.is_waveform else "spectrograms"

    @property
    def has_frequencies(self) -> bool:
        """Return whether the bins are frequencies."""
        return any(self.frequencies)

    def brightness(self, levels: np.ndarray) -> np.ndarray:
        """Levels (frames, bins) as a picture shows them, where louder is brighter. Samples become magnitudes."""
        return np.abs(levels.astype(np.int16) - ZERO) if self.is_waveform else levels

    def as_json(self) -> dict[str, Any]:
        """Return the content of store.json, from which `schema.read` restores the description."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        arguments = values.pop("arguments")
        return values | arguments


@dataclass(frozen=True)
class Store:
    """One representation of a data set, opened for reading by `open_store`."""

    folder: Path
    description: Description
    index: pd.DataFrame  # `frames` are those of this representation

    @property
    def used(self) -> pd.DataFrame:
        """Rows of the index for the used tracks. Their pandas labels are their row numbers in `levels`."""
        return used(self.index)

    def tracks(self, split: str) -> pd.DataFrame:
        """Rows of the index for the used tracks of a split."""
        used = self.used
        return used[used["split"] == split]

    @property
    def identity(self) -> list[Any]:
        """Fingerprint of the store: size and modification time of the levels, and the index as text."""
        status = (self.folder / LEVELS).stat()
        return [status.st_size, status.st_mtime_ns, self.index.to_csv()]

    @property
    def levels(self) -> np.ndarray:
        """All levels, (tracks, frames, bins) uint8, as a read-only memory map."""
        return map_array(self.folder / LEVELS)

    def decibels(self, row: int) -> np.ndarray:
        """Levels of one clip in dB relative to its maximum, (frames, bins) float32. A waveform has none."""
        assert self.description.floor_db is not None
        stored = read_row(self.folder / LEVELS, row)[: self.index["frames"].iloc[row]]
        return dequantise(stored, self.description.floor_db)


def open_store(representation: str, data: Path = DATA) -> Store:
    """Open the store of a representation in the folder `data`.

    Raises:
        InputError: a file is damaged, or the files do not match each other.
        FileNotFoundError: a file does not exist.
    """
    folder = data / representation
    description, index = read_description(folder / DESCRIPTION), read_index(data / INDEX)
    genres = classes(index)
    if description.classes != tuple(genres):
        expected, found = f"the genres of {data / INDEX} ({', '.join(genres)})", ", ".join(description.classes)
        raise _damaged(folder / DESCRIPTION, expected, found, description.stage)
    if description.is_waveform:
        index = index.assign(frames=_read_frames(folder / FRAMES, index, description.stage))
    store = Store(folder, description, index)
    _check_levels(store)
    return store


def _read_frames(path: Path, index: pd.DataFrame, stage: str) -> np.ndarray:
    """Read the number of frames that each clip of the index fills, (tracks,); 0 for a track that is left out.

    Raises:
        InputError: the file is damaged, or a used track has no frames.
    """
    expected = f"the frames of {len(index)} tracks, at least 1 of each that is used"
    documents.check_kind(path, path.stat().st_mode)
    try:
        frames = np.array(map_array(path))
    except ValueError as error:
        raise _unreadable(path, expected, error, stage) from error
    is_used = index["frames"].to_numpy() > 0
    if frames.shape != is_used.shape or frames.dtype.kind not in "iu":
        raise _damaged(path, expected, f"{frames.dtype} of shape {frames.shape}", stage)
    if (frames[is_used] < 1).any():
        raise _damaged(path, expected, f"none of {(frames[is_used] < 1).sum()} used tracks", stage)
    return np.where(is_used, frames, 0)


def _check_levels(store: Store) -> None:
    """Raise InputError unless the levels have the description's bins, and a row for each track of the index."""
    path = store.folder / LEVELS
    tracks, frames, bins = len(store.index), store.index["frames"].max(), len(store.description.frequencies)
    expected = f"8-bit levels of {tracks} tracks, at least {frames} frames and {bins} bins"
    documents.check_kind(path, path.stat().st_mode)
    try:
        levels = store.levels
    except ValueError as error:
        raise _unreadable(path, expected, error, store.description.stage) from error
    fits = levels.ndim == 3 and levels.shape[::2] == (tracks, bins) and levels.shape[1] >= frames
    if not fits or levels.dtype != np.uint8:
        raise _damaged(path, expected, f"{levels.dtype} of shape {levels.shape}", store.description.stage)


def check_current(store: Store, params: Params) -> None:
    """Raise InputError if params.yaml has changed since the store was made.

    DVC then reruns the stage that makes the store. A stage run by hand would read the old store.
    """
    description = store.description
    for key, value in {"dataset": params.dataset, **_current_settings(description, params)}.items():
        found = getattr(description, key)
        if found != value:
            expected = f"{key} {value} as in params.yaml"
            raise _damaged(store.folder / DESCRIPTION, expected, found, description.stage)


def _current_settings(description: Description, params: Params) -> dict[str, Any]:
    """Settings of a representation in params.yaml, by their names in a description.

    Raises:
        InputError: params.yaml has no such representation.
    """
    name, spectrograms = description.representation, params.spectrograms
    if description.is_waveform and name in params.waveforms:
        return {key: getattr(params.waveforms[name], key) for key in WAVEFORM_SETTINGS}
    if not description.is_waveform and name in spectrograms.representations:
        common = {key: getattr(spectrograms, key) for key in COMMON_SETTINGS}
        return common | {"settings": dict(spectrograms.representations[name])}
    section = "waveforms" if description.is_waveform else "spectrograms"
    expected, found = f"the settings of a section of `{section}`", f"those of {name}"
    raise InputError(f"{DATA / name / DESCRIPTION}: expected {expected}, found {found}: `dvc repro` rebuilds it")


def _damaged(path: Path, expected: str, found: object, stage: str = "spectrograms") -> InputError:
    return InputError(f"{path}: expected {expected}, found {found}: `dvc repro {stage}` rebuilds it")


def _unreadable(path: Path, expected: str, error: ValueError, stage: str = "spectrograms") -> InputError:
    return InputError(f"{path}: cannot read {expected}: {error}: `dvc repro {stage}` rebuilds it")


def write_description(path: Path, description: Description) -> None:
    write_json(path, description.as_json())


def read_description(path: Path) -> Description:
    """Read store.json; raise InputError if the file does not contain a description."""
    try:
        return schema.read(Description, documents.read_json(path), "")
    except InputError as error:
        raise InputError(f"{path}: cannot read the description of a store: {error}") from error


def write_index(path: Path, index: pd.DataFrame) -> None:
    write_text(path, index[COLUMNS].to_csv(index=False, lineterminator="\n", float_format="%.3f"))


def read_index(path: Path) -> pd.DataFrame:
    """Read index.csv; raise InputError if the file is not an index."""
    documents.check_kind(path, path.stat().st_mode)
    try:
        index = pd.read_csv(path, keep_default_na=False, dtype=TYPES)  # a genre may be "1980" or "None"
    except ValueError as error:
        raise _unreadable(path, "an index of tracks", error) from error
    if list(index.columns) != COLUMNS:
        raise _damaged(path, f"the columns {', '.join(COLUMNS)}", ", ".join(index.columns))
    if not index["same_as"].str.fullmatch(r"[0-9]{0,18}").all():
        raise _damaged(path, "track ids in the column same_as", "other text")
    return index


def used(index: pd.DataFrame) -> pd.DataFrame:
    """Rows of the tracks that are not left out."""
    return index[index["frames"] > 0]


def classes(index: pd.DataFrame) -> list[str]:
    """Genres of the used tracks, in alphabetical order."""
    return sorted(used(index)["genre"].unique())


def sources(tracks: pd.DataFrame) -> list[list[Any]]:
    """Track ids, members and starts of the clips: what a resumed extraction must have in common with an earlier one."""
    return [tracks[column].tolist() for column in ("track_id", "member", "start")]


def incomplete(index: pd.DataFrame) -> pd.DataFrame:
    """Rows of the used tracks with less than 90 % of the clip decoded."""
    tracks = used(index)
    return tracks[tracks["decoded"] < MIN_DECODED * tracks["length"]]


def dequantise(stored: np.ndarray, floor_db: float) -> np.ndarray:
    """Convert stored levels to dB, float32 from −`floor_db` to 0. Rounding errors are at most half a step."""
    return (stored.astype(np.float32) / MAX_LEVEL - 1) * floor_db


def expand(codes: np.ndarray) -> np.ndarray:
    """Convert µ-law codes to samples, float32 from −1 to 1. Rounding errors are at most 2.2 % of a sample + 0.00009."""
    compressed = (codes.astype(np.float32) - ZERO) / MAX_CODE
    return np.sign(compressed) * np.expm1(np.abs(compressed) * np.log1p(np.float32(MU))) / MU


# Arrays (.npy files) that several processes write row by row. ----------------------------------------------------


def create_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> None:
    """Create a sparse file of zeros, which takes up disk space only as rows are written."""
    with atomic(path) as new:
        npy.open_memmap(new, mode="w+", dtype=dtype, shape=shape).flush()


def map_array(path: Path) -> np.ndarray:
    """Map an array into memory, read-only. A writable map would make the kernel reserve memory for the whole array."""
    return npy.open_memmap(path, mode="r")


def read_row(path: Path, row: int) -> np.ndarray:
    """Read one row of an array."""
    with path.open("rb") as file:
        shape, dtype = _seek(file, row)
        return np.frombuffer(file.read(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)


def read_rows(path: Path, rows: np.ndarray) -> np.ndarray:
    """Read the rows (rows,) of an array. Each range of consecutive rows is one read."""
    with path.open("rb") as file:
        shape, dtype = _seek(file, 0)
        start, size = file.tell(), math.prod(shape) * dtype.itemsize
        values = np.empty((len(rows), *shape), dtype)
        ranges = np.flatnonzero(np.diff(rows, prepend=-2, append=-2) != 1)  # where one begins, and after the last one
        for first, last in itertools.pairwise(ranges):
            file.seek(start + int(rows[first]) * size)
            if file.readinto(values[first:last].data) < (last - first) * size:
                raise _damaged(path, f"at least {rows[last - 1] + 1} rows", "fewer")
    return values


def write_row(path: Path, row: int, values: np.ndarray) -> None:
    """Write contiguous `values` to the beginning of a row. The rest of the row does not change.

    Raises:
        OSError: the disk is full. Writing through a memory map would kill the process instead.
    """
    with path.open("r+b") as file:
        _seek(file, row)
        file.write(values.data)


def _seek(file: BinaryIO, row: int) -> tuple[tuple[int, ...], np.dtype]:
    """Move to the beginning of a row; return its shape and dtype."""
    npy.read_magic(file)
    (_, *shape), _, dtype = npy.read_array_header_1_0(file)
    file.seek(row * math.prod(shape) * dtype.itemsize, os.SEEK_CUR)
    return tuple(shape), dtype

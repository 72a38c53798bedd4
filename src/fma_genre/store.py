"""Stored spectrograms, the hand-over from feature extraction to learning.

`data/index.csv` has a row for every track of the split, in order of track id. `data/<representation>/levels.npy` holds
levels in 8 bits, `(tracks, frames, bins)`: row i belongs to row i of the index. `store.json` beside it describes them.

Columns of the index: `track_id`, `artist_id`, `genre`, `split`; `frames`, how many frames of its row the clip fills
(the rest is 0; none if the clip is left out); `cut`, whether the file goes on after them; `decoder`, the library that
decoded it; `decoded` and `length`, seconds of the clip that were decoded, and that its file says there are, both of the
first `seconds` at most; `same_as`, the lowest other track whose clip has the same bytes, or empty; `left_out`, why the
track is not used, or empty.
"""

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
from fma_genre.common.params import Bands, FloorDb, Hop, Params, SampleRate, Seconds, TransformLength
from fma_genre.common.schema import Length, Name, Range

DATA = Path("data")
INDEX, LEVELS, DESCRIPTION = "index.csv", "levels.npy", "store.json"
COLUMNS = [
    "track_id", "artist_id", "genre", "split", "frames", "cut", "decoder", "decoded", "length", "same_as", "left_out",
]  # fmt: skip
WHOLE = 0.9  # of its length: a clip of which less was decoded is short
SHARED = ("sample_rate", "seconds", "hop", "floor_db")  # parameters that all representations share
PerBin = Annotated[tuple[Annotated[float, Range(0, 1e6)], ...], Length(1, 2**16)]
TOP_LEVEL = 255  # stored levels are 0 (the floor) … 255 (the clip's maximum)


@dataclass(frozen=True)
class Description:
    """How the levels of a store were made, and of what; a trained model carries that of its store."""

    dataset: str
    synthetic: bool  # the built-in demo, which says nothing about music
    classes: Annotated[tuple[str, ...], Length(2, 10_000)]  # genres of the used tracks, sorted
    representation: Name
    n_fft: TransformLength
    sample_rate: SampleRate  # Hz
    seconds: Seconds  # of each clip, at most
    hop: Hop  # samples
    floor_db: FloorDb  # level 0 is this far below the clip's maximum
    frequencies: PerBin  # Hz, the centre of each bin, rising
    mels: PerBin  # the same on Slaney's mel scale
    bands: Bands | None = None  # of mel

    @property
    def settings(self) -> dict[str, int]:
        """The representation's own: n_fft, and bands of mel."""
        return {"n_fft": self.n_fft} | ({"bands": self.bands} if self.bands else {})

    def as_json(self) -> dict[str, Any]:
        """The form that `schema.read` takes back."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Store:
    """One representation of a data set, opened for reading."""

    folder: Path
    description: Description
    index: pd.DataFrame

    @property
    def used(self) -> pd.DataFrame:
        """Rows of the index whose tracks are used; their labels are rows of the levels."""
        return used(self.index)

    @property
    def identity(self) -> list[Any]:
        """Identifies the levels without reading them; a copy of the same file may count as another."""
        status = (self.folder / LEVELS).stat()
        return [status.st_size, status.st_mtime_ns, self.index.to_csv()]

    @property
    def levels(self) -> np.ndarray:
        """All levels (tracks, frames, bins), memory-mapped."""
        return rows(self.folder / LEVELS)

    def decibels(self, row: int) -> np.ndarray:
        """Levels of one clip in dB relative to its maximum, (frames, bins) float32."""
        stored = read(self.folder / LEVELS, row)[: self.index["frames"].iloc[row]]
        return dequantise(stored, self.description.floor_db)


def open_store(representation: str, data: Path = DATA) -> Store:
    """Open the store of a representation.

    Raises:
        InputError: its files are damaged, or do not belong together.
        FileNotFoundError: one of them does not exist.
    """
    folder = data / representation
    store = Store(folder, read_description(folder / DESCRIPTION), read_index(data / INDEX))
    genres = classes(store.index)
    if store.description.classes != tuple(genres):
        found = ", ".join(store.description.classes)
        raise _damaged(folder / DESCRIPTION, f"the genres of {data / INDEX}, {', '.join(genres)}", found)
    _check_levels(store)
    return store


def _check_levels(store: Store) -> None:
    """Raise InputError unless the array has a row for each track of the index, with the described bins."""
    path = store.folder / LEVELS
    tracks, frames, bins = len(store.index), store.index["frames"].max(), len(store.description.frequencies)
    expected = f"8-bit levels of {tracks} tracks, at least {frames} frames and {bins} bins"
    documents.check_kind(path, path.stat().st_mode)
    try:
        levels = store.levels
    except ValueError as error:
        raise _damaged(path, expected, error) from error
    fits = levels.ndim == 3 and levels.shape[::2] == (tracks, bins) and levels.shape[1] >= frames
    if not fits or levels.dtype != np.uint8:
        raise _damaged(path, expected, f"{levels.dtype} {levels.shape}")


def check_current(store: Store, params: Params) -> None:
    """Raise InputError if params.yaml has changed since the store was made, as it may have for a stage run by hand."""
    made, spectrograms = store.description, params.spectrograms
    expected = {"dataset": params.dataset} | {key: getattr(spectrograms, key) for key in SHARED}
    expected |= {"settings": asdict(getattr(spectrograms, made.representation))}
    for key, value in expected.items():
        if getattr(made, key) != value:
            raise _damaged(store.folder / DESCRIPTION, f"{key} {value} as in params.yaml", getattr(made, key))


def _damaged(path: Path, expected: str, found: object) -> InputError:
    return InputError(f"{path}: expected {expected}, found {found}: `dvc repro spectrograms` makes it anew")


def write_description(path: Path, description: Description) -> None:
    write_json(path, description.as_json())


def read_description(path: Path) -> Description:
    """Raise InputError if the file does not hold a description."""
    try:
        return schema.read(Description, documents.read_json(path), "")
    except InputError as error:
        raise InputError(f"{path}: expected the description of a store, found: {error}") from error


def write_index(path: Path, index: pd.DataFrame) -> None:
    write_text(path, index[COLUMNS].to_csv(index=False, lineterminator="\n", float_format="%.3f"))


def read_index(path: Path) -> pd.DataFrame:
    """Raise InputError if the file is not an index."""
    types: dict[str, type] = dict.fromkeys(COLUMNS, int) | {"cut": bool, "decoded": float, "length": float}
    types |= dict.fromkeys(["genre", "split", "decoder", "same_as", "left_out"], str)  # a genre may be called "1980"
    documents.check_kind(path, path.stat().st_mode)
    try:
        index = pd.read_csv(path, keep_default_na=False, dtype=types)
    except ValueError as error:
        raise _damaged(path, "an index of tracks", error) from error
    if list(index.columns) != COLUMNS:
        raise _damaged(path, f"the columns {', '.join(COLUMNS)}", ", ".join(index.columns))
    if not index["same_as"].str.fullmatch(r"[0-9]{0,18}").all():
        raise _damaged(path, "track ids as same_as", "others")
    return index


def used(index: pd.DataFrame) -> pd.DataFrame:
    """Rows of the tracks that are not left out."""
    return index[index["frames"] > 0]


def classes(index: pd.DataFrame) -> list[str]:
    """Genres of the used tracks, sorted."""
    return sorted(used(index)["genre"].unique())


def short(index: pd.DataFrame) -> pd.DataFrame:
    """Rows of the used tracks of whose clips less than 90 % could be decoded."""
    tracks = used(index)
    return tracks[tracks["decoded"] < WHOLE * tracks["length"]]


def dequantise(stored: np.ndarray, floor_db: float) -> np.ndarray:
    """Stored levels in dB, −`floor_db` to 0, float32; within half a step of what was stored."""
    return (stored.astype(np.float32) / TOP_LEVEL - 1) * floor_db


# Arrays whose rows several processes write. -----------------------------------------------------------------------


def create(path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> None:
    """Create a sparse file of zeros, which takes up disk space as rows are written."""
    with atomic(path) as part:
        npy.open_memmap(part, mode="w+", dtype=dtype, shape=shape).flush()


def rows(path: Path) -> np.ndarray:
    """Map the array for reading only: for a writable map, the kernel would reserve its whole size."""
    return npy.open_memmap(path, mode="r")


def read(path: Path, row: int) -> np.ndarray:
    """One row of the array."""
    with path.open("rb") as file:
        shape, dtype = _seek(file, row)
        return np.frombuffer(file.read(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)


def write(path: Path, row: int, values: np.ndarray) -> None:
    """Write contiguous `values` to the beginning of a row. Unlike with a memory map, a full disk is an OSError."""
    with path.open("r+b") as file:
        _seek(file, row)
        file.write(values.data)


def _seek(file: BinaryIO, row: int) -> tuple[tuple[int, ...], np.dtype]:
    """Move to the beginning of a row; return its shape and type."""
    npy.read_magic(file)
    (_, *shape), _, dtype = npy.read_array_header_1_0(file)
    file.seek(row * math.prod(shape) * dtype.itemsize, os.SEEK_CUR)
    return tuple(shape), dtype

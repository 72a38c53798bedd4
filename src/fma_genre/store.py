"""Stored spectrograms: one array a representation, `(tracks, frames, bins)` in 8 bits, and an index of its rows.

The index has a line for every usable track: its `row` in the arrays, `track_id`, `artist_id`, `genre`, `split`
and `frames`, how many of the row's frames its clip fills (what follows them is 0).
"""

import math
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from numpy.lib import format as npy
from numpy.typing import DTypeLike

from fma_genre.files import whole, write_text

COLUMNS = ["row", "track_id", "artist_id", "genre", "split", "frames"]


def create(path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> None:
    """A file of zeros that takes up no disk until `write` fills its rows."""
    with whole(path) as part:
        npy.open_memmap(part, mode="w+", dtype=dtype, shape=shape).flush()


def rows(path: Path) -> np.ndarray:
    """The memory-mapped array, only to be read: of one that may be written to, the system reserves all the memory."""
    return npy.open_memmap(path, mode="r")


def read(path: Path, row: int) -> np.ndarray:
    """One row, (frames, bins) of a representation."""
    with path.open("rb") as file:
        shape, dtype = _seek(file, row)
        return np.frombuffer(file.read(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)


def write(path: Path, row: int, values: np.ndarray) -> None:
    """Fills the beginning of a row with contiguous `values`. Unlike a memory map, a full disk is an OSError."""
    with path.open("r+b") as file:
        _seek(file, row)
        file.write(values.data)


def _seek(file: BinaryIO, row: int) -> tuple[tuple[int, ...], np.dtype]:
    """Goes to the beginning of a row; its shape and type."""
    npy.read_magic(file)
    (_, *shape), _, dtype = npy.read_array_header_1_0(file)
    file.seek(row * math.prod(shape) * dtype.itemsize, os.SEEK_CUR)
    return tuple(shape), dtype


def write_index(path: Path, index: pd.DataFrame) -> None:
    write_text(path, index[COLUMNS].to_csv(index=False, lineterminator="\n"))


def read_index(path: Path) -> pd.DataFrame:
    # A genre may well be called "None" or "1980".
    return pd.read_csv(path, keep_default_na=False, dtype={"genre": str})

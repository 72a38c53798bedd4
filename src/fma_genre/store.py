"""Stored spectrograms: one array a representation, `(tracks, frames, bins)` in 8 bits, and an index of its rows.

The index has a line for every usable track: its `row` in the arrays, `track_id`, `artist_id`, `genre`, `split`
and `frames`, how many of the row's frames its clip fills (what follows them is 0).
"""

from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = ["row", "track_id", "artist_id", "genre", "split", "frames"]


def create(path: Path, tracks: int, frames: int, bins: int) -> None:
    """A file of zeros that workers open with `rows` and fill."""
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(tracks, frames, bins)).flush()


def rows(path: Path, mode: str = "c") -> np.ndarray:
    """The memory-mapped array; `c` reads it (a write would stay in memory), `r+` writes to the file."""
    return np.lib.format.open_memmap(path, mode=mode)


def write_index(path: Path, index: pd.DataFrame) -> None:
    index[COLUMNS].to_csv(path, index=False, lineterminator="\n")


def read_index(path: Path) -> pd.DataFrame:
    # A genre may well be called "None" or "1980".
    return pd.read_csv(path, keep_default_na=False, dtype={"genre": str})

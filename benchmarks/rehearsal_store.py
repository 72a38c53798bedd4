"""Spectrograms of short clips, repeated to the length of the FMA's clips, so that later stages have as much to do."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from fma_genre import store
from fma_genre.common import files
from fma_genre.store import INDEX, LEVELS
from rehearsal_checkout import Rehearsal

ROWS = 64  # rows that are written at a time


def fill(rehearsal: Rehearsal) -> None:
    """Repeat each clip in the stores of a rehearsal's checkout until it fills its row, and commit the stores to DVC.

    Files are replaced, since they may share their content with DVC's cache.
    """
    data = rehearsal.checkout / store.DATA
    index = store.read_index(data / INDEX)
    for levels in sorted(data.glob(f"*/{LEVELS}")):
        fill_levels(levels, index["frames"].to_numpy())
    frames = max(store.map_array(path).shape[1] for path in data.glob(f"*/{LEVELS}"))
    used = index["frames"] > 0
    index.loc[used, ["decoded", "length"]] *= frames / index.loc[used, ["frames"]].to_numpy()
    index.loc[used, "frames"] = frames
    store.write_index(data / INDEX, index)
    commit = [sys.executable, "-m", "dvc", "commit", "--force", "spectrograms"]
    subprocess.run(commit, cwd=rehearsal.checkout, env=rehearsal.environment, check=True)


def fill_levels(path: Path, frames: np.ndarray) -> None:
    """Repeat the first `frames` (rows,) of each row of an array (rows, frames, bins)."""
    old = store.map_array(path)
    with files.atomic(path) as part:
        store.create_array(part, old.shape)
        with part.open("r+b") as file:
            file.seek(part.stat().st_size - old.nbytes)
            for first in range(0, len(old), ROWS):
                rows = old[first : first + ROWS]
                for row, length in zip(rows, frames[first : first + ROWS], strict=True):
                    file.write((np.resize(row[:length], row.shape) if length else row).data)

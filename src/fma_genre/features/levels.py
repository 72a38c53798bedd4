"""Conversion of power to stored levels, 8-bit dB relative to the clip's maximum. `store.dequantise` reverses it."""

import numpy as np

from fma_genre.features.frames import BLOCK
from fma_genre.store import MAX_LEVEL

SILENCE = 1e-10  # power, librosa's `amin`; a clip that never exceeds it is silent


def quantised_levels(power: np.ndarray, floor_db: float) -> np.ndarray:
    """Levels of a whole clip, (frames, bins) uint8, from its power (frames, bins)."""
    levels = np.empty(power.shape, np.uint8)
    peak = power.max()
    for start in range(0, len(power), BLOCK):
        block = slice(start, start + BLOCK)
        levels[block] = quantise(decibels(power[block], peak, floor_db), floor_db)
    return levels


def decibels(power: np.ndarray, peak: float, floor_db: float) -> np.ndarray:
    """Convert power to dB relative to `peak`, at least −`floor_db`. If `peak` is silent, all are −`floor_db`."""
    if peak <= SILENCE:
        return np.full_like(power, -floor_db)
    levels = power / peak
    np.maximum(levels, 10 ** (-floor_db / 10), out=levels)
    np.log(levels, out=levels)  # faster than log10, which NumPy does not vectorise on every processor
    levels *= 10 / np.log(10)
    return levels


def quantise(levels: np.ndarray, floor_db: float) -> np.ndarray:
    """Convert dB between −`floor_db` and 0 to 8 bits, rounded to steps of `floor_db` / 255."""
    stored = levels * (MAX_LEVEL / floor_db)
    stored += MAX_LEVEL + 0.5  # + 0.5 rounds, since astype truncates
    return stored.astype(np.uint8)

"""Power to stored levels: dB relative to the clip's maximum, in 8 bits. `store.dequantise` gives the dB back."""

import numpy as np

from fma_genre.features.frames import BLOCK
from fma_genre.store import TOP_LEVEL

SILENCE = 1e-10  # power; librosa's `amin`: a clip that never exceeds it is silent


def quantised_levels(power: np.ndarray, floor_db: float) -> np.ndarray:
    """Power of a whole clip, (frames, bins), to levels in 8 bits, (frames, bins) uint8."""
    levels = np.empty(power.shape, np.uint8)
    peak = power.max()
    for start in range(0, len(power), BLOCK):
        block = slice(start, start + BLOCK)
        levels[block] = quantise(decibels(power[block], peak, floor_db), floor_db)
    return levels


def decibels(power: np.ndarray, peak: float, floor_db: float) -> np.ndarray:
    """Power to dB relative to `peak`, from −`floor_db` to 0; silence is all floor."""
    if peak <= SILENCE:
        return np.full_like(power, -floor_db)
    levels = power / peak
    np.maximum(levels, 10 ** (-floor_db / 10), out=levels)
    np.log(levels, out=levels)  # log10 is slow where NumPy has not vectorised it
    levels *= 10 / np.log(10)
    return levels


def quantise(levels: np.ndarray, floor_db: float) -> np.ndarray:
    """dB from −`floor_db` to 0 in 8 bits, in steps of `floor_db` / 255."""
    stored = levels * (TOP_LEVEL / floor_db)
    stored += TOP_LEVEL + 0.5  # astype truncates, so + 0.5 rounds
    return stored.astype(np.uint8)

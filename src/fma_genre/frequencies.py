"""The centre frequency of every bin of a representation, and the mel scale."""

from collections.abc import Mapping
from typing import Any

import numpy as np

# Slaney's mel scale: linear up to 1 kHz, then 27 steps of a logarithmic scale for a factor of 6.4.
LINEAR = 200 / 3  # Hz a mel
CORNER = 1000  # Hz
STEP = np.log(6.4) / 27


def centres(representation: Mapping[str, Any]) -> np.ndarray:
    """Of its settings (sample_rate, n_fft, and bands if they are mel bands) to (bins,) in Hz, rising."""
    nyquist = representation["sample_rate"] / 2
    if "bands" in representation:
        return _hertz(np.linspace(0, mels(nyquist), representation["bands"] + 2)[1:-1])
    bins = representation["n_fft"] // 2
    return np.arange(1, bins + 1) * nyquist / bins


def mels(hertz: np.ndarray | float) -> np.ndarray:
    """Frequencies on the mel scale."""
    return np.where(hertz < CORNER, hertz / LINEAR, CORNER / LINEAR + np.log(np.maximum(hertz, CORNER) / CORNER) / STEP)


def _hertz(mels: np.ndarray) -> np.ndarray:
    corner = CORNER / LINEAR
    return np.where(mels < corner, mels * LINEAR, CORNER * np.exp((np.maximum(mels, corner) - corner) * STEP))

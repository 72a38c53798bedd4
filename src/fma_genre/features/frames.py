"""Overlapping frames of a clip and their Fourier transforms.

Conventions follow librosa: a periodic Hann window, frames centred on multiples of the hop with zeros beyond the ends of
the clip, so that `n` samples have `1 + n // hop` frames.
"""

from collections.abc import Iterator

import numpy as np
import scipy.fft

BLOCK = 32  # frames processed at a time: few enough to stay in the processor's cache


def frame_count(seconds: float, rate: int, hop: int) -> int:
    return 1 + int(seconds * rate) // hop


def overlapping(samples: np.ndarray, n_fft: int, hop: int, precision: type[np.floating]) -> np.ndarray:
    """(samples,) to (frames, n_fft), a view of the padded samples in `precision`."""
    padded = np.zeros(len(samples) + 2 * (n_fft // 2), precision)
    padded[n_fft // 2 : n_fft // 2 + len(samples)] = samples
    return np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]


def squared_magnitudes(frames: np.ndarray, precision: type[np.floating]) -> Iterator[tuple[slice, np.ndarray]]:
    """Transform (frames, n_fft) block by block; yield each block's place and its (frames, n_fft // 2 + 1)."""
    n_fft = frames.shape[1]
    window = np.hanning(n_fft + 1)[:-1].astype(precision)  # periodic
    windowed = np.empty((BLOCK, n_fft), precision)

    for start in range(0, len(frames), BLOCK):
        block = slice(start, start + BLOCK)
        count = len(frames[block])
        spectrum = scipy.fft.rfft(np.multiply(frames[block], window, out=windowed[:count]), axis=1)
        squared = spectrum.real**2
        squared += spectrum.imag**2
        yield block, squared

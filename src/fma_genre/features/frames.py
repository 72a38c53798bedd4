"""Overlapping frames of a clip and their Fourier transforms.

Conventions follow librosa: a periodic Hann window, and frames centred on multiples of the hop, with zeros beyond the
ends of the clip. A clip of `n` samples has `1 + n // hop` frames.
"""

from collections.abc import Iterator

import numpy as np
import scipy.fft

BLOCK = 32  # frames processed at a time; few enough to stay in the processor's cache


def frame_count(seconds: float, rate: int, hop: int) -> int:
    return 1 + int(seconds * rate) // hop


def overlapping(samples: np.ndarray, n_fft: int, hop: int, precision: type[np.floating]) -> np.ndarray:
    """Pad samples (samples,) with zeros, and cut them into overlapping frames (frames, n_fft).

    The frames are a view of an array whose dtype is `precision`.
    """
    padded = np.zeros(len(samples) + 2 * (n_fft // 2), precision)
    padded[n_fft // 2 : n_fft // 2 + len(samples)] = samples
    return np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]


def squared_magnitudes(frames: np.ndarray, precision: type[np.floating]) -> Iterator[tuple[slice, np.ndarray]]:
    """Compute the Fourier transform of frames (frames, n_fft), a block of frames at a time.

    Yields:
        The block's slice of the frames, and its squared magnitudes (frames in the block, n_fft // 2 + 1).
    """
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


def power_spectrum(samples: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """Squared magnitude of the STFT, computed in float64: (samples,) to (frames, n_fft // 2 + 1) float32."""
    frames = overlapping(samples, n_fft, hop, np.float64)
    power = np.empty((len(frames), n_fft // 2 + 1), np.float32)
    for block, squared in squared_magnitudes(frames, np.float64):
        power[block] = squared
    return power

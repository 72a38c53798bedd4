"""Spectrograms: levels in dB relative to the clip's maximum, stored in 8 bits, time first.

Conventions follow librosa: a periodic Hann window, frames centred on multiples of the hop with zeros beyond
the ends, Slaney's mel filters, power in dB. A representation is `(frames, bins)`; `n` samples have
`1 + n // hop` frames.
"""

import warnings
from collections.abc import Mapping

import numpy as np
import scipy.fft

SILENCE = 1e-10  # power; librosa's `amin`: a clip that never exceeds it is silent
LEVELS = 255  # stored values are 0 (the floor) … 255 (the clip's maximum)


def power_spectrum(samples: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """Squared magnitude of the STFT: (samples,) float32 to (frames, n_fft // 2 + 1) float32.

    Transformed in float64, as librosa does: in float32, levels 100 dB under the maximum are off by 0.03 dB.
    """
    window = np.hanning(n_fft + 1)[:-1]  # periodic
    padded = np.pad(samples, n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]  # (frames, n_fft)
    spectrum = scipy.fft.rfft(frames * window, axis=1)
    return (spectrum.real**2 + spectrum.imag**2).astype(np.float32)


def mel_filters(rate: int, n_fft: int, bands: int) -> np.ndarray:
    """Slaney's mel filters from 0 Hz to the Nyquist frequency, (n_fft // 2 + 1, bands) float32."""
    from librosa.filters import mel  # two seconds of import that only the caller pays, once

    with warnings.catch_warnings(action="ignore"):  # of empty filters, which are the caller's to judge
        return np.ascontiguousarray(mel(sr=rate, n_fft=n_fft, n_mels=bands).T)


def decibels(power: np.ndarray, floor_db: float) -> np.ndarray:
    """Power to dB relative to its maximum, from −`floor_db` to 0; silence is all floor."""
    peak = power.max()
    if peak <= SILENCE:
        return np.full_like(power, -floor_db)
    return 10 * np.log10(np.maximum(power / peak, 10 ** (-floor_db / 10), dtype=np.float32))


def quantise(levels: np.ndarray, floor_db: float) -> np.ndarray:
    """dB in [−`floor_db`, 0] to 8 bits, in steps of `floor_db` / 255."""
    return np.rint((levels / floor_db + 1) * LEVELS).astype(np.uint8)


def dequantise(stored: np.ndarray, floor_db: float) -> np.ndarray:
    """The dB that `quantise` stored, within half a step."""
    return (stored.astype(np.float32) / LEVELS - 1) * floor_db


def bins(representation: Mapping[str, int]) -> int:
    """Number of bins of a representation's settings: the mel bands, or STFT bins 1 … n_fft / 2."""
    return representation.get("bands") or representation["n_fft"] // 2


def frame_count(seconds: float, rate: int, hop: int) -> int:
    return 1 + int(seconds * rate) // hop


def spectrogram(
    samples: np.ndarray, hop: int, floor_db: float, n_fft: int, filters: np.ndarray | None = None
) -> np.ndarray:
    """(samples,) to (frames, bins) in dB: mel bands with `filters`, else STFT bins without the 0 Hz one."""
    power = power_spectrum(samples, n_fft, hop)
    return decibels(power[:, 1:] if filters is None else power @ filters, floor_db)

"""Spectrograms: levels in dB relative to the clip's maximum, stored in 8 bits, time first.

Conventions follow librosa: a periodic Hann window, frames centred on multiples of the hop with zeros beyond
the ends, Slaney's mel filters, power in dB. A representation is `(frames, bins)`; `n` samples have
`1 + n // hop` frames.

STFT bins are transformed in float64, as librosa does: in float32 those 100 dB under the maximum are off by up to
0.04 dB on music. Mel bands sum many bins: they are computed in float32, in half the time, except for the few frames
in which one would be rough. On 339 clips of music and of instruments they are within 0.006 dB.
"""

import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import scipy.fft

SILENCE = 1e-10  # power; librosa's `amin`: a clip that never exceeds it is silent
LEVELS = 255  # stored values are 0 (the floor) … 255 (the clip's maximum)
BLOCK = 32  # frames transformed at a time: what they need stays in the processor's cache
ROUGH = 1e-11  # of a frame's power: bands under it would suffer from float32
GROUP = 16  # mel bands computed at a time: only from the bins that they have in common, most weights are 0

Groups = list[tuple[slice, slice, np.ndarray]]


def power_spectrum(samples: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """Squared magnitude of the STFT: (samples,) float32 to (frames, n_fft // 2 + 1) float32."""
    frames = _frames(samples, n_fft, hop, np.float64)
    power = np.empty((len(frames), n_fft // 2 + 1), np.float32)
    for block, squared in _squared(frames, np.float64):
        power[block] = squared
    return power


def mel_power(samples: np.ndarray, n_fft: int, hop: int, filters: np.ndarray, floor_db: float) -> np.ndarray:
    """Power in mel bands: (samples,) float32 and filters (n_fft // 2 + 1, bands) to (frames, bands) float32.

    What is more than `floor_db` under the clip's maximum may be rough.
    """
    frames = _frames(samples, n_fft, hop, np.float32)
    groups = _groups(filters)
    power, total = _bands(frames, groups, np.float32)
    quietest = np.maximum(power.min(axis=1), power.max() * 10 ** (-floor_db / 10))
    rough = quietest < ROUGH * total
    power[rough], _ = _bands(frames[rough], groups, np.float64)
    return power


def _frames(samples: np.ndarray, n_fft: int, hop: int, precision: type[np.floating]) -> np.ndarray:
    """(samples,) with zeros beyond their ends, in overlapping frames (frames, n_fft)."""
    padded = np.zeros(len(samples) + 2 * (n_fft // 2), precision)
    padded[n_fft // 2 : n_fft // 2 + len(samples)] = samples
    return np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]


def _squared(frames: np.ndarray, precision: type[np.floating]) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared magnitudes (frames, n_fft // 2 + 1) of a block of frames after the other."""
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


def _bands(frames: np.ndarray, groups: Groups, precision: type[np.floating]) -> tuple[np.ndarray, np.ndarray]:
    """Power of (frames, n_fft) in bands, (frames, bands), and in all (frames,)."""
    power = np.empty((len(frames), groups[-1][1].stop), np.float32)
    total = np.empty(len(frames), np.float32)
    ones = np.ones(frames.shape[1] // 2 + 1, precision)
    for block, squared in _squared(frames, precision):
        total[block] = squared @ ones
        for bins, bands, weights in groups:
            np.matmul(squared[:, bins], weights, out=power[block, bands])
    return power, total


def _groups(filters: np.ndarray) -> Groups:
    """Neighbouring filters with the bins where any of them is not 0: bins, bands, weights (bins, bands)."""
    groups = []
    starts = range(0, filters.shape[1], GROUP)
    used = np.logical_or.reduceat(filters, starts, axis=1)  # (bins, groups)
    for first, column in zip(starts, used.T, strict=True):
        bands = slice(first, min(first + GROUP, filters.shape[1]))
        bins = slice(column.argmax(), len(column) - column[::-1].argmax())
        groups.append((bins, bands, np.ascontiguousarray(filters[bins, bands])))
    return groups


def mel_filters(rate: int, n_fft: int, bands: int) -> np.ndarray:
    """Slaney's mel filters from 0 Hz to the Nyquist frequency, (n_fft // 2 + 1, bands) float32."""
    from librosa.filters import mel  # two seconds of import that only the caller pays, once

    with warnings.catch_warnings(action="ignore"):  # of empty filters, which are the caller's to judge
        return np.ascontiguousarray(mel(sr=rate, n_fft=n_fft, n_mels=bands).T)


def decibels(power: np.ndarray, floor_db: float, peak: float | None = None) -> np.ndarray:
    """Power to dB relative to `peak`, by default its maximum, from −`floor_db` to 0; silence is all floor."""
    peak = power.max() if peak is None else peak
    if peak <= SILENCE:
        return np.full_like(power, -floor_db)
    levels = power / peak
    np.maximum(levels, 10 ** (-floor_db / 10), out=levels)
    np.log(levels, out=levels)  # log10 is slow where NumPy has not vectorised it
    levels *= 10 / np.log(10)
    return levels


def quantise(levels: np.ndarray, floor_db: float) -> np.ndarray:
    """dB in [−`floor_db`, 0] to 8 bits, in steps of `floor_db` / 255."""
    stored = levels * (LEVELS / floor_db)
    stored += LEVELS + 0.5  # what follows cuts off
    return stored.astype(np.uint8)


def dequantise(stored: np.ndarray, floor_db: float) -> np.ndarray:
    """The dB that `quantise` stored, within half a step."""
    return (stored.astype(np.float32) / LEVELS - 1) * floor_db


def bins(representation: Mapping[str, int]) -> int:
    """Number of bins of a representation's settings: the mel bands, or STFT bins 1 … n_fft / 2."""
    return representation.get("bands") or representation["n_fft"] // 2


def frame_count(seconds: float, rate: int, hop: int) -> int:
    return 1 + int(seconds * rate) // hop


def power(samples: np.ndarray, hop: int, floor_db: float, n_fft: int, filters: np.ndarray | None = None) -> np.ndarray:
    """(samples,) to power (frames, bins): in mel bands with `filters`, else in STFT bins without the 0 Hz one."""
    if filters is None:
        return power_spectrum(samples, n_fft, hop)[:, 1:]
    return mel_power(samples, n_fft, hop, filters, floor_db)


def spectrogram(
    samples: np.ndarray, hop: int, floor_db: float, n_fft: int, filters: np.ndarray | None = None
) -> np.ndarray:
    """`power` in dB, from −`floor_db` to 0."""
    return decibels(power(samples, hop, floor_db, n_fft, filters), floor_db)


def stored(power: np.ndarray, floor_db: float) -> np.ndarray:
    """Power (frames, bins) in dB in 8 bits: `quantise(decibels(power))`, a block of frames at a time."""
    levels, peak = np.empty(power.shape, np.uint8), power.max()
    for start in range(0, len(power), BLOCK):
        block = slice(start, start + BLOCK)
        levels[block] = quantise(decibels(power[block], floor_db, peak), floor_db)
    return levels

"""Recording conditions of a clip: format, band and loudness. Models should not depend on them, but can learn them.

They are measured before the clip is mixed and resampled. A clip whose format changes is described by its longest
stretch of one format.
"""

import functools
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fma_genre.features.frames import squared_magnitudes
from fma_genre.features.stretches import Stretch

# A bin belongs to the band if at least MIN_FILLED of the frames are at most DEPTH below the maximum of all frames.
# docs/recipe.md counts the clips that are narrow by this rule.
MIN_FILLED = 0.05
DEPTH = 90  # dB; deeper levels may be noise of 16-bit audio
N_FFT = 2048  # window length in samples
FRAMES = 100  # approximate number of frames that are examined, spread evenly over the clip
STEP = 2.0**-15  # of 16-bit audio, full scale 1
LOUDNESS = (-120.0, 180.0)  # lowest (silence) and highest loudness in dB
BLOCK = 8192  # samples whose squares are added in float32


class Conditions(NamedTuple):
    """Recording conditions of a clip."""

    rate: int  # Hz
    channels: int  # number of channels that differ
    bandwidth: float  # upper end of the band in Hz; 0 if the clip is silent
    loudness: float  # mean square of the samples of all channels in dB; 0 dB is a square wave at full scale


def measure(stretches: list[Stretch]) -> Conditions:
    """Measure the conditions of decoded audio, which must be finite."""
    longest = max(stretches, key=lambda stretch: stretch.seconds)
    channels, rate = longest.channels, longest.rate
    return Conditions(rate, distinct(channels), bandwidth(channels, rate), loudness(channels))


def distinct(channels: np.ndarray) -> int:
    """Number of channels (samples, channels) that differ from all earlier ones.

    Channels are equal if no sample differs by more than a step of 16-bit audio.
    """
    found: list[np.ndarray] = []
    for channel in channels.T:
        if not any(_equal(channel, other) for other in found):
            found.append(channel)
    return len(found)


def _equal(first: np.ndarray, second: np.ndarray) -> bool:
    blocks = range(0, len(first), BLOCK)  # most pairs of channels differ in the first block
    return all(np.abs(first[at : at + BLOCK] - second[at : at + BLOCK]).max() <= STEP for at in blocks)


def loudness(channels: np.ndarray) -> float:
    """Mean square of samples (samples, channels) in dB, limited to LOUDNESS."""
    flat = channels.ravel()
    with np.errstate(over="ignore"):
        sums = [float(np.dot(part, part)) for part in np.split(flat, range(BLOCK, len(flat), BLOCK))]
    low, high = (10 ** (limit / 10) for limit in LOUDNESS)
    return float(10 * np.log10(np.clip(sum(sums) / len(flat), low, high)))


def bandwidth(channels: np.ndarray, rate: int) -> float:
    """Upper end in Hz of the band that samples (samples, channels) at `rate` Hz fill; 0 if they are silent.

    The leakage of the window adds up to 25 bins to a band that ends abruptly, 0.5 kHz at 44.1 kHz.
    """
    missing = max(0, N_FFT - len(channels))
    padded = np.pad(channels, ((0, missing), (0, 0))) if missing else channels
    hop = max(N_FFT // 2, len(channels) // FRAMES)
    frames = [sliding_window_view(channel, N_FFT)[::hop] for channel in padded.T]  # (frames, N_FFT) of each channel
    mono = functools.reduce(np.add, frames)  # their sum, since the level does not matter
    power = np.concatenate([squared for _, squared in squared_magnitudes(mono, np.float32)])
    return band_end(power, np.arange(power.shape[1]) * rate / N_FFT)


def band_end(power: np.ndarray, frequencies: np.ndarray) -> float:
    """Upper end in Hz of the band that a clip fills; 0 if it is silent.

    Args:
        power: (frames, bins).
        frequencies: centres of the bins in Hz, (bins,).
    """
    filled = (power > power.max() * 10 ** (-DEPTH / 10)).mean(axis=0) >= MIN_FILLED
    return float(frequencies[filled].max(initial=0))

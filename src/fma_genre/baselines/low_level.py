"""Low-level features: statistics over time of MFCC, spectral contrast and spectral centroid.

Features and statistics are those of Defferrard et al. 2017 (arXiv 1612.01840), by librosa. They are computed from the
stored spectrograms, which saves decoding every clip again. Stored levels are relative to the clip's maximum, which
moves the first MFCC by a constant, and end at the floor, which lowers the contrast of quieter parts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from joblib import Parallel, delayed
from librosa.feature import mfcc, spectral_centroid, spectral_contrast

from fma_genre.common import progress
from fma_genre.common.errors import InputError
from fma_genre.common.schema import Range
from fma_genre.common.workers import worker_count
from fma_genre.store import Store

REPRESENTATIONS = ("mel", "stft")  # the stores that the features are computed from
LOWEST = 200  # Hz; librosa's spectral contrast has one band up to here
OCTAVES = 6  # and this many octaves above it


@dataclass(frozen=True)
class Arguments:
    mfcc: Annotated[int, Range(1, 2**12)]  # coefficients


def check(arguments: Arguments, stores: Mapping[str, Store], where: str) -> None:
    """Raise InputError unless the stores have what the arguments ask for."""
    bands = len(stores["mel"].description.frequencies)
    if arguments.mfcc > bands:
        raise InputError(f"{where}.mfcc: expected at most {bands}, the bands of mel, found {arguments.mfcc}")


def features(arguments: Arguments, stores: Mapping[str, Store]) -> np.ndarray:
    """Features of the used tracks, (tracks, features) float64.

    Threads share the work: NumPy and SciPy let others run for about seven eighths of the time, and each process would
    import librosa for seconds.
    """
    mel, stft = stores["mel"], stores["stft"]
    rows = mel.used.index
    tasks = (delayed(_track_features)(arguments, mel, stft, row) for row in rows)
    done = Parallel(n_jobs=worker_count(), prefer="threads", return_as="generator")(tasks)
    return np.array(list(progress.bar(done, total=len(rows), unit="track")))


def _track_features(arguments: Arguments, mel: Store, stft: Store, row: int) -> np.ndarray:
    rate, frequencies = stft.description.sample_rate, np.array(stft.description.frequencies)
    series = frame_features(mel.decibels(row), stft.decibels(row), frequencies, sample_rate=rate, mfccs=arguments.mfcc)
    return statistics(series)


def frame_features(
    mel: np.ndarray, stft: np.ndarray, frequencies: np.ndarray, *, sample_rate: int, mfccs: int
) -> np.ndarray:
    """MFCC, spectral contrast (dB, from the lowest band up) and spectral centroid (Hz) of every frame.

    Args:
        mel: levels (frames, bands) in dB.
        stft: levels (frames, bins) in dB, without the 0 Hz bin.
        frequencies: of the bins (bins,) in Hz, rising.
        sample_rate: in Hz.
        mfccs: number of coefficients.

    Returns:
        (features, frames)
    """
    amplitude = 10 ** (stft.T / 20)
    # Every octave begins below the last bin, and the band under them has the three bins that librosa takes at least.
    lowest = max(LOWEST, frequencies[2])
    octaves = min(OCTAVES, math.ceil(math.log2(frequencies[-1] / lowest)))

    contrast = spectral_contrast(S=amplitude, sr=sample_rate, freq=frequencies, fmin=lowest, n_bands=octaves)
    centroid = spectral_centroid(S=amplitude, freq=frequencies)
    return np.concatenate([mfcc(S=mel.T, n_mfcc=mfccs), contrast, centroid])


def statistics(series: np.ndarray) -> np.ndarray:
    """Mean, standard deviation, skewness, excess kurtosis, median, minimum and maximum over time.

    (features, frames) to (7 · features,): all means first. A constant series has skewness and kurtosis 0.
    """
    series = series.astype(np.float64)
    moved = series - series[:, :1]  # exactly 0 for a constant, whose rounding errors would have a skewness
    deviation = moved.std(axis=1)
    score = (moved - moved.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)[:, None]

    skewness = (score * score * score).mean(axis=1)
    kurtosis = np.where(deviation > 0, (score * score * score * score).mean(axis=1) - 3, 0)
    order = [np.median(series, axis=1), series.min(axis=1), series.max(axis=1)]
    return np.concatenate([series.mean(axis=1), deviation, skewness, kurtosis, *order])

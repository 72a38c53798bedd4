"""Low-level features: statistics over time of MFCCs, spectral contrast and spectral centroid.

The features and statistics follow Defferrard et al. 2017 (arXiv 1612.01840). librosa computes the features from the
stored spectrograms, so no clip is decoded again. This has two effects. Stored levels are relative to the clip's
maximum, which shifts the first MFCC of a clip by a constant. Stored levels end at the floor, which lowers the contrast
of quiet parts.
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

REPRESENTATIONS = ("mel", "stft")  # the features are computed from their stores
CONTRAST_FMIN = 200  # Hz; upper end of the lowest band of the spectral contrast (librosa's default)
CONTRAST_OCTAVES = 6  # number of bands above the lowest one, each an octave wide (librosa's default)


@dataclass(frozen=True)
class Arguments:
    mfcc: Annotated[int, Range(1, 2**12)]  # number of coefficients


def check(arguments: Arguments, stores: Mapping[str, Store], where: str) -> None:
    """Raise InputError if there are fewer mel bands than coefficients.

    Args:
        where: dotted name of the section, for the message.
    """
    bands = len(stores["mel"].description.frequencies)
    if arguments.mfcc > bands:
        raise InputError(f"{where}.mfcc: expected at most {bands} (the number of mel bands), found {arguments.mfcc}")


def features(arguments: Arguments, stores: Mapping[str, Store]) -> np.ndarray:
    """Compute the features of the used tracks, (tracks, features) float64.

    This uses threads instead of processes, since each process would need seconds to import librosa. NumPy and SciPy
    release Python's global lock for about seven eighths of the time.
    """
    mel, stft = stores["mel"], stores["stft"]
    rows = mel.used.index
    tasks = (delayed(_track_features)(arguments, mel, stft, row) for row in rows)
    results = Parallel(n_jobs=worker_count(), prefer="threads", return_as="generator")(tasks)
    return np.array(list(progress.bar(results, total=len(rows), unit="track")))


def _track_features(arguments: Arguments, mel: Store, stft: Store, row: int) -> np.ndarray:
    rate, frequencies = stft.description.sample_rate, np.array(stft.description.frequencies)
    series = frame_features(mel.decibels(row), stft.decibels(row), frequencies, sample_rate=rate, mfccs=arguments.mfcc)
    return statistics(series)


def frame_features(
    mel: np.ndarray, stft: np.ndarray, frequencies: np.ndarray, *, sample_rate: int, mfccs: int
) -> np.ndarray:
    """Compute MFCCs, spectral contrast (dB, lowest band first) and spectral centroid (Hz) of every frame.

    Args:
        mel: levels (frames, bands) in dB.
        stft: levels (frames, bins) in dB, without the 0 Hz bin.
        frequencies: centres of the STFT bins (bins,) in Hz, ascending.
        sample_rate: sample rate in Hz.
        mfccs: number of MFCC coefficients.

    Returns:
        (features, frames)
    """
    amplitude = 10 ** (stft.T / 20)
    # librosa needs three bins in the lowest band. Every octave above it must begin below the last bin.
    fmin = max(CONTRAST_FMIN, frequencies[2])
    octaves = min(CONTRAST_OCTAVES, math.ceil(math.log2(frequencies[-1] / fmin)))

    contrast = spectral_contrast(S=amplitude, sr=sample_rate, freq=frequencies, fmin=fmin, n_bands=octaves)
    centroid = spectral_centroid(S=amplitude, freq=frequencies)
    return np.concatenate([mfcc(S=mel.T, n_mfcc=mfccs), contrast, centroid])


def statistics(series: np.ndarray) -> np.ndarray:
    """Compute mean, standard deviation, skewness, excess kurtosis, median, minimum and maximum over time.

    A constant series has skewness and kurtosis 0.

    Args:
        series: (features, frames).

    Returns:
        (7 · features,): the means of all features, then their standard deviations, and so on
    """
    series = series.astype(np.float64)
    shifted = series - series[:, :1]  # exact zeros if constant; rounding errors could look like skewness
    deviation = shifted.std(axis=1)
    score = (shifted - shifted.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)[:, None]

    skewness = (score * score * score).mean(axis=1)
    kurtosis = np.where(deviation > 0, (score * score * score * score).mean(axis=1) - 3, 0)
    median, minimum, maximum = np.median(series, axis=1), series.min(axis=1), series.max(axis=1)
    return np.concatenate([series.mean(axis=1), deviation, skewness, kurtosis, median, minimum, maximum])

"""Shared parts of feature files that compute MFCCs and other features of frames from the stored spectrograms."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from joblib import Parallel, delayed
from librosa.feature import spectral_contrast

from fma_genre.common import progress
from fma_genre.common.errors import InputError
from fma_genre.common.schema import Range
from fma_genre.common.workers import worker_count
from fma_genre.store import Description, Store

REPRESENTATIONS = ("mel", "stft")  # the features are computed from their stores
CONTRAST_FMIN = 200  # Hz; upper end of the lowest band of the spectral contrast (librosa's default)
CONTRAST_OCTAVES = 6  # number of bands above the lowest one, each an octave wide (librosa's default)
# A function that computes the features (features,) of a track from its levels (frames, bands) and (frames, bins) in dB,
# and from the description of the STFT's store.
TrackFeatures = Callable[[np.ndarray, np.ndarray, Description], np.ndarray]


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


def of_all_tracks(function: TrackFeatures, stores: Mapping[str, Store]) -> np.ndarray:
    """Compute the features of the used tracks, (tracks, features) float64.

    This uses threads instead of processes, since each process would need seconds to import librosa. NumPy and SciPy
    release Python's global lock for most of the time.
    """
    mel, stft = stores["mel"], stores["stft"]

    def of_track(row: int) -> np.ndarray:
        return function(mel.decibels(row), stft.decibels(row), stft.description)

    rows = mel.used.index
    results = Parallel(n_jobs=worker_count(), prefer="threads", return_as="generator")(map(delayed(of_track), rows))
    return np.array(list(progress.bar(results, total=len(rows), unit="track")))


def contrast(amplitude: np.ndarray, frequencies: np.ndarray, sample_rate: int) -> np.ndarray:
    """Compute the spectral contrast (bands, frames) in dB, lowest band first.

    Args:
        amplitude: (bins, frames).
        frequencies: centres of the bins (bins,) in Hz, ascending.
        sample_rate: sample rate in Hz.
    """
    # librosa needs three bins in the lowest band. Every octave above it must begin below the last bin.
    fmin = max(CONTRAST_FMIN, frequencies[2])
    octaves = min(CONTRAST_OCTAVES, math.ceil(math.log2(frequencies[-1] / fmin)))
    return spectral_contrast(S=amplitude, sr=sample_rate, freq=frequencies, fmin=fmin, n_bands=octaves)

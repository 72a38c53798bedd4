"""Low-level features: statistics over time of MFCCs, spectral contrast and spectral centroid.

The features and statistics follow Defferrard et al. 2017 (arXiv 1612.01840). librosa computes the features from the
stored spectrograms, so no clip is decoded again. This has two effects. Stored levels are relative to the clip's
maximum, which shifts the first MFCC of a clip by a constant. Stored levels end at the floor, which lowers the contrast
of quiet parts.
"""

from collections.abc import Mapping

import numpy as np
from librosa.feature import mfcc, spectral_centroid

from fma_genre.baselines._spectra import REPRESENTATIONS, Arguments, check, contrast, of_all_tracks
from fma_genre.store import Description, Store

__all__ = ["REPRESENTATIONS", "Arguments", "check", "features"]


def features(arguments: Arguments, stores: Mapping[str, Store]) -> np.ndarray:
    """Compute the features of the used tracks, (tracks, features) float64."""

    def of_track(mel: np.ndarray, stft: np.ndarray, description: Description) -> np.ndarray:
        rate, frequencies = description.sample_rate, np.array(description.frequencies)
        return statistics(frame_features(mel, stft, frequencies, sample_rate=rate, mfccs=arguments.mfcc))

    return of_all_tracks(of_track, stores)


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
    centroid = spectral_centroid(S=amplitude, freq=frequencies)
    return np.concatenate([mfcc(S=mel.T, n_mfcc=mfccs), contrast(amplitude, frequencies, sample_rate), centroid])


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

"""Seven low-level features in three excerpts of a clip, modelled on Falola and Akinola 2021.

This project knows the paper only at second hand: librosa computes seven features at the beginning, in the middle and at
the end of each recording, from 30 s in all. The rest is this project's choice:

- The features are MFCCs, chroma, spectral centroid, bandwidth, roll-off, flatness and contrast. The paper's seven are
  not known.
- An excerpt lasts a third of the clip, but at most 10 s. Three excerpts cover a clip of up to 30 s.
- Each excerpt is described by the mean and the standard deviation of each feature over its frames.

librosa computes the features from the stored spectrograms, so no clip is decoded again. The stored levels are relative
to the clip's maximum, which shifts the first MFCC of a clip by a constant, and they end at the floor, which lowers the
contrast and raises the flatness of quiet parts.
"""

import math
from collections.abc import Mapping

import numpy as np
from librosa.feature import (
    chroma_stft,
    mfcc,
    spectral_bandwidth,
    spectral_centroid,
    spectral_flatness,
    spectral_rolloff,
)

from fma_genre.baselines._spectra import REPRESENTATIONS, Arguments, check, contrast, of_all_tracks
from fma_genre.store import Description, Store

__all__ = ["REPRESENTATIONS", "Arguments", "check", "features"]

EXCERPTS = 3  # beginning, middle and end
MAX_SECONDS = 10  # duration of an excerpt
TUNING = 0.0  # A4 is 440 Hz; librosa's estimate of the tuning would differ between the parts of a clip


def features(arguments: Arguments, stores: Mapping[str, Store]) -> np.ndarray:
    """Compute the features of the used tracks, (tracks, features) float64."""

    def of_track(mel: np.ndarray, stft: np.ndarray, description: Description) -> np.ndarray:
        frames = excerpt_frames(len(stft), description).flatten()
        return statistics(frame_features(mel[frames], stft[frames], description, mfccs=arguments.mfcc))

    return of_all_tracks(of_track, stores)


def excerpt_frames(frames: int, description: Description) -> np.ndarray:
    """Choose the frames of the beginning, the middle and the end of a clip.

    If the number of frames is not a multiple of 3, neighbouring excerpts may share a frame.

    Args:
        frames: number of frames that the clip fills.
        description: the description of a store, with sample rate and hop.

    Returns:
        (EXCERPTS, frames of an excerpt) positions of frames
    """
    longest = round(MAX_SECONDS * description.sample_rate / description.hop)
    length = min(math.ceil(frames / EXCERPTS), max(1, longest))
    starts = np.array([0, (frames - length) // 2, frames - length])
    return starts[:, np.newaxis] + np.arange(length)


def frame_features(mel: np.ndarray, stft: np.ndarray, description: Description, *, mfccs: int) -> np.ndarray:
    """Compute the seven features of every frame.

    Args:
        mel: levels (frames, bands) in dB.
        stft: levels (frames, bins) in dB, without the 0 Hz bin.
        description: the description of the STFT's store.
        mfccs: number of MFCC coefficients.

    Returns:
        (features, frames): MFCCs, 12 pitch classes from C (at most 1, the strongest one), centroid, bandwidth and
        roll-off in Hz, flatness from 0 to 1, and contrast in dB, lowest band first
    """
    assert description.n_fft is not None  # only representations that are no STFT lack it
    amplitude = 10 ** (stft.T / 20)  # (bins, frames)
    rate, frequencies = description.sample_rate, np.array(description.frequencies)
    power = np.pad(amplitude**2, ((1, 0), (0, 0)))  # librosa's filters for chroma begin at 0 Hz

    series = [
        mfcc(S=mel.T, n_mfcc=mfccs),
        chroma_stft(S=power, sr=rate, n_fft=description.n_fft, tuning=TUNING),
        spectral_centroid(S=amplitude, freq=frequencies),
        spectral_bandwidth(S=amplitude, freq=frequencies),
        spectral_rolloff(S=amplitude, freq=frequencies),
        spectral_flatness(S=amplitude),
        contrast(amplitude, frequencies, rate),
    ]
    return np.concatenate(series)


def statistics(series: np.ndarray) -> np.ndarray:
    """Compute mean and standard deviation of each feature in each excerpt.

    Args:
        series: (features, frames), with the excerpts one after another.

    Returns:
        (EXCERPTS · 2 · features,): means, then deviations of the first excerpt, and so on
    """
    parts = series.reshape(len(series), EXCERPTS, -1)  # (features, EXCERPTS, frames of an excerpt)
    return np.stack([parts.mean(axis=2), parts.std(axis=2)]).transpose(2, 0, 1).flatten()

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
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from joblib import Parallel, delayed
from librosa.feature import (
    chroma_stft,
    mfcc,
    spectral_bandwidth,
    spectral_centroid,
    spectral_contrast,
    spectral_flatness,
    spectral_rolloff,
)

from fma_genre.common import progress
from fma_genre.common.errors import InputError
from fma_genre.common.schema import Range
from fma_genre.common.workers import worker_count
from fma_genre.store import Description, Store

REPRESENTATIONS = ("mel", "stft")  # the features are computed from their stores
EXCERPTS = 3  # beginning, middle and end
MAX_SECONDS = 10  # duration of an excerpt
CONTRAST_FMIN = 200  # Hz; upper end of the lowest band of the spectral contrast (librosa's default)
CONTRAST_OCTAVES = 6  # number of bands above the lowest one, each an octave wide (librosa's default)
TUNING = 0.0  # A4 is 440 Hz; librosa's estimate of the tuning would differ between the parts of a clip


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

    This uses threads instead of processes, since each process would need seconds to import librosa.
    """
    mel, stft = stores["mel"], stores["stft"]
    rows = mel.used.index
    tasks = (delayed(_track_features)(arguments, mel, stft, row) for row in rows)
    results = Parallel(n_jobs=worker_count(), prefer="threads", return_as="generator")(tasks)
    return np.array(list(progress.bar(results, total=len(rows), unit="track")))


def _track_features(arguments: Arguments, mel: Store, stft: Store, row: int) -> np.ndarray:
    bands, bins = mel.decibels(row), stft.decibels(row)  # (frames, bands), (frames, bins)
    frames = excerpt_frames(len(bins), stft.description).flatten()
    series = frame_features(bands[frames], bins[frames], stft.description, mfccs=arguments.mfcc)
    return statistics(series)


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
    # librosa needs three bins in the lowest band. Every octave above it must begin below the last bin.
    fmin = max(CONTRAST_FMIN, frequencies[2])
    octaves = min(CONTRAST_OCTAVES, math.ceil(math.log2(frequencies[-1] / fmin)))

    series = [
        mfcc(S=mel.T, n_mfcc=mfccs),
        chroma_stft(S=power, sr=rate, n_fft=description.n_fft, tuning=TUNING),
        spectral_centroid(S=amplitude, freq=frequencies),
        spectral_bandwidth(S=amplitude, freq=frequencies),
        spectral_rolloff(S=amplitude, freq=frequencies),
        spectral_flatness(S=amplitude),
        spectral_contrast(S=amplitude, sr=rate, freq=frequencies, fmin=fmin, n_bands=octaves),
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

"""The best baseline of the FMA paper: an SVM on statistics of MFCC, spectral contrast and spectral centroid.

Features and statistics are those of Defferrard et al. 2017 (arXiv 1612.01840), by librosa. They are computed from the
stored spectrograms, so that no clip is decoded a second time: levels are relative to the clip's maximum, which moves
the first MFCC by a constant, and end at the floor, which lowers the contrast of what is quieter.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from librosa.feature import mfcc, spectral_centroid, spectral_contrast
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fma_genre import progress, store
from fma_genre.frequencies import centres
from fma_genre.spectrogram import dequantise

INPUTS = ("mel", "stft")
LOWEST, OCTAVES = 200, 6  # of spectral contrast, librosa's: its lowest band ends at 200 Hz, six octaves follow


@dataclass(frozen=True)
class Settings:
    """What features depend on, beside the stored levels."""

    sample_rate: int  # Hz
    n_fft: int  # of the STFT
    floor_db: float
    mfcc: int  # coefficients


def features(folder: Path, index: pd.DataFrame, settings: Settings, jobs: int) -> np.ndarray:
    """The features of the tracks of `index`, lines of the index of the store in `folder`: (tracks, features) float64.

    By `jobs` threads: processes would each import librosa for seconds, and for about seven eighths of the time NumPy
    and SciPy let other threads run.
    """
    work = delayed(_track_features)
    lines = zip(index["row"].tolist(), index["frames"].tolist(), strict=True)
    tasks = (work(folder, row, frames, settings) for row, frames in lines)
    done = Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(tasks)
    return np.array(list(progress.bar(done, total=len(index), unit="track")))


def _track_features(folder: Path, row: int, frames: int, settings: Settings) -> np.ndarray:
    mel, stft = (dequantise(store.read(folder / f"{name}.npy", row)[:frames], settings.floor_db) for name in INPUTS)
    return statistics(frame_features(mel, stft, settings))


def frame_features(mel: np.ndarray, stft: np.ndarray, settings: Settings) -> np.ndarray:
    """MFCC, spectral contrast (dB, its bands from the lowest) and spectral centroid (Hz) of every frame.

    Args:
        mel, stft: (frames, bands) and (frames, n_fft // 2), in dB; the 0 Hz bin is not among them.

    Returns:
        (features, frames)
    """
    rate = settings.sample_rate
    amplitude = 10 ** (stft.T / 20)
    frequencies = centres({"sample_rate": rate, "n_fft": settings.n_fft})
    # Every octave begins below the last bin, and the band under them has the three bins that librosa takes at least.
    lowest = max(LOWEST, frequencies[2])
    octaves = min(OCTAVES, math.ceil(math.log2(frequencies[-1] / lowest)))
    contrast = spectral_contrast(S=amplitude, sr=rate, freq=frequencies, fmin=lowest, n_bands=octaves)
    centroid = spectral_centroid(S=amplitude, freq=frequencies)
    return np.concatenate([mfcc(S=mel.T, n_mfcc=settings.mfcc), contrast, centroid])


def statistics(series: np.ndarray) -> np.ndarray:
    """Mean, standard deviation, skewness, excess kurtosis, median, minimum and maximum over time.

    (features, frames) to (7 · features,): all means first. Of a constant series, skewness and kurtosis are 0.
    """
    series = series.astype(np.float64)
    moved = series - series[:, :1]  # exactly 0 for a constant, whose rounding errors would have a skewness
    deviation = moved.std(axis=1)
    score = (moved - moved.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)[:, None]
    skewness = (score * score * score).mean(axis=1)
    kurtosis = np.where(deviation > 0, (score * score * score * score).mean(axis=1) - 3, 0)
    order = [np.median(series, axis=1), series.min(axis=1), series.max(axis=1)]
    return np.concatenate([series.mean(axis=1), deviation, skewness, kurtosis, *order])


def fit(
    training: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray], candidates: Sequence[float]
) -> tuple[Pipeline, float]:
    """The RBF machine whose C is best on validation, the smallest of equals, and this C.

    Args:
        training, validation: features (tracks, features) and genres (tracks,); it learns from `training` only.
        candidates: values of C.

    Returns:
        a scikit-learn classifier that standardises features by itself, and its C
    """
    machines = {c: make_pipeline(StandardScaler(), SVC(C=c)).fit(*training) for c in sorted(candidates)}
    best = max(machines, key=lambda c: machines[c].score(*validation))
    return machines[best], best

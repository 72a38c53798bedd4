"""Reference implementations for the benchmark of the extraction: a lower bound, and the usual librosa code."""

import functools
import io
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import librosa
import numpy as np
import soundfile
from joblib import Parallel, delayed

from fma_genre.common.params import Spectrograms
from fma_genre.features.ffmpeg import FFmpeg

Clips = Sequence[zipfile.ZipInfo]


def floor(archive: Path, clips: Clips, processes: int, folder: Path) -> None:
    """Decompress and decode every clip, and discard the samples."""
    Parallel(n_jobs=processes, batch_size=1)(delayed(_floor)(archive, clip.filename) for clip in clips)


def recipe(archive: Path, clips: Clips, processes: int, folder: Path, settings: Spectrograms) -> None:
    """Unzip every clip, compute its levels with librosa, and save one .npy file per clip and representation."""
    tasks = (delayed(_recipe)(archive, clip.filename, folder, settings) for clip in clips)
    Parallel(n_jobs=processes, batch_size=1, backend="multiprocessing")(tasks)  # loky would suspect a memory leak


def decode_by_ffmpeg(data: bytes, seconds: float) -> None:
    """Decode the first `seconds` of a clip with FFmpeg, which extraction uses only if libsndfile fails."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        ffmpeg = FFmpeg(file.fileno())
        ffmpeg.read(seconds)
        ffmpeg.close()


def librosa_levels(samples: np.ndarray, settings: Spectrograms, floor_db: float | None) -> dict[str, np.ndarray]:
    """Mel and STFT levels by librosa, (bins, frames) in dB relative to the maximum.

    Args:
        floor_db: dB below the maximum at which levels are cut off; None for no limit.
    """
    rate, hop = settings.sample_rate, settings.hop
    mel, stft = settings.representations["mel"], settings.representations["stft"]
    power = librosa.feature.melspectrogram(y=samples, sr=rate, n_fft=mel["n_fft"], hop_length=hop, n_mels=mel["bands"])
    magnitude = np.abs(librosa.stft(samples, n_fft=stft["n_fft"], hop_length=hop))[1:]
    return {
        "mel": librosa.power_to_db(power, ref=np.max, amin=1e-30, top_db=floor_db),
        "stft": librosa.amplitude_to_db(magnitude, ref=np.max, amin=1e-15, top_db=floor_db),
    }


def opened(archive: Path) -> zipfile.ZipFile:
    """Open an archive once per process, since forked processes would share the position in the file."""
    return _opened(archive, os.getpid())


@functools.lru_cache(maxsize=1)
def _opened(archive: Path, process: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(archive)


def _floor(archive: Path, name: str) -> None:
    soundfile.read(io.BytesIO(opened(archive).read(name)), dtype="float32")


def _recipe(archive: Path, name: str, folder: Path, settings: Spectrograms) -> None:
    file = folder / Path(name).name
    file.write_bytes(opened(archive).read(name))
    samples, _ = librosa.load(file, sr=settings.sample_rate, duration=settings.seconds)
    for representation, levels in librosa_levels(samples, settings, settings.floor_db).items():
        np.save(file.with_suffix(f".{representation}.npy"), levels)

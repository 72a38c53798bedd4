"""Prediction of any audio file with a trained model, in the same way as the pipeline predicts clips.

A file is read in windows that are as long as the training clips, so that memory does not grow with the file. Levels
and samples are relative to the maximum of each window. The first window gets the same probabilities as a clip with
the same samples in `evaluate`. A window of digital silence has no vote: since levels are relative, a network would
find some genre even in silence.
"""

import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from fma_genre.common.documents import FILE_KINDS
from fma_genre.common.errors import InputError, printable
from fma_genre.common.schema import MAX_TEXT_LENGTH
from fma_genre.features import audio
from fma_genre.features.build import Representation, from_description
from fma_genre.features.conditions import band_end
from fma_genre.features.levels import quantised_levels
from fma_genre.features.sndfile import stderr_silenced
from fma_genre.features.waveform import WaveformEncoder
from fma_genre.learning import build, checkpoint
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import devices
from fma_genre.learning.inference import predict_runs
from fma_genre.results.predictions import PICTURE_FRAMES, thumbnail
from fma_genre.store import Description

FULL_BAND = 0.9  # a file is narrow if its band ends below this share of the band that the model was trained on
SILENCE = 2.0**-15  # largest standard deviation of a silent window: one step of 16-bit audio
PROCESS = os.getpid()  # the process that imported this module


class AudioFileError(InputError):
    """An audio file that does not exist or cannot be decoded."""


def load(folder: str | PathLike[str], device: str | torch.device | None = None) -> "Ensemble":
    """Load a trained model.

    Args:
        folder: the model's folder, e.g. models/promoted.
        device: the device that runs the networks; by default the first GPU, or the CPU if there is no GPU.

    Warns:
        UserWarning: the model was trained on the synthetic demo.

    Raises:
        InputError: the folder does not exist, or contains no trained model.
    """
    model = Ensemble(folder, device)
    if model.settings.store.synthetic:
        warnings.warn(f"{model.folder}: {model.description}", stacklevel=2)
    return model


@dataclass(frozen=True)
class FilePrediction:
    """Predictions for the segments of a file."""

    classes: tuple[str, ...]
    probabilities: np.ndarray  # (segments, classes): softmax averaged over the runs; all 0 for a silent window
    starts: np.ndarray  # (segments,): start of each segment in s
    seconds: float  # decoded duration in s
    missing: float  # duration in s that could not be decoded
    band: float  # Hz: upper end of the file's band, at most that of the model; 0 if the file is silent
    picture: np.ndarray  # (frames, bins): thumbnail of the spectrogram or waveform

    @property
    def silent(self) -> bool:
        """Return whether every window is silent."""
        return not self.probabilities.any()

    @property
    def genres(self) -> dict[str, float]:
        """Mean probability of each genre, most probable first; empty if the file is silent."""
        if self.silent:
            return {}
        has_vote = self.probabilities.any(axis=1)
        means = self.probabilities[has_vote].mean(axis=0)
        order = np.argsort(-means, kind="stable")
        return {self.classes[place]: float(means[place]) for place in order}


class Ensemble:
    """All networks of a trained model, one for each run. Threads may share an instance.

    A prediction is the mean of the networks' probabilities.
    """

    def __init__(self, folder: str | PathLike[str], device: str | torch.device | None = None) -> None:
        """Load the model; arguments and errors are those of `load`."""
        self.folder = _path(folder)
        _check_exists(self.folder)
        self.device = devices()[0] if device is None else torch.device(device)
        self.settings, front_end = checkpoint.load(self.folder)
        self.front_end = build.move(front_end, self.device)
        with torch.random.fork_rng(devices=[]):  # new networks draw weights; keep the caller's random state
            runs = [checkpoint.load_run(self.folder, self.settings, seed) for seed in self.settings.seeds]
        self.networks = [network.to(self.device) for network, _ in runs]
        self.representation = _representation(self.folder, self.settings.store)
        self.frequencies = np.array(self.settings.store.frequencies)

    @property
    def classes(self) -> tuple[str, ...]:
        """Genres that the model knows, in alphabetical order."""
        return self.settings.store.classes

    @property
    def description(self) -> str:
        """The name of the model and its training data, in one line."""
        store, name = self.settings.store, f"the model {self.settings.key}"
        if store.synthetic:
            return f"{name} was trained on the synthetic demo and knows nothing about music"
        return f"{name} was trained on {printable(store.dataset[:MAX_TEXT_LENGTH])}"

    @property
    def band(self) -> float:
        """Upper end of the band that the model was trained on in Hz; 0 if its bins are not frequencies."""
        return float(self.frequencies.max())

    def is_narrow(self, prediction: FilePrediction) -> bool:
        """Return whether a file's band is narrower than that of the training data, which makes errors more likely."""
        return not prediction.silent and prediction.band < FULL_BAND * self.band

    def __repr__(self) -> str:
        return f"<Ensemble: {self.description}>"

    def __call__(self, path: str | PathLike[str]) -> dict[str, float]:
        """Predict the genre of an audio file of any length.

        Returns:
            The probability of each genre, most probable first; empty if the file is silent.

        Raises:
            InputError: the file does not exist or cannot be decoded, or the model gives no probabilities.
        """
        return self.predict_file(path).genres

    def predict_file(self, path: str | PathLike[str]) -> FilePrediction:
        """Predict all segments of an audio file of any length.

        Raises:
            AudioFileError: the file does not exist or cannot be decoded.
            InputError: the model gives no probabilities.
        """
        path = _path(path)
        _limit_threads_after_fork()
        try:
            _check_file(path)
            return self._predict_windows(path)
        except (audio.UnreadableClipError, OSError) as error:
            raise AudioFileError(f"{path}: expected audio, found: {_reason(error)}") from error
        except InputError as error:
            raise InputError(f"{self.folder}: {error}") from error

    def _predict_windows(self, path: Path) -> FilePrediction:
        store = self.settings.store
        probabilities: list[np.ndarray] = []
        starts, pictures, seconds, missing, position, band = [], [], 0.0, 0.0, 0.0, 0.0
        for window in _quietly(audio.windows(path, store.sample_rate, store.seconds)):
            samples, start = window.samples, position
            position += window.length
            missing += window.length - len(samples) / store.sample_rate
            has_votes = any(votes.any() for votes in probabilities)
            if not self._is_long_enough(samples, has_votes):
                continue
            levels, window_band = self._encode(samples)
            votes, times = self._predict_window(samples, levels, start)
            probabilities.append(votes)
            starts.append(times)
            band = max(band, window_band if votes.any() else 0)
            duration = len(samples) / store.sample_rate
            width = max(1, round(PICTURE_FRAMES * duration / store.seconds))
            pictures.append(thumbnail(store.brightness(levels), width))
            seconds += duration
        return FilePrediction(
            classes=self.classes,
            probabilities=np.concatenate(probabilities),
            starts=np.concatenate(starts),
            seconds=seconds,
            missing=missing,
            band=band,
            picture=np.concatenate(pictures),
        )

    def _encode(self, samples: np.ndarray) -> tuple[np.ndarray, float]:
        """Stored levels (frames, bins) of a window, and the upper end of its band in Hz; 0 for a waveform."""
        if isinstance(self.representation, WaveformEncoder):
            return self.representation.levels(samples), 0.0
        power = self.representation.power(samples)
        assert self.settings.store.floor_db is not None
        return quantised_levels(power, self.settings.store.floor_db), band_end(power, self.frequencies)

    def _predict_window(self, samples: np.ndarray, levels: np.ndarray, start: float) -> tuple[np.ndarray, np.ndarray]:
        """Predict the segments of a window that begins at `start` seconds.

        Args:
            levels: stored levels of the window (frames, bins).

        Returns:
            Probabilities (segments, classes), or one row of zeros for silence; start of each segment in s (segments,).
        """
        store = self.settings.store
        if samples.std() <= SILENCE:
            return np.zeros((1, len(self.classes)), np.float32), np.array([start])
        clip = self._clip(levels)
        times = start + clip.even_segments()[1].cpu().numpy() * store.hop / store.sample_rate
        return self._predict_clip(clip), times

    def _is_long_enough(self, samples: np.ndarray, has_votes: bool) -> bool:
        """Return whether a window has at least one segment, or any sample if no window has a vote yet."""
        segment = self.settings.train.segment_frames * self.settings.store.hop
        return len(samples) >= (segment if has_votes else 1)

    def _clip(self, levels: np.ndarray) -> Clips:
        """A single clip of unknown genre, from its levels (frames, bins)."""
        first = torch.zeros(1, dtype=torch.int64, device=self.device)
        return Clips(
            description=self.settings.store,
            levels=torch.from_numpy(levels)[None].to(self.device),
            rows=first,
            lengths=first + len(levels),
            labels=first,
            segment_frames=self.settings.train.segment_frames,
            frequencies=torch.from_numpy(self.frequencies),
        )

    def _predict_clip(self, clip: Clips) -> np.ndarray:
        """Return the mean of the runs' probabilities (segments, classes)."""
        runs = predict_runs(self.networks, clip, self.front_end)
        return np.mean([run.probabilities.numpy() for run in runs], axis=0)


def _path(given: str | PathLike[str]) -> Path:
    """Expand ~ and ~user. If there is no such user, the path does not change."""
    path = Path(given)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _reason(error: Exception) -> str:
    """The message of an error, without the error number and the path."""
    return getattr(error, "strerror", None) or str(error)


def _check_exists(folder: Path) -> None:
    """Raise InputError if the folder does not exist or cannot be reached."""
    try:
        folder.stat()
    except OSError as error:
        found = f"{_reason(error)}; `make repro` in a checkout of fma-genre trains models"
        raise InputError(f"{folder}: cannot load the model: {found}") from None


def _check_file(path: Path) -> None:
    """Raise UnreadableClipError unless the path is a regular file: a pipe, for example, might never end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise audio.UnreadableClipError(FILE_KINDS.get(stat.S_IFMT(mode), "something else"))


def _limit_threads_after_fork() -> None:
    """Limit PyTorch to one thread in a forked process. With more, it would wait forever for the parent's threads."""
    if os.getpid() != PROCESS:
        torch.set_num_threads(1)


def _quietly(windows: Iterator[audio.Window]) -> Iterator[audio.Window]:
    """Yield the windows without the messages that C libraries print while decoding them.

    If other threads are running, the messages stay, since those threads may need standard error.
    """
    while True:
        with stderr_silenced() if threading.active_count() == 1 else nullcontext():
            window = next(windows, None)
        if window is None:
            return
        yield window


def _representation(folder: Path, store: Description) -> Representation | WaveformEncoder:
    """Return the representation that the model was trained on; raise InputError if its description is inconsistent."""
    try:
        representation = WaveformEncoder.of(store) if store.is_waveform else from_description(store)
    except InputError as error:
        raise InputError(f"{folder}: cannot load the model: {error}") from error
    if not np.array_equal(representation.frequencies(), store.frequencies):
        raise InputError(f"{folder}: expected frequencies that match its {store.representation} settings, found others")
    return representation

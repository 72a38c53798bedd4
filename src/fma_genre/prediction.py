"""A trained model applied to any audio file, as the pipeline evaluates clips.

A file is read in windows as long as the clips of the training, each relative to its own maximum, so that memory does
not grow with its length. The first window gives what `evaluate` gives for a clip. A window of digital silence casts no
vote: a network, which sees levels relative to the maximum, would name a genre all the same.
"""

import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fma_genre.common.documents import KINDS
from fma_genre.common.errors import InputError
from fma_genre.features import audio
from fma_genre.features.levels import quantised_levels
from fma_genre.features.representations import Representation, from_description
from fma_genre.learning import build, checkpoint
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import devices
from fma_genre.learning.inference import predict
from fma_genre.results.predictions import PICTURE_FRAMES, thumbnail
from fma_genre.store import Description

SILENCE = 2.0**-15  # of full scale: a window whose samples deviate less from their mean is silent; a bit of 16


@dataclass(frozen=True)
class FilePrediction:
    probabilities: np.ndarray  # (segments, classes): softmax averaged over the runs; all 0 for a silent window
    starts: np.ndarray  # (segments,), s
    seconds: float  # decoded
    missing: float  # s of the file that could not be decoded
    picture: np.ndarray  # (frames, bins): thumbnail of the spectrogram

    @property
    def silent(self) -> bool:
        """Whether no segment casts a vote."""
        return not self.probabilities.any()

    @property
    def shares(self) -> np.ndarray:
        """(classes,): the mean vote; raises ValueError if the file is silent."""
        if self.silent:
            raise ValueError("no votes on a silent file")
        return self.probabilities[self.probabilities.any(axis=1)].mean(axis=0)


class Ensemble:
    """All runs of a trained model."""

    def __init__(self, folder: Path) -> None:
        """Raise InputError if the folder is not a trained model's."""
        self.device = devices()[0]
        self.settings, front_end = checkpoint.load(folder)
        self.front_end = build.move(front_end, self.device)
        runs = [checkpoint.load_run(folder, self.settings, seed) for seed in self.settings.seeds]
        self.networks = [network.to(self.device) for network, _ in runs]
        self.representation = _representation(folder, self.settings.store)
        self.frequencies = np.array(self.settings.store.frequencies)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.settings.store.classes

    def predict_file(self, path: Path) -> FilePrediction:
        """Predict an audio file of any length.

        Raises:
            OSError: it cannot be opened.
            audio.UnreadableClipError: it is not audio.
            InputError: the model gives no probabilities.
        """
        _check_file(path)
        store = self.settings.store
        probabilities: list[np.ndarray] = []
        starts, pictures, seconds, missing, position = [], [], 0.0, 0.0, 0.0
        for window in audio.windows(path, store.sample_rate, store.seconds):
            samples, start = window.samples, position
            position += window.length
            missing += window.length - len(samples) / store.sample_rate
            if not self._is_long_enough(samples, first=not any(map(np.any, probabilities))):
                continue
            votes, times, levels = self._predict_window(samples, start)
            probabilities.append(votes)
            starts.append(times)
            duration = len(samples) / store.sample_rate
            pictures.append(thumbnail(levels, max(1, round(PICTURE_FRAMES * duration / store.seconds))))
            seconds += duration
        return FilePrediction(
            np.concatenate(probabilities), np.concatenate(starts), seconds, missing, np.concatenate(pictures)
        )

    def _predict_window(self, samples: np.ndarray, start: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Votes (segments, classes), times (segments,) in s, and levels (frames, bins); silence has one empty vote."""
        store = self.settings.store
        levels = quantised_levels(self.representation.power(samples), store.floor_db)
        if samples.std() <= SILENCE:
            return np.zeros((1, len(self.classes)), np.float32), np.array([start]), levels
        clip = self._clip(levels)
        times = start + clip.even_segments()[1].cpu().numpy() * store.hop / store.sample_rate
        return self._predict_clip(clip), times, levels

    def _is_long_enough(self, samples: np.ndarray, first: bool) -> bool:
        """Whether a window is to be predicted: at least a segment, unless nothing before it casts a vote."""
        return len(samples) >= (1 if first else self.settings.train.segment_frames * self.settings.store.hop)

    def _clip(self, levels: np.ndarray) -> Clips:
        """One clip of unknown genre, from its levels (frames, bins)."""
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
        """(segments, classes): the mean of the runs."""
        runs = [predict(network, clip, self.front_end).probabilities.numpy() for network in self.networks]
        return np.mean(runs, axis=0)


def _check_file(path: Path) -> None:
    """Raise UnreadableClipError for a pipe, which might never end, or anything else that is no file."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise audio.UnreadableClipError(KINDS.get(stat.S_IFMT(mode), "something else"))


def _representation(folder: Path, store: Description) -> Representation:
    """How the model's store turned clips into spectrograms; raises InputError if its description is contradictory."""
    try:
        representation = from_description(store)
    except InputError as error:
        raise InputError(f"{folder}: expected a trained model, found: {error}") from error
    if not np.array_equal(representation.frequencies(), store.frequencies):
        raise InputError(f"{folder}: expected the frequencies of its {store.representation} settings, found others")
    return representation

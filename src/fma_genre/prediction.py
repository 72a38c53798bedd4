"""A trained model applied to any audio file, as the pipeline evaluates clips.

A file is read in windows as long as the clips of the training, each relative to its own maximum, so that memory does
not grow with its length. The first window gives what `evaluate` gives for a clip.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

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


@dataclass(frozen=True)
class FilePrediction:
    probabilities: np.ndarray  # (segments, classes): softmax averaged over the runs
    starts: np.ndarray  # (segments,), s
    seconds: float  # duration
    picture: np.ndarray  # (frames, bins): thumbnail of the spectrogram


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
        """Raise OSError if the file cannot be opened, audio.UnreadableClipError if it is not audio."""
        store = self.settings.store
        probabilities, starts, pictures, seconds = [], [], [], 0.0
        for samples in self._windows(path):
            levels = quantised_levels(self.representation.power(samples), store.floor_db)
            clip = self._clip(levels)
            probabilities.append(self._predict_clip(clip))
            starts.append(seconds + clip.even_segments()[1].cpu().numpy() * store.hop / store.sample_rate)
            duration = len(samples) / store.sample_rate
            pictures.append(thumbnail(levels, max(1, round(PICTURE_FRAMES * duration / store.seconds))))
            seconds += duration
        if not seconds:
            raise audio.UnreadableClipError("no samples in it")
        return FilePrediction(np.concatenate(probabilities), np.concatenate(starts), seconds, np.concatenate(pictures))

    def _windows(self, path: Path) -> Iterator[np.ndarray]:
        """The file's samples, a window at a time; a rest shorter than a segment is left out, unless it is all."""
        store = self.settings.store
        for place, samples in enumerate(audio.windows(path, store.sample_rate, store.seconds)):
            if place == 0 or len(samples) >= self.settings.train.segment_frames * store.hop:
                yield samples

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


def _representation(folder: Path, store: Description) -> Representation:
    """How the model's store turned clips into spectrograms; raises InputError if its description is contradictory."""
    try:
        representation = from_description(store)
    except InputError as error:
        raise InputError(f"{folder}: expected a trained model, found: {error}") from error
    if not np.array_equal(representation.frequencies(), store.frequencies):
        raise InputError(f"{folder}: expected the frequencies of its {store.representation} settings, found others")
    return representation

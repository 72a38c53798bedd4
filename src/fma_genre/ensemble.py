"""A trained model's runs on any audio file, judged as the pipeline judges clips.

A file is taken in windows as long as the clips of the training, each relative to its own maximum, so that memory does
not grow with its length. The first window gives what `evaluate` finds for a clip.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fma_genre import audio, checkpoint
from fma_genre.device import devices
from fma_genre.frequencies import centres
from fma_genre.inference import predict
from fma_genre.plotting import FRAMES, pooled
from fma_genre.segments import Clips
from fma_genre.spectrogram import mel_filters, power, stored


@dataclass(frozen=True)
class Heard:
    """Of a file."""

    probabilities: np.ndarray  # (segments, classes): mean softmax of the runs
    starts: np.ndarray  # (segments,), s
    seconds: float  # that were heard
    picture: np.ndarray  # (frames, bins): its spectrogram, pooled


class Ensemble:
    def __init__(self, folder: Path) -> None:
        """Raises InputError if the folder is not a trained model's."""
        self.device = devices()[0]
        self.settings, normalisation = checkpoint.load(folder)
        self.normalisation = normalisation.to(self.device)
        runs = [checkpoint.load_run(folder, self.settings, seed) for seed in self.settings.seeds]
        self.networks = [network.to(self.device) for network, _ in runs]
        self.frequencies = centres(self.settings.input)
        given = self.settings.input
        mel = "bands" in given
        self.filters = mel_filters(given["sample_rate"], given["n_fft"], given["bands"]) if mel else None

    def hear(self, path: Path) -> Heard:
        """Raises OSError or audio.UnreadableClipError if the file cannot be opened or is not audio."""
        given = self.settings.input
        rate, window = given["sample_rate"], given["seconds"]
        probabilities, starts, pictures, seconds = [], [], [], 0.0
        for samples in audio.windows(path, rate, window):
            if seconds and len(samples) < given["segment_frames"] * given["hop"]:
                break  # the rest would be a segment by itself
            levels = stored(
                power(samples, given["hop"], given["floor_db"], given["n_fft"], self.filters), given["floor_db"]
            )
            clip = self._clip(levels)
            probabilities.append(self._vote(clip))
            starts.append(seconds + clip.even_segments()[1].cpu().numpy() * given["hop"] / rate)
            duration = len(samples) / rate
            pictures.append(pooled(levels, max(1, round(FRAMES * duration / window))))
            seconds += duration
        if not seconds:
            raise audio.UnreadableClipError("no samples in it")
        return Heard(np.concatenate(probabilities), np.concatenate(starts), seconds, np.concatenate(pictures))

    def _clip(self, levels: np.ndarray) -> Clips:
        """One clip of unknown genre, from its levels (frames, bins)."""
        first = torch.zeros(1, dtype=torch.int64, device=self.device)
        return Clips(
            torch.from_numpy(levels)[None].to(self.device), first, first + len(levels), first, self.settings.classes,
            self.settings.frames, torch.from_numpy(self.frequencies),
        )  # fmt: skip

    def _vote(self, clip: Clips) -> np.ndarray:
        """(segments, classes): the mean of the runs."""
        votes = [predict(network, clip, self.normalisation).probabilities.numpy() for network in self.networks]
        return np.mean(votes, axis=0)

"""Segments of stored spectrograms, cropped and standardised on the device that computes.

The rows stay there in 8 bits; only a batch at a time becomes float. A store that does not fit there stays in its
memory-mapped file, and only crops of it are copied. A clip shorter than a segment is repeated until it fills one, so
that a network never sees where it ended.
"""

import functools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fma_genre import store
from fma_genre.device import fits
from fma_genre.frequencies import centres, mels

MIN_COEFFICIENT = 0.001  # of standardised levels: one that hardly varies is not blown up either
MIN_DEVIATION = 16.0  # stored levels (6 dB): a bin that is empty, as above 4 kHz in 8 kHz audio, is not when shifted


@dataclass(frozen=True)
class Normalisation:
    """From stored levels to the input of a network: the smooth envelope of each frame's spectrum.

    Levels are standardised in every bin. Cosines over the mel scale describe them, as in MFCC whatever the
    representation; the lowest few coefficients are standardised as well, and turned back to bins.
    """

    mean: Tensor  # (bins,) of levels
    analysis: Tensor  # (bins, coefficients): levels less their mean to standardised coefficients
    synthesis: Tensor  # (coefficients, bins)

    def coefficients(self, levels: Tensor) -> Tensor:
        """(…, frames, bins) of stored levels to (…, frames, coefficients), each with mean 0 and deviation 1."""
        return levels.float() @ self.analysis - self.mean @ self.analysis

    def shifted_coefficients(self, parts: Sequence[Tensor], taken: Tensor) -> Tensor:
        """The coefficients of all `parts` (segments, frames, bins), the bins of each moved in its own way.

        Args:
            taken: for each part and bin (parts, bins), the bin whose levels take its place. Rows of `analysis` are
                moved instead of levels: as good, at no cost.
        """
        count, bins = taken.shape
        places = taken + bins * torch.arange(count, device=taken.device)[:, None]
        moved = self.analysis.new_zeros(count * bins, self.analysis.shape[1])
        moved.index_add_(0, places.flatten(), self.analysis.repeat(count, 1))
        products = [part.float() @ analysis for part, analysis in zip(parts, moved.split(bins), strict=True)]
        return torch.cat(products) - self.mean @ self.analysis

    def spectra(self, coefficients: Tensor) -> Tensor:
        """(…, frames, coefficients) to a network's input (…, frames, bins)."""
        return coefficients @ self.synthesis

    def __call__(self, levels: Tensor) -> Tensor:
        """(…, frames, bins) of stored levels to a network's input."""
        return self.spectra(self.coefficients(levels))

    def to(self, device: torch.device) -> "Normalisation":
        return Normalisation(self.mean.to(device), self.analysis.to(device), self.synthesis.to(device))


@dataclass(frozen=True)
class Clips:
    """Some tracks of a store, e.g. those of a split. What is computed from them is on the device of `labels`."""

    levels: Tensor  # (stored tracks, frames, bins) uint8: the whole store, there too or in the memory of the CPU
    rows: Tensor  # (tracks,) int64: where in the store each track is
    lengths: Tensor  # (tracks,) int64: frames that the clip fills
    labels: Tensor  # (tracks,) int64: position of the genre among the classes
    classes: list[str]  # all genres of the store, sorted
    segment: int  # frames
    frequencies: Tensor  # (bins,) Hz

    @classmethod
    def load(cls, folder: Path, representation: Mapping[str, Any], device: torch.device) -> dict[str, "Clips"]:
        """The tracks of each split of the store in `folder`, with all of it on the device if there is room.

        Args:
            representation: what `params.representation` gives.
        """
        index = store.read_index(folder / "index.csv")
        path = folder / f"{representation['representation']}.npy"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*not writable.*", UserWarning)  # nothing writes to it
            levels = torch.from_numpy(store.rows(path))
        if fits(levels.nbytes, device):
            levels = levels.to(device)
        else:
            _say(f"{path}: {levels.nbytes / 1e9:.1f} GB do not fit on {device}, so segments are read from the file")
        classes = sorted(index["genre"].unique())
        labels = pd.Index(classes).get_indexer(pd.Index(index["genre"]))
        columns = (index["row"].to_numpy(), index["frames"].to_numpy(), labels, centres(representation))
        rows, lengths, genres, frequencies = (torch.tensor(column, device=device) for column in columns)
        whole = cls(levels, rows, lengths, genres, classes, representation["segment_frames"], frequencies)
        splits = {str(split): torch.tensor(rows) for split, rows in index.groupby("split").indices.items()}
        return {split: whole.of(rows.to(device)) for split, rows in splits.items()}

    def of(self, tracks: Tensor) -> "Clips":
        """Only the tracks at some positions (tracks,)."""
        return replace(self, rows=self.rows[tracks], lengths=self.lengths[tracks], labels=self.labels[tracks])

    def crop(self, tracks: Tensor, starts: Tensor) -> Tensor:
        """The segments of `tracks` (segments,) that begin at frame `starts` (segments,).

        Returns:
            (segments, frames, bins) uint8
        """
        offsets = torch.arange(self.segment, device=starts.device)
        frames = (starts[:, None] + offsets) % self.lengths[tracks, None]
        _, length, bins = self.levels.shape
        places = (self.rows[tracks, None] * length + frames).flatten().to(self.levels.device)
        levels = self.levels.flatten(0, 1).index_select(0, places)  # faster than an index for each dimension
        return levels.to(self.labels.device).reshape(*frames.shape, bins)

    def random_starts(self, tracks: Tensor) -> Tensor:
        """A start for a segment of each of `tracks` (segments,), uniform over those that lie in its clip."""
        last = (self.lengths[tracks] - self.segment).clamp(min=0)
        return (torch.rand(len(tracks), device=last.device) * (last + 1)).long().clamp(max=last)

    def even_segments(self) -> tuple[Tensor, Tensor]:
        """Segments that cover all of each clip evenly, as few as that takes.

        Returns:
            tracks (segments,) in ascending order, starts (segments,)
        """
        lengths = self.lengths.cpu().numpy()
        counts = np.ceil(lengths / self.segment).astype(int)
        starts = [
            np.linspace(0, max(0, length - self.segment), count).astype(int)
            for length, count in zip(lengths, counts, strict=True)
        ]
        tracks = np.repeat(np.arange(len(lengths)), counts)
        device = self.labels.device
        return torch.from_numpy(tracks).to(device), torch.from_numpy(np.concatenate(starts)).to(device)

    def normalisation(self, coefficients: int, chunk: int = 64) -> Normalisation:
        """Of all frames that clips fill, with at most as many `coefficients` as there are bins."""
        bins = self.levels.shape[2]
        total = torch.zeros(bins, dtype=torch.int64, device=self.labels.device)
        squares = total.clone()
        for levels, _ in self._filled(chunk):  # what follows a clip's frames is 0 and adds nothing
            total += levels.sum(dim=(0, 1), dtype=torch.int64)
            squares += levels.int().square().sum(dim=(0, 1), dtype=torch.int64)
        count = self.lengths.sum().double()
        mean = total.double() / count
        deviation = (squares.double() / count - mean.square()).clamp(min=0).sqrt().clamp(min=MIN_DEVIATION)
        cosines, weights = (part.to(total.device) for part in _cosines(self.frequencies, min(coefficients, bins)))
        analysis = (cosines * weights / deviation).T.float().contiguous()  # (bins, coefficients)
        synthesis = (cosines / cosines.square().sum(dim=0).mean().sqrt()).float()
        raw = Normalisation(mean.float(), analysis, synthesis)
        power = torch.zeros(len(cosines), dtype=torch.float64, device=total.device)
        for levels, filled in self._filled(chunk):
            power += raw.coefficients(levels)[filled].double().square().sum(dim=0)
        scale = (power / count).sqrt().clamp(min=MIN_COEFFICIENT).float()
        return replace(raw, analysis=analysis / scale)

    def _filled(self, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
        """`chunk` tracks at a time: (tracks, frames, bins) of levels, and which frames clips fill (tracks, frames)."""
        frames = torch.arange(self.levels.shape[1], device=self.labels.device)
        for rows, lengths in zip(self.rows.split(chunk), self.lengths.split(chunk), strict=True):
            yield self.levels[rows.to(self.levels.device)].to(frames.device), frames < lengths[:, None]


@functools.cache
def _say(line: str) -> None:
    """Prints a line, once for all runs of a process."""
    print(line, flush=True)


def _cosines(frequencies: Tensor, coefficients: int) -> tuple[Tensor, Tensor]:
    """Half waves over the mel scale, (coefficients, bins) float64, and each bin's share of the scale (bins,)."""
    position = mels(frequencies.cpu().numpy())
    share = np.gradient(position)
    place = torch.from_numpy((np.cumsum(share) - share / 2) / share.sum())  # 0 … 1
    return (torch.arange(coefficients)[:, None] * place * math.pi).cos(), torch.from_numpy(share / share.sum())

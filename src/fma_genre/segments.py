"""Segments of stored spectrograms, cropped and standardised on the device that computes.

The rows stay there in 8 bits; only a batch at a time becomes float. A clip shorter than a segment is repeated
until it fills one, so that a network never sees where it ended.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fma_genre import store

MIN_DEVIATION = 1.0  # stored levels: a bin that hardly varies is not blown up to noise


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of every bin, in stored levels."""

    mean: Tensor  # (bins,)
    deviation: Tensor  # (bins,)

    def to(self, device: torch.device) -> "Normalisation":
        return Normalisation(self.mean.to(device), self.deviation.to(device))


@dataclass(frozen=True)
class Clips:
    """Some tracks of a store, e.g. those of a split, on the device of `levels`."""

    levels: Tensor  # (stored tracks, frames, bins) uint8: the whole store
    rows: Tensor  # (tracks,) int64: where in the store each track is
    lengths: Tensor  # (tracks,) int64: frames that the clip fills
    labels: Tensor  # (tracks,) int64: position of the genre among the classes
    classes: list[str]  # all genres of the store, sorted
    segment: int  # frames

    @classmethod
    def of(cls, index: pd.DataFrame, levels: Tensor, classes: list[str], segment: int) -> "Clips":
        """The tracks of `index`, lines of a store's index."""
        labels = pd.Index(classes).get_indexer(pd.Index(index["genre"]))
        columns = (index["row"].to_numpy(), index["frames"].to_numpy(), labels)
        rows, lengths, genres = (torch.tensor(column, device=levels.device) for column in columns)
        return cls(levels, rows, lengths, genres, classes, segment)

    @classmethod
    def load(cls, folder: Path, representation: str, segment: int, device: torch.device) -> dict[str, "Clips"]:
        """The tracks of each split of the store in `folder`, with all of it on the device."""
        index = store.read_index(folder / "index.csv")
        levels = torch.from_numpy(store.rows(folder / f"{representation}.npy")).to(device)
        classes = sorted(index["genre"].unique())
        return {str(split): cls.of(rows, levels, classes, segment) for split, rows in index.groupby("split")}

    def crop(self, tracks: Tensor, starts: Tensor) -> Tensor:
        """The segments of `tracks` (segments,) that begin at frame `starts` (segments,).

        Returns:
            (segments, frames, bins) uint8
        """
        offsets = torch.arange(self.segment, device=starts.device)
        frames = (starts[:, None] + offsets) % self.lengths[tracks, None]
        return self.levels[self.rows[tracks, None], frames]

    def random_starts(self, tracks: Tensor, generator: torch.Generator) -> Tensor:
        """A start for a segment of each of `tracks` (segments,), uniform over those that lie in its clip."""
        last = (self.lengths[tracks] - self.segment).clamp(min=0)
        uniform = torch.rand(len(tracks), generator=generator).to(last.device)
        return (uniform * (last + 1)).long().clamp(max=last)

    def even_segments(self) -> tuple[Tensor, Tensor]:
        """Segments that cover each clip evenly, as many as fit in it to the nearest whole number, at least one.

        Returns:
            tracks (segments,) in ascending order, starts (segments,)
        """
        lengths = self.lengths.cpu().numpy()
        counts = np.maximum(1, np.floor(lengths / self.segment + 0.5).astype(int))
        starts = [
            np.linspace(0, max(0, length - self.segment), count).astype(int)
            for length, count in zip(lengths, counts, strict=True)
        ]
        tracks = np.repeat(np.arange(len(lengths)), counts)
        device = self.levels.device
        return torch.from_numpy(tracks).to(device), torch.from_numpy(np.concatenate(starts)).to(device)

    def normalisation(self, chunk: int = 64) -> Normalisation:
        """Of all frames that clips fill. Whole-number sums: exact, whatever the order or the device."""
        total = torch.zeros(self.levels.shape[2], dtype=torch.int64, device=self.levels.device)
        squares = total.clone()
        for rows in self.rows.split(chunk):
            levels = self.levels[rows]  # what follows a clip's frames is 0 and adds nothing
            total += levels.sum(dim=(0, 1), dtype=torch.int64)
            squares += levels.int().square().sum(dim=(0, 1), dtype=torch.int64)
        count = self.lengths.sum().double()
        mean = total.double() / count
        deviation = (squares.double() / count - mean.square()).clamp(min=0).sqrt()
        return Normalisation(mean.float(), deviation.clamp(min=MIN_DEVIATION).float())


def standardise(levels: Tensor, normalisation: Normalisation) -> Tensor:
    """(segments, frames, bins) uint8 to float32 with mean 0 and deviation 1 in every bin."""
    return (levels.float() - normalisation.mean) / normalisation.deviation


def batches(order: Tensor, size: int) -> Iterator[Tensor]:
    """Splits `order` (segments,) evenly into batches of `size` or a little more; none is a lone remainder."""
    yield from order.tensor_split(max(1, len(order) // size))

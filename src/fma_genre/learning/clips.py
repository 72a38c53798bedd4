"""Clips of a store, and segments cropped from them on the device that computes.

Levels stay there in 8 bits; only a batch at a time becomes float. A store that does not fit stays in its memory-mapped
file, and only crops of it are copied. A clip shorter than a segment is repeated until it fills one, so that a network
never sees where it ended.
"""

import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fma_genre.learning.device import fits
from fma_genre.store import Description, Store

CHUNK = 64  # clips read at a time for statistics


@dataclass(frozen=True)
class Statistics:
    """Statistics of stored levels in every bin, over all frames that clips fill."""

    frames: Tensor  # how many
    mean: Tensor  # (bins,) float64
    deviation: Tensor  # (bins,) float64


@dataclass(frozen=True)
class Clips:
    """Some tracks of a store, e.g. those of a split. Results are on the device of `labels`."""

    description: Description
    levels: Tensor  # (stored tracks, frames, bins) uint8: the whole store, on that device or on the CPU
    rows: Tensor  # (tracks,) int64: where in the store each track is
    lengths: Tensor  # (tracks,) int64: frames that the clip fills
    labels: Tensor  # (tracks,) int64: position of the genre among the classes
    segment_frames: int
    frequencies: Tensor  # (bins,) Hz

    @classmethod
    def load(cls, store: Store, segment_frames: int, device: torch.device) -> dict[str, "Clips"]:
        """The used tracks of each split, with the whole store on the device if there is room."""
        used, description = store.used, store.description
        labels = pd.Index(description.classes).get_indexer(pd.Index(used["genre"]))
        columns = (used.index.to_numpy(), used["frames"].to_numpy(), labels, np.array(description.frequencies))
        rows, lengths, genres, frequencies = (torch.tensor(column, device=device) for column in columns)
        levels = _load_levels(store, device)
        clips = cls(description, levels, rows, lengths, genres, segment_frames, frequencies)
        splits = {str(split): torch.tensor(places) for split, places in used.groupby("split").indices.items()}
        return {split: clips.subset(places.to(device)) for split, places in splits.items()}

    @property
    def classes(self) -> tuple[str, ...]:
        """All genres of the store, sorted."""
        return self.description.classes

    def subset(self, tracks: Tensor) -> "Clips":
        """The tracks at some positions (tracks,)."""
        return replace(self, rows=self.rows[tracks], lengths=self.lengths[tracks], labels=self.labels[tracks])

    def crop(self, tracks: Tensor, starts: Tensor) -> Tensor:
        """The segments of `tracks` (segments,) that begin at frame `starts` (segments,).

        Returns:
            (segments, frames, bins) uint8
        """
        offsets = torch.arange(self.segment_frames, device=starts.device)
        frames = (starts[:, None] + offsets) % self.lengths[tracks, None]
        _, length, bins = self.levels.shape
        places = (self.rows[tracks, None] * length + frames).flatten().to(self.levels.device)
        levels = self.levels.flatten(0, 1).index_select(0, places)  # faster than an index for each dimension
        return levels.to(self.labels.device).reshape(*frames.shape, bins)

    def random_starts(self, tracks: Tensor) -> Tensor:
        """A start for a segment of each of `tracks` (segments,), uniform over those that lie in its clip."""
        last = (self.lengths[tracks] - self.segment_frames).clamp(min=0)
        return (torch.rand(len(tracks), device=last.device) * (last + 1)).long().clamp(max=last)

    def even_segments(self) -> tuple[Tensor, Tensor]:
        """Evenly spread segments that cover all of each clip, as few as that takes.

        Returns:
            tracks (segments,) in ascending order, starts (segments,) in frames
        """
        lengths = self.lengths.cpu().numpy()
        counts = np.ceil(lengths / self.segment_frames).astype(int)
        starts = [
            np.linspace(0, max(0, length - self.segment_frames), count).astype(int)
            for length, count in zip(lengths, counts, strict=True)
        ]
        tracks = np.repeat(np.arange(len(lengths)), counts)
        device = self.labels.device
        return torch.from_numpy(tracks).to(device), torch.from_numpy(np.concatenate(starts)).to(device)

    def statistics(self) -> Statistics:
        """Mean and deviation of the levels in every bin."""
        total = torch.zeros(self.levels.shape[2], dtype=torch.int64, device=self.labels.device)
        squares = total.clone()
        for levels, _ in self.filled_frames():  # the rest of a row is 0 and adds nothing
            total += levels.sum(dim=(0, 1), dtype=torch.int64)
            squares += levels.int().square().sum(dim=(0, 1), dtype=torch.int64)
        frames = self.lengths.sum().double()
        mean = total.double() / frames
        deviation = (squares.double() / frames - mean.square()).clamp(min=0).sqrt()
        return Statistics(frames, mean, deviation)

    def filled_frames(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All levels, some tracks at a time: (tracks, frames, bins), and which frames clips fill (tracks, frames)."""
        frames = torch.arange(self.levels.shape[1], device=self.labels.device)
        for rows, lengths in zip(self.rows.split(CHUNK), self.lengths.split(CHUNK), strict=True):
            yield self.levels[rows.to(self.levels.device)].to(frames.device), frames < lengths[:, None]


def _load_levels(store: Store, device: torch.device) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*not writable.*", UserWarning)  # nothing writes to it
        levels = torch.from_numpy(store.levels)
    if fits(levels.nbytes, device):
        return levels.to(device)
    size = f"{levels.nbytes / 1e9:.1f} GB"
    _print_once(f"{store.folder}: {size} do not fit on {device}, so segments are read from the file")
    return levels


@functools.cache
def _print_once(line: str) -> None:
    """Print a line once, not for every run of a process."""
    print(line, flush=True)

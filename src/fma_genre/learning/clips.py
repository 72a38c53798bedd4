"""Clips of a store, and the segments that are cropped from them.

The levels are kept on the device that runs the network, as 8-bit integers. Only a few batches at a time are converted
to float. If the levels do not fit on the device, they stay in their memory-mapped file, and only the segments are
copied. A clip shorter than a segment is repeated until it fills one, so that a network never sees padding.
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

CHUNK = 64  # clips that `all_frames` reads at a time


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of the stored levels of each bin, over all filled frames."""

    frames: Tensor  # number of filled frames, () float64
    mean: Tensor  # (bins,) float64
    deviation: Tensor  # standard deviation, (bins,) float64


@dataclass(frozen=True)
class Clips:
    """Tracks of a store, e.g. all tracks of one split. All methods return tensors on the device of `labels`."""

    description: Description
    levels: Tensor  # (stored tracks, frames, bins) uint8: the whole store, on the device of `labels` or on the CPU
    rows: Tensor  # (tracks,) int64: row of each track in `levels`
    lengths: Tensor  # (tracks,) int64: number of frames that the clip fills in its row
    labels: Tensor  # (tracks,) int64: position of the track's genre in `classes`
    segment_frames: int
    frequencies: Tensor  # (bins,) Hz

    @classmethod
    def load(cls, store: Store, segment_frames: int, device: torch.device) -> dict[str, "Clips"]:
        """Load the used tracks, and return the clips of each split by the name of the split."""
        used, description = store.used, store.description
        labels = pd.Index(description.classes).get_indexer(pd.Index(used["genre"]))
        clips = cls(
            description=description,
            levels=_load_levels(store, device),
            rows=torch.tensor(used.index.to_numpy(), device=device),
            lengths=torch.tensor(used["frames"].to_numpy(), device=device),
            labels=torch.tensor(labels, device=device),
            segment_frames=segment_frames,
            frequencies=torch.tensor(np.array(description.frequencies), device=device),
        )
        splits = used.groupby("split").indices
        return {str(split): clips.subset(torch.tensor(tracks).to(device)) for split, tracks in splits.items()}

    @property
    def classes(self) -> tuple[str, ...]:
        """All genres of the store, in alphabetical order."""
        return self.description.classes

    def subset(self, tracks: Tensor) -> "Clips":
        """Select the tracks at these positions (tracks,)."""
        return replace(self, rows=self.rows[tracks], lengths=self.lengths[tracks], labels=self.labels[tracks])

    def crop(self, tracks: Tensor, starts: Tensor) -> Tensor:
        """Crop segments from clips. A segment that exceeds the end of its clip continues at the clip's beginning.

        Args:
            tracks: positions of tracks (segments,).
            starts: first frame of each segment (segments,).

        Returns:
            (segments, frames, bins) uint8
        """
        offsets = torch.arange(self.segment_frames, device=starts.device)
        frames = (starts[:, None] + offsets) % self.lengths[tracks, None]
        _, length, bins = self.levels.shape
        flat_frames = (self.rows[tracks, None] * length + frames).flatten().to(self.levels.device)
        levels = self.levels.flatten(0, 1).index_select(0, flat_frames)  # faster than indexing both dimensions
        return levels.to(self.labels.device).reshape(*frames.shape, bins)

    def random_starts(self, tracks: Tensor) -> Tensor:
        """Draw the first frame of a random segment for each of `tracks` (segments,).

        All segments inside the clip are equally probable. A clip shorter than a segment gets frame 0.
        """
        last = (self.lengths[tracks] - self.segment_frames).clamp(min=0)
        return (torch.rand(len(tracks), device=last.device) * (last + 1)).long().clamp(max=last)

    def even_segments(self) -> tuple[Tensor, Tensor]:
        """Split every clip into the fewest evenly spaced segments that cover it completely.

        Returns:
            position of each segment's track (segments,), ascending, and first frame of each segment (segments,)
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
        """Compute the mean and the standard deviation of each bin."""
        total = torch.zeros(self.levels.shape[2], dtype=torch.int64, device=self.labels.device)
        squares = total.clone()
        for levels, _ in self.all_frames():  # unfilled frames contain 0 and add nothing
            total += levels.sum(dim=(0, 1), dtype=torch.int64)
            squares += levels.int().square().sum(dim=(0, 1), dtype=torch.int64)
        frames = self.lengths.sum().double()
        mean = total.double() / frames
        deviation = (squares.double() / frames - mean.square()).clamp(min=0).sqrt()
        return Statistics(frames, mean, deviation)

    def all_frames(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the levels of a few tracks at a time.

        Yields:
            levels (tracks, frames, bins) uint8, and whether the clip fills each frame (tracks, frames) bool
        """
        frames = torch.arange(self.levels.shape[1], device=self.labels.device)
        for rows, lengths in zip(self.rows.split(CHUNK), self.lengths.split(CHUNK), strict=True):
            yield self.levels[rows.to(self.levels.device)].to(frames.device), frames < lengths[:, None]


def _load_levels(store: Store, device: torch.device) -> Tensor:
    """Copy the levels to the device if they fit there; otherwise return the memory map."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*not writable.*", UserWarning)  # `levels` is only read
        levels = torch.from_numpy(store.levels)
    if fits(levels.nbytes, device):
        return levels.to(device)
    size = f"{levels.nbytes / 1e9:.1f} GB"
    _print_once(f"{store.folder}: {size} of spectrograms do not fit on {device}; segments are read from the file")
    return levels


@functools.cache
def _print_once(line: str) -> None:
    """Print a line only once per process, even if the process trains several runs."""
    print(line, flush=True)

"""Clips of a store, and the segments that are cropped from them.

The levels are kept as 8-bit integers on the device that runs the network. Only a few batches at a time are converted to
float. Levels that take more than a pool, about a gigabyte, stay in their file unless they fit on a GPU. From there they
are read one pool at a time, while the network works on the pool before. The order of the tracks depends on the size of
the data set alone. On the same device, results are therefore the same whether the levels fit in memory or not.

A clip shorter than a segment is repeated until it fills one, so that a network never sees padding.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fma_genre.learning.device import fits
from fma_genre.store import LEVELS, Description, Store, read_rows

POOL = 2**30  # largest number of bytes of the levels in a pool
BLOCK = 32  # neighbouring tracks that are read together
EXACT = 256  # a number of squared levels whose sum has no rounding error in float32


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of the stored levels of each bin, over all filled frames."""

    mean: Tensor  # (bins,) float64
    deviation: Tensor  # (bins,) float64


@dataclass(frozen=True)
class Clips:
    """Tracks of a store, e.g. all tracks of one split. All methods return tensors on the device of `labels`."""

    description: Description
    levels: Tensor  # (stored tracks, frames, bins) uint8; on the device "meta", which has no memory, if `file` has them
    rows: Tensor  # (tracks,) int64: row of each track in `levels`
    lengths: Tensor  # (tracks,) int64: number of frames that the clip fills in its row
    labels: Tensor  # (tracks,) int64: position of the track's genre in `classes`
    segment_frames: int
    frequencies: Tensor  # (bins,) Hz
    file: Path | None = None  # file of the levels, until `read` has read them

    @classmethod
    def load(cls, store: Store, split: str, segment_frames: int, device: torch.device) -> "Clips":
        """Load the used tracks of a split. Their levels are read if they take one pool, or fit on a GPU."""
        tracks, description = store.tracks(split), store.description
        labels = pd.Index(description.classes).get_indexer(pd.Index(tracks["genre"]))
        clips = cls(
            description=description,
            levels=torch.empty(store.levels.shape, dtype=torch.uint8, device="meta"),
            rows=torch.tensor(tracks.index.to_numpy(), device=device),
            lengths=torch.tensor(tracks["frames"].to_numpy(), device=device),
            labels=torch.tensor(labels, device=device),
            segment_frames=segment_frames,
            frequencies=torch.tensor(np.array(description.frequencies), device=device),
            file=store.folder / LEVELS,
        )
        size = len(tracks) * track_bytes(store)
        if size <= POOL or fits(size, device):
            return clips.read(torch.arange(len(tracks), device=device))
        if device.type != "cpu":
            print(f"{clips.file}: {size / 1e9:.1f} GB of the split {split} do not fit on {device}", flush=True)
        return clips

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
        flat_frames = (self.rows[tracks, None] * length + frames).flatten()
        levels = self.levels.flatten(0, 1).index_select(0, flat_frames)  # faster than indexing both dimensions
        return levels.reshape(*frames.shape, bins)

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

    def read(self, tracks: Tensor) -> "Clips":
        """Select the tracks at these positions (tracks,). If their levels are in the file, read them into memory."""
        chosen = self.subset(tracks)
        if self.file is None:
            return chosen
        device, shape = self.labels.device, (len(tracks), *self.levels.shape[1:])
        levels = torch.empty(shape, dtype=torch.uint8, device=device)
        for rows, block in zip(chosen.rows.cpu().split(BLOCK), levels.split(BLOCK), strict=True):
            block.copy_(torch.from_numpy(read_rows(self.file, rows.numpy())))
        return replace(chosen, levels=levels, rows=torch.arange(len(tracks), device=device), file=None)

    def parts(self) -> Iterator["Clips"]:
        """Yield all tracks in order, one pool at a time, with their levels in memory."""
        tracks = torch.arange(len(self.labels), device=self.labels.device)
        return self._read_ahead(tracks.split(self.pool_sizes()))

    def pools(self) -> Iterator["Clips"]:
        """Yield all tracks, one pool at a time, with their levels in memory.

        If there are several pools, each has random blocks of neighbouring tracks.
        """
        sizes, tracks = self.pool_sizes(), torch.arange(len(self.labels), device=self.labels.device)
        if len(sizes) > 1:
            blocks = tracks.split(BLOCK)
            tracks = torch.cat([blocks[block] for block in torch.randperm(len(blocks)).tolist()])
        return self._read_ahead([pool.sort()[0] for pool in tracks.split(sizes)])

    def pool_sizes(self) -> list[int]:
        """Number of tracks in each pool."""
        return pool_sizes(len(self.labels), self.levels[0].numel())

    def _read_ahead(self, pools: Sequence[Tensor]) -> Iterator["Clips"]:
        """Yield the tracks at these positions (tracks,) of each pool, while a thread reads the next pool.

        Callers should delete a pool before they ask for the next one. Otherwise, three are in memory for a while.
        """
        if self.file is None:
            yield from map(self.subset, pools)
            return
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self.read, pools[0])
            for pool in pools[1:]:
                clips, ahead = ahead.result(), reader.submit(self.read, pool)
                yield clips
                del clips
            yield ahead.result()

    def moments(self) -> Moments:
        """Compute mean and standard deviation of each bin, without rounding errors in the sums."""
        total = torch.zeros(self.levels.shape[2], dtype=torch.float64, device=self.labels.device)
        squares = total.clone()
        for levels in self.frames():
            total += levels.sum(dim=0)
            squares += levels.square().sum(dim=0)
        frames = self.lengths.sum().double()
        mean = total / frames
        return Moments(mean, (squares / frames - mean.square()).clamp(min=0).sqrt())

    def frames(self) -> Iterator[Tensor]:
        """Yield all filled frames in order, as float32 (at most EXACT frames, bins), in one pass over the file."""
        for part in self.parts():
            for row, length in zip(part.rows.tolist(), part.lengths.tolist(), strict=True):
                yield from part.levels[row, :length].float().split(EXACT)
            del part  # frees its memory before the next but one is read


def pool_sizes(tracks: int, size: int) -> list[int]:
    """Number of tracks in each pool, as equal as possible.

    Args:
        tracks: number of tracks in all pools.
        size: size of the levels of a track in bytes.
    """
    pools = min(tracks, max(1, math.ceil(tracks * size / POOL)))
    return [len(pool) for pool in torch.arange(tracks).tensor_split(pools)]


def track_bytes(store: Store) -> int:
    """Size of the levels of a track in bytes."""
    return math.prod(store.levels.shape[1:])

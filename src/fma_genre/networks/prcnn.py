"""Parallel CNN and bidirectional GRU (PRCNN) of Feng et al. 2017 (arXiv 1712.08370).

The layers and their sizes are those of the paper (section 3, figure 1). Where the paper contradicts itself, both
readings can be chosen: the kernels are 3 × 1 (frames × bins) in its text and 3 × 3 in its figure. One GRU layer is
used, as in section 4.3; section 3.2 has two. The paper does not say which states of the GRU are its features, here the
last ones, nor how the network was trained. It mentions no batch norm, and there is none here: the CNN learns without
it, if more slowly, and its size is the published one.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from fma_genre.common.schema import Range
from fma_genre.learning.layers import Dropout, RecurrentBranch, Width


@dataclass(frozen=True)
class Arguments:
    branches: Literal["both", "cnn"]  # with `cnn`, the recurrent branch and its three sizes below have no effect
    channels: tuple[Width, ...]  # output channels of each convolution block
    pools: tuple[Width, ...]  # frames, and also bins, that the max pooling of each block merges into one
    kernel: tuple[Annotated[int, Range(1, 2**10)], ...]  # frames and bins, both odd
    pool: Width  # neighbouring bins that max pooling merges into one in the recurrent branch
    embedding: Width  # units of the linear layer before the GRU
    hidden: Width  # GRU units per direction
    dropout: Dropout


class Network(nn.Module):
    """A 2-D CNN and a bidirectional GRU side by side; the last layer sees the features of both."""

    def __init__(self, arguments: Arguments, *, bins: int, frames: int, classes: int) -> None:
        super().__init__()
        height, width = pooled_size(arguments, bins=bins, frames=frames)
        self.cnn = nn.Sequential(*_blocks(arguments), nn.Flatten())
        self.rnn: nn.Module | None = None
        features = arguments.channels[-1] * height * width
        if arguments.branches == "both":
            pool, embedding, hidden = arguments.pool, arguments.embedding, arguments.hidden
            self.rnn = RecurrentBranch(bins=bins, frames=frames, pool=pool, embedding=embedding, hidden=hidden)
            features += 2 * arguments.hidden
        self.head = nn.Sequential(nn.Dropout(arguments.dropout), nn.Linear(features, classes))

    def features(self, segments: Tensor) -> Tensor:
        """Compute the features of both branches (segments, features) from segments (segments, frames, bins)."""
        # A view with the channel as last dimension in memory halves the time on a CPU, compared with `unsqueeze(1)`.
        x = segments.unsqueeze(3).movedim(3, 1)  # (segments, 1, frames, bins)
        x = self.cnn(x)  # (segments, channels[-1] · pooled frames · pooled bins)
        if self.rnn is None:
            return x
        return torch.cat([x, self.rnn(segments)], dim=1)  # 2 · hidden more features

    def forward(self, segments: Tensor) -> Tensor:
        """Compute logits (segments, classes) from segments (segments, frames, bins)."""
        return self.head(self.features(segments))


def pooled_size(arguments: Arguments, *, bins: int, frames: int) -> tuple[int, int]:
    """Return the numbers of frames and bins that are left after all blocks of the CNN.

    Raises:
        ValueError: no frame or bin is left, the numbers of pools and channels differ, or the kernel is not a pair of
            odd numbers.
    """
    channels, pools, kernel = arguments.channels, arguments.pools, arguments.kernel
    if len(kernel) != 2 or any(size % 2 == 0 for size in kernel):
        raise ValueError(f"expected a kernel of two odd numbers, frames and bins, found {list(kernel)}")
    if len(channels) != len(pools):
        raise ValueError(f"expected as many pools as channels, found {len(pools)} pools and {len(channels)} channels")
    height, width = frames // math.prod(pools), bins // math.prod(pools)
    if height == 0 or width == 0:
        raise ValueError(
            f"expected pools that leave at least one of {frames} frames and of {bins} bins, found {list(pools)}"
        )
    return height, width


def _blocks(arguments: Arguments) -> list[nn.Module]:
    """Blocks of a convolution, max pooling and ReLU: (…, inputs, frames, bins) → (…, outputs, frames/pool, bins/pool).

    ReLU after max pooling gives the same result as ReLU before it, in less time.
    """
    height, width = arguments.kernel
    inputs = [1, *arguments.channels[:-1]]
    return [
        nn.Sequential(
            nn.Conv2d(before, after, (height, width), padding=(height // 2, width // 2)), nn.MaxPool2d(pool), nn.ReLU()
        )
        for before, after, pool in zip(inputs, arguments.channels, arguments.pools, strict=True)
    ]

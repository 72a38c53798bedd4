"""Parts that several networks share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from fma_genre.common.schema import Range

Width = Annotated[int, Range(1, 2**16)]
Dropout = Annotated[float, Range(0, 0.95)]
# A function that builds the layers of a block with (inputs, outputs) channels. They keep the number of frames.
Block = Callable[[int, int], Sequence[nn.Module]]


@dataclass(frozen=True)
class SkeletonArguments:
    channels: tuple[Width, ...]  # output channels of each block
    pools: tuple[Width, ...]  # frames that the max pooling after each block merges into one
    kernel: Annotated[int, Range(1, 2**10)]  # frames
    dense: Width  # units of the dense layer
    dropout: Dropout


class Skeleton(nn.Module):
    """1D-CNN after Bian et al. 2019 (arXiv 1906.11620), for different kinds of blocks.

    Bins are input channels, so every kernel spans all frequencies. Max pooling follows each block (128 → 32 → 8 → 2 → 1
    → 1 frames in params.yaml). A kernel-1 convolution and a dense layer follow the last one.
    """

    def __init__(self, arguments: SkeletonArguments, block: Block, *, bins: int, frames: int, classes: int) -> None:
        super().__init__()
        channels, dropout = list(arguments.channels), arguments.dropout
        time = pooled_length(frames, arguments)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(*block(inputs, outputs), nn.MaxPool1d(pool))
                for inputs, outputs, pool in zip([bins, *channels[:-1]], channels, arguments.pools, strict=True)
            )
        )
        self.pointwise = nn.Sequential(
            nn.Conv1d(channels[-1], channels[-1], kernel_size=1, bias=False),
            nn.BatchNorm1d(channels[-1]),
            nn.ReLU(),
        )
        self.dense = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels[-1] * time, arguments.dense), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(arguments.dense, classes))

    def features(self, segments: Tensor) -> Tensor:
        """Compute features (segments, dense) from segments (segments, frames, bins)."""
        x = segments.transpose(1, 2)  # (segments, bins, frames)
        x = self.blocks(x)  # (segments, channels[-1], frames / prod(pools))
        x = self.pointwise(x)  # the same shape
        return self.dense(x)

    def forward(self, segments: Tensor) -> Tensor:
        """Compute logits (segments, classes) from segments (segments, frames, bins)."""
        return self.head(self.features(segments))


def pooled_length(frames: int, arguments: SkeletonArguments) -> int:
    """Return the number of frames that are left after all pooling layers.

    Raises:
        ValueError: no frame is left, or the numbers of pools and channels differ.
    """
    channels, pools = arguments.channels, arguments.pools
    if len(channels) != len(pools):
        raise ValueError(f"expected as many pools as channels, found {len(pools)} pools and {len(channels)} channels")
    time = frames
    for pool in pools:
        time //= pool
    if time == 0:
        raise ValueError(f"expected pools that leave at least one of {frames} frames, found {list(pools)}")
    return time


def convolution(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    """Convolution over frames that keeps their number, and batch norm.

    An even kernel gets one more frame of padding at the end than at the beginning.
    """
    before = (kernel - 1) // 2
    return [
        nn.ZeroPad1d((before, kernel - 1 - before)),
        nn.Conv1d(inputs, outputs, kernel, bias=False),  # batch norm adds the bias
        nn.BatchNorm1d(outputs),
    ]


class FrameEmbedding(nn.Sequential):
    """Max pooling over bins and a linear layer: (segments, frames, bins) → (segments, frames, embedding).

    Raises:
        ValueError: the pool is larger than the number of bins.
    """

    def __init__(self, bins: int, pool: int, embedding: int) -> None:
        if bins // pool == 0:
            raise ValueError(f"expected a pool of at most {bins} bins, found {pool}")
        super().__init__(nn.MaxPool1d(pool), nn.Linear(bins // pool, embedding))


class RecurrentBranch(nn.Module):
    """Recurrent branch of Feng et al. 2017 (arXiv 1712.08370): an embedding of each frame, then a bidirectional GRU."""

    def __init__(self, *, bins: int, frames: int, pool: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embedding = FrameEmbedding(bins, pool, embedding)
        self.gru = nn.GRU(embedding, hidden, batch_first=True, bidirectional=True)
        initialise_memory(self.gru, frames)

    def forward(self, segments: Tensor) -> Tensor:
        """Compute the last states of both directions (segments, 2 · hidden) from segments (segments, frames, bins)."""
        x = self.embedding(segments)  # (segments, frames, embedding)
        _, states = self.gru(x)  # (2, segments, hidden)
        return torch.cat([states[0], states[1]], dim=1)


def initialise_memory(gru: nn.GRU, frames: int) -> None:
    """Initialise a GRU so that its memory spans up to `frames` frames (Tallec and Ollivier 2018, arXiv 1804.11188).

    With PyTorch's initialisation, the last states of a GRU would at first depend on little more than the last few
    frames.
    """
    hidden = gru.hidden_size
    for name, weights in gru.named_parameters():
        reset, update, new = weights.data.split(hidden)  # PyTorch's order of the gates
        if name.startswith("weight_hh"):
            for gate in (reset, update, new):
                nn.init.orthogonal_(gate)
        elif name.startswith("bias_ih"):
            update.uniform_(1, max(2, frames - 1)).log_()

"""1D-CNN after Bian et al. 2019 (arXiv 1906.11620): bins are input channels, so every kernel spans all frequencies.

The paper does not state the numbers of channels. The numbers in params.yaml are this project's choice.
"""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from fma_genre.common.schema import Range

Width = Annotated[int, Range(1, 2**16)]


@dataclass(frozen=True)
class Arguments:
    channels: tuple[Width, ...]  # output channels of each block
    pools: tuple[Width, ...]  # frames that the max pooling of each block merges into one
    kernel: Annotated[int, Range(1, 2**10)]  # frames
    dense: Width  # units of the dense layer
    dropout: Annotated[float, Range(0, 0.95)]


class Network(nn.Module):
    """Convolutional blocks that pool the frames (128 → 32 → 8 → 2 → 1 → 1 in params.yaml), then a dense layer."""

    def __init__(self, arguments: Arguments, *, bins: int, frames: int, classes: int) -> None:
        super().__init__()
        channels, dropout = list(arguments.channels), arguments.dropout
        time = pooled_length(frames, arguments)
        inputs = [bins, *channels[:-1]]
        kernels = [arguments.kernel] * len(channels)
        self.blocks = nn.Sequential(*map(_block, inputs, channels, kernels, arguments.pools))
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


def pooled_length(frames: int, arguments: Arguments) -> int:
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


def _block(inputs: int, outputs: int, kernel: int, pool: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU and max pooling: (segments, inputs, time) → (segments, outputs, time // pool)."""
    before = (kernel - 1) // 2  # "same" padding; an even kernel gets one more frame at the end than at the beginning
    return nn.Sequential(
        nn.ZeroPad1d((before, kernel - 1 - before)),
        nn.Conv1d(inputs, outputs, kernel, bias=False),  # batch norm adds the bias
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
        nn.MaxPool1d(pool),
    )

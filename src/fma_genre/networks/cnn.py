"""1D-CNN after Bian et al. 2019 (arXiv 1906.11620): the bands are channels, so a kernel spans all frequencies.

The paper leaves the widths open; `channels` and those of the kernel-1 layer are this project's.
"""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from fma_genre.common.schema import Range

Width = Annotated[int, Range(1, 2**16)]


@dataclass(frozen=True)
class Arguments:
    channels: tuple[Width, ...]
    pools: tuple[Width, ...]
    kernel: Annotated[int, Range(1, 2**10)]
    dense: Width
    dropout: Annotated[float, Range(0, 0.95)]


class Network(nn.Module):
    """With the default arguments, time goes 128 → 32 → 8 → 2 → 1 → 1."""

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
        """(segments, frames, bins) to (segments, dense)."""
        x = segments.transpose(1, 2)  # (segments, bins, frames)
        x = self.blocks(x)  # (segments, channels[-1], frames / prod(pools))
        x = self.pointwise(x)  # the same shape
        return self.dense(x)

    def forward(self, segments: Tensor) -> Tensor:
        """(segments, frames, bins) to logits (segments, classes)."""
        return self.head(self.features(segments))


def pooled_length(frames: int, arguments: Arguments) -> int:
    """Frames that are left after all pools; raises ValueError if there are none, or not a pool for each block."""
    channels, pools = arguments.channels, arguments.pools
    if len(channels) != len(pools):
        raise ValueError(f"expected as many pools as channels, found {len(pools)} and {len(channels)}")
    time = frames
    for pool in pools:
        time //= pool
    if time == 0:
        raise ValueError(f"expected pools that leave a frame of {frames}, found {list(pools)}")
    return time


def _block(inputs: int, outputs: int, kernel: int, pool: int) -> nn.Sequential:
    """(segments, inputs, time) to (segments, outputs, time // pool)."""
    before = (kernel - 1) // 2  # "same" padding: with an even kernel, one more frame after than before
    return nn.Sequential(
        nn.ZeroPad1d((before, kernel - 1 - before)),
        nn.Conv1d(inputs, outputs, kernel, bias=False),  # batch norm has the bias
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
        nn.MaxPool1d(pool),
    )

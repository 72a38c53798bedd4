"""1D-CNN after Bian et al. 2019 (arXiv 1906.11620): the bands are channels, so a kernel spans all frequencies.

The paper leaves the widths open; `channels` and the kernel-1 layer's are this project's.
"""

from torch import Tensor, nn


class Model(nn.Module):
    """With the default settings, time goes 128 → 32 → 8 → 2 → 1 → 1."""

    def __init__(
        self,
        *,
        bins: int,
        frames: int,
        classes: int,
        channels: list[int],
        pools: list[int],
        kernel: int,
        dense: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if len(channels) != len(pools):
            raise ValueError(f"expected as many pools as channels, found {len(pools)} and {len(channels)}")
        time = frames
        for pool in pools:
            if time // pool == 0:
                raise ValueError(f"expected pools that {frames} frames can be divided by, found {pools}")
            time //= pool
        inputs = [bins, *channels[:-1]]
        self.blocks = nn.Sequential(*map(_block, inputs, channels, [kernel] * len(channels), pools))
        self.pointwise = nn.Sequential(
            nn.Conv1d(channels[-1], channels[-1], kernel_size=1, bias=False),
            nn.BatchNorm1d(channels[-1]),
            nn.ReLU(),
        )
        self.dense = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels[-1] * time, dense), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(dense, classes))

    def features(self, segments: Tensor) -> Tensor:
        """(segments, frames, bins) to (segments, dense)."""
        x = segments.transpose(1, 2)  # (segments, bins, frames)
        x = self.blocks(x)  # (segments, channels[-1], frames / prod(pools))
        x = self.pointwise(x)  # the same shape
        return self.dense(x)

    def forward(self, segments: Tensor) -> Tensor:
        """(segments, frames, bins) to logits (segments, classes)."""
        return self.head(self.features(segments))


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

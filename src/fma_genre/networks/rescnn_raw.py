"""Residual 1D-CNN on raw audio, after Allamy and Koerich 2021 (arXiv 2105.07302).

This project has seen the paper's abstract and introduction only, which do not state the layers. Here, they are those of
the SampleCNN with residual blocks by Kim, Lee and Nam (2018, https://github.com/tae-jun/resemul), whose segments have
59,049 samples at 22,050 Hz. Training and the choice of segments are those of all systems of this project: the paper
slides a window with overlap over the clip, and Kim et al. train by SGD with batches of 23.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fma_genre.learning.layers import Dropout, Width

FACTOR = 3  # length of all kernels, of the first convolution's steps, and of the max pooling after each block
JOINED = 3  # number of blocks, from the last, whose outputs the dense layer reads


@dataclass(frozen=True)
class Arguments:
    channels: tuple[Width, ...]  # output channels of each block; the first convolution has those of the first block
    block_dropout: Dropout  # between the two convolutions of a block
    dense: Width  # units of the dense layer
    dropout: Dropout  # before the output layer


class Network(nn.Module):
    """A convolution with steps of 3 samples, residual blocks (nine for 59,049 samples), and a dense layer.

    The dense layer reads the maximum over time of each channel of the last three blocks.
    """

    def __init__(self, arguments: Arguments, *, bins: int, frames: int, classes: int) -> None:
        super().__init__()
        channels = list(arguments.channels)
        check_length(frames, bins, len(channels))
        self.first = nn.Sequential(
            nn.Conv1d(1, channels[0], FACTOR, stride=FACTOR, bias=False), nn.BatchNorm1d(channels[0]), nn.ReLU()
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(ResidualSum(inputs, outputs, arguments.block_dropout), nn.ReLU(), nn.MaxPool1d(FACTOR))
            for inputs, outputs in zip([channels[0], *channels[:-1]], channels, strict=True)
        )
        self.dense = nn.Sequential(
            nn.Linear(sum(channels[-JOINED:]), arguments.dense, bias=False), nn.BatchNorm1d(arguments.dense), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Dropout(arguments.dropout), nn.Linear(arguments.dense, classes))

    def features(self, segments: Tensor) -> Tensor:
        """Compute features (segments, dense) from segments (segments, frames, bins), whose bins are samples."""
        x = segments.flatten(1)[:, None]  # (segments, 1, frames · bins)
        x = self.first(x)  # (segments, channels[0], frames · bins / 3)
        for block in self.blocks[:-JOINED]:
            x = block(x)  # (segments, the block's channels, a third of the length)
        maxima = []
        for block in self.blocks[-JOINED:]:
            x = block(x)  # (segments, the block's channels, a third of the length)
            maxima.append(x.amax(dim=2))  # (segments, the block's channels)
        joined = torch.cat(maxima, dim=1)  # (segments, sum of channels[-3:])
        return self.dense(joined)

    def forward(self, segments: Tensor) -> Tensor:
        """Compute logits (segments, classes) from segments (segments, frames, bins)."""
        return self.head(self.features(segments))


class ResidualSum(nn.Module):
    """Sum of two convolutions and a shortcut, which is the identity if the number of channels stays the same."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *convolution(inputs, outputs, FACTOR),
            nn.ReLU(),
            nn.Dropout(dropout),
            *convolution(outputs, outputs, FACTOR),
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Sequential(*convolution(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Compute (segments, outputs, length) from (segments, inputs, length)."""
        shortcut = self.shortcut(x)  # (segments, outputs, length)
        return self.branch(x) + shortcut  # the same shape


def convolution(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    """Convolution that keeps the length, without the copy of its input that `layers.convolution` makes to pad it."""
    return [
        nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=False),  # batch norm adds the bias
        nn.BatchNorm1d(outputs),
    ]


def check_length(frames: int, bins: int, blocks: int) -> None:
    """Raise ValueError unless the first convolution and every block can divide the length by 3 without a rest."""
    multiple, samples = FACTOR ** (blocks + 1), frames * bins
    if samples % multiple:
        expected = f"segments of a multiple of 3 ^ ({blocks} blocks + 1) = {multiple} samples"
        raise ValueError(f"expected {expected}, found {frames} frames of {bins} samples = {samples}")

"""Bidirectional GRUs with attention after Yu et al. 2020 (doi 10.1016/j.neucom.2019.09.054).

Only the abstract was available: attention is serial or parallel, and parallel attention by a CNN is best. The proposal
adds that two bidirectional GRUs are stacked with a shortcut. Everything else is this project's choice: all sizes, the
pooling and linear layer before the GRUs (the same as in birnn), the computation of the scores, linear parallel
attention, and the output for no attention. The GRUs have PyTorch's initial weights, unlike birnn, since all frames
reach the output.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fma_genre.learning.layers import Dropout, FrameEmbedding, Width

CHANNELS = 8  # of both convolutions in `parallel_cnn`; few, because a frame needs a single score
POOL = 4  # bins that the max pooling after each of these convolutions merges into one


@dataclass(frozen=True)
class Arguments:
    # Input of the layers that score each frame: the GRUs' output (serial) or the spectrogram (parallel).
    attention: Literal["none", "serial", "parallel_linear", "parallel_cnn"]
    pool: Width  # neighbouring bins that max pooling merges into one
    embedding: Width  # units of the linear layer before the GRUs
    hidden: Width  # units per direction of each GRU
    dropout: Dropout


class Network(nn.Module):
    """Two bidirectional GRUs, whose summed outputs are averaged over frames with the weights of the attention.

    Without attention, all frames have the same weight, so that the variants differ only in the weights. Last states
    would be another choice, but then it would be unclear whether a gain came from attention or from the average.
    """

    def __init__(self, arguments: Arguments, *, bins: int, frames: int, classes: int) -> None:
        super().__init__()
        pool, embedding, hidden = arguments.pool, arguments.embedding, arguments.hidden
        self.embedding = FrameEmbedding(bins, pool, embedding)
        self.first = nn.GRU(embedding, hidden, batch_first=True, bidirectional=True)
        self.second = nn.GRU(2 * hidden, hidden, batch_first=True, bidirectional=True)
        self.attention = arguments.attention
        self.score = _score(arguments, bins)
        self.head = nn.Sequential(nn.Dropout(arguments.dropout), nn.Linear(2 * hidden, classes))

    def states(self, segments: Tensor) -> Tensor:
        """Compute the output of the GRUs (segments, frames, 2 · hidden) from segments (segments, frames, bins)."""
        x = self.embedding(segments)  # (segments, frames, embedding)
        first, _ = self.first(x)  # (segments, frames, 2 · hidden)
        second, _ = self.second(first)  # the same shape
        return first + second  # the shortcut

    def weights(self, segments: Tensor, states: Tensor) -> Tensor:
        """Compute the weights of the frames (segments, frames), which sum to 1 for each segment.

        Args:
            segments: the network's input (segments, frames, bins).
            states: output of the GRUs (segments, frames, 2 · hidden).
        """
        if self.score is None:
            return torch.full_like(segments[:, :, 0], 1 / segments.shape[1])
        scores = self.score(states if self.attention == "serial" else segments)  # (segments, frames, 1)
        return scores.squeeze(2).softmax(dim=1)  # (segments, frames)

    def features(self, segments: Tensor) -> Tensor:
        """Compute the weighted mean of the states (segments, 2 · hidden) from segments (segments, frames, bins)."""
        states = self.states(segments)  # (segments, frames, 2 · hidden)
        weights = self.weights(segments, states)  # (segments, frames)
        return (weights.unsqueeze(1) @ states).squeeze(1)  # (segments, 2 · hidden)

    def forward(self, segments: Tensor) -> Tensor:
        """Compute logits (segments, classes) from segments (segments, frames, bins)."""
        return self.head(self.features(segments))


class _CNN(nn.Module):
    """Two blocks of a 3 × 3 convolution, max pooling over bins and ReLU, then a mean over the remaining bins."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        if bins // POOL**2 == 0:
            raise ValueError(f"expected at least {POOL**2} bins for parallel_cnn, found {bins}")
        # ReLU after max pooling gives the same result as before it, in less time.
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, CHANNELS, 3, padding=1), nn.MaxPool2d((1, POOL)), nn.ReLU()),
            nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.MaxPool2d((1, POOL)), nn.ReLU()),
        )
        self.linear = _linear(CHANNELS)

    def forward(self, segments: Tensor) -> Tensor:
        """Compute scores (segments, frames, 1) from segments (segments, frames, bins)."""
        # A view with the channel as last dimension in memory takes less time on a CPU than `unsqueeze(1)`.
        x = segments.unsqueeze(3).movedim(3, 1)  # (segments, 1, frames, bins)
        x = self.blocks(x)  # (segments, CHANNELS, frames, bins // POOL²)
        x = x.mean(dim=3)  # (segments, CHANNELS, frames)
        return self.linear(x.transpose(1, 2))  # (segments, frames, 1)


def _score(arguments: Arguments, bins: int) -> nn.Module | None:
    """Build the layers that score frames: (segments, frames, inputs) → (segments, frames, 1)."""
    match arguments.attention:
        case "serial":
            return _linear(2 * arguments.hidden)
        case "parallel_linear":
            return _linear(bins)
        case "parallel_cnn":
            return _CNN(bins)
        case "none":
            return None


def _linear(inputs: int) -> nn.Linear:
    """A linear layer without a bias: adding the same number to all scores would not change their softmax."""
    return nn.Linear(inputs, 1, bias=False)

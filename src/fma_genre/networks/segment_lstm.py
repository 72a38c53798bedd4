"""LSTM whose states are summarised over a segment, modelled on Dai et al. 2016 (ISCSLP).

The paper could not be read; only its title, on an LSTM with segment features, is certain. Everything else is this
project's choice: the features of a segment are the mean and standard deviation over time of the LSTM's states and of
its inputs, the LSTM has one layer and one direction, and an MLP with one hidden layer classifies the segment. Both are
trained together, with a loss per segment.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fma_genre.learning.layers import Dropout, Width

# Added to variances, because the gradient of a square root is infinite at 0. A silent segment has this variance, and so
# has an LSTM unit that is saturated.
EPSILON = 1e-6


@dataclass(frozen=True)
class Arguments:
    hidden: Width  # units of the LSTM
    dense: Width  # units of the dense layer
    dropout: Dropout


class Network(nn.Module):
    """LSTM over frames, statistics over time, then an MLP (512 statistics and 256 dense units in related.yaml)."""

    def __init__(self, arguments: Arguments, *, bins: int, frames: int, classes: int) -> None:
        super().__init__()
        hidden, dense = arguments.hidden, arguments.dense
        self.lstm = nn.LSTM(bins, hidden, batch_first=True)
        self.head = nn.Sequential(
            nn.Linear(2 * hidden + 2 * bins, dense), nn.ReLU(), nn.Dropout(arguments.dropout), nn.Linear(dense, classes)
        )

    def features(self, segments: Tensor) -> Tensor:
        """Compute statistics (segments, 2 · hidden + 2 · bins) from segments (segments, frames, bins)."""
        states, _ = self.lstm(segments)  # (segments, frames, hidden)
        return torch.cat([statistics(states), statistics(segments)], dim=1)

    def forward(self, segments: Tensor) -> Tensor:
        """Compute logits (segments, classes) from segments (segments, frames, bins)."""
        return self.head(self.features(segments))


def statistics(series: Tensor) -> Tensor:
    """Compute means, then standard deviations over time: (segments, frames, values) → (segments, 2 · values).

    The deviation of a constant is √EPSILON instead of 0.
    """
    variance, mean = torch.var_mean(series, dim=1, correction=0)  # both (segments, values)
    return torch.cat([mean, (variance + EPSILON).sqrt()], dim=1)

"""Bidirectional GRU: the recurrent branch of Feng et al. 2017 (arXiv 1712.08370), without the convolutional branch."""

from dataclasses import dataclass

from torch import Tensor, nn

from fma_genre.learning.layers import Dropout, RecurrentBranch, Width


@dataclass(frozen=True)
class Arguments:
    pool: Width  # neighbouring bins that max pooling merges into one
    embedding: Width  # units of the linear layer before the GRU
    hidden: Width  # GRU units per direction
    dropout: Dropout


class Network(nn.Module):
    """Pooling and a linear layer for each frame (512 bins → 256 → 128 in params.yaml), then a bidirectional GRU."""

    def __init__(self, arguments: Arguments, *, bins: int, frames: int, classes: int) -> None:
        super().__init__()
        pool, embedding, hidden = arguments.pool, arguments.embedding, arguments.hidden
        self.branch = RecurrentBranch(bins=bins, frames=frames, pool=pool, embedding=embedding, hidden=hidden)
        self.head = nn.Sequential(nn.Dropout(arguments.dropout), nn.Linear(2 * hidden, classes))

    def features(self, segments: Tensor) -> Tensor:
        """Compute the last states of both directions (segments, 2 · hidden) from segments (segments, frames, bins)."""
        return self.branch(segments)

    def forward(self, segments: Tensor) -> Tensor:
        """Compute logits (segments, classes) from segments (segments, frames, bins)."""
        return self.head(self.features(segments))

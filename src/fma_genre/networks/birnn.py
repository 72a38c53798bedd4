"""Bidirectional GRU: the recurrent branch of Feng et al. 2017 (arXiv 1712.08370), without the convolutional branch."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from fma_genre.common.schema import Range

Width = Annotated[int, Range(1, 2**16)]


@dataclass(frozen=True)
class Arguments:
    pool: Width  # neighbouring bins that max pooling merges into one
    embedding: Width  # units of the linear layer before the GRU
    hidden: Width  # GRU units per direction
    dropout: Annotated[float, Range(0, 0.95)]


class Network(nn.Module):
    """Pooling and a linear layer for each frame (512 bins → 256 → 128 in params.yaml), then a bidirectional GRU."""

    def __init__(self, arguments: Arguments, *, bins: int, frames: int, classes: int) -> None:
        super().__init__()
        pool, embedding, hidden = arguments.pool, arguments.embedding, arguments.hidden
        if bins // pool == 0:
            raise ValueError(f"expected a pool of at most {bins} bins, found {pool}")
        self.pool = nn.MaxPool1d(pool)
        self.embedding = nn.Linear(bins // pool, embedding)
        self.gru = nn.GRU(embedding, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Dropout(arguments.dropout), nn.Linear(2 * hidden, classes))
        _initialise_memory(self.gru, frames)

    def features(self, segments: Tensor) -> Tensor:
        """Compute the last states of both directions (segments, 2 · hidden) from segments (segments, frames, bins)."""
        x = self.pool(segments)  # (segments, frames, bins // pool)
        x = self.embedding(x)  # (segments, frames, embedding)
        _, states = self.gru(x)  # (2, segments, hidden)
        return torch.cat([states[0], states[1]], dim=1)

    def forward(self, segments: Tensor) -> Tensor:
        """Compute logits (segments, classes) from segments (segments, frames, bins)."""
        return self.head(self.features(segments))


def _initialise_memory(gru: nn.GRU, frames: int) -> None:
    """Initialise a GRU so that its memory spans up to `frames` frames (Tallec and Ollivier 2018, arXiv 1804.11188).

    The features are the last states of the GRU. With PyTorch's initialisation, they would at first depend on little
    more than the last few frames.
    """
    hidden = gru.hidden_size
    for name, weights in gru.named_parameters():
        reset, update, new = weights.data.split(hidden)  # PyTorch's order of the gates
        if name.startswith("weight_hh"):
            for gate in (reset, update, new):
                nn.init.orthogonal_(gate)
        elif name.startswith("bias_ih"):
            update.uniform_(1, max(2, frames - 1)).log_()

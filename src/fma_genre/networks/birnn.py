"""Bidirectional GRU: the recurrent branch of Feng et al. 2017 (arXiv 1712.08370) by itself."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from fma_genre.common.schema import Range

Width = Annotated[int, Range(1, 2**16)]


@dataclass(frozen=True)
class Arguments:
    pool: Width
    embedding: Width
    hidden: Width
    dropout: Annotated[float, Range(0, 0.95)]


class Network(nn.Module):
    """With the default arguments, a frame goes 512 bins → 256 → 128, and a segment to 2 · 128 features."""

    def __init__(self, arguments: Arguments, *, bins: int, frames: int, classes: int) -> None:
        super().__init__()
        pool, embedding, hidden = arguments.pool, arguments.embedding, arguments.hidden
        if bins // pool == 0:
            raise ValueError(f"expected a pool of at most {bins} bins, found {pool}")
        self.pool = nn.MaxPool1d(pool)
        self.embedding = nn.Linear(bins // pool, embedding)
        self.gru = nn.GRU(embedding, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Dropout(arguments.dropout), nn.Linear(2 * hidden, classes))
        _set_memory(self.gru, frames)

    def features(self, segments: Tensor) -> Tensor:
        """(segments, frames, bins) to the last state of both directions, (segments, 2 · hidden)."""
        x = self.pool(segments)  # (segments, frames, bins / pool)
        x = self.embedding(x)  # (segments, frames, embedding)
        _, states = self.gru(x)  # (2, segments, hidden)
        return torch.cat([states[0], states[1]], dim=1)

    def forward(self, segments: Tensor) -> Tensor:
        """(segments, frames, bins) to logits (segments, classes)."""
        return self.head(self.features(segments))


def _set_memory(gru: nn.GRU, frames: int) -> None:
    """Initialise a GRU to a memory of up to `frames` frames, after Tallec and Ollivier 2018 (arXiv 1804.11188).

    The features are its last states, which would otherwise begin with little more than the last frames.
    """
    hidden = gru.hidden_size
    for name, weights in gru.named_parameters():
        gates = weights.data.split(hidden)  # reset, update, new
        if name.startswith("weight_hh"):
            for gate in gates:
                nn.init.orthogonal_(gate)
        elif name.startswith("bias_ih"):
            gates[1].uniform_(1, max(2, frames - 1)).log_()

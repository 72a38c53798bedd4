"""Bidirectional GRU: the recurrent branch of Feng et al. 2017 (arXiv 1712.08370) by itself."""

import torch
from torch import Tensor, nn


class Model(nn.Module):
    """With the default settings, a frame goes 512 bins → 256 → 128, and a segment to 2 · 128 features."""

    def __init__(
        self,
        *,
        bins: int,
        frames: int,
        classes: int,
        pool: int,
        embedding: int,
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if bins // pool == 0:
            raise ValueError(f"expected a pool of at most {bins} bins, found {pool}")
        self.pool = nn.MaxPool1d(pool)
        self.embedding = nn.Linear(bins // pool, embedding)
        self.gru = nn.GRU(embedding, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * hidden, classes))
        _remember(self.gru, frames)

    def features(self, segments: Tensor) -> Tensor:
        """(segments, frames, bins) to the last state of both directions, (segments, 2 · hidden)."""
        x = self.pool(segments)  # (segments, frames, bins / pool)
        x = self.embedding(x)  # (segments, frames, embedding)
        _, states = self.gru(x)  # (2, segments, hidden)
        return torch.cat([states[0], states[1]], dim=1)

    def forward(self, segments: Tensor) -> Tensor:
        """(segments, frames, bins) to logits (segments, classes)."""
        return self.head(self.features(segments))


def _remember(gru: nn.GRU, frames: int) -> None:
    """Lets a GRU begin with a memory of up to `frames` frames, as Tallec and Ollivier 2018 (arXiv 1804.11188) do.

    What is asked for are its last states, which would know little but the last frames otherwise.
    """
    hidden = gru.hidden_size
    for name, weights in gru.named_parameters():
        gates = weights.data.split(hidden)  # reset, update, new
        if name.startswith("weight_hh"):
            for gate in gates:
                nn.init.orthogonal_(gate)
        elif name.startswith("bias_ih"):
            gates[1].uniform_(1, max(2, frames - 1)).log_()

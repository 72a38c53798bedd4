"""Samples of a waveform, divided by their root mean square over all training clips.

Mixup mixes the samples, so it mixes audio.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fma_genre.common.errors import InputError
from fma_genre.learning.clips import Clips
from fma_genre.store import MAX_LEVEL, expand

MIN_SCALE = 1e-4  # a sample at the smallest step of the µ-law; all training clips may be silent


@dataclass(frozen=True)
class Arguments:
    pass


@dataclass(frozen=True)
class FrontEnd:
    values: Tensor  # (256,) network input for each code

    @classmethod
    def fit(cls, clips: Clips, arguments: Arguments) -> "FrontEnd":
        """Fit on all frames of `clips`; raise InputError unless they are those of a waveform."""
        if not clips.description.is_waveform:
            name = clips.description.representation
            raise InputError(f"front_end waveform: expected a representation of `waveforms`, found {name}")
        samples = torch.from_numpy(expand(np.arange(MAX_LEVEL + 1))).to(clips.labels.device)  # of each code
        return cls(samples / _root_mean_square(clips, samples).clamp(min=MIN_SCALE))

    @staticmethod
    def shapes(arguments: Arguments, bins: int) -> Mapping[str, tuple[int, ...]]:
        return {"values": (MAX_LEVEL + 1,)}

    def encode(self, levels: Tensor) -> Tensor:
        """Look up the samples of codes (…, frames, bins)."""
        return self.values[levels.int()]

    def encode_shifted(self, batches: Sequence[Tensor], source_bins: Tensor) -> Tensor:
        """Raise InputError: only spectrograms can be shifted."""
        raise InputError("front_end waveform: expected max_pitch_shift 0, found a shift")

    def decode(self, codes: Tensor) -> Tensor:
        """Return the samples, which are the network's input (…, frames, bins)."""
        return codes


def _root_mean_square(clips: Clips, samples: Tensor) -> Tensor:
    """Root mean square of all samples of `clips`.

    Args:
        samples: sample of each code (256,).
    """
    total = torch.zeros((), dtype=torch.float64, device=samples.device)
    for part in clips.parts():
        for row, length in zip(part.rows.tolist(), part.lengths.tolist(), strict=True):
            total += samples[part.levels[row, :length].int()].square().sum(dtype=torch.float64)
        del part  # frees its memory before the next but one is read
    count = clips.lengths.sum() * clips.levels.shape[2]
    return (total / count).sqrt().float()

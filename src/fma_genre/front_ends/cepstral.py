"""The cepstral envelope: each frame's spectrum, described by its lowest few cepstral coefficients.

Levels are standardised in every bin. Cosines over the mel scale then describe a frame, as in MFCC, whatever the
representation. The coefficients are standardised as well, and turned back into bins: a smooth spectrum without its fine
structure.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from fma_genre.common.schema import Range
from fma_genre.learning.clips import Clips

MIN_COEFFICIENT = 0.001  # lower bound of a coefficient's deviation, so that a constant one is not amplified
MIN_DEVIATION = 16.0  # stored levels (6 dB): an empty bin, as above 4 kHz in 8 kHz audio, is not amplified when shifted


@dataclass(frozen=True)
class Arguments:
    coefficients: Annotated[int, Range(1, 2**16)]


@dataclass(frozen=True)
class FrontEnd:
    mean: Tensor  # (bins,) of levels
    analysis: Tensor  # (bins, coefficients): levels less their mean to standardised coefficients
    synthesis: Tensor  # (coefficients, bins)

    @classmethod
    def fit(cls, clips: Clips, arguments: Arguments) -> "FrontEnd":
        """Fit on all frames of `clips`; `coefficients` is capped at the number of bins."""
        statistics = clips.statistics()
        deviation = statistics.deviation.clamp(min=MIN_DEVIATION)
        count = min(arguments.coefficients, len(deviation))
        cosines, weights = (part.to(deviation.device) for part in _cosines(np.array(clips.description.mels), count))
        analysis = (cosines * weights / deviation).T.float().contiguous()  # (bins, coefficients)
        synthesis = (cosines / cosines.square().sum(dim=0).mean().sqrt()).float()
        unscaled = cls(statistics.mean.float(), analysis, synthesis)

        power = torch.zeros(count, dtype=torch.float64, device=deviation.device)
        for levels, filled in clips.filled_frames():
            power += unscaled.encode(levels)[filled].double().square().sum(dim=0)
        scale = (power / statistics.frames).sqrt().clamp(min=MIN_COEFFICIENT).float()
        return replace(unscaled, analysis=analysis / scale)

    @staticmethod
    def shapes(arguments: Arguments, bins: int) -> Mapping[str, tuple[int, ...]]:
        count = min(arguments.coefficients, bins)
        return {"mean": (bins,), "analysis": (bins, count), "synthesis": (count, bins)}

    def encode(self, levels: Tensor) -> Tensor:
        """(…, frames, bins) of stored levels to (…, frames, coefficients), each with mean 0 and deviation 1."""
        return levels.float() @ self.analysis - self.mean @ self.analysis

    def encode_shifted(self, batches: Sequence[Tensor], source_bins: Tensor) -> Tensor:
        """The coefficients of all `batches`, (segments, frames, bins) each, the bins of each moved in its own way.

        Equivalent to permuting the bins of the levels, but permutes the rows of `analysis` instead, which is free.

        Args:
            source_bins: (batches, bins): the bin whose levels take each bin's place.
        """
        count, bins = source_bins.shape
        places = source_bins + bins * torch.arange(count, device=source_bins.device)[:, None]
        moved = self.analysis.new_zeros(count * bins, self.analysis.shape[1])
        moved.index_add_(0, places.flatten(), self.analysis.repeat(count, 1))
        products = [batch.float() @ analysis for batch, analysis in zip(batches, moved.split(bins), strict=True)]
        return torch.cat(products) - self.mean @ self.analysis

    def decode(self, codes: Tensor) -> Tensor:
        """(…, frames, coefficients) to a network's input (…, frames, bins)."""
        return codes @ self.synthesis


def _cosines(mels: np.ndarray, coefficients: int) -> tuple[Tensor, Tensor]:
    """Half waves over the mel scale, (coefficients, bins) float64, and each bin's share of the scale, (bins,)."""
    share = np.gradient(mels)
    place = torch.from_numpy((np.cumsum(share) - share / 2) / share.sum())  # 0 … 1
    return (torch.arange(coefficients)[:, None] * place * math.pi).cos(), torch.from_numpy(share / share.sum())

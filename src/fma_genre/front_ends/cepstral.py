"""Cepstral envelope: each frame is reduced to the smooth spectrum that its lowest cepstral coefficients describe.

A network still reads one level per bin, but these levels have only as many degrees of freedom as there are
coefficients. With 20 coefficients, the input is in effect 20 whitened MFCCs, whatever the representation.

1. Standardise the levels of each bin.
2. Project each frame onto cosines over the mel scale, as for MFCCs. The bins need not be mel bands.
3. Standardise the coefficients. The results are the codes.
4. Convert the codes back to bins. The fine structure of the spectrum is lost.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from fma_genre.common.schema import Range
from fma_genre.learning.clips import Clips

# Lower limits of the standard deviations, since division by smaller values would amplify noise:
MIN_LEVEL_DEVIATION = 16.0  # of a bin, in stored levels (6 dB); bins above 4 kHz are empty in 8 kHz audio
MIN_COEFFICIENT_DEVIATION = 0.001  # of a coefficient
CENTRE = 128  # of the stored levels


@dataclass(frozen=True)
class Arguments:
    cepstral_coefficients: Annotated[int, Range(1, 2**16)]  # capped at the number of bins


@dataclass(frozen=True)
class FrontEnd:
    mean: Tensor  # (bins,) mean stored level
    analysis: Tensor  # (bins, coefficients) matrix from centred levels to standardised coefficients
    synthesis: Tensor  # (coefficients, bins) matrix from coefficients to the network's input

    @classmethod
    def fit(cls, clips: Clips, arguments: Arguments) -> "FrontEnd":
        """Fit on all frames of `clips`."""
        mean, covariance = _moments(clips)
        deviation = covariance.diagonal().clamp(min=0).sqrt().clamp(min=MIN_LEVEL_DEVIATION)
        count = min(arguments.cepstral_coefficients, len(deviation))
        cosines, widths = (tensor.to(deviation.device) for tensor in _cosines(np.array(clips.description.mels), count))
        analysis = (cosines * widths / deviation).T.contiguous()  # (bins, coefficients)
        variance = (analysis * (covariance @ analysis)).sum(dim=0)  # of each coefficient
        scale = variance.clamp(min=0).sqrt().clamp(min=MIN_COEFFICIENT_DEVIATION)
        synthesis = cosines / cosines.square().sum(dim=0).mean().sqrt()
        return cls(mean.float(), (analysis / scale).float(), synthesis.float())

    @staticmethod
    def shapes(arguments: Arguments, bins: int) -> Mapping[str, tuple[int, ...]]:
        count = min(arguments.cepstral_coefficients, bins)
        return {"mean": (bins,), "analysis": (bins, count), "synthesis": (count, bins)}

    def encode(self, levels: Tensor) -> Tensor:
        """Convert stored levels (…, frames, bins) to standardised coefficients (…, frames, coefficients)."""
        return levels.float() @ self.analysis - self.mean @ self.analysis

    def encode_shifted(self, batches: Sequence[Tensor], source_bins: Tensor) -> Tensor:
        """Encode batches after moving their bins, differently for each batch.

        Moving the rows of `analysis` has the same result as moving the bins of the levels, but is faster.

        Args:
            batches: stored levels of each batch (segments, frames, bins).
            source_bins: (batches, bins); bin b gets the levels of bin `source_bins[batch, b]`.

        Returns:
            standardised coefficients of all batches, (segments, frames, coefficients)
        """
        count, bins = source_bins.shape
        first_rows = bins * torch.arange(count, device=source_bins.device)[:, None]  # where batches begin in `shifted`
        rows = source_bins + first_rows
        shifted = self.analysis.new_zeros(count * bins, self.analysis.shape[1])
        shifted.index_add_(0, rows.flatten(), self.analysis.repeat(count, 1))
        products = [batch.float() @ analysis for batch, analysis in zip(batches, shifted.split(bins), strict=True)]
        return torch.cat(products) - self.mean @ self.analysis

    def decode(self, codes: Tensor) -> Tensor:
        """Convert coefficients (…, frames, coefficients) to a network's input (…, frames, bins)."""
        return codes @ self.synthesis


def _moments(clips: Clips) -> tuple[Tensor, Tensor]:
    """Mean (bins,) and covariance (bins, bins) of the stored levels over all frames, both float64.

    Levels are centred near 0, so that float32 and TF32 hold the products of a few hundred frames without rounding.
    """
    bins = clips.levels.shape[2]
    total, products = (
        torch.zeros(shape, dtype=torch.float64, device=clips.labels.device) for shape in (bins, (bins, bins))
    )
    for levels in clips.frames():
        centred = levels - CENTRE
        total += centred.sum(dim=0)
        products += centred.T @ centred
    frames = clips.lengths.sum()
    mean = total / frames
    return mean + CENTRE, products / frames - mean.outer(mean)


def _cosines(mels: np.ndarray, coefficients: int) -> tuple[Tensor, Tensor]:
    """Sample cosines at the centres of the bins. Cosine k has k half periods over the range of the bins in mel.

    Args:
        mels: centres of the bins (bins,) in mel, ascending.

    Returns:
        cosines (coefficients, bins), and the share of the mel range that each bin covers (bins,); both float64
    """
    width = np.gradient(mels)
    position = torch.from_numpy((np.cumsum(width) - width / 2) / width.sum())  # in the mel range, from 0 to 1
    cosines = (torch.arange(coefficients)[:, None] * position * math.pi).cos()
    return cosines, torch.from_numpy(width / width.sum())

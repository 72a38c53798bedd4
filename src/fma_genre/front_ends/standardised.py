"""Standardised levels: each bin has mean 0 and standard deviation 1 over all frames of the training clips.

All bins are kept. Levels are in dB, so mixup mixes standardised dB, not audio.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fma_genre.learning.clips import Clips

MIN_DEVIATION = 1.0  # stored levels (0.4 dB); dividing by less would amplify the rounding of a nearly constant bin


@dataclass(frozen=True)
class Arguments:
    pass


@dataclass(frozen=True)
class FrontEnd:
    mean: Tensor  # (bins,) mean stored level
    deviation: Tensor  # (bins,) standard deviation of the stored levels, at least MIN_DEVIATION

    @classmethod
    def fit(cls, clips: Clips, arguments: Arguments) -> "FrontEnd":
        """Fit on all frames of `clips`."""
        moments = clips.moments()
        return cls(moments.mean.float(), moments.deviation.clamp(min=MIN_DEVIATION).float())

    @staticmethod
    def shapes(arguments: Arguments, bins: int) -> Mapping[str, tuple[int, ...]]:
        return {"mean": (bins,), "deviation": (bins,)}

    def encode(self, levels: Tensor) -> Tensor:
        """Standardise stored levels (…, frames, bins)."""
        return torch.sub(levels, self.mean).div_(self.deviation)  # in place: one buffer instead of three

    def encode_shifted(self, batches: Sequence[Tensor], source_bins: Tensor) -> Tensor:
        """Encode batches after moving their bins, differently for each batch.

        Args:
            batches: stored levels of each batch (segments, frames, bins).
            source_bins: (batches, bins); bin b gets the levels of bin `source_bins[batch, b]`.

        Returns:
            standardised levels of all batches, (segments, frames, bins)
        """
        shifted = [batch.gather(-1, bins.expand_as(batch)) for batch, bins in zip(batches, source_bins, strict=True)]
        return self.encode(torch.cat(shifted))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the codes, which are the network's input (…, frames, bins)."""
        return codes

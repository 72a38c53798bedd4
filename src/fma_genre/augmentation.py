"""Random changes to training segments, a batch at a time, on their device: what must not matter to a network.

Shifts of pitch follow Schlüter and Grill 2015, mixtures Zhang et al. 2018 (arXiv 1710.09412).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn.functional import one_hot

from fma_genre.segments import Clips, Normalisation


def augment(
    clips: Clips, batches: Sequence[Tensor], normalisation: Normalisation, *, pitch: float, mixup: float
) -> tuple[Tensor, Tensor]:
    """A random segment of each track in some batches (segments,) of positions in `clips`, for all of them together.

    Args:
        pitch: largest shift in semitones; the segments of a batch are shifted by the same.
        mixup: both parameters of the beta distribution of shares in mixtures of two segments; 0: no mixtures.

    Returns:
        segments (segments, frames, bins) as a network takes them, targets (segments, classes)
    """
    tracks = torch.cat(list(batches))
    levels = clips.crop(tracks, clips.random_starts(tracks))
    if pitch:
        taken = _shifts(clips.frequencies, pitch, len(batches))
        coefficients = normalisation.shifted_coefficients(levels.split([len(batch) for batch in batches]), taken)
    else:
        coefficients = normalisation.coefficients(levels)
    targets = one_hot(clips.labels[tracks], len(clips.classes)).float()
    if mixup:
        both = torch.full((len(tracks), 1, 1), float(mixup), device=levels.device)
        share = Beta(both, both, validate_args=False).sample()  # a check would wait for the device
        share = torch.maximum(share, 1 - share)
        coefficients = coefficients.roll(1, dims=0).lerp(coefficients, share)  # tracks are in random order
        targets = targets.roll(1, dims=0).lerp(targets, share[:, 0])
    return normalisation.spectra(coefficients), targets


def _shifts(frequencies: Tensor, pitch: float, count: int) -> Tensor:
    """For each bin, the one that takes its place in `count` shifts (count, bins) of up to `pitch` semitones."""
    semitones = (2 * torch.rand((count, 1), device=frequencies.device) - 1) * pitch
    between = (frequencies[1:] + frequencies[:-1]) / 2
    return torch.searchsorted(between, frequencies * 2 ** (semitones / 12))

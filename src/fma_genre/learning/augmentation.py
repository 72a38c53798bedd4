"""Augmentation of training segments by pitch shifts and mixup, on the device that trains the network.

Pitch shifts follow Schlüter and Grill 2015. Mixup follows Zhang et al. 2018 (arXiv 1710.09412).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn.functional import one_hot

from fma_genre.learning.build import FrontEnd
from fma_genre.learning.clips import Clips


def augment(
    clips: Clips, batches: Sequence[Tensor], front_end: FrontEnd, *, max_pitch_shift: float, mixup: float
) -> tuple[Tensor, Tensor]:
    """Crop a random segment for each position in `batches`, augment it, and convert it to network input.

    Args:
        batches: positions of tracks in `clips`, (segments,) per batch. All batches are processed at once.
        max_pitch_shift: largest pitch shift in semitones; all segments of a batch are shifted by the same amount.
        mixup: both parameters of the beta distribution of the mixing weights; 0 turns mixup off.

    Returns:
        network input (segments, frames, bins) and targets (segments, classes), concatenated over the batches
    """
    tracks = torch.cat(list(batches))
    levels = clips.crop(tracks, clips.random_starts(tracks))
    targets = one_hot(clips.labels[tracks], len(clips.classes)).float()

    if max_pitch_shift:
        source_bins = _random_shifts(clips.frequencies, max_pitch_shift, len(batches))
        codes = front_end.encode_shifted(levels.split([len(batch) for batch in batches]), source_bins)
    else:
        codes = front_end.encode(levels)

    if mixup:
        codes, targets = _mix(codes, targets, mixup)
    return front_end.decode(codes), targets


def _random_shifts(frequencies: Tensor, max_pitch_shift: float, count: int) -> Tensor:
    """Draw `count` pitch shifts uniformly from ±`max_pitch_shift` semitones.

    Returns:
        (count, bins): for each shift, the source of each bin b: the bin nearest to the shifted frequency of b
    """
    semitones = (2 * torch.rand((count, 1), device=frequencies.device) - 1) * max_pitch_shift
    borders = (frequencies[1:] + frequencies[:-1]) / 2  # between neighbouring bins
    return torch.searchsorted(borders, frequencies * 2 ** (semitones / 12))


def _mix(codes: Tensor, targets: Tensor, mixup: float) -> tuple[Tensor, Tensor]:
    """Mix each segment with the previous one. The segments are in random order, so the partner is random."""
    parameter = torch.full((len(codes), 1, 1), float(mixup), device=codes.device)
    share = Beta(parameter, parameter, validate_args=False).sample()  # checking the arguments would wait for the GPU
    share = torch.maximum(share, 1 - share)  # the segment itself keeps at least half
    return codes.roll(1, dims=0).lerp(codes, share), targets.roll(1, dims=0).lerp(targets, share[:, 0])

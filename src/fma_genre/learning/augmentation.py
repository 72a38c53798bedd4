"""Augmentation of training segments, a batch at a time, on their device.

Shifts of pitch follow Schlüter and Grill 2015; mixup follows Zhang et al. 2018 (arXiv 1710.09412).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn.functional import one_hot

from fma_genre.learning.build import FrontEnd
from fma_genre.learning.clips import Clips


def augment(
    clips: Clips, batches: Sequence[Tensor], front_end: FrontEnd, *, pitch: float, mixup: float
) -> tuple[Tensor, Tensor]:
    """A random segment of each track of some batches, augmented: all batches at once.

    Args:
        batches: positions in `clips`, (segments,) each.
        pitch: largest shift in semitones; the segments of a batch are shifted alike.
        mixup: both parameters of the beta distribution of the shares of two mixed segments; 0: no mixup.

    Returns:
        segments (segments, frames, bins) as a network takes them, targets (segments, classes)
    """
    tracks = torch.cat(list(batches))
    levels = clips.crop(tracks, clips.random_starts(tracks))
    targets = one_hot(clips.labels[tracks], len(clips.classes)).float()

    if pitch:
        source_bins = _random_shifts(clips.frequencies, pitch, len(batches))
        codes = front_end.encode_shifted(levels.split([len(batch) for batch in batches]), source_bins)
    else:
        codes = front_end.encode(levels)

    if mixup:
        codes, targets = _mix(codes, targets, mixup)
    return front_end.decode(codes), targets


def _random_shifts(frequencies: Tensor, pitch: float, count: int) -> Tensor:
    """For `count` shifts of up to `pitch` semitones, the bin that takes each bin's place: (count, bins)."""
    semitones = (2 * torch.rand((count, 1), device=frequencies.device) - 1) * pitch
    between = (frequencies[1:] + frequencies[:-1]) / 2
    return torch.searchsorted(between, frequencies * 2 ** (semitones / 12))


def _mix(codes: Tensor, targets: Tensor, mixup: float) -> tuple[Tensor, Tensor]:
    """Mix each segment with its neighbour, a random one, since tracks are in random order."""
    parameter = torch.full((len(codes), 1, 1), float(mixup), device=codes.device)
    share = Beta(parameter, parameter, validate_args=False).sample()  # validation would wait for the device
    share = torch.maximum(share, 1 - share)
    return codes.roll(1, dims=0).lerp(codes, share), targets.roll(1, dims=0).lerp(targets, share[:, 0])

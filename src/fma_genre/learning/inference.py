"""Predictions of a trained network: of segments, and averaged over each track's segments."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fma_genre.common.errors import InputError
from fma_genre.learning.build import FrontEnd
from fma_genre.learning.clips import Clips

BATCH = 256  # segments
ROUNDING = 1e-3  # a segment's probabilities may miss 1 by this


@dataclass(frozen=True)
class Prediction:
    """For each segment of some tracks, on the CPU."""

    tracks: Tensor  # (segments,) position of the segment's track
    features: Tensor  # (segments, features)
    probabilities: Tensor  # (segments, classes)

    def track_features(self) -> Tensor:
        """(tracks, features): the mean over a track's segments."""
        return _mean_by_track(self.features, self.tracks)

    def track_probabilities(self) -> Tensor:
        """(tracks, classes): the mean softmax over a track's segments."""
        return _mean_by_track(self.probabilities, self.tracks)


@torch.inference_mode()
def predict(network: nn.Module, clips: Clips, front_end: FrontEnd) -> Prediction:
    """Run the network on evenly spread segments of every clip.

    Raises:
        InputError: it gives no probabilities, since its weights are too large for float32.
    """
    network.eval()
    tracks, starts = clips.even_segments()
    features, probabilities = [], []
    for batch in zip(tracks.split(BATCH), starts.split(BATCH), strict=True):
        segments = front_end.decode(front_end.encode(clips.crop(*batch)))
        hidden = network.features(segments)
        features.append(hidden)
        probabilities.append(network.head(hidden).softmax(dim=1))
    prediction = Prediction(tracks.cpu(), torch.cat(features).cpu(), torch.cat(probabilities).cpu())
    _check_probabilities(prediction.probabilities)
    return prediction


def _check_probabilities(probabilities: Tensor) -> None:
    """Raise InputError unless each segment's (segments, classes) are from 0 to 1 and add up to 1."""
    possible = (probabilities >= 0).all(dim=1) & ((probabilities.sum(dim=1) - 1).abs() <= ROUNDING)  # NaN is neither
    if not possible.all():
        found = probabilities[~possible][0].sum()
        raise InputError(f"expected a network whose probabilities add up to 1, found a sum of {found:.4g}")


def _mean_by_track(values: Tensor, tracks: Tensor) -> Tensor:
    total = torch.zeros(int(tracks[-1]) + 1, values.shape[1]).index_add_(0, tracks, values)
    return total / torch.bincount(tracks)[:, None]

"""Predictions of a trained network for segments, and their averages for tracks."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fma_genre.common.errors import InputError
from fma_genre.learning.build import FrontEnd
from fma_genre.learning.clips import Clips

BATCH = 256  # segments
SUM_TOLERANCE = 1e-3  # largest difference between 1 and the sum of a segment's probabilities


@dataclass(frozen=True)
class Prediction:
    """Output of a network for all segments of some tracks, on the CPU."""

    tracks: Tensor  # (segments,) position of the segment's track, ascending
    features: Tensor  # (segments, features)
    probabilities: Tensor  # (segments, classes)

    def track_features(self) -> Tensor:
        """Average the features over the segments of each track, to (tracks, features)."""
        return _mean_by_track(self.features, self.tracks)

    def track_probabilities(self) -> Tensor:
        """Average the probabilities over the segments of each track, to (tracks, classes)."""
        return _mean_by_track(self.probabilities, self.tracks)


@torch.inference_mode()
def predict(network: nn.Module, clips: Clips, front_end: FrontEnd) -> Prediction:
    """Run the network on evenly spaced segments of every clip.

    Raises:
        InputError: the outputs are not probabilities, because large weights made float32 overflow.
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
    """Raise InputError unless each row of `probabilities` (segments, classes) is a distribution."""
    positive = (probabilities >= 0).all(dim=1)  # False for NaN
    normalised = (probabilities.sum(dim=1) - 1).abs() <= SUM_TOLERANCE
    invalid = ~(positive & normalised)
    if invalid.any():
        found = probabilities[invalid][0].sum()
        raise InputError(f"expected a network whose probabilities add up to 1, found a sum of {found:.4g}")


def _mean_by_track(values: Tensor, tracks: Tensor) -> Tensor:
    """Average values (segments, values) over the segments of each track, to (tracks, values)."""
    total = torch.zeros(int(tracks[-1]) + 1, values.shape[1]).index_add_(0, tracks, values)
    return total / torch.bincount(tracks)[:, None]

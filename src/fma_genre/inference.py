"""What a trained network says of whole clips: per segment, and averaged over each track's segments."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fma_genre.segments import Clips, Normalisation

BATCH = 256  # segments


@dataclass(frozen=True)
class Prediction:
    """For each segment of some tracks."""

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
def predict(model: nn.Module, clips: Clips, normalisation: Normalisation) -> Prediction:
    """Runs the network over evenly spread segments of every clip; the result is on the CPU."""
    model.eval()
    tracks, starts = clips.even_segments()
    features, probabilities = [], []
    for batch in zip(tracks.split(BATCH), starts.split(BATCH), strict=True):
        segments = normalisation(clips.crop(*batch))
        hidden = model.features(segments)
        features.append(hidden)
        probabilities.append(model.head(hidden).softmax(dim=1))
    return Prediction(tracks.cpu(), torch.cat(features).cpu(), torch.cat(probabilities).cpu())


def _mean_by_track(values: Tensor, tracks: Tensor) -> Tensor:
    total = torch.zeros(int(tracks[-1]) + 1, values.shape[1]).index_add_(0, tracks, values)
    return total / torch.bincount(tracks)[:, None]

"""Predictions of trained networks for segments, and their averages for tracks."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from fma_genre.common.errors import InputError
from fma_genre.learning.build import FrontEnd
from fma_genre.learning.clips import Clips

# Segments in a batch. On a CPU, larger batches are no faster, and take more memory.
CPU_BATCH, GPU_BATCH = 16, 64
SUM_TOLERANCE = 1e-3  # largest difference between 1 and the sum of a segment's probabilities
Outputs = list[tuple[Tensor, Tensor]]  # features (segments, features) and probabilities (segments, classes) per network


@dataclass(frozen=True)
class Prediction:
    """Output of a network for all segments of some tracks, on the CPU."""

    tracks: Tensor  # (segments,) position of the segment's track, ascending
    probabilities: Tensor  # (segments, classes)
    track_features: Tensor  # (tracks, features), averaged over the segments of each track

    def track_probabilities(self) -> Tensor:
        """Average the probabilities over the segments of each track, to (tracks, classes)."""
        return _mean_by_track(self.probabilities, self.tracks)


def predict(network: nn.Module, clips: Clips, front_end: FrontEnd) -> Prediction:
    """Run a network on evenly spaced segments of every clip.

    Raises:
        InputError: the outputs are not probabilities, because large weights made float32 overflow.
    """
    return predict_runs([network], clips, front_end)[0]


def predict_runs(
    networks: Sequence[nn.Module], clips: Clips, front_end: FrontEnd, threads: int = 1
) -> list[Prediction]:
    """Run the networks of several runs on evenly spaced segments of every clip, each of which is read only once.

    Args:
        threads: number of batches that are predicted at the same time; 1 on a GPU. The results do not depend on it.

    Raises:
        InputError: the outputs are not probabilities, because large weights made float32 overflow.
    """
    for network in networks:
        network.eval()
    features: list[list[Tensor]] = [[] for _ in networks]
    probabilities: list[list[Tensor]] = [[] for _ in networks]
    pool = ThreadPoolExecutor(threads)
    try:
        for part in clips.parts():
            tracks, starts = part.even_segments()
            size = batch_size(tracks.device)
            work = partial(_predict_batch, networks, part, front_end)
            outputs = list((pool.map if threads > 1 else map)(work, tracks.split(size), starts.split(size)))
            for run, batch_outputs in enumerate(zip(*outputs, strict=True)):
                hidden, shares = (torch.cat(parts).cpu() for parts in zip(*batch_outputs, strict=True))
                features[run].append(_mean_by_track(hidden, tracks.cpu()))
                probabilities[run].append(shares)
            del part, work  # frees memory before the next part but one is read
    finally:
        pool.shutdown(cancel_futures=True)
    tracks = clips.even_segments()[0].cpu()
    predictions = [
        Prediction(tracks, torch.cat(shares), torch.cat(means))
        for shares, means in zip(probabilities, features, strict=True)
    ]
    for prediction in predictions:
        _check_probabilities(prediction.probabilities)
    return predictions


def batch_size(device: torch.device) -> int:
    """Number of segments that are predicted at once."""
    return CPU_BATCH if device.type == "cpu" else GPU_BATCH


@torch.inference_mode()
def _predict_batch(
    networks: Sequence[nn.Module], clips: Clips, front_end: FrontEnd, tracks: Tensor, starts: Tensor
) -> Outputs:
    """Run every network on the segments of `tracks` (segments,) that begin at the frames `starts` (segments,)."""
    segments = front_end.decode(front_end.encode(clips.crop(tracks, starts)))
    hidden = [network.features(segments) for network in networks]
    return [
        (features, network.head(features).softmax(dim=1)) for network, features in zip(networks, hidden, strict=True)
    ]


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

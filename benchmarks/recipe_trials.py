"""Parts of a recipe that the search tries and params.yaml does not offer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fma_genre.learning.build import FrontEnd

LOWEST = 0.3  # share of the bins that a random low-pass always keeps
MIN_FILLED = 0.05  # a bin has no sound if a smaller share of its levels is above the floor


@dataclass(frozen=True)
class Trial:
    """Parts of a recipe, all of them off by default."""

    band_masks: float = 0  # largest share of the bins that the mask of a segment covers
    frame_masks: float = 0  # the same for frames
    average: float = 0  # decay of an exponential moving average of the weights, per update
    low_pass: float = 0  # share of the batches that have no sound above a random frequency
    absent: bool = False  # bins without sound in a segment read as their mean, in training and in prediction

    @contextmanager
    def applied(self, network: nn.Module, front_end: FrontEnd) -> Iterator["TrialFrontEnd"]:
        """Yield the front end for training. At the end of the block, the network has its averaged weights."""
        if not self.average:
            yield TrialFrontEnd(front_end, self, training=True)
            return
        averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(self.average), use_buffers=True)
        handle = register_optimizer_step_post_hook(lambda *_: averaged.update_parameters(network))
        try:
            yield TrialFrontEnd(front_end, self, training=True)
        finally:
            handle.remove()
        network.load_state_dict(averaged.module.state_dict())

    def for_prediction(self, front_end: FrontEnd) -> "TrialFrontEnd":
        return TrialFrontEnd(front_end, self, training=False)


@dataclass(frozen=True)
class TrialFrontEnd:
    """A fitted front end with the changes of a trial. Random changes are made in training only."""

    inner: FrontEnd
    trial: Trial
    training: bool

    def encode(self, levels: Tensor) -> Tensor:
        if self._is_random and self.trial.low_pass and torch.rand(()) < self.trial.low_pass:
            levels = levels.clone()
            levels[..., int(levels.shape[-1] * (LOWEST + (1 - LOWEST) * torch.rand(()))) :] = 0
        codes = self.inner.encode(levels)
        if self.trial.absent:
            filled = (levels > 0).float().mean(dim=-2, keepdim=True)
            codes = codes.masked_fill(filled < MIN_FILLED, 0)
        return codes

    def encode_shifted(self, batches: Sequence[Tensor], source_bins: Tensor) -> Tensor:
        shifted = [batch.gather(-1, bins.expand_as(batch)) for batch, bins in zip(batches, source_bins, strict=True)]
        return torch.cat([self.encode(batch) for batch in shifted])

    def decode(self, codes: Tensor) -> Tensor:
        codes = self.inner.decode(codes)
        if self._is_random:
            for share, dim in ((self.trial.band_masks, 2), (self.trial.frame_masks, 1)):
                if share:
                    codes = codes.masked_fill(random_ranges(len(codes), codes.shape[dim], share, dim), 0)
        return codes

    @property
    def _is_random(self) -> bool:
        """Validation during the training is in inference mode."""
        return self.training and not torch.is_inference_mode_enabled()


def random_ranges(segments: int, size: int, share: float, dim: int) -> Tensor:
    """A random range of at most `share` of the positions along `dim` for each segment, as a mask."""
    width = torch.rand((segments, 1)) * share * size
    start = torch.rand((segments, 1)) * (size - width)
    positions = torch.arange(size)
    return ((positions >= start) & (positions < start + width)).unsqueeze(3 - dim)

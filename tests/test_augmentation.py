"""Augmentation: random pitch shifts and mixtures of training segments."""

from collections.abc import Sequence
from dataclasses import dataclass

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from fma_genre.front_ends.cepstral import FrontEnd
from fma_genre.learning.augmentation import augment
from fma_genre.learning.clips import Clips
from stores import make_clips

BINS, SEGMENT = 96, 16
STFT = librosa.fft_frequencies(sr=22050, n_fft=2 * BINS)[1:]
MEL = librosa.mel_frequencies(n_mels=BINS + 2, fmin=0, fmax=11025)[1:-1]
PLAIN = FrontEnd(torch.zeros(BINS), torch.eye(BINS), torch.eye(BINS))  # does not change levels


def tones(bins: list[int], frequencies: np.ndarray = STFT) -> Clips:
    """Clips of different classes; in each, only one bin is not 0."""
    levels = torch.zeros(len(bins), SEGMENT, BINS, dtype=torch.uint8)
    levels[torch.arange(len(bins)), :, torch.tensor(bins)] = 200
    return make_clips(levels, SEGMENT, frequencies=frequencies)


def augmented(clips: Clips, seed: int = 0, max_pitch_shift: float = 0, mixup: float = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return augment(clips, [torch.arange(len(clips.rows))], PLAIN, max_pitch_shift=max_pitch_shift, mixup=mixup)


def test_without_changes_segments_are_crops_and_targets_certain() -> None:
    clips = tones([3, 50, 90])
    segments, targets = augmented(clips)
    assert torch.equal(segments, clips.levels.float())
    assert torch.equal(targets, torch.eye(3))


@pytest.mark.parametrize("frequencies", [STFT, MEL], ids=["stft", "mel"])
def test_pitch_is_shifted_by_up_to_so_many_semitones_up_and_down(frequencies: np.ndarray) -> None:
    """The peak moves to the bin whose frequency differs by the factor of the shift, up to the distance of bins."""
    clips = tones([60], frequencies)
    clips.levels[:, :, 58:63] = 200
    shifts = []
    for seed in range(200):
        segments, _ = augmented(clips, seed, max_pitch_shift=4)
        found = segments[0, 0].nonzero().ravel()
        shifts.append(float(12 * (clips.frequencies[found] / clips.frequencies[60]).log2().mean()))
    width = float(12 * (clips.frequencies[61] / clips.frequencies[59]).log2())  # of two bins
    assert 4 - width < max(shifts) <= 4 + width
    assert -4 - width <= min(shifts) < -4 + width
    assert abs(np.mean(shifts)) < 1


def test_a_batch_is_shifted_alike_and_others_otherwise() -> None:
    clips = tones([50] * 8)
    torch.manual_seed(1)
    batches = [torch.arange(4), torch.arange(4, 8)]
    segments, _ = augment(clips, batches, PLAIN, max_pitch_shift=6, mixup=0)
    assert torch.equal(segments[:4], segments[:1].expand(4, -1, -1))
    assert torch.equal(segments[4:], segments[4:5].expand(4, -1, -1))
    assert not torch.equal(segments[0], segments[4])


def test_mixtures_have_the_shares_of_their_targets() -> None:
    clips = tones([10 * number for number in range(9)])
    segments, targets = augmented(clips, mixup=1)
    np.testing.assert_allclose(segments[:, 0, ::10][:, :9] / 200, targets, atol=1e-6)
    np.testing.assert_allclose(targets.sum(dim=1), 1, rtol=1e-6)
    own = targets.diagonal()
    assert bool((own >= 0.5).all())
    assert bool(((targets > 0).sum(dim=1) == 2).all())
    assert own.unique().numel() == 9


def test_shares_are_beta_distributed() -> None:
    """With uniform shares (mixup = 1), the mean of the larger share is 0.75."""
    clips = tones([5] * 4000)
    _, targets = augment(clips, [torch.arange(4000)], PLAIN, max_pitch_shift=0, mixup=1)
    own = targets.diagonal()
    assert float(own.mean()) == pytest.approx(0.75, abs=0.01)
    assert float(own.std()) == pytest.approx(0.5 / np.sqrt(12), rel=0.05)


@dataclass(frozen=True)
class Squared:
    """A front end whose codes are squared levels, so that mixing levels instead of codes would give another result."""

    def encode(self, levels: Tensor) -> Tensor:
        return levels.float().square()

    def encode_shifted(self, batches: Sequence[Tensor], source_bins: Tensor) -> Tensor:
        return torch.cat([self.encode(batch)[..., bins] for batch, bins in zip(batches, source_bins, strict=True)])

    def decode(self, codes: Tensor) -> Tensor:
        return codes.sqrt()


@pytest.mark.parametrize("max_pitch_shift", [0, 1e-6], ids=["not shifted", "shifted by next to nothing"])
def test_codes_are_mixed_and_then_decoded_whatever_the_front_end(max_pitch_shift: float) -> None:
    clips = tones([10 * number for number in range(9)])
    torch.manual_seed(0)
    segments, targets = augment(clips, [torch.arange(9)], Squared(), max_pitch_shift=max_pitch_shift, mixup=1)
    np.testing.assert_allclose(segments[:, 0, ::10][:, :9].square() / 200**2, targets, atol=1e-6)

"""Front ends: the interface of all of them, and their results compared with NumPy, SciPy and librosa."""

import io

import librosa
import numpy as np
import pytest
import torch
from scipy.fft import dct, idct
from torch import Tensor

from fma_genre.common import params
from fma_genre.features import audio
from fma_genre.features.build import build as build_representation
from fma_genre.features.levels import quantised_levels
from fma_genre.front_ends import standardised
from fma_genre.front_ends.cepstral import Arguments, FrontEnd
from fma_genre.learning import build
from fma_genre.learning.augmentation import augment
from fma_genre.learning.clips import Clips
from project import PARAMS
from real import needs_real
from stores import make_clips
from test_audio import REAL_CLIPS, real_clip
from test_clips import random_levels

SEGMENT = 128
SPECTROGRAMS = params.load(PARAMS).spectrograms
# The front ends in the tests of all front ends, with arguments; add your own here:
ARGUMENTS: dict[str, dict[str, int]] = {"cepstral": {"cepstral_coefficients": 5}, "standardised": {}}


def clips(lengths: list[int], levels: Tensor) -> Clips:
    """Clips with bins at equal distances on the mel scale."""
    return make_clips(levels, SEGMENT, lengths=lengths, frequencies=np.arange(levels.shape[2]))


def fit(data: Clips, coefficients: int) -> FrontEnd:
    return FrontEnd.fit(data, Arguments(coefficients))


def applied(front_end: build.FrontEnd, levels: Tensor) -> Tensor:
    """The input of a network."""
    return front_end.decode(front_end.encode(levels))


# All front ends. --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARGUMENTS)
def test_tensors_have_the_announced_shapes_and_make_the_same_front_end_again(name: str) -> None:
    levels = random_levels([200, 50], bins=12)
    front_end = build.fit_front_end(name, ARGUMENTS[name], clips([200, 50], levels))
    tensors = build.tensors_of(front_end)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert shapes == build.front_end_shapes(name, ARGUMENTS[name], bins=12)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    again = build.restore_front_end(name, tensors)
    assert torch.equal(applied(again, levels), applied(front_end, levels))
    moved = build.tensors_of(build.move(front_end, torch.device("meta")))
    assert {tensor.device.type for tensor in moved.values()} == {"meta"}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_network_gets_as_many_frames_and_bins_as_are_stored(name: str) -> None:
    levels = random_levels([200, 50], bins=12)
    front_end = build.fit_front_end(name, ARGUMENTS[name], clips([200, 50], levels))
    found = applied(front_end, levels[:, :20])
    assert found.shape == (2, 20, 12)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("name", ARGUMENTS)
def test_moved_bins_count_as_if_levels_had_been_moved(name: str) -> None:
    levels = random_levels([200, 200, 200], bins=8)
    front_end = build.fit_front_end(name, ARGUMENTS[name], clips([200] * 3, levels))
    source_bins = torch.tensor([[0, 0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7, 7]])
    found = front_end.encode_shifted([levels[:2], levels[2:]], source_bins)
    moved = torch.cat([levels[:2][..., source_bins[0]], levels[2:][..., source_bins[1]]])
    np.testing.assert_allclose(found, front_end.encode(moved), atol=1e-4)


# standardised. ----------------------------------------------------------------------------------------------------


def fit_standardised(data: Clips) -> standardised.FrontEnd:
    return standardised.FrontEnd.fit(data, standardised.Arguments())


def test_levels_become_z_scores_over_all_frames_of_the_training_clips() -> None:
    lengths = [1, 40, 300, 7, 128]
    levels = random_levels([*lengths, 299], bins=12, frames=310)  # the last row is in another split
    front_end = fit_standardised(clips([*lengths, 299], levels).subset(torch.arange(5)))
    frames = np.concatenate([levels[row, :length].numpy() for row, length in enumerate(lengths)]).astype(np.float64)
    expected = (levels.numpy() - frames.mean(axis=0)) / frames.std(axis=0)
    np.testing.assert_allclose(applied(front_end, levels), expected, atol=1e-5)


def test_a_bin_that_hardly_varies_is_not_amplified() -> None:
    """Its deviation counts as one stored level. Other bins are unaffected."""
    levels = random_levels([200], bins=4)
    levels[..., 1] = 7
    levels[..., 2] = 0
    levels[:, 0, 2] = 1  # deviation 0.07
    front_end = fit_standardised(clips([200], levels))
    assert front_end.deviation[1:3].tolist() == [1, 1]
    np.testing.assert_allclose(front_end.deviation[[0, 3]], levels.double().std(dim=(0, 1), correction=0)[[0, 3]])
    assert applied(front_end, levels)[..., 1:3].abs().max() < 1.01


@needs_real
@pytest.mark.parametrize("track", REAL_CLIPS)
@pytest.mark.parametrize(("name", "bins"), [("mel", 128), ("stft", 512)])
def test_input_of_a_network_is_librosas_standardised_spectrogram(name: str, bins: int, track: int) -> None:
    """All bins of the log-mel or log-STFT spectrogram; librosa's are not rounded to 8 bits."""
    data = real_clip(track)
    samples, rate = librosa.load(io.BytesIO(data), sr=22050, duration=30)
    if name == "mel":
        power = librosa.feature.melspectrogram(y=samples, sr=rate, n_fft=2048, hop_length=512, n_mels=128)
    else:
        power = np.abs(librosa.stft(samples, n_fft=1024, hop_length=512))[1:] ** 2
    decibels = librosa.power_to_db(power, ref=np.max, amin=1e-30, top_db=100).T
    deviation = decibels.std(axis=0)
    varies = deviation > 3  # dB; with less, the correlation with levels in steps of 0.4 dB cannot exceed 0.999

    representation = build_representation(name, SPECTROGRAMS)
    own = quantised_levels(representation.power(audio.load(data, 22050, 30).samples), SPECTROGRAMS.floor_db)
    stored = torch.from_numpy(own)[None]
    made = make_clips(stored, SEGMENT, frequencies=representation.frequencies())
    found = applied(fit_standardised(made), stored)[0].numpy()
    assert found.shape == decibels.shape == (len(decibels), bins)
    assert varies.sum() > bins / 3
    for bin_ in np.flatnonzero(varies):
        assert np.corrcoef(found[:, bin_], decibels[:, bin_])[0, 1] > 0.999
    expected = (decibels - decibels.mean(axis=0))[:, varies] / deviation[varies]
    np.testing.assert_allclose(found[:, varies], expected, atol=0.1)


@pytest.mark.parametrize("name", ["mel", "stft"])
@pytest.mark.parametrize("semitones", [-3, -1, 2, 3])
def test_a_shifted_tone_is_where_a_tone_of_that_pitch_is(
    name: str, semitones: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peak of a tone moved by k semitones is that of a tone synthesised k semitones away, up to one bin."""
    representation = build_representation(name, SPECTROGRAMS)
    pitches = [1500.0, 1500.0 * 2 ** (semitones / 12)]
    times = np.arange(2 * 22050) / 22050
    tones = [np.sin(2 * np.pi * pitch * times).astype(np.float32) for pitch in pitches]
    levels = np.stack([quantised_levels(representation.power(tone), SPECTROGRAMS.floor_db) for tone in tones])
    data = make_clips(torch.from_numpy(levels[:, 20:60]), 16, frequencies=representation.frequencies())

    def constant(size: tuple[int, int], device: torch.device) -> Tensor:
        return torch.full(size, 0.5 - semitones / 6)  # to raise the pitch, each bin gets the level of a lower one

    front_end = fit_standardised(data)
    with monkeypatch.context() as patched:
        patched.setattr(torch, "rand", constant)
        patched.setattr(Clips, "random_starts", lambda self, tracks: torch.zeros_like(tracks))
        shifted, _ = augment(data, [torch.tensor([0])], front_end, max_pitch_shift=3, mixup=0)
    moved = shifted[0] * front_end.deviation + front_end.mean  # stored levels again
    expected = torch.from_numpy(levels[1, 20])
    assert abs(int(moved[5].argmax()) - int(expected.argmax())) <= 1
    assert int(moved[5].argmax()) != int(levels[0, 20].argmax())


# cepstral. --------------------------------------------------------------------------------------------------------


def test_mel_bands_become_standardised_cepstra() -> None:
    """For bands of equal width, the cosines are SciPy's DCT."""
    lengths = [1, 40, 300, 7, 128]
    levels = random_levels([*lengths, 299], bins=12, frames=310)  # the last row is in another split
    even = np.arange(1.0, 13) * 60  # Hz; in this range the mel scale is linear
    data = make_clips(levels, SEGMENT, lengths=[*lengths, 299], frequencies=even).subset(torch.arange(5))
    front_end = fit(data, 5)

    frames = np.concatenate([levels[row, :length].numpy() for row, length in enumerate(lengths)]).astype(np.float64)
    standard = (frames - frames.mean(axis=0)) / frames.std(axis=0)
    cepstrum = dct(standard, axis=1)[:, :5]
    expected = cepstrum / cepstrum.std(axis=0)
    found = front_end.encode(torch.from_numpy(frames))
    np.testing.assert_allclose(found, expected, atol=1e-4)

    smooth = idct(np.pad(expected * [2, 1, 1, 1, 1], ((0, 0), (0, 7))), axis=1)
    found = applied(front_end, torch.from_numpy(frames)).numpy()
    np.testing.assert_allclose(found / found.std(), smooth / smooth.std(), atol=1e-4)


def test_bins_are_weighted_by_their_share_of_the_mel_scale() -> None:
    """Two representations of a smooth spectrum have nearly the same coefficients."""
    codes, generator = {}, np.random.default_rng(0)
    amplitudes = generator.normal(size=(1, 400, 3)) * [3, 2, 1]
    mel = librosa.mel_frequencies(n_mels=130, fmin=0, fmax=11025)[1:-1]
    stft = librosa.fft_frequencies(sr=22050, n_fft=1024)[1:]
    for name, frequencies in (("mel", mel), ("stft", stft)):
        place = librosa.hz_to_mel(frequencies) / librosa.hz_to_mel(11025)
        waves = amplitudes @ np.cos(np.pi * np.arange(1, 4)[:, None] * place)
        levels = torch.from_numpy((128 + 10 * waves).astype(np.uint8))
        front_end = fit(make_clips(levels, SEGMENT, frequencies=frequencies), 4)
        codes[name] = front_end.encode(levels)[0, :, 1:]
    for first, second in zip(codes["mel"].T, codes["stft"].T, strict=True):
        assert np.corrcoef(first, second)[0, 1] > 0.97


def test_input_of_a_network_has_mean_0_and_deviation_about_1() -> None:
    levels = random_levels([400] * 3, bins=24)
    standard = applied(fit(clips([400] * 3, levels), 8), levels)
    assert standard.shape == levels.shape
    np.testing.assert_allclose(standard.mean(dim=(0, 1)), 0, atol=1e-4)
    assert float(standard.square().mean()) == pytest.approx(1, rel=1e-4)


def test_with_as_many_coefficients_as_bins_the_levels_come_back() -> None:
    levels = random_levels([400], bins=6)
    front_end = fit(clips([400], levels), 100)
    assert front_end.analysis.shape == (6, 6)
    assert front_end.shapes(Arguments(100), bins=6)["analysis"] == (6, 6)
    back = applied(front_end, levels) @ torch.linalg.inv(front_end.analysis @ front_end.synthesis)
    np.testing.assert_allclose(back + front_end.mean, levels, atol=0.01)


def test_a_nearly_constant_coefficient_is_not_amplified() -> None:
    levels = torch.full((4, 200, 8), 7, dtype=torch.uint8)
    levels[:, ::2] = 107  # all bins are equal, so every coefficient except the first is constant
    assert applied(fit(clips([200] * 4, levels), 8), levels).abs().max() < 10

    empty = random_levels([200], bins=8)
    empty[..., 6:] = 0  # as in bins above the original Nyquist frequency of resampled audio
    front_end = fit(clips([200], empty), 8)
    source_bins = torch.tensor([[0, 0, 1, 2, 3, 4, 5, 5]])  # content moves into it
    shifted = front_end.decode(front_end.encode_shifted([empty], source_bins))
    assert shifted.square().mean() < 100 * applied(front_end, empty).square().mean()

    silent = fit(clips([200], torch.zeros(1, 200, 8, dtype=torch.uint8)), 8)
    assert torch.equal(applied(silent, torch.zeros(1, 5, 8, dtype=torch.uint8)), torch.zeros(1, 5, 8))

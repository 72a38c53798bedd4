"""Representations: librosa's levels within 1e-2 dB, and closed forms where there are any."""

import dataclasses
import io
import math
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.signal

from fma_genre.common import params
from fma_genre.common.errors import InputError
from fma_genre.features import audio, representations
from fma_genre.features.frames import frame_count
from fma_genre.features.levels import decibels, quantise, quantised_levels
from fma_genre.features.mel import Mel, mel_filters
from fma_genre.features.representations import REPRESENTATIONS, Representation
from fma_genre.features.stft import Stft, power_spectrum
from fma_genre.store import dequantise
from project import ROOT
from real import needs_real
from test_audio import RATES, REAL_CLIPS, encode, real_clip, signal

RATE, HOP, FLOOR = 22050, 512, 100.0
N_FFT, MEL_N_FFT, BANDS = 1024, 2048, 128
HALF = 20 * math.log10(2)  # dB


STFT = Stft(RATE, HOP, FLOOR, N_FFT)
MEL = Mel(RATE, HOP, FLOOR, MEL_N_FFT, BANDS)
BOTH = pytest.mark.parametrize("representation", [STFT, MEL], ids=["stft", "mel"])


def spectrogram(representation: Representation, samples: np.ndarray) -> np.ndarray:
    """(samples,) to dB relative to the maximum, (frames, bins)."""
    power = representation.power(samples)
    return decibels(power, power.max(), representation.floor_db)


def librosa_levels(samples: np.ndarray, n_fft: int, bands: int | None, hop: int = HOP) -> np.ndarray:
    """(frames, bins) in dB under the maximum, without a floor."""
    if bands:
        power = librosa.feature.melspectrogram(y=samples, sr=RATE, n_fft=n_fft, hop_length=hop, n_mels=bands)
    else:
        power = np.abs(librosa.stft(samples, n_fft=n_fft, hop_length=hop))[1:] ** 2
    return librosa.power_to_db(power, ref=np.max, amin=1e-30, top_db=None).T


def assert_within_a_hundredth_of_a_decibel(levels: np.ndarray, expected: np.ndarray) -> None:
    assert levels.shape == expected.shape
    above = expected > -FLOOR
    np.testing.assert_allclose(levels[above], expected[above], rtol=0, atol=1e-2)
    np.testing.assert_allclose(levels[~above], -FLOOR, atol=1e-2)


def assert_librosas(data: bytes) -> None:
    """Both representations, from a file's bytes on."""
    samples, _ = librosa.load(io.BytesIO(data), sr=RATE, duration=30)
    clip = audio.load(data, RATE, 30)
    for representation, n_fft, bands in ((MEL, MEL_N_FFT, BANDS), (STFT, N_FFT, None)):
        expected = librosa_levels(samples, n_fft, bands)
        assert_within_a_hundredth_of_a_decibel(spectrogram(representation, clip.samples), expected)


# librosa. ---------------------------------------------------------------------------------------------------------


@needs_real
@pytest.mark.parametrize("track", REAL_CLIPS)
def test_real_clips_have_librosas_levels(track: int) -> None:
    assert_librosas(real_clip(track))


@pytest.mark.parametrize("kind", ["WAV", "MP3"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", RATES)
def test_synthetic_clips_have_librosas_levels(rate: int, channels: int, kind: str) -> None:
    assert_librosas(encode(signal(rate, channels), rate, kind))


@pytest.mark.parametrize(("n_fft", "hop"), [(512, 128), (400, 160), (1024, 1500), (1001, 500)])
def test_other_settings_have_librosas_levels(n_fft: int, hop: int) -> None:
    samples = signal(RATE, 1)[:, 0].astype(np.float32)
    levels = spectrogram(Stft(RATE, hop, FLOOR, n_fft), samples)
    assert_within_a_hundredth_of_a_decibel(levels, librosa_levels(samples, n_fft, None, hop))
    levels = spectrogram(Mel(RATE, hop, FLOOR, n_fft, 40), samples)
    assert_within_a_hundredth_of_a_decibel(levels, librosa_levels(samples, n_fft, 40, hop))


def test_quiet_bands_in_loud_frames_have_librosas_levels() -> None:
    """Loud noise up to 5 kHz, and above it noise near the floor: single precision would be off by 0.014 dB."""
    loud, quiet = np.random.default_rng(0).normal(scale=0.2, size=(2, 10 * RATE))
    low_pass = scipy.signal.firwin(1001, 5000, fs=RATE, window=("kaiser", 12))
    samples = (scipy.signal.lfilter(low_pass, 1, loud) + quiet * 10 ** (-90 / 20)).astype(np.float32)
    for representation, n_fft, bands in ((MEL, MEL_N_FFT, BANDS), (STFT, N_FFT, None)):
        expected = librosa_levels(samples, n_fft, bands)
        assert_within_a_hundredth_of_a_decibel(spectrogram(representation, samples), expected)


@pytest.mark.filterwarnings("ignore:n_fft=")
@pytest.mark.parametrize("n_fft", [N_FFT, MEL_N_FFT])
def test_frames_are_counted_as_librosa_does(n_fft: int) -> None:
    for length in [1, 2, 511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049, 22050, 65535, 65536, 65537]:
        expected = librosa.stft(np.zeros(length, np.float32), n_fft=n_fft, hop_length=HOP).shape[1]
        assert len(power_spectrum(np.zeros(length, np.float32), n_fft, HOP)) == expected
        assert frame_count((length + 0.5) / RATE, RATE, HOP) == expected


def test_thirty_seconds_are_1292_frames_and_128_are_one_segment_of_three() -> None:
    assert frame_count(30, RATE, HOP) == 1292
    assert frame_count(2.97, RATE, HOP) == 128


@pytest.mark.parametrize("rate", [4000, 8000, 22050, 48000])
@pytest.mark.parametrize("bands", [2, 20, 128])
def test_mel_bands_are_equally_wide_on_the_mel_scale(rate: int, bands: int) -> None:
    frequencies = Mel(rate, HOP, FLOOR, 8192, bands).frequencies()
    np.testing.assert_allclose(frequencies, slaney_centres(bands, rate), rtol=1e-10)


@pytest.mark.parametrize("rate", [8000, 22050])
def test_stft_bins_are_multiples_of_one_frequency_without_0_hertz(rate: int) -> None:
    frequencies = Stft(rate, HOP, FLOOR, N_FFT).frequencies()
    np.testing.assert_allclose(frequencies, np.arange(1, N_FFT // 2 + 1) * rate / N_FFT, rtol=1e-12)


@BOTH
def test_every_bin_has_a_frequency(representation: Representation) -> None:
    assert representation.power(tone(440)).shape[1:] == representation.frequencies().shape


def test_more_mel_bands_than_can_be_told_apart_are_refused() -> None:
    with pytest.raises(InputError, match=r"spectrograms\.mel: expected bands that n_fft can tell apart, found \d+"):
        Mel(RATE, HOP, FLOOR, n_fft=256, bands=400)


# By name. ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_description_gives_the_same_representation_again(name: str) -> None:
    """Other settings than the pipeline's, so that none can come from elsewhere."""
    pipeline = params.load(ROOT / "params.yaml").spectrograms
    settings = dataclasses.replace(
        pipeline, sample_rate=16000, hop=256, floor_db=80.0, mel=params.Mel(1024, 32), stft=params.Stft(512)
    )
    description = representations.describe(name, settings, "set", synthetic=True, classes=["a", "b"])
    again = representations.from_description(description)
    samples = signal(16000, 1)[:, 0].astype(np.float32)
    power = representations.build(name, settings).power(samples)
    np.testing.assert_array_equal(again.power(samples), power)
    assert again.floor_db == 80
    assert power.shape == (1 + len(samples) // 256, {"mel": 32, "stft": 256}[name])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"representation": "stf"}, r"^representation: expected one of mel, stft, found 'stf'; did you mean stft\?$"),
        ({"representation": "mel"}, "^mel: expected the settings of this representation, found n_fft$"),
        ({"bands": 128}, "^stft: expected the settings of this representation, found n_fft, bands$"),
    ],
)
def test_a_description_of_no_representation_is_refused(changed: dict[str, Any], message: str) -> None:
    settings = params.load(ROOT / "params.yaml").spectrograms
    description = representations.describe("stft", settings, "set", synthetic=False, classes=["a", "b"])
    with pytest.raises(InputError, match=message):
        representations.from_description(dataclasses.replace(description, **changed))


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_description_has_the_place_of_each_bin(name: str) -> None:
    settings = params.load(ROOT / "params.yaml").spectrograms
    description = representations.describe(name, settings, "set", synthetic=False, classes=["a", "b"])
    frequencies = representations.build(name, settings).frequencies()
    assert description.frequencies == tuple(frequencies)
    np.testing.assert_allclose(description.mels, slaney_mels(frequencies), rtol=1e-12)
    assert (description.dataset, description.synthetic, description.classes) == ("set", False, ("a", "b"))


# Closed forms. ----------------------------------------------------------------------------------------------------


def tone(frequency: float, amplitude: float = 1.0, seconds: float = 1.0) -> np.ndarray:
    samples = amplitude * np.cos(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)
    return samples.astype(np.float32)


def inner(levels: np.ndarray) -> np.ndarray:
    """Without the frames that reach beyond the ends."""
    return levels[4:-4]


@pytest.mark.parametrize("position", [3, 40, 200, 400, 509])
def test_a_tone_lands_in_its_bin_and_halves_in_its_neighbours(position: int) -> None:
    """A Hann window's transform is 1 at the tone's own bin, 1/2 beside it and 0 elsewhere; column 0 is bin 1."""
    levels = inner(spectrogram(Stft(RATE, HOP, 80, N_FFT), tone(position * RATE / N_FFT)))
    expected = np.full(N_FFT // 2, -80.0)
    expected[position - 2 : position + 1] = [-HALF, 0, -HALF]
    np.testing.assert_allclose(levels, np.broadcast_to(expected, levels.shape), atol=0.01)


def slaney_mels(hertz: np.ndarray) -> np.ndarray:
    """Slaney's mel scale: linear up to 1 kHz (15 mel), then a factor of 6.4 for 27 mel."""
    return np.where(hertz < 1000, hertz * 3 / 200, 15 + 27 * np.log(hertz / 1000) / math.log(6.4))


def slaney_centres(bands: int, rate: int = RATE) -> np.ndarray:
    """Centre frequencies in Hz."""
    mel = np.linspace(0, slaney_mels(np.array(rate / 2)), bands + 2)[1:-1]
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


@pytest.mark.parametrize("band", [2, 20, 40, 64, 100, 126])
def test_a_tone_lands_in_its_mel_band(band: int) -> None:
    levels = inner(spectrogram(MEL, tone(slaney_centres(BANDS)[band])))
    assert (levels.argmax(axis=1) == band).all()


def test_mel_filters_are_triangles_of_equal_area() -> None:
    """Slaney's normalisation: each reaches 2 / width in Hz. Only wide ones are sampled well enough to see it."""
    filters = mel_filters(RATE, MEL_N_FFT, BANDS)
    area = filters.sum(axis=0) * RATE / MEL_N_FFT
    np.testing.assert_allclose(area[60:], 1, rtol=0.02)
    peaks = filters.argmax(axis=0) * RATE / MEL_N_FFT
    np.testing.assert_allclose(peaks, slaney_centres(BANDS), atol=RATE / MEL_N_FFT)


@pytest.mark.parametrize("frame", [5, 17, 30])
def test_an_impulse_lands_in_its_frame(frame: int) -> None:
    """Frame k is centred on sample k · hop: the window is 1 there, 0 at n_fft / 2 and 1/2 at n_fft / 4 from it."""
    impulse = np.zeros(RATE, np.float32)
    impulse[frame * HOP] = 1
    short = np.full((1 + RATE // HOP, N_FFT // 2), -FLOOR)
    short[frame] = 0
    np.testing.assert_allclose(spectrogram(STFT, impulse), short, atol=0.01)
    long = np.full((1 + RATE // HOP, MEL_N_FFT // 2), -FLOOR)
    long[frame - 1 : frame + 2] = np.array([-HALF, 0, -HALF])[:, None]
    np.testing.assert_allclose(spectrogram(Stft(RATE, HOP, FLOOR, MEL_N_FFT), impulse), long, atol=0.01)


@pytest.mark.parametrize("n_fft", [N_FFT, MEL_N_FFT])
def test_power_of_a_tone_and_of_white_noise(n_fft: int) -> None:
    """A full-scale tone has (Σ window / 2)² = (n_fft / 4)² in its bin; noise of variance 1, Σ window² = 3/8 n_fft."""
    power = inner(power_spectrum(tone(64 * RATE / n_fft), n_fft, HOP))
    np.testing.assert_allclose(power[:, 64], (n_fft / 4) ** 2, rtol=1e-5)
    noise = np.random.default_rng(0).normal(size=20 * RATE).astype(np.float32)
    assert inner(power_spectrum(noise, n_fft, HOP))[:, 1:-1].mean() == pytest.approx(3 / 8 * n_fft, rel=0.01)


@pytest.mark.parametrize("down", [6, 40, 90])
def test_levels_are_relative_to_the_loudest(down: float) -> None:
    samples = tone(100 * RATE / N_FFT) + tone(300 * RATE / N_FFT, 10 ** (-down / 20))
    levels = inner(spectrogram(STFT, samples))
    np.testing.assert_allclose(levels[:, 99], 0, atol=0.01)
    np.testing.assert_allclose(levels[:, 299], -down, atol=0.05)


@BOTH
@pytest.mark.parametrize("gain", [1e-3, 0.5, 4])
def test_the_volume_of_a_clip_does_not_matter(representation: Representation, gain: float) -> None:
    samples = signal(RATE, 1)[:, 0].astype(np.float32)
    expected = spectrogram(representation, samples)
    np.testing.assert_allclose(spectrogram(representation, samples * gain), expected, atol=1e-2)


@BOTH
@pytest.mark.parametrize("amplitude", [0, 1e-9])
def test_a_silent_clip_is_all_floor(representation: Representation, amplitude: float) -> None:
    samples = tone(440, amplitude)
    assert (spectrogram(representation, samples) == -FLOOR).all()
    assert not quantised_levels(representation.power(samples), FLOOR).any()


def test_silence_in_a_clip_is_floor() -> None:
    samples = np.concatenate([tone(440), np.zeros(RATE, np.float32)])
    np.testing.assert_allclose(spectrogram(STFT, samples)[-10:], -FLOOR, rtol=1e-6)


@BOTH
def test_stored_levels_are_relative_to_the_maximum_of_the_whole_clip(representation: Representation) -> None:
    """Not of a block of frames: the second half is 20 dB quieter."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=4 * RATE).astype(np.float32)
    noise[2 * RATE :] /= 10
    levels = quantise(spectrogram(representation, noise), FLOOR)
    np.testing.assert_array_equal(quantised_levels(representation.power(noise), FLOOR), levels)
    assert levels[:80].max() == 255
    assert levels[-80:].max() < 220


@pytest.mark.parametrize("floor", [80.0, 100.0])
def test_stored_levels_are_within_half_a_step(floor: float) -> None:
    levels = np.random.default_rng(0).uniform(-floor, 0, 100_000).astype(np.float32)
    stored = quantise(levels, floor)
    assert stored.dtype == np.uint8
    assert set(stored) == set(range(256))
    assert np.abs(dequantise(stored, floor) - levels).max() <= floor / 255 / 2 * 1.001


@pytest.mark.parametrize("floor", [80.0, 100.0])
def test_ends_of_the_scale_are_0_and_255(floor: float) -> None:
    power = np.array([1, 10 ** (-floor / 10), 10 ** (-floor / 10) / 1000, 0], np.float32)
    assert quantise(decibels(power, power.max(), floor), floor).tolist() == [255, 0, 0, 0]
    np.testing.assert_array_equal(dequantise(np.array([255, 0], np.uint8), floor), [0, -floor])
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(quantise(dequantise(every, floor), floor), every)

"""Spectrograms: librosa's within 1e-2 dB, and closed forms where there are any."""

import io
import math

import librosa
import numpy as np
import pytest
import scipy.signal

from fma_genre import audio
from fma_genre.spectrogram import (
    bins,
    decibels,
    dequantise,
    frame_count,
    mel_filters,
    power_spectrum,
    quantise,
    spectrogram,
)
from real import needs_real
from test_audio import RATES, REAL_CLIPS, encode, real_clip, signal

RATE, HOP, FLOOR = 22050, 512, 100.0
STFT, MEL, BANDS = 1024, 2048, 128
HALF = 20 * math.log10(2)  # dB


@pytest.fixture(scope="module")
def filters() -> np.ndarray:
    return mel_filters(RATE, MEL, BANDS)


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


def assert_librosas(data: bytes, filters: np.ndarray) -> None:
    """Both representations, from a file's bytes on."""
    samples, _ = librosa.load(io.BytesIO(data), sr=RATE, duration=30)
    clip = audio.load(data, RATE, 30)
    mel = spectrogram(clip.samples, HOP, FLOOR, MEL, filters)
    assert_within_a_hundredth_of_a_decibel(mel, librosa_levels(samples, MEL, BANDS))
    assert_within_a_hundredth_of_a_decibel(
        spectrogram(clip.samples, HOP, FLOOR, STFT), librosa_levels(samples, STFT, None)
    )


# librosa. ---------------------------------------------------------------------------------------------------------


@needs_real
@pytest.mark.parametrize("track", REAL_CLIPS)
def test_real_clips_have_librosas_levels(track: int, filters: np.ndarray) -> None:
    assert_librosas(real_clip(track), filters)


@pytest.mark.parametrize("kind", ["WAV", "MP3"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", RATES)
def test_synthetic_clips_have_librosas_levels(rate: int, channels: int, kind: str, filters: np.ndarray) -> None:
    assert_librosas(encode(signal(rate, channels), rate, kind), filters)


@pytest.mark.parametrize(("n_fft", "hop"), [(512, 128), (400, 160), (1024, 1500), (1001, 500)])
def test_other_settings_have_librosas_levels(n_fft: int, hop: int) -> None:
    samples = signal(RATE, 1)[:, 0].astype(np.float32)
    levels = spectrogram(samples, hop, FLOOR, n_fft)
    assert_within_a_hundredth_of_a_decibel(levels, librosa_levels(samples, n_fft, None, hop))
    levels = spectrogram(samples, hop, FLOOR, n_fft, mel_filters(RATE, n_fft, 40))
    assert_within_a_hundredth_of_a_decibel(levels, librosa_levels(samples, n_fft, 40, hop))


def test_quiet_bands_in_loud_frames_have_librosas_levels(filters: np.ndarray) -> None:
    """Loud noise up to 5 kHz, and above it noise near the floor: single precision would be off by 0.014 dB."""
    loud, quiet = np.random.default_rng(0).normal(scale=0.2, size=(2, 10 * RATE))
    low_pass = scipy.signal.firwin(1001, 5000, fs=RATE, window=("kaiser", 12))
    samples = (scipy.signal.lfilter(low_pass, 1, loud) + quiet * 10 ** (-90 / 20)).astype(np.float32)
    for n_fft, bands, chosen in ((MEL, BANDS, filters), (STFT, None, None)):
        expected = librosa_levels(samples, n_fft, bands)
        assert_within_a_hundredth_of_a_decibel(spectrogram(samples, HOP, FLOOR, n_fft, chosen), expected)


@pytest.mark.filterwarnings("ignore:n_fft=")
@pytest.mark.parametrize("n_fft", [STFT, MEL])
def test_frames_are_counted_as_librosa_does(n_fft: int) -> None:
    for length in [1, 2, 511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049, 22050, 65535, 65536, 65537]:
        expected = librosa.stft(np.zeros(length, np.float32), n_fft=n_fft, hop_length=HOP).shape[1]
        assert len(power_spectrum(np.zeros(length, np.float32), n_fft, HOP)) == expected
        assert frame_count((length + 0.5) / RATE, RATE, HOP) == expected


def test_thirty_seconds_are_1292_frames_and_128_are_one_segment_of_three() -> None:
    assert frame_count(30, RATE, HOP) == 1292
    assert frame_count(2.97, RATE, HOP) == 128
    assert bins({"n_fft": STFT}) == 512
    assert bins({"n_fft": MEL, "bands": BANDS}) == 128


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
    levels = inner(spectrogram(tone(position * RATE / STFT), HOP, 80, STFT))
    expected = np.full(STFT // 2, -80.0)
    expected[position - 2 : position + 1] = [-HALF, 0, -HALF]
    np.testing.assert_allclose(levels, np.broadcast_to(expected, levels.shape), atol=0.01)


def slaney_centres(bands: int) -> np.ndarray:
    """Centre frequencies in Hz: linear up to 1 kHz (15 mel), then a factor of 6.4 for 27 mel."""
    top = 15 + 27 * math.log(RATE / 2 / 1000) / math.log(6.4)
    mel = np.linspace(0, top, bands + 2)[1:-1]
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


@pytest.mark.parametrize("band", [2, 20, 40, 64, 100, 126])
def test_a_tone_lands_in_its_mel_band(band: int, filters: np.ndarray) -> None:
    levels = inner(spectrogram(tone(slaney_centres(BANDS)[band]), HOP, FLOOR, MEL, filters))
    assert (levels.argmax(axis=1) == band).all()


def test_mel_filters_are_triangles_of_equal_area(filters: np.ndarray) -> None:
    """Slaney's normalisation: each reaches 2 / width in Hz. Only wide ones are sampled well enough to see it."""
    area = filters.sum(axis=0) * RATE / MEL
    np.testing.assert_allclose(area[60:], 1, rtol=0.02)
    peaks = filters.argmax(axis=0) * RATE / MEL
    np.testing.assert_allclose(peaks, slaney_centres(BANDS), atol=RATE / MEL)


@pytest.mark.parametrize("frame", [5, 17, 30])
def test_an_impulse_lands_in_its_frame(frame: int) -> None:
    """Frame k is centred on sample k · hop: the window is 1 there, 0 at n_fft / 2 and 1/2 at n_fft / 4 from it."""
    impulse = np.zeros(RATE, np.float32)
    impulse[frame * HOP] = 1
    short = np.full((1 + RATE // HOP, STFT // 2), -FLOOR)
    short[frame] = 0
    np.testing.assert_allclose(spectrogram(impulse, HOP, FLOOR, STFT), short, atol=0.01)
    long = np.full((1 + RATE // HOP, MEL // 2), -FLOOR)
    long[frame - 1 : frame + 2] = np.array([-HALF, 0, -HALF])[:, None]
    np.testing.assert_allclose(spectrogram(impulse, HOP, FLOOR, MEL), long, atol=0.01)


@pytest.mark.parametrize("n_fft", [STFT, MEL])
def test_power_of_a_tone_and_of_white_noise(n_fft: int) -> None:
    """A full-scale tone has (Σ window / 2)² = (n_fft / 4)² in its bin; noise of variance 1, Σ window² = 3/8 n_fft."""
    power = inner(power_spectrum(tone(64 * RATE / n_fft), n_fft, HOP))
    np.testing.assert_allclose(power[:, 64], (n_fft / 4) ** 2, rtol=1e-5)
    noise = np.random.default_rng(0).normal(size=20 * RATE).astype(np.float32)
    assert inner(power_spectrum(noise, n_fft, HOP))[:, 1:-1].mean() == pytest.approx(3 / 8 * n_fft, rel=0.01)


@pytest.mark.parametrize("down", [6, 40, 90])
def test_levels_are_relative_to_the_loudest(down: float) -> None:
    samples = tone(100 * RATE / STFT) + tone(300 * RATE / STFT, 10 ** (-down / 20))
    levels = inner(spectrogram(samples, HOP, FLOOR, STFT))
    np.testing.assert_allclose(levels[:, 99], 0, atol=0.01)
    np.testing.assert_allclose(levels[:, 299], -down, atol=0.05)


@pytest.mark.parametrize("gain", [1e-3, 0.5, 4])
def test_the_volume_of_a_clip_does_not_matter(gain: float, filters: np.ndarray) -> None:
    samples = signal(RATE, 1)[:, 0].astype(np.float32)
    for chosen, n_fft in ((filters, MEL), (None, STFT)):
        expected = spectrogram(samples, HOP, FLOOR, n_fft, chosen)
        np.testing.assert_allclose(spectrogram(samples * gain, HOP, FLOOR, n_fft, chosen), expected, atol=1e-2)


@pytest.mark.parametrize("amplitude", [0, 1e-9])
def test_a_silent_clip_is_all_floor(amplitude: float, filters: np.ndarray) -> None:
    for chosen, n_fft in ((filters, MEL), (None, STFT)):
        levels = spectrogram(tone(440, amplitude), HOP, FLOOR, n_fft, chosen)
        assert (levels == -FLOOR).all()
        assert not quantise(levels, FLOOR).any()


def test_silence_in_a_clip_is_floor() -> None:
    samples = np.concatenate([tone(440), np.zeros(RATE, np.float32)])
    np.testing.assert_allclose(spectrogram(samples, HOP, FLOOR, STFT)[-10:], -FLOOR, rtol=1e-6)


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
    assert quantise(decibels(power, floor), floor).tolist() == [255, 0, 0, 0]
    np.testing.assert_array_equal(dequantise(np.array([255, 0], np.uint8), floor), [0, -floor])
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(quantise(dequantise(every, floor), floor), every)

"""Representations: levels within 0.01 dB of librosa's, and closed forms."""

import dataclasses
import io
import math
import sys
from types import SimpleNamespace
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.signal

from fma_genre.common import params
from fma_genre.common.errors import InputError
from fma_genre.common.schema import read
from fma_genre.features import audio
from fma_genre.features.build import Representation, build, describe, from_description
from fma_genre.features.frames import frame_count, power_spectrum
from fma_genre.features.levels import decibels, quantise, quantised_levels
from fma_genre.features.representations import mel, stft
from fma_genre.features.representations.mel import mel_filters
from fma_genre.store import Description, dequantise
from project import PARAMS
from real import needs_real
from test_audio import RATES, REAL_CLIPS, encode, real_clip, signal

RATE, HOP, FLOOR = 22050, 512, 100.0
N_FFT, MEL_N_FFT, BANDS = 1024, 2048, 128
HALF = 20 * math.log10(2)  # dB


def make_mel(n_fft: int = MEL_N_FFT, bands: int = BANDS, *, rate: int = RATE, hop: int = HOP) -> mel.Representation:
    return mel.Representation(mel.Arguments(n_fft, bands), sample_rate=rate, hop=hop, floor_db=FLOOR)


def make_stft(n_fft: int = N_FFT, *, rate: int = RATE, hop: int = HOP) -> stft.Representation:
    return stft.Representation(stft.Arguments(n_fft), sample_rate=rate, hop=hop, floor_db=FLOOR)


MEL, STFT = make_mel(), make_stft()
SETTINGS = params.load(PARAMS).spectrograms
REPRESENTATIONS = {"mel": {"n_fft": 1024, "bands": 32}, "stft": {"n_fft": 512}}
BOTH = pytest.mark.parametrize("representation", [STFT, MEL], ids=["stft", "mel"])


def spectrogram(representation: Representation, samples: np.ndarray, floor: float = FLOOR) -> np.ndarray:
    """Levels in dB relative to the maximum (frames, bins) of samples (samples,)."""
    power = representation.power(samples)
    return decibels(power, power.max(), floor)


def librosa_levels(samples: np.ndarray, n_fft: int, bands: int | None, hop: int = HOP) -> np.ndarray:
    """librosa's levels in dB relative to the maximum (frames, bins), without a floor."""
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
    """Check both representations of an audio file against librosa."""
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
    levels = spectrogram(make_stft(n_fft, hop=hop), samples)
    assert_within_a_hundredth_of_a_decibel(levels, librosa_levels(samples, n_fft, None, hop))
    levels = spectrogram(make_mel(n_fft, 40, hop=hop), samples)
    assert_within_a_hundredth_of_a_decibel(levels, librosa_levels(samples, n_fft, 40, hop))


def test_quiet_bands_in_loud_frames_have_librosas_levels() -> None:
    """Noise is loud up to 5 kHz and near the floor above. In single precision, the error would be 0.014 dB."""
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
    frequencies = make_mel(8192, bands, rate=rate).frequencies()
    np.testing.assert_allclose(frequencies, slaney_centres(bands, rate), rtol=1e-10)


@pytest.mark.parametrize("rate", [8000, 22050])
def test_stft_bins_are_multiples_of_one_frequency_without_0_hertz(rate: int) -> None:
    frequencies = make_stft(rate=rate).frequencies()
    np.testing.assert_allclose(frequencies, np.arange(1, N_FFT // 2 + 1) * rate / N_FFT, rtol=1e-12)


@BOTH
def test_every_bin_has_a_frequency(representation: Representation) -> None:
    assert representation.power(tone(440)).shape[1:] == representation.frequencies().shape


def test_more_mel_bands_than_can_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^expected fewer bands or a larger n_fft, found \d+ bands without a bin"):
        make_mel(n_fft=256, bands=400)


# By name. ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_description_gives_the_same_representation_again(name: str) -> None:
    """The settings differ from those of the pipeline, so they can only come from the description."""
    common: dict[str, Any] = {"sample_rate": 16000, "seconds": 30.0, "hop": 256, "floor_db": 80.0}
    settings = params.Spectrograms(**common, representations=REPRESENTATIONS)
    description = describe(name, settings, "set", synthetic=True, classes=["a", "b"])
    again = from_description(description)
    samples = signal(16000, 1)[:, 0].astype(np.float32)
    power = build(name, settings).power(samples)
    np.testing.assert_array_equal(again.power(samples), power)
    assert {key: getattr(description, key) for key in common} == common
    assert power.shape == (1 + len(samples) // 256, {"mel": 32, "stft": 256}[name])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"representation": "stf"}, r"^representation: expected one of .*, found 'stf'; did you mean stft\?$"),
        ({"representation": "mel"}, r"^mel\.bands: expected a whole number from 2 to 4096, found none$"),
        ({"arguments": {"bands": 128}}, "^stft: expected the keys n_fft, found 'bands'$"),
        ({"representation": "mel", "arguments": {"bands": 1}}, r"^mel\.bands: expected .* from 2 to 4096, found 1$"),
        ({"representation": "mel", "arguments": {"bands": 2000}}, "^mel: expected fewer bands or a larger n_fft"),
    ],
)
def test_a_description_of_no_representation_is_refused(changed: dict[str, Any], message: str) -> None:
    description = describe("stft", SETTINGS, "set", synthetic=False, classes=["a", "b"])
    with pytest.raises(InputError, match=message):
        from_description(dataclasses.replace(description, **changed))


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_description_has_the_place_of_each_bin(name: str) -> None:
    description = describe(name, SETTINGS, "set", synthetic=False, classes=["a", "b"])
    frequencies = build(name, SETTINGS).frequencies()
    assert description.frequencies == tuple(frequencies)
    assert description.has_frequencies
    np.testing.assert_allclose(description.mels, slaney_mels(frequencies), rtol=1e-12)
    assert (description.dataset, description.synthetic, description.classes) == ("set", False, ("a", "b"))


@dataclasses.dataclass
class Periods:
    """A representation whose bins have no frequencies."""

    arguments: object
    sample_rate: int
    hop: int
    floor_db: float

    def frequencies(self) -> np.ndarray:
        return np.zeros(5)

    def power(self, samples: np.ndarray) -> np.ndarray:
        return np.ones((1 + len(samples) // self.hop, 5), np.float32)


def test_bins_without_frequencies_are_described_by_their_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass
    class Arguments:
        longest: int

    module = SimpleNamespace(Arguments=Arguments, Representation=Periods)
    monkeypatch.setitem(sys.modules, "fma_genre.features.representations.periods", module)
    settings = dataclasses.replace(SETTINGS, representations={"periods": {"longest": 7}})
    description = describe("periods", settings, "set", synthetic=False, classes=["a", "b"])
    assert (description.frequencies, description.mels) == ((0.0,) * 5, (0.0, 1.0, 2.0, 3.0, 4.0))
    assert not description.has_frequencies
    assert description.settings == {"longest": 7}
    assert read(Description, description.as_json(), "") == description


@pytest.mark.parametrize(("given", "missing"), [("Arguments", "Representation"), ("Representation", "Arguments")])
def test_a_module_without_a_class_is_refused(given: str, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(**{given: stft.Arguments})
    monkeypatch.setitem(sys.modules, "fma_genre.features.representations.periods", module)
    settings = dataclasses.replace(SETTINGS, representations={"periods": {"n_fft": 16}})
    with pytest.raises(InputError, match=rf"representations/periods\.py: expected a class {missing}, found none$"):
        build("periods", settings)


# Closed forms. ----------------------------------------------------------------------------------------------------


def tone(frequency: float, amplitude: float = 1.0, seconds: float = 1.0) -> np.ndarray:
    samples = amplitude * np.cos(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)
    return samples.astype(np.float32)


def inner(levels: np.ndarray) -> np.ndarray:
    """The frames whose window lies within the clip."""
    return levels[4:-4]


@pytest.mark.parametrize("position", [3, 40, 200, 400, 509])
def test_a_tone_lands_in_its_bin_and_halves_in_its_neighbours(position: int) -> None:
    """The transform of a Hann window is 1 at the bin of the tone, 1/2 in the next bins and 0 elsewhere."""
    levels = inner(spectrogram(STFT, tone(position * RATE / N_FFT), 80))
    expected = np.full(N_FFT // 2, -80.0)
    expected[position - 2 : position + 1] = [-HALF, 0, -HALF]
    np.testing.assert_allclose(levels, np.broadcast_to(expected, levels.shape), atol=0.01)


def slaney_mels(hertz: np.ndarray) -> np.ndarray:
    """Slaney's mel scale: linear up to 1 kHz (15 mel), then logarithmic with a factor of 6.4 per 27 mel."""
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
    """By Slaney's normalisation, the peak is 2 / width in Hz. Only wide filters have enough bins to show it."""
    filters = mel_filters(RATE, MEL_N_FFT, BANDS)
    area = filters.sum(axis=0) * RATE / MEL_N_FFT
    np.testing.assert_allclose(area[60:], 1, rtol=0.02)
    peaks = filters.argmax(axis=0) * RATE / MEL_N_FFT
    np.testing.assert_allclose(peaks, slaney_centres(BANDS), atol=RATE / MEL_N_FFT)


@pytest.mark.parametrize("frame", [5, 17, 30])
def test_an_impulse_lands_in_its_frame(frame: int) -> None:
    """Frame k is centred on sample k · hop. The window is 1 there, 1/2 at a distance of n_fft / 4, 0 at n_fft / 2."""
    impulse = np.zeros(RATE, np.float32)
    impulse[frame * HOP] = 1
    short = np.full((1 + RATE // HOP, N_FFT // 2), -FLOOR)
    short[frame] = 0
    np.testing.assert_allclose(spectrogram(STFT, impulse), short, atol=0.01)
    long = np.full((1 + RATE // HOP, MEL_N_FFT // 2), -FLOOR)
    long[frame - 1 : frame + 2] = np.array([-HALF, 0, -HALF])[:, None]
    np.testing.assert_allclose(spectrogram(make_stft(MEL_N_FFT), impulse), long, atol=0.01)


@pytest.mark.parametrize("n_fft", [N_FFT, MEL_N_FFT])
def test_power_of_a_tone_and_of_white_noise(n_fft: int) -> None:
    """A full-scale tone has a power of (Σ window / 2)² = (n_fft / 4)²; noise of variance 1, Σ window² = 3/8 n_fft."""
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
    """Not to the maximum of a block of frames. The second half of the clip is 20 dB quieter."""
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

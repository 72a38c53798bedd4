"""Recording conditions: closed forms, and what FFmpeg says about the same files."""

import io
import zipfile
from collections.abc import Callable

import av
import librosa
import numpy as np
import pytest
import soundfile

import spectrograms
from fma_genre.archives.clips import Clip
from fma_genre.features import audio, conditions
from fma_genre.features.conditions import Conditions, measure
from fma_genre.features.stretches import Stretch
from real import REAL, needs_real
from recordings import encode, melody, mp3, vorbis

RATE = 44100
EDGE = 25 * RATE / conditions.N_FFT  # Hz that the leakage of the window may add to a band that ends abruptly


def noise(channels: int = 1, seconds: float = 3, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """White noise at −20 dB, (samples, channels)."""
    return np.random.default_rng(seed).normal(scale=0.1, size=(int(seconds * rate), channels)).astype(np.float32)


def low_passed(samples: np.ndarray, cutoff: float, rate: int = RATE) -> np.ndarray:
    """Remove all frequencies above `cutoff` Hz from samples (samples, channels)."""
    spectrum = np.fft.rfft(samples, axis=0)
    spectrum[np.fft.rfftfreq(len(samples), 1 / rate) > cutoff] = 0
    return np.fft.irfft(spectrum, len(samples), axis=0).astype(np.float32)


def conditions_of(data: bytes, seconds: float = 30) -> Conditions:
    return measure(audio.decode(data, seconds).piece.stretches)


def test_white_noise_fills_the_band_at_its_deviation() -> None:
    found = measure([Stretch(noise(2), RATE)])
    assert (found.rate, found.channels, found.bandwidth) == (RATE, 2, RATE / 2)
    assert found.loudness == pytest.approx(-20, abs=0.05)


# Loudness. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("peak", "expected"), [(1, -3.0103), (0.1, -23.0103), (0.001, -63.0103)])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_sine_is_3_db_below_its_peak(peak: float, expected: float, channels: int) -> None:
    tone = peak * np.sin(2 * np.pi * 441 * np.arange(10 * RATE) / RATE)
    samples = np.repeat(tone[:, None], channels, axis=1).astype(np.float32)
    assert conditions.loudness(samples) == pytest.approx(expected, abs=1e-3)


def test_a_silent_channel_halves_the_power() -> None:
    samples = np.concatenate([noise(), np.zeros_like(noise())], axis=1)
    assert conditions.loudness(samples) == pytest.approx(conditions.loudness(noise()) - 10 * np.log10(2), abs=1e-3)


def test_silence_and_overflow_have_finite_loudness() -> None:
    assert measure([Stretch(np.zeros((RATE, 2), np.float32), RATE)]) == (RATE, 1, 0, -120)
    assert conditions.loudness(np.full((9, 1), 1e30, np.float32)) == pytest.approx(180)


def ffmpegs_loudness(samples: np.ndarray, rate: int) -> float:
    """Overall RMS level in dB of samples (samples, channels), by FFmpeg's filter astats."""
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
    frame.sample_rate = rate
    graph = av.filter.Graph()
    source = graph.add_abuffer(format="fltp", sample_rate=rate, layout=layout)
    graph.link_nodes(source, graph.add("astats", "metadata=1"), graph.add("abuffersink")).configure()
    graph.push(frame)
    return float(graph.pull().metadata["lavfi.astats.Overall.RMS_level"])


@pytest.mark.parametrize("channels", [1, 2])
def test_loudness_is_that_of_ffmpeg(channels: int) -> None:
    samples = noise(channels) * np.linspace(0, 1, 3 * RATE, dtype=np.float32)[:, None]
    assert conditions.loudness(samples) == pytest.approx(ffmpegs_loudness(samples, RATE), abs=1e-3)


# Band. ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cutoff", [1000, 4000, 11025, 16000, 20000])
@pytest.mark.parametrize("seconds", [0.2, 3, 30])
def test_the_band_of_low_passed_noise_ends_at_the_cutoff(cutoff: float, seconds: float) -> None:
    samples = low_passed(noise(seconds=seconds), cutoff)
    assert conditions.bandwidth(samples, RATE) == pytest.approx(cutoff, abs=EDGE)


@pytest.mark.parametrize("original", [8000, 16000, 22050])
def test_a_higher_rate_does_not_widen_the_band(original: int) -> None:
    samples = librosa.resample(noise(rate=original)[:, 0], orig_sr=original, target_sr=RATE, res_type="soxr_vhq")
    assert conditions.bandwidth(samples[:, None], RATE) == pytest.approx(original / 2, rel=0.06)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_rounding_noise_is_not_part_of_the_band(subtype: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, 3 * low_passed(noise(), 5000), RATE, format="WAV", subtype=subtype)
    assert conditions_of(file.getvalue()).bandwidth == pytest.approx(5000, abs=EDGE)


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_a_twentieth_of_the_frames_decides(share: float) -> None:
    """The band of a click is not that of the clip."""
    samples = low_passed(noise(seconds=10), 4000)
    samples[: int(share * len(samples))] = noise(seconds=10)[: int(share * len(samples))]
    assert conditions.bandwidth(samples, RATE) == pytest.approx(4000 if share < 0.05 else RATE / 2, abs=EDGE)


@pytest.mark.parametrize("samples", [1, 2, 100, conditions.N_FFT])
def test_a_clip_may_be_shorter_than_the_window(samples: int) -> None:
    assert 0 <= conditions.bandwidth(noise()[:samples], RATE) <= RATE / 2


# Channels and rate. -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "expected"), [([0], 1), ([0, 0], 1), ([0, 1], 2), ([0, 1, 0], 2), ([0, 1, 1, 2, 0, 2], 3)]
)
def test_equal_channels_count_once(columns: list[int], expected: int) -> None:
    assert conditions.distinct(noise(3)[:, columns]) == expected


@pytest.mark.parametrize(("steps", "expected"), [(0.5, 1), (3, 2)])
def test_channels_that_differ_by_rounding_are_equal(steps: float, expected: int) -> None:
    samples = np.repeat(noise(), 2, axis=1)
    samples[-1, 1] += steps / 2**15
    assert conditions.distinct(samples) == expected


@pytest.mark.parametrize(("channels", "expected"), [(1, 1), (2, 1)])
def test_a_stereo_mp3_of_one_voice_is_mono(channels: int, expected: int) -> None:
    assert conditions_of(mp3(channels=channels)).channels == expected


def test_the_longest_stretch_decides() -> None:
    parts = [Stretch(noise(1, 1, 22050), 22050), Stretch(low_passed(noise(2), 9000), RATE), Stretch(noise(1, 2), RATE)]
    found = measure(parts)
    assert (found.rate, found.channels) == (RATE, 2)
    assert found.bandwidth == pytest.approx(9000, abs=EDGE)


# Bit rate. --------------------------------------------------------------------------------------------------------


def bit_rate(data: bytes, seconds: float, start: float = 0) -> int:
    """The bit rate in the index."""
    member = zipfile.ZipInfo("clip.mp3")
    member.file_size = len(data)
    return int(spectrograms.bit_rates([Clip(member)], np.array([audio.decode(data, seconds, start).file_length]))[0])


FILES: dict[str, tuple[Callable[[], bytes], float]] = {
    "MP3": (mp3, 64),
    "MP3 of 128 kbit/s": (lambda: encode(melody(channels=2), bit_rate=128_000), 128),
    "MP3 without a frame count": (lambda: mp3(muxer={"write_xing": "0"}), 64),
    "zeros first": (lambda: bytes(1000) + mp3(), 65),  # libsndfile refuses it, so FFmpeg decodes
    "WAV": (lambda: encode(melody(channels=2), kind="wav", codec="pcm_s16le"), 1411),
    "streamed WAV": (lambda: encode(melody(), kind="wav", codec="pcm_s16le", seekable=False), 706),
    "M4A": (lambda: encode(melody(), kind="ipod", codec="aac", bit_rate=96_000), 96),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("seconds", "start"), [(30, 0), (30, 4), (3, 0), (3, 4)])
def test_the_bit_rate_is_that_of_the_whole_file(name: str, seconds: float, start: float) -> None:
    make, expected = FILES[name]
    assert bit_rate(make(), seconds, start) == pytest.approx(expected, rel=0.04)


def test_the_bit_rate_of_a_file_of_unknown_length_is_0() -> None:
    chained = vorbis(0, 4) + vorbis(4, rate=22050)
    assert bit_rate(chained, 30) == pytest.approx(8 * len(chained) / 10_000, abs=1)
    assert bit_rate(chained, 6) == 0


def test_a_clip_that_was_not_read_has_no_bit_rate_whatever_size_the_archive_claims() -> None:
    member = zipfile.ZipInfo("000002.mp3")
    member.file_size = 2**64 - 1
    assert spectrograms.bit_rates([Clip(member)], np.zeros(1)).tolist() == [0]


# Real clips. ------------------------------------------------------------------------------------------------------


@needs_real
@pytest.mark.parametrize(("name", "step"), [("cc_music", 4), ("instruments", 40), ("music", 40)])
def test_conditions_of_real_clips_are_those_of_ffmpeg(name: str, step: int) -> None:
    """FFmpeg decodes the clips itself. Its MP3 decoder keeps the encoder's delay, which libsndfile drops."""
    with zipfile.ZipFile(next((REAL / name).glob("*[!a].zip"))) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".mp3")][::step]
        contents = [archive.read(member) for member in members]
    for data in contents:
        with av.open(io.BytesIO(data), "r") as container:
            stream = container.streams.audio[0]
            announced, rate = container.bit_rate, stream.rate
            frames = [frame.to_ndarray() for frame in container.decode(stream)]
        samples = np.concatenate(frames, axis=1).T
        found = conditions_of(data, 60)
        assert found.rate == rate
        assert found.channels <= samples.shape[1]
        assert found.loudness == pytest.approx(ffmpegs_loudness(samples, rate), abs=0.1)
        assert bit_rate(data, 60) == pytest.approx(announced / 1000, rel=0.03)

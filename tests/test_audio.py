"""Decoding: the samples that librosa loads, for every rate and channel count; one line for a file without audio."""

import functools
import io
import re
import zipfile

import librosa
import numpy as np
import pytest
import soundfile

from fma_genre.features import audio
from real import REAL, needs_real

RATE = 22050
RATES = (8000, 11025, 16000, 22050, 32000, 44100, 48000)
# Clips of different pieces in cc_music: 44.1 kHz stereo, 48 kHz stereo, 44.1 kHz mono.
REAL_CLIPS = (2, 8, 20, 32, 38, 71, 89, 107, 116)


def encode(samples: np.ndarray, rate: int, kind: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def signal(rate: int, channels: int, seconds: float = 1.5) -> np.ndarray:
    """A rising tone with noise, different in every channel (samples, channels)."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(rate).normal(size=(len(time), channels))
    tones = np.sin(2 * np.pi * np.outer(time * (200 + 1500 * time), 1 + np.arange(channels) / 3))
    return 0.4 * tones + 0.02 * noise


@functools.cache
def real_clip(track: int) -> bytes:
    with zipfile.ZipFile(REAL / "cc_music" / "fma_ccmusic.zip") as archive:
        return archive.read(f"fma_ccmusic/000/{track:06d}.mp3")


def assert_loads_as_librosa_does(data: bytes, seconds: float) -> None:
    expected, _ = librosa.load(io.BytesIO(data), sr=RATE, duration=seconds)
    samples = audio.load(data, RATE, seconds).samples
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seconds", [30, 1.03, 0.7])
@pytest.mark.parametrize("kind", ["WAV", "MP3"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", RATES)
def test_samples_equal_librosas(rate: int, channels: int, kind: str, seconds: float) -> None:
    assert_loads_as_librosa_does(encode(signal(rate, channels), rate, kind), seconds)


@needs_real
@pytest.mark.parametrize("track", REAL_CLIPS)
def test_samples_of_real_clips_equal_librosas(track: int) -> None:
    assert_loads_as_librosa_does(real_clip(track), 30)


@needs_real
def test_real_clips_of_this_file_differ_in_rate_and_channels() -> None:
    clips = [soundfile.info(io.BytesIO(real_clip(track))) for track in REAL_CLIPS]
    assert {(clip.samplerate, clip.channels) for clip in clips} == {(44100, 1), (44100, 2), (48000, 2)}


def test_channels_are_averaged() -> None:
    left, right = signal(RATE, 2).T
    clip = audio.load(encode(np.stack([left, right], axis=1), RATE, subtype="FLOAT"), RATE, 30)
    np.testing.assert_allclose(clip.samples, (left + right) / 2, atol=1e-6)


def test_opposite_channels_cancel() -> None:
    left = signal(44100, 1)
    assert not audio.load(encode(np.hstack([left, -left]), 44100, subtype="FLOAT"), RATE, 30).samples.any()


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_pitch_and_level_at_any_rate(rate: int) -> None:
    """Expected is the closed form of 1 kHz at 22,050 Hz, except where the filter rings at both ends."""
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    samples = audio.load(encode(tone, rate, subtype="FLOAT"), RATE, 30).samples
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    assert len(samples) == RATE
    np.testing.assert_allclose(samples[1000:-1000], expected[1000:-1000], atol=1e-4)


@pytest.mark.parametrize(("more", "cut"), [(-1, False), (0, False), (1, True), (5000, True)])
@pytest.mark.parametrize("rate", [RATE, 44100])
def test_only_a_clip_that_goes_on_is_cut(rate: int, more: int, cut: bool) -> None:
    clip = audio.load(encode(signal(rate, 1, seconds=2)[: rate + more], rate), RATE, 1)
    assert clip.cut is cut
    assert len(clip.samples) == RATE if more >= 0 else RATE - 1 <= len(clip.samples) <= RATE


@pytest.mark.parametrize("start", [0.5, 3, 25.25])
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3"])
def test_a_clip_begins_at_its_start(kind: str, start: float) -> None:
    """Expected are the samples from `start` on, cut from the whole file as libsndfile decodes it."""
    data = encode(signal(RATE, 2, seconds=27), RATE, kind)
    whole, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    clip = audio.load(data, RATE, 1, start)
    first = int(start * RATE)
    np.testing.assert_allclose(clip.samples, whole[first : first + RATE].mean(axis=1), rtol=0, atol=1e-6)
    assert (clip.cut, clip.piece.length) == (True, 1)


def test_a_start_after_the_end_is_unreadable() -> None:
    with pytest.raises(audio.UnreadableClipError, match=r"^no samples after 2\.5 s$"):
        audio.load(encode(signal(RATE, 1, seconds=2), RATE), RATE, 1, 2.5)


def test_an_mp3_that_breaks_off_gives_what_is_there() -> None:
    whole = encode(signal(44100, 1, seconds=3), 44100, "MP3")
    samples = audio.load(whole[: len(whole) // 2], RATE, 30).samples
    assert 1.2 < len(samples) / RATE < 1.8
    np.testing.assert_allclose(samples[:RATE], audio.load(whole, RATE, 30).samples[:RATE], atol=1e-6)


def float_wav(value: float) -> bytes:
    """A stereo WAV in which one sample of one channel is `value`."""
    samples = signal(RATE, 2)
    samples[99, 1] = value
    return encode(samples, RATE, subtype="FLOAT")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", None),
        (b"no audio", None),
        (bytes(1700), None),
        (b"\xff\xfb\x90\x00" + bytes(100), None),
        (encode(signal(RATE, 1), RATE)[:30], None),
        (b"<html>404</html>" * 100, None),
        (encode(np.zeros((0, 1)), RATE), "no samples"),
        (float_wav(np.nan), "not finite"),
        (float_wav(np.inf), "not finite"),
    ],
    ids=["empty", "text", "zeros", "one mp3 frame", "half a header", "html", "no samples", "nan", "inf"],
)
def test_a_file_without_audio_is_refused_in_one_line(data: bytes, says: str | None) -> None:
    messages = set()
    for _ in range(2):
        with pytest.raises(audio.UnreadableClipError, match=says) as error:
            audio.load(data, RATE, 30)
        messages.add(str(error.value))
    (message,) = messages
    assert len(message.splitlines()) == 1
    assert not re.search(r"0x[0-9a-f]+|BytesIO", message), "a memory address would differ between runs"

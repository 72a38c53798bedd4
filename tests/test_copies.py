"""Copies of clips for the robustness benchmark: their rate, band, level, pitch and length."""

import io
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from project import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import copies
from copies import CHANGES, CUT, SEMITONE, encode, write_copy
from fma_genre.archives import zips
from stores import sources

RATE, SECONDS = 44100, 4


def wav(samples: np.ndarray, rate: int = RATE) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    file.seek(0)
    return file


def tone(frequency: float, channels: int = 2) -> np.ndarray:
    wave = 0.5 * np.sin(2 * np.pi * frequency * np.arange(SECONDS * RATE) / RATE)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def copied(name: str, samples: np.ndarray) -> tuple[np.ndarray, int]:
    """Samples (samples, channels) and rate of a copy."""
    return soundfile.read(io.BytesIO(encode(wav(samples), CHANGES[name])), always_2d=True)


def strongest(samples: np.ndarray, rate: int) -> float:
    """Frequency of the strongest component in Hz."""
    mono = samples.mean(axis=1)
    spectrum = np.abs(np.fft.rfft(mono * np.hanning(len(mono))))
    return float(np.fft.rfftfreq(len(mono), 1 / rate)[spectrum.argmax()])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", CHANGES)
def test_a_copy_keeps_length_and_channels(name: str, channels: int) -> None:
    samples, rate = copied(name, tone(440, channels))
    assert samples.shape[1] == channels
    expected = SECONDS - CUT if name == "start cut" else SECONDS
    assert len(samples) / rate == pytest.approx(expected, abs=0.06)
    assert rate == {"16 kHz": 16000, "8 kHz": 8000}.get(name, RATE)


def test_a_cut_copy_is_the_clip_without_its_beginning() -> None:
    samples = tone(440)
    samples[:, 0] *= np.linspace(0, 1, len(samples))
    np.testing.assert_allclose(copied("start cut", samples)[0], samples[round(CUT * RATE) :], atol=1e-4)


@pytest.mark.parametrize(("name", "factor"), [("+1 semitone", SEMITONE), ("-1 semitone", 1 / SEMITONE), ("8 kHz", 1)])
def test_only_a_shift_changes_the_pitch(name: str, factor: float) -> None:
    assert strongest(*copied(name, tone(440))) == pytest.approx(440 * factor, abs=0.5)


@pytest.mark.parametrize(("name", "decibels"), [("-20 dB", -20), ("16 kHz", 0), ("MP3 64 kbit/s", -0.45)])
def test_only_the_quiet_copy_changes_the_level(name: str, decibels: float) -> None:
    """LAME multiplies the samples by 0.95."""
    samples, rate = copied(name, tone(440))
    level = 20 * np.log10(samples[rate:-rate].std() / tone(440)[RATE:-RATE].std())
    assert level == pytest.approx(decibels, abs=0.1)


@pytest.mark.parametrize(("name", "highest"), [("16 kHz", 8000), ("8 kHz", 4000), ("MP3 64 kbit/s", 11000)])
def test_a_copy_has_a_narrower_band(name: str, highest: float) -> None:
    """White noise fills the whole band of the original."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=(SECONDS * RATE, 2)).astype(np.float32)
    samples, rate = copied(name, noise)
    power = np.abs(np.fft.rfft(samples[:, 0])) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / rate)
    share = power[frequencies > highest].sum() / power.sum()
    assert share < 0.002
    assert power[frequencies > 0.8 * highest].sum() / power.sum() > 0.01, "the band ends lower than stated"


def test_an_mp3_has_its_bit_rate() -> None:
    data = encode(wav(tone(440)), CHANGES["MP3 64 kbit/s"])
    assert 8 * len(data) / SECONDS == pytest.approx(64_000, rel=0.1)


def test_a_copy_of_an_archive_has_the_same_members_in_order(tmp_path: Path) -> None:
    """A clip that no decoder opens stays as it is."""
    contents = {"fma/000/000002.mp3": wav(tone(440)).getvalue(), "fma/000/000001.mp3": b"no audio"}
    with zipfile.ZipFile(tmp_path / "audio.zip", "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    with zips.open_zip(tmp_path / "audio.zip") as archive:
        members = archive.infolist()
    write_copy(tmp_path / "audio.zip", members, tmp_path / "copy.zip", CHANGES["8 kHz"])
    with zips.open_zip(tmp_path / "copy.zip") as archive:
        assert archive.namelist() == list(contents)
        assert archive.read("fma/000/000001.mp3") == b"no audio"
        assert soundfile.info(io.BytesIO(archive.read("fma/000/000002.mp3"))).samplerate == 8000


def test_clips_of_one_member_share_its_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = tmp_path / "original.zip"
    with zipfile.ZipFile(original, "w") as archive:
        archive.writestr("song.wav", wav(tone(440)).getvalue())
    monkeypatch.setattr(copies.receipt, "read_receipt", lambda: None)
    monkeypatch.setattr(copies.receipt, "open_archive", lambda *_: SimpleNamespace(path=original, sha1="0" * 40))
    tracks = sources([1, 2], "song.wav").assign(start=[0.0, 2.0])
    copy = copies.copied_archive("start cut", tracks, tmp_path / "copies")
    assert zipfile.ZipFile(copy).namelist() == ["song.wav"]

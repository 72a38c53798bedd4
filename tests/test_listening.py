"""Excerpts to listen to: the right clips, small, and decodable by other software."""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile

from fma_genre.archives.receipt import Archive, Receipt, hash_file, write_receipt
from fma_genre.common.errors import InputError
from fma_genre.common.params import Params, load
from fma_genre.listening import BIT_RATE, RATE, SECONDS, excerpts, mp3
from project import PARAMS
from real import REAL, needs_real
from stores import sources

PADDING = 0.1  # s of silence that an MP3 encoder may add at both ends


def wav(samples: np.ndarray, rate: int = 44100) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV")
    return file.getvalue()


def sine(hertz: float, seconds: float, rate: int = 44100) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def pitch(samples: np.ndarray, rate: int) -> float:
    """Frequency of the strongest component in Hz."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FMA_HOME", str(tmp_path / "home"))
    return load(PARAMS)


def store_archive(members: Mapping[str, bytes]) -> Path:
    """Write an archive and its receipt; return the archive's path."""
    path = Path("clips.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    audio = Archive("clips.zip", path.stat().st_size, hash_file(path).hexdigest())
    audio.path.parent.mkdir(parents=True)
    path.rename(audio.path)
    write_receipt(Path("data/archives.json"), Receipt("demo", True, audio, audio))
    return audio.path


def test_an_excerpt_is_the_beginning_of_the_clip_of_its_track(params: Params) -> None:
    both = np.stack([sine(440, 40), sine(440, 40)], axis=1)
    store_archive(
        {
            "2.mp3": mp3(sine(330, 3, RATE), RATE),
            "a/b.wav": wav(np.concatenate([sine(880, 5), sine(220, 4)])),
            "5.mp3": wav(both),
        }
    )
    tracks = pd.concat([sources([2]), sources([3], "a/b.wav", 5.0), sources([5])])
    found = excerpts(tracks, params)
    assert list(found) == [2, 3, 5]
    for (content, hertz), seconds in zip(
        ((found[2], 330), (found[3], 220), (found[5], 440)), (3, 4, SECONDS), strict=True
    ):
        samples, rate = librosa.load(io.BytesIO(content), sr=None, mono=False)
        assert (samples.ndim, rate) == (1, RATE)
        assert seconds <= len(samples) / rate <= seconds + PADDING
        assert pitch(samples, RATE) == pytest.approx(hertz, abs=1)
        assert len(content) <= (seconds + PADDING) * BIT_RATE / 8 + 1000


def test_an_excerpt_ends_with_the_clip(params: Params) -> None:
    store_archive({"song.wav": wav(sine(440, 20))})
    short = replace(params, spectrograms=replace(params.spectrograms, seconds=3))
    found = excerpts(sources([2], "song.wav", 5.0), short)
    samples, rate = librosa.load(io.BytesIO(found[2]), sr=None)
    assert 3 <= len(samples) / rate <= 3 + PADDING


def test_the_same_samples_give_the_same_bytes() -> None:
    assert mp3(sine(440, 2, RATE), RATE) == mp3(sine(440, 2, RATE), RATE)


def test_an_unreadable_clip_is_named(params: Params) -> None:
    path = store_archive({"2.mp3": b"no audio"})
    with pytest.raises(InputError, match=rf"^{path}: expected a clip of track 2 that can be decoded, found: "):
        excerpts(sources([2]), params)


def test_a_missing_archive_is_named_with_the_command_that_fetches_it(params: Params) -> None:
    store_archive({"2.mp3": b""}).unlink()
    with pytest.raises(
        InputError, match=r"clips\.zip: expected the audio .* found none: `dvc repro .*download` fetches"
    ):
        excerpts(sources([2]), params)


def test_an_archive_of_another_data_set_is_refused(params: Params) -> None:
    store_archive({"2.mp3": b""})
    path = Path("data/archives.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dataset": "small"}))
    with pytest.raises(InputError, match="expected data set demo, found small"):
        excerpts(sources([2]), params)


@needs_real
def test_an_excerpt_of_music_sounds_like_the_clip() -> None:
    """The spectrum below the encoder's own limit differs by little from that of the clip."""
    with zipfile.ZipFile(REAL / "music/fma_music.zip") as archive:
        name = sorted(name for name in archive.namelist() if name.endswith(".mp3"))[0]
        samples, _ = librosa.load(io.BytesIO(archive.read(name)), sr=RATE, duration=SECONDS)
    decoded, _ = librosa.load(io.BytesIO(mp3(samples, RATE)), sr=RATE)
    bands = [
        librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=RATE, fmax=8000).mean(axis=1))
        for y in (samples, decoded)
    ]
    assert np.abs(bands[0] - bands[1]).max() < 3

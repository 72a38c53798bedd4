"""Prediction of files of any sample rate, format and length, and models with an inconsistent description."""

import functools
import json
import operator
import os
import resource
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import train
from fma_genre.common.errors import InputError
from fma_genre.prediction import AudioFileError, Ensemble
from fma_genre.results.predictions import PICTURE_BINS, PICTURE_FRAMES
from project import Project
from stores import create_checkout, run_stage

RATE = 22050


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A checkout with both models, of two runs each. Never change it."""
    project = create_checkout(tmp_path_factory.mktemp("trained"))
    for key in ("cnn", "birnn"):
        run_stage(project, "train", key, train.main)
    return project


@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (8000, 1), (96000, 6)])
def test_other_rates_channels_and_formats(trained: Project, tmp_path: Path, rate: int, channels: int) -> None:
    wave = np.sin(np.arange(3 * rate)[:, None] * 2 * np.pi * 440 / rate) * np.ones(channels) * 0.5
    ensemble = Ensemble(trained.path / "models/cnn")
    found = []
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, wave, rate)
        found.append(ensemble.predict_file(tmp_path / name))
    np.testing.assert_allclose(found[0].probabilities, found[1].probabilities, atol=0.02)
    assert found[0].seconds == pytest.approx(3, abs=0.001)


@pytest.mark.parametrize(("key", "segments"), [("cnn", 3), ("birnn", 5)])
def test_probabilities_are_the_mean_of_the_runs(trained: Project, tmp_path: Path, key: str, segments: int) -> None:
    """7 s are 302 frames. Segments have 128 frames in the cnn and 64 in the birnn."""
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=RATE * 7) / 10, RATE)
    ensemble = Ensemble(trained.path / "models" / key)
    together = ensemble.predict_file(tmp_path / "a.wav")
    networks = list(ensemble.networks)
    assert len(networks) == 2
    single = []
    for network in networks:
        ensemble.networks = [network]
        single.append(ensemble.predict_file(tmp_path / "a.wav").probabilities)
    assert not np.array_equal(single[0], single[1])
    np.testing.assert_allclose(together.probabilities, np.mean(single, axis=0), rtol=1e-6)
    np.testing.assert_allclose(together.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert together.probabilities.shape == (segments, 2)
    assert ensemble.classes == ("Folk", "Rock")


def test_a_long_file_is_predicted_to_its_end_in_windows(trained: Project, tmp_path: Path) -> None:
    """Windows last 30 s. The last one is left out if it is shorter than a segment (2.97 s)."""
    noise = np.random.default_rng(0).normal(size=RATE * 70).astype(np.float32) / 10
    ensemble = Ensemble(trained.path / "models/cnn")
    found = {}
    for seconds in (2, 30, 32, 60, 65):
        soundfile.write(tmp_path / "long.wav", noise[: RATE * seconds], RATE, subtype="FLOAT")
        found[seconds] = ensemble.predict_file(tmp_path / "long.wav")
    assert [round(prediction.seconds) for prediction in found.values()] == [2, 30, 30, 60, 65]
    assert len(found[2].probabilities) == 1, "a file shorter than a segment is repeated"
    np.testing.assert_allclose(found[32].probabilities, found[30].probabilities)
    first = len(found[30].probabilities)
    np.testing.assert_allclose(found[65].probabilities[:first], found[30].probabilities, rtol=1e-4, atol=1e-6)
    assert (np.diff(found[65].starts) > 0).all()
    assert found[65].starts[first] == pytest.approx(30)
    assert found[30].picture.shape == (PICTURE_FRAMES, PICTURE_BINS)
    assert found[65].picture.shape[0] == pytest.approx(PICTURE_FRAMES * 65 / 30, abs=1)


def test_memory_does_not_grow_with_length(trained: Project, tmp_path: Path) -> None:
    """The samples of ten minutes alone take 53 MB, and those of an hour six times as much."""
    ensemble = Ensemble(trained.path / "models/birnn")
    short, long = tmp_path / "short.flac", tmp_path / "long.flac"
    soundfile.write(short, np.full(RATE * 35, 0.1, np.float32), RATE)
    soundfile.write(long, np.full(RATE * 600, 0.1, np.float32), RATE)
    ensemble.predict_file(short)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert ensemble.predict_file(long).seconds == pytest.approx(600)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


def test_a_file_without_audio_is_refused(trained: Project, tmp_path: Path) -> None:
    ensemble = Ensemble(trained.path / "models/cnn")
    (tmp_path / "noise.mp3").write_bytes(b"no audio" * 100)
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    found = {"noise.mp3": "Format not recognised", "none.wav": "no samples", "absent.wav": "No such file"}
    for name, reason in found.items():
        with pytest.raises(AudioFileError, match=f"^{tmp_path / name}: expected audio, found: {reason}"):
            ensemble.predict_file(tmp_path / name)


@pytest.mark.parametrize("found", ["a pipe", "a socket", "a device", "a folder"])
def test_special_files_are_refused_without_waiting(trained: Project, tmp_path: Path, found: str) -> None:
    path = tmp_path / "a.wav"
    if found == "a pipe":
        os.mkfifo(path)
    elif found == "a device":
        path.symlink_to("/dev/zero")
    elif found == "a folder":
        path.mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        if found == "a socket":
            bound.bind(str(path))
        with pytest.raises(AudioFileError, match=f": {found}$"):
            Ensemble(trained.path / "models/cnn").predict_file(path)


@pytest.mark.parametrize("key", ["cnn", "birnn"])
@pytest.mark.parametrize("name", ["zeros.wav", "zeros.mp3", "zeros.ogg", "zeros.flac", "almost.wav", "one_sample.wav"])
def test_a_silent_file_has_no_votes(trained: Project, tmp_path: Path, key: str, name: str) -> None:
    samples = np.zeros(1 if name == "one_sample.wav" else RATE * 35, np.float32)
    if name == "almost.wav":  # near-silence as decoders produce it; its power is at most 1e-12
        samples += np.random.default_rng(0).normal(size=len(samples)).astype(np.float32) * 1e-8
    soundfile.write(tmp_path / name, samples, RATE, subtype="FLOAT" if name == "almost.wav" else None)
    found = Ensemble(trained.path / "models" / key).predict_file(tmp_path / name)
    assert found.silent
    assert not found.probabilities.any()
    assert found.seconds == pytest.approx(len(samples) / RATE, abs=0.2)
    assert found.genres == {}


def test_the_quietest_sound_of_16_bits_is_not_silence(trained: Project, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).integers(-2, 3, RATE * 5).astype(np.int16), RATE)
    for key in ("cnn", "birnn"):
        assert not Ensemble(trained.path / "models" / key).predict_file(tmp_path / "a.wav").silent


def test_a_constant_signal_is_silence(trained: Project, tmp_path: Path) -> None:
    """A-law has no zero: its silence is a constant of 8 / 32768."""
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE * 5), 8000, subtype="ALAW")
    assert Ensemble(trained.path / "models/cnn").predict_file(tmp_path / "a.wav").silent


def test_a_short_sound_after_silence_is_heard(trained: Project, tmp_path: Path) -> None:
    """The sound is shorter than a segment, but the file has no other."""
    noise = np.random.default_rng(0).normal(size=RATE * 2).astype(np.float32) / 10
    soundfile.write(tmp_path / "a.wav", np.concatenate([np.zeros(RATE * 30, np.float32), noise]), RATE)
    found = Ensemble(trained.path / "models/cnn").predict_file(tmp_path / "a.wav")
    assert not found.silent
    assert found.starts[-1] == pytest.approx(30)


def test_times_and_missing_seconds_count_from_the_beginning_of_the_file(trained: Project, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(size=RATE * 90).astype(np.float32) / 10
    samples[RATE * 40] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    found = Ensemble(trained.path / "models/cnn").predict_file(tmp_path / "a.wav")
    assert (found.seconds, found.missing) == (pytest.approx(60), pytest.approx(30))
    assert not ((found.starts >= 30) & (found.starts < 60)).any()
    assert found.starts.max() >= 60


def test_a_silent_window_casts_no_vote(trained: Project, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=RATE * 30).astype(np.float32) / 10
    silence = np.zeros_like(noise)
    ensemble = Ensemble(trained.path / "models/cnn")
    found = []
    for windows in ([noise], [silence, noise], [noise, silence, silence], [silence, noise, silence]):
        soundfile.write(tmp_path / "a.wav", np.concatenate(windows), RATE, subtype="FLOAT")
        found.append(ensemble.predict_file(tmp_path / "a.wav"))
    alone, *others = found
    for prediction in others:
        assert prediction.genres == pytest.approx(alone.genres, rel=1e-4, abs=1e-6)
        assert not prediction.silent
        assert len(prediction.starts) == len(prediction.probabilities)
        assert (np.diff(prediction.starts) > 0).all()
    silent = others[0]
    assert silent.starts[:2].tolist() == [0, 30]
    assert not silent.probabilities[0].any()
    assert silent.probabilities[1:].all()
    assert list(alone.genres.values()) == pytest.approx(sorted(alone.probabilities.mean(axis=0), reverse=True))


def test_a_model_that_gives_no_probabilities_is_refused(trained: Project, tmp_path: Path) -> None:
    ensemble = Ensemble(trained.path / "models/cnn")
    for weights in ensemble.networks[1].parameters():
        weights.data *= 1e30
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=RATE * 7) / 10, RATE)
    with pytest.raises(InputError, match="expected a network whose probabilities add up to 1, found a sum of nan"):
        ensemble.predict_file(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"store.n_fft": 64}, "cannot load the model: .* expected fewer bands or a larger n_fft"),
        ({"store.sample_rate": 16000}, "expected frequencies that match its mel settings, found others"),
        ({"store.frequencies": [1.0] * 128}, "expected frequencies that match its mel settings, found others"),
        ({"store.representation": "cqt"}, "cannot load the model: representation: .* found 'cqt'"),
        ({"store.representation": "stft"}, "cannot load the model: stft: .* n_fft, found 'bands'"),
    ],
)
def test_a_model_whose_description_contradicts_itself_is_refused_in_one_line(
    trained: Project, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    folder = trained.copy(tmp_path / "copy").path / "models/cnn"
    content = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    for name, value in changed.items():
        *groups, key = name.split(".")
        functools.reduce(operator.getitem, groups, content)[key] = value
    (folder / "settings.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"models/cnn: {message}") as error:
        Ensemble(folder)
    assert len(str(error.value).splitlines()) == 1

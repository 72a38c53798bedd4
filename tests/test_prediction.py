"""A trained model applied to files of any rate, format and length; models whose description contradicts itself."""

import functools
import json
import operator
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import train
from fma_genre.common.errors import InputError
from fma_genre.features.audio import UnreadableClipError
from fma_genre.prediction import Ensemble
from fma_genre.results.predictions import PICTURE_BINS, PICTURE_FRAMES
from project import Project
from stores import create_checkout, run_stage

RATE = 22050


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Both models, of two runs each. Never change it."""
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


@pytest.mark.parametrize("key", ["cnn", "birnn"])
def test_probabilities_are_the_mean_of_the_runs(trained: Project, tmp_path: Path, key: str) -> None:
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
    assert together.probabilities.shape == (3, 2), "7 s are three segments at least"
    assert ensemble.classes == ("Folk", "Rock")


def test_a_long_file_is_predicted_to_its_end_in_windows(trained: Project, tmp_path: Path) -> None:
    """Windows of 30 s; a rest shorter than a segment (2.97 s) is left out, a longer one is not."""
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
    """Ten minutes take 53 MB as samples alone; an hour would take six times that."""
    ensemble = Ensemble(trained.path / "models/birnn")
    short, long = tmp_path / "short.flac", tmp_path / "long.flac"
    soundfile.write(short, np.zeros(RATE * 35, np.float32), RATE)
    soundfile.write(long, np.zeros(RATE * 600, np.float32), RATE)
    ensemble.predict_file(short)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert ensemble.predict_file(long).seconds == pytest.approx(600)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


def test_what_is_no_audio_is_refused(trained: Project, tmp_path: Path) -> None:
    ensemble = Ensemble(trained.path / "models/cnn")
    (tmp_path / "noise.mp3").write_bytes(b"no audio" * 100)
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    for name in ("noise.mp3", "none.wav"):
        with pytest.raises(UnreadableClipError):
            ensemble.predict_file(tmp_path / name)
    with pytest.raises(OSError, match="No such file"):
        ensemble.predict_file(tmp_path / "absent.wav")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"store.n_fft": 64}, "expected a trained model, found: .* expected bands that n_fft can tell apart"),
        ({"store.sample_rate": 16000}, "expected the frequencies of its mel settings, found others"),
        ({"store.frequencies": [1.0] * 128}, "expected the frequencies of its mel settings, found others"),
        ({"store.representation": "cqt"}, "expected a trained model, found: representation: .* found 'cqt'"),
        ({"store.representation": "stft"}, "expected a trained model, found: stft: .* found n_fft, bands"),
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

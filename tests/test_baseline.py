"""The baseline: its features beside librosa's of the audio, its statistics by hand, and its place beside the models."""

import importlib
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pandas as pd
import pytest
import scipy.fft
import scipy.stats
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fma_genre import InputError, baseline, params, store
from fma_genre.baseline import Settings, fit, frame_features, statistics
from fma_genre.spectrogram import dequantise, mel_filters, quantise, spectrogram
from project import Project
from real import REAL, needs_real

SETTINGS = Settings(sample_rate=22050, n_fft=1024, floor_db=100, mfcc=20)
HOP, MEL = 512, {"n_fft": 2048, "bands": 128}


# Features of frames. ----------------------------------------------------------------------------------------------


def stored(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mel and STFT levels in dB, (frames, bins) each, after 8 bits."""
    filters = mel_filters(SETTINGS.sample_rate, **MEL)
    mel = spectrogram(samples, HOP, SETTINGS.floor_db, MEL["n_fft"], filters)
    stft = spectrogram(samples, HOP, SETTINGS.floor_db, SETTINGS.n_fft)
    first, second = (dequantise(quantise(one, SETTINGS.floor_db), SETTINGS.floor_db) for one in (mel, stft))
    return first, second


def of_librosa(samples: np.ndarray) -> np.ndarray:
    """Features (features, frames) of the same levels by librosa alone, and not in 8 bits."""
    rate, floor = SETTINGS.sample_rate, SETTINGS.floor_db
    power = librosa.feature.melspectrogram(y=samples, sr=rate, hop_length=HOP)
    mfcc = librosa.feature.mfcc(S=librosa.power_to_db(power, ref=np.max, top_db=floor, amin=1e-20))
    amplitude = np.abs(librosa.stft(samples, n_fft=SETTINGS.n_fft, hop_length=HOP))
    amplitude = np.maximum(amplitude, amplitude.max() * 10 ** (-floor / 20))
    amplitude[0] = amplitude[1]  # the 0 Hz bin is not stored: here it is no peak or valley of its own
    contrast = librosa.feature.spectral_contrast(S=amplitude, sr=rate)
    amplitude[0] = 0
    centroid = librosa.feature.spectral_centroid(S=amplitude, sr=rate)
    return np.concatenate([mfcc, contrast, centroid])


def assert_features_are_librosas(samples: np.ndarray) -> None:
    """Within what half a step of 8 bits, 0.2 dB, makes of each."""
    found, expected = frame_features(*stored(samples), SETTINGS), of_librosa(samples)
    assert found.shape == expected.shape == (20 + 7 + 1, 1 + len(samples) // HOP)
    np.testing.assert_allclose(found[:20], expected[:20], atol=0.6)  # MFCC, dB
    np.testing.assert_allclose(found[20:27], expected[20:27], atol=0.21)  # contrast, dB
    np.testing.assert_allclose(found[27], expected[27], atol=30)  # centroid, Hz


def test_features_are_librosas_of_the_audio() -> None:
    time = np.arange(3 * SETTINGS.sample_rate) / SETTINGS.sample_rate
    noise = np.random.default_rng(0).normal(size=len(time)) * np.exp(-4 * (time % 0.5))
    assert_features_are_librosas((noise / 10 + librosa.chirp(fmin=100, fmax=8000, duration=3)).astype(np.float32))


@needs_real
@pytest.mark.parametrize("file", ["instruments/fma_instruments.zip", "cc_music/fma_ccmusic.zip"])
def test_features_are_librosas_of_real_clips(file: str) -> None:
    with zipfile.ZipFile(REAL / file) as archive:
        clips = [archive.read(name) for name in archive.namelist() if name.endswith(".mp3")]
    for clip in clips[:: len(clips) // 4]:
        decoded, _ = librosa.load(io.BytesIO(clip), sr=SETTINGS.sample_rate, duration=3)
        assert_features_are_librosas(decoded)


def test_the_centroid_of_a_tone_is_its_frequency_and_its_octave_has_the_contrast() -> None:
    tone = librosa.tone(3000, sr=SETTINGS.sample_rate, duration=1).astype(np.float32)
    features = frame_features(*stored(tone), SETTINGS)[:, 4:-4]
    np.testing.assert_allclose(features[27], 3000, rtol=0.01)
    assert (features[20:27].argmax(axis=0) == 4).all()  # up to 200 Hz, 200 to 400, …, 1600 to 3200


@pytest.mark.parametrize("n_fft", [16, 17, 100, 1023, 4096])
@pytest.mark.parametrize("rate", [4000, 8000, 12800, 44100, 192000])
@pytest.mark.filterwarnings("error")
def test_any_rate_and_size_has_features(rate: int, n_fft: int) -> None:
    """librosa refuses octaves of contrast that lie above the Nyquist frequency, and fails on those without a bin."""
    levels = -100 * np.random.default_rng(0).random((3, n_fft // 2), np.float32)
    found = frame_features(levels, levels, Settings(rate, n_fft, 100, mfcc=5))
    assert np.isfinite(found).all()
    assert 5 + 2 + 1 < len(found) <= 5 + 7 + 1
    assert (found[5:-1] > 0).all(), "every octave has bins to contrast"


# Statistics over time. --------------------------------------------------------------------------------------------


def test_statistics_are_those_by_hand() -> None:
    found = statistics(np.array([[1, 2, 3, 10], [-1, 0, 0, 1]], np.float32)).reshape(7, 2)
    second, third, fourth = ((9 + 4 + 1 + 6**2) / 4, (-27 - 8 - 1 + 6**3) / 4, (81 + 16 + 1 + 6**4) / 4)
    first = [4, math.sqrt(second), third / second**1.5, fourth / second**2 - 3, 2.5, 1, 10]
    np.testing.assert_allclose(found[:, 0], first, rtol=1e-12)
    np.testing.assert_allclose(found[:, 1], [0, math.sqrt(0.5), 0, 0.5 / 0.25 - 3, 0, -1, 1], atol=1e-12)


@pytest.mark.parametrize("frames", [2, 3, 1291])
def test_statistics_are_scipys(frames: int) -> None:
    series = np.random.default_rng(frames).gamma(2, size=(28, frames)) * 1000 - 500
    moments = [
        series.mean(axis=1),
        series.std(axis=1),
        scipy.stats.skew(series, axis=1),
        scipy.stats.kurtosis(series, axis=1),
    ]
    order = np.quantile(series, [0.5, 0, 1], axis=1)
    np.testing.assert_allclose(statistics(series), np.concatenate([*moments, *order]), rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("error")
def test_silence_has_features() -> None:
    levels = [np.full((131, bins), -100, np.float32) for bins in (128, 512)]
    found = statistics(frame_features(levels[0], levels[1], SETTINGS)).reshape(7, 28)
    assert np.isfinite(found).all()
    assert not found[1:4].any(), "nothing varies"


@pytest.mark.parametrize("frames", [1, 50])
@pytest.mark.filterwarnings("error")
def test_a_constant_has_neither_skewness_nor_kurtosis(frames: int) -> None:
    """As in a silent clip, or one of a single frame."""
    expected = np.repeat([0.1, 0, 0, 0, 0.1, 0.1, 0.1], 3)
    np.testing.assert_allclose(statistics(np.full((3, frames), 0.1)), expected, atol=1e-15)


# Tracks of a store. -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Random levels of five tracks."""
    generator = np.random.default_rng(0)
    for name, bins in (("mel", 128), ("stft", 512)):
        np.save(tmp_path / f"{name}.npy", generator.integers(0, 256, (5, 9, bins), np.uint8))
    return tmp_path


def test_a_track_has_the_statistics_of_the_frames_that_its_clip_fills(folder: Path) -> None:
    index = pd.DataFrame({"row": [3, 0], "frames": [9, 4]})
    found = baseline.features(folder, index, SETTINGS, jobs=1)
    assert found.shape == (2, 196)
    mel = (np.load(folder / "mel.npy")[0, :4] / 255 - 1) * 100
    coefficients = scipy.fft.dct(mel, norm="ortho")[:, :20]
    np.testing.assert_allclose(found[1, :20], coefficients.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[1, -28:-8], coefficients.max(axis=0), rtol=1e-4, atol=1e-4)


def test_the_number_of_threads_changes_nothing(folder: Path) -> None:
    index = pd.DataFrame({"row": range(5), "frames": [9, 4, 1, 9, 2]})
    one, two = (baseline.features(folder, index, SETTINGS, jobs) for jobs in (1, 2))
    np.testing.assert_array_equal(one, two)


# The machine. -----------------------------------------------------------------------------------------------------


def samples(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (tracks, features) of very different size, and labels (tracks,) that overlap."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, 120)
    centres = np.random.default_rng(99).normal(size=(4, 6))
    return (centres[labels] + generator.normal(size=(120, 6))) * 10.0 ** np.arange(-3, 3), labels


@pytest.mark.parametrize("seed", range(4))
def test_c_is_the_smallest_of_the_best_on_validation(seed: int) -> None:
    (features, labels), validation, (others, _) = (samples(3 * seed + part) for part in range(3))
    candidates = [30, 0.001, 3, 1, 0.3]
    machine, c = fit((features, labels), validation, candidates)
    scaler = StandardScaler().fit(features)  # of training tracks only
    alone = {c: SVC(C=c, kernel="rbf", gamma=1 / 6).fit(scaler.transform(features), labels) for c in candidates}
    right = {c: (alone[c].predict(scaler.transform(validation[0])) == validation[1]).sum() for c in candidates}
    assert c == min(c for c in candidates if right[c] == max(right.values()))
    np.testing.assert_array_equal(machine.predict(others), alone[c].predict(scaler.transform(others)))


def test_of_equals_the_smallest_is_taken() -> None:
    labels = np.repeat([0, 1], 10)
    apart = 100.0 * labels[:, None] + np.arange(20)[:, None] % 10
    assert fit((apart, labels), (apart, labels), [10, 1, 3])[1] == 1


# Beside the models. -----------------------------------------------------------------------------------------------


def read_json(project: Project, name: str) -> dict[str, Any]:
    return json.loads((project.path / "metrics" / f"{name}.json").read_text())


def predictions(project: Project, system: str) -> pd.DataFrame:
    return pd.read_csv(project.path / f"plots/predictions/{system}.csv", dtype=str)


def test_all_systems_have_the_same_test_tracks(finished: Project) -> None:
    index = store.read_index(finished.path / "data/spectrograms/index.csv")
    test = index[index["split"] == "test"]
    for system in ("cnn", "birnn", "baseline"):
        table = predictions(finished, system)
        assert table["track_id"].tolist() == test["track_id"].astype(str).tolist()
        assert table["actual"].tolist() == test["genre"].tolist()
        assert set(table["predicted"]) <= set(index["genre"])


def test_metrics_are_those_of_the_predictions_by_the_names_that_models_have(finished: Project) -> None:
    found, table = read_json(finished, "baseline"), predictions(finished, "baseline")
    genres = sorted(store.read_index(finished.path / "data/spectrograms/index.csv")["genre"].unique())
    macro = precision_recall_fscore_support(
        table["actual"], table["predicted"], labels=genres, average="macro", zero_division=0
    )[:3]
    assert (found["dataset"], found["n_test"]) == ("demo", len(table))
    assert found["c"] in params.load(finished.path / "params.yaml")["baseline"]["svm"]
    scores = {"accuracy": accuracy_score(table["actual"], table["predicted"])}
    scores |= dict(zip(("precision", "recall", "f1"), macro, strict=True))
    assert {name: found[name] for name in scores} == pytest.approx(scores, abs=1e-6)
    assert set(found) - {"c"} <= set(read_json(finished, "birnn"))
    assert read_json(finished, "comparison")["baseline"] == {name: found[name] for name in ("accuracy", "f1")}


def test_report_and_figure_have_its_row(finished: Project) -> None:
    found, report = read_json(finished, "baseline"), (finished.path / "report.md").read_text()
    (row,) = (line for line in report.splitlines() if line.startswith("| SVM on MFCC "))
    assert row.split("|")[2].strip() == f"{100 * found['accuracy']:.1f}"
    assert "<!-- SVM on MFCC -->" in (finished.path / "plots/comparison/accuracy.svg").read_text()


@pytest.fixture
def compared(finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy in which this process stands."""
    project = finished.copy(tmp_path / "project")
    monkeypatch.chdir(project.path)
    return project


def test_compare_refuses_a_baseline_of_other_tracks(compared: Project) -> None:
    path = compared.path / "plots/predictions/baseline.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=r"baseline\.csv: expected the test tracks of cnn\.csv, found others"):
        importlib.import_module("compare").main(params.load())


def test_each_model_is_compared_with_the_baseline(compared: Project) -> None:
    for system, right in (("cnn", False), ("birnn", True), ("baseline", True)):
        table = predictions(compared, system)
        genres = sorted(set(table["actual"]))
        others = table["actual"].map(dict(zip(genres, [*genres[1:], genres[0]], strict=True)))
        table["predicted"] = table["actual"] if right else others
        table.to_csv(compared.path / f"plots/predictions/{system}.csv", index=False)
    importlib.import_module("compare").main(params.load())
    report = (compared.path / "report.md").read_text()
    assert "- SVM on MFCC is better than cnn by 100.0 points of accuracy: cnn − SVM -100.0 [-100.0, -100.0]" in report
    assert "- SVM on MFCC and birnn are equally accurate, and the data cannot tell them apart" in report
    assert read_json(compared, "comparison")["baseline"] == {"accuracy": 1, "f1": 1}

"""Baselines: features compared with librosa, statistics, the classifiers, the stage, and its row in the report."""

import importlib
import io
import json
import math
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import librosa
import numpy as np
import pandas as pd
import pytest
import scipy.fft
import scipy.stats
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fma_genre import store
from fma_genre.baselines import k_nearest_neighbours, logistic_regression, low_level, rbf_svm
from fma_genre.baselines.low_level import frame_features, statistics
from fma_genre.common.errors import InputError
from fma_genre.common.params import Params, load
from fma_genre.features.build import describe
from fma_genre.features.levels import quantised_levels
from fma_genre.features.representations import mel, stft
from fma_genre.results import predictions
from fma_genre.store import dequantise
from project import PARAMS, Project
from real import REAL, needs_real
from stores import make_index, write_store

RATE, HOP, FLOOR = 22050, 512, 100.0  # Hz, samples, dB
COMMON: dict[str, Any] = {"sample_rate": RATE, "hop": HOP, "floor_db": FLOOR}
MEL = mel.Representation(mel.Arguments(n_fft=2048, bands=128), **COMMON)
STFT = stft.Representation(stft.Arguments(n_fft=1024), **COMMON)


# Features of frames. ----------------------------------------------------------------------------------------------


def features_of(samples: np.ndarray) -> np.ndarray:
    """Features (features, frames) of mel and STFT levels quantised to 8 bits."""
    bands, bins = (dequantise(quantised_levels(kind.power(samples), FLOOR), FLOOR) for kind in (MEL, STFT))
    return frame_features(bands, bins, STFT.frequencies(), sample_rate=RATE, mfccs=20)


def of_librosa(samples: np.ndarray) -> np.ndarray:
    """Features (features, frames) of the same levels, computed by librosa without quantisation."""
    power = librosa.feature.melspectrogram(y=samples, sr=RATE, hop_length=HOP)
    mfcc = librosa.feature.mfcc(S=librosa.power_to_db(power, ref=np.max, top_db=FLOOR, amin=1e-20))
    amplitude = np.abs(librosa.stft(samples, n_fft=1024, hop_length=HOP))
    amplitude = np.maximum(amplitude, amplitude.max() * 10 ** (-FLOOR / 20))
    amplitude[0] = amplitude[1]  # the 0 Hz bin, which is not stored, gets no peak or valley
    contrast = librosa.feature.spectral_contrast(S=amplitude, sr=RATE)
    amplitude[0] = 0
    centroid = librosa.feature.spectral_centroid(S=amplitude, sr=RATE)
    return np.concatenate([mfcc, contrast, centroid])


def assert_features_are_librosas(samples: np.ndarray) -> None:
    """Check equality within the effect of half a quantisation step, 0.2 dB."""
    found, expected = features_of(samples), of_librosa(samples)
    assert found.shape == expected.shape == (20 + 7 + 1, 1 + len(samples) // HOP)
    np.testing.assert_allclose(found[:20], expected[:20], atol=0.6)  # MFCC, dB
    np.testing.assert_allclose(found[20:27], expected[20:27], atol=0.21)  # contrast, dB
    np.testing.assert_allclose(found[27], expected[27], atol=30)  # centroid, Hz


def test_features_are_librosas_of_the_audio() -> None:
    time = np.arange(3 * RATE) / RATE
    noise = np.random.default_rng(0).normal(size=len(time)) * np.exp(-4 * (time % 0.5))
    assert_features_are_librosas((noise / 10 + librosa.chirp(fmin=100, fmax=8000, duration=3)).astype(np.float32))


@needs_real
@pytest.mark.parametrize("file", ["instruments/fma_instruments.zip", "cc_music/fma_ccmusic.zip"])
def test_features_are_librosas_of_real_clips(file: str) -> None:
    with zipfile.ZipFile(REAL / file) as archive:
        clips = [archive.read(name) for name in archive.namelist() if name.endswith(".mp3")]
    for clip in clips[:: len(clips) // 4]:
        decoded, _ = librosa.load(io.BytesIO(clip), sr=RATE, duration=3)
        assert_features_are_librosas(decoded)


def test_the_centroid_of_a_tone_is_its_frequency_and_its_octave_has_the_contrast() -> None:
    tone = librosa.tone(3000, sr=RATE, duration=1).astype(np.float32)
    features = features_of(tone)[:, 4:-4]
    np.testing.assert_allclose(features[27], 3000, rtol=0.01)
    assert (features[20:27].argmax(axis=0) == 4).all()  # up to 200 Hz, 200 to 400, …, 1600 to 3200


@pytest.mark.parametrize("n_fft", [16, 17, 100, 1023, 4096])
@pytest.mark.parametrize("rate", [4000, 8000, 12800, 44100, 192000])
@pytest.mark.filterwarnings("error")
def test_any_sample_rate_and_number_of_bands_has_features(rate: int, n_fft: int) -> None:
    """librosa alone fails on octaves above the Nyquist frequency and on octaves without a bin."""
    levels = -100 * np.random.default_rng(0).random((3, n_fft // 2), np.float32)
    frequencies = librosa.fft_frequencies(sr=rate, n_fft=n_fft)[1:]
    found = frame_features(levels, levels, frequencies, sample_rate=rate, mfccs=5)
    assert np.isfinite(found).all()
    assert 5 + 2 + 1 < len(found) <= 5 + 7 + 1
    assert (found[5:-1] > 0).all(), "every octave has bins to contrast"


# Statistics over time. --------------------------------------------------------------------------------------------


def test_statistics_equal_those_computed_by_hand() -> None:
    found = statistics(np.array([[1, 2, 3, 10], [-1, 0, 0, 1]], np.float32)).reshape(7, 2)
    second, third, fourth = ((9 + 4 + 1 + 6**2) / 4, (-27 - 8 - 1 + 6**3) / 4, (81 + 16 + 1 + 6**4) / 4)
    first = [4, math.sqrt(second), third / second**1.5, fourth / second**2 - 3, 2.5, 1, 10]
    np.testing.assert_allclose(found[:, 0], first, rtol=1e-12)
    np.testing.assert_allclose(found[:, 1], [0, math.sqrt(0.5), 0, 0.5 / 0.25 - 3, 0, -1, 1], atol=1e-12)


@pytest.mark.parametrize("frames", [2, 3, 1291])
def test_statistics_equal_scipys(frames: int) -> None:
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
    series = frame_features(levels[0], levels[1], STFT.frequencies(), sample_rate=RATE, mfccs=20)
    found = statistics(series).reshape(7, 28)
    assert np.isfinite(found).all()
    assert not found[1:4].any(), "constant series"


@pytest.mark.parametrize("frames", [1, 50])
@pytest.mark.filterwarnings("error")
def test_a_constant_has_neither_skewness_nor_kurtosis(frames: int) -> None:
    """A silent clip and a clip of a single frame have constant series."""
    expected = np.repeat([0.1, 0, 0, 0, 0.1, 0.1, 0.1], 3)
    np.testing.assert_allclose(statistics(np.full((3, frames), 0.1)), expected, atol=1e-15)


# Tracks of a store. -----------------------------------------------------------------------------------------------

GENRES = ["Folk", "Rock"] * 6
SPLITS = ["training"] * 4 + ["validation"] * 4 + ["test"] * 4


@pytest.fixture
def params() -> Params:
    return load(PARAMS)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Params) -> Path:
    """Stores with random levels of twelve tracks, one of them left out, in the current folder."""
    monkeypatch.chdir(tmp_path)
    index = make_index(GENRES, SPLITS, [9, 4, 1, 9, 2, 9, 0, 9, 9, 9, 9, 9])
    generator = np.random.default_rng(0)
    for name in ("mel", "stft"):
        description = describe(name, params.spectrograms, "demo", True, ["Folk", "Rock"])
        levels = generator.integers(0, 256, (12, 9, len(description.frequencies)), np.uint8)
        write_store(tmp_path / "data", levels, index, description)
    return tmp_path / "data"


def opened() -> dict[str, store.Store]:
    return {name: store.open_store(name) for name in low_level.REPRESENTATIONS}


def test_a_track_has_the_statistics_of_the_frames_that_its_clip_fills(data: Path) -> None:
    found = low_level.features(low_level.Arguments(mfcc=20), opened())
    assert found.shape == (11, 196), "one row for each used track"
    levels = np.load(data / "mel/levels.npy")
    for place, row, frames in ((1, 1, 4), (6, 7, 9)):
        mel = (levels[row, :frames] / 255 - 1) * 100
        coefficients = scipy.fft.dct(mel, norm="ortho")[:, :20]
        np.testing.assert_allclose(found[place, :20], coefficients.mean(axis=0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found[place, -28:-8], coefficients.max(axis=0), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("data")
def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for workers in ("1", "2"):
        monkeypatch.setenv("FMA_WORKERS", workers)
        found.append(low_level.features(low_level.Arguments(mfcc=20), opened()))
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.usefixtures("data")
def test_there_are_at_most_as_many_coefficients_as_bands() -> None:
    low_level.check(low_level.Arguments(mfcc=128), opened(), "baselines.svm")
    with pytest.raises(InputError, match=r"^baselines\.svm\.mfcc: expected at most 128 \(.*\), found 129$"):
        low_level.check(low_level.Arguments(mfcc=129), opened(), "baselines.svm")


# The SVM. ---------------------------------------------------------------------------------------------------------


def samples(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (tracks, features) of very different scales, and labels (tracks,) of overlapping classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, 120)
    centres = np.random.default_rng(99).normal(size=(4, 6))
    return (centres[labels] + generator.normal(size=(120, 6))) * 10.0 ** np.arange(-3, 3), labels


@pytest.mark.parametrize("seed", range(4))
def test_c_is_the_smallest_of_the_best_on_validation(seed: int) -> None:
    (features, labels), validation, (others, _) = (samples(3 * seed + part) for part in range(3))
    candidates = (30, 0.001, 3, 1, 0.3)
    machine, facts = rbf_svm.fit(rbf_svm.Arguments(c=candidates), (features, labels), validation)
    c = facts["c"]
    scaler = StandardScaler().fit(features)  # fitted on training tracks only
    alone = {c: SVC(C=c, kernel="rbf", gamma=1 / 6).fit(scaler.transform(features), labels) for c in candidates}
    right = {c: (alone[c].predict(scaler.transform(validation[0])) == validation[1]).sum() for c in candidates}
    assert c == min(c for c in candidates if right[c] == max(right.values()))
    np.testing.assert_array_equal(machine.predict(others), alone[c].predict(scaler.transform(others)))


def test_the_smallest_of_equal_candidates_is_chosen() -> None:
    labels = np.repeat([0, 1], 10)
    apart = 100.0 * labels[:, None] + np.arange(20)[:, None] % 10
    _, facts = rbf_svm.fit(rbf_svm.Arguments(c=(10, 1, 3)), (apart, labels), (apart, labels))
    assert facts == {"c": 1}


@pytest.mark.parametrize("classes", [2, 4])
def test_probabilities_are_those_of_scikit_learns_temperature_scaling(classes: int) -> None:
    """CalibratedClassifierCV needs several validation tracks of every class."""
    parts = [samples(part) for part in range(3)]
    training, validation, test = [(values[labels < classes], labels[labels < classes]) for values, labels in parts]
    machine, _ = rbf_svm.fit(rbf_svm.Arguments(c=(1,)), training, validation)
    reference = CalibratedClassifierCV(FrozenEstimator(machine.svm), method="temperature").fit(*validation)
    found = machine.predict_proba(test[0])
    np.testing.assert_allclose(found, reference.predict_proba(test[0]), atol=1e-4)
    assert found.shape == (len(test[0]), classes)
    assert (found.argmax(axis=1) == machine.predict(test[0])).mean() > 0.95, "they differ only if votes are tied"


def test_probabilities_need_neither_training_nor_validation_tracks_of_every_class() -> None:
    (features, labels), (others, other_labels) = samples(0), samples(1)
    training, validation = (
        (features[labels != 1], labels[labels != 1]),
        (others[other_labels != 2], other_labels[other_labels != 2]),
    )
    machine, _ = rbf_svm.fit(rbf_svm.Arguments(c=(1,)), training, validation)
    assert machine.classes_.tolist() == [0, 2, 3]
    probabilities = machine.predict_proba(others)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    known = np.isin(validation[1], [0, 3])  # tracks of class 1 cannot tell how sure the SVM should be
    assert machine.factor == rbf_svm.fit_factor(machine.svm, (validation[0][known], validation[1][known]))


def test_worker_processes_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    training, validation, (others, _) = (samples(part) for part in range(3))
    arguments = rbf_svm.Arguments(c=(1, 10, 0.001))
    alone, facts = rbf_svm.fit(arguments, training, validation)
    labels, probabilities = alone.predict(others), alone.predict_proba(others)

    for name, value in {"ONE_PROCESS": 0, "PART": 50}.items():
        monkeypatch.setattr(rbf_svm, name, value)
    monkeypatch.setenv("FMA_WORKERS", "2")
    shared, shared_facts = rbf_svm.fit(arguments, training, validation)
    assert (shared.factor, shared_facts) == (alone.factor, facts)
    np.testing.assert_array_equal(shared.predict(others), labels)
    np.testing.assert_array_equal(shared.predict_proba(others), probabilities)


# Other classifiers. -----------------------------------------------------------------------------------------------


def standardised(features: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    return (features - mean) / deviation, (others - mean) / deviation


@pytest.mark.parametrize("seed", range(3))
def test_logistic_regression_fits_each_class_against_the_rest(seed: int) -> None:
    (features, labels), validation, (others, _) = (samples(3 * seed + part) for part in range(3))
    classifier, facts = logistic_regression.fit(logistic_regression.Arguments(), (features, labels), validation)
    scaled, scaled_others = standardised(features, others)
    alone = [LogisticRegression(solver="newton-cg", tol=1e-8).fit(scaled, labels == place) for place in range(4)]
    probabilities = np.stack([model.predict_proba(scaled_others)[:, 1] for model in alone], axis=1)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.predict_proba(others), probabilities, atol=3e-3)
    np.testing.assert_array_equal(classifier.predict(others), probabilities.argmax(axis=1))
    assert (classifier.classes_.tolist(), facts) == ([0, 1, 2, 3], {})


@pytest.mark.parametrize("neighbours", [1, 5, 120])
def test_the_nearest_tracks_vote(neighbours: int) -> None:
    (features, labels), validation, (others, _) = (samples(part) for part in range(3))
    arguments = k_nearest_neighbours.Arguments(neighbours=neighbours)
    classifier, facts = k_nearest_neighbours.fit(arguments, (features, labels), validation)
    scaled, scaled_others = standardised(features, others)
    distances = np.linalg.norm(scaled_others[:, np.newaxis] - scaled, axis=2)
    nearest = labels[distances.argsort(axis=1)[:, :neighbours]]
    votes = np.stack([(nearest == place).mean(axis=1) for place in range(4)], axis=1)
    np.testing.assert_allclose(classifier.predict_proba(others), votes, atol=1e-12)
    np.testing.assert_array_equal(classifier.predict(others), votes.argmax(axis=1))
    assert facts == {}


def test_there_are_at_most_as_many_neighbours_as_training_tracks() -> None:
    message = r"^neighbours: expected at most 120 \(the number of training tracks\), found 121$"
    with pytest.raises(InputError, match=message):
        k_nearest_neighbours.fit(k_nearest_neighbours.Arguments(neighbours=121), samples(0), samples(1))


# The stage. -------------------------------------------------------------------------------------------------------


def run(params: Params) -> None:
    importlib.import_module("baseline").main(params, "svm")


@pytest.mark.usefixtures("data")
def test_the_stage_predicts_tracks_in_the_order_of_the_index(params: Params) -> None:
    run(params)
    found = predictions.read(Path("data/predictions/svm.npz"))
    assert (found.classes, found.seeds) == (["Folk", "Rock"], [0])
    assert found.validation.tracks.tolist() == [14, 15, 17]
    assert found.test.tracks.tolist() == [18, 19, 20, 21]
    assert found.test.labels.shape == (1, 4)
    assert set(found.facts) == {"features", "classifier", "c"}
    assert found.facts["c"] in (1, 3, 10)


@pytest.mark.usefixtures("data")
def test_the_stage_predicts_what_features_and_classifier_predict(params: Params) -> None:
    run(params)
    values = low_level.features(low_level.Arguments(mfcc=20), opened())
    labels = np.array([0, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1])  # without track 16
    training, validation, test = slice(0, 4), slice(4, 7), slice(7, 11)
    arguments = rbf_svm.Arguments(c=(1, 3, 10))
    machine, _ = rbf_svm.fit(arguments, (values[training], labels[training]), (values[validation], labels[validation]))
    found = predictions.read(Path("data/predictions/svm.npz"))
    np.testing.assert_array_equal(found.test.labels[0], machine.predict(values[test]))
    np.testing.assert_array_equal(found.validation.labels[0], machine.predict(values[validation]))
    for split, rows in ((found.validation, validation), (found.test, test)):
        assert split.probabilities is not None
        assert split.probabilities.shape == (1, len(values[rows]), 2)
        np.testing.assert_allclose(split.probabilities[0], machine.predict_proba(values[rows]), rtol=1e-6)


@pytest.mark.parametrize(
    ("classifier", "arguments"), [("logistic_regression", {}), ("k_nearest_neighbours", {"neighbours": 3})]
)
@pytest.mark.usefixtures("data")
def test_other_classifiers_are_sections_of_the_parameters(
    params: Params, classifier: str, arguments: dict[str, int]
) -> None:
    svm = replace(params.baselines["svm"], classifier=classifier, arguments={"mfcc": 20} | arguments)
    run(replace(params, baselines={"svm": svm}))
    found = predictions.read(Path("data/predictions/svm.npz"))
    assert found.facts == {"features": "low_level", "classifier": classifier}
    assert found.test.probabilities is not None
    np.testing.assert_allclose(found.test.probabilities.sum(axis=2), 1, rtol=1e-6)
    np.testing.assert_array_equal(found.test.labels, found.test.probabilities.argmax(axis=2))


class Constant:
    """A classifier that always predicts class 2, and knows the classes 0 and 2."""

    classes_ = np.array([0, 2])

    def predict(self, features: np.ndarray) -> np.ndarray:
        return np.full(len(features), 2)


class Probable(Constant):
    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return np.tile([0.25, 0.75], (len(features), 1))


class Other(Constant):
    def predict(self, features: np.ndarray) -> np.ndarray:
        return np.zeros(len(features), int)

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return np.full((len(features), 2), 0.5)


def test_columns_of_probabilities_are_all_classes_of_the_data_set() -> None:
    predict_split = importlib.import_module("baseline").predict_split
    tracks, values = np.array([7, 9]), np.zeros((2, 3))
    found = predict_split(Probable(), tracks, values, 4)
    np.testing.assert_array_equal(found.probabilities, [[[0.25, 0, 0.75, 0]] * 2])
    assert found.probabilities.dtype == np.float32
    np.testing.assert_array_equal(found.labels, [[2, 2]])
    without = predict_split(Constant(), tracks, values, 4)
    np.testing.assert_array_equal(without.labels, [[2, 2]])
    assert without.probabilities is None


def test_the_runs_of_several_classifiers_are_stacked() -> None:
    predict_runs = importlib.import_module("baseline").predict_runs
    tracks, values = np.array([7, 9]), np.zeros((2, 3))
    found = predict_runs([Probable(), Other()], tracks, values, 4)
    np.testing.assert_array_equal(found.tracks, tracks)
    np.testing.assert_array_equal(found.labels, [[2, 2], [0, 0]])
    np.testing.assert_array_equal(found.probabilities, [[[0.25, 0, 0.75, 0]] * 2, [[0.5, 0, 0.5, 0]] * 2])
    without = predict_runs([Constant(), Constant()], tracks, values, 4)
    np.testing.assert_array_equal(without.labels, [[2, 2], [2, 2]])
    assert without.probabilities is None


@dataclass(frozen=True)
class Seeded:
    seed: int
    runs: int


@dataclass(frozen=True)
class OnlySeeded:
    seed: int


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (Seeded(4, 3), {4: Seeded(4, 3), 5: Seeded(5, 3), 6: Seeded(6, 3)}),
        (Seeded(0, 1), {0: Seeded(0, 1)}),
        (OnlySeeded(4), {0: OnlySeeded(4)}),
        (rbf_svm.Arguments(c=(1,)), {0: rbf_svm.Arguments(c=(1,))}),
    ],
)
def test_a_classifier_is_fitted_for_each_seed(arguments: Any, expected: dict[int, Any]) -> None:
    """The facts are those of the first run."""
    training, validation = samples(0), samples(1)

    def fit(arguments: Any, *given: Any) -> tuple[Any, dict[str, Any]]:
        assert given == (training, validation)
        return arguments, {"seed of the run": getattr(arguments, "seed", None)}

    module = ModuleType("classifier")
    vars(module)["fit"] = fit
    found, facts = importlib.import_module("baseline").fit_runs(module, arguments, training, validation)
    assert found == expected
    assert facts == {"seed of the run": getattr(arguments, "seed", None)}


def change(**arguments: Any) -> Callable[[Params], Params]:
    """A change of the baseline's arguments; None removes one."""

    def changed(params: Params) -> Params:
        svm = params.baselines["svm"]
        given = {key: value for key, value in (dict(svm.arguments) | arguments).items() if value is not None}
        return replace(params, baselines={"svm": replace(svm, arguments=given)})

    return changed


def choose(**names: Any) -> Callable[[Params], Params]:
    return lambda params: replace(params, baselines={"svm": replace(params.baselines["svm"], **names)})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(mfcc=None), r"baselines\.svm\.mfcc: expected a whole number from 1 to 4096, found none"),
        (change(c=None), r"baselines\.svm\.c: expected a list"),
        (change(mfcc=0), r"baselines\.svm\.mfcc: expected a whole number from 1 to 4096, found 0"),
        (change(mfcc=200), r"baselines\.svm\.mfcc: expected at most 128 \(the number of mel bands\), found 200"),
        (change(c=[1, -3]), r"baselines\.svm\.c\[1\]: expected a number from .*, found -3"),
        (change(c=[]), r"baselines\.svm\.c: expected a list"),
        (change(mfccs=20), r"baselines\.svm: expected the keys .*, found 'mfccs'; did you mean mfcc\?"),
        (choose(features="rbf_svm"), r"baselines\.svm\.features: expected .* a function `features`, found rbf_svm"),
        (choose(classifier="low_level"), r"baselines\.svm\.classifier: expected .* `fit`, found low_level"),
        (lambda params: replace(params, dataset="small"), r"store\.json: expected dataset small .*, found demo"),
    ],
)
@pytest.mark.usefixtures("data")
def test_wrong_arguments_are_refused_in_a_line_before_any_work(
    params: Params, monkeypatch: pytest.MonkeyPatch, edit: Callable[[Params], Params], message: str
) -> None:
    def work(*_: object) -> None:
        raise AssertionError("the features were computed")

    monkeypatch.setattr(low_level, "features", work)
    with pytest.raises(InputError, match=message) as found:
        run(edit(params))
    assert "\n" not in str(found.value)
    assert not Path("data/predictions").exists()


# Among the systems. -----------------------------------------------------------------------------------------------


def read_json(project: Project, name: str) -> dict[str, Any]:
    return json.loads((project.path / "metrics" / f"{name}.json").read_text())


def table_of(project: Project) -> pd.DataFrame:
    return pd.read_csv(project.path / "plots/predictions.csv", dtype=str, keep_default_na=False)


def test_all_systems_have_the_same_test_tracks(finished: Project) -> None:
    index = store.read_index(finished.path / "data/index.csv")
    test = index[(index["split"] == "test") & (index["frames"] > 0)]
    for system in ("cnn", "birnn", "svm"):
        found = predictions.read(finished.path / f"data/predictions/{system}.npz")
        np.testing.assert_array_equal(found.test.tracks, test["track_id"])
    table = table_of(finished)
    assert table["track_id"].tolist() == test["track_id"].astype(str).tolist()
    assert table["actual"].tolist() == test["genre"].tolist()


def test_metrics_are_those_of_the_predictions_by_the_names_that_models_have(finished: Project) -> None:
    found, table = read_json(finished, "svm"), table_of(finished)
    genres = store.classes(store.read_index(finished.path / "data/index.csv"))
    macro = precision_recall_fscore_support(
        table["actual"], table["svm_seed0"], labels=genres, average="macro", zero_division=0
    )[:3]
    assert (found["dataset"], found["n_test"]) == ("demo", len(table))
    scores = {"accuracy": accuracy_score(table["actual"], table["svm_seed0"])}
    scores |= dict(zip(("precision", "recall", "f1"), macro, strict=True))
    assert {name: found[name] for name in scores} == pytest.approx(scores, abs=1e-6)
    assert set(found) < set(read_json(finished, "birnn"))
    compared = read_json(finished, "comparison")["systems"]["svm"]
    assert {name: compared[name] for name in ("accuracy", "f1")} == {name: found[name] for name in ("accuracy", "f1")}
    assert compared["c"] in load(finished.path / "params.yaml").baselines["svm"].arguments["c"]


def test_report_and_figure_have_a_row_for_the_baseline(finished: Project) -> None:
    found, report = read_json(finished, "svm"), (finished.path / "report.md").read_text()
    scores, differences, *_ = (line for line in report.splitlines() if line.startswith("| svm "))
    assert scores.split("|")[3].strip() == f"{100 * found['accuracy']:.1f}"
    gap = found["accuracy"] - read_json(finished, "cnn")["accuracy"]
    assert differences.split("|")[2].strip() == f"{100 * gap:+.1f}"
    assert "<!-- svm -->" in (finished.path / "plots/comparison/accuracy.svg").read_text()


@pytest.fixture
def compared(finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of the project, as the current folder."""
    project = finished.copy(tmp_path / "project")
    monkeypatch.chdir(project.path)
    return project


def edit_predictions(system: str, edit: Callable[[predictions.SplitPredictions], predictions.SplitPredictions]) -> None:
    path = Path(f"data/predictions/{system}.npz")
    found = predictions.read(path)
    path.unlink()  # it could be a read-only link into DVC's cache
    predictions.write(path, replace(found, test=edit(found.test)))


@pytest.mark.usefixtures("compared")
def test_compare_refuses_a_baseline_of_other_tracks() -> None:
    def shorten(test: predictions.SplitPredictions) -> predictions.SplitPredictions:
        assert test.probabilities is not None
        probabilities = test.probabilities[:, :-1]
        return replace(test, tracks=test.tracks[:-1], labels=test.labels[:, :-1], probabilities=probabilities)

    edit_predictions("svm", shorten)
    with pytest.raises(InputError, match=r"svm\.npz: expected the \d+ test tracks of .*, found \d+ tracks with"):
        importlib.import_module("compare").main(load())


def test_the_baseline_is_compared_with_the_reference(compared: Project) -> None:
    index = store.read_index(Path("data/index.csv"))
    classes = store.classes(index)
    genres = index.set_index("track_id")["genre"]
    for system, shift in (("cnn", 1), ("birnn", 0), ("svm", 0)):

        def name(test: predictions.SplitPredictions, shift: int = shift) -> predictions.SplitPredictions:
            """Predictions that are all correct, or all wrong."""
            actual = pd.Index(classes).get_indexer(pd.Index(genres[test.tracks]))
            labels = np.tile((actual + shift) % len(classes), (len(test.labels), 1))
            probabilities = None if test.probabilities is None else np.eye(len(classes), dtype=np.float32)[labels]
            return replace(test, labels=labels, probabilities=probabilities)

        edit_predictions(system, name)
    importlib.import_module("compare").main(load())
    report = (compared.path / "report.md").read_text()
    assert "**synthetic demo (single runs): cnn reaches 0.0 % [0.0, 0.0]; svm and birnn are better.**" in report
    rows = re.findall(r"^\| (\w+) +\| ([+-]\S+) +\| (\[.*?\]) .* (better|worse|cannot tell) +\|$", report, re.MULTILINE)
    assert ("svm", "+100.0", "[+100.0, +100.0]", "better") in rows
    found = read_json(compared, "comparison")["systems"]["svm"]
    assert (found["accuracy"], found["f1"]) == (1, 1)

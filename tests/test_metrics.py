"""Metrics of one or many confusion matrices, compared with scikit-learn, and the summary of a system."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from fma_genre.results.metrics import (
    METRICS,
    actual_labels,
    by_class,
    confusion,
    rounded,
    scores,
    summarise,
)
from fma_genre.results.predictions import Predictions
from synthetic import make_baseline, make_index, make_model

# Published number of test tracks of each genre in FMA medium.
MEDIUM = [711, 632, 225, 220, 152, 174, 119, 102, 62, 51, 39, 18, 42, 12, 8, 6]


def random_labels(classes: int, tracks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random actual and predicted labels. Some classes never occur, others are never predicted."""
    generator = np.random.default_rng(seed)
    occurring, predicted = (generator.choice(classes, generator.integers(1, classes + 1)) for _ in range(2))
    actual = generator.choice(occurring, tracks)
    guesses = np.where(generator.random(tracks) < 0.5, actual, generator.choice(predicted, tracks))
    return actual, np.where(np.isin(guesses, predicted), guesses, predicted[0])


CASES = [random_labels(classes, tracks, seed) for seed in range(5) for classes in (2, 5, 16) for tracks in (1, 7, 200)]


def of_scikit_learn(actual: np.ndarray, predicted: np.ndarray, average: str | None) -> list[np.ndarray]:
    """Precision, recall and F1 by scikit-learn, of the classes that occur."""
    occurring = np.unique(actual)
    return precision_recall_fscore_support(actual, predicted, labels=occurring, average=average, zero_division=0)[:3]


def test_cases_have_absent_classes_and_ones_that_are_never_predicted() -> None:
    matrices = [confusion(actual, predicted, 16) for actual, predicted in CASES]
    assert any((matrix.sum(axis=0) > 0)[matrix.sum(axis=1) == 0].any() for matrix in matrices)
    assert any((matrix.sum(axis=1) > 0)[matrix.sum(axis=0) == 0].any() for matrix in matrices)


@pytest.mark.parametrize("classes", [16, 20])
def test_confusion_is_scikit_learns(classes: int) -> None:
    for actual, predicted in CASES:
        expected = confusion_matrix(actual, predicted, labels=range(classes))
        np.testing.assert_array_equal(confusion(actual, predicted, classes), expected)


def test_scores_are_scikit_learns_macro_averages_over_the_classes_that_occur() -> None:
    for actual, predicted in CASES:
        found = scores(confusion(actual, predicted, 16))
        expected = [accuracy_score(actual, predicted), *of_scikit_learn(actual, predicted, "macro")]
        assert tuple(found) == METRICS
        np.testing.assert_allclose(list(found.values()), expected, rtol=1e-12)


def test_scores_by_class_are_scikit_learns_and_nan_for_a_class_that_does_not_occur() -> None:
    for actual, predicted in CASES:
        found = by_class(confusion(actual, predicted, 16))
        assert tuple(found) == METRICS[1:]
        expected = np.full((3, 16), np.nan)
        expected[:, np.unique(actual)] = of_scikit_learn(actual, predicted, None)
        np.testing.assert_allclose(list(found.values()), expected, rtol=1e-12)


def test_a_class_without_samples_does_not_count_as_0() -> None:
    """The second of three classes never occurs: a perfect prediction scores 1, and predicting it costs recall only."""
    perfect = scores(np.diag([3, 0, 2]))
    assert {name: float(value) for name, value in perfect.items()} == dict.fromkeys(METRICS, 1)
    found = scores(np.array([[2, 1, 0], [0, 0, 0], [0, 0, 2]]))
    expected = {"accuracy": 4 / 5, "precision": 1, "recall": (2 / 3 + 1) / 2, "f1": (4 / 5 + 1) / 2}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)


def test_leading_dimensions_are_kept() -> None:
    singles = [confusion(actual, predicted, 16) for actual, predicted in CASES[:30]]
    together = np.array(singles).reshape(5, 2, 3, 16, 16)
    for function, shape in ((scores, (5, 2, 3)), (by_class, (5, 2, 3, 16))):
        for name, values in function(together).items():
            assert values.shape == shape
            one_by_one = np.array([function(matrix)[name] for matrix in singles])
            np.testing.assert_array_equal(values, one_by_one.reshape(shape))


def test_weighted_matrices_are_scored_as_repeated_tracks_would_be() -> None:
    actual, predicted = CASES[-1]
    weighted = scores(3.0 * confusion(actual, predicted, 16))
    repeated = scores(confusion(np.tile(actual, 3), np.tile(predicted, 3), 16))
    for name in METRICS:
        assert weighted[name] == pytest.approx(repeated[name], rel=1e-12)


def test_the_largest_genre_has_the_published_accuracy_on_medium() -> None:
    """At an accuracy a = 27.6 %, macro recall is 1/16, precision a/16, and F1 2a/(1 + a)/16."""
    actual = np.repeat(np.arange(16), MEDIUM)
    found = scores(confusion(actual, np.zeros_like(actual), 16))
    share = 711 / 2573
    expected = {"accuracy": share, "precision": share / 16, "recall": 1 / 16, "f1": 2 * share / (1 + share) / 16}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-12)
    assert [round(100 * float(found[name]), 2) for name in ("accuracy", "recall", "f1")] == [27.63, 6.25, 2.71]


@pytest.mark.parametrize(
    ("actual", "predicted", "says"),
    [
        ([0, 1], [0], r"found shapes \(2,\) and \(1,\)"),
        ([], [], "labels and predictions of equal length"),
        ([[0, 1]], [[0, 1]], "labels and predictions of equal length"),
        ([0, 3], [0, 1], "labels from 0 to 2, found 0 to 3"),
        ([0, 1], [0, 7], "labels from 0 to 2, found 0 to 7"),
        ([0, -1], [0, 1], "labels from 0 to 2, found -1 to 1"),
        ([0, 1], [-1, 1], "labels from 0 to 2, found -1 to 1"),
    ],
)
def test_labels_that_are_not_comparable_are_refused(actual: list[int], predicted: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        confusion(np.array(actual, dtype=int), np.array(predicted, dtype=int), 3)


# The summary of a system. -----------------------------------------------------------------------------------------

INDEX = make_index()
KEYS = {  # there may be more
    "accuracy", "precision", "recall", "f1", "accuracy_std", "validation_accuracy", "validation_f1",
    "ensemble_accuracy", "segment_accuracy", "n_test", "dataset",
}  # fmt: skip
SEVERAL_RUNS = {"accuracy_std", "ensemble_accuracy"}  # keys that need several runs


def missing(summary: Mapping[str, Any]) -> set[str]:
    return KEYS - set(summary)


def genres_of(tracks: np.ndarray) -> list[str]:
    return INDEX.set_index("track_id")["genre"][tracks].tolist()


def expected_runs(predictions: Predictions, split: str) -> np.ndarray:
    """Accuracy, precision, recall and F1 of each run by scikit-learn, (4, runs)."""
    part, classes = getattr(predictions, split), np.array(predictions.classes)
    actual = genres_of(part.tracks)
    runs = []
    for labels in part.labels:
        macro = precision_recall_fscore_support(
            actual, classes[labels], labels=classes, average="macro", zero_division=0
        )
        runs.append([accuracy_score(actual, classes[labels]), *macro[:3]])
    return np.array(runs).T


@pytest.mark.parametrize("runs", [1, 3])
def test_a_models_summary_is_scikit_learns(runs: int) -> None:
    model = make_model(INDEX, 0.6, runs=runs)
    found = summarise(model, INDEX)
    assert missing(found) == (set() if runs > 1 else SEVERAL_RUNS)
    expected = expected_runs(model, "test")
    for name, values in zip(METRICS, expected, strict=True):
        assert found[name] == pytest.approx(values.mean(), abs=1e-6)
    if runs > 1:
        assert found["accuracy_std"] == pytest.approx(np.std(expected[0], ddof=1), abs=1e-6)
    validation = expected_runs(model, "validation").mean(axis=1)
    assert found["validation_accuracy"] == pytest.approx(validation[0], abs=1e-6)
    assert found["validation_f1"] == pytest.approx(validation[3], abs=1e-6)
    assert (found["n_test"], found["dataset"]) == (len(model.test.tracks), "small")


def test_ensemble_and_segments_are_scored_by_their_probabilities() -> None:
    model = make_model(INDEX, 0.6)
    found, test, classes = summarise(model, INDEX), model.test, np.array(model.classes)
    assert test.probabilities is not None
    assert test.segment_probabilities is not None
    actual = genres_of(test.tracks)
    ensemble = classes[test.probabilities.mean(axis=0).argmax(axis=1)]
    assert found["ensemble_accuracy"] == pytest.approx(accuracy_score(actual, ensemble), abs=1e-6)
    of_segments = [genre for genre in actual for _ in range(3)]
    right = [accuracy_score(of_segments, classes[run.argmax(axis=1)]) for run in test.segment_probabilities]
    assert found["segment_accuracy"] == pytest.approx(np.mean(right), abs=1e-6)
    assert len({found["accuracy"], found["ensemble_accuracy"], found["segment_accuracy"]}) == 3


def test_keys_that_do_not_apply_to_a_baseline_are_absent() -> None:
    for probabilities in (False, True):
        found = summarise(make_baseline(INDEX, 0.5, probabilities=probabilities), INDEX)
        assert missing(found) == SEVERAL_RUNS | {"segment_accuracy"}


def test_there_are_no_validation_scores_without_validation_tracks() -> None:
    model = make_model(INDEX[INDEX["split"] != "validation"], 0.6)
    assert len(model.validation.tracks) == 0
    assert missing(summarise(model, INDEX)) == {"validation_accuracy", "validation_f1"}


def test_runs_without_probabilities_have_a_deviation_but_no_ensemble() -> None:
    model = make_model(INDEX, 0.6)
    test = replace(model.test, probabilities=None, segment_probabilities=None)
    found = summarise(replace(model, test=test), INDEX)
    assert missing(found) == {"ensemble_accuracy", "segment_accuracy"}


def test_a_summary_is_json_of_six_digits() -> None:
    summary = summarise(make_model(INDEX, 0.6), INDEX)
    assert json.loads(json.dumps(summary)) == summary
    assert all(value == round(value, 6) for value in summary.values() if isinstance(value, float))


def test_labels_belong_to_tracks_whatever_their_order() -> None:
    tracks = INDEX["track_id"].to_numpy()[::-3]
    found = actual_labels(tracks, ["Folk", "Jazz", "Rock"], INDEX)
    assert [["Folk", "Jazz", "Rock"][label] for label in found] == genres_of(tracks)
    assert actual_labels(np.array([-5]), ["Folk", "Jazz", "Rock"], INDEX).tolist() == [-1]


def test_tracks_that_the_index_lacks_are_not_scored() -> None:
    model = make_model(INDEX, 0.6)
    other = replace(model, test=replace(model.test, tracks=model.test.tracks + 100_000))
    with pytest.raises(ValueError, match="labels from 0 to 2, found -1"):
        summarise(other, INDEX)


def test_rounding_reaches_every_float_and_nothing_else() -> None:
    found = rounded({"a": 1 / 3, "b": [np.float64(2 / 3), 3, "x"], "c": {"d": True}, "e": None})
    assert found == {"a": 0.333333, "b": [0.666667, 3, "x"], "c": {"d": True}, "e": None}
    assert type(found["b"][0]) is float

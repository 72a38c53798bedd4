"""Top-2 accuracy and log loss, held against scikit-learn; calibration error, against its definition in a loop."""

import math

import numpy as np
import pytest
from sklearn.metrics import log_loss, top_k_accuracy_score

from fma_genre.results import probability_scores
from synthetic import make_comparison, make_index, make_model

INDEX = make_index()


def guesses(tracks: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (tracks, classes), and actual labels that follow their square roots: they are not calibrated."""
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(classes, 0.5), tracks).astype(np.float32)
    chances = np.sqrt(probabilities.astype(float))
    chances /= chances.sum(axis=1, keepdims=True)
    return probabilities, np.array([generator.choice(classes, p=row) for row in chances])


CASES = [guesses(tracks, classes, seed) for seed, (tracks, classes) in enumerate([(5, 3), (300, 4), (1000, 16)])]


@pytest.mark.parametrize(("probabilities", "actual"), CASES)
def test_top_2_accuracy_is_scikit_learns(probabilities: np.ndarray, actual: np.ndarray) -> None:
    expected = top_k_accuracy_score(actual, probabilities, k=2, labels=range(probabilities.shape[1]))
    assert probability_scores.top2_accuracy(probabilities, actual) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("probabilities", "actual"), CASES)
def test_log_loss_is_scikit_learns(probabilities: np.ndarray, actual: np.ndarray) -> None:
    kept = np.maximum(probabilities, np.finfo(np.float32).eps).astype(float)
    expected = log_loss(actual, kept / kept.sum(axis=1, keepdims=True), labels=range(probabilities.shape[1]))
    assert probability_scores.log_loss(probabilities, actual) == pytest.approx(expected, rel=1e-4)


def test_log_loss_of_a_wrong_certainty_is_finite() -> None:
    """It counts as a probability of 2⁻²³, the precision of float32."""
    found = probability_scores.log_loss(np.array([[1, 0], [0, 1]], np.float32), np.array([1, 1]))
    assert found == pytest.approx(23 * math.log(2) / 2)


def naive_calibration_error(probabilities: np.ndarray, actual: np.ndarray) -> float:
    error = 0.0
    for number in range(15):
        inside = [
            (row.max(), row.argmax() == label)
            for row, label in zip(probabilities, actual, strict=True)
            if number / 15 <= row.max() < (number + 1) / 15 or (number == 14 and row.max() == 1)
        ]
        if inside:
            confidence, accuracy = (sum(values) / len(inside) for values in zip(*inside, strict=True))
            error += len(inside) / len(actual) * abs(accuracy - confidence)
    return error


@pytest.mark.parametrize(("probabilities", "actual"), CASES)
def test_calibration_error_is_the_mean_gap_between_probability_and_accuracy(
    probabilities: np.ndarray, actual: np.ndarray
) -> None:
    found = probability_scores.calibration_error(probabilities, actual)
    assert found == pytest.approx(naive_calibration_error(probabilities, actual), abs=1e-6)
    assert found > 0.05


def test_calibration_error_is_0_for_matching_probabilities_and_1_for_wrong_certainties() -> None:
    probabilities = np.tile(np.array([0.75, 0.25], np.float32), (8, 1))
    assert probability_scores.calibration_error(probabilities, np.array([0, 0, 0, 1] * 2)) == pytest.approx(0)
    certain = np.eye(3, dtype=np.float32)
    assert probability_scores.calibration_error(certain, np.array([1, 2, 0])) == 1
    assert probability_scores.calibration_error(certain, np.array([0, 1, 2])) == 0


def test_scores_of_a_system_are_means_over_its_runs() -> None:
    model = make_model(INDEX, 0.6, runs=3).test
    assert model.probabilities is not None
    actual = np.random.default_rng(0).integers(0, 3, len(model.tracks))
    found = probability_scores.probability_scores(model.probabilities, actual)
    assert tuple(found) == ("top2_accuracy", "log_loss", "calibration_error")
    runs = [run.astype(float) for run in model.probabilities]
    expected = {
        "top2_accuracy": np.mean([top_k_accuracy_score(actual, run, k=2) for run in runs]),
        "log_loss": np.mean([log_loss(actual, run / run.sum(axis=1, keepdims=True)) for run in runs]),
        "calibration_error": np.mean([naive_calibration_error(run, actual) for run in runs]),
    }
    assert found == pytest.approx(expected, rel=1e-5)


def test_systems_without_probabilities_have_no_such_scores() -> None:
    comparison = make_comparison(2, 2)
    assert {result.key: bool(result.probability_scores) for result in comparison.rows} == {
        "majority": False, "svm": True, "forest": False, "cnn": True, "cnn_svm_head": False, "birnn": True,
    }  # fmt: skip

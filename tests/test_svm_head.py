"""The SVM head, compared with scikit-learn's LinearSVC: weights, accuracy, choice of C, and interruption."""

import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from fma_genre.learning import svm_head
from project import ROOT

Sample = tuple[np.ndarray, np.ndarray]  # features (tracks, features) and labels (tracks,)
CANDIDATES = (0.0001, 0.001, 0.01, 0.1)  # those of params.yaml
COUNTS = (400, 200, 100, 40, 10)  # training tracks of each class


def scaled_features(classes: int, tracks: int, seed: int) -> Sample:
    """Overlapping classes in 12 features of very different scales; one feature is constant."""
    generator = np.random.default_rng(seed)
    labels = np.arange(tracks) % classes
    centres = np.random.default_rng(7).normal(size=(classes, 12))
    values = (centres[labels] + generator.normal(0, 1.5, (tracks, 12))) * 10.0 ** np.arange(-3, 3).repeat(2)
    values[:, 3] = 5
    return values.astype(np.float32), labels


def network_features(labels: np.ndarray, seed: int, features: int = 60) -> Sample:
    """Correlated features that are never negative, like those of a network, for classes that overlap."""
    network, generator = np.random.default_rng(7), np.random.default_rng(seed)
    centres, mixing = network.normal(0, 0.6, (len(COUNTS), 8)), network.normal(size=(8, features))
    hidden = centres[labels] + generator.normal(size=(len(labels), 8))
    values = np.maximum(hidden @ mixing + generator.normal(0, 0.3, (len(labels), features)), 0)
    return values.astype(np.float32), labels


def unbalanced(seed: int, times: int = 1, features: int = 60) -> Sample:
    return network_features(np.repeat(np.arange(len(COUNTS)), np.multiply(COUNTS, times)), seed, features)


def linear_svc(training: Sample, c: float, **settings: float) -> tuple[StandardScaler, LinearSVC]:
    scaler = StandardScaler().fit(training[0].astype(np.float64))
    machine = LinearSVC(C=c, random_state=0, max_iter=100_000, **{"dual": "auto"} | settings)
    return scaler, machine.fit(scaler.transform(training[0]), training[1])


def predictions_of_linear_svc(training: Sample, features: np.ndarray, c: float) -> np.ndarray:
    scaler, machine = linear_svc(training, c)
    return machine.predict(scaler.transform(features))


# Compared with scikit-learn. --------------------------------------------------------------------------------------


@pytest.mark.parametrize("c", CANDIDATES)
@pytest.mark.parametrize("features", [60, 1000])
def test_weights_and_bias_are_those_of_a_converged_linear_svc(features: int, c: float) -> None:
    """1000 features are more than there are training tracks."""
    training = unbalanced(0, features=features)
    head = svm_head.fit(training, training, [c])
    scaler, machine = linear_svc(training, c, dual=False, tol=1e-8)
    weights = machine.coef_.T / scaler.scale_[:, None]
    np.testing.assert_allclose(head.weights, weights, atol=2e-3 * np.abs(weights).max())
    np.testing.assert_allclose(head.bias, machine.intercept_ - scaler.mean_ @ weights, atol=1e-2)
    assert (head.weights.dtype, head.bias.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize("c", CANDIDATES)
def test_accuracy_is_within_a_fifth_of_a_point_of_linear_svcs(c: float) -> None:
    training, (features, labels) = unbalanced(0), unbalanced(1, times=10)
    head = svm_head.fit(training, (features, labels), [c])
    expected = (predictions_of_linear_svc(training, features, c) == labels).mean()
    assert 0.6 < expected < 0.9, "neither guesses nor certain"
    assert abs((head.predict(features) == labels).mean() - expected) <= 0.002


@pytest.mark.parametrize(("classes", "c"), [*itertools.product([2, 3, 10], [0.001, 0.1])])
def test_predictions_are_those_of_linear_svc_for_any_number_of_classes(classes: int, c: float) -> None:
    training, test = scaled_features(classes, 120, 0), scaled_features(classes, 300, 1)
    head = svm_head.fit(training, scaled_features(classes, 50, 2), [c])
    assert head.weights.shape == (12, classes)
    assert head.bias.shape == (classes,)
    predicted = head.predict(test[0])
    np.testing.assert_array_equal(predicted, predictions_of_linear_svc(training, test[0], c))
    assert set(predicted) == set(range(classes))


def test_two_classes_have_opposite_weights() -> None:
    training = scaled_features(2, 120, 0)
    head = svm_head.fit(training, training, [0.1])
    np.testing.assert_allclose(head.weights[:, 0], -head.weights[:, 1], rtol=1e-3)
    np.testing.assert_allclose(head.bias[0], -head.bias[1], rtol=1e-3)


def test_a_constant_feature_has_no_weight_and_changes_nothing() -> None:
    features, labels = scaled_features(3, 120, 0)
    head = svm_head.fit((features, labels), (features, labels), [0.1])
    np.testing.assert_allclose(head.weights[3], 0, atol=1e-12)
    others = np.delete(features, 3, axis=1)
    alone = svm_head.fit((others, labels), (others, labels), [0.1])
    np.testing.assert_allclose(np.delete(head.weights, 3, axis=0), alone.weights, rtol=1e-3)
    np.testing.assert_allclose(head.bias, alone.bias, rtol=1e-3)


# The choice of C. -------------------------------------------------------------------------------------------------


def test_c_is_the_smallest_of_the_best_on_validation() -> None:
    training, validation = scaled_features(4, 60, 0), scaled_features(4, 400, 1)
    candidates = [10.0, 0.1, 1e-6, 0.001]
    predicted = {c: predictions_of_linear_svc(training, validation[0], c) for c in candidates}
    accuracies = {c: (labels == validation[1]).mean() for c, labels in predicted.items()}
    best = min(c for c in candidates if accuracies[c] == max(accuracies.values()))
    assert len(set(accuracies.values())) > 1
    chosen = svm_head.fit(training, validation, candidates)
    np.testing.assert_array_equal(chosen.weights, svm_head.fit(training, validation, [best]).weights)

    alone = (validation[0][:1], validation[1][:1])
    equal = [c for c in sorted(candidates) if (predictions_of_linear_svc(training, alone[0], c) == alone[1]).all()]
    assert len(equal) > 1
    of_equals = svm_head.fit(training, alone, candidates)
    np.testing.assert_array_equal(of_equals.weights, svm_head.fit(training, alone, equal[:1]).weights)


def test_repeated_fits_have_the_same_bits_in_any_order_of_c() -> None:
    training, validation = unbalanced(0), unbalanced(1)
    heads = [svm_head.fit(training, validation, order) for order in (CANDIDATES, CANDIDATES, CANDIDATES[::-1])]
    for head in heads[1:]:
        np.testing.assert_array_equal(head.weights, heads[0].weights)
        np.testing.assert_array_equal(head.bias, heads[0].bias)


# Processes. -------------------------------------------------------------------------------------------------------


class StoppedError(Exception):
    """Raised by a signal handler."""


@contextmanager
def stop_at_signal(number: int) -> Iterator[None]:
    """Send a signal every millisecond. The handler raises StoppedError when it is called for the given time."""
    calls = itertools.count(1)

    def handle(*_: object) -> None:
        if next(calls) == number:
            raise StoppedError

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_signals_are_handled_during_a_fit() -> None:
    """Compiled code that does not return to Python in between would call the handler once, at its end."""
    training = unbalanced(0, features=300)
    svm_head.fit(training, training, [1e-4])  # imports are done
    with pytest.raises(StoppedError), stop_at_signal(20):
        svm_head.fit(training, training, [100.0])


def test_heads_are_used_without_scikit_learn() -> None:
    code = "import sys; from fma_genre.learning import svm_head; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", check=True)

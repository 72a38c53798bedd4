"""A linear SVM on a network's features, one vector a track, in place of its softmax head."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LinearSVM:
    """One-versus-rest scores `features @ weights + bias`; the standardisation of features is folded into both."""

    weights: np.ndarray  # (features, classes) float32
    bias: np.ndarray  # (classes,) float32

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(tracks, features) to positions among the classes (tracks,)."""
        return (features @ self.weights + self.bias).argmax(axis=1)


def fit(
    training: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    candidates: Sequence[float],
) -> LinearSVM:
    """The SVM whose C is best on validation; of equals, the one with the smallest C.

    Args:
        training, validation: features (tracks, features) and labels (tracks,); every class is in `training`.
        candidates: values of C.
    """
    features, labels = validation
    machines = [_fit(*training, c) for c in sorted(candidates)]
    return max(machines, key=lambda machine: (machine.predict(features) == labels).mean())


def _fit(features: np.ndarray, labels: np.ndarray, c: float) -> LinearSVM:
    from sklearn.svm import LinearSVC  # takes a second to import, which other users of LinearSVM need not wait for

    features = features.astype(np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    scale = 1 / np.where(deviation > 0, deviation, 1)
    machine = LinearSVC(C=c, dual="auto", random_state=0, max_iter=5000)
    machine.fit((features - mean) * scale, labels)

    coefficients, bias = machine.coef_, machine.intercept_
    if len(machine.classes_) == 2:  # scikit-learn keeps one row for two classes
        coefficients, bias = np.concatenate([-coefficients, coefficients]), np.concatenate([-bias, bias])
    weights = coefficients.T * scale[:, None]
    return LinearSVM(weights.astype(np.float32), (bias - mean @ weights).astype(np.float32))

"""Linear SVM that replaces a network's softmax head. It classifies tracks by their mean features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LinearSVM:
    """One-versus-rest SVM with scores `features @ weights + bias`.

    Weights and bias include the standardisation of the features.
    """

    weights: np.ndarray  # (features, classes) float32
    bias: np.ndarray  # (classes,) float32

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return (tracks,): for each track, the position of its predicted class in the list of classes.

        Args:
            features: (tracks, features).
        """
        return (features @ self.weights + self.bias).argmax(axis=1)


def fit(
    training: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    candidates: Sequence[float],
) -> LinearSVM:
    """Fit an SVM for each C; return the one with the highest validation accuracy. The lowest C wins a tie.

    Args:
        training, validation: features (tracks, features) and labels (tracks,). `training` has tracks of every class.
        candidates: values of C.
    """
    features, labels = validation
    svms = [_fit(*training, c) for c in sorted(candidates)]
    return max(svms, key=lambda svm: (svm.predict(features) == labels).mean())


def _fit(features: np.ndarray, labels: np.ndarray, c: float) -> LinearSVM:
    from sklearn.svm import LinearSVC  # the import takes a second, and prediction does not need it

    features = features.astype(np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    scale = 1 / np.where(deviation > 0, deviation, 1)
    svm = LinearSVC(C=c, dual="auto", random_state=0, max_iter=5000)
    svm.fit((features - mean) * scale, labels)

    coefficients, bias = svm.coef_, svm.intercept_
    if len(svm.classes_) == 2:  # scikit-learn stores a single row for two classes
        coefficients, bias = np.concatenate([-coefficients, coefficients]), np.concatenate([-bias, bias])
    weights = coefficients.T * scale[:, None]
    return LinearSVM(weights.astype(np.float32), (bias - mean @ weights).astype(np.float32))

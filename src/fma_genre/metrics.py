"""Classification metrics, from confusion matrices `(…, classes, classes)`: rows are actual, columns predicted.

Definitions are scikit-learn's with `average="macro"`, `zero_division=0` and the labels of all classes: a class that is
never predicted has precision 0, one that never occurs has recall 0, and all count alike, those absent from a resample
too. Leading dimensions are kept, so that thousands of resampled matrices are scored at once.
"""

import numpy as np

METRICS = ("accuracy", "precision", "recall", "f1")


def confusion(actual: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts (classes, classes) of labels (samples,) in 0 … classes − 1.

    Raises:
        ValueError: the two differ in length, are empty, or hold a label out of range.
    """
    if actual.shape != predicted.shape or actual.ndim != 1 or not len(actual):
        raise ValueError(f"expected as many predictions as labels, found {predicted.shape} and {actual.shape}")
    labels = np.concatenate([actual, predicted])
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"expected labels below {classes}, found {labels.min()} to {labels.max()}")
    return np.bincount(actual * classes + predicted, minlength=classes**2).reshape(classes, classes)


def by_class(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class: (…, classes, classes) to (…, classes)."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    predicted, actual = matrix.sum(axis=-2), matrix.sum(axis=-1)
    return {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, actual),
        "f1": _ratio(2 * hits, predicted + actual),
    }


def scores(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy and macro precision, recall and F1: (…, classes, classes) to (…)."""
    accuracy = _ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum(axis=(-2, -1)))
    return {"accuracy": accuracy} | {name: values.mean(axis=-1) for name, values in by_class(matrix).items()}


def deviation(values: np.ndarray) -> float:
    """Sample standard deviation over runs (runs,); 0 for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=np.asarray(denominator) > 0)

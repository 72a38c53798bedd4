"""Classification metrics, from confusion matrices `(…, classes, classes)`: rows are actual, columns predicted.

Definitions are scikit-learn's with `average="macro"`, `zero_division=0` and the labels of all classes: a class that is
never predicted has precision 0, one that never occurs has recall 0, and all classes count alike, even one that is
absent from a resample. Leading dimensions are kept, so that thousands of resampled matrices are scored at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fma_genre.results.predictions import Predictions, SplitPredictions

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


def summarise(predictions: Predictions, index: pd.DataFrame) -> dict[str, Any]:
    """The content of metrics/<system>.json, rounded; keys that do not apply to the system are absent.

    Scores are means over single runs. `accuracy_std`, `ensemble_accuracy` and `segment_accuracy` belong to systems that
    predict probabilities.

    Args:
        index: `genre` of every track, by `track_id`.
    """
    classes, test = predictions.classes, predictions.test
    actual = actual_labels(test.tracks, classes, index)
    test_scores = scores(run_matrices(actual, test.labels, len(classes)))
    validation_actual = actual_labels(predictions.validation.tracks, classes, index)
    validation_scores = scores(run_matrices(validation_actual, predictions.validation.labels, len(classes)))

    summary: dict[str, Any] = {name: values.mean() for name, values in test_scores.items()}
    if test.probabilities is not None:
        summary["accuracy_std"] = deviation(test_scores["accuracy"])
    for name in ("accuracy", "f1"):
        summary[f"validation_{name}"] = validation_scores[name].mean()
    if test.probabilities is not None:
        summary["ensemble_accuracy"] = (test.ensemble_labels == actual).mean()
    if test.segment_probabilities is not None:
        summary["segment_accuracy"] = segment_accuracy(test, actual)
    return rounded({**summary, "n_test": len(actual), "dataset": predictions.dataset})


def actual_labels(tracks: np.ndarray, classes: Sequence[str], index: pd.DataFrame) -> np.ndarray:
    """Positions (tracks,) of the tracks' genres among the classes; −1 where track or genre is unknown."""
    genres = index.set_index("track_id")["genre"].reindex(tracks)
    return pd.Index(classes).get_indexer(pd.Index(genres))


def run_matrices(actual: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrices (runs, classes, classes) of each run's labels (runs, tracks)."""
    return np.array([confusion(actual, run, classes) for run in labels])


def segment_accuracy(split: SplitPredictions, actual: np.ndarray) -> float:
    """Share of segments to which a single network gives their track's genre, mean over the runs."""
    assert split.segment_probabilities is not None
    assert split.segment_tracks is not None
    genres = actual[split.segment_tracks]
    return float(np.mean([(run.argmax(axis=1) == genres).mean() for run in split.segment_probabilities]))


def deviation(values: np.ndarray) -> float:
    """Sample standard deviation over runs (runs,); 0 for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def rounded(value: Any) -> Any:
    """The value with every float in it rounded to six digits; smaller differences are no results."""
    if isinstance(value, float):  # NumPy's float64 is one
        return round(float(value), 6)
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=np.asarray(denominator) > 0)

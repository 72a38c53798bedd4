"""Classification metrics from confusion matrices `(…, classes, classes)`: rows are actual, columns predicted classes.

The definitions match scikit-learn's with `average="macro"`, `zero_division=0` and `labels` set to the actual classes:

- A class that is never predicted has precision 0.
- All classes have the same weight in a macro average, except that a class without samples is left out.

Leading dimensions are kept, so that one call can score thousands of resampled matrices.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fma_genre.results.predictions import Predictions, SplitPredictions

METRICS = ("accuracy", "precision", "recall", "f1")


def confusion(actual: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count the tracks or segments by actual and predicted class, in a confusion matrix (classes, classes).

    Args:
        actual, predicted: (samples,) integer labels from 0 to classes − 1.

    Raises:
        ValueError: the arrays are not 1-D, differ in length, are empty, or contain a label out of range.
    """
    if actual.shape != predicted.shape or actual.ndim != 1 or not len(actual):
        expected = "1-D labels and predictions of equal length, at least one of each"
        raise ValueError(f"expected {expected}, found shapes {actual.shape} and {predicted.shape}")
    labels = np.concatenate([actual, predicted])
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"expected labels from 0 to {classes - 1}, found {labels.min()} to {labels.max()}")
    return np.bincount(actual * classes + predicted, minlength=classes**2).reshape(classes, classes)


def by_class(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Compute precision, recall and F1, each of shape (…, classes), from matrices (…, classes, classes).

    The scores of a class without samples are NaN.
    """
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    predicted, actual = matrix.sum(axis=-2), matrix.sum(axis=-1)
    ratios = {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, actual),
        "f1": _ratio(2 * hits, predicted + actual),
    }
    return {name: np.where(actual > 0, values, np.nan) for name, values in ratios.items()}


def scores(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Compute accuracy and macro precision, recall and F1, each of shape (…), from matrices (…, classes, classes)."""
    accuracy = _ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum(axis=(-2, -1)))
    return {"accuracy": accuracy} | {name: np.nanmean(values, axis=-1) for name, values in by_class(matrix).items()}


def summarise(predictions: Predictions, index: pd.DataFrame) -> dict[str, Any]:
    """Return the content of metrics/<system>.json, rounded to six decimals. Scores are means over the runs.

    `accuracy_std` requires several runs, and `ensemble_accuracy` requires probabilities as well. Only systems that
    predict segments have `segment_accuracy`. Without validation tracks, there are no validation scores.

    Args:
        index: table with the columns `track_id` and `genre` and a row for every predicted track.
    """
    classes, test, validation = predictions.classes, predictions.test, predictions.validation
    actual = actual_labels(test.tracks, classes, index)
    test_scores = scores(run_matrices(actual, test.labels, len(classes)))
    several = len(test.labels) > 1

    summary: dict[str, Any] = {name: values.mean() for name, values in test_scores.items()}
    if several:
        summary["accuracy_std"] = test_scores["accuracy"].std(ddof=1)
    if len(validation.tracks):
        validation_actual = actual_labels(validation.tracks, classes, index)
        validation_scores = scores(run_matrices(validation_actual, validation.labels, len(classes)))
        summary |= {f"validation_{name}": validation_scores[name].mean() for name in ("accuracy", "f1")}
    if several and test.probabilities is not None:
        summary["ensemble_accuracy"] = (test.probabilities.mean(axis=0).argmax(axis=1) == actual).mean()
    if test.segment_probabilities is not None:
        summary["segment_accuracy"] = segment_accuracy(test, actual)
    return rounded({**summary, "n_test": len(actual), "dataset": predictions.dataset})


def actual_labels(tracks: np.ndarray, classes: Sequence[str], index: pd.DataFrame) -> np.ndarray:
    """Return (tracks,) labels: the position of each track's genre in `classes`, or −1 if it is not found.

    Args:
        tracks: (tracks,) track ids.
        index: table with the columns `track_id` and `genre`. A track that it lacks has the label −1.
    """
    genres = index.set_index("track_id")["genre"].reindex(tracks)
    return pd.Index(classes).get_indexer(pd.Index(genres))


def run_matrices(actual: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Compute the confusion matrix of each run, (runs, classes, classes).

    Args:
        actual: (tracks,) actual labels.
        labels: (runs, tracks) predicted labels of each run.
    """
    return np.array([confusion(actual, run, classes) for run in labels])


def segment_accuracy(split: SplitPredictions, actual: np.ndarray) -> float:
    """Share of segments that are assigned to the genre of their track, averaged over the runs.

    Args:
        actual: (tracks,) actual labels of the tracks.
    """
    assert split.segment_probabilities is not None
    assert split.segment_tracks is not None
    genres = actual[split.segment_tracks]
    return float(np.mean([(run.argmax(axis=1) == genres).mean() for run in split.segment_probabilities]))


def rounded(value: Any) -> Any:
    """Round every float in nested lists and mappings to six decimals, since smaller differences mean nothing."""
    if isinstance(value, float | np.floating):
        return round(float(value), 6)
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=np.asarray(denominator) > 0)

"""Scores of predicted probabilities: top-2 accuracy, log loss and calibration error, as means over the runs."""

import numpy as np

CALIBRATION_BINS = 15
SCORES = ("top2_accuracy", "log_loss", "calibration_error")


def probability_scores(probabilities: np.ndarray, actual: np.ndarray) -> dict[str, float]:
    """Compute the scores of each run, and average them over the runs.

    Args:
        probabilities: (runs, tracks, classes).
        actual: (tracks,) labels.
    """
    functions = (top2_accuracy, log_loss, calibration_error)
    return {
        name: float(np.mean([function(run, actual) for run in probabilities]))
        for name, function in zip(SCORES, functions, strict=True)
    }


def top2_accuracy(probabilities: np.ndarray, actual: np.ndarray) -> float:
    """Share of tracks whose actual class is one of the two most probable classes.

    Args:
        probabilities: (tracks, classes).
        actual: (tracks,) labels.
    """
    likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    return float((likeliest == actual[:, None]).any(axis=1).mean())


def log_loss(probabilities: np.ndarray, actual: np.ndarray) -> float:
    """Mean negative logarithm of the probability of the actual class, in nats.

    Probabilities below the precision of float32 count as that precision, about 1.2e-7.

    Args:
        probabilities: (tracks, classes).
        actual: (tracks,) labels.
    """
    of_actual = probabilities[np.arange(len(actual)), actual].astype(float)
    return float(-np.log(of_actual.clip(min=np.finfo(np.float32).eps)).mean())


def calibration_error(probabilities: np.ndarray, actual: np.ndarray) -> float:
    """Expected calibration error of the predicted class (Guo et al. 2017, arXiv 1706.04599).

    The tracks are divided into 15 bins of equal width by the probability of their predicted class. The error is the
    mean over the tracks of |accuracy − mean probability| in the track's bin.

    Args:
        probabilities: (tracks, classes).
        actual: (tracks,) labels.
    """
    confidence = probabilities.max(axis=1).astype(float)
    correct = probabilities.argmax(axis=1) == actual
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    surplus = np.bincount(bins, weights=correct - confidence)  # per bin: correct tracks minus summed probability
    return float(np.abs(surplus).sum() / len(actual))

"""Support vector machine with an RBF kernel, on standardised features.

The labels are scikit-learn's: votes of one SVM per pair of classes. An SVM has no probabilities of its own. The
probabilities come from temperature scaling (Guo et al. 2017, arXiv 1706.04599): one factor multiplies the decision
values before the softmax. It minimises the log loss on the validation tracks. The most probable class is the label,
except where classes are tied in the votes. CalibratedClassifierCV of scikit-learn does the same, but fails if a class
has no validation track.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fma_genre.common.params import Candidates
from fma_genre.common.workers import run_in_workers, worker_count

Sample = tuple[np.ndarray, np.ndarray]  # features (tracks, features) and labels (tracks,)
LOG_FACTORS = (-10.0, 10.0)  # range of the logarithm of the factor
PART = 500  # number of tracks that a worker predicts at a time
# Workers take seconds to start. Up to this number of support vectors or training tracks, one process is faster:
ONE_PROCESS = 2000


@dataclass(frozen=True)
class Arguments:
    c: Candidates  # values of C to choose from


@dataclass(frozen=True)
class CalibratedSvm:
    """An SVM that also predicts probabilities, with the methods of a scikit-learn classifier."""

    svm: Pipeline
    factor: float  # of the decision values; the inverse of the temperature

    @property
    def classes_(self) -> np.ndarray:
        """(classes,) the labels of the training tracks, in the order of the probabilities."""
        return self.svm.classes_

    def predict(self, features: np.ndarray) -> np.ndarray:
        return _by_parts(self.svm, "predict", features)

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return softmax(self.factor * decision_values(self.svm, features), axis=1)


def fit(arguments: Arguments, training: Sample, validation: Sample) -> tuple[CalibratedSvm, Mapping[str, Any]]:
    """Fit an SVM for each C; keep the one with the highest validation accuracy. The lowest C wins a tie.

    Args:
        training, validation: features (tracks, features) and labels (tracks,).

    Returns:
        the classifier, which standardises the features itself, and its C as {"c": C}
    """
    order = sorted(arguments.c, reverse=True)  # the largest C takes longest, so it starts first
    tasks = [(c, training, validation) for c in order]
    fitted = dict(zip(order, _run(_fit, tasks, len(training[0])), strict=True))
    best = max(sorted(fitted), key=lambda c: fitted[c][1])
    svm, _ = fitted[best]
    return CalibratedSvm(svm, fit_factor(svm, validation)), {"c": best}


def _fit(c: float, training: Sample, validation: Sample) -> tuple[Pipeline, float]:
    """Fit an SVM; return it and its validation accuracy."""
    svm = make_pipeline(StandardScaler(), SVC(C=c)).fit(*training)
    return svm, svm.score(*validation)


def fit_factor(svm: Pipeline, validation: Sample) -> float:
    """Find the factor of the decision values with the lowest log loss on the validation tracks.

    Tracks of a class that the SVM does not know are left out.
    """
    features, labels = validation
    known = np.isin(labels, svm.classes_)
    values, places = decision_values(svm, features[known]), np.searchsorted(svm.classes_, labels[known])

    def log_loss(log_factor: float) -> float:
        logarithms = log_softmax(np.exp(log_factor) * values, axis=1)
        return -logarithms[np.arange(len(places)), places].sum()

    return float(np.exp(minimize_scalar(log_loss, bounds=LOG_FACTORS).x))


def decision_values(svm: Pipeline, features: np.ndarray) -> np.ndarray:
    """Compute decision values (tracks, classes). Two classes have opposite values."""
    values = _by_parts(svm, "decision_function", features)
    return np.stack([-values, values], axis=1) if values.ndim == 1 else values


def _by_parts(svm: Pipeline, method: str, features: np.ndarray) -> np.ndarray:
    """Call a method of the SVM for parts of the tracks, and concatenate the results."""
    parts = np.array_split(features, max(1, math.ceil(len(features) / PART)))
    return np.concatenate(list(_run(getattr(svm, method), [(part,) for part in parts], svm[-1].n_support_.sum())))


def _run(function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], tracks: int) -> Iterator[Any]:
    """Yield the results of `function` for each tuple of arguments, in order. Large SVMs use worker processes.

    libsvm computes on one core, without a chance to handle signals. Threads would use all cores, too, but a process
    that ends while libsvm computes may crash.

    Args:
        tracks: number of training tracks or support vectors.
    """
    jobs = min(len(tasks), worker_count()) if tracks > ONE_PROCESS else 1
    if jobs == 1:
        return itertools.starmap(function, tasks)
    parallel = Parallel(n_jobs=jobs, return_as="generator")
    hint = "set FMA_WORKERS to a lower number of processes"
    return run_in_workers(parallel, (delayed(function)(*task) for task in tasks), lambda: hint)

"""Support vector machine with an RBF kernel, on standardised features.

The labels are scikit-learn's: votes of one SVM per pair of classes. An SVM has no probabilities of its own. The
probabilities come from temperature scaling (Guo et al. 2017, arXiv 1706.04599): one factor multiplies the decision
values before the softmax. It minimises the log loss on the validation tracks. The most probable class is the label,
except where classes are tied in the votes. CalibratedClassifierCV of scikit-learn does the same, but fails if a class
has no validation track.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fma_genre.common.params import Candidates

Sample = tuple[np.ndarray, np.ndarray]  # features (tracks, features) and labels (tracks,)
LOG_FACTORS = (-10.0, 10.0)  # range of the logarithm of the factor


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
        return self.svm.predict(features)

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return softmax(self.factor * decision_values(self.svm, features), axis=1)


def fit(arguments: Arguments, training: Sample, validation: Sample) -> tuple[CalibratedSvm, Mapping[str, Any]]:
    """Fit an SVM for each C; keep the one with the highest validation accuracy. The lowest C wins a tie.

    Args:
        training, validation: features (tracks, features) and labels (tracks,).

    Returns:
        the classifier, which standardises the features itself, and its C as {"c": C}
    """
    svms = {c: make_pipeline(StandardScaler(), SVC(C=c)).fit(*training) for c in sorted(arguments.c)}
    best = max(svms, key=lambda c: svms[c].score(*validation))
    return CalibratedSvm(svms[best], fit_factor(svms[best], validation)), {"c": best}


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
    values = svm.decision_function(features)
    return np.stack([-values, values], axis=1) if values.ndim == 1 else values

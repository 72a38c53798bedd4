"""Support vector machine with an RBF kernel, on standardised features."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fma_genre.common.params import Candidates


@dataclass(frozen=True)
class Arguments:
    c: Candidates  # values of C to choose from


def fit(
    arguments: Arguments, training: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray]
) -> tuple[Pipeline, Mapping[str, Any]]:
    """Fit an SVM for each C; return the one with the highest validation accuracy. The lowest C wins a tie.

    Args:
        training, validation: features (tracks, features) and labels (tracks,).

    Returns:
        a scikit-learn classifier that standardises the features itself, and its C as {"c": C}
    """
    classifiers = {c: make_pipeline(StandardScaler(), SVC(C=c)).fit(*training) for c in sorted(arguments.c)}
    best = max(classifiers, key=lambda c: classifiers[c].score(*validation))
    return classifiers[best], {"c": best}

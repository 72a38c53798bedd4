"""A support vector machine with an RBF kernel, on standardised features."""

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
    c: Candidates  # values of C


def fit(
    arguments: Arguments, training: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray]
) -> tuple[Pipeline, Mapping[str, Any]]:
    """Fit on the training tracks with every C, and keep the one that is best on validation; the smallest of equals.

    Args:
        training, validation: features (tracks, features) and labels (tracks,).

    Returns:
        a scikit-learn classifier that standardises features by itself, and {"c": its C}
    """
    machines = {c: make_pipeline(StandardScaler(), SVC(C=c)).fit(*training) for c in sorted(arguments.c)}
    best = max(machines, key=lambda c: machines[c].score(*validation))
    return machines[best], {"c": best}

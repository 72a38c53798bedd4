"""Logistic regression with an L2 penalty, on standardised features: one model for each class against the rest.

The model is that of the FMA paper (Defferrard et al. 2017, arXiv 1612.01840). Its version of scikit-learn fitted one
model per class by default, while current versions fit a single multinomial model. The penalty is scikit-learn's default
(C = 1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

MAX_ITERATIONS = 10_000  # scikit-learn's default, 100, is too few for hundreds of features


@dataclass(frozen=True)
class Arguments:
    """Logistic regression has no arguments."""


def fit(
    arguments: Arguments, training: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray]
) -> tuple[Pipeline, Mapping[str, Any]]:
    """Fit the model to the training tracks; the validation tracks are not used.

    Args:
        training, validation: features (tracks, features) and labels (tracks,).

    Returns:
        a scikit-learn classifier that standardises the features itself, and an empty mapping of facts for the report
    """
    models = OneVsRestClassifier(LogisticRegression(max_iter=MAX_ITERATIONS))
    return make_pipeline(StandardScaler(), models).fit(*training), {}

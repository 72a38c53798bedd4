"""K-nearest neighbours: the most frequent class among the nearest training tracks, by standardised features.

The probability of a class is its share of the neighbours. The FMA paper (Defferrard et al. 2017, arXiv 1612.01840) has
200 neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from fma_genre.common.errors import InputError
from fma_genre.common.schema import Range


@dataclass(frozen=True)
class Arguments:
    neighbours: Annotated[int, Range(1, 10**6)]  # number of training tracks that vote


def fit(
    arguments: Arguments, training: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray]
) -> tuple[Pipeline, Mapping[str, Any]]:
    """Fit the model to the training tracks; the validation tracks are not used.

    Args:
        training, validation: features (tracks, features) and labels (tracks,).

    Returns:
        a scikit-learn classifier that standardises the features itself, and an empty mapping of facts for the report

    Raises:
        InputError: there are fewer training tracks than neighbours.
    """
    tracks = len(training[0])
    if arguments.neighbours > tracks:
        expected = f"at most {tracks} (the number of training tracks)"
        raise InputError(f"neighbours: expected {expected}, found {arguments.neighbours}")
    classifier = KNeighborsClassifier(n_neighbors=arguments.neighbours)
    return make_pipeline(StandardScaler(), classifier).fit(*training), {}

"""The FMA paper's classifiers: their published accuracies on medium, and their scores on the official features.

Published accuracies are those of Defferrard et al. 2017 (arXiv 1612.01840), on the official test tracks of medium. The
classifiers and their settings follow the authors' notebook (mdeff/fma, baselines.ipynb).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import pandas as pd

from fma_genre.archives.tracks import SPLITS
from fma_genre.baselines import k_nearest_neighbours, logistic_regression, rbf_svm
from fma_genre.common.errors import InputError
from fma_genre.common.official import METADATA_SHA1
from fma_genre.common.params import DataSet
from fma_genre.common.schema import Range
from fma_genre.known_answer.official_features import DIMENSIONS
from fma_genre.results.metrics import confusion, rounded, scores
from fma_genre.results.record import Share, Text

SUBSET = "medium"  # of the data that the published accuracies belong to
# Largest difference from a published accuracy that counts as agreement, as a fraction. It is one standard error of an
# accuracy of 0.63 on 2,573 tracks. Other library versions change an accuracy by tenths of a percentage point.
TOLERANCE = 0.01
LOW_LEVEL = ("mfcc", "spectral_contrast", "spectral_centroid")
ALL = tuple(DIMENSIONS)
Sample = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class System:
    """A classifier on some of the features."""

    classifier: str
    features: Sequence[str]
    published: float  # accuracy on medium
    fit: Callable[[Sample, Sample], tuple[Any, Mapping[str, Any]]]


NEIGHBOURS = 200
SVM = partial(rbf_svm.fit, rbf_svm.Arguments(c=(1.0,)))
LOGISTIC_REGRESSION = partial(logistic_regression.fit, logistic_regression.Arguments())
NEAREST_NEIGHBOURS = partial(k_nearest_neighbours.fit, k_nearest_neighbours.Arguments(neighbours=NEIGHBOURS))
SYSTEMS = (
    System("SVM with RBF kernel", LOW_LEVEL, 0.6339, SVM),
    System("SVM with RBF kernel", ALL, 0.629, SVM),
    System("logistic regression", ALL, 0.611, LOGISTIC_REGRESSION),
    System("k-nearest neighbours", ALL, 0.518, NEAREST_NEIGHBOURS),
)


@dataclass(frozen=True)
class Score:
    """Published accuracy and test scores of a system, as in docs/results/known_answer.json."""

    classifier: Text
    features: Annotated[int, Range(1, 10_000)]  # number of columns
    published: Share  # accuracy on medium, whatever the data set is
    accuracy: Share
    precision: Share  # like recall and f1, the macro average
    recall: Share
    f1: Share

    @property
    def difference(self) -> float:
        """The measured accuracy minus the published one."""
        return self.accuracy - self.published

    @property
    def agrees(self) -> bool:
        return abs(self.difference) <= TOLERANCE


def is_published(entry: DataSet) -> bool:
    """Return whether the published accuracies belong to this data set."""
    return (entry.metadata.sha1 or "").lower() == METADATA_SHA1 and entry.subset == SUBSET


def check_training(tracks: pd.DataFrame, dataset: str) -> None:
    """Raise InputError if there are too few training tracks for k-nearest neighbours."""
    count = int((tracks["split"] == "training").sum())
    if count < NEIGHBOURS:
        expected = f"at least {NEIGHBOURS} training tracks for k-nearest neighbours"
        raise InputError(f"data set {dataset}: expected {expected}, found {count}")


def reproduce(system: System, features: pd.DataFrame, tracks: pd.DataFrame) -> Score:
    """Fit a system to the training tracks, and score it on the test tracks.

    Args:
        features: from `read_features`, with a row for each of `tracks` in the same order.
        tracks: table with the columns `genre` and `split`.
    """
    classes = sorted(tracks["genre"].unique())
    labels = pd.Index(classes).get_indexer(pd.Index(tracks["genre"]))
    values = features[list(system.features)].to_numpy(np.float64)
    rows = {split: np.flatnonzero(tracks["split"] == split) for split in SPLITS}
    samples = {split: (values[rows[split]], labels[rows[split]]) for split in SPLITS}

    classifier, _ = system.fit(samples["training"], samples["validation"])
    test, actual = samples["test"]
    found = scores(confusion(actual, classifier.predict(test), len(classes)))
    return Score(
        classifier=system.classifier,
        features=values.shape[1],
        published=system.published,
        **rounded({name: float(value) for name, value in found.items()}),
    )

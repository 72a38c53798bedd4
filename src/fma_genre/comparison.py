"""Comparing two classifiers on the same test tracks.

Tracks of one artist are correlated, so the bootstrap resamples artists with all their tracks. McNemar's test looks
at the tracks on which exactly one of the two is right.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from fma_genre import metrics


class Interval(NamedTuple):
    """A score or a difference of scores, and the percentile interval of its bootstrap distribution."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class McNemar:
    only_first: int  # tracks that only the first classifier has right
    only_second: int
    p: float  # two-sided, exact


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> McNemar:
    """Exact McNemar test of two classifiers that are right (bool) on tracks (tracks,)."""
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    disagreements = only_first + only_second
    p = binomtest(only_first, disagreements, 0.5).pvalue if disagreements else 1.0
    return McNemar(only_first, only_second, float(p))


class Resampling:
    """Bootstrap resamples of the artists; the same ones for every classifier, so that differences are paired.

    Args:
        artists: whose each track is (tracks,).
        classes: how many there are.
        confidence: of the two-sided percentile intervals, e.g. 0.95.
    """

    def __init__(self, artists: np.ndarray, classes: int, *, resamples: int, confidence: float, seed: int) -> None:
        self.names, self.artist = np.unique(artists, return_inverse=True)
        self.classes, self.confidence = classes, confidence
        count = len(self.names)
        draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
        self.draws = np.concatenate([np.ones((1, count)), draws])  # (1 + resamples, artists): the sample first

    def scores(self, actual: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
        """Accuracy and macro precision, recall and F1 of labels (tracks,): (1 + resamples,) each, the sample first."""
        matrices = np.zeros((len(self.names), self.classes, self.classes))  # a confusion matrix an artist
        np.add.at(matrices, (self.artist, actual, predicted), 1)
        return metrics.scores(np.tensordot(self.draws, matrices, axes=1))

    def interval(self, values: np.ndarray) -> Interval:
        """Of (1 + resamples,) scores or differences, the sample's first."""
        low, high = np.quantile(values[1:], [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return Interval(float(values[0]), float(low), float(high))


@dataclass(frozen=True)
class Pair:
    """The second classifier against the first, on the same tracks."""

    differences: dict[str, Interval]  # second − first, by metric
    mcnemar: McNemar


def compare(actual: np.ndarray, first: np.ndarray, second: np.ndarray, sampling: Resampling) -> Pair:
    """Labels (tracks,) of two classifiers, compared on the same tracks and the same resamples."""
    of_first, of_second = (sampling.scores(actual, labels) for labels in (first, second))
    differences = {name: sampling.interval(of_second[name] - of_first[name]) for name in metrics.METRICS}
    return Pair(differences, mcnemar(first == actual, second == actual))

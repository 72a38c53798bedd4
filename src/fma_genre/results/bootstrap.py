"""Bootstrap over artists and runs: intervals, p-values and their correction for several comparisons.

Tracks of one artist are correlated, so an artist is drawn together with all their test tracks. Runs are also drawn,
since a score is to hold for any seed, not only for these few. The runs of two models are drawn independently. A
system that is derived from a model, such as its SVM heads, shares the draws of the model.
"""

import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from fma_genre.results import metrics


class Interval(NamedTuple):
    """A score, or a difference of scores, with its percentile interval."""

    value: float
    low: float
    high: float


def percentile_interval(values: np.ndarray, confidence: float) -> Interval:
    """Compute the percentile interval of bootstrap values (1 + resamples,). Element 0 is the point estimate."""
    low, high = np.quantile(values[1:], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values[0]), float(low), float(high))


class Bootstrap:
    """Resamples of the artists. All systems are scored on the same resamples, so differences are paired.

    Args:
        artists: (tracks,) artist of each test track.
        classes: number of classes.
        resamples: number of resamples.
        confidence: coverage of the two-sided percentile intervals, e.g. 0.95.
        seed: seed of the random draws.
        inflation: factor by which all deviations from the point estimate are enlarged, e.g. for folds that share
            training tracks.
    """

    def __init__(
        self,
        artists: np.ndarray,
        classes: int,
        *,
        resamples: int,
        confidence: float,
        seed: int,
        inflation: float = 1,
    ) -> None:
        self.artists, self.artist_of_track = np.unique(artists, return_inverse=True)
        self.classes, self.confidence, self.seed, self.inflation = classes, confidence, seed, inflation
        count = len(self.artists)
        draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
        self.draws = np.concatenate([np.ones((1, count)), draws])  # (1 + resamples, artists); row 0: original sample

    def scores(
        self, actual: np.ndarray, labels: np.ndarray, sources: Sequence[tuple[str, int]]
    ) -> dict[str, np.ndarray]:
        """Score a system on the original sample and on every resample of artists and runs.

        Args:
            actual: (tracks,) labels.
            labels: (runs, tracks) labels that each run predicts.
            sources: (name, number of runs) of each source system. With several, `labels` has a row for each combination
                of their runs, in the order of `itertools.product`.

        Returns:
            accuracy and macro precision, recall and F1, each (1 + resamples,); element 0 is the mean over the runs
        """
        runs = [self._run_scores(actual, run) for run in labels]
        weights = self.combined_weights(sources)
        means = {
            metric: np.einsum("br,rb->b", weights, np.array([run[metric] for run in runs]))
            for metric in metrics.METRICS
        }
        return {metric: self._inflated(values) for metric, values in means.items()}

    def _inflated(self, values: np.ndarray) -> np.ndarray:
        """Enlarge the deviations of bootstrap values from the point estimate, but keep shares between 0 and 1."""
        return (values[0] + self.inflation * (values - values[0])).clip(0, 1)

    def _run_scores(self, actual: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
        matrices = np.zeros((len(self.artists), self.classes, self.classes))  # confusion matrix of each artist's tracks
        np.add.at(matrices, (self.artist_of_track, actual, predicted), 1)
        return metrics.scores(np.tensordot(self.draws, matrices, axes=1))

    def combined_weights(self, sources: Sequence[tuple[str, int]]) -> np.ndarray:
        """Weight of each combination of runs in each resample, (1 + resamples, combinations)."""
        weights = np.ones((len(self.draws), 1))
        for name, runs in sources:
            products = weights[:, :, np.newaxis] * self.run_weights(runs, name)[:, np.newaxis]
            weights = products.reshape(len(weights), -1)
        return weights

    def run_weights(self, runs: int, name: str) -> np.ndarray:
        """Weight of each run in each resample, (1 + resamples, runs). The weights of a resample add up to 1.

        Drawing n runs with replacement underestimates the variance of their mean by the factor (n − 1) / n. The weights
        are therefore moved away from 1 / n by the factor √(n / (n − 1)). A single run always has the weight 1.
        """
        weights = np.full((len(self.draws), runs), 1 / runs)
        if runs > 1:
            generator = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
            draws = generator.multinomial(runs, weights[0], size=len(weights) - 1) / runs
            weights[1:] += math.sqrt(runs / (runs - 1)) * (draws - 1 / runs)
        return weights

    def interval(self, values: np.ndarray) -> Interval:
        """Compute the percentile interval of bootstrap values (1 + resamples,) at this confidence."""
        return percentile_interval(values, self.confidence)

    def half_width(self, differences: np.ndarray, count: int) -> float:
        """Half the width of the normal interval of `differences` (1 + resamples,), Bonferroni-corrected for `count`.

        If Holm's method corrects for `count` differences and none of the others is significant, a true difference of
        this size is found significant half of the time.
        """
        tail = (1 - self.confidence) / 2 / count
        return float(norm.isf(tail) * np.std(differences[1:]))


def p_value(differences: np.ndarray) -> float:
    """Two-sided p-value of the hypothesis that the difference is 0.

    This is 1 minus the confidence level at which a percentile interval begins to include 0. It is at least
    1 / resamples.

    Args:
        differences: (1 + resamples,) bootstrap values; element 0 is the point estimate.
    """
    resampled = differences[1:]
    smaller_side = min((resampled <= 0).mean(), (resampled >= 0).mean())
    return float(np.clip(2 * smaller_side, 1 / len(resampled), 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for the number of comparisons by Holm's step-down method (Holm 1979)."""
    count, corrected = len(p_values), [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (count - rank) * p_values[place]))
        corrected[place] = highest
    return corrected

"""Comparison of systems on the same test tracks.

Tracks of one artist are correlated. The bootstrap therefore resamples artists together with all their tracks.
McNemar's test uses the tracks on which exactly one of two systems is correct.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from fma_genre import store
from fma_genre.common.params import Compare
from fma_genre.results import metrics
from fma_genre.results.predictions import SPLITS, Predictions, SplitPredictions
from fma_genre.results.systems import System

MAJORITY = "majority"  # key of the system that predicts the most frequent training genre for every track


# Two systems. -----------------------------------------------------------------------------------------------------


class Interval(NamedTuple):
    """A score, or a difference of two scores, with its percentile interval from the bootstrap."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class McNemar:
    only_first: int  # number of tracks on which only the first system is correct
    only_second: int
    p: float  # two-sided, exact


def mcnemar(first_correct: np.ndarray, second_correct: np.ndarray) -> McNemar:
    """Compare two systems by the exact McNemar test.

    Args:
        first_correct, second_correct: (tracks,) bool, whether the system is correct on each track.
    """
    only_first = int((first_correct & ~second_correct).sum())
    only_second = int((second_correct & ~first_correct).sum())
    disagreements = only_first + only_second
    p = binomtest(only_first, disagreements, 0.5).pvalue if disagreements else 1.0
    return McNemar(only_first, only_second, float(p))


class Resampling:
    """Bootstrap resamples of the artists. All systems are scored on the same resamples, so differences are paired.

    Args:
        artists: (tracks,) artist of each track.
        classes: number of classes.
        resamples: number of resamples.
        confidence: coverage of the two-sided percentile intervals, e.g. 0.95.
        seed: seed of the random draws.
    """

    def __init__(self, artists: np.ndarray, classes: int, *, resamples: int, confidence: float, seed: int) -> None:
        self.artists, self.artist_of_track = np.unique(artists, return_inverse=True)
        self.classes, self.confidence = classes, confidence
        count = len(self.artists)
        draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
        self.draws = np.concatenate([np.ones((1, count)), draws])  # (1 + resamples, artists); row 0: original sample

    def scores(self, actual: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
        """Score a system on the original sample and on every resample.

        Args:
            actual, predicted: (tracks,) labels.

        Returns:
            accuracy and macro precision, recall and F1, each (1 + resamples,); element 0 is for the original sample
        """
        matrices = np.zeros((len(self.artists), self.classes, self.classes))  # confusion matrix of each artist's tracks
        np.add.at(matrices, (self.artist_of_track, actual, predicted), 1)
        return metrics.scores(np.tensordot(self.draws, matrices, axes=1))

    def interval(self, values: np.ndarray) -> Interval:
        """Compute the percentile interval of bootstrap values (1 + resamples,). Element 0 is the point estimate."""
        low, high = np.quantile(values[1:], [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return Interval(float(values[0]), float(low), float(high))


@dataclass(frozen=True)
class Pair:
    """Two systems compared on the same tracks."""

    first: str  # key of the system
    second: str
    differences: Mapping[str, Interval]  # scores of the second system minus scores of the first, by metric
    mcnemar: McNemar


# All systems. -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """Results of one system on the test tracks."""

    system: System
    labels: np.ndarray  # (tracks,) predicted by the ensemble of the runs, or by the only run of a baseline
    matrices: np.ndarray  # (runs, classes, classes) confusion matrix of each run
    run_scores: Mapping[str, np.ndarray]  # (runs,) by metric
    resampled_scores: Mapping[str, np.ndarray]  # (1 + resamples,) scores of `labels`, by metric
    accuracy: Interval  # of `labels`
    summary: Mapping[str, Any]  # content of metrics/<key>.json
    svm_head_accuracy: float | None  # mean over the runs; None without SVM heads

    @property
    def key(self) -> str:
        return self.system.key


@dataclass(frozen=True)
class Comparison:
    """All numbers in the report, the figures, the tables and metrics/comparison.json."""

    dataset: str
    synthetic: bool  # whether the data set is the built-in demo, whose results say nothing about music
    confidence: float  # coverage of all intervals
    index: pd.DataFrame  # index of all tracks
    tracks: pd.DataFrame  # rows of the index for the used test tracks
    actual: np.ndarray  # (tracks,) labels of the test tracks
    classes: list[str]  # in alphabetical order
    genres: list[str]  # the classes by number of training tracks, largest first
    artists: int  # number of artists of the test tracks
    models: list[Result]
    baselines: list[Result]
    majority: Result
    model_pairs: list[Pair]  # each pair of models
    baseline_pairs: list[Pair]  # each baseline with each model

    @property
    def systems(self) -> list[Result]:
        """All systems of params.yaml: models, then baselines."""
        return [*self.models, *self.baselines]

    @property
    def rows(self) -> list[Result]:
        """All systems in the order of tables and figures: majority, then baselines, then models."""
        return [self.majority, *self.baselines, *self.models]


def compare(
    systems: Sequence[System], index: pd.DataFrame, settings: Compare, *, dataset: str, synthetic: bool
) -> Comparison:
    """Compare systems on the test tracks.

    Args:
        systems: systems with predictions for the same tracks; at least one must be a model.
        index: index of all tracks (see `fma_genre.store`).
        settings: number of resamples, confidence and seed.
        dataset: name of the data set.
        synthetic: whether the data set is the built-in demo.
    """
    used = store.used(index)
    tracks = used[used["split"] == "test"]
    classes, genres = store.classes(index), by_size(used)
    actual = metrics.actual_labels(tracks["track_id"].to_numpy(), classes, used)
    artists = tracks["artist_id"].astype(str).to_numpy()  # always text: the draws depend on the sort order
    sampling = Resampling(artists, len(classes), **vars(settings))

    results = [_result(system, actual, used, sampling) for system in systems]
    models = [result for result in results if result.system.is_model]
    baselines = [result for result in results if not result.system.is_model]
    majority = _result(_majority(dataset, classes, genres[0], used), actual, used, sampling)

    return Comparison(
        dataset=dataset,
        synthetic=synthetic,
        confidence=settings.confidence,
        index=index,
        tracks=tracks,
        actual=actual,
        classes=classes,
        genres=genres,
        artists=len(sampling.artists),
        models=models,
        baselines=baselines,
        majority=majority,
        model_pairs=[compare_pair(*pair, actual, sampling) for pair in combinations(models, 2)],
        baseline_pairs=[compare_pair(*pair, actual, sampling) for pair in product(baselines, models)],
    )


def compare_pair(first: Result, second: Result, actual: np.ndarray, sampling: Resampling) -> Pair:
    """Compare the second system with the first, by bootstrap differences and McNemar's test."""
    differences = {
        name: sampling.interval(second.resampled_scores[name] - first.resampled_scores[name])
        for name in metrics.METRICS
    }
    return Pair(first.key, second.key, differences, mcnemar(first.labels == actual, second.labels == actual))


def _result(system: System, actual: np.ndarray, index: pd.DataFrame, sampling: Resampling) -> Result:
    test = system.predictions.test
    matrices = metrics.run_matrices(actual, test.labels, sampling.classes)
    resampled_scores = sampling.scores(actual, test.ensemble_labels)
    svm_heads = test.svm_head_labels
    return Result(
        system=system,
        labels=test.ensemble_labels,
        matrices=matrices,
        run_scores=metrics.scores(matrices),
        resampled_scores=resampled_scores,
        accuracy=sampling.interval(resampled_scores["accuracy"]),
        summary=metrics.summarise(system.predictions, index),
        svm_head_accuracy=None if svm_heads is None else float((svm_heads == actual).mean(axis=1).mean()),
    )


def _majority(dataset: str, classes: list[str], genre: str, index: pd.DataFrame) -> System:
    """System that predicts `genre` for every track."""
    splits = {}
    for split in SPLITS:
        tracks = index["track_id"][index["split"] == split].to_numpy()
        splits[split] = SplitPredictions(tracks, np.full((1, len(tracks)), classes.index(genre)))
    predictions = Predictions(dataset, classes, [0], splits["validation"], splits["test"], facts={})
    return System(MAJORITY, False, predictions)


def by_size(index: pd.DataFrame) -> list[str]:
    """Sort the genres by their number of training tracks, largest first, and ties alphabetically."""
    counts = index["genre"][index["split"] == "training"].value_counts()
    return sorted(index["genre"].unique(), key=lambda genre: (-counts.get(genre, 0), genre))

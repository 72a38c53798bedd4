"""Comparison of systems on the same test tracks.

Tracks of one artist are correlated, so the bootstrap resamples artists with all their tracks. McNemar's test looks
at the tracks on which exactly one of two systems is right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from fma_genre import store
from fma_genre.common.params import Compare
from fma_genre.results import metrics
from fma_genre.results.predictions import SPLITS, Predictions, SplitPredictions
from fma_genre.results.systems import System

MAJORITY = "majority"  # key of a system that gives every track the largest genre of the training tracks


# Two systems. -----------------------------------------------------------------------------------------------------


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
    only_first: int  # tracks that only the first system has right
    only_second: int
    p: float  # two-sided, exact


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> McNemar:
    """Exact McNemar test of two systems that are right (bool) on tracks (tracks,)."""
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    disagreements = only_first + only_second
    p = binomtest(only_first, disagreements, 0.5).pvalue if disagreements else 1.0
    return McNemar(only_first, only_second, float(p))


class Resampling:
    """Bootstrap resamples of the artists; the same ones for every system, so that differences are paired.

    Args:
        artists: artist of each track (tracks,).
        classes: number of classes.
        confidence: of the two-sided percentile intervals, e.g. 0.95.
    """

    def __init__(self, artists: np.ndarray, classes: int, *, resamples: int, confidence: float, seed: int) -> None:
        self.artists, self.artist_of_track = np.unique(artists, return_inverse=True)
        self.classes, self.confidence = classes, confidence
        count = len(self.artists)
        draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
        self.draws = np.concatenate([np.ones((1, count)), draws])  # (1 + resamples, artists): the sample first

    def scores(self, actual: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
        """Accuracy and macro precision, recall and F1 of labels (tracks,): (1 + resamples,) each, the sample first."""
        matrices = np.zeros((len(self.artists), self.classes, self.classes))  # a confusion matrix an artist
        np.add.at(matrices, (self.artist_of_track, actual, predicted), 1)
        return metrics.scores(np.tensordot(self.draws, matrices, axes=1))

    def interval(self, values: np.ndarray) -> Interval:
        """Percentile interval of bootstrap values (1 + resamples,); element 0 is the point estimate."""
        low, high = np.quantile(values[1:], [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return Interval(float(values[0]), float(low), float(high))


@dataclass(frozen=True)
class Pair:
    """The second system compared with the first, on the same tracks."""

    first: str  # key
    second: str
    differences: Mapping[str, Interval]  # second − first, by metric
    mcnemar: McNemar


# All systems. -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """One system on the test tracks."""

    system: System
    labels: np.ndarray  # (tracks,) of the ensemble, if the system is one
    matrices: np.ndarray  # (runs, classes, classes) confusion matrices of single runs
    run_scores: Mapping[str, np.ndarray]  # (runs,) by metric
    resampled_scores: Mapping[str, np.ndarray]  # (1 + resamples,) of `labels`, by metric
    accuracy: Interval  # of `labels`
    summary: Mapping[str, Any]  # the content of metrics/<key>.json
    svm_head_accuracy: float | None  # mean over the runs

    @property
    def key(self) -> str:
        return self.system.key


@dataclass(frozen=True)
class Comparison:
    """Everything that report, figures, tables and metrics/comparison.json show."""

    dataset: str
    synthetic: bool  # the built-in demo, which says nothing about music
    confidence: float  # of all intervals
    index: pd.DataFrame  # of all tracks
    tracks: pd.DataFrame  # the test tracks' rows of the index
    actual: np.ndarray  # (tracks,) labels
    classes: list[str]
    genres: list[str]  # the classes, the one with most training tracks first
    artists: int  # number of artists of test tracks
    models: list[Result]
    baselines: list[Result]
    majority: Result
    model_pairs: list[Pair]  # every two models
    baseline_pairs: list[Pair]  # every model compared with every baseline

    @property
    def systems(self) -> list[Result]:
        """The systems of params.yaml."""
        return [*self.models, *self.baselines]

    @property
    def rows(self) -> list[Result]:
        """Rows of tables and figures: majority, baselines, models."""
        return [self.majority, *self.baselines, *self.models]


def compare(
    systems: Sequence[System], index: pd.DataFrame, settings: Compare, *, dataset: str, synthetic: bool
) -> Comparison:
    """Compare systems that predict the same test tracks.

    Args:
        systems: at least one model among them.
        index: of all tracks; a track that is left out has 0 frames.
        dataset: its name.
        synthetic: whether it is the built-in demo.
    """
    used = store.used(index)
    tracks = used[used["split"] == "test"]
    classes, genres = store.classes(index), by_size(used)
    actual = metrics.actual_labels(tracks["track_id"].to_numpy(), classes, used)
    artists = tracks["artist_id"].astype(str).to_numpy()  # the resamples depend on their order, which is that of text
    sampling = Resampling(artists, len(classes), **vars(settings))

    results = [_result(system, actual, used, sampling) for system in systems]
    models = [result for result in results if result.system.is_model]
    baselines = [result for result in results if not result.system.is_model]
    majority = _result(_majority(dataset, classes, genres[0], used), actual, used, sampling)

    pairs = [(first, second) for first, second in combinations(models, 2)]
    against = [(baseline, model) for baseline in baselines for model in models]
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
        model_pairs=[compare_pair(*pair, actual, sampling) for pair in pairs],
        baseline_pairs=[compare_pair(*pair, actual, sampling) for pair in against],
    )


def compare_pair(first: Result, second: Result, actual: np.ndarray, sampling: Resampling) -> Pair:
    """Two systems, compared on the same tracks and the same resamples."""
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
    """The system that gives every track the same genre."""
    predicted = {}
    for split in SPLITS:
        tracks = index["track_id"][index["split"] == split].to_numpy()
        predicted[split] = SplitPredictions(tracks, np.full((1, len(tracks)), classes.index(genre)))
    found = Predictions(dataset, classes, [0], predicted["validation"], predicted["test"], facts={})
    return System(MAJORITY, False, found)


def by_size(index: pd.DataFrame) -> list[str]:
    """Genres by their number of training tracks, the largest first."""
    training = index["genre"][index["split"] == "training"].value_counts()
    return sorted(index["genre"].unique(), key=lambda genre: (-training.get(genre, 0), genre))

"""Comparison of systems on the same test tracks: every system with one reference.

A score of a system is the mean over its single runs. An ensemble, which averages the probabilities of the runs, is a
system of its own, and is compared only with another ensemble.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from fma_genre import store
from fma_genre.common.errors import InputError
from fma_genre.common.params import Compare
from fma_genre.results import derived, metrics
from fma_genre.results.bootstrap import Bootstrap, Interval, holm, p_value
from fma_genre.results.factorial import Factorial, factorial
from fma_genre.results.result import Result, evaluate
from fma_genre.results.subgenres import SubGenre, any_genre_accuracy, has_second_genres, right_by_any, sub_genres
from fma_genre.results.systems import System


class McNemar(NamedTuple):
    """McNemar's exact test, which takes the tracks as independent."""

    only_first: int  # number of tracks on which only the first system is correct
    only_second: int
    p: float  # two-sided


@dataclass(frozen=True)
class Difference:
    """Scores of a system minus scores of the reference."""

    key: str  # of the system
    intervals: dict[str, Interval]  # by metric
    p: float  # of the accuracy
    p_holm: float  # the same after Holm's correction for the number of differences
    resolution: float  # a true difference in accuracy of this size is detected half of the time


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
    rows: list[Result]  # majority, baselines, models (each before its SVM head), fusion, stacking
    conditions: Result | None  # the SVM that knows only the recording conditions; it is compared with no system
    models: list[Result]
    baselines: list[Result]
    members: tuple[str, ...]  # keys of the systems that the fusion averages
    stacked: tuple[str, ...]  # keys of the systems whose probabilities the stacking reads
    ensembles: list[Result]
    reference: Result
    differences: list[Difference]  # of all other systems except majority
    reference_ensemble: Result | None  # the ensemble of the reference or, if it has none, the first ensemble
    ensemble_differences: list[Difference]  # of all other ensembles from `reference_ensemble`
    mcnemar: dict[str, McNemar]  # of all other ensembles with `reference_ensemble`, by key
    factorial: Factorial | None
    sub_genres: list[SubGenre]  # results of the reference, the sub-genre with the most test tracks first
    any_genre: dict[str, float]  # accuracy by any of a track's genres, by key; empty if no test track has a second one

    @property
    def systems(self) -> list[Result]:
        """All systems of params.yaml: models, then baselines."""
        return [*self.models, *self.baselines]

    def is_significant(self, p: float) -> bool:
        return p <= 1 - self.confidence


def compare(
    systems: Sequence[System],
    index: pd.DataFrame,
    settings: Compare,
    *,
    dataset: str,
    synthetic: bool,
    conditions: System | None = None,
    inflation: float = 1,
) -> Comparison:
    """Compare systems on the test tracks.

    Args:
        systems: systems with predictions for the same tracks; at least one must be a model.
        index: index of all tracks (see `fma_genre.store`).
        settings: reference, members of the fusion and the stacking, and settings of the bootstrap.
        dataset: name of the data set.
        synthetic: whether the data set is the built-in demo.
        conditions: the system of `recording_conditions`, which is only scored.
        inflation: factor by which all intervals are enlarged (see `Bootstrap`).

    Raises:
        InputError: a member of the fusion or the stacking predicts no probabilities, there are too few resamples, or
            there are too few validation tracks for the stacking.
    """
    used = store.used(index)
    tracks = used[used["split"] == "test"]
    classes, genres = store.classes(index), by_size(used)
    actual = metrics.actual_labels(tracks["track_id"].to_numpy(), classes, used)
    artists = tracks["artist_id"].astype(str).to_numpy()  # always text: the draws depend on the sort order
    bootstrap = Bootstrap(
        artists,
        len(classes),
        resamples=settings.resamples,
        confidence=settings.confidence,
        seed=settings.seed,
        inflation=inflation,
    )

    models = [system for system in systems if system.is_model]
    baselines = [system for system in systems if not system.is_model]
    combined = combine(systems, settings, used)
    majority = derived.majority(dataset, classes, genres[0], used)

    def results(systems: Iterable[System]) -> dict[str, Result]:
        return {system.key: evaluate(system, actual, used, bootstrap) for system in systems}

    compared = [*baselines, *derived.with_svm_heads(models), *combined]
    check_resamples(len(compared) - 1, settings)
    rows = results([majority, *compared])
    ensembles = results(derived.ensembles([*baselines, *models, *combined]))
    reference = rows[settings.reference]
    ensemble = ensembles.get(f"{reference.key}_ensemble", next(iter(ensembles.values()), None))
    others = [row for key, row in rows.items() if key not in (majority.key, reference.key)]
    other_ensembles = [row for row in ensembles.values() if row is not ensemble]
    right = right_by_any(tracks, classes)
    apart = results([conditions] if conditions else [])
    any_genre = {key: any_genre_accuracy(found.labels, right) for key, found in (rows | apart | ensembles).items()}

    return Comparison(
        dataset=dataset,
        synthetic=synthetic,
        confidence=settings.confidence,
        index=index,
        tracks=tracks,
        actual=actual,
        classes=classes,
        genres=genres,
        artists=len(bootstrap.artists),
        rows=list(rows.values()),
        conditions=next(iter(apart.values()), None),
        models=[rows[model.key] for model in models],
        baselines=[rows[baseline.key] for baseline in baselines],
        members=settings.fusion,
        stacked=settings.stacking,
        ensembles=list(ensembles.values()),
        reference=reference,
        reference_ensemble=ensemble,
        differences=differences(others, reference, bootstrap),
        ensemble_differences=differences(other_ensembles, ensemble, bootstrap) if ensemble else [],
        mcnemar=mcnemar_tests(other_ensembles, ensemble, actual) if ensemble else {},
        factorial=factorial([rows[model.key] for model in models], bootstrap),
        sub_genres=sub_genres(
            tracks, classes, actual, reference.labels, confidence=settings.confidence, inflation=inflation
        ),
        any_genre=any_genre if has_second_genres(right) else {},
    )


def combine(systems: Sequence[System], settings: Compare, index: pd.DataFrame) -> list[System]:
    """Make the fusion and the stacking, each if the settings name its members.

    Args:
        index: rows of the index for the used tracks (see `fma_genre.store`).
    """
    fused, stacked = (
        [system for key in keys for system in systems if system.key == key]
        for keys in (settings.fusion, settings.stacking)
    )
    fusion = [derived.fusion(fused)] if fused else []
    return [*fusion, derived.stacking(stacked, index)] if stacked else fusion


def check_resamples(differences: int, settings: Compare) -> None:
    """Raise InputError if p-values, which are at least 1 / resamples, could never be significant."""
    needed = math.ceil(differences / (1 - settings.confidence))
    if settings.resamples < needed:
        expected = f"at least {needed} for {differences} differences at a confidence of {settings.confidence}"
        raise InputError(f"compare.resamples: expected {expected}, found {settings.resamples}")


def differences(others: Sequence[Result], reference: Result, bootstrap: Bootstrap) -> list[Difference]:
    """Compare each of the others with the reference, with Holm's correction for their number."""
    changes = [
        {metric: other.resampled[metric] - reference.resampled[metric] for metric in metrics.METRICS}
        for other in others
    ]
    p_values = [p_value(change["accuracy"]) for change in changes]
    return [
        Difference(
            key=other.key,
            intervals={metric: bootstrap.interval(values) for metric, values in change.items()},
            p=p,
            p_holm=p_holm,
            resolution=bootstrap.half_width(change["accuracy"], len(others)),
        )
        for other, change, p, p_holm in zip(others, changes, p_values, holm(p_values), strict=True)
    ]


def mcnemar_tests(others: Sequence[Result], reference: Result, actual: np.ndarray) -> dict[str, McNemar]:
    """Compare each of the other ensembles with that of the reference by McNemar's exact test."""
    return {other.key: mcnemar(reference.labels[0] == actual, other.labels[0] == actual) for other in others}


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


def by_size(index: pd.DataFrame) -> list[str]:
    """Sort the genres by their number of training tracks, largest first; ties by all tracks, then alphabetically."""
    training = index["genre"][index["split"] == "training"].value_counts()
    total = index["genre"].value_counts()
    return sorted(total.index, key=lambda genre: (-training.get(genre, 0), -total[genre], genre))

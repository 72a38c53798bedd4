"""Systems that are derived from others: the majority genre, SVM heads, ensembles, the fusion and the stacking."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from fma_genre.common import progress
from fma_genre.common.errors import InputError
from fma_genre.results import metrics, stacked_svm
from fma_genre.results.predictions import SPLITS, Predictions, SplitPredictions
from fma_genre.results.systems import System

MAJORITY, FUSION, STACKING = "majority", "fusion", "stacking"
MAX_COMBINATIONS = 200  # of runs in the fusion or the stacking; each is scored on every resample


def with_svm_heads(models: Sequence[System]) -> list[System]:
    """List each model, followed by the system of its SVM heads if it has any."""
    return [system for model in models for system in (model, svm_head(model)) if system]


def ensembles(systems: Sequence[System]) -> list[System]:
    """Ensembles of all systems with several runs."""
    return [found for found in map(ensemble, systems) if found]


def majority(dataset: str, classes: Sequence[str], genre: str, index: pd.DataFrame) -> System:
    """System that predicts `genre` for every track.

    Args:
        index: rows of the index for the used tracks (see `fma_genre.store`).
    """

    def predict(split: str) -> SplitPredictions:
        tracks = index["track_id"][index["split"] == split].to_numpy()
        return SplitPredictions(tracks, np.full((1, len(tracks)), list(classes).index(genre)))

    validation, test = map(predict, SPLITS)
    return System(MAJORITY, False, Predictions(dataset, list(classes), [0], validation, test, facts={}))


def svm_head(model: System) -> System | None:
    """System whose runs are the SVM heads of a model's runs; None if the model has none."""
    if model.predictions.test.svm_head_labels is None:
        return None

    def predict(split: SplitPredictions) -> SplitPredictions:
        assert split.svm_head_labels is not None
        return SplitPredictions(split.tracks, split.svm_head_labels)

    return replace(_derive(f"{model.key}_svm_head", model, model.predictions.seeds, predict), sources=model.run_sources)


def ensemble(system: System) -> System | None:
    """System with a single run, which averages the probabilities of a system's runs; None if there is only one run."""
    if len(system.predictions.seeds) == 1 or system.predictions.test.probabilities is None:
        return None

    def predict(split: SplitPredictions) -> SplitPredictions:
        assert split.probabilities is not None
        return _from_probabilities(split, [split.probabilities.mean(axis=0)])

    return _derive(f"{system.key}_ensemble", system, [0], predict)


def fusion(members: Sequence[System]) -> System:
    """System that averages the probabilities of the members, with a run for each combination of their runs.

    Raises:
        InputError: a member predicts no probabilities, or there are too many combinations.
    """
    _check_members(members, "compare.fusion")

    def predict(name: str) -> SplitPredictions:
        averages = [np.mean(runs, axis=0) for runs in _combinations(members, name)]
        return _from_probabilities(getattr(members[0].predictions, name), averages)

    validation, test = map(predict, SPLITS)
    return _system_of_members(FUSION, members, validation, test)


def stacking(members: Sequence[System], index: pd.DataFrame) -> System:
    """System of linear SVMs on the probabilities of the members, with a run for each combination of their runs.

    Bian et al. 2019 (arXiv 1906.11620) use "an ensemble learning of stacking based on SVM". The inputs of their SVM are
    unknown; class probabilities of tracks are the choice of this project. The SVMs are fitted to the validation tracks,
    since a network is too sure of its training tracks. The predictions for the validation tracks themselves are out of
    fold.

    Args:
        index: rows of the index for the used tracks (see `fma_genre.store`).

    Raises:
        InputError: a member predicts no probabilities, there are too many combinations, or the validation tracks are by
            fewer than two artists.
        ValueError: a validation track is also a test track, so the SVMs would know its genre.
    """
    _check_members(members, "compare.stacking")
    found = members[0].predictions
    labels, artists = _validation_sample(found, index)
    out_of_fold, predicted = [], []
    pairs = list(zip(_combinations(members, "validation"), _combinations(members, "test"), strict=True))
    for validation, test in progress.bar(pairs, desc=STACKING, unit="run", leave=False):  # up to seconds for each
        features = np.concatenate(validation, axis=1)  # (tracks, members × classes)
        out_of_fold.append(stacked_svm.predict_out_of_fold(features, labels, artists))
        predicted.append(stacked_svm.predict(features, labels, np.concatenate(test, axis=1)))
    return _system_of_members(
        STACKING,
        members,
        SplitPredictions(found.validation.tracks, np.array(out_of_fold)),
        SplitPredictions(found.test.tracks, np.array(predicted)),
    )


def _validation_sample(predictions: Predictions, index: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Labels and artists of the validation tracks, (tracks,) each; see `stacking` for the errors."""
    tracks = predictions.validation.tracks
    if np.isin(tracks, predictions.test.tracks).any():
        raise ValueError("expected validation tracks that are not test tracks, found some that are")
    artist_of_track = index.set_index("track_id")["artist_id"].astype(str)  # always text: the folds sort the artists
    artists = artist_of_track.loc[tracks].to_numpy()
    if (count := len(np.unique(artists))) < 2:
        raise InputError(f"compare.stacking: expected validation tracks by at least 2 artists, found {count}")
    return metrics.actual_labels(tracks, predictions.classes, index), artists


def _check_members(members: Sequence[System], where: str) -> None:
    """Raise InputError if a member predicts no probabilities, or if there are too many combinations of runs."""
    for member in members:
        if member.predictions.test.probabilities is None:
            expected = "systems that predict probabilities"
            raise InputError(f"{where}: expected {expected}, found {member.key}, which predicts only genres")
    check_combinations(math.prod(len(member.predictions.seeds) for member in members), where)


def check_combinations(count: int, where: str) -> None:
    """Raise InputError if the members of a combined system have too many combinations of runs."""
    if count > MAX_COMBINATIONS:
        expected = f"at most {MAX_COMBINATIONS} combinations of the members' runs"
        raise InputError(f"{where}: expected {expected}, found {count}")


def _combinations(members: Sequence[System], split: str) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the probabilities of each member, (tracks, classes), for each combination of their runs."""
    return product(*(getattr(member.predictions, split).probabilities for member in members))


def _system_of_members(
    key: str, members: Sequence[System], validation: SplitPredictions, test: SplitPredictions
) -> System:
    """System with a run for each combination of the members' runs."""
    first, seeds = members[0].predictions, list(range(len(test.labels)))
    predictions = Predictions(first.dataset, first.classes, seeds, validation, test, facts={})
    return System(key, False, predictions, sources=tuple(source for member in members for source in member.run_sources))


def _derive(
    key: str, system: System, seeds: list[int], predict: Callable[[SplitPredictions], SplitPredictions]
) -> System:
    found = system.predictions
    validation, test = predict(found.validation), predict(found.test)
    return System(key, False, Predictions(found.dataset, found.classes, seeds, validation, test, facts={}))


def _from_probabilities(split: SplitPredictions, probabilities: Sequence[np.ndarray]) -> SplitPredictions:
    """Predictions for the tracks of `split` from the probabilities of each run, (tracks, classes) each."""
    stacked = np.array(probabilities)
    return SplitPredictions(split.tracks, stacked.argmax(axis=2), stacked)

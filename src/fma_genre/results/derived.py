"""Systems that are derived from the predictions of others: the majority genre, SVM heads, ensembles and the fusion."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from fma_genre.common.errors import InputError
from fma_genre.results.predictions import SPLITS, Predictions, SplitPredictions
from fma_genre.results.systems import System

MAJORITY, FUSION = "majority", "fusion"
MAX_COMBINATIONS = 200  # of runs in the fusion; each is scored on every resample


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
    for member in members:
        if member.predictions.test.probabilities is None:
            expected = "systems that predict probabilities"
            raise InputError(f"compare.fusion: expected {expected}, found {member.key}, which predicts only genres")
    combinations = list(product(*(range(len(member.predictions.seeds)) for member in members)))
    if len(combinations) > MAX_COMBINATIONS:
        expected = f"at most {MAX_COMBINATIONS} combinations of the members' runs"
        raise InputError(f"compare.fusion: expected {expected}, found {len(combinations)}")

    def predict(name: str) -> SplitPredictions:
        splits = [getattr(member.predictions, name) for member in members]
        averages = [
            np.mean([split.probabilities[run] for split, run in zip(splits, runs, strict=True)], axis=0)
            for runs in combinations
        ]
        return _from_probabilities(splits[0], averages)

    first = members[0].predictions
    validation, test = map(predict, SPLITS)
    seeds = list(range(len(combinations)))
    predictions = Predictions(first.dataset, first.classes, seeds, validation, test, facts={})
    return System(
        FUSION, False, predictions, sources=tuple(source for member in members for source in member.run_sources)
    )


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

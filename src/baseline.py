"""Stage baseline: fit classifiers to low-level features of the tracks, and predict validation and test tracks."""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from fma_genre import store
from fma_genre.common import schema, stage
from fma_genre.common.errors import InputError
from fma_genre.common.files import write_json
from fma_genre.common.params import Baseline, BaselineKeys, Params
from fma_genre.results import predictions
from fma_genre.results.metrics import summarise
from fma_genre.results.predictions import Predictions, SplitPredictions

SPLITS = ("training", "validation", "test")
Sample = tuple[np.ndarray, np.ndarray]  # features (tracks, features) and labels (tracks,)
Classifiers = Mapping[int, Any]  # fitted classifier of each run, by its seed
# A function that takes the training and validation samples, and returns the classifiers and facts for the report.
Fit = Callable[[Sample, Sample], tuple[Classifiers, Mapping[str, Any]]]


def main(params: Params, key: str) -> None:
    baseline, where = params.baselines[key], f"baselines.{key}"
    features, classifier = load(baseline, where)
    arguments = read_arguments(baseline, where)
    stores = {name: store.open_store(name) for name in features.REPRESENTATIONS}
    for opened in stores.values():
        store.check_current(opened, params)
    features.check(arguments["features"], stores, where)

    any_store = next(iter(stores.values()))  # all stores have the same index, data set and classes
    values = features.features(arguments["features"], stores)
    fit = functools.partial(fit_runs, classifier, arguments["classifier"])
    try:
        predicted = predict(values, any_store.used, any_store.description, fit)
    except InputError as error:  # of the classifier, about one of its arguments
        raise InputError(f"{where}.{error}") from None
    names = {"features": baseline.features, "classifier": baseline.classifier}
    predicted = replace(predicted, facts=names | dict(predicted.facts))

    summary = summarise(predicted, any_store.index)
    predictions.write(Path(f"data/predictions/{key}.npz"), predicted)
    write_json(Path(f"metrics/{key}.json"), summary)
    print(f"{key}: accuracy {summary['accuracy']:.3f} on {summary['n_test']} test tracks, F1 {summary['f1']:.3f}")


def predict(values: np.ndarray, index: pd.DataFrame, description: store.Description, fit: Fit) -> Predictions:
    """Fit the classifiers of all runs, and predict the validation and test tracks.

    Args:
        values: features (tracks, features).
        index: rows of the store's index for these tracks, in the same order.
        description: the store's description, with the data set and the classes.
        fit: the function that fits the classifiers.
    """
    dataset, classes = description.dataset, list(description.classes)
    labels = pd.Index(classes).get_indexer(pd.Index(index["genre"]))
    rows = {split: np.flatnonzero(index["split"] == split) for split in SPLITS}
    samples = {split: (values[rows[split]], labels[rows[split]]) for split in SPLITS}
    classifiers, facts = fit(samples["training"], samples["validation"])

    track_ids = index["track_id"].to_numpy()
    validation, test = (
        predict_runs(list(classifiers.values()), track_ids[rows[split]], values[rows[split]], len(classes))
        for split in ("validation", "test")
    )
    return Predictions(dataset, classes, list(classifiers), validation, test, facts)


def fit_runs(
    classifier: ModuleType, arguments: Any, training: Sample, validation: Sample
) -> tuple[Classifiers, Mapping[str, Any]]:
    """Fit a classifier for each run, and return them by their seeds, with the facts of the first one.

    A classifier with the arguments `seed` and `runs` has a run for each of the seeds seed, seed + 1, …. All others have
    one run, with the seed 0.

    Args:
        classifier: the module.
        arguments: its `Arguments`.
        training, validation: features (tracks, features) and labels (tracks,).
    """
    runs = {0: arguments}
    if {"seed", "runs"} <= set(schema.names(type(arguments))):
        seeds = range(arguments.seed, arguments.seed + arguments.runs)
        runs = {seed: replace(arguments, seed=seed) for seed in seeds}
    fitted = {seed: classifier.fit(changed, training, validation) for seed, changed in runs.items()}
    _, facts = next(iter(fitted.values()))
    return {seed: found for seed, (found, _) in fitted.items()}, facts


def predict_runs(classifiers: Sequence[Any], tracks: np.ndarray, values: np.ndarray, classes: int) -> SplitPredictions:
    """Predict the tracks of a split with the classifier of each run. The arguments are those of `predict_split`."""
    runs = [predict_split(classifier, tracks, values, classes) for classifier in classifiers]
    labels = np.concatenate([run.labels for run in runs])
    probabilities = [run.probabilities for run in runs if run.probabilities is not None]
    return SplitPredictions(tracks, labels, np.concatenate(probabilities) if probabilities else None)


def predict_split(classifier: Any, tracks: np.ndarray, values: np.ndarray, classes: int) -> SplitPredictions:
    """Predict the tracks of a split with one classifier. A class without a training track has probability 0.

    Args:
        classifier: the fitted classifier; not every classifier predicts probabilities.
        tracks: track ids (tracks,).
        values: features (tracks, features).
        classes: number of classes of the data set.
    """
    labels = classifier.predict(values)[np.newaxis]
    if not hasattr(classifier, "predict_proba"):
        return SplitPredictions(tracks, labels)
    probabilities = np.zeros((1, len(tracks), classes), np.float32)
    probabilities[0][:, classifier.classes_] = classifier.predict_proba(values)
    return SplitPredictions(tracks, labels, probabilities)


def read_arguments(baseline: Baseline, where: str) -> Mapping[str, Any]:
    """Read the arguments of a baseline's features and of its classifier, by these names.

    Raises:
        InputError: a module lacks the required function, or an argument is unknown, missing or invalid.
    """
    features, classifier = load(baseline, where)
    declared = {"features": features.Arguments, "classifier": classifier.Arguments}
    return schema.read_arguments(baseline.arguments, declared, where, schema.names(BaselineKeys))


def load(baseline: Baseline, where: str) -> tuple[ModuleType, ModuleType]:
    """Import a baseline's features and classifier; raise InputError if a module lacks the required function."""
    features = _import(baseline.features, "features", f"{where}.features")
    classifier = _import(baseline.classifier, "fit", f"{where}.classifier")
    return features, classifier


def _import(name: str, function: str, where: str) -> ModuleType:
    module = importlib.import_module(f"fma_genre.baselines.{name}")
    if not hasattr(module, function):
        raise InputError(f"{where}: expected a module in baselines with a function `{function}`, found {name}")
    return module


if __name__ == "__main__":
    stage.run_for_system("baseline", "baselines", main)

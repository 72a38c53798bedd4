"""Stage baseline: fit a classical system on features of the tracks, and predict validation and test tracks."""

import functools
import importlib
from collections.abc import Callable, Mapping
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
Fit = Callable[[Sample, Sample], tuple[Any, Mapping[str, Any]]]


def main(params: Params, key: str) -> None:
    baseline, where = params.baselines[key], f"baselines.{key}"
    features, classifier = load(baseline, where)
    declared = {"features": features.Arguments, "classifier": classifier.Arguments}
    arguments = schema.read_arguments(baseline.arguments, declared, where, schema.names(BaselineKeys))
    stores = {name: store.open_store(name) for name in features.REPRESENTATIONS}
    for opened in stores.values():
        store.check_current(opened, params)
    features.check(arguments["features"], stores, where)

    first = next(iter(stores.values()))
    values = features.features(arguments["features"], stores)
    fit = functools.partial(classifier.fit, arguments["classifier"])
    found = predict(values, first.used, first.description, fit)
    names = {"features": baseline.features, "classifier": baseline.classifier}
    found = replace(found, facts=names | dict(found.facts))

    summary = summarise(found, first.index)
    predictions.write(Path(f"data/predictions/{key}.npz"), found)
    write_json(Path(f"metrics/{key}.json"), summary)
    print(f"{key}: accuracy {summary['accuracy']:.3f} on {summary['n_test']} test tracks, F1 {summary['f1']:.3f}")


def predict(values: np.ndarray, index: pd.DataFrame, description: store.Description, fit: Fit) -> Predictions:
    """Fit a classifier, and predict the validation and test tracks.

    Args:
        values: features (tracks, features).
        index: of the same tracks.
        description: of a store of these tracks.
        fit: from features and labels of training and validation tracks to a classifier and facts about it.
    """
    dataset, classes = description.dataset, list(description.classes)
    labels = pd.Index(classes).get_indexer(pd.Index(index["genre"]))
    rows = {split: np.flatnonzero(index["split"] == split) for split in SPLITS}
    samples = {split: (values[rows[split]], labels[rows[split]]) for split in SPLITS}
    machine, facts = fit(samples["training"], samples["validation"])

    tracks = index["track_id"].to_numpy()
    validation, test = (
        SplitPredictions(tracks[rows[split]], machine.predict(values[rows[split]])[np.newaxis])
        for split in ("validation", "test")
    )
    return Predictions(dataset, classes, [0], validation, test, facts)


def load(baseline: Baseline, where: str) -> tuple[ModuleType, ModuleType]:
    """The modules of a baseline's features and of its classifier; raises InputError if one is the other kind."""
    features = _module(baseline.features, "features", f"{where}.features")
    classifier = _module(baseline.classifier, "fit", f"{where}.classifier")
    return features, classifier


def _module(name: str, function: str, where: str) -> ModuleType:
    module = importlib.import_module(f"fma_genre.baselines.{name}")
    if not hasattr(module, function):
        raise InputError(f"{where}: expected a file of baselines with a function `{function}`, found {name}")
    return module


if __name__ == "__main__":
    stage.run_for_system("baseline", "baselines", main)

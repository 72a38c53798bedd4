"""An SVM that knows only how a track was recorded and encoded, and hears no music.

Its accuracy shows how much these conditions reveal of the genre, and so by what a model may cheat. It is no system of
the comparison.
"""

import numpy as np
import pandas as pd

from fma_genre import store
from fma_genre.baselines import rbf_svm
from fma_genre.results import metrics
from fma_genre.results.predictions import SPLITS, Predictions, SplitPredictions
from fma_genre.results.systems import System

CONDITIONS = "conditions"
COLUMNS = ["rate", "channels", "bit_rate", "bandwidth", "loudness", "length"]  # of the index
CANDIDATES = (1.0, 3.0, 10.0)  # values of the SVM's C; validation tracks decide
MAX_TRACKS = 2000  # training tracks; a few seconds of work, while all tracks of FMA large would take hours


def conditions(dataset: str, index: pd.DataFrame) -> System:
    """Fit the SVM to training tracks, and predict the validation and test tracks.

    Args:
        dataset: name of the data set.
        index: index of all tracks (see `fma_genre.store`).
    """
    used, classes = store.used(index), store.classes(index)
    training, *predicted = (used[used["split"] == split] for split in ("training", *SPLITS))
    fitted = training.iloc[np.unique(np.linspace(0, len(training) - 1, MAX_TRACKS).astype(int))]
    sample = _sample(fitted, classes)
    svm, facts = rbf_svm.fit(rbf_svm.Arguments(CANDIDATES), sample, _sample(predicted[0], classes))
    validation, test = (
        SplitPredictions(tracks["track_id"].to_numpy(), svm.predict(_sample(tracks, classes)[0])[np.newaxis])
        for tracks in predicted
    )
    return System(CONDITIONS, False, Predictions(dataset, classes, [0], validation, test, facts))


def _sample(tracks: pd.DataFrame, classes: list[str]) -> rbf_svm.Sample:
    """Conditions (tracks, conditions) and labels (tracks,)."""
    labels = metrics.actual_labels(tracks["track_id"].to_numpy(), classes, tracks)
    return tracks[COLUMNS].to_numpy(float), labels

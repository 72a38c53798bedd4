"""The systems of params.yaml with their predictions, checked to be of the same tracks."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fma_genre import store
from fma_genre.common import documents
from fma_genre.common.errors import InputError
from fma_genre.common.params import Params
from fma_genre.results import predictions
from fma_genre.results.predictions import Predictions

CURVE_COLUMNS = ("epoch", "validation_accuracy", "validation_accuracy_std")
PREDICTIONS, CURVES = Path("data/predictions"), Path("plots/training")


@dataclass(frozen=True)
class System:
    """A model or a baseline."""

    key: str
    is_model: bool
    predictions: Predictions
    curve: pd.DataFrame | None = None  # of a model's training: a row an epoch

    @property
    def facts(self) -> Mapping[str, Any]:
        return self.predictions.facts


def load(params: Params, index: pd.DataFrame) -> list[System]:
    """All systems of params.yaml in its order, models before baselines.

    Args:
        index: the index of the tracks, those that are left out included.

    Raises:
        InputError: a file is damaged, or of another data set than params.yaml's, or of other tracks than the index.
        FileNotFoundError: a file does not exist.
    """
    systems = []
    for key in params.models:
        systems.append(System(key, True, predictions.read(_predictions_path(key)), read_curve(_curve_path(key))))
    for key in params.baselines:
        systems.append(System(key, False, predictions.read(_predictions_path(key))))
    for system in systems:
        check_dataset(system, params.dataset)
        check_tracks(system, index)
    return systems


def check_dataset(system: System, dataset: str) -> None:
    """Raise InputError unless a system's predictions are those on this data set."""
    found = system.predictions.dataset
    if found != dataset:
        path = _predictions_path(system.key)
        raise InputError(f"{path}: expected predictions on {dataset}, found {found}: `dvc repro` makes them anew")


def check_tracks(system: System, index: pd.DataFrame) -> None:
    """Raise InputError unless a system has the classes and the tracks of the index."""
    path, found = _predictions_path(system.key), system.predictions
    used, classes = store.used(index), store.classes(index)
    if list(found.classes) != classes:
        raise InputError(f"{path}: expected the genres {', '.join(classes)}, found {', '.join(found.classes)}")
    for split, part in (("validation", found.validation), ("test", found.test)):
        tracks = used["track_id"][used["split"] == split].to_numpy()
        if not np.array_equal(part.tracks, tracks):
            expected = f"the {len(tracks)} {split} tracks of data/index.csv"
            raise InputError(f"{path}: expected {expected}, found {len(part.tracks)} others")


def remove_leftovers(params: Params) -> None:
    """Delete predictions and training curves of systems that params.yaml no longer has, and print which.

    DVC leaves them behind, and would record them as inputs of this stage, which every fresh clone then lacks.
    """
    known = {_predictions_path(key) for key in (*params.models, *params.baselines)}
    known |= {_curve_path(key) for key in params.models}
    leftovers = sorted({*PREDICTIONS.glob("*.npz"), *CURVES.glob("*.csv")} - known)
    for path in leftovers:
        path.unlink()
    if leftovers:
        print(f"removed, since params.yaml no longer has their systems: {', '.join(map(str, leftovers))}")


def read_curve(path: Path) -> pd.DataFrame:
    """Raise InputError if the file is not a learning curve."""
    text = documents.read_text(path)
    try:
        curve = pd.read_csv(io.StringIO(text))
    except ValueError as error:
        raise InputError(f"{path}: expected a learning curve, found: {error}") from error
    missing = [column for column in CURVE_COLUMNS if column not in curve]
    if missing or curve.empty:
        raise InputError(f"{path}: expected the columns {', '.join(CURVE_COLUMNS)}, found {', '.join(curve.columns)}")
    if not text.endswith("\n") or not np.isfinite(curve.select_dtypes("number").to_numpy()).all():
        raise InputError(f"{path}: expected a learning curve, found one that is cut off")
    return curve


def _predictions_path(key: str) -> Path:
    return PREDICTIONS / f"{key}.npz"


def _curve_path(key: str) -> Path:
    return CURVES / f"{key}.csv"

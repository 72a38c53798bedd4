"""Systems of params.yaml with their predictions. `load` checks that all of them predict the same tracks."""

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
PREDICTIONS, METRICS, CURVES = Path("data/predictions"), Path("metrics"), Path("plots/training")
TRAINING_METRICS = METRICS / "training"  # of the latest epoch; not read here
OTHER_METRICS = ("comparison", "promoted")  # files in metrics/ that are of no system in particular


@dataclass(frozen=True)
class System:
    """A model or a baseline."""

    key: str
    is_model: bool
    predictions: Predictions
    curve: pd.DataFrame | None = None  # learning curve of a model, one row per epoch
    # Keys of the systems whose runs are combined, each with its number of runs. None if the runs are the system's own.
    sources: tuple[tuple[str, int], ...] | None = None

    @property
    def run_sources(self) -> tuple[tuple[str, int], ...]:
        """Keys of the systems that the runs come from, each with its number of runs."""
        return ((self.key, len(self.predictions.seeds)),) if self.sources is None else self.sources

    @property
    def facts(self) -> Mapping[str, Any]:
        """Facts about the system for the report, e.g. its representation."""
        return self.predictions.facts


def load(params: Params, index: pd.DataFrame) -> list[System]:
    """Load all systems in the order of params.yaml, models before baselines.

    Args:
        index: index of all tracks (see `fma_genre.store`).

    Raises:
        InputError: a file is damaged, or was made for another data set or other tracks.
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
    """Raise InputError unless a system's predictions are for this data set."""
    found = system.predictions.dataset
    if found != dataset:
        path = _predictions_path(system.key)
        expected = f"predictions on the data set {dataset}"
        raise InputError(f"{path}: expected {expected}, found {found}: `dvc repro` replaces them")


def check_tracks(system: System, index: pd.DataFrame) -> None:
    """Raise InputError unless a system's predictions are for the genres and the tracks of the index."""
    path, found = _predictions_path(system.key), system.predictions
    used, classes = store.used(index), store.classes(index)
    if list(found.classes) != classes:
        raise InputError(f"{path}: expected the genres {', '.join(classes)}, found {', '.join(found.classes)}")
    for split, predictions_of_split in (("validation", found.validation), ("test", found.test)):
        expected = used["track_id"][used["split"] == split].to_numpy()
        tracks = predictions_of_split.tracks
        if not np.array_equal(tracks, expected):
            wanted = f"the {len(expected)} {split} tracks of data/index.csv"
            raise InputError(f"{path}: expected {wanted}, found {len(tracks)} tracks with other ids or order")


def remove_leftovers(params: Params) -> None:
    """Delete predictions, metrics and curves of systems that are no longer in params.yaml, and print their paths.

    DVC keeps the files of a removed system. It would record its predictions and its learning curve as inputs of the
    stage `compare`, but a fresh clone would not have these files. Its metrics would stay in git.
    """
    keys = [*params.models, *params.baselines]
    known = {_predictions_path(key) for key in keys} | {_curve_path(key) for key in params.models}
    known |= {METRICS / f"{name}.json" for name in (*keys, *OTHER_METRICS)}
    known |= {TRAINING_METRICS / f"{key}.json" for key in params.models}
    found = [PREDICTIONS.glob("*.npz"), METRICS.glob("*.json"), TRAINING_METRICS.glob("*.json"), CURVES.glob("*.csv")]
    leftovers = sorted(set().union(*found) - known)
    for path in leftovers:
        path.unlink()
    if leftovers:
        print(f"removed files of systems that are no longer in params.yaml: {', '.join(map(str, leftovers))}")


def read_curve(path: Path) -> pd.DataFrame:
    """Read a learning curve; raise InputError if the file is not a complete learning curve."""
    text = documents.read_text(path)
    try:
        curve = pd.read_csv(io.StringIO(text))
    except ValueError as error:
        raise InputError(f"{path}: cannot read the learning curve: {error}") from error
    missing = [column for column in CURVE_COLUMNS if column not in curve]
    if missing or curve.empty:
        found = ", ".join(curve.columns) if missing else "no epoch"
        raise InputError(f"{path}: expected the columns {', '.join(CURVE_COLUMNS)} and an epoch, found {found}")
    if not text.endswith("\n") or not np.isfinite(curve.select_dtypes("number").to_numpy()).all():
        raise InputError(f"{path}: expected a complete learning curve, found a truncated or damaged one")
    return curve


def _predictions_path(key: str) -> Path:
    return PREDICTIONS / f"{key}.npz"


def _curve_path(key: str) -> Path:
    return CURVES / f"{key}.csv"

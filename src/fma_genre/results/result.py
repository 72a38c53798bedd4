"""Result of one system on the test tracks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fma_genre.results import metrics
from fma_genre.results.bootstrap import Bootstrap, Interval
from fma_genre.results.probability_scores import probability_scores
from fma_genre.results.systems import System


@dataclass(frozen=True)
class Result:
    """Scores of a system. They are means over its runs, unless stated otherwise."""

    system: System
    matrices: np.ndarray  # (runs, classes, classes) confusion matrix of each run
    run_scores: Mapping[str, np.ndarray]  # (runs,) by metric
    resampled: Mapping[str, np.ndarray]  # (1 + resamples,) bootstrap values, by metric
    intervals: Mapping[str, Interval]  # by metric
    summary: Mapping[str, Any]  # content of metrics/<key>.json
    probability_scores: Mapping[str, float]  # empty if the system predicts no probabilities

    @property
    def key(self) -> str:
        return self.system.key

    @property
    def facts(self) -> Mapping[str, Any]:
        return self.system.facts

    @property
    def runs(self) -> int:
        return len(self.matrices)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the accuracy over the runs; None unless there are several independent runs."""
        return self.summary.get("accuracy_std") if len(self.system.run_sources) == 1 else None

    @property
    def labels(self) -> np.ndarray:
        """Predicted labels of each run, (runs, tracks)."""
        return self.system.predictions.test.labels


def evaluate(system: System, actual: np.ndarray, index: pd.DataFrame, bootstrap: Bootstrap) -> Result:
    """Score a system on the test tracks.

    Args:
        actual: (tracks,) labels of the test tracks.
        index: rows of the index for the used tracks (see `fma_genre.store`).
    """
    test = system.predictions.test
    matrices = metrics.run_matrices(actual, test.labels, bootstrap.classes)
    resampled = bootstrap.scores(actual, test.labels, system.run_sources)
    probabilities = test.probabilities
    return Result(
        system=system,
        matrices=matrices,
        run_scores=metrics.scores(matrices),
        resampled=resampled,
        intervals={metric: bootstrap.interval(values) for metric, values in resampled.items()},
        summary=metrics.summarise(system.predictions, index),
        probability_scores={} if probabilities is None else probability_scores(probabilities, actual),
    )

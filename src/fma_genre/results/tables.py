"""The comparison as numbers (metrics/comparison.json) and tables (CSV files for `dvc plots` and other programs)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fma_genre import store
from fma_genre.common.files import atomic, write_text
from fma_genre.results import metrics
from fma_genre.results.comparison import Comparison, Pair, Result


def numbers(comparison: Comparison) -> dict[str, Any]:
    """Return the content of metrics/comparison.json, rounded to six decimals. `dvc metrics diff` shows each number."""
    values: dict[str, Any] = {
        "dataset": comparison.dataset,
        "n_test": len(comparison.tracks),
        "n_artists": comparison.artists,
    }
    for result in comparison.rows:
        values[result.key] = _system_numbers(result)
    for pair in comparison.model_pairs:
        values[f"{pair.second}_minus_{pair.first}"] = _pair_numbers(pair)
    return metrics.rounded(values)


def write_tables(comparison: Comparison, folder: Path) -> None:
    """Write predictions.csv, and confusion/<key>.csv and genres/<key>.csv for each system."""
    _write_csv(folder / "predictions.csv", predictions_table(comparison))
    with atomic(folder / "confusion") as new_folder:
        for result in comparison.systems:
            _write_csv(new_folder / f"{result.key}.csv", confusion_table(result, comparison))
    with atomic(folder / "genres") as new_folder:
        for result in comparison.systems:
            _write_csv(new_folder / f"{result.key}.csv", genre_table(result, comparison))


def predictions_table(comparison: Comparison) -> pd.DataFrame:
    """Table of the test tracks: actual genre, prediction of each system, and prediction of each run of a model."""
    classes = np.array(comparison.classes)
    table = comparison.tracks[["track_id", "artist_id"]].assign(actual=comparison.tracks["genre"])
    for result in comparison.systems:
        predictions = result.system.predictions
        table[result.key] = classes[result.labels]
        if predictions.test.probabilities is not None:
            for seed, labels in zip(predictions.seeds, predictions.test.labels, strict=True):
                table[f"{result.key}_seed{seed}"] = classes[labels]
    return table


def confusion_table(result: Result, comparison: Comparison) -> pd.DataFrame:
    """Table of the actual and predicted genre of each test track, from which DVC plots a confusion matrix."""
    classes = np.array(comparison.classes)
    return pd.DataFrame({"actual": classes[comparison.actual], "predicted": classes[result.labels]})


def genre_table(result: Result, comparison: Comparison) -> pd.DataFrame:
    """Table of the genres, largest first: precision, recall and F1 (means over the runs), and numbers of tracks.

    The mean of a score over the genres is its macro average.
    """
    table = pd.DataFrame({"genre": comparison.classes})
    for name, values in metrics.by_class(result.matrices).items():
        table[name] = values.mean(axis=0).round(6)
    used = store.used(comparison.index)
    for split in ("training", "test"):
        counts = used["genre"][used["split"] == split].value_counts()
        table[f"n_{split}"] = counts.reindex(comparison.classes, fill_value=0).to_numpy()
    return table.set_index("genre").loc[comparison.genres].reset_index()


def _system_numbers(result: Result) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in ("accuracy", "f1"):
        values[name] = result.run_scores[name].mean()
        if result.system.is_model:
            values[f"{name}_std"] = metrics.deviation(result.run_scores[name])
    if result.svm_head_accuracy is not None:
        values["svm_head_accuracy"] = result.svm_head_accuracy
    return values | dict(result.system.facts)


def _pair_numbers(pair: Pair) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in metrics.METRICS:
        difference = pair.differences[name]
        values |= {name: difference.value, f"{name}_low": difference.low, f"{name}_high": difference.high}
    values[f"only_{pair.first}_right"] = pair.mcnemar.only_first
    values[f"only_{pair.second}_right"] = pair.mcnemar.only_second
    values["mcnemar_p"] = pair.mcnemar.p
    return values


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n"))

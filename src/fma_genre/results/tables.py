"""The comparison as numbers and tables: metrics/comparison.json, and what `dvc plots` and pull requests read."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fma_genre import store
from fma_genre.common.files import atomic, write_text
from fma_genre.results import metrics
from fma_genre.results.comparison import Comparison, Pair, Result


def numbers(comparison: Comparison) -> dict[str, Any]:
    """The content of metrics/comparison.json, rounded: each number is a row of `dvc metrics diff`."""
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
    """Write predictions.csv, and confusion/<key>.csv and genres/<key>.csv of each system."""
    _write_csv(folder / "predictions.csv", predictions_table(comparison))
    with atomic(folder / "confusion") as part:
        for result in comparison.systems:
            _write_csv(part / f"{result.key}.csv", confusion_table(result, comparison))
    with atomic(folder / "genres") as part:
        for result in comparison.systems:
            _write_csv(part / f"{result.key}.csv", genre_table(result, comparison))


def predictions_table(comparison: Comparison) -> pd.DataFrame:
    """A row a test track: its genre, what each system says, and what each run of an ensemble says."""
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
    """A row a test track: its genre and what the system says, for DVC's plot of a confusion matrix."""
    classes = np.array(comparison.classes)
    return pd.DataFrame({"actual": classes[comparison.actual], "predicted": classes[result.labels]})


def genre_table(result: Result, comparison: Comparison) -> pd.DataFrame:
    """A row a genre, largest first: means over the runs, so that the columns' means are the macro metrics."""
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

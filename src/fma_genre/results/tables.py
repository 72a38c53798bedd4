"""The comparison as numbers (metrics/comparison.json) and tables (CSV files for `dvc plots` and other programs)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fma_genre import store
from fma_genre.common.files import write_text
from fma_genre.results import metrics
from fma_genre.results.bootstrap import Interval
from fma_genre.results.comparison import Comparison, Difference
from fma_genre.results.factorial import Effect
from fma_genre.results.result import Result


def numbers(comparison: Comparison) -> dict[str, Any]:
    """Return the content of metrics/comparison.json, rounded to six decimals. Scores are means over the runs."""
    values: dict[str, Any] = {
        "dataset": comparison.dataset,
        "n_test": len(comparison.tracks),
        "n_artists": comparison.artists,
        "confidence": comparison.confidence,
        "reference": comparison.reference.key,
        "systems": {result.key: _system_numbers(result, comparison) for result in comparison.rows},
        "differences": {found.key: _difference_numbers(found) for found in comparison.differences},
        "ensembles": {result.key: _system_numbers(result, comparison) for result in comparison.ensembles},
        "ensemble_differences": {
            found.key: _difference_numbers(found) | {"mcnemar_p": comparison.mcnemar[found.key].p}
            for found in comparison.ensemble_differences
        },
    }
    if comparison.conditions:
        values["conditions"] = _system_numbers(comparison.conditions, comparison)
    if comparison.factorial:
        values["factorial"] = {effect.name: _effect_numbers(effect) for effect in comparison.factorial.effects}
    return metrics.rounded(values)


def write_tables(comparison: Comparison, folder: Path) -> None:
    """Write the predictions for both splits, and confusion.csv and genres.csv, which `dvc plots` draws."""
    for split, name in (("test", "predictions.csv"), ("validation", "predictions_validation.csv")):
        _write_csv(folder / name, predictions_table(comparison, split))
    for name, table in (("confusion", confusion_table), ("genres", genre_table)):
        tables = {result.key: table(result, comparison) for result in comparison.systems}
        _write_csv(folder / f"{name}.csv", pd.concat(tables, names=["system"]).reset_index(level="system"))


def predictions_table(comparison: Comparison, split: str) -> pd.DataFrame:
    """Table of the tracks of a split: artist, actual genre, and prediction of each run of each system."""
    used, classes = store.used(comparison.index), np.array(comparison.classes)
    table = used[used["split"] == split][["track_id", "artist_id", "genre"]].rename(columns={"genre": "actual"})
    columns = {
        f"{result.key}_seed{seed}": classes[labels]
        for result in comparison.systems
        for seed, labels in zip(
            result.system.predictions.seeds, getattr(result.system.predictions, split).labels, strict=True
        )
    }
    return table.assign(**columns)


def confusion_table(result: Result, comparison: Comparison) -> pd.DataFrame:
    """Table of the pairs of actual and predicted genre: share of the actual genre's test tracks, a mean over the runs.

    The largest genre comes first. The shares of an actual genre without test tracks are empty.
    """
    order = [comparison.classes.index(genre) for genre in comparison.genres]
    pairs = pd.MultiIndex.from_product([comparison.genres] * 2, names=["actual", "predicted"])
    counts = pd.Series(result.matrices.sum(axis=0)[np.ix_(order, order)].ravel(), pairs)
    return (counts / counts.groupby("actual").transform("sum")).round(6).reset_index(name="share")


def genre_table(result: Result, comparison: Comparison) -> pd.DataFrame:
    """Table of the genres, largest first: precision, recall and F1 (means over the runs), and numbers of tracks.

    The mean of a score over the genres is its macro average. The scores of a genre without test tracks are empty.
    """
    table = pd.DataFrame({"genre": comparison.classes})
    for name, values in metrics.by_class(result.matrices).items():
        table[name] = values.mean(axis=0).round(6)
    used = store.used(comparison.index)
    for split in ("training", "test"):
        counts = used["genre"][used["split"] == split].value_counts()
        table[f"n_{split}"] = counts.reindex(comparison.classes, fill_value=0).to_numpy()
    return table.set_index("genre").loc[comparison.genres].reset_index()


def _system_numbers(result: Result, comparison: Comparison) -> dict[str, Any]:
    values = {"runs": result.runs, **_interval_numbers(result.intervals)}
    if result.deviation is not None:
        values["accuracy_std"] = result.deviation
    if result.key in comparison.any_genre:
        values["any_genre_accuracy"] = comparison.any_genre[result.key]
    names = ("segment_accuracy", "validation_accuracy", "validation_f1")
    values |= {name: result.summary[name] for name in names if name in result.summary}
    return values | dict(result.probability_scores) | dict(result.facts)


def _difference_numbers(difference: Difference) -> dict[str, Any]:
    tests = {"p": difference.p, "p_holm": difference.p_holm, "resolution": difference.resolution}
    return _interval_numbers(difference.intervals) | tests


def _interval_numbers(intervals: Mapping[str, Interval]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for metric, interval in intervals.items():
        values |= {metric: interval.value, f"{metric}_low": interval.low, f"{metric}_high": interval.high}
    return values


def _effect_numbers(effect: Effect) -> dict[str, float]:
    return {**effect.interval._asdict(), "p_holm": effect.p, "resolution": effect.resolution}


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n"))

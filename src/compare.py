"""Stage compare: the models against each other and the references: metrics/comparison.json, figures, report.md."""

import stage

import json
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fma_genre import InputError, files, metrics, params, plotting
from fma_genre.comparison import Interval, Pair, Resampling, compare
from fma_genre.report import BASELINE, MAJORITY, REFERENCES, report, verdict

FIGURES = Path("plots/comparison")


def main(parameters: dict[str, Any]) -> None:
    models = list(parameters["models"])
    tables = {model: read_text(f"plots/predictions/{model}.csv") for model in models}
    baseline = read_text("plots/predictions/baseline.csv")
    check_same_tracks(tables | {"baseline": baseline})
    genres = {model: read_text(f"plots/genres/{model}.csv").astype({"f1": float}) for model in models}
    by_size = genres[models[0]]["genre"]  # of training tracks, the largest first
    classes = pd.Index(sorted(by_size))
    tracks = tables[models[0]]
    actual = classes.get_indexer(pd.Index(tracks["actual"]))
    sampling = Resampling(tracks["artist_id"].to_numpy(), len(classes), **parameters["compare"])
    labels = {model: classes.get_indexer(pd.Index(table["predicted"])) for model, table in tables.items()}
    pairs = {
        (first, second): compare(actual, labels[first], labels[second], sampling)
        for first, second in combinations(models, 2)
    }
    labels[MAJORITY] = np.full_like(actual, classes.get_loc(by_size[0]))
    labels[BASELINE] = classes.get_indexer(pd.Index(baseline["predicted"]))
    against = {model: compare(actual, labels[BASELINE], labels[model], sampling) for model in models}
    scores = {system: sampling.scores(actual, label) for system, label in labels.items()}

    results = {model: json.loads(Path(f"metrics/{model}.json").read_text()) for model in models}
    results |= {system: {key: float(values[0]) for key, values in scores[system].items()} for system in REFERENCES}
    runs = {model: run_scores(table, classes, actual) for model, table in tables.items()}
    facts = {"dataset": parameters["dataset"], "n_test": len(actual), "n_artists": len(sampling.names)}
    files.write_json(Path("metrics/comparison.json"), facts | flatten(results, runs, pairs))
    intervals = {system: sampling.interval(score["accuracy"]) for system, score in scores.items()}
    synthetic = params.is_synthetic(parameters)
    finding = headline(pairs, parameters["dataset"], synthetic)
    draw(intervals, runs, genres, finding)
    draw_tracks(tracks["actual"], {model: labels[model] for model in models}, list(by_size))
    print(finding)
    text = report(facts, results, pairs, against, parameters["compare"]["confidence"], synthetic)
    files.write_text(Path("report.md"), text)


def read_text(path: str) -> pd.DataFrame:
    """A table whose columns are text: a genre may be called "None" or "1980"."""
    return pd.read_csv(path, keep_default_na=False, dtype=str)


def check_same_tracks(tables: Mapping[str, pd.DataFrame]) -> None:
    """Raises InputError unless all systems were evaluated on the same tracks with the same genres."""
    (first, reference), *others = ((name, table[["track_id", "actual"]]) for name, table in tables.items())
    for name, tracks in others:
        if not tracks.equals(reference):
            raise InputError(f"plots/predictions/{name}.csv: expected the test tracks of {first}.csv, found others")


def run_scores(table: pd.DataFrame, classes: pd.Index, actual: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy and macro precision, recall and F1 of each single run, (runs,) each."""
    seeds = [column for column in table if str(column).startswith("seed")]
    matrices = [metrics.confusion(actual, classes.get_indexer(pd.Index(table[seed])), len(classes)) for seed in seeds]
    return metrics.scores(np.array(matrices))


def flatten(
    results: Mapping[str, Mapping[str, float]],
    runs: Mapping[str, Mapping[str, np.ndarray]],
    pairs: Mapping[tuple[str, str], Pair],
) -> dict[str, Any]:
    """The numbers of metrics/comparison.json: each is a row of `dvc metrics diff`."""
    values: dict[str, Any] = {}
    for key, system in (("majority", MAJORITY), ("baseline", BASELINE)):
        values[key] = {name: results[system][name] for name in ("accuracy", "f1")}
    for model, scores in runs.items():
        values[model] = {}
        for name in ("accuracy", "f1"):
            values[model][name] = float(scores[name].mean())
            values[model][f"{name}_std"] = metrics.deviation(scores[name])
    for (first, second), pair in pairs.items():
        values[f"{second}_minus_{first}"] = {
            **{key: value for name in metrics.METRICS for key, value in interval_row(name, pair.differences[name])},
            f"only_{first}_right": pair.mcnemar.only_first,
            f"only_{second}_right": pair.mcnemar.only_second,
            "mcnemar_p": pair.mcnemar.p,
        }
    return values


def interval_row(name: str, interval: Interval) -> list[tuple[str, float]]:
    return [(name, interval.value), (f"{name}_low", interval.low), (f"{name}_high", interval.high)]


def headline(pairs: Mapping[tuple[str, str], Pair], dataset: str, synthetic: bool) -> str:
    """The finding, as a title of figures."""
    data = "synthetic demo" if synthetic else dataset
    return "\n".join(f"{data}: {verdict(*names, pair)}" for names, pair in pairs.items()) or data


def draw(
    intervals: Mapping[str, Interval],
    runs: Mapping[str, Mapping[str, np.ndarray]],
    genres: Mapping[str, pd.DataFrame],
    title: str,
) -> None:
    colour = plotting.colours(runs)
    order = [*REFERENCES, *runs]
    singles = {model: scores["accuracy"].tolist() for model, scores in runs.items()}
    accuracies = plotting.accuracies({name: intervals[name] for name in order}, singles, colour, title)
    plotting.save(accuracies, FIGURES / "accuracy.svg")
    curves = {model: pd.read_csv(f"plots/training/{model}.csv") for model in runs}
    plotting.save(plotting.learning_curves(curves, colour), FIGURES / "curves.svg")
    plotting.save(plotting.genres(genres, colour), FIGURES / "genres.svg")


def draw_tracks(actual: pd.Series, labels: Mapping[str, np.ndarray], genres: list[str]) -> None:
    """Where each model's ensemble is wrong, and where the models disagree.

    Args:
        actual: the tracks' genres (tracks,).
        labels: by model, predicted (tracks,) as places among the sorted genres.
        genres: in the order of the figures.
    """
    colour, classes = plotting.colours(labels), sorted(genres)
    order = pd.Index(genres)
    named = {model: np.array(classes)[label] for model, label in labels.items()}
    matrices = {
        model: metrics.confusion(order.get_indexer(pd.Index(actual)), order.get_indexer(pd.Index(names)), len(genres))
        for model, names in named.items()
    }
    plotting.save(plotting.confusions(matrices, genres, colour), FIGURES / "confusion.svg")
    right = {model: names == actual.to_numpy() for model, names in named.items()}
    plotting.save(plotting.disagreements(right, actual, genres, colour), FIGURES / "disagreement.svg")


if __name__ == "__main__":
    stage.run("compare", main)

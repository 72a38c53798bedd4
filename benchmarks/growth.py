"""Learning curves: accuracy by the number of training tracks, from the results of a search for a recipe.

    python benchmarks/growth.py [RESULTS.jsonl …] [--figure FILE.svg]    default: benchmarks/recipe/growth.jsonl

A candidate of growth.yaml is a series and a share of the training tracks, e.g. `recipe 1/4`. The script draws the mean
accuracy over the folds for each share. It prints it with two paired differences: the gain over the share before, and
the difference from the first series. Standard errors are corrected for the training tracks that folds have in common
(Nadeau and Bengio 2003).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from fma_genre.common.errors import InputError, errors_in_one_line
from fma_genre.results.markdown import table
from fma_genre.results.style import WIDTH, colours, marks, save, set_title, styled
from recipe import CLEAN, accuracy, fold_ratio, read_results, standard_error

RESULTS, FIGURE = ROOT / "benchmarks" / "recipe" / "growth.jsonl", ROOT / "docs" / "growth.svg"


@dataclass(frozen=True)
class Point:
    """Accuracies of a series with a share of the training tracks, in %."""

    dataset: str
    series: str
    share: float  # of the training tracks
    tracks: int  # mean number of training tracks
    folds: tuple[tuple[int, int], ...]  # repeat and fold of each accuracy
    accuracies: np.ndarray  # (folds,)
    ratio: float  # test tracks / training tracks of a fold, when all training tracks are used

    @property
    def error(self) -> float:
        return standard_error(self.accuracies, self.ratio)


def main() -> None:
    arguments = parse(sys.argv[1:])
    with errors_in_one_line("growth"):
        model, points = read_points(arguments.results)
        save(draw(model, points), arguments.figure)
        print(points_table(points))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="*", default=[RESULTS], metavar="RESULTS.jsonl")
    parser.add_argument("--figure", type=Path, default=FIGURE, metavar="FILE.svg", help="default: docs/growth.svg")
    return parser.parse_args(arguments)


def read_points(files: Sequence[Path]) -> tuple[str, list[Point]]:
    """Read the results of a model; return its name, and its points from few training tracks to many.

    Raises:
        InputError: there are no results, or those of several models.
    """
    records: list[dict[str, Any]] = [record for file in files for record in read_results(file).values()]
    models = sorted({record["model"] for record in records})
    if len(models) != 1:
        expected, found = "results of one model", ", ".join(models) or "none"
        raise InputError(f"{', '.join(map(str, files))}: expected {expected}, found {found}")
    groups: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for record in sorted(records, key=lambda record: (record["repeat"], record["fold"])):
        series = record["candidate"].rpartition(" ")[0]
        groups.setdefault((record["dataset"], series, record["share"]), []).append(record)
    points = [
        Point(
            dataset,
            series,
            share,
            round(np.mean([record["training"] for record in found])),
            tuple((record["repeat"], record["fold"]) for record in found),
            100 * accuracy(found, CLEAN),
            fold_ratio(found),
        )
        for (dataset, series, share), found in groups.items()
    ]
    return models[0], sorted(points, key=lambda point: point.tracks)


def curves(points: Sequence[Point]) -> dict[tuple[str, str], list[Point]]:
    """Points by data set and series."""
    found: dict[tuple[str, str], list[Point]] = {}
    for point in sorted(points, key=lambda point: point.dataset, reverse=True):
        found.setdefault((point.dataset, point.series), []).append(point)
    return found


def points_table(points: Sequence[Point]) -> str:
    """Markdown table: accuracy at each number of tracks, its gain over the number before, and over the first series."""
    found, first = curves(points), points[0].series
    rows = [["data set", "series", "training tracks", "folds", "accuracy", "gain", f"− {first}"]]
    for (dataset, series), curve in found.items():
        reference = {point.share: point for point in found.get((dataset, first), [])}
        for before, point in zip([None, *curve], curve, strict=False):
            mean = f"{point.accuracies.mean():.1f} ± {point.error:.1f}"
            other = reference.get(point.share) if series != first else None
            changes = [difference(point, start) if start else "" for start in (before, other)]
            rows.append([dataset, series, str(point.tracks), str(len(point.folds)), mean, *changes])
    return table(rows)


def difference(point: Point, start: Point) -> str:
    """Mean paired difference between two points, with its standard error; raise InputError for unequal folds."""
    if point.folds != start.folds:
        found = f"{len(start.folds)} and {len(point.folds)} folds, or different ones"
        where = f"{point.dataset}, {start.series} {start.tracks} and {point.series} {point.tracks}"
        raise InputError(f"{where}: expected the same folds, found {found}: the search is not finished")
    changes = point.accuracies - start.accuracies
    return f"{changes.mean():+.1f} ± {standard_error(changes, point.ratio):.1f}"


@styled
def draw(model: str, points: Sequence[Point]) -> Figure:
    """Draw a panel for each data set, with a line for each series. Bars are standard errors."""
    found, series = curves(points), list(dict.fromkeys(point.series for point in points))
    datasets = list(dict.fromkeys(dataset for dataset, _ in found))
    colour, mark = colours(series), marks(series)
    figure = Figure(figsize=(WIDTH, 2.6 * len(datasets)), layout="constrained")
    panels = dict(zip(datasets, figure.subplots(len(datasets), squeeze=False)[:, 0], strict=True))
    for (dataset, name), curve in found.items():
        offset = 1.02 ** (series.index(name) - (len(series) - 1) / 2)  # keeps bars apart
        panels[dataset].errorbar(
            [point.tracks * offset for point in curve],
            [point.accuracies.mean() for point in curve],
            [point.error for point in curve],
            color=colour[name],
            marker=mark[name],
            capsize=3,
            label=name,
        )
    for dataset, axes in panels.items():
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(
            FixedLocator(sorted({point.tracks for point in points if point.dataset == dataset}))
        )
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
        axes.set(title=dataset, ylabel="accuracy in %")
        axes.legend()
    panels[datasets[-1]].set_xlabel("training tracks (logarithmic); bars: standard errors")
    set_title(figure, f"Accuracy of the {model} by the number of training tracks")
    return figure


if __name__ == "__main__":
    main()

"""Learning curves: accuracy by the number of training tracks, from the results of a search for a recipe.

    python benchmarks/growth.py [RESULTS.jsonl …] [--figure FILE.svg]    default: benchmarks/recipe/growth.jsonl

A candidate of growth.yaml is a series and a share of the training tracks, e.g. `recipe 1/4`. The script draws the mean
accuracy over the folds for each share, and prints it with the paired gain from each doubling of the tracks. Standard
errors are corrected for the training tracks that folds share (Nadeau and Bengio 2003).
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
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from fma_genre.common.errors import InputError, errors_in_one_line
from fma_genre.results.markdown import table
from fma_genre.results.style import WIDTH, colours, marks, save, set_title, styled
from recipe import CLEAN, read_results, standard_error

RESULTS, FIGURE = ROOT / "benchmarks" / "recipe" / "growth.jsonl", ROOT / "docs" / "growth.svg"


@dataclass(frozen=True)
class Point:
    """Accuracies of a series with a share of the training tracks, in %."""

    dataset: str
    series: str
    tracks: int  # mean number of training tracks
    accuracies: np.ndarray  # (folds,), in the order of repeats and folds
    ratio: float  # test tracks / training tracks of a fold, when all training tracks are used

    @property
    def error(self) -> float:
        return standard_error(self.accuracies, self.ratio)


def main() -> None:
    arguments = parse(sys.argv[1:])
    with errors_in_one_line("growth"):
        points = read_points(arguments.results)
        save(draw(points), arguments.figure)
        print(points_table(points))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="*", default=[RESULTS], metavar="RESULTS.jsonl")
    parser.add_argument("--figure", type=Path, default=FIGURE, metavar="FILE.svg", help="default: docs/growth.svg")
    return parser.parse_args(arguments)


def read_points(files: Sequence[Path]) -> list[Point]:
    """Read the points of each data set and series, from few training tracks to many."""
    records: list[dict[str, Any]] = [record for file in files for record in read_results(file).values()]
    if not records:
        raise InputError(f"{', '.join(map(str, files))}: expected results, found none")
    frame = pd.DataFrame(records).sort_values(["repeat", "fold"], kind="stable")
    frame["series"] = frame["candidate"].str.rpartition(" ")[0]
    frame["ratio"] = frame["tracks"] / frame["training"] * frame["share"]
    frame["accuracy"] = 100 * frame["correct"].map(lambda correct: correct[CLEAN]) / frame["tracks"]
    points = [
        Point(
            str(dataset), str(series), round(rows["training"].mean()), rows["accuracy"].to_numpy(), rows["ratio"].mean()
        )
        for (dataset, series, _), rows in frame.groupby(["dataset", "series", "share"], sort=False)
    ]
    return sorted(points, key=lambda point: point.tracks)


def curves(points: Sequence[Point]) -> dict[tuple[str, str], list[Point]]:
    """Points by data set and series."""
    found: dict[tuple[str, str], list[Point]] = {}
    for point in sorted(points, key=lambda point: point.dataset, reverse=True):
        found.setdefault((point.dataset, point.series), []).append(point)
    return found


def points_table(points: Sequence[Point]) -> str:
    """Markdown table: accuracy at each number of tracks, and its gain over the number before."""
    rows = [["data set", "series", "training tracks", "folds", "accuracy", "gain"]]
    for (dataset, series), curve in curves(points).items():
        for before, point in zip([None, *curve], curve, strict=False):
            accuracy = f"{point.accuracies.mean():.1f} ± {point.error:.1f}"
            folds = str(len(point.accuracies))
            rows.append([dataset, series, str(point.tracks), folds, accuracy, gain(before, point) if before else ""])
    return table(rows)


def gain(before: Point, after: Point) -> str:
    if len(before.accuracies) != len(after.accuracies):
        where = f"{after.dataset}, {after.series}"
        found = f"{len(before.accuracies)} and {len(after.accuracies)}"
        raise InputError(f"{where}: expected as many folds for each share, found {found}: the search is not finished")
    changes = after.accuracies - before.accuracies
    return f"{changes.mean():+.1f} ± {standard_error(changes, after.ratio):.1f}"


@styled
def draw(points: Sequence[Point]) -> Figure:
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
    set_title(figure, "Accuracy of the cnn by the number of training tracks")
    return figure


if __name__ == "__main__":
    main()

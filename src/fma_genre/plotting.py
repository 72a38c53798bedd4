"""Figures. A model has the same colour everywhere; the colours can be told apart by the colour-blind.

The same numbers give the same bytes: no dates, no random ids.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fma_genre.files import whole

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito's
GREY = "#767676"
STYLE: Any = {
    "svg.hashsalt": "fma-genre",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,  # a genre's name may hold a $
}
styled = matplotlib.rc_context(STYLE)


def colours(models: Iterable[str]) -> dict[str, str]:
    """Each model's colour, by its place in params.yaml."""
    return {model: PALETTE[place % len(PALETTE)] for place, model in enumerate(models)}


@styled
def save(figure: Figure, path: Path) -> None:
    """Writes an SVG whose bytes depend on nothing but the figure."""
    with whole(path) as part:
        figure.savefig(part, format="svg", metadata={"Date": None, "Creator": None})


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of `width` × `height` inches with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


@styled
def confusion(matrix: np.ndarray, classes: Sequence[str], model: str) -> Figure:
    """Counts of tracks (classes, classes), actual by predicted; shaded by the share of the actual genre."""
    size = 2.2 + 0.42 * len(classes)
    figure, axes = _axes(size, size)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            shade = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize=8)
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(classes)), classes)
    title = f"{model}: {np.trace(matrix)} of {matrix.sum()} test tracks right"
    axes.set(xlabel="predicted genre", ylabel="actual genre", title=title)
    axes.spines[:].set_visible(False)
    return figure


@styled
def genres(tables: Mapping[str, pd.DataFrame], colour: Mapping[str, str]) -> Figure:
    """F1 of each genre, a bar a model. Tables have columns genre, f1, n_test and the same order of genres."""
    first = next(iter(tables.values()))
    figure, axes = _axes(7, 1.2 + 0.42 * len(first))
    height = 0.8 / len(tables)
    for place, (model, table) in enumerate(tables.items()):
        positions = np.arange(len(table)) + (place - (len(tables) - 1) / 2) * height
        axes.barh(positions, table["f1"], height, color=colour[model], label=model)
    names = [f"{genre} ({count})" for genre, count in zip(first["genre"], first["n_test"], strict=True)]
    axes.set_yticks(range(len(first)), names)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="F1", ylabel="genre (test tracks)", title="F1 of each genre, mean over the runs")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.06), ncols=len(tables))
    return figure


@styled
def learning_curves(curves: Mapping[str, pd.DataFrame], colour: Mapping[str, str]) -> Figure:
    """Validation accuracy of tracks over epochs: mean over the runs, and one standard deviation about it."""
    figure, axes = _axes(7, 3.6)
    for model, curve in curves.items():
        mean, deviation = curve["validation_accuracy"], curve["validation_accuracy_std"]
        axes.plot(curve["epoch"], mean, color=colour[model], label=model, marker="o", markersize=3)
        axes.fill_between(curve["epoch"], mean - deviation, mean + deviation, color=colour[model], alpha=0.2, lw=0)
    axes.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1))
    axes.set_title("Learning curves, mean ± standard deviation over the runs")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right")
    return figure


@styled
def accuracies(
    ensembles: Mapping[str, tuple[float, float, float]],
    runs: Mapping[str, Sequence[float]],
    colour: Mapping[str, str],
    title: str,
) -> Figure:
    """Test accuracy of each system: its ensemble's value, low and high, and its single runs as ticks."""
    figure, axes = _axes(7, 1.2 + 0.55 * len(ensembles))
    for place, (name, (value, low, high)) in enumerate(ensembles.items()):
        shade, single = colour.get(name, GREY), runs.get(name, [])
        axes.plot([low, high], [place, place], color=shade, lw=2.5, solid_capstyle="butt")
        axes.plot(value, place, "o", color=shade, markersize=9)
        axes.annotate(f"{100 * value:.1f} %", (value, place), (0, 9), textcoords="offset points", ha="center")
        axes.plot(single, [place + 0.25] * len(single), "|", color=shade, markersize=7)
    axes.set_yticks(range(len(ensembles)), list(ensembles))
    axes.set_ylim(len(ensembles) - 0.4, -0.6)
    axes.set(xlim=(0, 1), xlabel="test accuracy of tracks (dot and line: ensemble and interval; ticks: single runs)")
    axes.set_title(textwrap.fill(title, 80))
    return figure

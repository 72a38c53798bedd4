"""Charts that compare systems. The title of a chart states its result."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fma_genre.results.comparison import Interval
from fma_genre.results.style import DARK, GREY, LIGHT, colours, label, marks, shades, single_axes, styled, wrapped

MAX_COLUMNS = 2  # of confusion matrices
MIN_BAR_HEIGHT = 0.15  # inches


@styled
def accuracies(accuracy: Mapping[str, Interval], runs: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Draw the test accuracy of each system with its interval. Ticks show single runs.

    Args:
        accuracy: test accuracy by system, from top to bottom.
        runs: accuracies of the single runs, by model.
        title: title of the chart, which states the result in one sentence.
    """
    figure, axes = single_axes(7, 1.2 + 0.55 * len(accuracy))
    colour, mark = colours(runs), marks(runs)
    for y, (name, (value, low, high)) in enumerate(accuracy.items()):
        shade, single = colour.get(name, GREY), runs.get(name, [])
        axes.plot([low, high], [y, y], color=shade, lw=2.5, solid_capstyle="butt")
        axes.plot(value, y, mark.get(name, "o"), color=shade, markersize=9)
        axes.annotate(f"{100 * value:.1f} %", (value, y), (0, 9), textcoords="offset points", ha="center")
        axes.plot(single, [y + 0.25] * len(single), "|", color=shade, markersize=7)
    axes.set_yticks(range(len(accuracy)), list(accuracy))
    axes.set_ylim(len(accuracy) - 0.4, -0.6)
    axes.set(xlim=(0, 1), xlabel="test accuracy (ticks: single runs; marker: their ensemble; line: its interval)")
    axes.set_title(wrapped(title))
    return figure


@styled
def genre_scores(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the F1 of each genre, with one bar per model.

    Args:
        tables: by model, a table with the columns genre, f1 and n_test. All tables have the same order of genres.
    """
    first, colour = next(iter(tables.values())), colours(tables)
    genre_height = max(0.42, MIN_BAR_HEIGHT * len(tables))
    figure, axes = single_axes(7, 1.2 + genre_height * len(first))
    height = 0.8 / len(tables)
    for number, (model, table) in enumerate(tables.items()):
        y = np.arange(len(table)) + (number - (len(tables) - 1) / 2) * height
        axes.barh(y, table["f1"], height, color=colour[model], label=model)
    _genre_axis(axes, first["genre"], first["n_test"])
    axes.set(xlim=(0, 1), xlabel="F1, mean over the runs")
    axes.set_title(wrapped(_best_by_genre(tables)))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _best_by_genre(tables: Mapping[str, pd.DataFrame]) -> str:
    """Write a title that counts the genres in which each model has the highest F1. Ties count for no model."""
    scores = pd.DataFrame({model: table["f1"].to_numpy() for model, table in tables.items()})
    if len(tables) == 1:
        return f"F1 of {len(scores)} genres"
    is_best = scores.eq(scores.max(axis=1), axis=0)
    counts = is_best[is_best.sum(axis=1) == 1].sum()
    best = ", ".join(f"{model} in {count}" for model, count in counts.items())
    return f"Highest F1 by genre: {best} of {len(scores)} genres"


@styled
def confusions(matrices: Mapping[str, np.ndarray], classes: Sequence[str]) -> Figure:
    """Draw the confusion matrix of each model, in percent of the tracks of each actual genre.

    Args:
        matrices: by model, (classes, classes) numbers of tracks with actual classes as rows.
    """
    names, colour = list(map(label, classes)), colours(matrices)
    columns = min(len(matrices), MAX_COLUMNS)
    rows = math.ceil(len(matrices) / columns)
    side = 1 + 0.36 * len(classes)  # inches
    margin = 0.08 * max(map(len, names))  # inches, for the longest name
    figure = Figure(figsize=(0.8 + margin + side * columns, 1 + margin + side * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)

    for axes, (model, matrix) in zip(panels.flat, matrices.items(), strict=False):
        _confusion(axes, matrix, colour[model])
        axes.set_xticks(range(len(classes)), names, rotation=90)
        axes.set(xlabel="predicted genre", title=f"{model}: {np.trace(matrix)} of {matrix.sum()} tracks correct")
    for axes in panels.flat[len(matrices) :]:
        axes.set_axis_off()

    tracks = next(iter(matrices.values())).sum(axis=1)
    for axes in panels[:, 0]:
        axes.set_yticks(range(len(classes)), [f"{name} ({n})" for name, n in zip(names, tracks, strict=True)])
        axes.set_ylabel("actual genre (test tracks)")
    figure.suptitle("Confusion matrices of the ensembles, % of the tracks of each actual genre")
    return figure


def _confusion(axes: Axes, matrix: np.ndarray, colour: str) -> None:
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap=shades(colour), vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            axes.text(column, row, f"{100 * share[row, column]:.0f}", ha="center", va="center", fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


@styled
def disagreements(correct: Mapping[str, np.ndarray], genres: pd.Series, order: Sequence[str]) -> Figure:
    """Draw the agreement of the models: on which share of each genre's tracks all, several, one or none are correct.

    Args:
        correct: by model, (tracks,) bool, whether the model is correct on each track. There are at least two models.
        genres: (tracks,) actual genre of each track.
        order: genres from top to bottom.
    """
    groups = _group_by_agreement(correct)
    figure, axes = single_axes(7, 1.2 + 0.36 * len(order))
    tracks = genres.value_counts().reindex(list(order), fill_value=0).to_numpy()
    left = np.zeros(len(order))
    for name, (members, shade) in groups.items():
        counts = genres[members].value_counts().reindex(list(order), fill_value=0).to_numpy()
        share = 100 * counts / np.maximum(tracks, 1)
        hatch = "////" if shade == DARK else None  # in grey print, a model's colour may look like DARK
        axes.barh(range(len(order)), share, left=left, color=shade, edgecolor="white", hatch=hatch, label=name)
        left += share
    _genre_axis(axes, order, tracks)
    sizes = ", ".join(f"{name} on {members.sum()}" for name, (members, _) in groups.items())
    axes.set(xlim=(0, 100), xlabel="percent of the genre's tracks", title=wrapped(f"{len(genres)} tracks: {sizes}"))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _group_by_agreement(correct: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, str]]:
    """Divide the tracks into groups by the models that are correct on them.

    Returns:
        by name of the group: (tracks,) bool, whether each track belongs to the group; and the colour of the group
    """
    colour = colours(correct)
    count = np.sum(list(correct.values()), axis=0)  # (tracks,) number of correct models
    groups = {"all models correct": (count == len(correct), LIGHT)}
    groups |= {f"only {model} correct": (hits & (count == 1), colour[model]) for model, hits in correct.items()}
    if len(correct) > 2:
        groups["several correct"] = ((count > 1) & (count < len(correct)), GREY)
    groups["none correct"] = (count == 0, DARK)
    return groups


@styled
def learning_curves(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the validation accuracy after each epoch: mean over the runs, with a band of ± 1 standard deviation."""
    figure, axes = single_axes(7, 3.6)
    colour, mark = colours(curves), marks(curves)
    finals = []
    for model, curve in curves.items():
        mean, deviation = curve["validation_accuracy"], curve["validation_accuracy_std"]
        axes.plot(curve["epoch"], mean, color=colour[model], label=model, marker=mark[model], markersize=5)
        axes.fill_between(curve["epoch"], mean - deviation, mean + deviation, color=colour[model], alpha=0.25, lw=0)
        finals.append(f"{model} {100 * mean.iloc[-1]:.1f} ± {100 * deviation.iloc[-1]:.1f} %")
    axes.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1))
    axes.set_title(wrapped(f"Final validation accuracy: {', '.join(finals)} (mean ± standard deviation over the runs)"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right")
    return figure


def _genre_axis(axes: Axes, genres: Iterable[str], counts: Iterable[int]) -> None:
    """Label the vertical axis with the genres, from top to bottom, and the number of test tracks of each."""
    names = [f"{label(genre)} ({count})" for genre, count in zip(genres, counts, strict=True)]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_ylabel("genre (test tracks)")

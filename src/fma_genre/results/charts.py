"""Charts that compare systems, each with its finding as the title."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fma_genre.results.comparison import Interval
from fma_genre.results.style import DARK, GREY, LIGHT, colours, label, marks, shades, single_axes, styled, wrapped

MOST_COLUMNS = 2  # confusion matrices side by side
BAR = 0.15  # inches, of a model's bar in a genre


@styled
def accuracies(accuracy: Mapping[str, Interval], runs: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Test accuracy of each system with its interval, and single runs as ticks.

    Args:
        accuracy: by system, from the top.
        runs: accuracies of single runs, by model.
    """
    figure, axes = single_axes(7, 1.2 + 0.55 * len(accuracy))
    colour, mark = colours(runs), marks(runs)
    for place, (name, (value, low, high)) in enumerate(accuracy.items()):
        shade, single = colour.get(name, GREY), runs.get(name, [])
        axes.plot([low, high], [place, place], color=shade, lw=2.5, solid_capstyle="butt")
        axes.plot(value, place, mark.get(name, "o"), color=shade, markersize=9)
        axes.annotate(f"{100 * value:.1f} %", (value, place), (0, 9), textcoords="offset points", ha="center")
        axes.plot(single, [place + 0.25] * len(single), "|", color=shade, markersize=7)
    axes.set_yticks(range(len(accuracy)), list(accuracy))
    axes.set_ylim(len(accuracy) - 0.4, -0.6)
    axes.set(xlim=(0, 1), xlabel="test accuracy of tracks (dot and line: ensemble and interval; ticks: single runs)")
    axes.set_title(wrapped(title))
    return figure


@styled
def genre_scores(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """F1 of each genre, a bar a model.

    Args:
        tables: by model, with columns genre, f1, n_test and the same order of genres.
    """
    first, colour = next(iter(tables.values())), colours(tables)
    figure, axes = single_axes(7, 1.2 + max(0.42, BAR * len(tables)) * len(first))
    height = 0.8 / len(tables)
    for place, (model, table) in enumerate(tables.items()):
        positions = np.arange(len(table)) + (place - (len(tables) - 1) / 2) * height
        axes.barh(positions, table["f1"], height, color=colour[model], label=model)
    _genre_axis(axes, first["genre"], first["n_test"])
    axes.set(xlim=(0, 1), xlabel="F1, mean over the runs")
    axes.set_title(wrapped(_leaders(tables)))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _leaders(tables: Mapping[str, pd.DataFrame]) -> str:
    """How many genres each model alone has the highest F1 of."""
    scores = pd.DataFrame({model: table["f1"].to_numpy() for model, table in tables.items()})
    if len(tables) == 1:
        return f"F1 of {len(scores)} genres"
    leading = scores.eq(scores.max(axis=1), axis=0)
    counts = leading[leading.sum(axis=1) == 1].sum()
    ahead = ", ".join(f"{model} in {count}" for model, count in counts.items())
    return f"Higher F1, of {len(scores)} genres: {ahead}"


@styled
def confusions(matrices: Mapping[str, np.ndarray], classes: Sequence[str]) -> Figure:
    """Tracks of each actual genre by predicted genre, in percent.

    Args:
        matrices: counts (classes, classes), by model.
    """
    names, colour = list(map(label, classes)), colours(matrices)
    columns = min(len(matrices), MOST_COLUMNS)
    rows = -(-len(matrices) // columns)
    side, room = 1 + 0.36 * len(classes), 0.08 * max(map(len, names))  # inches, for the grid and the longest name
    figure = Figure(figsize=(0.8 + room + side * columns, 1 + room + side * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)

    for axes, (model, matrix) in zip(panels.flat, matrices.items(), strict=False):
        _confusion(axes, matrix, colour[model])
        axes.set_xticks(range(len(classes)), names, rotation=90)
        axes.set(xlabel="predicted genre", title=f"{model}: {np.trace(matrix)} of {matrix.sum()} tracks right")
    for axes in panels.flat[len(matrices) :]:
        axes.set_axis_off()

    tracks = next(iter(matrices.values())).sum(axis=1)
    for axes in panels[:, 0]:
        axes.set_yticks(range(len(classes)), [f"{name} ({n})" for name, n in zip(names, tracks, strict=True)])
        axes.set_ylabel("actual genre (test tracks)")
    figure.suptitle("Confusion of the ensembles, % of each actual genre (largest first)")
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
def disagreements(right: Mapping[str, np.ndarray], genres: pd.Series, order: Sequence[str]) -> Figure:
    """Share of each genre's test tracks that all models have right, one of them alone, some, or none.

    Args:
        right: whether each of two or more models is (tracks,), by model.
        genres: of the tracks (tracks,).
        order: of the genres.
    """
    parts = _agreement(right)
    figure, axes = single_axes(7, 1.2 + 0.36 * len(order))
    tracks = genres.value_counts().reindex(list(order), fill_value=0).to_numpy()
    left = np.zeros(len(order))
    for part, (chosen, shade) in parts.items():
        counts = genres[chosen].value_counts().reindex(list(order), fill_value=0).to_numpy()
        share = 100 * counts / np.maximum(tracks, 1)
        hatch = "////" if shade == DARK else None  # a model's colour may look the same in grey print
        axes.barh(range(len(order)), share, left=left, color=shade, edgecolor="white", hatch=hatch, label=part)
        left += share
    _genre_axis(axes, order, tracks)
    found = ", ".join(f"{part} on {chosen.sum()}" for part, (chosen, _) in parts.items())
    axes.set(xlim=(0, 100), xlabel="percent of the genre's tracks", title=wrapped(f"Of {len(genres)} tracks, {found}"))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _agreement(right: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, str]]:
    """Disjoint groups of tracks (tracks,) bool by which models are right, and the colour of each."""
    colour = colours(right)
    votes = np.sum(list(right.values()), axis=0)
    parts = {"all models are right": (votes == len(right), LIGHT)}
    parts |= {f"only {model} is": (hits & (votes == 1), colour[model]) for model, hits in right.items()}
    if len(right) > 2:
        parts["some are"] = ((votes > 1) & (votes < len(right)), GREY)
    parts["none is"] = (votes == 0, DARK)
    return parts


@styled
def learning_curves(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Validation accuracy of tracks over epochs: mean over the runs, and one standard deviation about it."""
    figure, axes = single_axes(7, 3.6)
    colour, mark = colours(curves), marks(curves)
    ends = []
    for model, curve in curves.items():
        mean, deviation = curve["validation_accuracy"], curve["validation_accuracy_std"]
        axes.plot(curve["epoch"], mean, color=colour[model], label=model, marker=mark[model], markersize=5)
        axes.fill_between(curve["epoch"], mean - deviation, mean + deviation, color=colour[model], alpha=0.25, lw=0)
        ends.append(f"{model} ends at {100 * mean.iloc[-1]:.1f} ± {100 * deviation.iloc[-1]:.1f} %")
    axes.set(xlabel="epoch", ylabel="accuracy on validation tracks", ylim=(0, 1))
    axes.set_title(wrapped(f"{', '.join(ends)} (mean ± standard deviation over the runs)"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right")
    return figure


def _genre_axis(axes: Axes, genres: Iterable[str], counts: Iterable[int]) -> None:
    names = [f"{label(genre)} ({count})" for genre, count in zip(genres, counts, strict=True)]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_ylabel("genre (test tracks)")

"""Charts that compare systems. The title of a chart states its result."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fma_genre.results.bootstrap import Interval
from fma_genre.results.style import (
    DARK,
    GREY,
    LIGHT,
    MEDIUM,
    PALETTE,
    TITLE_WIDTH,
    colours,
    ink,
    label,
    marks,
    shades,
    single_axes,
    styled,
    wrapped,
)

TITLE_INCHES = 6  # figures that are narrower have shorter title lines
MAX_NAMED = 2  # with more models, the chart of agreement only counts them


@styled
def accuracies(
    accuracy: Mapping[str, Interval],
    runs: Mapping[str, Sequence[float]],
    models: Sequence[str],
    title: str,
    *,
    confidence: float,
) -> Figure:
    """Draw the test accuracy of each system with its interval. Ticks show single runs if a system has several.

    Args:
        accuracy: mean test accuracy over the runs, by system, from top to bottom.
        runs: accuracies of the single runs, by system.
        models: all models in the order of params.yaml, which determines their colours.
        title: title of the chart, which states the result in one line.
        confidence: coverage of the intervals.
    """
    figure, axes = _interval_chart(accuracy, models, "{:.1f} %", title)
    colour = colours(models)
    for y, name in enumerate(accuracy):
        if len(runs[name]) > 1:
            axes.plot(runs[name], [y + 0.25] * len(runs[name]), "|", color=colour.get(name, GREY), markersize=7)
    several = any(len(single) > 1 for single in runs.values())
    line = f"line: {100 * confidence:g} % interval"
    legend = f"marker: mean of the runs; ticks: single runs; {line}" if several else line
    axes.set(xlim=(0, 1), xlabel=f"test accuracy in %\n({legend})")
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    return figure


@styled
def differences(
    difference: Mapping[str, Interval], models: Sequence[str], reference: str, *, confidence: float
) -> Figure:
    """Draw the difference in accuracy between each system and the reference, with its interval.

    Args:
        difference: difference of the mean test accuracies, by system, from top to bottom.
        models: all models in the order of params.yaml, which determines their colours.
        reference: key of the reference.
        confidence: coverage of the intervals, which are not corrected for their number.
    """
    title = f"Differences in accuracy from {reference}"
    figure, axes = _interval_chart(difference, models, "{:+.1f}", title)
    axes.axvline(0, color=DARK, lw=1, zorder=0)
    ends = [0, *(end for interval in difference.values() for end in interval)]
    margin = 0.1 * (max(ends) - min(ends)) + 0.01
    axes.set(
        xlim=(min(ends) - margin, max(ends) + margin),
        xlabel=f"points (line: {100 * confidence:g} % interval, not corrected)",
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    return figure


def _interval_chart(
    values: Mapping[str, Interval], models: Sequence[str], number: str, title: str
) -> tuple[Figure, Axes]:
    """Draw a row for each system: a line for its interval, and a marker at its value."""
    margin = 0.08 * max(map(len, values))  # inches, for the longest name
    figure, axes = single_axes(6.2 + margin, 1.3 + 0.55 * len(values))
    colour, mark = colours(models), marks(models)
    for y, (name, (value, low, high)) in enumerate(values.items()):
        shade = colour.get(name, GREY)
        axes.plot([low, high], [y, y], color=shade, lw=2.5, solid_capstyle="butt")
        axes.plot(value, y, mark.get(name, "o"), color=shade, markersize=9)
        text = number.format(100 * value)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # hides the line at 0
        axes.annotate(text, (value, y), (0, 9), textcoords="offset points", ha="center", bbox=box)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_title(wrapped(title))
    return figure, axes


@styled
def genre_scores(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw a table of the F1 of each genre (rows) and system (columns); darker cells have a higher F1.

    Args:
        tables: by system, a table with the columns genre, f1 and n_test. All tables have the same order of genres. The
            F1 of a genre without test tracks is NaN.
    """
    first = next(iter(tables.values()))
    scores = np.array([table["f1"].to_numpy() for table in tables.values()]).T  # (genres, systems)
    figure, axes = single_axes(2.6 + 0.7 * len(tables), 1.6 + 0.3 * len(first))
    shade = shades(PALETTE[0])
    axes.imshow(scores, cmap=shade, vmin=0, vmax=1, aspect="auto")
    best = np.nan_to_num(scores).max(axis=1, keepdims=True)
    for (row, column), score in np.ndenumerate(scores):
        weight = "bold" if score == best[row, 0] and len(tables) > 1 else "normal"
        if not np.isnan(score):
            text, colour = f"{100 * score:.0f}", ink(shade, score)
            axes.text(column, row, text, ha="center", va="center", fontsize=9, fontweight=weight, color=colour)
    _genre_axis(axes, first["genre"], first["n_test"])
    axes.set_ylim(len(first) - 0.5, -0.5)
    axes.set_xticks(range(len(tables)), list(tables), rotation=90)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(f"F1 of each genre in %{' (bold: highest)' if len(tables) > 1 else ''}")
    return figure


@styled
def confusion(matrix: np.ndarray, classes: Sequence[str], colour: str, title: str) -> Figure:
    """Draw a confusion matrix, in percent of the tracks of each actual genre.

    Args:
        matrix: (classes, classes) number of tracks by actual class (rows) and predicted class (columns). The numbers
            may be means over the runs.
        colour: colour of the model.
    """
    names = list(map(label, classes))
    tracks = matrix.sum(axis=1)
    share = matrix / np.maximum(tracks[:, None], 1)
    side, margin = 1.2 + 0.36 * len(classes), 0.08 * max(map(len, names))  # inches
    width = 0.8 + margin + side
    figure, axes = single_axes(width, width)
    shade = shades(colour)
    axes.imshow(share, cmap=shade, vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(share):
        if value:
            text = f"{100 * value:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=ink(shade, value))
    axes.set_xticks(range(len(classes)), names, rotation=90)
    axes.set_yticks(range(len(classes)), [f"{name} ({n:.0f})" for name, n in zip(names, tracks, strict=True)])
    axes.set(xlabel="predicted genre", ylabel="actual genre (test tracks)")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.suptitle(wrapped(title, int(TITLE_WIDTH * min(width, TITLE_INCHES) / TITLE_INCHES)))
    return figure


@styled
def agreements(correct: Mapping[str, np.ndarray], genres: pd.Series, order: Sequence[str]) -> Figure:
    """Draw the agreement of the models: how many are correct, as shares of each genre's tracks.

    Args:
        correct: by model, (runs, tracks) bool, whether each run is correct on each track; at least two models.
        genres: (tracks,) actual genre of each track.
        order: genres from top to bottom.
    """
    groups = _group_by_agreement(correct)
    figure, axes = single_axes(7, 1.2 + 0.36 * len(order))
    tracks = genres.value_counts().reindex(list(order), fill_value=0).to_numpy()
    left = np.zeros(len(order))
    for name, (members, shade) in groups.items():
        share = 100 * np.array([members[genres == genre].sum() for genre in order]) / np.maximum(tracks, 1)
        hatch = "////" if shade == DARK else None  # in grey print, a model's colour may look like DARK
        axes.barh(range(len(order)), share, left=left, color=shade, edgecolor="white", hatch=hatch, label=name)
        left += share
    _genre_axis(axes, order, tracks)
    sizes = ", ".join(f"{name} on {100 * members.mean():.0f} %" for name, (members, _) in groups.items())
    title = wrapped(f"{len(genres)} tracks: {sizes}")
    axes.set(xlim=(0, 100), xlabel="percent of the genre's tracks", title=title)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _group_by_agreement(correct: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, str]]:
    """Group the tracks by which models are correct on them or, if there are more than two models, by how many.

    Run k of a model is compared with run k of the others. A model with fewer runs starts again from its first.

    Returns:
        by name of the group: (tracks,) share of the runs in which a track belongs to it; and the colour of the group
    """
    colour, models = colours(correct), list(correct)
    runs = max(map(len, correct.values()))
    hits = np.array([[correct[model][run % len(correct[model])] for run in range(runs)] for model in models])
    count = hits.sum(axis=0)  # (runs, tracks) number of correct models
    total = len(models)
    between: dict[str, tuple[np.ndarray, str]] = {}
    if total <= MAX_NAMED:
        for model, hit in zip(models, hits, strict=True):
            between[f"only {model} correct"] = hit & (count == 1), colour[model]
    else:
        between["half or more, not all"] = (2 * count >= total) & (count < total), MEDIUM
        between["fewer than half"] = (2 * count < total) & (count > 0), GREY
    groups = {"all correct": (count == total, LIGHT), **between, "none correct": (count == 0, DARK)}
    return {name: (members.mean(axis=0), shade) for name, (members, shade) in groups.items()}


@styled
def learning_curves(curves: Mapping[str, pd.DataFrame], runs: Mapping[str, int]) -> Figure:
    """Draw the mean validation accuracy after each epoch. The curve of several runs has a band of ± 1 deviation.

    Args:
        curves: tables with the columns `systems.CURVE_COLUMNS`, by model.
        runs: number of runs of each model.
    """
    figure, axes = single_axes(8.5, 4)
    colour, mark = colours(curves), marks(curves)
    for model, curve in curves.items():
        mean, deviation = curve["validation_accuracy"], curve["validation_accuracy_std"]
        final = f"{model}: {100 * mean.iloc[-1]:.1f}"
        if runs[model] > 1:
            final += f" ± {100 * deviation.iloc[-1]:.1f}"
            axes.fill_between(curve["epoch"], mean - deviation, mean + deviation, color=colour[model], alpha=0.2, lw=0)
        axes.plot(curve["epoch"], mean, color=colour[model], label=f"{final} %", marker=mark[model], markersize=5)
    axes.set(xlabel="epoch", ylabel="validation accuracy in %", ylim=(0, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    several = any(number > 1 for number in runs.values())
    axes.set_title(f"Validation accuracy{', mean ± standard deviation over the runs' if several else ''}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), title="after the last epoch")
    return figure


def _genre_axis(axes: Axes, genres: Iterable[str], counts: Iterable[int]) -> None:
    """Label the vertical axis with the genres, from top to bottom, and the number of test tracks of each."""
    names = [f"{label(genre)} ({count})" for genre, count in zip(genres, counts, strict=True)]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_ylabel("genre (test tracks)")

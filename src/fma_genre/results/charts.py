"""Charts that compare systems. The title of a chart states its result."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fma_genre.results.bootstrap import Interval
from fma_genre.results.style import (
    DARK,
    GREY,
    LIGHT,
    MEDIUM,
    PALETTE,
    WIDTH,
    colours,
    describe,
    ink,
    label,
    label_width,
    marks,
    percent,
    set_title,
    shades,
    single_axes,
    styled,
)

MAX_NAMED = 2  # with more models, the chart of agreement only counts them
MAX_CONFUSIONS = 3  # in the description of a confusion matrix


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
    values = [
        f"{name} {percent(mean)} ({percent(low)} to {percent(high)})" for name, (mean, low, high) in accuracy.items()
    ]
    describe(figure, f"{title}.", f"Test accuracy with its {100 * confidence:g} % interval: {', '.join(values)}.")
    colour = colours(models)
    for y, name in enumerate(accuracy):
        if len(runs[name]) > 1:
            axes.plot(runs[name], [y + 0.25] * len(runs[name]), "|", color=colour.get(name, GREY), markersize=7)
    several = any(len(single) > 1 for single in runs.values())
    line = f"line: {100 * confidence:g} % interval"
    legend = f"marker: mean of the runs; ticks: single runs;\n{line}" if several else line
    axes.set(xlim=(0, 1), xlabel=f"test accuracy in %\n({legend})")
    axes.xaxis.set_major_formatter(_percent)
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
    figure, axes = _interval_chart(difference, models, "{:+z.1f}", title)
    values = [
        f"{name} {100 * value:+z.1f} ({100 * low:+z.1f} to {100 * high:+z.1f})"
        for name, (value, low, high) in difference.items()
    ]
    describe(
        figure, f"{title} in points, with {100 * confidence:g} % intervals: {', '.join(values)}.".replace("-", "−")
    )
    axes.axvline(0, color=DARK, lw=1, zorder=0)
    ends = [0, *(end for interval in difference.values() for end in interval)]
    margin = 0.1 * (max(ends) - min(ends)) + 0.01
    axes.set(
        xlim=(min(ends) - margin, max(ends) + margin),
        xlabel=f"points (line: {100 * confidence:g} % interval, not corrected)",
    )
    axes.xaxis.set_major_formatter(_percent)
    return figure


def _interval_chart(
    values: Mapping[str, Interval], models: Sequence[str], number: str, title: str
) -> tuple[Figure, Axes]:
    """Draw a row for each system: a line for its interval, and a marker at its value."""
    figure, axes = single_axes(3.8 + label_width(values), 1.5 + 0.5 * len(values))
    colour, mark = colours(models), marks(models)
    for y, (name, (value, low, high)) in enumerate(values.items()):
        shade = colour.get(name, GREY)
        axes.plot([low, high], [y, y], color=shade, lw=2.5, solid_capstyle="butt")
        axes.plot(value, y, mark.get(name, "o"), color=shade, markersize=9)
        text = number.format(100 * value).replace("-", "−")
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # hides the line at 0
        axes.annotate(text, (value, y), (0, 9), textcoords="offset points", ha="center", bbox=box)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.4, -0.6)
    set_title(figure, title)
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
    names = _genre_labels(first["genre"], first["n_test"])
    figure, axes = single_axes(max(3.5, 0.6 + label_width(names) + 0.5 * len(tables)), 1.6 + 0.3 * len(first))
    shade = shades(PALETTE[0])
    axes.imshow(scores, cmap=shade, vmin=0, vmax=1, aspect="auto")
    shown = np.round(100 * scores)
    highest = np.nanmax(shown, axis=1, initial=1)  # no score that is shown as 0 is the highest
    for (row, column), score in np.ndenumerate(scores):
        weight = "bold" if shown[row, column] == highest[row] and len(tables) > 1 else "normal"
        if not np.isnan(score):
            text, colour = f"{shown[row, column]:.0f}", ink(shade, score)
            axes.text(column, row, text, ha="center", va="center", fontsize=9, fontweight=weight, color=colour)
    _genre_axis(axes, names)
    axes.set_ylim(len(first) - 0.5, -0.5)
    axes.set_xticks(range(len(tables)), list(tables), rotation=90)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    set_title(figure, f"F1 of each genre in %{' (bold: highest)' if len(tables) > 1 else ''}")
    columns = [f"{name}: {_ranked(first['genre'], column)}" for name, column in zip(tables, scores.T, strict=True)]
    describe(figure, "F1 of each genre, the highest first.", *(f"{column}." for column in columns))
    return figure


@styled
def confusion(matrix: np.ndarray, classes: Sequence[str], colour: str, title: str) -> Figure:
    """Draw a confusion matrix, in percent of the tracks of each actual genre. A share that rounds to 0 is blank.

    Args:
        matrix: (classes, classes) number of tracks by actual class (rows) and predicted class (columns). The numbers
            may be means over the runs.
        colour: colour of the model.
    """
    names = list(map(label, classes))
    tracks = matrix.sum(axis=1)
    share = matrix / np.maximum(tracks[:, None], 1)
    rows = _genre_labels(classes, tracks)
    side = max(2, 0.29 * len(classes))  # inches
    figure, axes = single_axes(0.4 + label_width(rows) + side, 1 + label_width(names) + side)
    shade = shades(colour)
    axes.imshow(share, cmap=shade, vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(share):
        text = f"{100 * value:.0f}"
        if text != "0":
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=ink(shade, value))
    axes.set_xticks(range(len(classes)), names, rotation=90)
    axes.set_yticks(range(len(classes)), rows)
    axes.set(xlabel="predicted genre", ylabel="actual genre (test tracks)")
    edges = np.arange(1, len(classes)) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color=LIGHT, lw=0.5)
    axes.spines[:].set(visible=True, color=LIGHT)
    axes.tick_params(which="both", length=0)
    set_title(figure, title)
    right = _ranked(classes, np.where(tracks > 0, share.diagonal(), np.nan))
    mistaken = [(share[pair], *(names[place] for place in pair)) for pair in zip(*np.nonzero(share), strict=True)]
    mistaken = sorted((row for row in mistaken if row[1] != row[2]), key=lambda row: -row[0])[:MAX_CONFUSIONS]
    confused = [f"{actual} as {predicted} {percent(part, 0)}" for part, actual, predicted in mistaken]
    frequent = f"Most frequent confusions: {', '.join(confused)}." if confused else "No confusions."
    describe(figure, f"Confusion matrix of {title}.", f"Right: {right}.", frequent)
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
    figure, axes = single_axes(WIDTH, 1.2 + 0.3 * len(order) + 0.2 * len(groups))
    tracks = genres.value_counts().reindex(list(order), fill_value=0).to_numpy()
    left = np.zeros(len(order))
    for name, (members, shade) in groups.items():
        share = 100 * np.array([members[genres == genre].sum() for genre in order]) / np.maximum(tracks, 1)
        hatch = "////" if shade == DARK else None  # in grey print, a model's colour may look like DARK
        axes.barh(range(len(order)), share, left=left, color=shade, edgecolor="white", hatch=hatch, label=name)
        left += share
    _genre_axis(axes, _genre_labels(order, tracks))
    sizes = ", ".join(f"{name} on {100 * members.mean():.0f} %" for name, (members, _) in groups.items())
    title = f"{len(genres)} tracks: {sizes}"
    set_title(figure, title)
    solved, lost = (
        _ranked(order, [members[genres == genre].mean() if any(genres == genre) else np.nan for genre in order])
        for members in (groups["all correct"][0], groups["none correct"][0])
    )
    describe(figure, f"Agreement of the models on {title}.", f"All correct: {solved}.", f"None correct: {lost}.")
    axes.set(xlim=(0, 100), xlabel="percent of the genre's tracks")
    figure.legend(loc="outside lower left")
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
    figure, axes = single_axes(WIDTH, 3.6 + 0.2 * len(curves))
    colour, mark = colours(curves), marks(curves)
    for model, curve in curves.items():
        mean, deviation = curve["validation_accuracy"], curve["validation_accuracy_std"]
        final = f"{model}: {100 * mean.iloc[-1]:.1f}"
        if runs[model] > 1:
            final += f" ± {100 * deviation.iloc[-1]:.1f}"
            axes.fill_between(curve["epoch"], mean - deviation, mean + deviation, color=colour[model], alpha=0.2, lw=0)
        axes.plot(curve["epoch"], mean, color=colour[model], label=f"{final} %", marker=mark[model], markersize=5)
    axes.set(xlabel="epoch", ylabel="validation accuracy in %")
    axes.yaxis.set_major_formatter(_percent)
    ends = [
        f"{model} {percent(curve['validation_accuracy'].iloc[0])} and {percent(curve['validation_accuracy'].iloc[-1])}"
        for model, curve in curves.items()
    ]
    describe(figure, f"Validation accuracy after the first and the last epoch: {', '.join(ends)}.")
    several = any(number > 1 for number in runs.values())
    set_title(figure, f"Validation accuracy{', mean ± standard deviation over the runs' if several else ''}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower left", title="after the last epoch", alignment="left")
    return figure


def _percent(share: float, _position: float) -> str:
    """Label of a tick in percent."""
    return f"{100 * share:.4g}".replace("-", "−")


def _genre_labels(genres: Iterable[str], counts: Iterable[float]) -> list[str]:
    """Names of the genres, each with its number of test tracks."""
    return [f"{label(genre)} ({count:.0f})" for genre, count in zip(genres, counts, strict=True)]


def _ranked(genres: Iterable[str], shares: Iterable[float]) -> str:
    """The genres with their shares in percent, the highest first; genres whose share is NaN are left out."""
    known = [(label(genre), share) for genre, share in zip(genres, shares, strict=True) if not np.isnan(share)]
    ranked = sorted(known, key=lambda pair: -pair[1])
    return ", ".join(f"{genre} {percent(share, 0)}" for genre, share in ranked)


def _genre_axis(axes: Axes, names: Sequence[str]) -> None:
    """Label the vertical axis with the genres, from top to bottom."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_ylabel("genre (test tracks)")

"""Figures, each with its finding as the title.

A model has the same colour and mark everywhere. The colours can be told apart by the colour-blind, the first two of
them in grey print as well. The ground is white, on a dark page too. The same numbers give the same bytes: no dates, no
random ids.
"""

import itertools
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fma_genre import printable
from fma_genre.files import whole

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")  # Okabe and Ito's
MARKS = "osD^vP"
GREY, LIGHT, DARK = "#767676", "#D9D9D9", "#4D4D4D"
HERTZ = (250, 500, 1000, 2000, 4000, 8000, 16000)  # ticks of frequency axes
LONGEST, LINE = 32, 64  # characters of a genre's name, of a line of a title
TOP = 3  # genres whose votes are shown
FRAMES, BINS, STEPS = 256, 64, 15  # at most, of a spectrogram that is shown
STYLE: Any = {
    "svg.hashsalt": "fma-genre",
    "font.size": 10,
    "figure.titlesize": 11,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
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


def label(genre: str) -> str:
    """A genre's name as there is room for it, whatever somebody's data hold."""
    name = printable(genre)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


@styled
def save(figure: Figure, path: Path) -> None:
    """Writes an SVG whose bytes depend on nothing but the figure."""
    with whole(path) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in letters that the font lacks shows as boxes
        figure.savefig(part, format="svg", metadata={"Date": None, "Creator": None})


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of `width` × `height` inches with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


@styled
def confusions(matrices: Mapping[str, np.ndarray], classes: Sequence[str], colour: Mapping[str, str]) -> Figure:
    """Each model's tracks, actual by predicted, in percent of the actual genre.

    Args:
        matrices: counts (classes, classes), by model.
    """
    names = list(map(label, classes))
    side, room = 1 + 0.36 * len(classes), 0.08 * max(map(len, names))  # inches, for the grid and the longest name
    figure = Figure(figsize=(0.8 + room + side * len(matrices), 1 + room + side), layout="constrained")
    panels = figure.subplots(1, len(matrices), sharey=True, squeeze=False)[0]
    for axes, (model, matrix) in zip(panels, matrices.items(), strict=True):
        share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap=_shades(colour[model]), vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                axes.text(column, row, f"{100 * share[row, column]:.0f}", ha="center", va="center", fontsize=9)
        axes.set_xticks(range(len(classes)), names, rotation=90)
        axes.set(xlabel="predicted genre", title=f"{model}: {np.trace(matrix)} of {matrix.sum()} tracks right")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    tracks = next(iter(matrices.values())).sum(axis=1)
    panels[0].set_yticks(range(len(classes)), [f"{name} ({n})" for name, n in zip(names, tracks, strict=True)])
    panels[0].set_ylabel("actual genre (test tracks)")
    figure.suptitle("Percent of each genre's tracks that the ensembles name so, the largest genre first")
    return figure


def _shades(colour: str) -> LinearSegmentedColormap:
    """From white to a shade of the colour that black text can be read on."""
    return LinearSegmentedColormap.from_list("", ["white", colour])


@styled
def genres(tables: Mapping[str, pd.DataFrame], colour: Mapping[str, str]) -> Figure:
    """F1 of each genre, a bar a model. Tables have columns genre, f1, n_test and the same order of genres."""
    first = next(iter(tables.values()))
    figure, axes = _axes(7, 1.2 + 0.42 * len(first))
    height = 0.8 / len(tables)
    for place, (model, table) in enumerate(tables.items()):
        positions = np.arange(len(table)) + (place - (len(tables) - 1) / 2) * height
        axes.barh(positions, table["f1"], height, color=colour[model], label=model)
    _genre_axis(axes, first["genre"], first["n_test"])
    axes.set(xlim=(0, 1), xlabel="F1, mean over the runs", title=_best(tables))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _genre_axis(axes: Axes, genres: Iterable[str], counts: Iterable[int]) -> None:
    names = [f"{label(genre)} ({count})" for genre, count in zip(genres, counts, strict=True)]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_ylabel("genre (test tracks)")


def _best(tables: Mapping[str, pd.DataFrame]) -> str:
    scores = pd.DataFrame({model: table["f1"].to_numpy() for model, table in tables.items()})
    leading = scores.eq(scores.max(axis=1), axis=0)
    counts = leading[leading.sum(axis=1) == 1].sum()
    ahead = ", ".join(f"{model} in {count}" for model, count in counts.items())
    return f"Higher F1, of {len(scores)} genres: {ahead}"


@styled
def disagreements(
    right: Mapping[str, np.ndarray], genres: pd.Series, order: Sequence[str], colour: Mapping[str, str]
) -> Figure:
    """Of each genre's test tracks, how many all models have right, one of them alone, or none.

    Args:
        right: by model, whether it is (tracks,).
        genres: the tracks' (tracks,).
        order: of the genres.
    """
    table = pd.DataFrame(right)
    votes = table.sum(axis=1)
    parts = {"all models are right": (votes == len(right), LIGHT)}
    parts |= {f"only {model} is": (table[model] & (votes == 1), colour[model]) for model in right}
    if len(right) > 2:
        parts["some are"] = ((votes > 1) & (votes < len(right)), GREY)
    parts["none is"] = (votes == 0, DARK)
    figure, axes = _axes(7, 1.2 + 0.36 * len(order))
    tracks = genres.value_counts().reindex(list(order), fill_value=0).to_numpy()
    left = np.zeros(len(order))
    for part, (these, shade) in parts.items():
        counts = genres[these].value_counts().reindex(list(order), fill_value=0).to_numpy()
        share = 100 * counts / np.maximum(tracks, 1)
        hatch = "////" if shade == DARK else None  # in grey print, it might be a model's
        axes.barh(range(len(order)), share, left=left, color=shade, edgecolor="white", hatch=hatch, label=part)
        left += share
    _genre_axis(axes, order, tracks)
    found = ", ".join(f"{part} on {these.sum()}" for part, (these, _) in parts.items())
    axes.set(
        xlim=(0, 100),
        xlabel="percent of the genre's tracks",
        title=textwrap.fill(f"Of {len(table)} tracks, {found}", LINE),
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


@dataclass(frozen=True)
class Votes:
    """A clip as a model hears it."""

    title: str
    levels: np.ndarray  # (frames, bins): its spectrogram
    starts: np.ndarray  # (segments,) of its segments, s
    probabilities: np.ndarray  # (segments, classes)
    seconds: float  # its length


@styled
def votes(clips: Sequence[Votes], classes: Sequence[str], frequencies: np.ndarray, colour: str, title: str) -> Figure:
    """Spectrograms, and under each how likely its segments find the three genres that lead, over time.

    Args:
        frequencies: of the bins (bins,) in Hz, rising.
    """
    figure = Figure(figsize=(7, 0.6 + 2.6 * len(clips)), layout="constrained")
    rows = figure.subplots(2 * len(clips), 1, height_ratios=[2.5, 1] * len(clips), squeeze=False)[:, 0]
    bins = len(frequencies)
    ticks, places = _ticks(frequencies)
    for clip, above, below in zip(clips, rows[::2], rows[1::2], strict=True):
        image = pooled(clip.levels).T
        extent = (0, clip.seconds, 0, bins)
        above.imshow(
            image, "magma", aspect="auto", origin="lower", vmin=0, vmax=STEPS, extent=extent, interpolation="none"
        )
        above.set_yticks(places, [f"{hertz / 1000:g}" for hertz in ticks])
        above.set(title=textwrap.fill(clip.title, LINE), ylabel="kHz", xticks=[])
        leaders = np.argsort(-clip.probabilities.mean(axis=0), kind="stable")[:TOP]
        edges = [0, *clip.starts[1:], clip.seconds]
        shares = clip.probabilities[:, leaders].T
        below.pcolormesh(edges, np.arange(len(leaders) + 1), shares, cmap=_shades(colour), vmin=0, vmax=1)
        below.set_yticks(np.arange(len(leaders)) + 0.5, [label(classes[leader]) for leader in leaders])
        below.set(xlim=(0, clip.seconds), ylim=(len(leaders), 0))
    rows[-1].set_xlabel("seconds")
    figure.suptitle(textwrap.fill(title, LINE))
    return figure


def _ticks(frequencies: np.ndarray) -> tuple[list[int], list[float]]:
    """Frequencies to name on an axis of bins, a tenth of it apart at least, and where they are."""
    bins = len(frequencies)
    ticks: list[int] = []
    places: list[float] = []
    for hertz in HERTZ[::-1]:
        place = float(np.interp(hertz, frequencies, np.arange(bins) + 0.5))
        if frequencies[0] <= hertz <= frequencies[-1] and (not places or places[-1] - place >= bins / 10):
            ticks.append(hertz)
            places.append(place)
    return ticks, places


def pooled(levels: np.ndarray, frames: int = FRAMES) -> np.ndarray:
    """(frames, bins) averaged over neighbours, in 16 steps: a picture of it need not weigh more than it shows."""
    for axis, count in enumerate((frames, BINS)):
        length = levels.shape[axis]
        edges = np.unique(np.arange(min(count, length)) * length // min(count, length))
        sizes = np.diff([*edges, length])
        levels = np.add.reduceat(levels.astype(float), edges, axis=axis) / np.expand_dims(sizes, 1 - axis)
    return np.round(levels / np.max(levels, initial=1) * STEPS)


@styled
def learning_curves(curves: Mapping[str, pd.DataFrame], colour: Mapping[str, str]) -> Figure:
    """Validation accuracy of tracks over epochs: mean over the runs, and one standard deviation about it."""
    figure, axes = _axes(7, 3.6)
    ends = []
    for (model, curve), mark in zip(curves.items(), itertools.cycle(MARKS), strict=False):
        mean, deviation = curve["validation_accuracy"], curve["validation_accuracy_std"]
        axes.plot(curve["epoch"], mean, color=colour[model], label=model, marker=mark, markersize=5)
        axes.fill_between(curve["epoch"], mean - deviation, mean + deviation, color=colour[model], alpha=0.25, lw=0)
        ends.append(f"{model} ends at {100 * mean.iloc[-1]:.1f} ± {100 * deviation.iloc[-1]:.1f} %")
    axes.set(xlabel="epoch", ylabel="accuracy on validation tracks", ylim=(0, 1))
    axes.set_title(textwrap.fill(f"{', '.join(ends)} (mean ± standard deviation over the runs)", LINE))
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
    marks = dict(zip(colour, itertools.cycle(MARKS), strict=False))
    for place, (name, (value, low, high)) in enumerate(ensembles.items()):
        shade, single = colour.get(name, GREY), runs.get(name, [])
        axes.plot([low, high], [place, place], color=shade, lw=2.5, solid_capstyle="butt")
        axes.plot(value, place, marks.get(name, "o"), color=shade, markersize=9)
        axes.annotate(f"{100 * value:.1f} %", (value, place), (0, 9), textcoords="offset points", ha="center")
        axes.plot(single, [place + 0.25] * len(single), "|", color=shade, markersize=7)
    axes.set_yticks(range(len(ensembles)), list(ensembles))
    axes.set_ylim(len(ensembles) - 0.4, -0.6)
    axes.set(xlim=(0, 1), xlabel="test accuracy of tracks (dot and line: ensemble and interval; ticks: single runs)")
    axes.set_title(textwrap.fill(title, LINE))
    return figure

"""Charts of the data set: its tracks and artists, and the recording conditions of each genre.

A model may cheat by a condition in which genres differ. `fma_genre.store` explains the columns of the index.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fma_genre import store
from fma_genre.results.comparison import by_size
from fma_genre.results.style import (
    DARK,
    LIGHT,
    PALETTE,
    WIDTH,
    describe,
    ink,
    label,
    label_width,
    set_title,
    shades,
    single_axes,
    styled,
)

ALL = "all genres"
SPLITS = {"training": PALETTE[0], "validation": PALETTE[1], "test": PALETTE[5]}  # with their colours
MAX_RATES = 4  # sample rates with a column of their own
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Measure:
    """A recording condition whose values are drawn on an axis."""

    name: str
    unit: str
    span: float  # smallest range of the axis, so that rounding errors do not look like differences
    values: Callable[[pd.DataFrame], pd.Series]  # (tracks,) in the unit; NaN if unknown


MEASURES = (
    Measure("Bandwidth", "kHz", 2, lambda tracks: tracks["bandwidth"] / 1000),
    Measure("Loudness", "dB", 6, lambda tracks: tracks["loudness"]),
    Measure("Bit rate", "kbit/s", 20, lambda tracks: tracks["bit_rate"].where(tracks["bit_rate"] > 0)),
    Measure("Length", "s", 2, lambda tracks: tracks["length"]),
)


def data_figures(index: pd.DataFrame) -> dict[str, Figure]:
    """All charts by heading, in the order of the page.

    Args:
        index: index of all tracks (see `fma_genre.store`).
    """
    used = store.used(index)
    return {
        "Tracks and artists": sizes(used),
        "Sample rates and channels": formats(used),
        "Bandwidth, loudness, bit rate and length": ranges(used),
    }


@styled
def sizes(tracks: pd.DataFrame) -> Figure:
    """Draw the number of tracks and of artists of each genre, split by split.

    Args:
        tracks: rows of the index for the used tracks.
    """
    genres = by_size(tracks)
    tables = {
        name: tracks.pivot_table(column, "genre", "split", aggfunc="nunique", fill_value=0).loc[genres]
        for name, column in (("tracks", "track_id"), ("artists", "artist_id"))
    }
    figure = Figure(figsize=(WIDTH, 1.4 + 0.25 * len(genres)), layout="constrained")
    for axes, (name, table) in zip(figure.subplots(1, 2, sharey=True), tables.items(), strict=True):
        _stacked(axes, table)
        axes.set_xlabel(name)
    _genre_rows(figure.axes[0], genres)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=len(SPLITS))
    title = f"{len(tracks):,} tracks by {tracks['artist_id'].nunique():,} artists in {len(genres)} genres"
    set_title(figure, title)
    rows = [f"{label(genre)}: {_in_words(tables, genre)}." for genre in genres]
    describe(figure, f"{title}.", *rows)
    return figure


def _stacked(axes: Axes, table: pd.DataFrame) -> None:
    """Draw a bar of the splits for each row of a table, with the total at its end."""
    left = np.zeros(len(table))
    for split, colour in SPLITS.items():
        count = table.get(split, pd.Series(0, table.index)).to_numpy()
        axes.barh(range(len(table)), count, left=left, color=colour, edgecolor="white", lw=0.5, label=split)
        left += count
    for row, total in enumerate(left):
        axes.annotate(f"{total:,.0f}", (total, row), (3, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_xlim(0, 1.3 * max(left))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)


def _in_words(tables: Mapping[str, pd.DataFrame], genre: str) -> str:
    counts = [f"{tables['tracks'].loc[genre].get(split, 0):,} {split}" for split in SPLITS]
    artists = tables["artists"].loc[genre].to_numpy().sum()
    return f"{', '.join(counts)} tracks, {artists:,} {'artist' if artists == 1 else 'artists'}"


@styled
def formats(tracks: pd.DataFrame) -> Figure:
    """Draw a table of the shares of a genre's tracks that have a sample rate, or equal channels; darker is more.

    Args:
        tracks: rows of the index for the used tracks.
    """
    rates = tracks["rate"].value_counts()
    columns = {_kilohertz(rate): tracks["rate"] == rate for rate in sorted(rates.index[:MAX_RATES])}
    if len(rates) > MAX_RATES:
        columns["other rates"] = ~tracks["rate"].isin(rates.index[:MAX_RATES])
    columns["mono"] = tracks["channels"] == 1
    members = pd.DataFrame(columns)
    genres = by_size(tracks)
    shares = pd.concat([members.groupby(tracks["genre"]).mean().loc[genres], members.mean().to_frame(ALL).T])

    names = [*map(label, genres), ALL]
    figure, axes = single_axes(max(3.5, 0.6 + label_width(names) + 0.55 * len(columns)), 1.7 + 0.25 * len(names))
    shade = shades(PALETTE[0])
    axes.imshow(shares, cmap=shade, vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares.to_numpy()):
        if text := _rounded(share):
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=ink(shade, share))
    _genre_rows(axes, [*genres, ALL])
    axes.axhline(len(genres) - 0.5, color=DARK, lw=1)
    axes.set_xticks(range(len(columns)), list(columns), rotation=90)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    title = "Sample rates, and clips in mono, in % of the genre's tracks"
    set_title(figure, title)
    describe(figure, f"{title}.", *(f"{label(str(name))}: {_shares(row)}." for name, row in shares.iterrows()))
    return figure


def _kilohertz(rate: int) -> str:
    return f"{rate / 1000:g} kHz"


def _rounded(share: float) -> str:
    """A share in percent; empty if it is 0."""
    text = f"{100 * share:.0f}"
    return text if text != "0" else "<1" if share else ""


def _shares(row: pd.Series) -> str:
    return ", ".join(f"{name} {_rounded(share)} %" for name, share in row.items() if share)


@styled
def ranges(tracks: pd.DataFrame) -> Figure:
    """Draw the median of each measure by genre, the middle half of the tracks, and the middle nine tenths.

    Args:
        tracks: rows of the index for the used tracks.
    """
    genres = by_size(tracks)
    figure = Figure(figsize=(WIDTH, 1.5 + 0.4 * (len(genres) + 1)), layout="constrained")
    panels = figure.subplots(2, 2, sharey=True).ravel()
    texts = []
    for axes, measure in zip(panels, MEASURES, strict=True):
        values = measure.values(tracks)
        by_genre = values.groupby(tracks["genre"])
        quantiles = pd.DataFrame({share: by_genre.quantile(share) for share in QUANTILES}).loc[genres]
        quantiles.loc[ALL] = values.quantile(list(QUANTILES))
        _quantile_lines(axes, quantiles)
        _widen(axes, measure.span)
        axes.set_title(f"{measure.name} in {measure.unit}", fontsize=10)
        texts.append(_medians(measure, quantiles))
    for axes in panels[::2]:
        _genre_rows(axes, [*genres, ALL])
    title = "Dot: median; thick line: half of the tracks; thin line: 90 % of the tracks"
    set_title(figure, title)
    describe(figure, *texts)
    return figure


def _quantile_lines(axes: Axes, quantiles: pd.DataFrame) -> None:
    rows = quantiles.to_numpy()
    for y, (lowest, low, median, high, highest) in enumerate(rows):
        colour = DARK if y == len(rows) - 1 else PALETTE[0]
        axes.plot([lowest, highest], [y, y], color=colour, lw=1, solid_capstyle="butt")
        axes.plot([low, high], [y, y], color=colour, lw=4, solid_capstyle="butt")
        axes.plot(median, y, "o", color="white", markeredgecolor=colour, markersize=5)
    axes.grid(axis="x", color=LIGHT, lw=0.5)
    axes.set_axisbelow(True)
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(axis="y", length=0)


def _widen(axes: Axes, span: float) -> None:
    """Widen the horizontal axis to at least `span`."""
    low, high = axes.get_xlim()
    missing = max(0, span - (high - low)) / 2
    axes.set_xlim(low - missing, high + missing)


def _medians(measure: Measure, quantiles: pd.DataFrame) -> str:
    """The range of all tracks and the medians of all genres in words."""
    known = quantiles.dropna()
    if ALL not in known.index:
        return f"{measure.name}: unknown."
    lowest, *_, highest = known.to_numpy()[-1]
    medians = sorted(zip(known[0.5].drop(ALL), map(label, known.index.drop(ALL)), strict=True))
    ranked = ", ".join(f"{genre} {_number(median)}" for median, genre in medians)
    span = f"{_number(lowest)} to {_number(highest)} {measure.unit} for 90 % of the tracks"
    return f"{measure.name}: {span}; medians from the lowest: {ranked}."


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0").replace("-", "−")


def _genre_rows(axes: Axes, names: Iterable[str]) -> None:
    """Label the vertical axis with the genres, from top to bottom."""
    shown = list(map(label, names))
    axes.set_yticks(range(len(shown)), shown)
    axes.set_ylim(len(shown) - 0.4, -0.6)

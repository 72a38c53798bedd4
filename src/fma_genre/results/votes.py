"""Figure of spectrograms, each above the votes of a model. A vote is the probability of a genre in one segment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fma_genre.results.predictions import PICTURE_MAX
from fma_genre.results.style import WIDTH, describe, label, label_width, set_title, shades, styled, wrapped

SHOWN_GENRES = 3  # genres with the highest mean probability in a clip
TICKS = (250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz


@dataclass(frozen=True)
class Clip:
    """Spectrogram of a clip, and a model's votes for its segments."""

    title: str
    picture: np.ndarray  # (frames, bins): spectrogram reduced by `fma_genre.results.predictions.thumbnail`
    starts: np.ndarray  # (segments,): start of each segment in s
    probabilities: np.ndarray  # (segments, classes)
    seconds: float  # length of the clip


@styled
def votes(clips: Sequence[Clip], classes: Sequence[str], frequencies: np.ndarray, colour: str, title: str) -> Figure:
    """Draw the spectrogram of each clip, and below it the probabilities of its three likeliest genres over time.

    Args:
        frequencies: (bins,) centres in Hz of the bins before the spectrograms were reduced, ascending.
        colour: colour of the model; white means probability 0, this colour probability 1.
    """
    figure = Figure(figsize=(WIDTH, 0.6 + 2.6 * len(clips)), layout="constrained")
    title_width = WIDTH - label_width(map(label, classes))
    rows = figure.subplots(2 * len(clips), 1, height_ratios=[2.5, 1] * len(clips), squeeze=False)[:, 0]
    for clip, above, below in zip(clips, rows[::2], rows[1::2], strict=True):
        _spectrogram(above, clip, frequencies)
        above.set_title(wrapped(clip.title, title_width))
        _segment_votes(below, clip, classes, colour)
    rows[-1].set_xlabel("seconds")
    set_title(figure, title)
    describe(figure, f"{title}.", *(f"{clip.title}." for clip in clips))
    return figure


def _spectrogram(axes: Axes, clip: Clip, frequencies: np.ndarray) -> None:
    extent = (0, clip.seconds, 0, len(frequencies))
    image = clip.picture.T
    axes.imshow(
        image, "magma", aspect="auto", origin="lower", vmin=0, vmax=PICTURE_MAX, extent=extent, interpolation="none"
    )
    ticks, positions = _ticks(frequencies)
    axes.set_yticks(positions, [f"{hertz / 1000:g}" for hertz in ticks])
    axes.set(ylabel="kHz" if frequencies.any() else "bins", xticks=[])


def _segment_votes(axes: Axes, clip: Clip, classes: Sequence[str], colour: str) -> None:
    shown = np.argsort(-clip.probabilities.mean(axis=0), kind="stable")[:SHOWN_GENRES]
    edges = [0, *clip.starts[1:], clip.seconds]
    probabilities = clip.probabilities[:, shown].T
    axes.pcolormesh(edges, np.arange(len(shown) + 1), probabilities, cmap=shades(colour), vmin=0, vmax=1)
    axes.set_yticks(np.arange(len(shown)) + 0.5, [label(classes[genre]) for genre in shown])
    axes.set(xlim=(0, clip.seconds), ylim=(len(shown), 0))


def _ticks(frequencies: np.ndarray) -> tuple[list[int], list[float]]:
    """Choose round frequencies for the ticks of an axis of bins. Neighbours are at least a tenth of the axis apart.

    Returns:
        frequencies in Hz, and their positions on the axis
    """
    bins = len(frequencies)
    ticks: list[int] = []
    positions: list[float] = []
    for hertz in TICKS[::-1]:
        position = float(np.interp(hertz, frequencies, np.arange(bins) + 0.5))
        if frequencies[0] <= hertz <= frequencies[-1] and (not positions or positions[-1] - position >= bins / 10):
            ticks.append(hertz)
            positions.append(position)
    return ticks, positions

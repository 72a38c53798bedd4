"""How a model decides: spectrograms of clips, and under each the votes of its segments."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fma_genre.results.predictions import PICTURE_STEPS
from fma_genre.results.style import label, shades, styled, wrapped

LEADERS = 3  # genres whose votes are shown
TICKS = (250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz


@dataclass(frozen=True)
class Clip:
    """A clip, and a model's votes on its segments."""

    title: str
    picture: np.ndarray  # (frames, bins): a thumbnail of its spectrogram (see fma_genre.results.predictions)
    starts: np.ndarray  # (segments,) of its segments, s
    probabilities: np.ndarray  # (segments, classes)
    seconds: float  # its length


@styled
def votes(clips: Sequence[Clip], classes: Sequence[str], frequencies: np.ndarray, colour: str, title: str) -> Figure:
    """Spectrograms, and under each how likely its segments find the three leading genres, over time.

    Args:
        frequencies: of the spectrograms' original bins (bins,) in Hz, rising.
        colour: of the model.
    """
    figure = Figure(figsize=(7, 0.6 + 2.6 * len(clips)), layout="constrained")
    rows = figure.subplots(2 * len(clips), 1, height_ratios=[2.5, 1] * len(clips), squeeze=False)[:, 0]
    for clip, above, below in zip(clips, rows[::2], rows[1::2], strict=True):
        _spectrogram(above, clip, frequencies)
        _segment_votes(below, clip, classes, colour)
    rows[-1].set_xlabel("seconds")
    figure.suptitle(wrapped(title))
    return figure


def _spectrogram(axes: Axes, clip: Clip, frequencies: np.ndarray) -> None:
    extent = (0, clip.seconds, 0, len(frequencies))
    image = clip.picture.T
    axes.imshow(
        image, "magma", aspect="auto", origin="lower", vmin=0, vmax=PICTURE_STEPS, extent=extent, interpolation="none"
    )
    ticks, places = _ticks(frequencies)
    axes.set_yticks(places, [f"{hertz / 1000:g}" for hertz in ticks])
    axes.set(title=wrapped(clip.title), ylabel="kHz", xticks=[])


def _segment_votes(axes: Axes, clip: Clip, classes: Sequence[str], colour: str) -> None:
    leaders = np.argsort(-clip.probabilities.mean(axis=0), kind="stable")[:LEADERS]
    edges = [0, *clip.starts[1:], clip.seconds]
    shares = clip.probabilities[:, leaders].T
    axes.pcolormesh(edges, np.arange(len(leaders) + 1), shares, cmap=shades(colour), vmin=0, vmax=1)
    axes.set_yticks(np.arange(len(leaders)) + 0.5, [label(classes[leader]) for leader in leaders])
    axes.set(xlim=(0, clip.seconds), ylim=(len(leaders), 0))


def _ticks(frequencies: np.ndarray) -> tuple[list[int], list[float]]:
    """Frequencies to name on an axis of bins, at least a tenth of it apart, and their places."""
    bins = len(frequencies)
    ticks: list[int] = []
    places: list[float] = []
    for hertz in TICKS[::-1]:
        place = float(np.interp(hertz, frequencies, np.arange(bins) + 0.5))
        if frequencies[0] <= hertz <= frequencies[-1] and (not places or places[-1] - place >= bins / 10):
            ticks.append(hertz)
            places.append(place)
    return ticks, places

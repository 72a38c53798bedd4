"""Style of all figures: colours and marks of models, fonts, and SVG files whose bytes depend on the figure alone.

A model has the same colour and mark everywhere. The colour-blind can tell the colours apart, and the first two differ
in grey print as well. The ground is white, on a dark page too.
"""

import io
import itertools
import textwrap
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from fma_genre.common.errors import printable
from fma_genre.common.files import export

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")  # Okabe and Ito's
MARKS = "osD^vP"
GREY, LIGHT, DARK = "#767676", "#D9D9D9", "#4D4D4D"
LONGEST_NAME, TITLE_WIDTH = 32, 64  # characters of a genre's name, and of a line of a title
STYLE: Any = {
    "svg.hashsalt": "fma-genre",  # instead of random ids
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
styled = matplotlib.rc_context(STYLE)  # decorator of functions that draw


def colours(models: Iterable[str]) -> dict[str, str]:
    """Colour of each model, by its place in params.yaml."""
    return dict(zip(models, itertools.cycle(PALETTE), strict=False))


def marks(models: Iterable[str]) -> dict[str, str]:
    """Mark of each model, by its place in params.yaml."""
    return dict(zip(models, itertools.cycle(MARKS), strict=False))


def shades(colour: str) -> LinearSegmentedColormap:
    """From white to a shade of the colour that black text can be read on."""
    return LinearSegmentedColormap.from_list("", ["white", colour])


def label(genre: str) -> str:
    """A genre's name, shortened to the room there is, and without characters that cannot be printed."""
    name = printable(genre)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def wrapped(title: str) -> str:
    return textwrap.fill(title, TITLE_WIDTH)


def single_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of `width` × `height` inches with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


@styled
def save(figure: Figure, path: Path) -> None:
    """Write an SVG whose bytes depend on the figure alone."""
    svg = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a letter that the font lacks shows as a box
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    export(path, svg.getvalue())

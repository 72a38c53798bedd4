"""Style of all figures: colours and marks of the models, fonts, and reproducible SVG files.

A model has the same colour and mark in every figure. Colour-blind readers can tell the colours apart. The first two
also differ in grey print. The background is white, even on a dark page. Figures are narrow, so that they are readable
on a phone.
"""

import io
import itertools
import textwrap
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure

from fma_genre.common.errors import printable
from fma_genre.common.files import export

# From the palettes of Okabe and Ito (the first six) and of Tol (the others):
PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#999933", "#AA4499", "#882255", "#332288",
)  # fmt: skip
MARKS = "osD^vPX<>*"
GREY, LIGHT, MEDIUM, DARK = "#767676", "#D9D9D9", "#A6A6A6", "#4D4D4D"
MAX_NAME_LENGTH = 32  # characters of a genre's name
WIDTH = 5.2  # inches
CHARACTERS = 12  # of a title in an inch
STYLE: Any = {
    "svg.hashsalt": "fma-genre",  # makes ids reproducible
    "font.size": 10,
    "figure.titlesize": 11,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,  # a genre's name may contain a $
}
styled = matplotlib.rc_context(STYLE)  # decorator for functions that draw


def colours(models: Iterable[str]) -> dict[str, str]:
    """Assign a colour to each model; `models` has the order of params.yaml."""
    return dict(zip(models, itertools.cycle(PALETTE), strict=False))


def marks(models: Iterable[str]) -> dict[str, str]:
    """Assign a mark to each model; `models` has the order of params.yaml."""
    return dict(zip(models, itertools.cycle(MARKS), strict=False))


def shades(colour: str) -> LinearSegmentedColormap:
    """Colour map from white to `colour`."""
    return LinearSegmentedColormap.from_list("", ["white", colour])


def ink(shade: Colormap, value: float) -> str:
    """Colour of text on a cell: black or white, whichever has the higher contrast by the definition of WCAG 2."""
    luminance = np.dot(np.power(shade(value)[:3], 2.2), (0.2126, 0.7152, 0.0722))
    return "black" if luminance > 0.18 else "white"


def label(genre: str) -> str:
    """Name of a genre for a figure: shortened if it is long, and without control characters."""
    name = printable(genre)
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…"


def wrapped(title: str, width: float) -> str:
    """Break a title into lines of at most `width` inches, but not between a number and its unit %."""
    return textwrap.fill(title.replace(" %", "\N{NO-BREAK SPACE}%"), int(width * CHARACTERS), break_on_hyphens=False)


def set_title(figure: Figure, title: str) -> None:
    """Write a title above a figure, from its left edge on."""
    figure.suptitle(wrapped(title, figure.get_figwidth()), x=0.01, ha="left")


def describe(figure: Figure, *sentences: str) -> None:
    """Say what a figure shows, for readers who do not see it: `as_svg` writes this into the SVG file as its title."""
    figure.set_label(" ".join(sentences))


def percent(share: float, digits: int = 1) -> str:
    """A share in percent."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def label_width(labels: Iterable[str]) -> float:
    """Width of the longest label of an axis, in inches."""
    return 0.08 * max(map(len, labels))


def single_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Create a figure of `width` × `height` inches with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def save(figure: Figure, path: Path) -> None:
    """Write a figure as an SVG file."""
    export(path, as_svg(figure))


@styled
def as_svg(figure: Figure) -> bytes:
    """Convert a figure to SVG, without date and random ids, so that the same figure gives the same bytes.

    The file's title is the description of the figure or, if it has none, its heading.
    """
    svg = io.BytesIO()
    text = str(figure.get_label()) or figure.get_suptitle()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # characters missing from the font become boxes
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Title": " ".join(text.split())})
    return svg.getvalue()

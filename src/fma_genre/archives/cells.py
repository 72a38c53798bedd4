"""Text in the cells of data/tracks.csv and data/index.csv: on one line, and lists of genres."""

import unicodedata
from collections.abc import Iterable

from fma_genre.common.errors import printable

SEPARATOR = "; "  # between the genres of a list
MAX_LENGTH = 200  # characters


def one_line(text: str) -> str:
    """The text on one line, printable, in Unicode's composed form (NFC), and cut to MAX_LENGTH."""
    return printable(" ".join(unicodedata.normalize("NFC", text).split()))[:MAX_LENGTH]


def listed(genre: str) -> str:
    """A genre's name as lists have it: on one line, and without semicolons, since these separate the names."""
    return one_line(genre).replace(";", ",")


def join_genres(names: Iterable[str]) -> str:
    """Make a list of genres from names in the form of `listed`. Empty names are skipped."""
    return SEPARATOR.join(filter(None, names))


def split_genres(cell: str) -> list[str]:
    """Names in a list of genres. An empty list means that the genres are unknown."""
    return cell.split(SEPARATOR) if cell else []

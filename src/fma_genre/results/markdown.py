"""Markdown tables, and names in Markdown. This module and its imports need no packages."""

import re
from collections.abc import Sequence

from fma_genre.common.errors import printable

# Words of letters and digits with single separators. No other name is sure to be plain text in Markdown and HTML.
PLAIN = re.compile(r"[^\W_]+(?:(?: |-|/|, | / )[^\W_]+)*")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown table; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def name(value: str) -> str:
    """A name from data as text: as it is if it is plain, else as code."""
    return value if PLAIN.fullmatch(value) else code(value)


def code(value: str) -> str:
    """Format as code, in which Markdown, HTML and mentions have no effect."""
    return "`" + printable(value).replace("`", "'").replace("|", "/") + "`"

"""Markdown tables. This module and its imports need no packages."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown table; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])

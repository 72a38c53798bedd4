"""Progress of long work: a bar on a terminal, one line a minute in a log."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

INTERVAL = 60.0  # seconds between lines; shorter work prints none
LINE = "{desc}: {n_fmt}/{total_fmt} {unit} after {elapsed}, {remaining} to go"


class _Lines:
    """Prints each state of a bar as a line of its own."""

    def write(self, text: str) -> None:
        if text.strip():
            print(text.strip(), file=sys.stderr, flush=True)

    def flush(self) -> None:
        pass


def bar(iterable: Iterable[Any] | None = None, position: int = 0, **options: Any) -> "tqdm[Any]":
    """tqdm with these `options`; `position` is the bar's line on the terminal."""
    if sys.stderr.isatty():
        return tqdm(iterable, position=position, **options)
    sparse = {"mininterval": INTERVAL, "delay": INTERVAL, "miniters": 1, "bar_format": LINE, "leave": False}
    return tqdm(iterable, file=_Lines(), **options | sparse)

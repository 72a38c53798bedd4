"""Progress of long tasks: a bar in a terminal, or one line per minute in a log."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

INTERVAL = 60.0  # seconds between lines in a log; a shorter task prints no line
LINE = "{desc}: {n_fmt}/{total_fmt} {unit} after {elapsed}, {remaining} to go"


class _Lines:
    """A stream for tqdm that prints each update as a separate line, instead of redrawing one line."""

    def write(self, text: str) -> None:
        if text.strip():
            print(text.strip(), file=sys.stderr, flush=True)

    def flush(self) -> None:
        pass


def bar(iterable: Iterable[Any] | None = None, position: int = 0, **options: Any) -> "tqdm[Any]":
    """A tqdm bar with the given options; `position` is its line in the terminal if there are several bars at once."""
    if sys.stderr.isatty():
        return tqdm(iterable, position=position, **options)
    for_logs = {"mininterval": INTERVAL, "delay": INTERVAL, "miniters": 1, "bar_format": LINE, "leave": False}
    return tqdm(iterable, file=_Lines(), **options | for_logs)

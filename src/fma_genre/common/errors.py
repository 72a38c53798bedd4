"""Errors that users meet, and the one line that each of them is."""

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

import fma_genre.common.caches  # noqa: F401  before anything that has a cache


class InputError(Exception):
    """Invalid input from outside: a parameter, an archive, a table.

    The message is one line that names the file, track or parameter, what was expected and what was found.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """Replace characters that could control a terminal; names may come from anybody's data."""
    return "".join(character if character.isprintable() else "?" for character in text)


@contextmanager
def in_one_line(name: str) -> Iterator[None]:
    """Run a stage or a command: exit with `name: message` for the errors that the user can do something about.

    A character that the terminal lacks is printed as an escape. What was printed has been written when this ends.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _printed():
            yield
        return
    except KeyboardInterrupt:
        sys.exit(130)
    except InputError as error:
        message = str(error)
    except MemoryError as error:
        message = f"out of memory: {error}"
    except OSError as error:
        message = _explain(error)
    sys.exit(printable(f"{name}: {message}"))


@contextmanager
def _printed() -> Iterator[None]:
    """Raise InputError if the standard output did not take all that was printed: Python says so with a traceback."""
    try:
        yield
    finally:
        try:
            if sys.stdout:  # a process may have none
                sys.stdout.flush()
        except OSError as error:
            _discard_output()
            raise InputError(f"standard output: expected all of it to be taken, found: {error.strerror}") from error


def _discard_output() -> None:
    """Send what is still to be written nowhere: Python would try, and complain, again when it ends."""
    with contextlib.suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _explain(error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"expected {error.filename}, found none: `dvc repro` runs the stages that make it"
    return str(error) if error.filename else f"{error} in {Path.cwd()}"

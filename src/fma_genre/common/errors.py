"""One-line error messages for users."""

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

import fma_genre.common.caches  # noqa: F401  must precede the import of any library that has a cache


class InputError(Exception):
    """Invalid input from outside the code: a parameter, an archive, a table.

    The message is one line: it names the file, track or parameter, and tells what was expected and what was found.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """Replace characters that could control a terminal, since names may come from untrusted data."""
    return "".join(character if character.isprintable() else "?" for character in text)


@contextmanager
def errors_in_one_line(name: str) -> Iterator[None]:
    """Exit with the line `name: message` if the block raises an error that the user can fix.

    Inside the block, characters that the terminal cannot show are printed as escapes. Standard output is flushed at the
    end of the block.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _flushed_output():
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
    except Exception as error:
        _exit_if_stopped(error)
        raise
    sys.exit(printable(f"{name}: {message}"))


def _exit_if_stopped(error: BaseException | None) -> None:
    """Exit if Ctrl-C or SIGTERM caused `error`.

    If the signal arrives during the import of a C extension, Python wraps the signal's exception in an ImportError.
    """
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            sys.exit(130)
        if isinstance(error, SystemExit):
            raise error
        error = error.__cause__


@contextmanager
def _flushed_output() -> Iterator[None]:
    """Flush standard output at the end; raise InputError if that fails.

    Without this, Python would report the failure with a traceback when it exits.
    """
    try:
        yield
    finally:
        try:
            if sys.stdout:  # None if the process was started without standard output
                sys.stdout.flush()
        except OSError as error:
            _discard_output()
            raise InputError(f"standard output: cannot write all output: {error.strerror}") from error


def _discard_output() -> None:
    """Redirect standard output to the null device. Otherwise, Python would flush again on exit, and fail again."""
    with contextlib.suppress(OSError), Path(os.devnull).open("wb") as null_device:
        os.dup2(null_device.fileno(), sys.stdout.fileno())


def _explain(error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename}: not found; `dvc repro` runs the stages that write it"
    return str(error) if error.filename else f"{error} in {Path.cwd()}"

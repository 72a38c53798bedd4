"""Decoding with libsndfile, as librosa does. It is fast, but may stop before a file's end without an error."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile

from fma_genre.features.stretches import Stretch, UnreadableClipError, check_format

# libsndfile's messages for a file that it takes for an MP3 but cannot decode
NOT_MP3_MESSAGES = ("File does not exist", "Unspecified internal error")
CORRECTION = re.compile(r": ([0-9]+) \(should be ([0-9]+)\)")  # in libsndfile's log: a wrong size in the header
UNKNOWN_SIZE = 0x7FFFF000  # bytes; encoders that write to a pipe put this or a larger size into the header


class Sndfile:
    """A file opened with libsndfile."""

    name = "libsndfile"

    def __init__(self, descriptor: int) -> None:
        """Open the file; raise UnreadableClipError if libsndfile cannot read it."""
        self._descriptor = descriptor
        self._samples = 0  # number of samples read so far
        self.has_ended = False  # whether a read reached the end of the file
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with _errors_named():
            self._file = soundfile.SoundFile(self._descriptor, closefd=False)
        check_format(self._file.channels, self._file.samplerate)

    def missing(self) -> float:
        """Seconds that the header promises and the file lacks. Call it at the end of the file.

        libsndfile corrects wrong sizes in the header, and lists them in its log.
        """
        sizes = [(int(said), int(found)) for said, found in CORRECTION.findall(self._file.extra_info)]
        longer = [said / found - 1 for said, found in sizes if 0 < found < said < UNKNOWN_SIZE]
        return max(longer, default=0) * self._samples / self._file.samplerate

    def announced(self) -> float:
        """Length of the file in seconds according to its header. It is an estimate for an MP3 without a frame count."""
        return self._file.frames / self._file.samplerate

    def close(self) -> None:
        self._file.close()

    def read(self, seconds: float) -> list[Stretch]:
        """Read up to `seconds` more; return an empty list at the end of the file.

        Raises:
            UnreadableClipError: the file cannot be decoded.
        """
        wanted = int(seconds * self._file.samplerate)
        with _errors_named():
            samples = self._file.read(wanted, dtype="float32", always_2d=True)
        self._samples += len(samples)
        self.has_ended = len(samples) < wanted
        return [Stretch(samples, self._file.samplerate)] if len(samples) else []

    def has_read_all(self) -> bool:
        """Return whether all bytes have been read, and all samples that libsndfile announced have been decoded.

        libsndfile stops early at a join and at a change of format. In an MP3 without a frame count, it estimates the
        length and stops there.
        """
        consumed = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        return consumed == os.fstat(self._descriptor).st_size and self._samples >= self._file.frames


@contextmanager
def _errors_named() -> Iterator[None]:
    """Turn libsndfile's errors into UnreadableClipError."""
    try:
        yield
    except soundfile.LibsndfileError as error:
        not_mp3 = error.error_string.startswith(NOT_MP3_MESSAGES)
        raise UnreadableClipError("a damaged MP3" if not_mp3 else error.error_string) from error


@contextmanager
def stderr_silenced() -> Iterator[None]:
    """Drop what C libraries write to standard error: libmpg123 writes a line for every damaged frame.

    The messages of other threads are dropped, too.
    """
    if sys.__stderr__ is None:  # the process has no standard error
        yield
        return
    original = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as null_device:
            os.dup2(null_device.fileno(), 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)

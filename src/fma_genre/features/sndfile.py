"""Decode with libsndfile, as librosa does. It is fast, but may stop before a file's end without an error."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import soundfile

from fma_genre.features.stretches import Stretch, UnreadableClipError, check_format

DEV_NULL = os.open(os.devnull, os.O_WRONLY)
NOT_MP3_MESSAGES = ("File does not exist", "Unspecified internal error")  # libsndfile's for a file that is not an MP3
CORRECTION = re.compile(r": ([0-9]+) \(should be ([0-9]+)\)")  # of a size in a header, in libsndfile's log
UNKNOWN_SIZE = 0x7FFFF000  # bytes; programs that write to a pipe write a larger size than this


class Sndfile:
    """A file opened with libsndfile."""

    name = "libsndfile"

    def __init__(self, descriptor: int) -> None:
        """Raise UnreadableClipError if libsndfile cannot read the file."""
        self._descriptor = descriptor
        self._samples = 0  # read so far
        self.has_ended = False  # it gave less than was requested
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with _errors_named():
            self._file = soundfile.SoundFile(self._descriptor, closefd=False)
        check_format(self._file.channels, self._file.samplerate)

    def missing(self) -> float:
        """Seconds that the file lacks by its header, which libsndfile corrects in its log; valid at the end."""
        sizes = [(int(said), int(found)) for said, found in CORRECTION.findall(self._file.extra_info)]
        longer = [said / found - 1 for said, found in sizes if 0 < found < said < UNKNOWN_SIZE]
        return max(longer, default=0) * self._samples / self._file.samplerate

    def close(self) -> None:
        self._file.close()

    def read(self, seconds: float) -> list[Stretch]:
        """The next `seconds`, fewer at the end, none after it; raises UnreadableClipError."""
        wanted = int(seconds * self._file.samplerate)
        with _errors_named():
            samples = self._file.read(wanted, dtype="float32", always_2d=True)
        self._samples += len(samples)
        self.has_ended = len(samples) < wanted
        return [Stretch(samples, self._file.samplerate)] if len(samples) else []

    def has_read_all(self) -> bool:
        """Whether all bytes of the file were consumed, and as many samples decoded as libsndfile had announced.

        An MP3 without a frame count ends at libsndfile's estimate, a joined one or one that changes its format there.
        """
        consumed = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        return consumed == os.fstat(self._descriptor).st_size and self._samples >= self._file.frames


@contextmanager
def _errors_named() -> Iterator[None]:
    """Turn libsndfile's errors into UnreadableClipError; keep its decoders from the standard error."""
    try:
        with _stderr_silenced():
            yield
    except soundfile.LibsndfileError as error:
        not_mp3 = error.error_string.startswith(NOT_MP3_MESSAGES)
        raise UnreadableClipError("a damaged MP3" if not_mp3 else error.error_string) from error


@contextmanager
def _stderr_silenced() -> Iterator[None]:
    """Drop what a C library writes to the standard error: libmpg123 has a line for every damaged frame."""
    kept = os.dup(2)
    try:
        os.dup2(DEV_NULL, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

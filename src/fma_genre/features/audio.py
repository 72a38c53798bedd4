"""Decode a clip's bytes to mono samples at one rate.

Follows ``librosa.load``: channels are averaged, then resampled with soxr's HQ filter, so that the two agree.
"""

import functools
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

LOUDEST = 1e9  # full scale is 1; the power of louder samples would overflow
MAX_DATA_RATE = 8 * 192_000  # samples a second in all channels: more is a damaged header, and costly to decode
DEV_NULL = os.open(os.devnull, os.O_WRONLY)
NOT_MP3_MESSAGES = ("File does not exist", "Unspecified internal error")  # libsndfile's for a file that is not an MP3


class UnreadableClipError(Exception):
    """No audio can be decoded from a clip; the message says why."""


@dataclass(frozen=True)
class Clip:
    samples: np.ndarray  # (samples,) float32, mono
    cut: bool  # the file goes on after the requested seconds


def load(data: bytes, rate: int, seconds: float) -> Clip:
    """Decode the first `seconds` of an MP3 (or any format of libsndfile) to mono at `rate` Hz.

    Raises:
        UnreadableClipError: the clip does not open, breaks off with an error, is empty, or is not finite.
    """
    channels, original_rate, cut = decode(data, seconds)
    return Clip(to_mono(channels, original_rate, rate), cut)


def windows(path: Path, rate: int, seconds: float) -> Iterator[np.ndarray]:
    """Yield a file of any length in pieces of `seconds`: mono (samples,) float32 at `rate` Hz, the last may be shorter.

    Raises:
        OSError: the file cannot be opened.
        UnreadableClipError: as `load`, at the piece that cannot be decoded.
    """
    with path.open("rb") as source, _opened(source.fileno()) as file:
        while len(channels := _read(file, int(seconds * file.samplerate))):
            yield to_mono(channels, file.samplerate, rate)


def decode(data: bytes, seconds: float) -> tuple[np.ndarray, int, bool]:
    """The first `seconds`, (samples, channels) float32, their rate in Hz, and whether the file goes on after them.

    Raises:
        UnreadableClipError: the clip does not open, breaks off with an error, or is empty.
    """
    with tempfile.TemporaryFile() as copy:  # libsndfile reads a file without a call into Python for every frame
        copy.write(data)
        copy.seek(0)
        with _opened(copy.fileno()) as file:
            wanted = int(seconds * file.samplerate)
            channels = _read(file, wanted)
            cut = len(channels) == wanted and len(_read(file, 1)) > 0
            rate = file.samplerate
    if not len(channels):
        raise UnreadableClipError("no samples in it")
    return channels, rate, cut


def to_mono(channels: np.ndarray, original_rate: int, rate: int) -> np.ndarray:
    """(samples, channels) at `original_rate` Hz to (samples,) at `rate`; raises UnreadableClipError if not finite."""
    samples = resample(mix(channels), original_rate, rate)
    loudest = max(samples.max(), -samples.min())
    if not loudest < LOUDEST:  # written so that NaN fails too
        raise UnreadableClipError("samples that are not finite")
    return samples


def mix(channels: np.ndarray) -> np.ndarray:
    """Mean of the channels, (samples, channels) to (samples,). `mean` over so short an axis takes 20 times as long."""
    return functools.reduce(np.add, channels.T) / np.float32(channels.shape[1])


def resample(samples: np.ndarray, original_rate: int, rate: int) -> np.ndarray:
    """(samples,) at `original_rate` Hz to (ceil(samples · rate / original_rate),) at `rate` Hz."""
    if original_rate == rate:
        return samples
    length = math.ceil(len(samples) * rate / original_rate)
    resampled = soxr.resample(samples, original_rate, rate, quality="HQ")
    missing = length - len(resampled)
    return np.pad(resampled, (0, missing)) if missing > 0 else resampled[:length]


# libsndfile. ------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(descriptor: int) -> Iterator[soundfile.SoundFile]:
    """Open with libsndfile; its errors become UnreadableClipError."""
    try:
        with _stderr_silenced():
            file = soundfile.SoundFile(descriptor, closefd=False)
        with file:
            if file.samplerate * file.channels > MAX_DATA_RATE:
                raise UnreadableClipError(f"{file.channels} channels at {file.samplerate} Hz")
            yield file
    except soundfile.LibsndfileError as error:
        not_mp3 = error.error_string.startswith(NOT_MP3_MESSAGES)
        raise UnreadableClipError("a damaged MP3" if not_mp3 else error.error_string) from error


def _read(file: soundfile.SoundFile, samples: int) -> np.ndarray:
    """Read at most the next `samples`, (samples, channels)."""
    with _stderr_silenced():
        return file.read(samples, dtype="float32", always_2d=True)


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

"""A clip's bytes to mono samples at one rate.

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

LOUDEST = 1e9  # full scale is 1; the power of what is louder would overflow
NOWHERE = os.open(os.devnull, os.O_WRONLY)
VAGUE = (
    "File does not exist",
    "Unspecified internal error",
)  # says libsndfile of an MP3 that is none
MOST = 8 * 192_000  # samples a second in all channels: what claims more is no music, and would take much memory


class UnreadableClipError(Exception):
    """No audio can be decoded from a clip; the message says why."""


@dataclass(frozen=True)
class Clip:
    samples: np.ndarray  # (samples,) float32, mono
    cut: bool  # the file goes on after the requested seconds


def load(data: bytes, rate: int, seconds: float) -> Clip:
    """Decodes the first `seconds` of an MP3 (or any format of libsndfile) to mono at `rate` Hz.

    Raises:
        UnreadableClipError: it does not open, breaks off with an error, is empty, or is not finite.
    """
    channels, original_rate, cut = decode(data, seconds)
    return Clip(to_mono(channels, original_rate, rate), cut)


def windows(path: Path, rate: int, seconds: float) -> Iterator[np.ndarray]:
    """A file of any length, `seconds` after `seconds`: mono (samples,) float32 at `rate` Hz, the last may be shorter.

    Raises:
        OSError: it cannot be opened.
        UnreadableClipError: as `load`, when it gets there.
    """
    with path.open("rb") as source, _opened(source.fileno()) as file:
        while len(channels := _read(file, int(seconds * file.samplerate))):
            yield to_mono(channels, file.samplerate, rate)


def to_mono(channels: np.ndarray, original_rate: int, rate: int) -> np.ndarray:
    """(samples, channels) at `original_rate` Hz to (samples,) at `rate`; raises UnreadableClipError if not finite."""
    samples = resample(mix(channels), original_rate, rate)
    if not max(samples.max(), -samples.min()) < LOUDEST:  # nor is NaN
        raise UnreadableClipError("samples that are not finite")
    return samples


def decode(data: bytes, seconds: float) -> tuple[np.ndarray, int, bool]:
    """The first `seconds`, (samples, channels) float32, their rate in Hz, and whether the file goes on after them.

    Raises:
        UnreadableClipError: it does not open, breaks off with an error, or is empty.
    """
    with tempfile.TemporaryFile() as copy:  # libsndfile reads it without a call into Python for every frame
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


@contextmanager
def _opened(descriptor: int) -> Iterator[soundfile.SoundFile]:
    """What libsndfile says against a file is an UnreadableClipError."""
    try:
        with _silence():
            file = soundfile.SoundFile(descriptor, closefd=False)
        with file:
            if file.samplerate * file.channels > MOST:
                raise UnreadableClipError(f"{file.channels} channels at {file.samplerate} Hz")
            yield file
    except soundfile.LibsndfileError as error:
        damaged = error.error_string.startswith(VAGUE)
        raise UnreadableClipError("a damaged MP3" if damaged else error.error_string) from error


def _read(file: soundfile.SoundFile, samples: int) -> np.ndarray:
    """At most the next `samples`, (samples, channels)."""
    with _silence():
        return file.read(samples, dtype="float32", always_2d=True)


@contextmanager
def _silence() -> Iterator[None]:
    """Drops what a C library writes to the standard error: libmpg123 has a line for every damaged frame."""
    kept = os.dup(2)
    try:
        os.dup2(NOWHERE, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


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

"""Decode audio to mono samples at one rate.

The steps are those of ``librosa.load``, so that both give the same samples: libsndfile decodes, the channels are
averaged, and soxr's HQ filter resamples. If libsndfile refuses a file or stops before its end, FFmpeg takes over.
"""

import functools
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr

from fma_genre.features.recording import Piece, Recording
from fma_genre.features.stretches import Stretch, UnreadableClipError

LOUDEST = 1e9  # full scale is 1; the power of louder samples would overflow
SKIPPED = 10  # s per read before a clip
MOMENT = 0.001  # s to read after a clip, to see whether the file goes on
# An MP3 without a tag gets an empty one, or libsndfile would look for a resource fork in the working folder.
MP3_SYNC, EMPTY_TAG = b"\xff", b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)


class Decoded(NamedTuple):
    """A clip before mixing and resampling."""

    piece: Piece
    cut: bool  # whether the file is longer than the requested seconds
    file_length: float  # s of the whole file; 0 if unknown


@dataclass(frozen=True)
class Clip:
    """A clip after mixing and resampling. The other fields are those of `Decoded`."""

    samples: np.ndarray  # (samples,) float32, mono
    piece: Piece
    cut: bool
    file_length: float


@dataclass(frozen=True)
class Window:
    samples: np.ndarray  # (samples,) float32, mono
    length: float  # s of the file that it covers, including parts that were not decoded


def load(data: bytes, rate: int, seconds: float, start: float = 0) -> Clip:
    """Decode `seconds` of an audio file to mono at `rate` Hz.

    Args:
        data: the content of the file.
        start: where the clip begins, in seconds from the beginning of the file.

    Raises:
        UnreadableClipError: nothing can be decoded, or a sample is not finite or too loud.
    """
    decoded = decode(data, seconds, start)
    return Clip(to_mono(decoded.piece.stretches, rate), *decoded)


def windows(path: Path, rate: int, seconds: float) -> Iterator[Window]:
    """Read a file of any length in windows of `seconds`, mono at `rate` Hz. The last window may be shorter.

    A window that cannot be decoded has no samples.

    Raises:
        OSError: the file cannot be opened.
        UnreadableClipError: no window has samples; raised after the last window.
    """
    failure = UnreadableClipError("no samples")
    is_usable = False
    with path.open("rb") as source, Recording(source.fileno()) as recording:
        is_last = False
        while not is_last:
            piece = recording.read(seconds)
            is_last = piece.is_last
            samples = np.empty(0, np.float32)
            try:
                samples = to_mono(piece.stretches, rate) if piece.stretches else samples
            except UnreadableClipError as error:
                failure = error
            is_usable |= len(samples) > 0
            yield Window(samples, piece.length)
    if not is_usable:
        raise failure


def decode(data: bytes, seconds: float, start: float = 0) -> Decoded:
    """Decode `seconds` from `start`, without mixing or resampling. The part before `start` is decoded and dropped.

    Raises:
        UnreadableClipError: nothing can be decoded.
    """
    with opened(data) as recording:
        _skip(recording, start)
        piece = recording.read(seconds)
        if not piece.stretches:
            raise UnreadableClipError(f"no samples after {start:g} s")
        end = start + piece.length
        goes_on = not piece.is_last and bool(recording.read(MOMENT).stretches)
        announced = recording.announced()
    file_length = end if not goes_on else announced if announced > end else 0.0
    return Decoded(replace(piece, length=min(seconds, piece.length)), goes_on, file_length)


@contextmanager
def opened(data: bytes) -> Iterator[Recording]:
    """Open the content of an audio file; raise UnreadableClipError if no decoder can open it."""
    with tempfile.TemporaryFile() as file:  # faster than BytesIO: libsndfile would call Python for every frame
        file.write(EMPTY_TAG + data if data.startswith(MP3_SYNC) else data)
        file.flush()
        with Recording(file.fileno()) as recording:
            yield recording


def _skip(recording: Recording, seconds: float) -> None:
    """Read and drop the beginning, in parts of bounded size."""
    left = seconds
    while left > 0:
        recording.read(min(left, SKIPPED))
        left -= SKIPPED


def to_mono(stretches: list[Stretch], rate: int) -> np.ndarray:
    """Mix, resample and join stretches of any format to (samples,) at `rate` Hz.

    Raises:
        UnreadableClipError: a sample is not finite, or so loud that its power would overflow.
    """
    parts = [resample(mix(stretch.channels), stretch.rate, rate) for stretch in stretches]
    samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
    loudest = max(samples.max(), -samples.min())
    if not loudest < LOUDEST:  # also true for NaN
        raise UnreadableClipError("samples that are not finite or too loud")
    return samples


def mix(channels: np.ndarray) -> np.ndarray:
    """Mean of the channels, (samples, channels) to (samples,). NumPy's `mean` takes 20 times as long here."""
    return functools.reduce(np.add, channels.T) / np.float32(channels.shape[1])


def resample(samples: np.ndarray, original_rate: int, rate: int) -> np.ndarray:
    """Resample mono samples from `original_rate` to `rate` Hz, and round the new length up."""
    if original_rate == rate:
        return samples
    length = math.ceil(len(samples) * rate / original_rate)
    resampled = soxr.resample(samples, original_rate, rate, quality="HQ")
    missing = length - len(resampled)
    return np.pad(resampled, (0, missing)) if missing > 0 else resampled[:length]

"""A clip's bytes to mono samples at one rate.

Follows ``librosa.load``: channels are averaged, then resampled with soxr's HQ filter, so that the two agree.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

LOUDEST = 1e9  # full scale is 1; the power of what is louder would overflow


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
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            wanted = int(seconds * file.samplerate)
            channels = file.read(wanted, dtype="float32", always_2d=True)  # (samples, channels)
            cut = len(channels) == wanted and len(file.read(1)) > 0
            original_rate = file.samplerate
    except soundfile.LibsndfileError as error:
        raise UnreadableClipError(error.error_string) from error
    if not len(channels):
        raise UnreadableClipError("no samples in it")
    mono = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)
    samples = resample(mono, original_rate, rate)
    if not np.abs(samples).max() < LOUDEST:  # nor is NaN
        raise UnreadableClipError("samples that are not finite")
    return Clip(samples, cut)


def resample(samples: np.ndarray, original_rate: int, rate: int) -> np.ndarray:
    """(samples,) at `original_rate` Hz to (ceil(samples · rate / original_rate),) at `rate` Hz."""
    if original_rate == rate:
        return samples
    length = math.ceil(len(samples) * rate / original_rate)
    resampled = soxr.resample(samples, original_rate, rate, quality="HQ")[:length]
    return np.pad(resampled, (0, length - len(resampled)))

"""Decoded audio, as both decoders return it."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

LOWEST_RATE = 1000  # Hz; a header with a lower rate is damaged
# Samples per second in all channels. A header with more is damaged, and its audio would be costly to decode.
MAX_DATA_RATE = 8 * 192_000


class UnreadableClipError(Exception):
    """No audio can be decoded from a clip. The message gives the reason."""


@dataclass(frozen=True)
class Stretch:
    """Consecutive samples with the same rate and number of channels, since both may change within a file."""

    channels: np.ndarray  # (samples, channels) float32
    rate: int  # Hz

    @property
    def seconds(self) -> Fraction:
        return Fraction(len(self.channels), self.rate)


def duration(stretches: list[Stretch]) -> float:
    """Total length of the stretches in seconds."""
    return float(sum(stretch.seconds for stretch in stretches))


def check_format(channels: int, rate: int) -> None:
    """Raise UnreadableClipError if the format is impossible, or too costly to decode."""
    if rate < LOWEST_RATE or not 0 < channels * rate <= MAX_DATA_RATE:
        raise UnreadableClipError(f"{channels} channels at {rate} Hz")

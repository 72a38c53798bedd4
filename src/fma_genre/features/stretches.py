"""Decoded audio: stretches of samples, whichever library decodes them."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

LOWEST_RATE = 1000  # Hz; less is a damaged header
MAX_DATA_RATE = 8 * 192_000  # samples a second in all channels: more is a damaged header, and costly to decode


class UnreadableClipError(Exception):
    """No audio can be decoded from a clip; the message says why."""


@dataclass(frozen=True)
class Stretch:
    """Samples of one rate and channel count; both may change within a file."""

    channels: np.ndarray  # (samples, channels) float32
    rate: int  # Hz

    @property
    def seconds(self) -> Fraction:
        return Fraction(len(self.channels), self.rate)


def duration(stretches: list[Stretch]) -> float:
    """Seconds of all stretches together."""
    return float(sum(stretch.seconds for stretch in stretches))


def check_format(channels: int, rate: int) -> None:
    """Raise UnreadableClipError if audio of this format is none, or would take too long to decode."""
    if rate < LOWEST_RATE or not 0 < channels * rate <= MAX_DATA_RATE:
        raise UnreadableClipError(f"{channels} channels at {rate} Hz")

"""Power in the bins of a short-time Fourier transform.

The transform is computed in float64, as in librosa. In float32, bins 100 dB below the maximum would be off by up to
0.04 dB on music.
"""

from dataclasses import dataclass

import librosa  # a fast import: librosa loads its modules only when they are used
import numpy as np

from fma_genre.common.params import TransformLength
from fma_genre.features.frames import power_spectrum


@dataclass(frozen=True)
class Arguments:
    n_fft: TransformLength


@dataclass(frozen=True)
class Representation:
    """Bins 1 to n_fft / 2, without the bin at 0 Hz."""

    arguments: Arguments
    sample_rate: int  # Hz
    hop: int  # samples
    floor_db: float

    def frequencies(self) -> np.ndarray:
        """Centre of each bin in Hz, (bins,)."""
        return librosa.fft_frequencies(sr=self.sample_rate, n_fft=self.arguments.n_fft)[1:]

    def power(self, samples: np.ndarray) -> np.ndarray:
        """Power (frames, bins) float32 of `samples`."""
        return power_spectrum(samples, self.arguments.n_fft, self.hop)[:, 1:]

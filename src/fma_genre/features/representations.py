"""Representations by name: another one is a class in a file of its own, and an entry here."""

from dataclasses import asdict
from typing import Any, Protocol

import librosa  # loads its own modules when they are first used
import numpy as np

from fma_genre.common.errors import InputError
from fma_genre.common.params import Spectrograms, check_choice
from fma_genre.features.mel import Mel
from fma_genre.features.stft import Stft
from fma_genre.store import Description


class Representation(Protocol):
    """Turns a clip into a spectrogram, `(frames, bins)`."""

    @property
    def floor_db(self) -> float:
        """Level 0, relative to the clip's maximum."""

    def frequencies(self) -> np.ndarray:
        """Centre of each bin in Hz, (bins,), rising."""

    def power(self, samples: np.ndarray) -> np.ndarray:
        """(samples,) float32 to (frames, bins) float32."""


REPRESENTATIONS: dict[str, Any] = {"mel": Mel, "stft": Stft}


def build(name: str, params: Spectrograms) -> Representation:
    """A representation with the settings of params.yaml; raises InputError if they do not go together."""
    return REPRESENTATIONS[name](params.sample_rate, params.hop, params.floor_db, **asdict(getattr(params, name)))


def from_description(description: Description) -> Representation:
    """The representation that a store holds, to apply it to other clips; raises InputError if there is no such one."""
    name, settings = description.representation, description.settings
    check_choice(name, REPRESENTATIONS, "representation")
    try:
        return REPRESENTATIONS[name](description.sample_rate, description.hop, description.floor_db, **settings)
    except TypeError as error:
        raise InputError(
            f"{name}: expected the settings of this representation, found {', '.join(settings)}"
        ) from error


def describe(name: str, params: Spectrograms, dataset: str, synthetic: bool, classes: list[str]) -> Description:
    """The description of a representation's store."""
    frequencies = build(name, params).frequencies()
    return Description(
        dataset=dataset,
        synthetic=synthetic,
        classes=tuple(classes),
        representation=name,
        **asdict(getattr(params, name)),
        sample_rate=params.sample_rate,
        seconds=params.seconds,
        hop=params.hop,
        floor_db=params.floor_db,
        frequencies=tuple(frequencies.tolist()),
        mels=tuple(librosa.hz_to_mel(frequencies).tolist()),
    )

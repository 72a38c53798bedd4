"""Representations, loaded by the names of their sections in params.yaml, and encoders, which make levels of clips."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import librosa  # a fast import: librosa loads its modules only when they are used
import numpy as np

from fma_genre.common import schema
from fma_genre.common.errors import InputError
from fma_genre.common.params import REPRESENTATION_FOLDER, Spectrograms, Waveform, check_module
from fma_genre.features.frames import frame_count
from fma_genre.features.levels import quantised_levels
from fma_genre.features.waveform import ARRAY, WaveformEncoder
from fma_genre.store import Description


class Representation(Protocol):
    """A kind of spectrogram. The package `representations` documents the methods."""

    def frequencies(self) -> np.ndarray: ...
    def power(self, samples: np.ndarray) -> np.ndarray: ...


class Encoder(Protocol):
    """Conversion of clips to stored levels. Pickle must be able to copy it: other processes extract the clips."""

    @property
    def shape(self) -> tuple[int, int]:
        """Frames and bins of a clip of full length."""

    def levels(self, samples: np.ndarray) -> np.ndarray:
        """Levels (frames, bins) uint8 of mono samples (samples,), cut to the frames of a clip of full length."""


@dataclass(frozen=True)
class SpectrogramEncoder:
    """Levels of a spectrogram, in dB relative to the clip's maximum."""

    representation: Representation
    floor_db: float
    shape: tuple[int, int]

    def levels(self, samples: np.ndarray) -> np.ndarray:
        return quantised_levels(self.representation.power(samples), self.floor_db)[: self.shape[0]]


def encoders(params: Spectrograms | Waveform) -> dict[str, Encoder]:
    """Encoders of all arrays that one pass over the clips makes, by the array's name.

    Raises:
        InputError: an argument is invalid, or the settings contradict each other.
    """
    if isinstance(params, Waveform):
        return {ARRAY: WaveformEncoder.of(params)}
    frames = frame_count(params.seconds, params.sample_rate, params.hop)
    representations = {name: build(name, params) for name in params.representations}
    return {
        name: SpectrogramEncoder(representation, params.floor_db, (frames, len(representation.frequencies())))
        for name, representation in representations.items()
    }


def build(name: str, params: Spectrograms) -> Representation:
    """Build a representation with the settings of params.yaml.

    Raises:
        InputError: an argument is invalid, or the settings contradict each other.
    """
    return _build(name, params.representations[name], params, f"spectrograms.{name}")


def from_description(description: Description) -> Representation:
    """Build the representation that made a store of spectrograms, to apply it to other clips.

    Raises:
        InputError: no representation has this name, or the description does not match the representation.
    """
    check_module(description.representation, REPRESENTATION_FOLDER, "representation")
    return _build(description.representation, description.settings, description, description.representation)


def describe(name: str, params: Spectrograms, dataset: str, synthetic: bool, classes: list[str]) -> Description:
    """The description of a representation's store."""
    frequencies = build(name, params).frequencies()
    mels = librosa.hz_to_mel(frequencies) if frequencies.any() else np.arange(float(len(frequencies)))
    n_fft, arguments = schema.partition(params.representations[name], ["n_fft"])
    return Description(
        dataset=dataset,
        synthetic=synthetic,
        classes=tuple(classes),
        representation=name,
        **n_fft,
        sample_rate=params.sample_rate,
        seconds=params.seconds,
        hop=params.hop,
        floor_db=params.floor_db,
        frequencies=tuple(frequencies.tolist()),
        mels=tuple(mels.tolist()),
        arguments=arguments,
    )


def _build(name: str, arguments: Mapping[str, Any], common: Spectrograms | Description, where: str) -> Representation:
    """Build the class in representations/<name>.py. Error messages begin with `where`."""
    module = importlib.import_module(f"fma_genre.features.representations.{name}")
    for attribute in ("Arguments", "Representation"):
        if not hasattr(module, attribute):
            path = f"src/fma_genre/{REPRESENTATION_FOLDER}/{name}.py"
            raise InputError(f"{path}: expected a class {attribute}, found none")
    declared = schema.read(module.Arguments, arguments, where)
    try:
        return module.Representation(declared, sample_rate=common.sample_rate, hop=common.hop, floor_db=common.floor_db)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error

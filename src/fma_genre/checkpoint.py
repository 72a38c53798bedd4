"""A trained model's folder: all that is needed to use it later, and nothing that is unpickled.

`settings.json` says which network it is, its arguments, classes, input and training; `normalisation.safetensors`
holds mean and deviation of every bin; `seed<N>.safetensors` a run's weights, and `svm<N>.safetensors` its SVM head
where it has one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import nn

from fma_genre import InputError, models
from fma_genre.files import write_text
from fma_genre.segments import Normalisation
from fma_genre.svm import LinearSVM


@dataclass(frozen=True)
class Settings:
    """What settings.json holds."""

    model: str  # the network: models/<model>.py
    architecture: Mapping[str, Any]  # its keyword arguments
    bins: int
    frames: int  # of a segment
    classes: list[str]
    input: Mapping[str, Any]  # how its spectrograms were made
    training: Mapping[str, Any]
    seeds: list[int]

    def build(self) -> nn.Module:
        """The network, untrained."""
        return models.build(
            self.model, self.architecture, bins=self.bins, frames=self.frames, classes=len(self.classes)
        )


def save(folder: Path, settings: Settings, normalisation: Normalisation) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "settings.json", json.dumps(vars(settings), indent=2, ensure_ascii=False) + "\n")
    save_file(vars(normalisation), folder / "normalisation.safetensors")


def save_run(folder: Path, seed: int, model: nn.Module, svm: LinearSVM | None) -> None:
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, _weights(folder, seed))
    if svm:
        save_arrays(vars(svm), _svm(folder, seed))


def load(folder: Path) -> tuple[Settings, Normalisation]:
    """Raises InputError if the folder is not a trained model's."""
    try:
        settings = Settings(**json.loads((folder / "settings.json").read_text(encoding="utf-8")))
        normalisation = Normalisation(**load_file(folder / "normalisation.safetensors"))
        settings.build()
        if normalisation.mean.shape != (settings.bins,):
            raise ValueError(f"a normalisation of {tuple(normalisation.mean.shape)}, not ({settings.bins},)")
        return settings, normalisation
    except (OSError, ValueError, TypeError, SafetensorError, InputError) as error:
        raise InputError(f"{folder}: expected a trained model, found: {error}") from error


def load_run(folder: Path, settings: Settings, seed: int) -> tuple[nn.Module, LinearSVM | None]:
    """A run's trained network, and its SVM head if it has one.

    Raises:
        InputError: its weights are not there, or are not of this network.
    """
    path = _weights(folder, seed)
    try:
        network = settings.build()
        network.load_state_dict(load_file(path))
        path = _svm(folder, seed)
        return network, LinearSVM(**load_arrays(path)) if path.exists() else None
    except (OSError, RuntimeError, TypeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: expected weights of {settings.model}, found: {reason}") from error


def _weights(folder: Path, seed: int) -> Path:
    return folder / f"seed{seed}.safetensors"


def _svm(folder: Path, seed: int) -> Path:
    return folder / f"svm{seed}.safetensors"

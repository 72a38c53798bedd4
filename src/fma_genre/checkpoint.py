"""A trained model's folder: all that is needed to use it later, and nothing that is unpickled.

`settings.json` says which network it is, its arguments, classes, input and training; `normalisation.safetensors`
holds what standardises its input; `seed<N>.safetensors` a run's weights, and `svm<N>.safetensors` its SVM head
where it has one. A folder may come from anyone: what it says is checked before it is believed, and memory is taken
only for what it holds.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save as arrays_to_bytes
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from fma_genre import InputError, models, params
from fma_genre.files import write_bytes, write_text
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


SETTINGS = params.group(
    {
        "model": params.identifier,
        "architecture": params.anything,
        "bins": params.integer(1, 2**16),
        "frames": params.integer(2, 2**16),
        "classes": params.list_of(params.text),
        "input": params.INPUT,
        "training": params.anything,
        "seeds": params.list_of(params.integer(0)),
    }
)


def save(folder: Path, settings: Settings, normalisation: Normalisation) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "settings.json", json.dumps(vars(settings), indent=2, ensure_ascii=False) + "\n")
    write_bytes(folder / "normalisation.safetensors", to_bytes(vars(normalisation)))


def save_run(folder: Path, seed: int, model: nn.Module, svm: LinearSVM | None) -> None:
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    write_bytes(_weights(folder, seed), to_bytes(weights))
    if svm:
        write_bytes(_svm(folder, seed), arrays_to_bytes(vars(svm)))


def load(folder: Path) -> tuple[Settings, Normalisation]:
    """Raises InputError if the folder is not a trained model's."""
    try:
        settings = _settings(json.loads((folder / "settings.json").read_text(encoding="utf-8")))
        normalisation = Normalisation(**load_file(folder / "normalisation.safetensors"))
        coefficients = normalisation.analysis.shape[-1:]
        _expect_shapes(
            vars(normalisation),
            {
                "mean": (settings.bins,),
                "analysis": (settings.bins, *coefficients),
                "synthesis": (*coefficients, settings.bins),
            },
        )
        return settings, normalisation
    except (OSError, ValueError, TypeError, RecursionError, SafetensorError, InputError) as error:
        raise InputError(f"{folder}: expected a trained model, found: {error}") from error


def load_run(folder: Path, settings: Settings, seed: int) -> tuple[nn.Module, LinearSVM | None]:
    """A run's trained network, and its SVM head if it has one.

    Raises:
        InputError: its weights are not there, or are not of this network.
    """
    path = _weights(folder, seed)
    try:
        weights = load_file(path)
        with torch.device("meta"):  # where shapes are compared before a network of any size is made
            settings.build().load_state_dict(weights, assign=True)
        network = settings.build()
        network.load_state_dict(weights)
        path = _svm(folder, seed)
        return network, _load_svm(path, len(settings.classes)) if path.exists() else None
    except (OSError, RuntimeError, TypeError, ValueError, SafetensorError, InputError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: expected weights of {settings.model}, found: {reason}") from error


def _settings(found: Any) -> Settings:
    """Raises InputError naming what in settings.json is wrong."""
    SETTINGS(found, "")
    params.group(params.network(found["model"]))(found["architecture"], "architecture")
    settings = Settings(**found)
    with torch.device("meta"):
        settings.build()
    return settings


def _load_svm(path: Path, classes: int) -> LinearSVM:
    svm = LinearSVM(**load_arrays(path))
    _expect_shapes(vars(svm), {"weights": (*svm.weights.shape[:1], classes), "bias": (classes,)})
    return svm


def _expect_shapes(found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError naming the first array that has another shape."""
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise ValueError(f"{name} of shape {tuple(found[name].shape)}, not {shape}")


def _weights(folder: Path, seed: int) -> Path:
    return folder / f"seed{seed}.safetensors"


def _svm(folder: Path, seed: int) -> Path:
    return folder / f"svm{seed}.safetensors"

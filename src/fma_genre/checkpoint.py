"""A trained model's folder: all that is needed to use it later, and nothing that is unpickled.

`settings.json` says which network it is, its arguments, classes, input and training; `normalisation.safetensors`
holds what standardises its input; `seed<N>.safetensors` a run's weights, and `svm<N>.safetensors` its SVM head
where it has one. A folder may come from anyone: what it says is checked before it is believed, and memory is taken
only for what it holds.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.numpy import save as arrays_to_bytes
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from fma_genre import InputError, models, params
from fma_genre.files import write_bytes, write_text
from fma_genre.frequencies import centres
from fma_genre.segments import Normalisation
from fma_genre.svm import LinearSVM

LARGEST_SETTINGS, LARGEST_RUNS = 1 << 20, 100  # bytes; networks
LARGEST_LAYER = 1 << 28  # numbers that a layer, or the STFT, has of a clip: 1 GB of the memory of who listens
WRONG = (OSError, RuntimeError, TypeError, ValueError, RecursionError, SafetensorError, InputError)


@dataclass(frozen=True)
class Settings:
    """What settings.json holds."""

    model: str  # the network: models/<model>.py
    architecture: Mapping[str, Any]  # its keyword arguments
    classes: list[str]
    input: Mapping[str, Any]  # how its spectrograms were made
    training: Mapping[str, Any]
    seeds: list[int]

    @property
    def bins(self) -> int:
        return len(centres(self.input))

    @property
    def frames(self) -> int:
        """Of a segment."""
        return self.input["segment_frames"]

    def build(self) -> nn.Module:
        """The network, untrained."""
        return models.build(
            self.model, self.architecture, bins=self.bins, frames=self.frames, classes=len(self.classes)
        )


SETTINGS = params.group(
    {
        "model": params.identifier,
        "architecture": params.anything,
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
        settings = _settings(folder / "settings.json")
        found = _read(folder / "normalisation.safetensors")
        bins, coefficients = settings.bins, found["analysis"].shape[-1:] if "analysis" in found else ()
        shapes = {"mean": (bins,), "analysis": (bins, *coefficients), "synthesis": (*coefficients, bins)}
        _expect(found, {name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
        return settings, Normalisation(**found)
    except WRONG as error:
        raise InputError(f"{folder}: expected a trained model, found: {error}") from error


def load_run(folder: Path, settings: Settings, seed: int) -> tuple[nn.Module, LinearSVM | None]:
    """A run's trained network, and its SVM head if it has one.

    Raises:
        InputError: its weights are not there, or are not of this network.
    """
    path = _weights(folder, seed)
    try:
        weights = _read(path)
        with torch.device("meta"):  # where tensors are compared before a network of any size is made
            expected = settings.build().state_dict()
        _expect(weights, expected)
        network = settings.build().eval()
        network.load_state_dict(weights)
        path = _svm(folder, seed)
        return network, _load_svm(path, settings, network) if path.exists() else None
    except WRONG as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: expected weights of {settings.model}, found: {reason}") from error


def _settings(path: Path) -> Settings:
    """Raises InputError or ValueError naming what in settings.json is wrong."""
    if _file(path).stat().st_size > LARGEST_SETTINGS:
        raise ValueError(f"{path.name} of {path.stat().st_size} bytes, not {LARGEST_SETTINGS} at most")
    found = json.loads(path.read_text(encoding="utf-8"))
    SETTINGS(found, "")
    params.group(params.network(found["model"]))(found["architecture"], "architecture")
    settings = Settings(**found)
    if not len(set(settings.seeds)) == len(settings.seeds) <= LARGEST_RUNS:
        raise ValueError(f"seeds: {len(settings.seeds)} of them, not {LARGEST_RUNS} different ones at most")
    with torch.device("meta"):
        shapes = [weights.shape for weights in settings.build().state_dict().values()]
    given = settings.input
    widest = max(given["n_fft"], *itertools.chain(*shapes))
    layer = widest * max(settings.frames, given["seconds"] * given["sample_rate"] / given["hop"])
    if layer > LARGEST_LAYER:
        raise ValueError(f"{layer:.3g} numbers in the largest layer of a clip, not {LARGEST_LAYER} at most")
    return settings


def _load_svm(path: Path, settings: Settings, network: nn.Module) -> LinearSVM:
    with torch.inference_mode():
        features = network.features(torch.zeros(1, settings.frames, settings.bins)).shape[1]
    classes, found = len(settings.classes), _read(path)
    _expect(found, {"weights": torch.empty(features, classes), "bias": torch.empty(classes)})
    return LinearSVM(**{name: tensor.numpy() for name, tensor in found.items()})


def _read(path: Path) -> dict[str, Tensor]:
    return load_file(_file(path))


def _file(path: Path) -> Path:
    """Raises ValueError if it is a device or a pipe, which might never end."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path.name} is no file")
    return path


def _expect(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises ValueError naming the first tensor that is not one of `expected`, of another kind, or not finite."""
    for name in sorted(found.keys() ^ expected.keys()):
        raise ValueError(f"no {name}" if name in expected else f"{name}, which it has not")
    for name, tensor in expected.items():
        if (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(f"{name} of {_kind(found[name])}, not {_kind(tensor)}")
        if not found[name].isfinite().all():
            raise ValueError(f"{name} with numbers that are not finite")


def _kind(tensor: Tensor) -> str:
    return f"shape {tuple(tensor.shape)} in {str(tensor.dtype).removeprefix('torch.')}"


def _weights(folder: Path, seed: int) -> Path:
    return folder / f"seed{seed}.safetensors"


def _svm(folder: Path, seed: int) -> Path:
    return folder / f"svm{seed}.safetensors"

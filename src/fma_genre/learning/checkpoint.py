"""Folder of a trained model, with everything needed to use the model. No file is a pickle, since pickles can run code.

Files:

    settings.json              network, front end, training parameters, and description of the training data
    front_end.safetensors      fitted front end
    seed<N>.safetensors        weights of the run with seed N
    svm_head<N>.safetensors    SVM head of the run with seed N, if the model has one
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save as arrays_to_bytes
from safetensors.torch import load_file
from safetensors.torch import save as tensors_to_bytes
from torch import nn

from fma_genre.common import schema
from fma_genre.common.errors import InputError
from fma_genre.common.files import write_bytes, write_json
from fma_genre.common.params import Train
from fma_genre.learning import build, untrusted
from fma_genre.learning.build import FrontEnd
from fma_genre.learning.svm_head import LinearSVM
from fma_genre.store import Description

LOAD_ERRORS = (OSError, RuntimeError, TypeError, ValueError, RecursionError, SafetensorError, InputError)


@dataclass(frozen=True)
class Settings:
    """Content of settings.json."""

    key: schema.Name  # name of the model in params.yaml
    network: schema.Name
    network_arguments: Mapping[str, Any]
    front_end: schema.Name
    front_end_arguments: Mapping[str, Any]
    train: Train
    store: Description

    @property
    def seeds(self) -> list[int]:
        """Seed of each run."""
        return [self.train.seed + run for run in range(self.train.runs)]

    @property
    def bins(self) -> int:
        return len(self.store.frequencies)

    def build(self) -> nn.Module:
        """Build the untrained network."""
        frames, classes = self.train.segment_frames, len(self.store.classes)
        shape = {"bins": self.bins, "frames": frames, "classes": classes}
        return build.build_network(self.network, self.network_arguments, f"models.{self.key}", **shape)


def save(folder: Path, settings: Settings, front_end: FrontEnd) -> None:
    """Write the files that all runs share."""
    content = asdict(settings) | {"store": settings.store.as_json()}
    write_json(folder / "settings.json", content)
    write_bytes(folder / "front_end.safetensors", tensors_to_bytes(build.tensors_of(front_end)))


def save_run(folder: Path, seed: int, network: nn.Module, svm_head: LinearSVM | None) -> None:
    """Write the weights of one run, and its SVM head if it has one."""
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    write_bytes(_weights(folder, seed), tensors_to_bytes(weights))
    if svm_head:
        arrays = {name: np.ascontiguousarray(array) for name, array in vars(svm_head).items()}
        write_bytes(_svm_head(folder, seed), arrays_to_bytes(arrays))


def load(folder: Path) -> tuple[Settings, FrontEnd]:
    """Read the files that all runs share; raise InputError if `folder` does not contain a trained model."""
    try:
        settings = _load_settings(folder / "settings.json")
        tensors = load_file(untrusted.check_file(folder / "front_end.safetensors"))
        shapes = build.front_end_shapes(settings.front_end, settings.front_end_arguments, settings.bins)
        untrusted.check_tensors(tensors, {name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
        return settings, build.restore_front_end(settings.front_end, tensors)
    except LOAD_ERRORS as error:
        raise InputError(f"{folder}: cannot load the model: {error}") from error


def load_run(folder: Path, settings: Settings, seed: int) -> tuple[nn.Module, LinearSVM | None]:
    """Read the trained network of one run, and its SVM head if it has one.

    Raises:
        InputError: the weights are missing, or a file is damaged or does not fit `settings`.
    """
    path = _weights(folder, seed)
    try:
        weights = load_file(untrusted.check_file(path))
        with torch.device("meta"):  # check the weights before memory is allocated for the network
            expected = settings.build().state_dict()
        untrusted.check_tensors(weights, expected)
        network = settings.build().eval()
        network.load_state_dict(weights)
        path = _svm_head(folder, seed)
        return network, _load_svm_head(path, settings, network) if path.exists() else None
    except LOAD_ERRORS as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: cannot load weights of {settings.network}: {reason}") from error


def check_store(folder: Path, settings: Settings, store: Description) -> None:
    """Raise InputError unless the model in `folder` was trained on a store with this description."""
    for field in fields(Description):
        found, expected = getattr(settings.store, field.name), getattr(store, field.name)
        if found != expected:
            raise InputError(
                f"{folder}: expected {field.name} {schema.abbreviated(expected)} as in data/{store.representation},"
                f" found {schema.abbreviated(found)}: `dvc repro` retrains the model"
            )


def check_size(settings: Settings) -> None:
    """Raise InputError if the network cannot be built for its input, or would need too much memory."""
    with torch.device("meta"):
        weights = settings.build().state_dict().values()
    try:
        untrusted.check_size(settings.store, settings.train.segment_frames, weights)
    except ValueError as error:
        raise InputError(f"models.{settings.key}: {error}") from error


def _load_settings(path: Path) -> Settings:
    """Read settings.json; raise InputError or ValueError for the first invalid value."""
    content = untrusted.check_settings_file(path).read_text(encoding="utf-8")
    settings = schema.read(Settings, json.loads(content), "")
    untrusted.check_classes(settings.store.classes)
    check_size(settings)
    return settings


def _load_svm_head(path: Path, settings: Settings, network: nn.Module) -> LinearSVM:
    with torch.inference_mode():
        features = network.features(torch.zeros(1, settings.train.segment_frames, settings.bins)).shape[1]
    classes, found = len(settings.store.classes), load_file(untrusted.check_file(path))
    untrusted.check_tensors(found, {"weights": torch.empty(features, classes), "bias": torch.empty(classes)})
    return LinearSVM(**{name: tensor.numpy() for name, tensor in found.items()})


def _weights(folder: Path, seed: int) -> Path:
    return folder / f"seed{seed}.safetensors"


def _svm_head(folder: Path, seed: int) -> Path:
    return folder / f"svm_head{seed}.safetensors"

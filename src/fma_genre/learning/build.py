"""Networks and front ends, loaded by the names that a section of `models` gives."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fma_genre.common import schema
from fma_genre.common.errors import InputError
from fma_genre.common.params import Model, ModelKeys, Train
from fma_genre.learning.clips import Clips

CLASSES = {"networks": ("Arguments", "Network"), "front_ends": ("Arguments", "FrontEnd")}  # of each file


class FrontEnd(Protocol):
    """A fitted front end; see the package front_ends."""

    def encode(self, levels: Tensor) -> Tensor: ...
    def encode_shifted(self, batches: Sequence[Tensor], source_bins: Tensor) -> Tensor: ...
    def decode(self, codes: Tensor) -> Tensor: ...


def read_arguments(model: Model, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of a model's network and of its front end; raises InputError for one that is wrong."""
    declarations = {
        "network": _module("networks", model.network).Arguments,
        "front_end": _module("front_ends", model.front_end).Arguments,
    }
    others = [*schema.names(ModelKeys), *schema.names(Train)]
    found = schema.read_arguments(model.arguments, declarations, where, others)
    return asdict(found["network"]), asdict(found["front_end"])


def build_network(
    name: str, arguments: Mapping[str, Any], where: str, *, bins: int, frames: int, classes: int
) -> nn.Module:
    """The untrained network of networks/<name>.py for segments (frames, bins); `where` begins messages.

    Raises:
        InputError: an argument is wrong, or the network cannot take such an input.
    """
    module = _module("networks", name)
    try:
        declared = schema.read(module.Arguments, arguments, "")
        return module.Network(declared, bins=bins, frames=frames, classes=classes)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from error


def fit_front_end(name: str, arguments: Mapping[str, Any], clips: Clips) -> FrontEnd:
    """The front end of front_ends/<name>.py, fitted on `clips`."""
    module = _module("front_ends", name)
    return module.FrontEnd.fit(clips, schema.read(module.Arguments, arguments, ""))


def front_end_shapes(name: str, arguments: Mapping[str, Any], bins: int) -> Mapping[str, tuple[int, ...]]:
    """The shape of each tensor of a front end, by name."""
    module = _module("front_ends", name)
    return module.FrontEnd.shapes(schema.read(module.Arguments, arguments, ""), bins)


def restore_front_end(name: str, tensors: Mapping[str, Tensor]) -> FrontEnd:
    return _module("front_ends", name).FrontEnd(**tensors)


def tensors_of(front_end: FrontEnd) -> dict[str, Tensor]:
    """The tensors of a front end, by name."""
    return {field.name: getattr(front_end, field.name) for field in fields(front_end)}  # type: ignore[arg-type]


def move(front_end: FrontEnd, device: torch.device) -> FrontEnd:
    """The front end with its tensors on `device`."""
    return type(front_end)(**{name: tensor.to(device) for name, tensor in tensors_of(front_end).items()})


def _module(package: str, name: str) -> ModuleType:
    """The file of a network or a front end; raise InputError if there is none, or it lacks a class."""
    path = f"fma_genre.{package}.{name}"
    if name.startswith("_") or find_spec(path) is None:
        raise InputError(f"src/fma_genre/{package}: expected a file {name}.py, found none")
    module = importlib.import_module(path)
    for attribute in CLASSES[package]:
        if not hasattr(module, attribute):
            raise InputError(f"src/fma_genre/{package}/{name}.py: expected a class {attribute}, found none")
    return module

"""Loading of networks and front ends by the names that params.yaml gives in `models`."""

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

CLASSES = {"networks": ("Arguments", "Network"), "front_ends": ("Arguments", "FrontEnd")}  # that each file must define


class FrontEnd(Protocol):
    """A fitted front end. The package `front_ends` documents the methods."""

    def encode(self, levels: Tensor) -> Tensor: ...
    def encode_shifted(self, batches: Sequence[Tensor], source_bins: Tensor) -> Tensor: ...
    def decode(self, codes: Tensor) -> Tensor: ...


def read_arguments(model: Model, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the arguments of a model's network and of its front end.

    Args:
        where: dotted name of the section, for messages.

    Raises:
        InputError: a file is missing or lacks a required class, or an argument is unknown, missing or invalid.
    """
    declarations = {
        "network": _module("networks", model.network).Arguments,
        "front_end": _module("front_ends", model.front_end).Arguments,
    }
    other_keys = [*schema.names(ModelKeys), *schema.names(Train)]
    arguments = schema.read_arguments(model.arguments, declarations, where, other_keys)
    return asdict(arguments["network"]), asdict(arguments["front_end"])


def build_network(
    name: str, arguments: Mapping[str, Any], where: str, *, bins: int, frames: int, classes: int
) -> nn.Module:
    """Build the untrained network of networks/<name>.py for segments of shape (frames, bins).

    Args:
        where: dotted name of the section, for messages.

    Raises:
        InputError: an argument is invalid, or does not fit the shape of the segments.
    """
    module = _module("networks", name)
    try:
        declared = schema.read(module.Arguments, arguments, "")
        return module.Network(declared, bins=bins, frames=frames, classes=classes)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from error


def fit_front_end(name: str, arguments: Mapping[str, Any], clips: Clips) -> FrontEnd:
    """Fit the front end of front_ends/<name>.py on `clips`."""
    module = _module("front_ends", name)
    return module.FrontEnd.fit(clips, schema.read(module.Arguments, arguments, ""))


def front_end_shapes(name: str, arguments: Mapping[str, Any], bins: int) -> Mapping[str, tuple[int, ...]]:
    """Expected shape of each tensor of the front end in front_ends/<name>.py, by name."""
    module = _module("front_ends", name)
    return module.FrontEnd.shapes(schema.read(module.Arguments, arguments, ""), bins)


def restore_front_end(name: str, tensors: Mapping[str, Tensor]) -> FrontEnd:
    """Rebuild a fitted front end of front_ends/<name>.py from its tensors."""
    return _module("front_ends", name).FrontEnd(**tensors)


def tensors_of(front_end: FrontEnd) -> dict[str, Tensor]:
    """Tensors of a front end, by name."""
    return {field.name: getattr(front_end, field.name) for field in fields(front_end)}  # type: ignore[arg-type]


def move(front_end: FrontEnd, device: torch.device) -> FrontEnd:
    """Copy a front end to `device`."""
    return type(front_end)(**{name: tensor.to(device) for name, tensor in tensors_of(front_end).items()})


def _module(package: str, name: str) -> ModuleType:
    """Import the file of a network or a front end; raise InputError if it is missing or incomplete."""
    path = f"fma_genre.{package}.{name}"
    if name.startswith("_"):
        raise InputError(f"src/fma_genre/{package}: expected a name without a leading _, found {name}")
    if find_spec(path) is None:
        raise InputError(f"src/fma_genre/{package}: expected a file {name}.py, found none")
    module = importlib.import_module(path)
    for attribute in CLASSES[package]:
        if not hasattr(module, attribute):
            raise InputError(f"src/fma_genre/{package}/{name}.py: expected a class {attribute}, found none")
    return module

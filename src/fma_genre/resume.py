"""The state of an unfinished training: all that its next epoch depends on, so that it ends with the same bits."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from fma_genre.files import write_bytes

History = Sequence[Mapping[str, Any]]


def save(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, history: History) -> None:
    """Weights, the optimiser's moments, the random generators, and what has been reported of each epoch."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for position, weights in enumerate(model.parameters()):
        for name, tensor in optimiser.state[weights].items():
            tensors[f"optimiser.{position}.{name}"] = tensor
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state(_device(model))
    write_bytes(path, to_bytes(tensors, metadata={"history": json.dumps(history)}))


def load(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> History:
    """Puts everything back where `save` found it; the epochs' reports, none if there is no such file."""
    try:
        with safe_open(path, framework="pt") as file:
            history: History = json.loads(file.metadata()["history"])
        tensors = load_file(path, device=str(_device(model)))
        weights = {name: tensors[f"model.{name}"] for name in model.state_dict()}
    except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError):
        return []
    model.load_state_dict(weights)
    parameters = list(model.parameters())
    for key, tensor in tensors.items():
        kind, *rest = key.split(".")
        if kind == "optimiser":
            optimiser.state[parameters[int(rest[0])]][rest[1]] = tensor
    torch.set_rng_state(tensors["random.cpu"].cpu())
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"].cpu(), _device(model))
    return history


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device

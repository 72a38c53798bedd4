"""The networks, one file each: a class `Model` whose keyword arguments are its section of params.yaml.

A network takes standardised segments `(segments, frames, bins)`. `features` gives the last hidden layer
`(segments, features)`, `forward` the logits `(segments, classes)`. It can also be built on torch's device `meta`,
where tensors have shapes but no memory.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from fma_genre import InputError


def build(name: str, arguments: Mapping[str, Any], *, bins: int, frames: int, classes: int) -> nn.Module:
    """The untrained network of models/<name>.py for segments `(frames, bins)`.

    Raises:
        InputError: the network cannot take such an input, or an argument is impossible.
    """
    try:
        module = importlib.import_module(f"fma_genre.models.{name}")
        return module.Model(bins=bins, frames=frames, classes=classes, **arguments)
    except (ArithmeticError, AttributeError, ImportError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"models.{name}: {error}") from error

"""Checks of model folders from unknown sources. They run before the content of a folder can use much memory."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from fma_genre.common import schema
from fma_genre.common.schema import MAX_TEXT_LENGTH
from fma_genre.store import Description

MAX_SETTINGS_BYTES = 1 << 22  # of settings.json
POSITIVE = ("deviation",)  # endings of the names of tensors that a front end divides by
NON_NEGATIVE = ("running_var", "num_batches_tracked")  # endings of the names of tensors in batch norm
MAX_WEIGHT = 1e12  # larger weights overflow float32 within a few layers, or saturate all units
MAX_ACTIVATIONS = 1 << 28  # in the largest layer, for one clip (1 GB as float32)


def check_file(path: Path) -> Path:
    """Return `path`; raise ValueError if it exists but is not a file. Reading a device or a pipe might never end."""
    if path.exists() and not path.is_file():
        raise ValueError(f"expected a file {path.name}, found something else")
    return path


def check_settings_file(path: Path) -> Path:
    """Return `path`; raise ValueError if it is not a file, or is too large for a settings.json of this project."""
    size = check_file(path).stat().st_size
    if size > MAX_SETTINGS_BYTES:
        raise ValueError(f"expected {path.name} to have at most {MAX_SETTINGS_BYTES} bytes, found {size}")
    return path


def check_size(store: Description, segment_frames: int, weights: Iterable[Tensor]) -> None:
    """Raise ValueError if predicting one clip would need an implausible amount of memory.

    Args:
        weights: tensors of the network, which may be on the device `meta`.
    """
    widest = max(store.n_fft or 0, *itertools.chain(*(tensor.shape for tensor in weights)))
    frames = max(segment_frames, store.seconds * store.sample_rate / store.hop)
    activations = widest * frames
    if activations > MAX_ACTIVATIONS:
        raise ValueError(f"expected at most {MAX_ACTIVATIONS} activations per layer and clip, found {activations:.3g}")


def check_classes(classes: Sequence[str]) -> None:
    """Raise ValueError unless the classes are sorted and distinct. Equal names could not be told apart."""
    for before, after in itertools.pairwise(classes):
        if before >= after:
            found = f"{schema.abbreviated(after)} after {schema.abbreviated(before)}"
            raise ValueError(f"expected store.classes to be sorted and distinct, found {found}")


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError for the first tensor that is missing or unexpected, or has a wrong shape, dtype or value.

    Args:
        expected: tensors of the expected shapes and dtypes, which may be on the device `meta`.
    """
    for name in sorted(found.keys() ^ expected.keys()):
        problem = "missing" if name in expected else "unexpected"
        raise ValueError(f"{problem} tensor {name[:MAX_TEXT_LENGTH]}")
    for name, tensor in expected.items():
        if (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(f"{name} has {_kind(found[name])}, expected {_kind(tensor)}")
        if not found[name].isfinite().all():
            raise ValueError(f"{name} contains numbers that are not finite")
        if found[name].abs().max() > MAX_WEIGHT:
            raise ValueError(f"{name} contains numbers beyond {MAX_WEIGHT:g}")
        if name.endswith(NON_NEGATIVE) and (found[name] < 0).any():
            raise ValueError(f"{name} contains negative numbers")
        if name.endswith(POSITIVE) and (found[name] <= 0).any():
            raise ValueError(f"{name} contains numbers that are not positive")


def _kind(tensor: Tensor) -> str:
    return f"shape {tuple(tensor.shape)} in {str(tensor.dtype).removeprefix('torch.')}"

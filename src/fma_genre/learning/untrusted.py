"""Checks of model folders, which may come from anyone: nothing is believed, and memory is taken for what is there."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from fma_genre.common import schema
from fma_genre.common.schema import LONGEST
from fma_genre.store import Description

LARGEST_SETTINGS = 1 << 22  # bytes of settings.json
NEVER_NEGATIVE = ("running_var", "num_batches_tracked")  # PyTorch's names in layers of normalisation
LARGEST_NUMBER = 1e12  # in a tensor; larger ones leave float32's range in a few layers, or saturate all units
LARGEST_LAYER = 1 << 28  # largest activation for one clip, in numbers (1 GB as float32)


def check_file(path: Path) -> Path:
    """`path`; raises ValueError if it is a device or a pipe, which might never end."""
    if path.exists() and not path.is_file():
        raise ValueError(f"expected a file {path.name}, found something else")
    return path


def check_settings_file(path: Path) -> Path:
    """`path`; raises ValueError if it is no file, or too large for one that this project writes."""
    size = check_file(path).stat().st_size
    if size > LARGEST_SETTINGS:
        raise ValueError(f"expected at most {LARGEST_SETTINGS} bytes of {path.name}, found {size}")
    return path


def check_size(store: Description, segment_frames: int, weights: Iterable[Tensor]) -> None:
    """Raise ValueError if predicting a clip would take more memory than any sensible model does.

    Args:
        weights: of the network; they may lie on the device `meta`.
    """
    widest = max(store.n_fft, *itertools.chain(*(tensor.shape for tensor in weights)))
    layer = widest * max(segment_frames, store.seconds * store.sample_rate / store.hop)
    if layer > LARGEST_LAYER:
        raise ValueError(f"expected at most {LARGEST_LAYER} numbers in a layer for a clip, found {layer:.3g}")


def check_classes(classes: Sequence[str]) -> None:
    """Raise ValueError unless they are sorted, each once: of two with one name, only one could be told."""
    for before, after in itertools.pairwise(classes):
        if before >= after:
            found = f"{schema.abbreviated(after)} after {schema.abbreviated(before)}"
            raise ValueError(f"expected store.classes in order, each once, found {found}")


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError naming the first tensor that is missing, unexpected, of another kind, or impossible.

    Args:
        expected: tensors of the right shapes and types; they may lie on the device `meta`.
    """
    for name in sorted(found.keys() ^ expected.keys()):
        raise ValueError(f"no tensor {name}" if name in expected else f"unexpected tensor {name[:LONGEST]}")
    for name, tensor in expected.items():
        if (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(f"{name} of {_kind(found[name])}, expected {_kind(tensor)}")
        if not found[name].isfinite().all():
            raise ValueError(f"{name} with numbers that are not finite")
        if found[name].abs().max() > LARGEST_NUMBER:
            raise ValueError(f"{name} with numbers beyond {LARGEST_NUMBER:g}")
        if name.endswith(NEVER_NEGATIVE) and (found[name] < 0).any():
            raise ValueError(f"{name} with negative numbers")


def _kind(tensor: Tensor) -> str:
    return f"shape {tuple(tensor.shape)} in {str(tensor.dtype).removeprefix('torch.')}"

"""Predictions of a system in one `.npz` file. The stages `evaluate` and `baseline` write it, and `compare` reads it.

The runs of a system differ in their seeds. A baseline without randomness has one run.
"""

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from fma_genre.common import documents
from fma_genre.common.errors import InputError
from fma_genre.common.files import atomic

PICTURE_FRAMES, PICTURE_BINS = 256, 64  # size limits of a thumbnail
PICTURE_MAX = 15  # largest value in a thumbnail
HEADER = "header"  # name of the array with everything that is not an array, as JSON
SPLITS = ("validation", "test")
DTYPE_KINDS = {  # allowed values of `dtype.kind`, by array
    "tracks": "iu",
    "labels": "iu",
    "probabilities": "f",
    "segment_probabilities": "f",
    "segment_tracks": "iu",
    "segment_starts": "f",
    "svm_head_labels": "iu",
}
DAMAGED_ERRORS = (  # raised for damaged files by np.load, zipfile, zlib, or the code that uses the content
    ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RuntimeError, EOFError, MemoryError, InputError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions for the tracks of one split, in the order of the index."""

    tracks: np.ndarray  # (tracks,) track ids
    labels: np.ndarray  # (runs, tracks) predicted classes, as positions in the list of classes
    probabilities: np.ndarray | None = None  # (runs, tracks, classes) float32, mean over the segments of a track
    segment_probabilities: np.ndarray | None = None  # (runs, segments, classes) float32
    segment_tracks: np.ndarray | None = None  # (segments,) position of each segment's track in `tracks`
    segment_starts: np.ndarray | None = None  # (segments,) start of each segment in s
    svm_head_labels: np.ndarray | None = None  # (runs, tracks) classes that the SVM heads predict


@dataclass(frozen=True)
class Example:
    """A test clip for the figure of segment predictions."""

    kind: str  # "Most confident correct", "Smallest margin" or "Most confident error"
    track: int  # position among the test tracks
    picture: np.ndarray  # (frames, bins) uint8, spectrogram reduced by `thumbnail`
    seconds: float  # length of the clip


@dataclass(frozen=True)
class Predictions:
    """All predictions of one system, and facts about it for the report."""

    dataset: str
    classes: list[str]
    seeds: list[int]  # one per run; [0] for a baseline without randomness
    validation: SplitPredictions
    test: SplitPredictions
    facts: Mapping[str, Any]  # JSON, e.g. {"parameters": 1847816, "representation": "mel"} or {"c": 3}
    frequencies: np.ndarray | None = None  # (bins,) centres in Hz of the bins of the full spectrograms
    examples: Sequence[Example] = ()


def write(path: Path, predictions: Predictions) -> None:
    """Write predictions to a file; the same predictions give the same bytes."""
    header = {
        "dataset": predictions.dataset,
        "classes": list(predictions.classes),
        "seeds": list(predictions.seeds),
        "facts": dict(predictions.facts),
        "examples": [
            {"kind": example.kind, "track": int(example.track), "seconds": float(example.seconds)}
            for example in predictions.examples
        ],
    }
    arrays: dict[str, Any] = {HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8)}
    for split in SPLITS:
        arrays |= _split_arrays(split, getattr(predictions, split))
    if predictions.frequencies is not None:
        arrays["frequencies"] = predictions.frequencies
    for number, example in enumerate(predictions.examples):
        arrays[_picture_name(number)] = example.picture

    with atomic(path) as new, new.open("wb") as file:
        np.savez(file, **arrays)


def read(path: Path) -> Predictions:
    """Read predictions from a file.

    Raises:
        InputError: the file is damaged.
        FileNotFoundError: the file does not exist.
    """
    documents.check_kind(path, path.stat().st_mode)
    try:
        with np.load(path, allow_pickle=False) as file:
            predictions = _predictions({name: file[name] for name in file.files})
        for split in SPLITS:
            _check_values(split, predictions)
    except DAMAGED_ERRORS as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: expected the predictions of a system, found a damaged file: {reason}") from error
    for split in SPLITS:
        _check_shapes(path, split, predictions)
    return predictions


def thumbnail(levels: np.ndarray, frames: int = PICTURE_FRAMES) -> np.ndarray:
    """Reduce a spectrogram to a small picture with 16 shades by averaging neighbouring frames and bins.

    Args:
        levels: (frames, bins).
        frames: maximum number of frames in the picture.

    Returns:
        uint8 picture of at most `frames` × PICTURE_BINS pixels, with values from 0 to PICTURE_MAX
    """
    for axis, max_length in enumerate((frames, PICTURE_BINS)):
        length = levels.shape[axis]
        count = min(max_length, length)
        starts = np.unique(np.arange(count) * length // count)  # first index of each averaged group
        sizes = np.diff([*starts, length])
        levels = np.add.reduceat(levels.astype(float), starts, axis=axis) / np.expand_dims(sizes, 1 - axis)
    return np.round(levels / np.max(levels, initial=1) * PICTURE_MAX).astype(np.uint8)


def _split_arrays(split: str, predictions: SplitPredictions) -> dict[str, np.ndarray]:
    arrays = {f"{split}_{field.name}": getattr(predictions, field.name) for field in fields(SplitPredictions)}
    return {name: array for name, array in arrays.items() if array is not None}


def _predictions(arrays: Mapping[str, np.ndarray]) -> Predictions:
    header = documents.from_json(arrays[HEADER].tobytes(), HEADER)
    examples = [
        Example(picture=arrays[_picture_name(number)], **entry) for number, entry in enumerate(header["examples"])
    ]
    return Predictions(
        dataset=str(header["dataset"]),
        classes=[str(name) for name in header["classes"]],
        seeds=[int(seed) for seed in header["seeds"]],
        validation=_split_predictions("validation", arrays),
        test=_split_predictions("test", arrays),
        facts=dict(header["facts"]),
        frequencies=arrays.get("frequencies"),
        examples=examples,
    )


def _split_predictions(split: str, arrays: Mapping[str, np.ndarray]) -> SplitPredictions:
    prefix = f"{split}_"
    return SplitPredictions(**{name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)})


def _picture_name(number: int) -> str:
    return f"picture{number}"


def _check_values(split: str, predictions: Predictions) -> None:
    """Raise ValueError if an array has a wrong dtype, a number that is not finite, or a label out of range."""
    found: SplitPredictions = getattr(predictions, split)
    for name, kinds in DTYPE_KINDS.items():
        array = getattr(found, name)
        if array is not None and array.dtype.kind not in kinds:
            expected = "floating-point numbers" if kinds == "f" else "integers"
            raise ValueError(f"expected {expected} in {split}_{name}, found {array.dtype}")
        if array is not None and not np.isfinite(array).all():
            raise ValueError(f"expected finite numbers in {split}_{name}, found infinity or NaN")
    limits = {
        "labels": len(predictions.classes),
        "svm_head_labels": len(predictions.classes),
        "segment_tracks": len(found.tracks),
    }
    for name, limit in limits.items():
        array = getattr(found, name)
        if array is not None and not ((array >= 0) & (array < limit)).all():
            raise ValueError(f"expected {split}_{name} from 0 to {limit - 1}, found {array.min()} to {array.max()}")


def _check_shapes(path: Path, split: str, predictions: Predictions) -> None:
    """Raise InputError unless the shapes of a split's arrays fit together."""
    found: SplitPredictions = getattr(predictions, split)
    runs, tracks, classes = len(predictions.seeds), len(found.tracks), len(predictions.classes)
    segments = 0 if found.segment_tracks is None else len(found.segment_tracks)
    shapes = {
        "tracks": (tracks,),
        "labels": (runs, tracks),
        "probabilities": (runs, tracks, classes),
        "segment_probabilities": (runs, segments, classes),
        "segment_tracks": (segments,),
        "segment_starts": (segments,),
        "svm_head_labels": (runs, tracks),
    }
    for name, expected in shapes.items():
        array = getattr(found, name)
        if array is not None and array.shape != expected:
            raise InputError(f"{path}: expected {split}_{name} of shape {expected}, found {array.shape}")

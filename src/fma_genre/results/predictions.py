"""Predictions of a system: one `.npz` file, which evaluate and baseline write and compare reads.

Shapes name runs (networks that differ in their seed), tracks, segments of tracks, and classes. A baseline has one run
and no probabilities.
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

PICTURE_FRAMES, PICTURE_BINS = 256, 64  # largest size of a thumbnail
PICTURE_STEPS = 15  # a thumbnail's values are 0 … 15
HEADER = "header"  # the array that holds everything but arrays, as JSON
SPLITS = ("validation", "test")
KINDS = {  # of numbers, as NumPy abbreviates them
    "tracks": "iu",
    "labels": "iu",
    "probabilities": "f",
    "segment_probabilities": "f",
    "segment_tracks": "iu",
    "segment_starts": "f",
    "svm_head_labels": "iu",
}
DAMAGED_ERRORS = (  # of np.load, zipfile and zlib, and of what the content is used for
    ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RuntimeError, EOFError, MemoryError, InputError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions for the tracks of one split, in the order of the index."""

    tracks: np.ndarray  # (tracks,) track ids
    labels: np.ndarray  # (runs, tracks) positions among the classes
    probabilities: np.ndarray | None = None  # (runs, tracks, classes) float32, softmax averaged over a track's segments
    segment_probabilities: np.ndarray | None = None  # (runs, segments, classes) float32
    segment_tracks: np.ndarray | None = None  # (segments,) position of each segment's track
    segment_starts: np.ndarray | None = None  # (segments,) s
    svm_head_labels: np.ndarray | None = None  # (runs, tracks)

    @property
    def ensemble_labels(self) -> np.ndarray:
        """Labels (tracks,) of the softmax averaged over the runs; without probabilities, those of the only run."""
        if self.probabilities is None:
            return self.labels[0]
        return np.mean(self.probabilities, axis=0).argmax(axis=1)


@dataclass(frozen=True)
class Example:
    """A test clip to draw."""

    kind: str  # "Surest hit", "Closest call", "Surest mistake"
    track: int  # position among the test tracks
    picture: np.ndarray  # (frames, bins) uint8, a thumbnail of the spectrogram
    seconds: float  # length of the clip


@dataclass(frozen=True)
class Predictions:
    """Everything that one system predicts."""

    dataset: str
    classes: list[str]
    seeds: list[int]  # one per run; [0] for a baseline
    validation: SplitPredictions
    test: SplitPredictions
    facts: Mapping[str, Any]  # JSON: e.g. {"parameters": 1847816, "representation": "mel"}, or {"c": 3}
    frequencies: np.ndarray | None = None  # Hz, of the bins that thumbnails were made from
    examples: Sequence[Example] = ()


def write(path: Path, predictions: Predictions) -> None:
    """Write the file; the same predictions give the same bytes."""
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
    for place, example in enumerate(predictions.examples):
        arrays[_picture(place)] = example.picture

    with atomic(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def read(path: Path) -> Predictions:
    """Read the file.

    Raises:
        InputError: the file is damaged.
        FileNotFoundError: it does not exist.
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
    """Levels (frames, bins) averaged over neighbours, in 16 steps: a small picture of a spectrogram.

    Returns:
        at most (`frames`, PICTURE_BINS) uint8, 0 … PICTURE_STEPS
    """
    for axis, count in enumerate((frames, PICTURE_BINS)):
        length = levels.shape[axis]
        edges = np.unique(np.arange(min(count, length)) * length // min(count, length))
        sizes = np.diff([*edges, length])
        levels = np.add.reduceat(levels.astype(float), edges, axis=axis) / np.expand_dims(sizes, 1 - axis)
    return np.round(levels / np.max(levels, initial=1) * PICTURE_STEPS).astype(np.uint8)


def _split_arrays(split: str, predictions: SplitPredictions) -> dict[str, np.ndarray]:
    arrays = {f"{split}_{field.name}": getattr(predictions, field.name) for field in fields(SplitPredictions)}
    return {name: array for name, array in arrays.items() if array is not None}


def _predictions(arrays: Mapping[str, np.ndarray]) -> Predictions:
    header = documents.from_json(arrays[HEADER].tobytes(), HEADER)
    examples = [Example(picture=arrays[_picture(place)], **entry) for place, entry in enumerate(header["examples"])]
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


def _picture(place: int) -> str:
    return f"picture{place}"


def _check_values(split: str, predictions: Predictions) -> None:
    """Raise ValueError unless the arrays of a split hold numbers of their kind, and labels among the classes."""
    found: SplitPredictions = getattr(predictions, split)
    for name, kinds in KINDS.items():
        array = getattr(found, name)
        if array is not None and (array.dtype.kind not in kinds or not np.isfinite(array).all()):
            raise ValueError(f"expected finite numbers in {split}_{name}, found {array.dtype}")
    limits = {
        "labels": len(predictions.classes),
        "svm_head_labels": len(predictions.classes),
        "segment_tracks": len(found.tracks),
    }
    for name, limit in limits.items():
        array = getattr(found, name)
        if array is not None and not ((array >= 0) & (array < limit)).all():
            raise ValueError(f"expected {split}_{name} from 0 to {limit - 1}, found others")


def _check_shapes(path: Path, split: str, predictions: Predictions) -> None:
    """Raise InputError unless the arrays of a split fit together."""
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
    if found.probabilities is None and runs != 1:
        raise InputError(f"{path}: expected one run of a system without probabilities, found {runs}")

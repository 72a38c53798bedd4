"""Synthetic results: an index of tracks, predictions of systems, and a comparison of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fma_genre import store
from fma_genre.common.params import Compare
from fma_genre.results.comparison import Comparison, compare
from fma_genre.results.predictions import Example, Predictions, SplitPredictions, thumbnail
from fma_genre.results.result import Result
from fma_genre.results.systems import System

GENRES = ("Folk", "Jazz", "Rock")
DATASET = "small"
SEGMENTS = 3  # of each track, 2 s long
BINS = 80


def make_index(genres: Sequence[str] = GENRES, artists: int = 10, tracks: int = 4, seed: int = 0) -> pd.DataFrame:
    """An index with `artists` artists in each split. The last genre is the largest; one track is left out."""
    generator = np.random.default_rng(seed)
    rows = []
    for place, split in enumerate(("training", "validation", "test")):
        for artist in range(artists):
            genre = genres[max(artist % (len(genres) + 1) - 1, -1)]
            rows += [(100 * place + artist, genre, split)] * tracks
    index = pd.DataFrame(rows, columns=["artist_id", "genre", "split"])
    index.insert(0, "track_id", np.sort(generator.choice(10_000, len(index), replace=False)))
    index = index.assign(**{name: kind() for name, kind in store.TYPES.items() if name not in index})
    index = index.assign(frames=260, cut=False, decoder="libsndfile", decoded=6.0, length=6.0)
    index.loc[1, ["frames", "decoder", "decoded", "left_out"]] = 0, "", 0.0, "a damaged MP3"
    return index


def make_model(
    index: pd.DataFrame, share: float, *, runs: int = 2, seed: int = 0, svm_head: bool = False, **facts: Any
) -> Predictions:
    """Predictions of a model with about this share of correct tracks."""
    classes = sorted(index["genre"].unique())
    generator = np.random.default_rng(seed)
    validation, test = (_split(index, split, share, runs, classes, svm_head, generator) for split in SPLITS)
    given = {"network": "cnn", "representation": "mel", "front_end": "standardised", "parameters": 1234}
    given |= {"segment_frames": 128} | facts
    levels = generator.integers(0, 256, (260, BINS)).astype(np.uint8)
    examples = [
        Example("Most confident correct", 0, thumbnail(levels), 6.0),
        Example("Smallest margin", 3, thumbnail(levels), 6.0),
    ]
    frequencies = np.linspace(40, 11000, BINS)
    return Predictions(DATASET, classes, list(range(runs)), validation, test, given, frequencies, examples)


SPLITS = ("validation", "test")


def _split(
    index: pd.DataFrame,
    split: str,
    share: float,
    runs: int,
    classes: list[str],
    svm_head: bool,
    generator: np.random.Generator,
) -> SplitPredictions:
    tracks, actual = _tracks(index, split, classes)
    guesses = generator.integers(0, len(classes), (runs, len(tracks)))
    meant = np.where(generator.random((runs, len(tracks))) < share, actual, guesses)
    segments = np.repeat(np.arange(len(tracks)), SEGMENTS)
    votes = 1.5 * generator.random((runs, len(segments), len(classes)), np.float32)
    votes += np.eye(len(classes), dtype=np.float32)[meant][:, segments]
    votes /= votes.sum(axis=2, keepdims=True)
    probabilities = votes.reshape(runs, len(tracks), SEGMENTS, len(classes)).mean(axis=2)
    return SplitPredictions(
        tracks=tracks,
        labels=probabilities.argmax(axis=2),
        probabilities=probabilities,
        segment_probabilities=votes,
        segment_tracks=segments,
        segment_starts=np.tile(2.0 * np.arange(SEGMENTS), len(tracks)),
        svm_head_labels=guesses if svm_head else None,
    )


def make_baseline(
    index: pd.DataFrame, share: float, *, seed: int = 0, probabilities: bool = False, **facts: Any
) -> Predictions:
    """Predictions of a baseline with about this share of correct tracks."""
    classes = sorted(index["genre"].unique())
    generator = np.random.default_rng(seed)
    splits = []
    for split in SPLITS:
        tracks, actual = _tracks(index, split, classes)
        right = generator.random(len(tracks)) < share
        labels = np.where(right, actual, (actual + 1) % len(classes))[np.newaxis]
        sure = 0.7 * np.eye(len(classes), dtype=np.float32)[labels] + np.float32(0.3 / len(classes))
        splits.append(SplitPredictions(tracks, labels, sure if probabilities else None))
    given = {"features": "low_level", "classifier": "rbf_svm", "c": 3.0} | facts
    return Predictions(DATASET, classes, [0], splits[0], splits[1], given)


def _tracks(index: pd.DataFrame, split: str, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and labels of the tracks of a split that are not left out."""
    chosen = index[(index["split"] == split) & (index["frames"] > 0)]
    return chosen["track_id"].to_numpy(), pd.Index(classes).get_indexer(pd.Index(chosen["genre"]))


def make_curve(end: float = 0.5) -> pd.DataFrame:
    accuracy = [0.1, end]
    columns = {"epoch": [1, 2], "loss": [2.0, 1.0], "validation_loss": [2.0, 1.5], "validation_accuracy": accuracy}
    return pd.DataFrame(columns | {"validation_accuracy_std": [0.0, 0.02]})


def make_systems(models: Mapping[str, Predictions], baselines: Mapping[str, Predictions]) -> list[System]:
    ends = np.linspace(0.5, 0.8, len(models))
    systems = [
        System(key, True, predictions, make_curve(end))
        for end, (key, predictions) in zip(ends, models.items(), strict=True)
    ]
    return systems + [System(key, False, predictions) for key, predictions in baselines.items()]


MODELS: dict[str, dict[str, Any]] = {  # key: share of correct tracks and other arguments of `make_model`
    "cnn": {"share": 0.7, "svm_head": True},
    "birnn": {"share": 0.8, "network": "birnn", "representation": "stft"},
    "cnn_stft": {"share": 0.2, "representation": "stft"},
    "birnn_mel": {"share": 0.5, "network": "birnn"},
    "cnn_cepstral": {"share": 0.6},
    "birnn_wide_and_deep": {"share": 0.75, "network": "birnn"},
    "transformer": {"share": 0.1, "network": "transformer"},
}
BASELINES: dict[str, dict[str, Any]] = {  # key: arguments of `make_baseline`
    "svm": {"share": 0.6, "probabilities": True},
    "forest": {"share": 0.4, "classifier": "forest"},
    "nearest_neighbours": {"share": 0.5, "probabilities": True},
}
SIXTEEN = (  # genres of FMA medium
    "Blues", "Classical", "Country", "Easy Listening", "Electronic", "Experimental", "Folk", "Hip-Hop",
    "Instrumental", "International", "Jazz", "Old-Time / Historic", "Pop", "Rock", "Soul-RnB", "Spoken",
)  # fmt: skip


def make_comparison(
    models: int = 2,
    baselines: int = 1,
    *,
    runs: int = 2,
    reference: str = "cnn",
    fusion: Sequence[str] = (),
    stacking: Sequence[str] = (),
    synthetic: bool = False,
    genres: Sequence[str] = GENRES,
) -> Comparison:
    """A comparison of the first of MODELS and BASELINES."""
    index = make_index(genres, artists=max(10, 3 * len(genres)))
    named = {
        key: make_model(index, runs=runs, seed=place, **arguments)
        for place, (key, arguments) in enumerate(list(MODELS.items())[:models], start=1)
    }
    classical = {
        key: make_baseline(index, seed=place, **arguments)
        for place, (key, arguments) in enumerate(list(BASELINES.items())[:baselines])
    }
    systems = make_systems(named, classical)
    return compare_systems(systems, index, reference, fusion, stacking=stacking, synthetic=synthetic)


def compare_systems(
    systems: Sequence[System],
    index: pd.DataFrame,
    reference: str = "cnn",
    fusion: Sequence[str] = (),
    *,
    stacking: Sequence[str] = (),
    synthetic: bool = False,
) -> Comparison:
    combined = {"fusion": tuple(fusion), "stacking": tuple(stacking)}
    settings = Compare(reference=reference, **combined, resamples=400, confidence=0.95, seed=0)
    return compare(systems, index, settings, dataset=DATASET, synthetic=synthetic)


def row(comparison: Comparison, key: str) -> Result:
    """The row of a system in the tables of a comparison."""
    return next(result for result in comparison.rows if result.key == key)

"""Synthetic results: an index of tracks, predictions of systems, and a comparison of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fma_genre.common.params import Compare
from fma_genre.results.comparison import Comparison, compare
from fma_genre.results.predictions import Example, Predictions, SplitPredictions, thumbnail
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
    index = index.assign(frames=260, cut=False, decoder="libsndfile", decoded=6.0, length=6.0, same_as="", left_out="")
    index.loc[1, ["frames", "decoder", "decoded", "left_out"]] = 0, "", 0.0, "a damaged MP3"
    return index


def make_model(
    index: pd.DataFrame, share: float, *, runs: int = 2, seed: int = 0, svm_head: bool = False, **facts: Any
) -> Predictions:
    """Predictions of a model with about this share of correct tracks."""
    classes = sorted(index["genre"].unique())
    generator = np.random.default_rng(seed)
    validation, test = (_split(index, split, share, runs, classes, svm_head, generator) for split in SPLITS)
    given = {"network": "cnn", "representation": "mel", "parameters": 1234, "segment_frames": 128} | facts
    levels = generator.integers(0, 256, (260, BINS)).astype(np.uint8)
    examples = [Example("Surest hit", 0, thumbnail(levels), 6.0), Example("Closest call", 3, thumbnail(levels), 6.0)]
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


def make_baseline(index: pd.DataFrame, share: float, *, seed: int = 0, **facts: Any) -> Predictions:
    """Predictions of a baseline with about this share of correct tracks."""
    classes = sorted(index["genre"].unique())
    generator = np.random.default_rng(seed)
    splits = []
    for split in SPLITS:
        tracks, actual = _tracks(index, split, classes)
        right = generator.random(len(tracks)) < share
        splits.append(SplitPredictions(tracks, np.where(right, actual, (actual + 1) % len(classes))[np.newaxis]))
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
    systems = [System(key, True, predictions, make_curve()) for key, predictions in models.items()]
    return systems + [System(key, False, predictions) for key, predictions in baselines.items()]


def make_comparison(
    models: int = 2, baselines: int = 1, *, synthetic: bool = False, genres: Sequence[str] = GENRES
) -> Comparison:
    """A comparison of the first of the models cnn, birnn, cnn_stft, birnn_mel and the baselines svm, forest."""
    index = make_index(genres)
    named = {
        "cnn": make_model(index, 0.7, seed=1, svm_head=True),
        "birnn": make_model(index, 0.8, seed=2, network="birnn", representation="stft"),
        "cnn_stft": make_model(index, 0.2, seed=3, representation="stft"),
        "birnn_mel": make_model(index, 0.5, seed=4, network="birnn"),
    }
    classical = {"svm": make_baseline(index, 0.6), "forest": make_baseline(index, 0.4, seed=1, classifier="forest")}
    systems = make_systems(dict(list(named.items())[:models]), dict(list(classical.items())[:baselines]))
    settings = Compare(resamples=200, confidence=0.95, seed=0)
    return compare(systems, index, settings, dataset=DATASET, synthetic=synthetic)

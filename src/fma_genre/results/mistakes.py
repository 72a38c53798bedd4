"""Test tracks worth a closer look: a model's most confident mistakes, its closest calls, and disagreements.

A system predicts the genre with the highest probability, where probabilities are means over the system's runs. Systems
that predict no probabilities are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fma_genre import store
from fma_genre.results import metrics
from fma_genre.results.systems import System

LISTED = 30  # tracks in each list
CURVES = 3  # genres of a track whose probabilities are shown over time


@dataclass(frozen=True)
class Vote:
    """Prediction of one system for a track."""

    system: str
    genre: str
    probability: float


@dataclass(frozen=True)
class Curve:
    """Probability of a genre over a track."""

    genre: str
    probability: float  # for the whole track
    segments: np.ndarray  # (segments,) probability in each segment


@dataclass(frozen=True)
class ListedTrack:
    """A test track and its predictions."""

    track_id: int
    artist: str  # empty if unknown, as is the title
    title: str
    genre: str
    votes: tuple[Vote, ...]  # the model's, then those of the other systems
    curves: tuple[Curve, ...]  # the model's: its prediction, the track's genre if it differs, and the likeliest others
    starts: np.ndarray  # (segments,) start of each segment in s
    seconds: float  # length of the clip


@dataclass(frozen=True)
class TrackList:
    """The first tracks of a list."""

    heading: str
    meaning: str  # which tracks are in the list, and their order
    tracks: tuple[ListedTrack, ...]  # at most LISTED
    total: int  # number of tracks without this limit


def track_lists(model: System, others: Sequence[System], index: pd.DataFrame) -> list[TrackList]:
    """List a model's most confident mistakes, its closest calls, and its disagreements with other systems.

    Args:
        model: a system with probabilities for tracks and segments.
        others: other systems with predictions for the same tracks.
        index: index of all tracks (see `fma_genre.store`).
    """
    used = store.used(index)
    tracks = used[used["split"] == "test"]
    actual = metrics.actual_labels(tracks["track_id"].to_numpy(), store.classes(index), used)
    probabilities = {
        system.key: system.predictions.test.probabilities.mean(axis=0)  # (tracks, classes)
        for system in (model, *others)
        if system.predictions.test.probabilities is not None
    }
    own, *compared = probabilities.values()
    found = {
        ("Most confident mistakes", "Wrong predictions, the most probable first."): mistakes(own, actual),
        (
            "Closest calls",
            "Right and wrong predictions, by the difference between the probabilities of the two likeliest genres, "
            "the smallest first.",
        ): closest_calls(own),
        (
            "Disagreements",
            "Tracks for which another system predicts another genre, by the lower probability of the two predictions, "
            "the highest first.",
        ): disagreements(own, compared),
    }
    return [
        TrackList(
            heading,
            meaning,
            tuple(_listed(place, tracks, actual[place], model, probabilities) for place in places[:LISTED]),
            len(places),
        )
        for (heading, meaning), places in found.items()
    ]


def mistakes(probabilities: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Positions of the tracks with a wrong prediction, the most probable prediction first.

    Args:
        probabilities: (tracks, classes).
        actual: (tracks,) labels.
    """
    is_wrong = probabilities.argmax(axis=1) != actual
    return _descending(np.where(is_wrong, probabilities.max(axis=1), -np.inf))


def closest_calls(probabilities: np.ndarray) -> np.ndarray:
    """Positions of all tracks, the smallest difference between the two highest probabilities first.

    Args:
        probabilities: (tracks, classes).
    """
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    return _descending(second - first)


def disagreements(probabilities: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Positions of the tracks for which another system predicts another genre.

    The order is that of the lower probability of the two predictions, the highest first. If several systems predict
    another genre, the most probable of their predictions counts.

    Args:
        probabilities: (tracks, classes) of one system.
        others: the same of each other system.
    """
    label, highest = probabilities.argmax(axis=1), probabilities.max(axis=1)
    strength = np.full(len(probabilities), -np.inf)
    for other in others:
        lower = np.minimum(highest, other.max(axis=1))
        strength = np.maximum(strength, np.where(other.argmax(axis=1) != label, lower, -np.inf))
    return _descending(strength)


def _descending(values: np.ndarray) -> np.ndarray:
    """Positions of the values above −∞, the largest first; equal values keep their order."""
    order = np.argsort(-values, kind="stable")
    return order[values[order] > -np.inf]


def _listed(
    place: int, tracks: pd.DataFrame, actual: int, model: System, probabilities: Mapping[str, np.ndarray]
) -> ListedTrack:
    row, classes, test = tracks.iloc[place], model.predictions.classes, model.predictions.test
    assert test.segment_probabilities is not None
    assert test.segment_tracks is not None
    assert test.segment_starts is not None

    segments = test.segment_tracks == place
    over_time = test.segment_probabilities[:, segments].mean(axis=0)  # (segments, classes)
    own = probabilities[model.key][place]
    shown = list(dict.fromkeys([own.argmax(), actual, *np.argsort(-own, kind="stable")]))[:CURVES]
    votes = {key: values[place] for key, values in probabilities.items()}
    return ListedTrack(
        track_id=int(row["track_id"]),
        artist=row["artist"],
        title=row["title"],
        genre=row["genre"],
        votes=tuple(Vote(key, classes[values.argmax()], float(values.max())) for key, values in votes.items()),
        curves=tuple(Curve(classes[genre], float(own[genre]), over_time[:, genre]) for genre in shown),
        starts=test.segment_starts[segments],
        seconds=float(row["decoded"]),
    )

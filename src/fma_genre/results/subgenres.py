"""Results by sub-genre, and predictions that are right by any of a track's genres.

The index lists all genres of a track, as far as they are known. A *sub-genre* is a name in the list that is no class. A
*second genre* is another class in the list. The FMA's lists never have one, because a track of the FMA has a top genre
only if all of its genres belong to that one.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from fma_genre.archives.cells import listed, split_genres
from fma_genre.results.bootstrap import Interval

MIN_TRACKS = 10  # test tracks of a sub-genre in the report


@dataclass(frozen=True)
class SubGenre:
    """Recall of a system on the test tracks of a genre that have a sub-genre."""

    name: str
    genre: str  # the class of the tracks
    tracks: int
    artists: int
    recall: Interval  # share of the tracks that are assigned to `genre`, a mean over the runs
    genre_recall: float  # the same of all test tracks of `genre`


def sub_genres(
    tracks: pd.DataFrame,
    classes: Sequence[str],
    actual: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: float,
    inflation: float = 1,
) -> list[SubGenre]:
    """Sub-genres with at least MIN_TRACKS test tracks, the most tracks first.

    Args:
        tracks: rows of the index for the test tracks.
        classes: names of the classes.
        actual: (tracks,) labels of the test tracks.
        labels: (runs, tracks) labels that each run of the system predicts.
        confidence: coverage of the intervals, e.g. 0.95.
        inflation: factor by which the standard errors are enlarged (see `Bootstrap`).
    """
    artists = tracks["artist_id"].to_numpy()
    shares = (labels == actual).mean(axis=0)  # (tracks,) share of the runs that are right
    found = []
    for (genre, name), members in _members(tracks, classes).items():
        if len(members) >= MIN_TRACKS:
            recall = shares[members].mean()
            size = effective_size(artists[members]) / inflation**2
            found.append(
                SubGenre(
                    name=name,
                    genre=genre,
                    tracks=len(members),
                    artists=len(np.unique(artists[members])),
                    recall=Interval(float(recall), *wilson(recall, size, confidence)),
                    genre_recall=float(shares[actual == list(classes).index(genre)].mean()),
                )
            )
    return sorted(found, key=lambda row: (-row.tracks, row.genre, row.name))


def right_by_any(tracks: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Classes among the genres of each track, (tracks, classes) bool. A track's own class is always one of them."""
    names = [listed(name) for name in classes]
    lists = zip(tracks["genre"], tracks["genres"], strict=True)
    return np.array([np.isin(names, [listed(genre), *split_genres(genres)]) for genre, genres in lists])


def has_second_genres(right: np.ndarray) -> bool:
    """Return whether a track has a second genre. If none has, any genre is right exactly where the own class is."""
    return bool((right.sum(axis=1) > 1).any())


def any_genre_accuracy(labels: np.ndarray, right: np.ndarray) -> float:
    """Share of the tracks that are assigned to any of their genres, a mean over the runs.

    Args:
        labels: (runs, tracks) labels that each run predicts.
        right: (tracks, classes), from `right_by_any`.
    """
    return float(np.mean([right[np.arange(len(right)), run].mean() for run in labels]))


def effective_size(artists: np.ndarray) -> float:
    """Number of independent tracks that tell as much as these, if tracks of an artist tell the same (Kish 1965).

    Args:
        artists: (tracks,) artist of each track.
    """
    _, counts = np.unique(artists, return_counts=True)
    return float(counts.sum() ** 2 / (counts**2).sum())


def wilson(share: float, size: float, confidence: float) -> tuple[float, float]:
    """Score interval of a share of `size` independent tracks (Wilson 1927). It has a width even at 0 and 1."""
    z2 = norm.isf((1 - confidence) / 2) ** 2 / size
    centre = share + z2 / 2
    half_width = np.sqrt(z2 * (share * (1 - share) + z2 / 4))
    low, high = (centre - half_width) / (1 + z2), (centre + half_width) / (1 + z2)
    return max(0.0, float(low)), min(1.0, float(high))


def _members(tracks: pd.DataFrame, classes: Sequence[str]) -> dict[tuple[str, str], list[int]]:
    """Positions of the tracks of each sub-genre, by class and name."""
    names = {listed(name) for name in classes}
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, (genre, genres) in enumerate(zip(tracks["genre"], tracks["genres"], strict=True)):
        for name in dict.fromkeys(split_genres(genres)):
            if name not in names:
                members[genre, name].append(place)
    return members

"""Splits of songs into training, validation and test, with every artist in one of them.

The split is the one of the list, or is made: 80 % of the songs of each genre for training, 10 % for validation, and
10 % for test, as nearly as the artists allow. Files with the same bytes count as songs of one artist.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fma_genre.archives.tracks import SPLITS
from fma_genre.common.errors import InputError

SHARE = 0.1  # of the songs of a genre in validation, and in test
MAX_NAMED = 5
# Names, in lower case, that stand for no artist.
NO_ARTIST = {"", "unknown", "unknown artist", "<unknown>", "various", "various artists", "va", "n/a"}


def artist_key(name: str) -> str:
    """The name for comparison: two spellings in other cases or Unicode forms are the same artist. Empty if unknown."""
    key = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return "" if key in NO_ARTIST else key


def check_given(splits: Sequence[str], artists: Sequence[str], name: str) -> None:
    """Raise InputError if an artist is in two of the given splits.

    Args:
        splits: split of each song.
        artists: artist of each song, empty if unknown.
        name: of the list, for messages.
    """
    names: dict[str, str] = {}
    found: dict[str, set[str]] = defaultdict(set)
    for split, artist in zip(splits, artists, strict=True):
        if key := artist_key(artist):
            names.setdefault(key, artist)
            found[key].add(split)
    shared = [key for key, used in found.items() if len(used) > 1]
    if shared:
        listed = " and ".join(split for split in SPLITS if split in found[shared[0]])
        raise InputError(
            f"{name}: expected every artist in one split, found {names[shared[0]]} in {listed}"
            f" ({len(shared)} such artists; without a column artist, the names are from the files' tags)"
        )


def make(genres: Sequence[str], keys: Sequence[Sequence[Hashable]], seed: int) -> list[str]:
    """Make a split that is stratified by genre.

    Groups of songs that belong together are assigned one by one, the largest first, and equally large ones in random
    order. Each goes where the numbers of songs by split and genre come nearest to their targets, by the sum of squared
    differences over the targets.

    Args:
        genres: genre of each song.
        keys: for each song, what keeps it together with others: two songs with a key in common are in one split.
        seed: of the random order.

    Returns:
        split of each song
    """
    groups = _connect(keys)
    _, genre = np.unique(genres, return_inverse=True)
    counts = np.zeros((groups.max() + 1, genre.max() + 1))  # (groups, genres)
    np.add.at(counts, (groups, genre), 1)
    targets = np.array([_targets(int(total)) for total in counts.sum(axis=0)]).T  # (splits, genres)

    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    filled, chosen = np.zeros(targets.shape), np.zeros(len(counts), int)
    for group in order:
        chosen[group] = _best(counts[group], filled, targets)
        filled[chosen[group]] += counts[group]
    return [SPLITS[split] for split in chosen[groups]]


def _connect(keys: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """Number of the group of each song (songs,)."""
    numbers: dict[Hashable, int] = {}
    edges = [(song, numbers.setdefault(key, len(numbers))) for song, own in enumerate(keys) for key in own]
    songs, nodes = np.array(edges).T
    size = len(keys) + len(numbers)
    graph = coo_array((np.ones(len(edges)), (songs, len(keys) + nodes)), shape=(size, size))
    return connected_components(graph, directed=False)[1][: len(keys)]


def _targets(songs: int) -> tuple[float, float, float]:
    """Numbers of training, validation and test songs of a genre: at least one of each, if there are three songs."""
    if songs < 3:
        return (1, (songs - 1) / 2, (songs - 1) / 2)
    held_out = max(1, int(SHARE * songs + 0.5))
    return (songs - 2 * held_out, held_out, held_out)


def _best(count: np.ndarray, filled: np.ndarray, targets: np.ndarray) -> int:
    """The split for a group with these numbers of songs (genres,). Training must have every genre."""
    if (filled[0] == 0)[count > 0].any():
        return 0
    by_genre = _growth(count, filled, targets).sum(axis=1)
    overall = _growth(count.sum(), filled.sum(axis=1), targets.sum(axis=1))
    return int(np.lexsort((overall, by_genre.round(9)))[0])


def _growth(count: np.ndarray, filled: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Increase of (filled − target)² / target if `count` songs are added."""
    return count * (count + 2 * (filled - targets)) / np.maximum(targets, SHARE)

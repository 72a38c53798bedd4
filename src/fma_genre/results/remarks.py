"""Remarks in the report about clips that are incomplete or have the same bytes."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations, islice, product

import pandas as pd

from fma_genre import store

MAX_NAMED = 5  # tracks or pairs named in a sentence


def remarks(index: pd.DataFrame) -> list[str]:
    """Describe incomplete clips, and clips with the same bytes: one sentence for each of the two kinds that occurs.

    Args:
        index: index of all tracks (see `fma_genre.store`).
    """
    return [*_incomplete(index), *_same_bytes(index)]


def _incomplete(index: pd.DataFrame) -> Iterator[str]:
    tracks = store.incomplete(index)["track_id"]
    if len(tracks):
        share = f"less than {100 * store.MIN_DECODED:g} % of their length"
        yield f"Clips with {share} decoded: {len(tracks)} (tracks {_first_few(map(str, tracks), len(tracks))})."


def _same_bytes(index: pd.DataFrame) -> Iterator[str]:
    groups = same_bytes(index)
    if not groups:
        return
    count = sum(len(tracks) for splits in groups for tracks in splits.values())
    crossings = [pair for splits in groups for pair in combinations(splits.items(), 2)]
    pairs = sum(len(tracks) * len(other_tracks) for (_, tracks), (_, other_tracks) in crossings)
    names = (
        f"track {track} in {split} and track {other} in {other_split}"
        for (split, tracks), (other_split, other_tracks) in crossings
        for track, other in product(tracks, other_tracks)
    )
    across = f"{pairs} ({_first_few(names, pairs)})" if pairs else "none"
    yield f"Clips with the same bytes as another clip: {count}. Pairs of them in different splits: {across}."


def _first_few(names: Iterable[str], count: int) -> str:
    """Join the first few of `count` names with commas. If there are more, end with "..."."""
    return ", ".join([*islice(names, MAX_NAMED), *(["..."] if count > MAX_NAMED else [])])


def same_bytes(index: pd.DataFrame) -> list[dict[str, list[int]]]:
    """Group the used tracks whose clips have the same bytes.

    Returns:
        for each group, the ids of its tracks, by split
    """
    groups: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    tracks = store.used(index)
    for track, split, same in tracks.loc[tracks["same_as"] != "", ["track_id", "split", "same_as"]].to_numpy():
        groups[min(track, int(same))][split].append(track)
    return list(groups.values())

"""Sentences of the report about the clips: those decoded in part, and those with the same bytes."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations, islice, product

import pandas as pd

from fma_genre import store

MOST_NAMED = 5  # in a sentence


def remarks(index: pd.DataFrame) -> list[str]:
    """Sentences about clips that were decoded in part, and about clips with the same bytes; none if all is well."""
    return [*_about_short(index), *_about_same_bytes(index)]


def _about_short(index: pd.DataFrame) -> Iterator[str]:
    tracks = store.short(index)["track_id"]
    if len(tracks):
        named = _first(map(str, tracks), len(tracks))
        yield f"Clips decoded to less than {100 * store.WHOLE:g} % of their length: {len(tracks)} (tracks {named})."


def _about_same_bytes(index: pd.DataFrame) -> Iterator[str]:
    clips = same_bytes(index)
    if not clips:
        return
    count = sum(len(tracks) for splits in clips for tracks in splits.values())
    parts = [pair for splits in clips for pair in combinations(splits.items(), 2)]
    pairs = sum(len(tracks) * len(others) for (_, tracks), (_, others) in parts)
    named = (
        f"{track} in {split} and {other} in {other_split}"
        for (split, tracks), (other_split, others) in parts
        for track, other in product(tracks, others)
    )
    across = f"{pairs} ({_first(named, pairs)})" if pairs else "none"
    yield f"Clips with the same bytes as another: {count}; pairs of them across the split: {across}."


def _first(names: Iterable[str], count: int) -> str:
    """The first few of so many names."""
    return ", ".join([*islice(names, MOST_NAMED), *(["..."] if count > MOST_NAMED else [])])


def same_bytes(index: pd.DataFrame) -> list[dict[str, list[int]]]:
    """Used tracks whose clips have the same bytes: for each such clip, its tracks in every split."""
    clips: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    tracks = store.used(index)
    for track, split, same in tracks.loc[tracks["same_as"] != "", ["track_id", "split", "same_as"]].to_numpy():
        clips[min(track, int(same))][split].append(track)
    return list(clips.values())

"""The tracks of a subset with their genre and official split, from the FMA's tracks.csv.

Subsets are nested: *medium* means the rows marked small and those marked medium. Only tracks with a top genre
count, and no artist may be in two splits: an artist on both sides lets a model recognise the artist, not the genre.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from fma_genre import InputError

SUBSETS = ("small", "medium", "large")
SPLITS = ("training", "validation", "test")
COLUMNS: dict[Any, str] = {
    ("artist", "id"): "artist_id",
    ("track", "genre_top"): "genre",
    ("set", "split"): "split",
    ("set", "subset"): "subset",
}
IDS = ("track_id", "artist_id")
# FMA's has 106,574 tracks, a row of some ten thousand characters at most; a stranger's could take all memory.
LONGEST_ROW, MOST_TRACKS = 1 << 20, 1 << 20


def read(content: bytes, name: str) -> pd.DataFrame:
    """Reads tracks.csv (three header lines) to columns artist_id, genre, split, subset, indexed by track_id.

    Raises:
        InputError: it is no such table, or a row has an unknown split or subset, or an id stands twice.
    """
    try:
        table = _table(_rows(content))
    except (csv.Error, ValueError) as error:
        raise InputError(f"{name}: expected FMA's tracks.csv with three header lines, found: {error}") from error
    _check_values(table, name)
    table["genre"] = table["genre"].str.replace(r"[\r\n]+", " ", regex=True)  # in a line of our own tables
    table["genre"] = table["genre"].where(table["genre"] != "")
    return table.astype(dict.fromkeys(IDS, "float64")).astype(dict.fromkeys(IDS, "int64")).set_index("track_id")


def _rows(content: bytes) -> Iterator[list[str]]:
    """The rows that are not blank; raises csv.Error or ValueError where it is not a table, or one without bounds."""
    length = 0

    def lines() -> Iterator[str]:  # of one row as many as its quoted cells have
        nonlocal length
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
        while line := text.readline(LONGEST_ROW + 1):
            length += len(line)
            if length > LONGEST_ROW:
                raise ValueError(f"a row of more than {LONGEST_ROW} characters")
            yield line

    csv.field_size_limit(LONGEST_ROW)
    for row in csv.reader(lines(), strict=True):
        length = 0
        if row:
            yield row


def _table(rows: Iterator[list[str]]) -> pd.DataFrame:
    """Track id and COLUMNS, all of them text; raises ValueError if the header or a row is not FMA's."""
    groups, names, index = (next(rows, []) for _ in range(3))
    columns = list(zip(groups, names, strict=False))
    missing = ["/".join(column) for column in COLUMNS if column not in columns]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}")
    if index[:1] != ["track_id"]:
        raise ValueError(f"index {''.join(index[:1])[:100]!r}, not track_id")
    places = [0, *map(columns.index, COLUMNS)]
    cells: list[list[str]] = []
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"{len(row)} columns for track {row[0][:100]!r}, not {len(columns)}")
        if len(cells) == MOST_TRACKS:
            raise ValueError(f"more than {MOST_TRACKS} tracks")
        cells.append([row[place] for place in places])
    return pd.DataFrame(cells, columns=["track_id", *COLUMNS.values()], dtype=object)


def _check_values(table: pd.DataFrame, name: str) -> None:
    tracks = table["track_id"]
    wrong = tracks[~_are_ids(tracks)]
    if len(wrong):
        raise InputError(f"{name}: expected whole numbers as track_id, found {wrong.iloc[0][:100]!r}")
    twice = tracks[tracks.astype("float64").duplicated()]
    if len(twice):
        raise InputError(f"{name}: track {twice.iloc[0]} stands in it twice")
    for column, allowed in (("split", SPLITS), ("subset", SUBSETS)):
        _refuse(table[~table[column].isin(allowed)], column, f"{column} {', '.join(allowed)}", name)
    _refuse(table[~_are_ids(table["artist_id"])], "artist_id", "a whole number as artist id", name)


def _are_ids(column: "pd.Series[Any]") -> "pd.Series[bool]":
    """Whole numbers, which pandas may have written as 5.0, and no more digits than a float can hold."""
    return column.str.fullmatch(r"[0-9]{1,15}(\.0)?")


def _refuse(wrong: pd.DataFrame, column: str, expected: str, name: str) -> None:
    if len(wrong):
        track, found = wrong[["track_id", column]].iloc[0]
        raise InputError(f"{name}: track {track}: expected {expected}, found {found[:100]!r}")


def select(table: pd.DataFrame, subset: str, name: str, expect: Mapping[str, int] | None = None) -> pd.DataFrame:
    """The labelled tracks of `subset`, sorted by id: columns artist_id, genre, split.

    `expect` holds published counts (training, validation, test: rows before those without a genre are dropped;
    genres: number of top genres).

    Raises:
        InputError: a published count differs, or an artist is in two splits.
    """
    rows = table[table["subset"].isin(SUBSETS[: SUBSETS.index(subset) + 1])]
    counts = rows["split"].value_counts().to_dict() | {"genres": rows["genre"].nunique()}
    for key, count in (expect or {}).items():
        if counts.get(key, 0) != count:
            raise InputError(f"{name}, subset {subset}: expected {key} {count}, found {counts.get(key, 0)}")
    labelled = rows.dropna(subset="genre").drop(columns="subset").sort_index()
    check_artists(labelled, name)
    return labelled


def check_artists(tracks: pd.DataFrame, name: str) -> None:
    """Raises InputError if an artist is in two splits."""
    splits = tracks.groupby("artist_id")["split"].unique()
    shared = splits[splits.map(len) > 1]
    if len(shared):
        raise InputError(
            f"{name}: expected every artist in one split, found artist {shared.index[0]} in"
            f" {' and '.join(shared.iloc[0])} ({len(shared)} such artists)"
        )


def check_trainable(tracks: pd.DataFrame, name: str) -> None:
    """Raises InputError unless every split has tracks, there are two genres, and each has a training track."""
    for split in SPLITS:
        if not (tracks["split"] == split).any():
            raise InputError(f"{name}: expected tracks in {', '.join(SPLITS)}, found none in {split}")
    if tracks["genre"].nunique() < 2:
        raise InputError(f"{name}: expected at least two genres, found {tracks['genre'].unique().tolist()}")
    untrained = sorted(set(tracks["genre"]) - set(tracks["genre"][tracks["split"] == "training"]))
    if untrained:
        raise InputError(f"{name}: expected a training track of every genre, found none of {', '.join(untrained)}")

"""Tracks with their genre and official split: from the FMA's tracks.csv to data/tracks.csv.

Subsets are nested: *medium* means the rows marked small and those marked medium. Only tracks with a top genre
count, and no artist may be in two splits: an artist on both sides lets a model recognise the artist, not the genre.
Names of genres are normalised, so that the same name written in two ways is one genre.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from fma_genre.common import documents
from fma_genre.common.errors import InputError
from fma_genre.common.files import write_text
from fma_genre.common.params import Expect

TRACKS = Path("data/tracks.csv")
SUBSETS = ("small", "medium", "large")
SPLITS = ("training", "validation", "test")
COLUMNS: dict[Any, str] = {
    ("artist", "id"): "artist_id",
    ("track", "genre_top"): "genre",
    ("set", "split"): "split",
    ("set", "subset"): "subset",
}
IDS = ("track_id", "artist_id")
SPACES = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\ufeff"  # those without width too
# The FMA has 106,574 tracks, its longest row some ten thousand characters, and its longest genre 19.
LONGEST_ROW, MOST_TRACKS, LONGEST_GENRE = 1 << 20, 1 << 20, 200
MOST_NAMES = 5  # in a message


# data/tracks.csv. -------------------------------------------------------------------------------------------------


def write_tracks(tracks: pd.DataFrame, path: Path = TRACKS) -> None:
    """Write columns track_id, artist_id, genre, split."""
    write_text(path, tracks.to_csv(index=False, lineterminator="\n"))


def read_tracks(path: Path = TRACKS) -> pd.DataFrame:
    """Columns track_id, artist_id, genre, split; raises InputError if the file does not hold them."""
    types = {"track_id": int, "artist_id": int, "genre": str, "split": str}  # a genre may be called "None" or "1980"
    documents.check_kind(path, path.stat().st_mode)
    try:
        tracks = pd.read_csv(path, keep_default_na=False, dtype=types)
    except ValueError as error:
        raise InputError(f"{path}: expected a table of {', '.join(types)}, found: {error}") from error
    if list(tracks.columns) != list(types):  # a name that stands twice among them
        raise InputError(f"{path}: expected a table of {', '.join(types)}, found: {', '.join(tracks.columns)}")
    return tracks


# The FMA's tracks.csv. --------------------------------------------------------------------------------------------


def read(content: bytes, name: str) -> pd.DataFrame:
    """Read tracks.csv (three header lines) to columns artist_id, genre, split, subset, written; indexed by track_id.

    `genre` is normalised, and missing where nothing is left of it; `written` is the genre as it stands in the table.

    Raises:
        InputError: it is not such a table, a row has an unknown split or subset, or a track id or a column that is
            read is there twice.
    """
    try:
        table = _table(_bounded_rows(content))
    except (csv.Error, ValueError) as error:
        raise InputError(f"{name}: expected FMA's tracks.csv with three header lines, found: {error}") from error
    _check_values(table, name)

    table["written"] = table["genre"]
    table["genre"] = table["written"].map({written: normalised(written) for written in table["written"].unique()})
    table["genre"] = table["genre"].where(table["genre"] != "")
    return table.astype(dict.fromkeys(IDS, "float64")).astype(dict.fromkeys(IDS, "int64")).set_index("track_id")


def normalised(genre: str) -> str:
    """The name on one line, in Unicode's composed form (NFC), without outer spaces."""
    line = re.sub(r"[\r\n]+", " ", genre)  # so that it fits a line of our tables
    return unicodedata.normalize("NFC", line).strip(SPACES)


def _table(rows: Iterator[list[str]]) -> pd.DataFrame:
    """Track id and COLUMNS, all of them text; raises ValueError if the header or a row is not the FMA's."""
    groups, names, index = (next(rows, []) for _ in range(3))
    columns = list(zip(groups, names, strict=False))
    missing = ["/".join(column) for column in COLUMNS if column not in columns]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}")
    repeated = ["/".join(column) for column in COLUMNS if columns.count(column) > 1]
    if repeated:
        raise ValueError(f"more than one column {', '.join(repeated)}")
    if index[:1] != ["track_id"]:
        raise ValueError(f"index {''.join(index[:1])[:100]!r}, not track_id")

    positions = [0, *map(columns.index, COLUMNS)]
    cells: list[list[str]] = []
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"{len(row)} columns for track {row[0][:100]!r}, not {len(columns)}")
        cells.append([row[position] for position in positions])
    return pd.DataFrame(cells, columns=["track_id", *COLUMNS.values()], dtype=object)


def _check_values(table: pd.DataFrame, name: str) -> None:
    track_ids = table["track_id"]
    invalid = track_ids[~_are_ids(track_ids)]
    if len(invalid):
        raise InputError(f"{name}: expected whole numbers as track_id, found {invalid.iloc[0][:100]!r}")
    repeated = track_ids[track_ids.astype("float64").duplicated()]
    if len(repeated):
        raise InputError(f"{name}: expected every track once, found duplicate track_id {repeated.iloc[0]}")
    for column, allowed in (("split", SPLITS), ("subset", SUBSETS)):
        _refuse(table[~table[column].isin(allowed)], column, f"{column} {', '.join(allowed)}", name)
    too_long = table[table["genre"].str.len() > LONGEST_GENRE]
    _refuse(too_long, "genre", f"a genre of at most {LONGEST_GENRE} characters", name)
    _refuse(table[~_are_ids(table["artist_id"])], "artist_id", "a whole number as artist id", name)


def _are_ids(column: "pd.Series[Any]") -> "pd.Series[bool]":
    """Whole numbers, which pandas may have written as 5.0, with no more digits than a float can hold."""
    return column.str.fullmatch(r"[0-9]{1,15}(\.0)?")


def _refuse(rows: pd.DataFrame, column: str, expected: str, name: str) -> None:
    """Raise InputError naming the first row, if there is one."""
    if len(rows):
        track, found = rows[["track_id", column]].iloc[0]
        raise InputError(f"{name}: track {track}: expected {expected}, found {found[:100]!r}")


def _bounded_rows(content: bytes) -> Iterator[list[str]]:
    """Rows of a CSV table that are not blank, in bounded memory whatever the table contains.

    Raises:
        csv.Error, ValueError: it is no table, a row is longer than LONGEST_ROW, or there are more than MOST_TRACKS.
    """
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    length = 0

    def lines() -> Iterator[str]:
        nonlocal length
        while line := text.readline(LONGEST_ROW + 1):
            length += len(line)  # a quoted cell may span lines
            if length > LONGEST_ROW:
                raise ValueError(f"a row of more than {LONGEST_ROW} characters")
            yield line

    csv.field_size_limit(LONGEST_ROW)
    count = 0
    for row in csv.reader(lines(), strict=True):
        length = 0
        if row:
            count += 1
            if count > 3 + MOST_TRACKS:
                raise ValueError(f"more than {MOST_TRACKS} tracks")
            yield row


# Subsets. ---------------------------------------------------------------------------------------------------------


def select(table: pd.DataFrame, subset: str, name: str, expect: Expect | None = None) -> pd.DataFrame:
    """The labelled tracks of `subset`, sorted by id: columns track_id, artist_id, genre, split.

    `expect` holds published counts: of tracks in each split, before those without a genre are dropped, and of genres.

    Raises:
        InputError: a published count differs, or an artist is in two splits.
    """
    included = SUBSETS[: SUBSETS.index(subset) + 1]
    rows = table[table["subset"].isin(included)]
    _check_counts(rows, expect or Expect(), f"{name}, subset {subset}")

    labelled = rows.dropna(subset="genre").drop(columns=["subset", "written"]).sort_index().reset_index()
    check_artists(labelled, name)
    return labelled


def describe_normalised(table: pd.DataFrame) -> str:
    """Say of how many tracks the genre is written in another way than normalised, and how; empty if of none."""
    changed = table[table["genre"].notna() & (table["written"] != table["genre"])]
    if changed.empty:
        return ""
    names = changed.drop_duplicates("written")
    named = [
        f"{written!a} to {genre!a}"  # in ASCII: the difference may be invisible
        for written, genre in names[["written", "genre"]].head(MOST_NAMES).itertuples(index=False)
    ]
    others = [f"{len(names) - len(named)} others"] if len(names) > len(named) else []
    return f"genres normalised for {len(changed)} tracks: {', '.join([*named, *others])}"


def _check_counts(rows: pd.DataFrame, expect: Expect, name: str) -> None:
    counts = rows["split"].value_counts().to_dict() | {"genres": rows["genre"].nunique()}
    for key, expected in vars(expect).items():
        found = counts.get(key, 0)
        if expected is not None and found != expected:
            raise InputError(f"{name}: expected {key} {expected}, found {found}")


def check_artists(tracks: pd.DataFrame, name: str) -> None:
    """Raise InputError if an artist is in two splits."""
    splits = tracks.groupby("artist_id")["split"].unique()
    shared = splits[splits.map(len) > 1]
    if len(shared):
        raise InputError(
            f"{name}: expected every artist in one split, found artist {shared.index[0]} in"
            f" {' and '.join(shared.iloc[0])} ({len(shared)} such artists)"
        )


def check_trainable(tracks: pd.DataFrame, name: str) -> None:
    """Raise InputError unless every split has tracks, there are two genres, and each has a training track."""
    for split in SPLITS:
        if not (tracks["split"] == split).any():
            raise InputError(f"{name}: expected tracks in {', '.join(SPLITS)}, found none in {split}")
    if tracks["genre"].nunique() < 2:
        raise InputError(f"{name}: expected at least two genres, found {tracks['genre'].unique().tolist()}")
    trained = tracks["genre"][tracks["split"] == "training"]
    untrained = sorted(set(tracks["genre"]) - set(trained))
    if untrained:
        raise InputError(f"{name}: expected a training track of every genre, found none of {', '.join(untrained)}")

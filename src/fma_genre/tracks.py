"""The tracks of a subset with their genre and official split, from the FMA's tracks.csv.

Subsets are nested: *medium* means the rows marked small and those marked medium. Only tracks with a top genre
count, and no artist may be in two splits: an artist on both sides lets a model recognise the artist, not the genre.
"""

import io
from collections.abc import Mapping
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


def read(content: bytes, name: str) -> pd.DataFrame:
    """Reads tracks.csv (three header lines) to columns artist_id, genre, split, subset, indexed by track_id.

    Raises:
        InputError: it is no such table, or a row has an unknown split or subset, or an id stands twice.
    """
    try:
        header = pd.read_csv(io.BytesIO(content), header=[0, 1], index_col=0, nrows=0)
        missing = ["/".join(column) for column in COLUMNS if column not in header.columns]
        if header.index.name != "track_id" or missing:
            found = f"no column {', '.join(missing)}" if missing else f"index {header.index.name!r}, not track_id"
            raise InputError(f"{name}: expected the three header lines of FMA's tracks.csv, found {found}")
        columns = enumerate(header.columns.to_flat_index(), start=1)
        positions = {place: COLUMNS[column] for place, column in columns if column in COLUMNS}
        table = pd.read_csv(
            io.BytesIO(content),
            header=None,
            skiprows=3,
            usecols=[0, *positions],
            index_col=0,
            keep_default_na=False,
            na_values="",  # a genre may be called "None"
            dtype={place: str for place, key in positions.items() if key == "genre"},  # or "1980"
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{name}: expected FMA's tracks.csv with three header lines, found: {reason}") from error
    table = table.rename(columns=positions).rename_axis("track_id")[list(COLUMNS.values())]
    _check_values(table, name)
    table["genre"] = table["genre"].str.replace(r"[\r\n]+", " ", regex=True)  # in a line of our own tables
    return table.astype({"artist_id": "int64"})


def _check_values(table: pd.DataFrame, name: str) -> None:
    if not pd.api.types.is_integer_dtype(table.index):
        raise InputError(f"{name}: expected whole numbers as track_id, found {table.index[:1].tolist()}")
    if table.index.has_duplicates:
        raise InputError(f"{name}: track {table.index[table.index.duplicated()][0]} stands in it twice")
    for column, allowed in (("split", SPLITS), ("subset", SUBSETS)):
        wrong = table[~table[column].isin(allowed)]
        if len(wrong):
            raise InputError(
                f"{name}: track {wrong.index[0]}: expected {column} {', '.join(allowed)},"
                f" found {wrong[column].iloc[0]!r}"
            )
    artists = pd.to_numeric(table["artist_id"], errors="coerce")
    wrong = table[~((artists % 1 == 0) & artists.between(0, 2**53))]
    if len(wrong):
        found = wrong["artist_id"].iloc[0]
        raise InputError(f"{name}: track {wrong.index[0]}: expected a whole number as artist id, found {str(found)!r}")


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

"""Selection of a subset's tracks, with their genres and official splits, from the FMA's tracks.csv.

Subsets are nested: *medium* contains the rows marked small and the rows marked medium. Tracks without a top genre are
dropped. An artist must not be in two splits, since a model could then recognise the artist instead of the genre. Genre
names are normalised, so that two Unicode spellings of the same name become one genre.

Two optional columns, which the FMA's table does not have, name a track's clip in the audio archive: track/member is the
archive's member, and track/start is where the clip begins in it, in seconds. Without them, the clip is the beginning of
the member whose name is the track's id.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fma_genre.archives import genres
from fma_genre.archives.cells import one_line
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
# Columns that a table may lack. Their values are then empty, and `start` is 0.
OPTIONAL: dict[Any, str] = {
    ("artist", "name"): "artist",
    ("track", "title"): "title",
    ("track", "genres_all"): "genre_ids",
    ("track", "member"): "member",
    ("track", "start"): "start",
}
# data/tracks.csv. `genres` is the list of all genres of a track, which `cells.split_genres` reads.
FILE_TYPES = {
    "track_id": int, "artist_id": int, "genre": str, "split": str, "artist": str, "title": str, "genres": str,
    "member": str, "start": float,
}  # fmt: skip
IDS = ("track_id", "artist_id")
HEADER_ROWS = 3
SPACES = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\ufeff"  # including zero-width spaces
# For comparison: the FMA has 106,574 tracks, rows of up to about 10,000 characters, and genres of up to 19 characters.
MAX_TRACKS = 1 << 20
MAX_ROW_LENGTH = 1 << 20  # characters
MAX_GENRE_LENGTH = 200  # characters
MAX_MEMBER_LENGTH = 4096  # characters
MAX_START = 86_400  # s
MAX_NAMES = 5  # genre names in a message


# data/tracks.csv. -------------------------------------------------------------------------------------------------


def write_tracks(tracks: pd.DataFrame, path: Path = TRACKS) -> None:
    """Write the columns in FILE_TYPES."""
    write_text(path, tracks.to_csv(index=False, lineterminator="\n"))


def read_tracks(path: Path = TRACKS) -> pd.DataFrame:
    """Read the columns in FILE_TYPES; raise InputError if the file has other columns."""
    documents.check_kind(path, path.stat().st_mode)
    try:
        tracks = pd.read_csv(path, keep_default_na=False, dtype=FILE_TYPES)  # a genre may be "None" or "1980"
    except ValueError as error:
        raise InputError(f"{path}: cannot read the columns {', '.join(FILE_TYPES)}: {error}") from error
    if list(tracks.columns) != list(FILE_TYPES):  # pandas renames a repeated column, so this refuses it, too
        raise InputError(f"{path}: expected the columns {', '.join(FILE_TYPES)}, found: {', '.join(tracks.columns)}")
    return tracks


# The FMA's tracks.csv. --------------------------------------------------------------------------------------------


def parse_table(content: bytes, name: str, genre_names: Mapping[int, str] | None = None) -> pd.DataFrame:
    """Parse the FMA's tracks.csv, which has three header lines.

    Args:
        content: the file's bytes.
        name: the file's name in messages.
        genre_names: names of all genres by id, from `genres.read_names`.

    Returns:
        A table with the columns in FILE_TYPES, subset and raw_genre, indexed by track_id. `raw_genre` is the genre in
        the file; `genre` is its normalised form, or a missing value if that is empty.

    Raises:
        InputError: the content is not such a table, a row has an invalid value, or a track id or a required column
            occurs twice.
    """
    try:
        table = _parse_rows(_bounded_rows(content))
    except (csv.Error, ValueError) as error:
        raise InputError(f"{name}: expected the FMA's tracks.csv with three header lines, found: {error}") from error
    _check_values(table, name)

    table["raw_genre"] = table["genre"]
    normalised = {genre: normalise_genre(genre) for genre in table["raw_genre"].unique()}
    table["genre"] = table["raw_genre"].map(normalised)
    table["genre"] = table["genre"].where(table["genre"] != "")
    for column in ("artist", "title"):
        table[column] = table[column].map(one_line)
    numeric = table.astype(dict.fromkeys([*IDS, "start"], "float64"))  # floats first: an id may be written as 5.0
    table = numeric.astype(dict.fromkeys(IDS, "int64")).set_index("track_id")
    table["genres"] = genres.names(table.pop("genre_ids"), genre_names or {}, name)
    return table


def normalise_genre(genre: str) -> str:
    """The name on one line, in Unicode's composed form (NFC), without surrounding spaces."""
    line = re.sub(r"[\r\n]+", " ", genre)  # a line break would split a row of our tables
    return unicodedata.normalize("NFC", line).strip(SPACES)


def _parse_rows(rows: Iterator[list[str]]) -> pd.DataFrame:
    """Extract track_id, COLUMNS and OPTIONAL as strings.

    Raises:
        ValueError: the header or a row does not have the FMA's form.
    """
    groups, names, index = (next(rows, []) for _ in range(HEADER_ROWS))
    columns = list(zip(groups, names, strict=False))
    missing = ["/".join(column) for column in COLUMNS if column not in columns]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}")
    present = [column for column in OPTIONAL if column in columns]
    repeated = ["/".join(column) for column in (*COLUMNS, *present) if columns.count(column) > 1]
    if repeated:
        raise ValueError(f"repeated column {', '.join(repeated)}")
    if index[:1] != ["track_id"]:
        raise ValueError(f"index {''.join(index[:1])[:100]!r} instead of track_id")

    positions = [0, *(columns.index(column) for column in (*COLUMNS, *present))]
    cells: list[list[str]] = []
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"{len(row)} columns instead of {len(columns)} for track {row[0][:100]!r}")
        cells.append([row[position] for position in positions])
    names = ["track_id", *COLUMNS.values(), *(OPTIONAL[column] for column in present)]
    table = pd.DataFrame(cells, columns=names, dtype=object)
    absent = dict.fromkeys([name for name in OPTIONAL.values() if name not in names], "")
    table = table.assign(**absent)
    table["start"] = table["start"].where(table["start"] != "", "0")
    return table


def _check_values(table: pd.DataFrame, name: str) -> None:
    track_ids = table["track_id"]
    invalid = track_ids[~_are_ids(track_ids)]
    if len(invalid):
        found = invalid.iloc[0][:100]
        raise InputError(f"{name}: expected whole numbers of up to 15 digits as track_id, found {found!r}")
    repeated = track_ids[track_ids.astype("float64").duplicated()]
    if len(repeated):
        raise InputError(f"{name}: expected every track once, found duplicate track_id {repeated.iloc[0]}")
    for column, allowed in (("split", SPLITS), ("subset", SUBSETS)):
        _refuse(table[~table[column].isin(allowed)], column, f"one of {', '.join(allowed)} as {column}", name)
    too_long = table[table["genre"].str.len() > MAX_GENRE_LENGTH]
    _refuse(too_long, "genre", f"a genre of at most {MAX_GENRE_LENGTH} characters", name)
    _refuse(table[~_are_ids(table["artist_id"])], "artist_id", "a whole number of up to 15 digits as artist_id", name)
    too_long = table[table["member"].str.len() > MAX_MEMBER_LENGTH]
    _refuse(too_long, "member", f"a member of at most {MAX_MEMBER_LENGTH} characters", name)
    unreadable = table["member"].str.contains("\r", regex=False)  # the csv module writes it without quotes
    _refuse(table[unreadable], "member", "a member without a carriage return", name)
    is_start = table["start"].str.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?")
    in_range = table["start"].where(is_start, "0").astype("float64") <= MAX_START
    _refuse(table[~(is_start & in_range)], "start", f"a start from 0 to {MAX_START} s in whole milliseconds", name)


def _are_ids(column: "pd.Series[Any]") -> "pd.Series[bool]":
    """Return whether each value is a whole number of at most 15 digits, which a float represents exactly.

    The number 5 may be written as 5.0, since pandas writes integers as floats if their column has missing values.
    """
    return column.str.fullmatch(r"[0-9]{1,15}(\.0)?")


def _refuse(rows: pd.DataFrame, column: str, expected: str, name: str) -> None:
    """Raise InputError for the first of the invalid `rows`, if there are any."""
    if len(rows):
        track, found = rows[["track_id", column]].iloc[0]
        raise InputError(f"{name}: track {track}: expected {expected}, found {found[:100]!r}")


def _bounded_rows(content: bytes) -> Iterator[list[str]]:
    """Yield the rows of a CSV table in bounded memory, whatever its content; skip blank rows.

    Raises:
        csv.Error, ValueError: the content is not CSV, has a row longer than MAX_ROW_LENGTH, or has more rows than
            MAX_TRACKS allows.
    """
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    row_length = 0  # characters of the current row so far

    def lines() -> Iterator[str]:
        nonlocal row_length
        while line := text.readline(MAX_ROW_LENGTH + 1):
            row_length += len(line)  # summed over lines, since a quoted cell may contain line breaks
            if row_length > MAX_ROW_LENGTH:
                raise ValueError(f"a row of more than {MAX_ROW_LENGTH} characters")
            yield line

    csv.field_size_limit(MAX_ROW_LENGTH)
    count = 0
    for row in csv.reader(lines(), strict=True):
        row_length = 0
        if row:
            count += 1
            if count > HEADER_ROWS + MAX_TRACKS:
                raise ValueError(f"more than {MAX_TRACKS} tracks")
            yield row


# Subsets. ---------------------------------------------------------------------------------------------------------


def select(table: pd.DataFrame, subset: str, name: str, expect: Expect | None = None) -> pd.DataFrame:
    """Select the tracks of a subset that have a genre.

    Args:
        table: from `parse_table`.
        subset: one of SUBSETS. A subset includes the smaller subsets.
        name: the archive's name in messages.
        expect: published counts to compare with the table. They include tracks without a genre.

    Returns:
        A table with the columns in FILE_TYPES, sorted by track_id.

    Raises:
        InputError: a count differs from the published number, or an artist is in two splits.
    """
    included = SUBSETS[: SUBSETS.index(subset) + 1]
    rows = table[table["subset"].isin(included)]
    _check_counts(rows, expect or Expect(), f"{name}, subset {subset}")

    labelled = rows.dropna(subset="genre").sort_index().reset_index()[list(FILE_TYPES)]
    check_artists(labelled, name)
    return labelled


def describe_normalised(table: pd.DataFrame) -> str:
    """One line that counts the tracks whose genre name changed, and lists the changes; empty if nothing changed."""
    changed = table[table["genre"].notna() & (table["raw_genre"] != table["genre"])]
    if changed.empty:
        return ""
    names = changed.drop_duplicates("raw_genre")
    listed = [
        f"{raw_genre!a} to {genre!a}"  # !a writes ASCII escapes, since the difference may be invisible
        for raw_genre, genre in names[["raw_genre", "genre"]].head(MAX_NAMES).itertuples(index=False)
    ]
    if len(names) > len(listed):
        listed.append(f"{len(names) - len(listed)} others")
    return f"genres normalised for {len(changed)} tracks: {', '.join(listed)}"


def _check_counts(rows: pd.DataFrame, expect: Expect, name: str) -> None:
    counts = rows["split"].value_counts().to_dict() | {"genres": rows["genre"].nunique()}
    for key, expected in vars(expect).items():
        found, counted = counts.get(key, 0), "genres" if key == "genres" else f"{key} tracks"
        if expected is not None and found != expected:
            raise InputError(f"{name}: expected {expected} {counted}, found {found}")


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
    """Raise InputError unless every split has tracks, and there are two or more genres, all with training tracks."""
    for split in SPLITS:
        if not (tracks["split"] == split).any():
            raise InputError(f"{name}: expected tracks in {', '.join(SPLITS)}, found none in {split}")
    if tracks["genre"].nunique() < 2:
        raise InputError(f"{name}: expected at least two genres, found {tracks['genre'].unique().tolist()}")
    trained = tracks["genre"][tracks["split"] == "training"]
    untrained = sorted(set(tracks["genre"]) - set(trained))
    if untrained:
        raise InputError(f"{name}: expected a training track for every genre, found none for {', '.join(untrained)}")

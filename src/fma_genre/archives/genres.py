"""Names of all genres of a track, from the FMA's genres.csv and the column genres_all of its tracks.csv."""

import csv
import io
import re
import zipfile
from collections.abc import Mapping

import pandas as pd

from fma_genre.archives import zips
from fma_genre.archives.cells import join_genres, listed
from fma_genre.common.errors import InputError

MEMBER = "genres.csv"
COLUMNS = ("genre_id", "title")
MAX_GENRES = 10_000  # the FMA has 163
IDS = re.compile(r"(\[\s*([0-9]{1,15}(\s*,\s*[0-9]{1,15})*)?\s*\])?")  # a list in Python's form, or nothing


def read_names(archive: zipfile.ZipFile) -> dict[int, str]:
    """Names of the genres by id; empty if the archive has no genres.csv.

    Raises:
        InputError: the archive has several such members, or the member is not the FMA's table.
    """
    if not any(name == MEMBER or name.endswith(f"/{MEMBER}") for name in archive.namelist()):
        return {}
    content = zips.read_member(archive, MEMBER)
    try:
        return parse_names(content.decode("utf-8-sig"))
    except (ValueError, csv.Error) as error:
        raise InputError(f"{archive.filename}: expected the FMA's {MEMBER}, found: {error}") from error


def parse_names(text: str) -> dict[int, str]:
    """Names of the genres by id; raise ValueError or csv.Error if the text is not the FMA's table."""
    rows = csv.DictReader(io.StringIO(text), strict=True)
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or [])]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}")
    titles: dict[int, str] = {}
    for row in rows:
        number, title = (row[column] or "" for column in COLUMNS)
        if not re.fullmatch("[0-9]{1,15}", number):
            raise ValueError(f"genre_id {number[:100]!r}")
        titles[int(number)] = listed(title)
        if len(titles) > MAX_GENRES:
            raise ValueError(f"more than {MAX_GENRES} genres")
    return titles


def names(ids: "pd.Series[str]", by_id: Mapping[int, str], name: str) -> "pd.Series[str]":
    """Names of all genres of each track, as a list in one cell (see `cells`).

    Args:
        ids: the column genres_all, such as "[12, 38]", indexed by track_id.
        by_id: from `read_names`. Ids without a name are skipped. If it is empty, so is the result.
        name: the table's name in messages.

    Raises:
        InputError: a value is not a list of ids.
    """
    if not by_id:
        return pd.Series("", index=ids.index)

    def join(cell: str) -> str:
        return join_genres(by_id.get(int(number), "") for number in re.findall("[0-9]+", cell))

    distinct = ids.unique()
    for cell in distinct:
        if not IDS.fullmatch(cell):
            track = ids.index[ids == cell][0]
            raise InputError(f"{name}: track {track}: expected a list of ids as genres_all, found {cell[:100]!r}")
    return ids.map({cell: join(cell) for cell in distinct})

"""The official features.csv in fma_metadata.zip: features of the full-length tracks, computed by the FMA's authors.

Its first four lines are a header: the feature, the statistic over time, the number of the dimension (01, 02, …), and
the name of the index. Then it has a row for each of 106,574 tracks. It has 951 MB, so it is read row by row.
"""

import io
import zipfile
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from fma_genre.archives.receipt import progress_bar
from fma_genre.archives.zips import ZIP_ERRORS
from fma_genre.common.errors import InputError

MEMBER = "features.csv"
DIMENSIONS = {
    "chroma_cens": 12, "chroma_cqt": 12, "chroma_stft": 12, "mfcc": 20, "rmse": 1, "spectral_bandwidth": 1,
    "spectral_centroid": 1, "spectral_contrast": 7, "spectral_rolloff": 1, "tonnetz": 6, "zcr": 1,
}  # fmt: skip
STATISTICS = ("kurtosis", "max", "mean", "median", "min", "skew", "std")
LEVELS = ("feature", "statistics", "number")  # first cell of each header line but the last
INDEX = "track_id"
COLUMNS = [
    (feature, statistic, f"{number:02d}")
    for feature, dimensions in DIMENSIONS.items()
    for statistic in STATISTICS
    for number in range(1, dimensions + 1)
]
MAX_ROW_LENGTH = 1 << 16  # characters; the FMA's rows have about 9,000


def read_features(archive: zipfile.ZipFile, tracks: Sequence[int]) -> pd.DataFrame:
    """Read the features of the given tracks.

    Returns:
        A float32 table with the columns COLUMNS, indexed by track_id in the order of `tracks`.

    Raises:
        InputError: the archive has no such table, or a track is missing, occurs twice, or has a value that is not a
            finite number.
    """
    name = f"{archive.filename}: {MEMBER}"
    wanted = {str(track): place for place, track in enumerate(tracks)}
    values = np.full((len(tracks), len(COLUMNS)), np.nan, np.float32)
    found: set[str] = set()
    try:
        lines = _lines(archive, _find_member(archive))
        width, places = _parse_header(lines)
        for line in lines:
            track, _, _ = line.partition(",")
            if track in wanted:
                if track in found:
                    raise ValueError(f"track {track} twice")
                found.add(track)
                values[wanted[track]] = _parse_row(line, width, places)
    except (*ZIP_ERRORS, ValueError) as error:
        raise InputError(f"{name}: expected the FMA's table with four header lines, found: {error}") from error

    missing = [track for track in wanted if track not in found]
    if missing:
        raise InputError(
            f"{name}: expected a row for each of the {len(wanted)} tracks,"
            f" found none for {len(missing)} of them, the first being track {missing[0]}"
        )
    columns = pd.MultiIndex.from_tuples(COLUMNS, names=LEVELS)
    return pd.DataFrame(values, index=pd.Index(tracks, name=INDEX), columns=columns)


def _find_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    found = [member for member in archive.infolist() if member.filename.split("/")[-1] == MEMBER]
    if len(found) != 1:
        names = " and ".join(member.filename for member in found[:2]) or "none"
        raise InputError(f"{archive.filename}: expected one member {MEMBER}, found {names}")
    return found[0]


def _lines(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[str]:
    """Yield the lines of a member without their line breaks; raise an error of ZIP_ERRORS if it is damaged.

    The checksum is verified at the end.
    """
    with archive.open(member) as stream, progress_bar(f"reading {MEMBER}", member.file_size) as bar:
        text = io.TextIOWrapper(stream, encoding="utf-8")
        while line := text.readline(MAX_ROW_LENGTH + 1):
            if len(line) > MAX_ROW_LENGTH:
                raise ValueError(f"a row of more than {MAX_ROW_LENGTH} characters")
            bar.update(len(line))
            yield line.rstrip("\r\n")


def _parse_header(lines: Iterator[str]) -> tuple[int, list[int]]:
    """Return the number of cells in a row, and the place of each of COLUMNS."""
    levels = [next(lines, "").split(",") for _ in LEVELS]
    index = next(lines, "").split(",")[0]
    firsts = [cells[0] for cells in levels]
    if firsts != list(LEVELS) or index != INDEX:
        raise ValueError(f"lines that begin with {', '.join([*firsts, index])[:100]!r}")
    if len(set(map(len, levels))) > 1:
        raise ValueError(f"header lines of {', '.join(str(len(cells)) for cells in levels)} cells")

    columns = list(zip(*levels, strict=True))
    for column in COLUMNS:
        if columns.count(column) != 1:
            raise ValueError(f"{columns.count(column)} columns {'/'.join(column)}")
    return len(columns), [columns.index(column) for column in COLUMNS]


def _parse_row(line: str, width: int, places: Sequence[int]) -> np.ndarray:
    """Return the values in COLUMNS, (columns,) float32."""
    cells = line.split(",")
    if len(cells) != width:
        raise ValueError(f"{len(cells)} cells instead of {width} for track {cells[0]}")
    with np.errstate(over="ignore"):  # too large a number becomes infinity
        row = np.array([_number(cells[place]) for place in places], np.float32)
    invalid = np.flatnonzero(~np.isfinite(row))
    if len(invalid):
        column, cell = COLUMNS[invalid[0]], cells[places[invalid[0]]]
        raise ValueError(f"{cell[:100]!r} in {'/'.join(column)} of track {cells[0]}")
    return row


def _number(cell: str) -> float:
    """The number in a cell; NaN if there is none."""
    try:
        return float(cell)
    except ValueError:
        return np.nan

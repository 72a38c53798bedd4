"""Lists of audio files with their genres: from a folder for each genre, or from a CSV file.

    FOLDER/rock/album/song.mp3     every audio file below FOLDER/rock has the genre rock

    path,genre,artist,split,start,seconds
    song.mp3,rock,Jane Doe,training,0,60

Only the columns `path` and `genre` are required. A path is relative to the folder of the CSV file. The columns `start`
and `seconds` limit the part of the file from which clips are taken.

The order of the songs depends only on their names: not on the order of the directory, the rows or the locale.
"""

import csv
import io
import math
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fma_genre.archives.cells import one_line
from fma_genre.archives.tracks import MAX_GENRE_LENGTH, MAX_START, MAX_TRACKS, SPLITS, normalise_genre
from fma_genre.common import documents, schema
from fma_genre.common.errors import InputError

# Files with other suffixes are skipped in a folder. Video formats are included for their audio.
SUFFIXES = {
    ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".eac3", ".flac", ".m4a", ".m4b",
    ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".snd", ".tta", ".w64", ".wav", ".weba",
    ".webm", ".wma", ".wv",
}  # fmt: skip
REQUIRED, OPTIONAL = ("path", "genre"), ("artist", "split", "start", "seconds")
SPLIT_NAMES = {split: split for split in SPLITS} | {"train": "training", "valid": "validation", "val": "validation"}
TIME = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?")
MAX_TABLE_BYTES = 1 << 28
MAX_CELL = 1 << 16  # characters


@dataclass(frozen=True)
class Song:
    """An audio file, or a part of one."""

    path: Path
    name: str  # its path below the folder or from the CSV file, in Unicode's composed form (NFC)
    where: str  # its place in messages
    genre: str
    artist: str = ""  # empty if it is not given, as in the other columns
    split: str = ""
    start: float | None = None  # s
    seconds: float | None = None  # s

    @property
    def order(self) -> tuple[str, bytes, float]:
        """Sort key."""
        return self.name, os.fsencode(self.path), self.start or 0


def read(source: Path) -> list[Song]:
    """List the songs of a folder or of a CSV file, in the order of their names.

    Raises:
        InputError: there is no such source, a row is invalid, or a file is missing.
    """
    if source.is_dir():
        songs, expected = _read_folder(source), "audio files in folders named by genre"
    elif source.exists():
        songs, expected = _read_table(source), "a row for each song"
    else:
        raise InputError(f"{source}: expected a folder or a CSV file, found none")
    if not songs:
        raise InputError(f"{source}: expected {expected}, found none")
    if len(songs) > MAX_TRACKS:
        raise InputError(f"{source}: expected at most {MAX_TRACKS} audio files, found {len(songs)}")
    songs.sort(key=lambda song: song.order)
    for song in songs:
        _check(song)
    return songs


def skipped(source: Path) -> Counter[str]:
    """Count the files of a folder that `read` skips, by suffix in lower case. A CSV file has none."""
    paths = _files(source, tuple(source.resolve().parents)) if source.is_dir() else ()
    return Counter(path.suffix.lower() for path in paths if not _is_audio(path))


def _check(song: Song) -> None:
    """Raise InputError unless the genre is a name."""
    if not song.genre or len(song.genre) > MAX_GENRE_LENGTH or not _is_unicode(song.genre):
        expected = f"a genre of 1 to {MAX_GENRE_LENGTH} characters in UTF-8"
        raise InputError(f"{song.where}: expected {expected}, found {song.genre[:100]!a}")


def _is_unicode(text: str) -> bool:
    return text == text.encode(errors="replace").decode()


# Folders. ---------------------------------------------------------------------------------------------------------


def _read_folder(folder: Path) -> list[Song]:
    """List the audio files below each folder of a genre. Hidden files and other files are skipped.

    Raises:
        InputError: an audio file is in no folder of a genre.
    """
    songs = []
    for path in _files(folder, tuple(folder.resolve().parents)):
        if not _is_audio(path):
            continue
        parts = [_text(part) for part in path.relative_to(folder).parts]
        name = "/".join(parts)
        if len(parts) == 1:
            raise InputError(f"{folder}: expected every audio file in a folder named by its genre, found {name}")
        songs.append(Song(path, name, one_line(name), normalise_genre(parts[0])))
    return songs


def _files(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the files below a folder, except hidden ones.

    Links to other folders are followed, but not to those `above` this one.
    """
    real = folder.resolve()
    if real in above:
        return
    for path in _visible(folder):
        if path.is_dir():
            yield from _files(path, (*above, real))
        elif path.exists():  # a link may be broken
            yield path


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _text(name: str) -> str:
    """The name of a file as normalised Unicode, whatever the locale. Bytes that are not UTF-8 become surrogates."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode(errors="surrogateescape"))


# CSV files. -------------------------------------------------------------------------------------------------------


def _read_table(table: Path) -> list[Song]:
    text = documents.read_bytes(table, MAX_TABLE_BYTES).decode("utf-8-sig", errors="surrogateescape")
    csv.field_size_limit(MAX_CELL)
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    songs: dict[tuple[Path, float | None], Song] = {}
    first_parts: dict[Path, Song] = {}
    try:
        columns = _check_columns([cell.strip() for cell in next(rows, [])], table)
        for cells in filter(None, rows):
            where = f"{table}: line {rows.line_num}"
            if len(cells) != len(columns):
                raise schema.mismatch(where, f"{len(columns)} columns", len(cells))
            song = _read_row(dict(zip(columns, cells, strict=True)), table, where)
            earlier = songs.setdefault((song.path, song.start), song)
            if earlier is not song:
                raise InputError(f"{where}: expected every file and start once, found those of {earlier.where} again")
            first = first_parts.setdefault(song.path, song)
            if first.split != song.split:
                expected = f"the split {first.split}, which {first.where} has for another part of the file"
                raise InputError(f"{where}: expected {expected}, found {song.split}")
    except csv.Error as error:
        raise InputError(f"{table}: line {rows.line_num}: expected CSV, found: {error}") from error
    _check_exist(list(songs.values()))
    return list(songs.values())


def _check_columns(columns: list[str], table: Path) -> list[str]:
    known = [*REQUIRED, *OPTIONAL]
    expected = f"the columns {', '.join(REQUIRED)}, and optionally {', '.join(OPTIONAL)}"
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(separator in column for column in columns):
            raise InputError(f"{table}: expected commas between columns, found {name}")
    for column in columns:
        if column not in known:
            raise InputError(f"{schema.mismatch(str(table), expected, column)}{schema.suggestion(column, known)}")
        if columns.count(column) > 1:
            raise InputError(f"{table}: expected {expected}, found {column} twice")
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        raise InputError(f"{table}: expected {expected}, found no {missing[0]}")
    return columns


def _read_row(cells: dict[str, str], table: Path, where: str) -> Song:
    path = _find(table.parent, cells["path"], where)
    split = cells.get("split", "").strip()
    if "split" in cells and split.lower() not in SPLIT_NAMES:
        raise schema.mismatch(f"{where}: split", f"one of {', '.join(SPLIT_NAMES)}", split)
    return Song(
        path,
        unicodedata.normalize("NFC", cells["path"]),
        where,
        normalise_genre(cells["genre"]),
        artist=one_line(cells.get("artist", "")),
        split=SPLIT_NAMES.get(split.lower(), ""),
        start=_read_time(cells.get("start", ""), f"{where}: start", 0),
        seconds=_read_time(cells.get("seconds", ""), f"{where}: seconds", 1),
    )


def _find(folder: Path, cell: str, where: str) -> Path:
    """The path of a file. The table may have another Unicode form of the name, or spaces around it."""
    if not cell.strip() or "\0" in cell:
        raise schema.mismatch(f"{where}: path", "a path", cell)
    forms = [unicodedata.normalize(form, name) for name in (cell, cell.strip()) for form in ("NFC", "NFD")]
    paths = [folder / os.fsdecode(form.encode(errors="surrogateescape")) for form in (cell, *forms)]
    return next((path for path in paths if path.exists()), paths[0])


def _read_time(cell: str, where: str, least: float) -> float | None:
    """Read a time in s; return None for an empty cell."""
    if not cell.strip():
        return None
    value = float(cell) if TIME.fullmatch(cell.strip()) else math.nan
    if not least <= value <= MAX_START:
        raise schema.mismatch(where, f"{least:g} to {MAX_START} s in whole milliseconds", cell)
    return value


def _check_exist(songs: list[Song]) -> None:
    """Raise InputError if a row names no file."""
    missing = [song for song in songs if not _is_file(song.path)]
    if missing:
        found = f"none at {one_line(missing[0].name)} ({len(missing)} such rows)"
        raise InputError(f"{missing[0].where}: expected an audio file, found {found}")


def _is_file(path: Path) -> bool:
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False

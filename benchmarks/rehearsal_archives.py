"""Archives with the FMA's layout and its published counts, whose clips are copies of the clips of another archive.

The table of tracks is that of the whole FMA, whatever the subset, as in the official archive of the metadata. Counts
are from M. Defferrard, K. Benzi, P. Vandergheynst and X. Bresson, "FMA: A Dataset for Music Analysis", ISMIR 2017, and
from the table of tracks that belongs to it. Published figures do not determine two things. The 16,341 artists of the
paper have a geometrically distributed number of tracks here, and all tracks of an artist have the same genre and split.
The tracks of the large subset alone are distributed over the splits, in each genre, as the totals of the splits are.
"""

import csv
import hashlib
import io
import itertools
import struct
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from fma_genre.archives import clips, tracks, zips
from fma_genre.archives.receipt import hash_file
from fma_genre.archives.tracks import SPLITS, SUBSETS
from fma_genre.common import files, progress
from fma_genre.common.errors import InputError
from fma_genre.fetch.demo import COLUMNS, TIMESTAMP


@dataclass(frozen=True)
class Genre:
    genre_id: int
    medium: tuple[int, int, int]  # tracks of the medium subset in training, validation and test
    all: int  # tracks of all subsets


GENRES = {
    "Rock": Genre(12, (5681, 711, 711), 14182),
    "Electronic": Genre(15, (5050, 632, 632), 9372),
    "Experimental": Genre(38, (1801, 225, 225), 10608),
    "Hip-Hop": Genre(21, (1761, 220, 220), 3552),
    "Folk": Genre(17, (1215, 152, 152), 2803),
    "Instrumental": Genre(1235, (1045, 131, 174), 2079),
    "Pop": Genre(10, (945, 122, 119), 2332),
    "International": Genre(2, (814, 102, 102), 1389),
    "Classical": Genre(5, (495, 62, 62), 1230),
    "Old-Time / Historic": Genre(8, (408, 51, 51), 554),
    "Jazz": Genre(4, (306, 39, 39), 571),
    "Country": Genre(9, (142, 18, 18), 194),
    "Soul-RnB": Genre(14, (94, 18, 42), 175),
    "Spoken": Genre(20, (94, 12, 12), 423),
    "Blues": Genre(3, (58, 8, 8), 110),
    "Easy Listening": Genre(13, (13, 2, 6), 24),
}
SMALL = list(GENRES)[:8]  # genres of the small subset
SMALL_COUNTS = (800, 100, 100)  # tracks of each of them in training, validation and test
ALL = (84353, 10958, 11263)  # tracks of all subsets in training, validation and test
ARTISTS = 16341
NO_GENRE = ""  # the genre of a track without a top genre
LAST_ID = 155_320
ROW_CHARACTERS = 2300  # mean length of the free text in a row, so that the table has the FMA's 260 MB
README = "A rehearsal: copies of other clips in the layout of the FMA dataset.\n"
DESCRIPTION = "archives.json"
LOCAL_HEADER = 30  # bytes before a member's name; the last four are the lengths of the name and of the extra field


@dataclass(frozen=True)
class Clip:
    """A clip that is copied."""

    member: zipfile.ZipInfo
    sha1: str
    seconds: float


def build(
    folder: Path, audio: Path, metadata: Path, size: str, share: float = 1, shortest: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Write the archives of a subset, and their description `archives.json`, into `folder`.

    Args:
        audio, metadata: archives whose clips are copied.
        size: one of SUBSETS.
        share: share of the tracks of each genre, split and subset; at least one track is left.
        shortest: number of clips per genre and split that are copied, the shortest ones; None for all.

    Returns:
        the content of the description
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = plan(share, np.random.default_rng([seed, 0]))
    chosen = table[table["subset"].isin(SUBSETS[: SUBSETS.index(size) + 1])]
    audio_path, metadata_path = folder / f"fma_{size}.zip", folder / "fma_metadata.zip"

    available = find_clips(audio, metadata, shortest)
    copied = assign(chosen, available)
    write_audio(audio_path, audio, dict(zip(chosen["track_id"], copied, strict=True)))
    write_metadata(metadata_path, table, np.random.default_rng([seed, 1]))

    counts = chosen["split"].value_counts()
    description = {
        "size": size,
        "share": share,
        "clips": len(chosen),
        "clips with a genre": int((chosen["genre"] != NO_GENRE).sum()),
        "different clips": len({clip.sha1 for clip in copied}),
        "seconds per clip": round(float(np.mean([clip.seconds for clip in copied])), 2),
        "rows of tracks.csv": len(table),
        "artists": chosen["artist_id"].nunique(),
        "expect": {split: int(counts[split]) for split in SPLITS} | {"genres": count_genres(chosen)},
        "audio": describe(audio_path),
        "metadata": describe(metadata_path),
    }
    files.write_json(folder / DESCRIPTION, description)
    return description


def describe(path: Path) -> dict[str, Any]:
    return {"name": path.name, "bytes": path.stat().st_size, "sha1": hash_file(path).hexdigest()}


def count_genres(table: pd.DataFrame) -> int:
    return len(set(table["genre"]) - {NO_GENRE})


# Tracks. ----------------------------------------------------------------------------------------------------------


def published_counts() -> dict[tuple[str, str, str], int]:
    """Number of tracks by subset (without the smaller subsets), genre and split. They add up to the whole FMA."""
    counts: dict[tuple[str, str, str], int] = {}
    medium_sums = np.sum([genre.medium for genre in GENRES.values()], axis=0)
    for title, genre in GENRES.items():
        rest = apportion(genre.all - sum(genre.medium), np.array(ALL) - medium_sums)
        for split, of_small, of_medium, of_rest in zip(SPLITS, SMALL_COUNTS, genre.medium, rest, strict=True):
            small = of_small if title in SMALL else 0
            counts |= {("small", title, split): small, ("medium", title, split): of_medium - small}
            counts["large", title, split] = of_rest
    for split, total in zip(SPLITS, ALL, strict=True):
        with_genre = sum(count for (_, _, other), count in counts.items() if other == split)
        counts["large", NO_GENRE, split] = total - with_genre
    return {key: count for key, count in counts.items() if count}


def apportion(total: int, weights: np.ndarray) -> list[int]:
    """Divide `total` into whole parts in proportion to the weights."""
    bounds = np.rint(np.cumsum(weights) / np.sum(weights) * total).astype(int)
    return [int(part) for part in np.diff(bounds, prepend=0)]


def plan(share: float, rng: np.random.Generator) -> pd.DataFrame:
    """All tracks of the FMA or a share of them: a table with track_id, artist_id, genre, split and subset."""
    counts = {key: max(1, round(share * count)) for key, count in published_counts().items()}
    rows = [key for key, count in counts.items() for _ in range(count)]
    table = pd.DataFrame(rows, columns=["subset", "genre", "split"])
    table = table.iloc[rng.permutation(len(table))].reset_index(drop=True)
    table["artist_id"] = artists(table, rng)
    table["track_id"] = np.sort(rng.choice(LAST_ID - 1, len(table), replace=False)) + 2
    return table


def artists(table: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """An artist for each track; all tracks of an artist have the same genre and split."""
    found = np.empty(len(table), int)
    first = 1
    for rows in table.groupby(["genre", "split"]).indices.values():
        sizes = rng.geometric(ARTISTS / sum(ALL), len(rows))
        found[rows] = first + np.searchsorted(np.cumsum(sizes), np.arange(len(rows)), side="right")
        first = found[rows].max() + 1
    return found


# Clips. -----------------------------------------------------------------------------------------------------------


def find_clips(audio: Path, metadata: Path, shortest: int | None = None) -> dict[tuple[str, str], list[Clip]]:
    """The clips of an archive that libsndfile can open, by genre and split.

    Raises:
        InputError: an archive is damaged, or a genre has no such clip in a split.
    """
    with zips.open_zip(metadata) as archive:
        table = tracks.parse_table(zips.read_member(archive, "tracks.csv"), metadata.name)
    with zips.open_zip(audio) as archive:
        members = {track: found[0] for track, found in clips.candidates(archive).items()}
    table = table[table.index.isin(list(members)) & table["genre"].notna()]

    found: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for track, genre, split in table[["genre", "split"]].itertuples():
        content = zips.read(audio, members[track])
        seconds = duration(content)
        if seconds:
            clip = Clip(members[track], hashlib.sha1(content).hexdigest(), seconds)
            found[genre, split].append(clip)
    for genre, split in itertools.product(table["genre"].unique(), SPLITS):
        if not found[genre, split]:
            raise InputError(f"{audio}: expected readable clips of {genre} in {split}, found none")
    return {key: sorted(of_key, key=lambda clip: clip.seconds)[:shortest] for key, of_key in found.items()}


def duration(content: bytes) -> float:
    """Seconds of an audio file; 0 if libsndfile cannot open it."""
    try:
        return soundfile.info(io.BytesIO(content)).duration
    except soundfile.LibsndfileError:
        return 0


def assign(table: pd.DataFrame, available: Mapping[tuple[str, str], Sequence[Clip]]) -> list[Clip]:
    """A clip for each track. All clips of a genre come from one genre of the available clips, and from the same split.

    The clips thus differ between genres, as far as there are enough genres of available clips.
    """
    sources = sorted({genre for genre, _ in available})
    source_of = dict(zip([*GENRES, NO_GENRE], itertools.cycle(sources), strict=False))
    endless = {key: itertools.cycle(found) for key, found in available.items()}
    return [
        next(endless[source_of[genre], split]) for genre, split in table[["genre", "split"]].itertuples(index=False)
    ]


def write_audio(path: Path, source: Path, copied: Mapping[int, Clip]) -> None:
    """Write the archive of the clips: README.txt, checksums, and a copy for each track in the order of `copied`."""
    names = {track: f"{track // 1000:03d}/{track:06d}.mp3" for track in copied}
    checksums = "".join(f"{clip.sha1}  {names[track]}\n" for track, clip in copied.items())
    with source.open("rb") as raw, zipfile.ZipFile(path, "w") as archive:
        for name, content in {"README.txt": README, "checksums": checksums}.items():
            write(archive, f"{path.stem}/{name}", [content])
        for track, clip in progress.bar(copied.items(), desc="copy", total=len(copied), unit="clip"):
            copy_member(raw, clip.member, archive, f"{path.stem}/{names[track]}")


def write(archive: zipfile.ZipFile, name: str, lines: Iterable[str]) -> str:
    """Write a text member, compressed with bzip2 like the FMA's archives, and return its sha1."""
    member = zipfile.ZipInfo(name, TIMESTAMP)
    member.compress_type = zipfile.ZIP_BZIP2
    digest = hashlib.sha1()
    with archive.open(member, "w") as stream:
        for line in lines:
            stream.write(line.encode())
            digest.update(line.encode())
    return digest.hexdigest()


def copy_member(source: Any, member: zipfile.ZipInfo, archive: zipfile.ZipFile, name: str) -> None:
    """Copy a member from the open file `source` to the end of an archive under a new name, as it is compressed.

    `zipfile` has no function for this, but it writes an archive's directory from `filelist`, at `start_dir`.
    """
    source.seek(member.header_offset)
    lengths = struct.unpack("<HH", source.read(LOCAL_HEADER)[-4:])
    source.seek(sum(lengths), io.SEEK_CUR)

    copy = zipfile.ZipInfo(name, member.date_time)
    for attribute in ("compress_type", "CRC", "compress_size", "file_size", "external_attr"):
        setattr(copy, attribute, getattr(member, attribute))
    copy.header_offset = archive.start_dir
    assert archive.fp is not None
    archive.fp.write(copy.FileHeader(zip64=False) + source.read(member.compress_size))
    archive.start_dir = archive.fp.tell()
    archive.filelist.append(copy)
    archive.NameToInfo[name] = copy


# Tables. ----------------------------------------------------------------------------------------------------------


def write_metadata(path: Path, table: pd.DataFrame, rng: np.random.Generator) -> None:
    """Write the archive of the tables: tracks.csv and genres.csv in the FMA's formats."""
    sizes = Counter(table["genre"])
    genres = [(genre.genre_id, sizes[title], 0, title, genre.genre_id) for title, genre in GENRES.items()]
    members = {
        "tracks.csv": csv_lines(track_rows(table, rng)),
        "genres.csv": csv_lines([("genre_id", "#tracks", "parent", "title", "top_level"), *sorted(genres)]),
    }
    with zipfile.ZipFile(path, "w") as archive:
        write(archive, f"{path.stem}/README.txt", [README])
        sums = {name: write(archive, f"{path.stem}/{name}", lines) for name, lines in members.items()}
        write(archive, f"{path.stem}/checksums", [f"{sha1}  {name}\n" for name, sha1 in sums.items()])


def track_rows(table: pd.DataFrame, rng: np.random.Generator) -> Iterator[Sequence[object]]:
    """Yield the rows of tracks.csv: column groups, column names, the name of the index, and the tracks."""
    yield "", *(group for group, _ in COLUMNS)
    yield "", *(name for _, name in COLUMNS)
    yield "track_id", *[""] * len(COLUMNS)
    text = free_text(rng)
    for row in table.itertuples():
        genre = GENRES.get(str(row.genre))
        start, length = rng.integers(len(text) // 2), int(rng.exponential(ROW_CHARACTERS))
        values = {
            ("album", "id"): row.artist_id,
            ("artist", "bio"): text[start : start + length],
            ("artist", "id"): row.artist_id,
            ("artist", "name"): f"Artist {row.artist_id}",
            ("set", "split"): row.split,
            ("set", "subset"): row.subset,
            ("track", "duration"): 30,
            ("track", "genre_top"): row.genre,
            ("track", "genres"): [genre.genre_id] if genre else [],
            ("track", "genres_all"): [genre.genre_id] if genre else [],
            ("track", "title"): f"Track {row.track_id}",
        }
        yield row.track_id, *(values.get(column, "") for column in COLUMNS)


def free_text(rng: np.random.Generator, characters: int = 200_000) -> str:
    """Random words with the marks that a CSV file must quote: commas, quotes and line breaks."""
    letters = rng.choice(list(3 * ascii_lowercase + 20 * " " + '",\n'), characters)
    return "".join(letters)


def csv_lines(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Encode rows as lines of a CSV file."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in rows:
        writer.writerow(row)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()

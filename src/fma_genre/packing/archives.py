"""The pair of archives of a data set, in the layout of the FMA's. Their bytes depend only on files and tracks."""

import csv
import hashlib
import io
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fma_genre.common import progress
from fma_genre.common.errors import InputError
from fma_genre.common.files import atomic

TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # modification time of all members: the earliest one that a zip archive can have
UNIX, REGULAR_FILE = 3, 0o100644 << 16
COMMENT = b"packed by fma-genre"  # marks archives that may be replaced
SUBSET = "large"


@dataclass(frozen=True)
class Track:
    """A row of tracks.csv."""

    track_id: int
    artist_id: int
    artist: str
    title: str
    genre: str
    split: str
    member: str
    start: float  # s


@dataclass(frozen=True)
class Packed:
    """A file in the audio archive."""

    path: Path
    sha1: str  # of the file when it was measured


def paths(folder: Path, name: str) -> tuple[Path, Path]:
    """Paths of the audio and the metadata archive of a data set.

    Raises:
        InputError: there is another file at one of them.
    """
    found = folder / f"{name}.zip", folder / f"{name}_metadata.zip"
    for path in found:
        if path.exists() and not _is_packed(path):
            raise InputError(f"{path}: expected a free name, or an archive made by this command, found another file")
    return found


def _is_packed(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment == COMMENT
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return False


def write(audio: Path, metadata: Path, files: Mapping[str, Packed], tracks: Sequence[Track]) -> None:
    """Write both archives atomically.

    Args:
        files: the audio files by the names of the members.

    Raises:
        InputError: a file has changed since it was measured, or the disk has too little space.
    """
    audio.parent.mkdir(parents=True, exist_ok=True)
    _check_disk_space(audio.parent, [packed.path for packed in files.values()])
    with atomic(audio) as new_audio, atomic(metadata) as new_metadata:
        with zipfile.ZipFile(new_audio, "w") as archive:
            archive.comment = COMMENT
            for name, packed in progress.bar(files.items(), desc="pack", total=len(files), unit="file"):
                archive.writestr(_member(name), _read(packed))
        with zipfile.ZipFile(new_metadata, "w") as archive:
            archive.comment = COMMENT
            archive.writestr(_member("tracks.csv"), table(tracks))


def table(tracks: Sequence[Track]) -> bytes:
    """The content of tracks.csv."""
    columns = {
        ("artist", "id"): "artist_id",
        ("artist", "name"): "artist",
        ("set", "split"): "split",
        ("set", "subset"): "",
        ("track", "genre_top"): "genre",
        ("track", "title"): "title",
        ("track", "member"): "member",
        ("track", "start"): "start",
    }
    groups, names = (["", *parts] for parts in zip(*columns, strict=True))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([groups, names, ["track_id", *[""] * len(columns)]])
    for track in tracks:
        values = vars(track) | {"": SUBSET, "start": f"{track.start:.3f}"}
        writer.writerow([track.track_id, *(values[name] for name in columns.values())])
    return text.getvalue().encode()


def _member(name: str) -> zipfile.ZipInfo:
    """An uncompressed member: audio hardly gets smaller, and a compressor's bytes depend on its version."""
    member = zipfile.ZipInfo(name, TIMESTAMP)
    member.create_system, member.external_attr = UNIX, REGULAR_FILE
    return member


def _read(packed: Packed) -> bytes:
    content = packed.path.read_bytes()
    if hashlib.sha1(content, usedforsecurity=False).hexdigest() != packed.sha1:
        raise InputError(
            f"{packed.path}: expected the file that was measured, found other bytes: run the command again"
        )
    return content


def _check_disk_space(folder: Path, files: Sequence[Path]) -> None:
    needed, free = sum(path.stat().st_size for path in files), shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(f"{folder}: expected {needed / 1e9:.3g} GB of disk space, found {free / 1e9:.3g} GB free")

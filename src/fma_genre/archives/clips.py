"""Clips in an audio archive with the FMA's layout, where `fma_small/000/000002.mp3` is the clip of track 2.

A table of tracks may also name the member of a track's clip, and the second at which the clip begins.
"""

import re
import stat
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fma_genre.archives import zips
from fma_genre.archives.tracks import TRACKS
from fma_genre.common.errors import InputError

# A clip may be in any folder. Its name may have any number of leading zeros. `._000002.mp3` is not a clip.
MEMBER = re.compile(r"(?:^|[/\\])([0-9]{1,18})\.mp3\Z", re.IGNORECASE)
MAX_NAME_LENGTH = 200  # characters of a member's name in a message


@dataclass(frozen=True)
class Clip:
    """Where a track's clip is in the audio archive."""

    member: zipfile.ZipInfo
    start: float = 0  # s from the beginning of the member's audio


def clips_of(archive: Path, tracks: pd.DataFrame) -> list[Clip]:
    """Find the clip of each track in the archive at a path; raise InputError as `find_clips` does."""
    with zips.open_zip(archive) as opened:
        return find_clips(opened, tracks, archive.name)


def candidates(archive: zipfile.ZipFile) -> dict[int, list[zipfile.ZipInfo]]:
    """All members that could be a track's clip, by track id, in the order of the archive's directory."""
    found: dict[int, list[zipfile.ZipInfo]] = defaultdict(list)
    for member in archive.infolist():
        match = MEMBER.search(member.filename)
        if match and _is_file(member):
            found[int(match[1])].append(member)
    return dict(found)


def find_clips(archive: zipfile.ZipFile, tracks: pd.DataFrame, name: str) -> list[Clip]:
    """Find the clip of each track.

    Args:
        tracks: the columns track_id, member and start of data/tracks.csv. A track without member has the clip whose
            name is its id.
        name: the archive's name in messages.

    Raises:
        InputError: a track has no clip, or two members could be its clip.
    """
    by_id, by_name = candidates(archive), _files_by_name(archive)
    sources = list(tracks[["track_id", "member", "start"]].itertuples(index=False, name=None))
    found = [by_name.get(member, []) if member else by_id.get(track, []) for track, member, _ in sources]
    missing = [source for source, members in zip(sources, found, strict=True) if not members]
    if missing:
        track, member, _ = missing[0]
        raise InputError(
            f"{name}: expected a clip for each of the {len(tracks)} tracks in {TRACKS},"
            f" found none for {len(missing)} of them, the first being track {track}"
            f"{f' ({_shorten(member)})' if member else ''}"
        )
    ambiguous = [place for place, members in enumerate(found) if len(members) > 1]
    if ambiguous:
        first, second = (_shorten(member.filename) for member in found[ambiguous[0]][:2])
        raise InputError(
            f"{name}: expected one clip of track {sources[ambiguous[0]][0]}, found {first} and {second}"
            f" ({len(ambiguous)} such tracks)"
        )
    return [Clip(members[0], start) for members, (_, _, start) in zip(found, sources, strict=True)]


def same_bytes(clips: Mapping[int, Clip]) -> dict[int, int]:
    """Find clips with the same bytes: the CRC-32 and size of their members in the archive's directory are equal.

    Clips that begin at different seconds of the same audio are different.

    Args:
        clips: clips by track id. They must have been read, because only reading verifies the CRC-32.

    Returns:
        For each track with a duplicate, the lowest id of the other tracks whose clips have the same bytes.
    """
    tracks_by_content: dict[tuple[int, int, float], list[int]] = defaultdict(list)
    for track, clip in sorted(clips.items(), key=lambda item: item[0]):
        tracks_by_content[clip.member.CRC, clip.member.file_size, clip.start].append(track)
    duplicate_of: dict[int, int] = {}
    for first, *later in tracks_by_content.values():
        duplicate_of |= dict.fromkeys(later, first)
        if later:
            duplicate_of[first] = later[0]
    return duplicate_of


def _files_by_name(archive: zipfile.ZipFile) -> dict[str, list[zipfile.ZipInfo]]:
    found: dict[str, list[zipfile.ZipInfo]] = defaultdict(list)
    for member in archive.infolist():
        if _is_file(member):
            found[member.filename].append(member)
    return found


def _is_file(member: zipfile.ZipInfo) -> bool:
    """Return whether the member is a regular file, or has no type (0), as in archives not made on Unix."""
    return stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG)


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else f"...{name[-MAX_NAME_LENGTH:]}"

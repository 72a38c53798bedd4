"""Clips in an audio archive with the FMA's layout, where `fma_small/000/000002.mp3` is the clip of track 2."""

import re
import stat
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence

from fma_genre.archives.tracks import TRACKS
from fma_genre.common.errors import InputError

# A clip may be in any folder. Its name may have any number of leading zeros. `._000002.mp3` is not a clip.
MEMBER = re.compile(r"(?:^|[/\\])([0-9]{1,18})\.mp3\Z", re.IGNORECASE)
MAX_NAME_LENGTH = 200  # characters of a member's name in a message


def candidates(archive: zipfile.ZipFile) -> dict[int, list[zipfile.ZipInfo]]:
    """All members that could be a track's clip, by track id, in the order of the archive's directory."""
    found: dict[int, list[zipfile.ZipInfo]] = defaultdict(list)
    for member in archive.infolist():
        match = MEMBER.search(member.filename)
        if match and _is_file(member):
            found[int(match[1])].append(member)
    return dict(found)


def find_clips(archive: zipfile.ZipFile, track_ids: Sequence[int], name: str) -> list[zipfile.ZipInfo]:
    """Find the clip of each track; `name` is the archive's name in messages.

    Raises:
        InputError: a track has no clip, or two members could be its clip.
    """
    found = candidates(archive)
    missing = [track for track in track_ids if track not in found]
    if missing:
        raise InputError(
            f"{name}: expected a clip for each of the {len(track_ids)} tracks in {TRACKS},"
            f" found none for {len(missing)} of them, the first being track {missing[0]}"
        )
    ambiguous = [track for track in track_ids if len(found[track]) > 1]
    if ambiguous:
        first, second = (_shorten(member.filename) for member in found[ambiguous[0]][:2])
        raise InputError(
            f"{name}: expected one clip of track {ambiguous[0]}, found {first} and {second}"
            f" ({len(ambiguous)} such tracks)"
        )
    return [found[track][0] for track in track_ids]


def same_bytes(clips: Mapping[int, zipfile.ZipInfo]) -> dict[int, int]:
    """Find clips with the same bytes: their CRC-32 and size in the archive's directory are equal.

    Args:
        clips: members by track id. They must have been read, because only reading verifies the CRC-32.

    Returns:
        For each track with a duplicate, the lowest id of the other tracks whose clips have the same bytes.
    """
    tracks_by_content: dict[tuple[int, int], list[int]] = defaultdict(list)
    for track, member in sorted(clips.items()):
        tracks_by_content[member.CRC, member.file_size].append(track)
    duplicate_of: dict[int, int] = {}
    for first, *later in tracks_by_content.values():
        duplicate_of |= dict.fromkeys(later, first)
        if later:
            duplicate_of[first] = later[0]
    return duplicate_of


def _is_file(member: zipfile.ZipInfo) -> bool:
    """Return whether the member is a regular file, or has no type (0), as in archives not made on Unix."""
    return stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG)


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else f"...{name[-MAX_NAME_LENGTH:]}"

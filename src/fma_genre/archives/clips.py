"""Clips in an audio archive of the FMA's layout: `fma_small/000/000002.mp3` is the clip of track 2."""

import re
import stat
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence

from fma_genre.archives.tracks import TRACKS
from fma_genre.common.errors import InputError

# Whatever the folder, the leading zeros and the case: all of these claim to be the clip. `._000002.mp3` does not.
MEMBER = re.compile(r"(?:^|[/\\])([0-9]{1,18})\.mp3\Z", re.IGNORECASE)
LONGEST_NAME = 200  # characters of a member's name in a message


def candidates(archive: zipfile.ZipFile) -> dict[int, list[zipfile.ZipInfo]]:
    """Members that could be a track's clip, by track id, in the order of the archive's directory."""
    found: dict[int, list[zipfile.ZipInfo]] = defaultdict(list)
    for member in archive.infolist():
        match = MEMBER.search(member.filename)
        if match and _is_file(member):
            found[int(match[1])].append(member)
    return dict(found)


def find_clips(archive: zipfile.ZipFile, track_ids: Sequence[int], name: str) -> list[zipfile.ZipInfo]:
    """The member of each track; other tracks do not matter.

    Raises:
        InputError: a track has no clip, or two members could be it.
    """
    found = candidates(archive)
    absent = [track for track in track_ids if track not in found]
    if absent:
        raise InputError(
            f"{name}: expected a clip of each of the {len(track_ids)} tracks in {TRACKS},"
            f" found no clip of {len(absent)}, the first of track {absent[0]}"
        )
    ambiguous = [track for track in track_ids if len(found[track]) > 1]
    if ambiguous:
        first, second = (_shortened(member.filename) for member in found[ambiguous[0]][:2])
        raise InputError(
            f"{name}: expected one clip of track {ambiguous[0]}, found {first} and {second}"
            f" ({len(ambiguous)} such tracks)"
        )
    return [found[track][0] for track in track_ids]


def same_bytes(clips: Mapping[int, zipfile.ZipInfo]) -> dict[int, int]:
    """The lowest other track whose clip has the same bytes, for each track that has one.

    The archive's directory tells by CRC-32 and size. Give only clips that have been read, and so were checked.
    """
    tracks: dict[tuple[int, int], list[int]] = defaultdict(list)
    for track, member in sorted(clips.items()):
        tracks[member.CRC, member.file_size].append(track)
    same: dict[int, int] = {}
    for lowest, *others in tracks.values():
        same |= dict.fromkeys(others, lowest)
        if others:
            same[lowest] = others[0]
    return same


def _is_file(member: zipfile.ZipInfo) -> bool:
    """Whether it is a regular file, and no symlink; an archive from elsewhere than Unix does not say (0)."""
    return stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG)


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"...{name[-LONGEST_NAME:]}"

"""Tracks from songs and their measurements: ids, artists, splits and clips."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fma_genre.archives.cells import one_line
from fma_genre.archives.tracks import MAX_TRACKS
from fma_genre.common.errors import InputError
from fma_genre.packing import parts, splits
from fma_genre.packing.archives import Packed, Track
from fma_genre.packing.measuring import Measured
from fma_genre.packing.songs import Song


@dataclass(frozen=True)
class Found:
    """A song that can be decoded."""

    song: Song
    measured: Measured

    @property
    def artist(self) -> str:
        """Name of the artist from the list, or else from the file's tags."""
        return self.song.artist or self.measured.artist

    @property
    def artist_key(self) -> Hashable:
        """Identity of the artist. A file of no known artist is by an artist of its own."""
        return splits.artist_key(self.artist) or (self.measured.sha1,)

    @property
    def title(self) -> str:
        return self.measured.title or one_line(Path(self.song.name).stem)


def choose_splits(found: Sequence[Found], seed: int, name: str) -> list[str]:
    """The split of each song: the given one, or one that is made with this seed.

    Raises:
        InputError: an artist is in two of the given splits.
    """
    if found[0].song.split:
        given = [each.song.split for each in found]
        splits.check_given(given, [each.artist for each in found], name)
        return given
    keys = [(each.artist_key, (each.measured.sha1,)) for each in found]
    return splits.make([each.song.genre for each in found], keys, seed)


def make(
    found: Sequence[Found], chosen: Sequence[str], seconds: float, clips: int
) -> tuple[dict[str, Packed], list[Track]]:
    """Cut songs into clips, and number them.

    Args:
        found: the songs.
        chosen: split of each song.
        seconds: length of a clip.
        clips: largest number of clips of a song without a start.

    Returns:
        The files by the names of their members, and the tracks. Several tracks may have the same member.

    Raises:
        InputError: there are too many tracks, or a part of a song does not fit its file.
    """
    members: dict[Path, str] = {}
    files: dict[str, Packed] = {}
    artists: dict[tuple[Hashable, str], int] = {}
    tracks: list[Track] = []
    for each, split in zip(found, chosen, strict=True):
        song = each.song
        if song.path not in members:
            members[song.path] = parts.member_name(len(tracks) + 1, song.path)
            files[members[song.path]] = Packed(song.path, each.measured.sha1)
        # The pipeline takes no artist in two splits. A given split may have the same bytes in two, by unknown artists.
        artist = artists.setdefault((each.artist_key, split), len(artists) + 1)
        for start in parts.clips_of(song, each.measured, seconds, clips):
            track = len(tracks) + 1
            row = Track(track, artist, each.artist, each.title, song.genre, split, members[song.path], start)
            tracks.append(row)
    if len(tracks) > MAX_TRACKS:
        raise InputError(f"expected at most {MAX_TRACKS} tracks, found {len(tracks)}: use fewer --clips")
    return files, tracks


def same_bytes(found: Sequence[Found]) -> list[list[int]]:
    """Positions of songs in files with the same bytes, for each content that several files have."""
    by_content: dict[str, dict[Path, int]] = defaultdict(dict)
    for position, each in enumerate(found):
        by_content[each.measured.sha1].setdefault(each.song.path, position)
    return [list(positions.values()) for positions in by_content.values() if len(positions) > 1]


def by_path(songs: Sequence[Song]) -> list[Path]:
    """The files of songs, each once."""
    return list(dict.fromkeys(song.path for song in songs))


def decodable(songs: Sequence[Song], measured: Mapping[Path, Measured]) -> list[Found]:
    return [Found(song, measured[song.path]) for song in songs if not measured[song.path].problem]

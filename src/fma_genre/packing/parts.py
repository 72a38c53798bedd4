"""Parts of songs that become the clips of tracks: the middle of a song, or several parts of it."""

import math
from pathlib import Path

from fma_genre.archives.tracks import MAX_START
from fma_genre.common.errors import InputError
from fma_genre.packing.measuring import Measured
from fma_genre.packing.songs import Song

SURPLUS = 1.0  # s; a song that is longer than a clip by at most this begins at 0, since encoders add some silence


def starts(duration: float, seconds: float, clips: int) -> list[float]:
    """Starts of clips in s, in whole milliseconds.

    The duration is divided into `clips` equal parts, and each clip is the middle of a part. There are fewer clips if
    they would overlap, but at least one.

    Args:
        duration: of the audio in s.
        seconds: length of a clip.
        clips: largest number of clips.
    """
    if duration <= seconds + SURPLUS:
        return [0.0]
    count = min(clips, math.floor(duration / seconds))
    middles = [(number + 0.5) * duration / count for number in range(count)]
    return [math.floor(1000 * (middle - seconds / 2)) / 1000 for middle in middles]


def clips_of(song: Song, measured: Measured, seconds: float, clips: int) -> list[float]:
    """Starts of the clips of a song in s. A song with a start, but no length, has one clip, which begins there.

    Raises:
        InputError: the start or the end of the song's part does not fit the file, or the part is shorter than a clip.
    """
    begin, end = song.start or 0, min(measured.seconds, MAX_START)  # tracks.csv takes no later start
    if begin >= end:
        raise InputError(f"{song.where}: expected a start before the end at {end:g} s, found {begin:g}")
    if song.seconds is None:
        return [begin] if song.start is not None else starts(end, seconds, clips)
    if song.seconds < seconds and begin + song.seconds < end - SURPLUS:
        expected = (
            f"at least {seconds:g} seconds (spectrograms.seconds in params.yaml), since all clips have this length"
        )
        raise InputError(f"{song.where}: expected {expected}, found {song.seconds:g}")
    part = min(song.seconds, end - begin)
    return [round(begin + start, 3) for start in starts(part, seconds, clips)]


def member_name(number: int, path: Path) -> str:
    """Name of a file in the archive: the number of its first track, and the suffix of its own name."""
    suffix = path.suffix.lower()
    suffix = suffix if suffix[1:].isalnum() and suffix.isascii() else ".audio"
    return f"{number // 1000:03d}/{number:06d}{suffix}"

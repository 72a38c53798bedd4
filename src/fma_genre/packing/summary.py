"""Output of packing: files that are left out, a table of the genres, and remarks about artists and duplicates."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from fma_genre.archives.cells import one_line
from fma_genre.archives.tracks import SPLITS
from fma_genre.packing import splits
from fma_genre.packing.archives import Track
from fma_genre.packing.measuring import Measured
from fma_genre.packing.songs import Song
from fma_genre.packing.tracks import Found, same_bytes
from fma_genre.results.markdown import table

MAX_LINES = 20  # largest number of files that are printed, one per line
MAX_NAMED = 3  # largest number of names in a remark
MAX_SUFFIXES = 5  # largest number of suffixes of skipped files
MAX_RATES = 3  # largest number of sample rates of a genre in the table
MIN_DECODED = 0.9  # share of a file's length; less is remarked upon
HEAD = ["genre", "tracks", *SPLITS, "artists", "hours", "sample rates in kHz", "RMS in dB", "duplicates"]


def left_out(songs: Sequence[Song], measured: Mapping[Path, Measured]) -> Iterator[str]:
    """Lines that name the files that cannot be decoded."""
    problems = {song.path: song.where for song in songs if measured[song.path].problem}
    for path, where in list(problems.items())[:MAX_LINES]:
        yield f"left out: {where}{_file(path, where)}: {measured[path].problem}"
    if len(problems) > MAX_LINES:
        yield f"{len(problems) - MAX_LINES} other files left out"


def skipped(suffixes: Counter[str]) -> Iterator[str]:
    """A line that counts the files whose suffix is not that of an audio format, if there are any."""
    if suffixes:
        most_first = sorted(suffixes, key=lambda suffix: (-suffixes[suffix], suffix))
        shown = [f"{one_line(suffix) or 'no suffix'} ({suffixes[suffix]:,})" for suffix in most_first[:MAX_SUFFIXES]]
        shown += ["…"] if len(suffixes) > MAX_SUFFIXES else []
        yield f"skipped: {suffixes.total():,} files without the suffix of an audio format: {', '.join(shown)}"


def _file(path: Path, where: str) -> str:
    """The name of a file, unless `where` ends with it."""
    name = one_line(path.name)
    return "" if where.endswith(name) else f" ({name})"


def genres(found: Sequence[Found], tracks: Sequence[Track]) -> str:
    """Markdown table with a row for each genre and one for all, and a line that explains it."""
    again = {position for positions in same_bytes(found) for position in positions}
    names = sorted({track.genre for track in tracks})
    rows = []
    for name in [*names, ""]:
        own_tracks = [track for track in tracks if name in ("", track.genre)]
        own = [position for position, each in enumerate(found) if name in ("", each.song.genre)]
        rows.append(
            [one_line(name) or "all", *_cells([found[i] for i in own], own_tracks, len(again.intersection(own)))]
        )
    legend = (
        "Hours, sample rates and levels are those of the whole files. RMS is the median and the range over the files,"
        " of all channels, relative to full scale. Duplicates are files with the same bytes as another."
    )
    return f"{table([HEAD, *rows])}\n\n{legend}"


def _cells(found: Sequence[Found], tracks: Sequence[Track], duplicates: int) -> list[str]:
    files = list({each.song.path: each.measured for each in found}.values())
    counts = Counter(track.split for track in tracks)
    levels = [file.loudness for file in files]
    artists = {splits.artist_key(each.artist) for each in found} - {""}
    return [
        f"{len(tracks):,}",
        *(f"{counts[split]:,}" for split in SPLITS),
        f"{len(artists):,}" if artists else "unknown",
        f"{sum(file.seconds for file in files) / 3600:.2f}",
        _rates(file.rate for file in files),
        f"{median(levels):.1f} [{min(levels):.1f}, {max(levels):.1f}]",
        f"{duplicates:,}",
    ]


def _rates(rates: Iterable[int]) -> str:
    """The most frequent rates, each with its number of files unless all files have it."""
    counts = Counter(rates).most_common()
    if len(counts) == 1:
        return f"{counts[0][0] / 1000:g}"
    shown = [f"{rate / 1000:g} ({count:,})" for rate, count in counts[:MAX_RATES]]
    return ", ".join(shown) + (", …" if len(counts) > MAX_RATES else "")


def remarks(
    songs: Sequence[Song], found: Sequence[Found], tracks: Sequence[Track], chosen: Sequence[str]
) -> Iterator[str]:
    """Lines about what may mislead: unknown artists, duplicates, incomplete files, and genres without any tracks."""
    yield from _about_artists(found)
    yield from _about_duplicates(found, chosen)
    damaged = {
        each.song.path: each.song.where for each in found if each.measured.seconds < MIN_DECODED * each.measured.length
    }
    if damaged:
        share = f"{100 * MIN_DECODED:g} %"
        yield f"{len(damaged)} files can be decoded to less than {share} of their length: {_named(damaged.values())}"
    yield from _about_genres(songs, tracks)


def _about_genres(songs: Sequence[Song], tracks: Sequence[Track]) -> Iterator[str]:
    names = {track.genre for track in tracks}
    for split in SPLITS[1:]:
        if absent := sorted(names - {track.genre for track in tracks if track.split == split}):
            reason = "the given split has none" if songs[0].split else "too few songs or artists"
            yield f"no {split} tracks of {_named(absent)}: {reason}"
    spellings = Counter(genre.casefold() for genre in names)
    if similar := sorted(genre for genre in names if spellings[genre.casefold()] > 1):
        yield f"genres whose names differ only in case are different ones: {_named(similar)}"
    if lost := sorted({song.genre for song in songs} - names):
        yield f"left out: {_named(lost)}, since none of the files of the genre can be decoded"


def _about_artists(found: Sequence[Found]) -> Iterator[str]:
    unknown = sum(not splits.artist_key(each.artist) for each in found)
    if not unknown:
        return
    count = "no song has an artist" if unknown == len(found) else f"{unknown} of {len(found)} songs have no artist"
    if found[0].song.split:
        yield f"{count}: whether the given split has an artist in two splits cannot be checked"
    else:
        yield (
            f"{count}: tracks of an artist may be in several splits, which makes scores too high;"
            " a column `artist` in a CSV file, or tags in the files, prevent this"
        )


def _about_duplicates(found: Sequence[Found], chosen: Sequence[str]) -> Iterator[str]:
    same = same_bytes(found)
    crossing = [group for group in same if len({chosen[position] for position in group}) > 1]
    disputed = [group for group in same if len({found[position].song.genre for position in group}) > 1]
    for groups, where in ((crossing, "different splits"), (disputed, "different genres")):
        if groups:
            first = " and ".join(found[position].song.where for position in groups[0][:2])
            yield f"files with the same bytes are in {where}: {first} ({len(groups)} such groups)"


def _named(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(map(one_line, names[:MAX_NAMED])) + (", …" if len(names) > MAX_NAMED else "")

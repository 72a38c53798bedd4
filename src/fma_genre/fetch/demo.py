"""The built-in *demo* data set: synthetic music in archives with the layout and typical defects of the FMA archives."""

import csv
import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import joblib
import numpy as np
import soundfile

from fma_genre.archives.tracks import SPLITS
from fma_genre.common import progress
from fma_genre.common.params import Synthesis
from fma_genre.common.workers import run_in_workers, worker_count
from fma_genre.fetch import synthesis
from fma_genre.fetch.synthesis import GENRES, Genre, Track, clip

TIMESTAMP = (2017, 4, 1, 0, 0, 0)  # modification time of all zip members; a fixed time gives every build the same bytes
DEFECTS = ("unreadable", "short", "silent")  # clips that are hard or impossible to classify
FORMATS = ("stereo", "48 kHz", "22.05 kHz")  # good clips in formats that must be converted
README = "Synthetic music in the layout of the FMA dataset.\n"


def build(settings: Synthesis, folder: Path) -> tuple[Path, Path]:
    """Write fma_demo.zip and fma_metadata.zip into an empty `folder`; return their paths.

    The same settings give the same bytes for any number of processes.
    """
    tracks = plan(settings)
    audio, metadata = folder / "fma_demo.zip", folder / "fma_metadata.zip"
    write_archive(audio, README, synthesise(tracks, settings))
    tables = [("tracks.csv", tracks_csv(tracks, settings.seconds)), ("genres.csv", genres_csv(tracks))]
    write_archive(metadata, README, tables)
    return audio, metadata


def fingerprint(settings: Synthesis) -> str:
    """A hex sha1 of everything that determines the archives' bytes: code, settings, NumPy and libsndfile versions."""
    values = json.dumps(asdict(settings), sort_keys=True)
    versions = f"{np.__version__} {soundfile.__libsndfile_version__}"
    code = Path(__file__).read_bytes() + Path(synthesis.__file__).read_bytes()
    return hashlib.sha1(code + f"{values} {versions}".encode()).hexdigest()


# Tracks. ----------------------------------------------------------------------------------------------------------


def plan(settings: Synthesis) -> list[Track]:
    """All tracks of the demo, sorted by id."""
    rng = np.random.default_rng([settings.seed, 0])
    averages = {"training": settings.training, "validation": settings.validation, "test": settings.test}
    tracks: list[Track] = []
    for split in SPLITS:
        sizes = apportion(averages[split])
        for genre, size in zip(GENRES, sizes, strict=True):
            subsets = ["small"] * min(sizes) + ["medium"] * (size - min(sizes)) + ["large"] * 2
            tracks += make_tracks(genre, split, subsets, rng)

    order = rng.permutation(len(tracks))
    gap = 5 + 2000 // len(tracks)  # mean distance between ids; it spreads the clips over several folders of 1,000 ids
    ids = np.cumsum(rng.integers(1, 2 * gap, len(tracks)))
    tracks = [replace(tracks[i], track_id=int(track_id)) for i, track_id in zip(order, ids, strict=True)]

    for defect in DEFECTS:
        add_defect(tracks, defect, "training", 1, rng)
    add_defect(tracks, "unreadable", "test", 2, rng)
    for defect in FORMATS:
        for split in ("training", "test"):
            for _ in range(1 + averages[split] // 10):
                add_defect(tracks, defect, split, 0, rng)
    return tracks


def apportion(average: int) -> list[int]:
    """Number of tracks of each genre: at least one, more for a larger genre, and `average` on average."""
    shares = np.cumsum([genre.size for genre in GENRES]) / sum(genre.size for genre in GENRES)
    extra = np.diff(np.rint(shares * (average - 1) * len(GENRES)).astype(int), prepend=0)
    return [1 + int(n) for n in extra]


def make_tracks(genre: Genre, split: str, subsets: list[str], rng: np.random.Generator) -> list[Track]:
    """Make a track with the placeholder id 0 for each item of `subsets`. Each artist has one to four of the tracks."""
    rng.shuffle(subsets)
    other_genres = [other for other in GENRES if other is not genre]
    tracks: list[Track] = []
    while len(tracks) < len(subsets):
        second = other_genres[rng.integers(len(other_genres))]
        artist = 1 + int(rng.integers(2**31))
        for subset in subsets[len(tracks) :][: rng.integers(1, 5)]:
            top = subset != "large" or rng.random() < 0.6
            tracks.append(Track(0, artist, genre, second, split, subset, top))
    return tracks


def add_defect(tracks: list[Track], defect: str, split: str, min_left: int, rng: np.random.Generator) -> None:
    """Give a random track of the split a defect, if at least `min_left` good tracks of its genre remain in the split.

    Do nothing if no track qualifies. Tracks of the large subset have no clip, so they get no defect.
    """
    clips = [track for track in tracks if track.split == split and track.subset != "large"]
    good = Counter(track.genre.title for track in clips if track.defect not in DEFECTS)

    def qualifies(track: Track) -> bool:
        is_faultless = track.split == split and track.subset != "large" and track.defect == ""
        return is_faultless and good[track.genre.title] > min_left

    choices = [i for i, track in enumerate(tracks) if qualifies(track)]
    if choices:
        i = rng.choice(choices)
        tracks[i] = replace(tracks[i], defect=defect)


def synthesise(tracks: list[Track], settings: Synthesis) -> Iterable[tuple[str, bytes]]:
    """Yield the name and the content of each track's MP3 file. Tracks of the large subset have no file."""
    with_clip = [track for track in tracks if track.subset != "large"]
    tasks = (joblib.delayed(clip)(track, settings.seed, settings.seconds) for track in with_clip)
    parallel = joblib.Parallel(n_jobs=worker_count(), return_as="generator")
    clips = run_in_workers(parallel, tasks, lambda: "run `dvc repro` again")
    bar = progress.bar(clips, desc="synthesise", total=len(with_clip), unit="clip")
    names = (f"{track.track_id // 1000:03d}/{track.track_id:06d}.mp3" for track in with_clip)
    return zip(names, bar, strict=True)


# Tables. ----------------------------------------------------------------------------------------------------------


ALBUM = """comments date_created date_released engineer favorites id information listens producer tags title
    tracks type"""
ARTIST = """active_year_begin active_year_end associated_labels bio comments date_created favorites id
    latitude location longitude members name related_projects tags website wikipedia_page"""
TRACK = """bit_rate comments composer date_created date_recorded duration favorites genre_top genres
    genres_all information interest language_code license listens lyricist number publisher tags title"""
COLUMNS = [
    (group, name)
    for group, names in {"album": ALBUM, "artist": ARTIST, "set": "split subset", "track": TRACK}.items()
    for name in names.split()
]


def cells(track: Track, seconds: int) -> dict[tuple[str, str], object]:
    """A track's values in tracks.csv, by column (group, name); all other columns are empty."""
    genres = [track.genre.genre_id] if track.top else [track.genre.genre_id, track.second.genre_id]
    return {
        ("album", "id"): track.artist_id,
        ("album", "title"): f"Album {track.artist_id}",
        ("album", "type"): "Album",
        ("artist", "id"): track.artist_id,
        ("artist", "name"): f"Artist {track.artist_id}",
        ("set", "split"): track.split,
        ("set", "subset"): track.subset,
        ("track", "duration"): seconds,
        ("track", "genre_top"): track.genre.title if track.top else "",
        ("track", "genres"): genres,
        ("track", "genres_all"): genres,
        ("track", "license"): "CC0 1.0",
        ("track", "title"): f"Track {track.track_id}",
    }


def to_csv(rows: Iterable[Iterable[object]]) -> bytes:
    """Encode rows as a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def tracks_csv(tracks: list[Track], seconds: int) -> bytes:
    """The content of tracks.csv in the FMA's format: column groups, column names, the index name, and the tracks."""
    groups = ["", *(group for group, _ in COLUMNS)]
    names = ["", *(name for _, name in COLUMNS)]
    index = ["track_id"] + [""] * len(COLUMNS)
    rows: list[list[object]] = []
    for track in tracks:
        values = cells(track, seconds)
        rows.append([track.track_id, *(values.get(column, "") for column in COLUMNS)])
    return to_csv([groups, names, index, *rows])


def genres_csv(tracks: list[Track]) -> bytes:
    """The content of genres.csv in the FMA's format, with top-level genres only."""
    sizes = Counter(track.genre.genre_id for track in tracks)
    rows = sorted((genre.genre_id, sizes[genre.genre_id], 0, genre.title, genre.genre_id) for genre in GENRES)
    return to_csv([("genre_id", "#tracks", "parent", "title", "top_level"), *rows])


# Archives. --------------------------------------------------------------------------------------------------------


def write_archive(path: Path, readme: str, members: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip archive, compressed with bzip2 like the FMA archives.

    Args:
        path: path of the archive. All members are in a folder with the archive's name, without .zip.
        readme: content of README.txt.
        members: name and content of each member. A member `checksums` with their sha1s is added, as in the
            FMA archives.
    """
    checksums = []
    with zipfile.ZipFile(path, "w") as archive:

        def write(name: str, content: bytes) -> None:
            info = zipfile.ZipInfo(f"{path.stem}/{name}", TIMESTAMP)
            archive.writestr(info, content, zipfile.ZIP_BZIP2, compresslevel=1)  # level 1 is the fastest

        for name, content in members:
            write(name, content)
            checksums.append(f"{hashlib.sha1(content).hexdigest()}  {name}\n")
        write("README.txt", readme.encode())
        write("checksums", "".join(checksums).encode())
        # The directory of an FMA archive lists README.txt and checksums first. These two members were written last,
        # since the checksums are known only then, so their entries are now moved to the start of the directory.
        archive.filelist[:0] = [archive.filelist.pop(-2), archive.filelist.pop()]

"""The built-in *demo* data set: synthetic music in the layout of the FMA archives, with the FMA's defects."""

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

TIMESTAMP = (2017, 4, 1, 0, 0, 0)  # of all members
BAD = ("unreadable", "short", "silent")
FORMATS = ("stereo", "48 kHz", "22.05 kHz")
README = "Synthetic music in the layout of the FMA dataset.\n"


def build(settings: Synthesis, folder: Path) -> tuple[Path, Path]:
    """Write fma_demo.zip and fma_metadata.zip into an empty `folder`; return their paths.

    The same settings give the same bytes, however many processes share the work.
    """
    tracks = plan(settings)
    audio, metadata = folder / "fma_demo.zip", folder / "fma_metadata.zip"
    write_archive(audio, README, synthesise(tracks, settings))
    tables = [("tracks.csv", tracks_csv(tracks, settings.seconds)), ("genres.csv", genres_csv(tracks))]
    write_archive(metadata, README, tables)
    return audio, metadata


def fingerprint(settings: Synthesis) -> str:
    """A hex sha1 of everything that decides the archives' bytes: code, settings, versions of NumPy and libsndfile."""
    values = json.dumps(asdict(settings), sort_keys=True)
    versions = f"{np.__version__} {soundfile.__libsndfile_version__}"
    code = Path(__file__).read_bytes() + Path(synthesis.__file__).read_bytes()
    return hashlib.sha1(code + f"{values} {versions}".encode()).hexdigest()


# Tracks. ----------------------------------------------------------------------------------------------------------


def plan(settings: Synthesis) -> list[Track]:
    """All rows of tracks.csv, in order of their ids."""
    rng = np.random.default_rng([settings.seed, 0])
    averages = {"training": settings.training, "validation": settings.validation, "test": settings.test}
    tracks: list[Track] = []
    for split in SPLITS:
        sizes = apportion(averages[split])
        for genre, size in zip(GENRES, sizes, strict=True):
            subsets = ["small"] * min(sizes) + ["medium"] * (size - min(sizes)) + ["large"] * 2
            tracks += by_artists(genre, split, subsets, rng)

    order = rng.permutation(len(tracks))
    gap = 5 + 2000 // len(tracks)  # so that there is more than one folder
    ids = np.cumsum(rng.integers(1, 2 * gap, len(tracks)))
    tracks = [replace(tracks[i], track_id=int(track_id)) for i, track_id in zip(order, ids, strict=True)]

    for defect in BAD:
        spoil(tracks, defect, "training", 1, rng)
    spoil(tracks, "unreadable", "test", 2, rng)
    for defect in FORMATS:
        for split in ("training", "test"):
            for _ in range(1 + averages[split] // 10):
                spoil(tracks, defect, split, 0, rng)
    return tracks


def apportion(average: int) -> list[int]:
    """Tracks of each genre, `average` in the mean and one at least, in proportion to the genres' sizes."""
    shares = np.cumsum([genre.size for genre in GENRES]) / sum(genre.size for genre in GENRES)
    extra = np.diff(np.rint(shares * (average - 1) * len(GENRES)).astype(int), prepend=0)
    return [1 + int(n) for n in extra]


def by_artists(genre: Genre, split: str, subsets: list[str], rng: np.random.Generator) -> list[Track]:
    """A track for each of `subsets`, without an id yet, by artists of one to four tracks."""
    rng.shuffle(subsets)
    others = [other for other in GENRES if other is not genre]
    tracks: list[Track] = []
    while len(tracks) < len(subsets):
        second = others[rng.integers(len(others))]
        artist = 1 + int(rng.integers(2**31))
        for subset in subsets[len(tracks) :][: rng.integers(1, 5)]:
            top = subset != "large" or rng.random() < 0.6
            tracks.append(Track(0, artist, genre, second, split, subset, top))
    return tracks


def spoil(tracks: list[Track], defect: str, split: str, spare: int, rng: np.random.Generator) -> None:
    """Give a track of the split a defect, if there is one whose genre has more than `spare` good tracks."""
    clips = [track for track in tracks if track.split == split and track.subset != "large"]
    good = Counter(track.genre.title for track in clips if track.defect not in BAD)

    def may_be_spoilt(track: Track) -> bool:
        sound = track.split == split and track.subset != "large" and track.defect == ""
        return sound and good[track.genre.title] > spare

    choices = [i for i, track in enumerate(tracks) if may_be_spoilt(track)]
    if choices:
        i = rng.choice(choices)
        tracks[i] = replace(tracks[i], defect=defect)


def synthesise(tracks: list[Track], settings: Synthesis) -> Iterable[tuple[str, bytes]]:
    """Name and content of the MP3 file of every track that has one; large tracks have none."""
    audible = [track for track in tracks if track.subset != "large"]
    tasks = (joblib.delayed(clip)(track, settings.seed, settings.seconds) for track in audible)
    parallel = joblib.Parallel(n_jobs=worker_count(), return_as="generator")
    clips = run_in_workers(parallel, tasks, lambda: "run it again")
    shown = progress.bar(clips, desc="synthesise", total=len(audible), unit="clip")
    names = (f"{track.track_id // 1000:03d}/{track.track_id:06d}.mp3" for track in audible)
    return zip(names, shown, strict=True)


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
    """The columns of tracks.csv that a synthetic track fills."""
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
    """Rows as the bytes of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def tracks_csv(tracks: list[Track], seconds: int) -> bytes:
    """The FMA's tracks.csv: two lines of column names, one with the name of the index, then a row a track."""
    groups = ["", *(group for group, _ in COLUMNS)]
    names = ["", *(name for _, name in COLUMNS)]
    index = ["track_id"] + [""] * len(COLUMNS)
    rows: list[list[object]] = []
    for track in tracks:
        values = cells(track, seconds)
        rows.append([track.track_id, *(values.get(column, "") for column in COLUMNS)])
    return to_csv([groups, names, index, *rows])


def genres_csv(tracks: list[Track]) -> bytes:
    """The FMA's genres.csv, with top-level genres only."""
    sizes = Counter(track.genre.genre_id for track in tracks)
    rows = sorted((genre.genre_id, sizes[genre.genre_id], 0, genre.title, genre.genre_id) for genre in GENRES)
    return to_csv([("genre_id", "#tracks", "parent", "title", "top_level"), *rows])


# Archives. --------------------------------------------------------------------------------------------------------


def write_archive(path: Path, readme: str, members: Iterable[tuple[str, bytes]]) -> None:
    """Zip members, (name, content), by bzip2, with the FMA's README.txt and checksums in front of them."""
    checksums = []
    with zipfile.ZipFile(path, "w") as archive:

        def write(name: str, content: bytes) -> None:
            info = zipfile.ZipInfo(f"{path.stem}/{name}", TIMESTAMP)
            archive.writestr(info, content, zipfile.ZIP_BZIP2, compresslevel=1)  # level 1 is quickest

        for name, content in members:
            write(name, content)
            checksums.append(f"{hashlib.sha1(content).hexdigest()}  {name}\n")
        write("README.txt", readme.encode())
        write("checksums", "".join(checksums).encode())
        # The directory lists these two first, as the FMA's does; written last, they need not wait for every clip.
        archive.filelist[:0] = [archive.filelist.pop(-2), archive.filelist.pop()]

"""The built-in *demo* data set: synthetic music in the layout of the FMA archives, with the FMA's defects."""

import csv
import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import soundfile

from fma_genre import progress, synthesis
from fma_genre.synthesis import GENRES, Genre, Track, clip
from fma_genre.workers import share

SPLITS = ("training", "validation", "test")
TIMESTAMP = (2017, 4, 1, 0, 0, 0)
BAD = ("unreadable", "short", "silent")
FORMATS = ("stereo", "48 kHz", "22.05 kHz")


def apportion(total: int) -> list[int]:
    """`total` tracks a genre on average, at least one, in proportion to the genres' sizes."""
    shares = np.cumsum([genre.size for genre in GENRES]) / sum(genre.size for genre in GENRES)
    extra = np.diff(np.rint(shares * (total - 1) * len(GENRES)).astype(int), prepend=0)
    return [1 + int(n) for n in extra]


def spoil(tracks: list[Track], defect: str, split: str, spare: int, rng: np.random.Generator) -> None:
    """Give a track of the split a defect, if there is one whose genre keeps `spare` other good tracks."""
    audible = [t for t in tracks if t.split == split and t.subset != "large" and t.defect not in BAD]
    good = Counter(t.genre.title for t in audible)
    choices = [
        i
        for i, t in enumerate(tracks)
        if (t.split, t.defect) == (split, "") and t.subset != "large" and good[t.genre.title] > spare
    ]
    if choices:
        i = rng.choice(choices)
        tracks[i] = replace(tracks[i], defect=defect)


def by_artists(genre: Genre, split: str, subsets: list[str], rng: np.random.Generator) -> list[Track]:
    """Rows of a genre and a split, ids to come, shared out among artists of one to four tracks."""
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


def plan(settings: Mapping[str, int]) -> list[Track]:
    """All rows of tracks.csv, in order of their ids."""
    rng = np.random.default_rng([settings["seed"], 0])
    tracks: list[Track] = []
    for split in SPLITS:
        sizes = apportion(settings[split])
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
            for _ in range(1 + settings[split] // 10):
                spoil(tracks, defect, split, 0, rng)
    return tracks


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
    """The columns of tracks.csv that say something about a synthetic track."""
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
    """FMA's tracks.csv: two levels of column names, the name of the index, a row a track."""
    head = [["", *(group for group, _ in COLUMNS)], ["", *(name for _, name in COLUMNS)]]
    head.append(["track_id"] + [""] * len(COLUMNS))
    table = [(track.track_id, cells(track, seconds)) for track in tracks]
    return to_csv([*head, *([track_id, *(row.get(c, "") for c in COLUMNS)] for track_id, row in table)])


def genres_csv(tracks: list[Track]) -> bytes:
    """FMA's genres.csv, of top-level genres only."""
    sizes = Counter(track.genre.genre_id for track in tracks)
    rows = sorted((g.genre_id, sizes[g.genre_id], 0, g.title, g.genre_id) for g in GENRES)
    return to_csv([("genre_id", "#tracks", "parent", "title", "top_level"), *rows])


def write_archive(path: Path, readme: str, members: Iterable[tuple[str, bytes]]) -> None:
    """Zip members, (name, content), by bzip2, with FMA's README.txt and checksums in front of them."""
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
        # The directory lists the two first, as FMA's does; written last, they need not wait for every clip.
        archive.filelist[:0] = [archive.filelist.pop(-2), archive.filelist.pop()]


def fingerprint(settings: Mapping[str, int]) -> str:
    """A hex sha1 of what decides the archives: the code, the settings, versions of numpy and libsndfile."""
    values = json.dumps(dict(settings), sort_keys=True)
    versions = f"{np.__version__} {soundfile.__libsndfile_version__}"
    code = Path(__file__).read_bytes() + Path(synthesis.__file__).read_bytes()
    return hashlib.sha1(code + f"{values} {versions}".encode()).hexdigest()


def build(settings: Mapping[str, int], folder: Path) -> tuple[Path, Path]:
    """Writes fma_demo.zip and fma_metadata.zip into `folder`, an empty one, and returns their paths.

    `settings` has the `seed`; `seconds`, the length of a clip; `training` (at least 2), `validation` and `test`, the
    tracks a genre of the medium subset in each split, on average. The same settings give the same bytes, however many
    processes share the work.
    """
    tracks = plan(settings)
    seed, seconds = settings["seed"], settings["seconds"]
    audible = [track for track in tracks if track.subset != "large"]
    jobs = (joblib.delayed(clip)(track, seed, seconds) for track in audible)
    clips = share(joblib.Parallel(n_jobs=-1, return_as="generator"), jobs, lambda: "run it again")
    shown = progress.bar(clips, desc="synthesise", total=len(audible), unit="clip")
    names = (f"{track.track_id // 1000:03d}/{track.track_id:06d}.mp3" for track in audible)
    audio, metadata = folder / "fma_demo.zip", folder / "fma_metadata.zip"
    readme = "Synthetic music in the layout of the FMA dataset.\n"
    write_archive(audio, readme, zip(names, shown, strict=True))
    tables = [("tracks.csv", tracks_csv(tracks, seconds)), ("genres.csv", genres_csv(tracks))]
    write_archive(metadata, readme, tables)
    return audio, metadata

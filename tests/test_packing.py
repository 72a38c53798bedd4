"""src/pack.py: folders and lists of music become archives that the pipeline takes."""

import csv
import difflib
import io
import itertools
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
import warnings
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from sklearn.model_selection import StratifiedGroupKFold

import recordings
from fma_genre.archives import clips, tracks, zips
from fma_genre.common.params import Spectrograms
from fma_genre.features import audio, extraction
from fma_genre.packing import entry, measuring, parts, splits, summary
from fma_genre.packing.songs import SUFFIXES, Song
from project import PARAMS, ROOT, Project

PACK = str(ROOT / "src/pack.py")
RATE = 8000
SECONDS = 2  # length of a clip in these tests
GENRES = ("jazz", "rock")
DATA_PAGE = (ROOT / "docs/data.md").read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A folder with the parameters of the tests, but with short clips."""
    path = tmp_path / "checkout"
    path.mkdir()
    text = PARAMS.read_text()
    (path / "params.yaml").write_text(text.replace("  seconds: 30\n  hop", f"  seconds: {SECONDS}  # short\n  hop"))
    return Project(path, tmp_path / "home")


def pack(project: Project, source: Path, *options: str, name: str = "mine") -> str:
    """Pack a source; return the output."""
    return project.run_here(PACK, str(source), "--name", name, *options).stdout


def refusal(project: Project, source: Path, *options: str) -> str:
    """Pack a source that is refused; return the error. params.yaml must stay as it is."""
    before = (project.path / "params.yaml").read_bytes()
    done = project.run_here(PACK, str(source), "--name", "mine", *options, check=False)
    assert done.returncode == 1
    assert (project.path / "params.yaml").read_bytes() == before
    assert not (project.path / "data_sets/mine.zip").exists()
    (line,) = done.stderr.splitlines()
    return line.removeprefix("pack: ")


def table(project: Project, name: str = "mine") -> pd.DataFrame:
    """The tracks of a packed data set, as the stage split selects them."""
    with zips.open_zip(project.path / f"data_sets/{name}_metadata.zip") as archive:
        parsed = tracks.parse_table(zips.read_member(archive, "tracks.csv"), name)
    return tracks.select(parsed, "large", name)


def members(project: Project, name: str = "mine") -> dict[str, bytes]:
    with zipfile.ZipFile(project.path / f"data_sets/{name}.zip") as archive:
        return {member.filename: archive.read(member) for member in archive.infolist()}


def wav(seconds: float = 1, seed: int = 0, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).normal(0, 0.1, int(seconds * rate))
    soundfile.write(file, noise, rate, format="WAV")
    return file.getvalue()


def folder_of(path: Path, songs: int = 10, genres: Sequence[str] = GENRES) -> Path:
    """A folder with `songs` different WAV files of each genre."""
    for place, genre in enumerate(genres):
        (path / genre).mkdir(parents=True)
        for number in range(songs):
            (path / genre / f"{genre}.{number:05d}.wav").write_bytes(wav(seed=100 * place + number))
    return path


def list_of(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    """A CSV file of songs."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(folder: Path) -> list[dict[str, object]]:
    """A row for each file of `folder_of`, with an official split."""
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*.wav"))]
    shares = ("training", "training", "validation", "test")
    return [
        {"path": str(name), "genre": name.parts[0], "artist": f"Artist {place}", "split": shares[place % 4]}
        for place, name in enumerate(names)
    ]


# Audio. -----------------------------------------------------------------------------------------------------------


def sndfile(kind: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, recordings.melody(), recordings.RATE, format=kind, subtype=subtype)
    return file.getvalue()


FORMATS: dict[str, Callable[[], bytes]] = {
    "song.mp3": lambda: recordings.playable("VBR without a frame count"),
    "song.WAV": lambda: recordings.playable("WAV of 24 bits"),
    "song.flac": lambda: recordings.playable("FLAC"),
    "song.ogg": recordings.vorbis,
    "song.opus": recordings.opus,
    "song.au": lambda: sndfile("AU", "PCM_16"),
    "song.aiff": lambda: recordings.playable("AIFF"),
    "song.m4a": lambda: recordings.playable("M4A"),
    "song.aac": lambda: recordings.playable("AAC"),
    "song.wma": lambda: recordings.playable("WMA"),
    "song.mkv": lambda: recordings.playable("video in Matroska"),
    "song.mp4": lambda: recordings.playable("video in MP4"),
}


def test_every_format_is_kept_as_it_is_and_its_middle_is_heard(project: Project, tmp_path: Path) -> None:
    """Each second of the recordings has a note of its own, so the notes tell which part is heard."""
    folder = folder_of(tmp_path / "music", 3)
    contents = {name: make() for name, make in FORMATS.items()}
    for name, content in contents.items():
        (folder / "jazz" / name).write_bytes(content)
    pack(project, folder)

    packed, found = members(project), table(project)
    assert all(re.fullmatch(r"000/0000[0-9]{2}\.[a-z0-9]+", name) for name in packed)
    originals = sorted(path.read_bytes() for path in folder.rglob("*.*"))
    assert sorted(packed.values()) == originals
    with zips.open_zip(project.path / "data_sets/mine.zip") as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        located = clips.find_clips(archive, found, "mine.zip")
    songs = found["title"] == "song"
    assert songs.sum() == len(FORMATS)
    for clip in (clip for clip, is_song in zip(located, songs, strict=True) if is_song):
        data = zips.read(project.path / "data_sets/mine.zip", clip.member)
        assert contents[f"song{Path(clip.member.filename).suffix.replace('wav', 'WAV')}"] == data
        heard = audio.load(data, 22050, SECONDS, clip.start)
        assert clip.start == pytest.approx(4, abs=0.1)
        assert recordings.heard(heard.samples, 22050) == recordings.NOTES[4:6]


def test_extraction_takes_every_format(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 3)
    for name, make in FORMATS.items():
        (folder / "rock" / name).write_bytes(make())
    pack(project, folder)
    archive = project.path / "data_sets/mine.zip"
    with zips.open_zip(archive) as opened:
        located = clips.find_clips(opened, table(project), "mine.zip")
    settings = Spectrograms(22050, SECONDS, 512, 100, {"mel": {"n_fft": 2048, "bands": 16}})
    (tmp_path / "out").mkdir()
    outcomes = extraction.extract(archive, located, settings, tmp_path / "out")
    assert outcomes["unreadable"].tolist() == [b""] * len(located)
    assert sorted(outcomes["decoded"].round(2)) == [1.0] * 6 + [2.0] * len(FORMATS)


def test_a_suffix_that_is_no_name_of_a_format_does_not_enter_the_archive() -> None:
    assert parts.member_name(1234, Path("a.MP3")) == "001/001234.mp3"
    assert parts.member_name(1, Path("a.mp 3")) == parts.member_name(1, Path("a")) == "000/000001.audio"


def test_all_suffixes_of_the_formats_above_are_known() -> None:
    assert {Path(name).suffix.lower() for name in FORMATS} <= SUFFIXES


@pytest.mark.parametrize("rate", [8000, 44100])
@pytest.mark.parametrize("amplitude", [1, 0.1])
def test_loudness_is_that_of_a_sine(rate: int, amplitude: float, tmp_path: Path) -> None:
    """The RMS of a sine is its amplitude / √2, also if opposite channels would cancel."""
    sine = amplitude * np.sin(2 * np.pi * 100 * np.arange(11 * rate) / rate)
    soundfile.write(tmp_path / "a.wav", sine, rate, subtype="FLOAT")
    measured = measuring.measure(tmp_path / "a.wav")
    assert measured.loudness == pytest.approx(20 * math.log10(amplitude / math.sqrt(2)), abs=0.06)
    assert (measured.seconds, measured.length, measured.rate) == (11, 11, rate)
    soundfile.write(tmp_path / "b.wav", np.stack([sine, -sine], axis=1), rate, subtype="FLOAT")
    assert measuring.measure(tmp_path / "b.wav").loudness == measured.loudness
    soundfile.write(tmp_path / "c.wav", np.zeros(rate), rate)
    assert measuring.measure(tmp_path / "c.wav").loudness == -120


# Clips. -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration", "clips", "expected"),
    [
        (20, 1, [0]), (30, 3, [0]), (30.5, 1, [0]), (31, 9, [0]), (40, 1, [5]), (40, 3, [5]), (90, 3, [0, 30, 60]),
        (90, 2, [7.5, 52.5]), (240, 1, [105]), (240, 3, [25, 105, 185]), (89.9999, 3, [7.499, 52.499]),
    ],
)  # fmt: skip
def test_clips_are_the_middles_of_equal_parts(duration: float, clips: int, expected: list[float]) -> None:
    assert parts.starts(duration, 30, clips) == expected


def test_clips_never_overlap_and_fit_the_file() -> None:
    generator = np.random.default_rng(0)
    for _ in range(500):
        duration, seconds, count = generator.uniform(1, 500), generator.uniform(1, 60), int(generator.integers(1, 20))
        found = parts.starts(duration, seconds, count)
        assert 1 <= len(found) <= count
        assert all(later - earlier >= seconds - 0.0011 for earlier, later in itertools.pairwise(found))
        assert found[0] >= 0
        assert duration <= seconds + parts.SURPLUS or found[-1] + seconds <= duration
        assert all(round(start, 3) == start for start in found)


def test_no_clip_starts_later_than_a_table_of_tracks_allows() -> None:
    song = Song(Path("a.flac"), "a.flac", "a.flac", "rock")
    measured = measuring.Measured(seconds=200_000, length=200_000)
    assert max(parts.clips_of(song, measured, 30, 100)) <= tracks.MAX_START
    assert max(parts.clips_of(replace(song, start=86_000, seconds=86_400), measured, 30, 100)) <= tracks.MAX_START


def test_several_clips_of_a_song_share_a_file_and_a_split(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 12)
    for path in folder.rglob("*1.wav"):
        path.write_bytes(wav(10, seed=int(path.stem[-5:]) + len(path.stem)))
    pack(project, folder, "--clips", "3")
    found = table(project)
    counts = found.groupby("member").size()
    assert Counter(counts) == {1: 20, 3: 4}
    assert len(members(project)) == 24
    assert len(found[["member", "split", "artist_id"]].drop_duplicates()) == 24
    longest = found[found["member"].map(counts) == 3].groupby("member")["start"].agg(list)
    assert longest.tolist() == [[0.666, 4.0, 7.333]] * 4


def test_a_row_decides_about_its_own_part(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 8)
    rows: list[dict[str, object]] = [row | {"start": "", "seconds": ""} for row in rows_of(folder)]
    (folder / "long.wav").write_bytes(wav(20))
    given: list[tuple[str, str, list[float]]] = [
        ("3.125", "", [3.125]),
        ("1", "10", [1.666, 5, 8.333]),
        ("", "4", [0, 2]),
        ("19.5", "2", [19.5]),
    ]
    for start, seconds, _ in given:
        rows.append(
            {"path": "long.wav", "genre": "rock", "artist": "A", "split": "test", "start": start, "seconds": seconds}
        )
    pack(project, list_of(folder / "songs.csv", rows), "--clips", "3")
    found = table(project)
    starts = found[found["artist"] == "A"]["start"]
    assert sorted(starts) == sorted(start for _, _, expected in given for start in expected)
    assert len(set(found[found["artist"] == "A"]["member"])) == 1


# Splits. ----------------------------------------------------------------------------------------------------------


def songs_by_artists(seed: int, genres: int = 5, artists: int = 12) -> tuple[list[str], list[str]]:
    """Genres and artists of songs. Artists have 1 to 10 songs, and a tenth of the songs are of another genre."""
    generator = np.random.default_rng(seed)
    labels, names = [], []
    for genre in range(genres):
        for artist in range(artists):
            for _ in range(generator.integers(1, 11)):
                labels.append(f"genre {genre if generator.random() < 0.9 else generator.integers(genres)}")
                names.append(f"{genre}-{artist}")
    return labels, names


def deviation(labels: Sequence[str], chosen: Sequence[str] | np.ndarray) -> float:
    """Mean difference between the share of a split in a genre and 80, 10 or 10 %."""
    shares = pd.crosstab(np.array(labels), np.array(chosen), normalize="index").reindex(columns=tracks.SPLITS)
    return float((shares.fillna(0) - [0.8, 0.1, 0.1]).abs().to_numpy().mean())


@pytest.mark.parametrize("seed", range(5))
def test_a_split_keeps_artists_together_and_is_stratified(seed: int) -> None:
    """It is at least as near to 80/10/10 as two folds of ten of scikit-learn's StratifiedGroupKFold."""
    labels, names = songs_by_artists(seed)
    chosen = splits.make(labels, [(name,) for name in names], seed)
    by_artist = defaultdict(set)
    for name, split in zip(names, chosen, strict=True):
        by_artist[name].add(split)
    assert all(len(used) == 1 for used in by_artist.values())
    assert set(zip(labels, chosen, strict=True)) == {(label, split) for label in labels for split in tracks.SPLITS}

    folds = StratifiedGroupKFold(10, shuffle=True, random_state=seed)
    with warnings.catch_warnings(action="ignore"):
        held_out = [test for _, test in folds.split(labels, labels, names)]
    reference = np.full(len(labels), "training", dtype=object)
    reference[held_out[0]], reference[held_out[1]] = "validation", "test"
    assert deviation(labels, chosen) <= deviation(labels, reference)
    assert deviation(labels, chosen) < 0.04


@pytest.mark.parametrize(
    ("songs", "expected"), [(3, (1, 1, 1)), (5, (3, 1, 1)), (10, (8, 1, 1)), (15, (11, 2, 2)), (100, (80, 10, 10))]
)
def test_songs_of_unknown_artists_are_divided_exactly(songs: int, expected: tuple[int, int, int]) -> None:
    labels = ["a"] * songs + ["b"] * songs
    chosen = splits.make(labels, [(song,) for song in range(2 * songs)], 0)
    for label in "ab":
        own = Counter(split for split, genre in zip(chosen, labels, strict=True) if genre == label)
        assert tuple(own[split] for split in tracks.SPLITS) == expected


def test_small_genres_are_in_training_and_fill_all_splits() -> None:
    labels = ["a", *"bb", *"cc", *"dd"]
    chosen = splits.make(labels, [(song,) for song in range(len(labels))], 0)
    assert {label for label, split in zip(labels, chosen, strict=True) if split == "training"} == set("abcd")
    assert {"validation", "test"} <= set(chosen)


def test_the_seed_decides() -> None:
    labels, names = songs_by_artists(0)
    found = [tuple(splits.make(labels, [(name,) for name in names], seed)) for seed in (0, 1, 2, 0)]
    assert found[0] == found[3]
    assert len(set(found)) == 3


def test_what_is_connected_by_a_chain_stays_together() -> None:
    chosen = splits.make(["a"] * 40, [(i, i + 1) if i < 9 else (i + 100,) for i in range(40)], 0)
    assert len(set(chosen[:9])) == 1
    assert len(set(chosen)) == 3


def test_files_with_the_same_bytes_stay_in_one_split_and_are_counted(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 10)
    for number in range(6):
        shutil.copy(folder / "rock/rock.00003.wav", folder / f"rock/copy{number}.wav")
    shutil.copy(folder / "rock/rock.00003.wav", folder / "jazz/other.wav")
    output = pack(project, folder)
    found = table(project)
    copies = found[found["title"].str.fullmatch(r"copy\d|other|rock\.00003")]
    assert copies["split"].nunique() == copies["artist_id"].nunique() == 1
    assert re.search(r"^\| rock .*\| 7 +\|$", output, re.MULTILINE)
    assert re.search(r"^\| jazz .*\| 1 +\|$", output, re.MULTILINE)
    assert "files with the same bytes are in different genres: jazz/other.wav and rock/copy0.wav (1 such" in output
    assert "different splits" not in output


def tagged(artist: str, seed: int, **others: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        container.metadata.update({"artist": artist, "title": f"Title {seed}", **others})
        stream: Any = container.add_stream("libmp3lame", rate=16000, layout="mono")
        noise = np.random.default_rng(seed).normal(0, 0.1, (1, 16000)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def test_artists_are_read_from_tags(project: Project, tmp_path: Path) -> None:
    """Spellings in other cases or Unicode forms are one artist; a compilation has none."""
    names = ["Björk", unicodedata.normalize("NFD", "BJÖRK"), "Various Artists", "", "Miles  Davis", "miles davis"]
    folder = folder_of(tmp_path / "music", 10)
    for number, name in enumerate(names):
        (folder / f"jazz/{number}.mp3").write_bytes(tagged(name, number))
    output = pack(project, folder)
    found = table(project).set_index("title")
    ids = found.loc[[f"Title {number}" for number in range(len(names))], "artist_id"].tolist()
    assert ids[0] == ids[1]
    assert ids[4] == ids[5]
    assert len(set(ids)) == 4
    assert found.loc["Title 4", "artist"] == "Miles Davis"
    assert "22 of 26 songs have no artist: tracks of an artist may be in several splits" in output
    assert re.search(r"^\| jazz +\| 16 .*\| 2 +\| 0\.00 ", output, re.MULTILINE)
    assert re.search(r"^\| rock +\| 10 .*\| unknown ", output, re.MULTILINE)


def test_genres_without_readable_files_or_test_tracks_are_named(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 8, [*GENRES, "swing"])
    for path in (folder / "swing").iterdir():
        path.write_bytes(b"no audio")
    rows = [
        {key: row[key] for key in ("path", "genre", "split")}
        for row in rows_of(folder)
        if row["genre"] != "rock" or row["split"] == "training"
    ]
    output = pack(project, list_of(folder / "songs.csv", rows))
    assert "left out: swing, since none of the files of the genre can be decoded" in output
    assert "no test tracks of rock: the given split has none" in output


def test_genres_whose_names_differ_only_in_case_are_remarked_upon(project: Project, tmp_path: Path) -> None:
    output = pack(project, folder_of(tmp_path / "music", 3, ["Jazz", "jazz", "rock"]))
    assert "genres whose names differ only in case are different ones: Jazz, jazz\n" in output
    assert sorted(table(project)["genre"].unique()) == ["Jazz", "jazz", "rock"]


def test_spaces_around_a_path_are_dropped_unless_they_belong_to_it(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 8)
    (folder / "jazz/jazz.00000.wav").rename(folder / "jazz/jazz.00000.wav ")
    rows = [row | {"path": f"{row['path']} "} for row in rows_of(folder)]
    pack(project, list_of(folder / "songs.csv", [{**rows[0], "path": "jazz/jazz.00000.wav "}, *rows]))
    assert len(table(project)) == 16


def test_the_artist_of_an_album_is_that_of_its_songs(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    for artist, expected in (("", "Miles Davis"), ("Bill Evans", "Bill Evans")):
        path.write_bytes(tagged(artist, 0, album_artist="Miles Davis"))
        assert measuring.measure(path).artist == expected


def test_a_list_wins_over_tags_and_its_split_is_kept(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 8)
    for path in folder.rglob("*.wav"):
        path.write_bytes(tagged("The same", int(path.stem[-2:]) + len(path.stem) * ord(path.stem[0])))
    rows = rows_of(folder)
    names = {"training": "train", "validation": "Valid", "test": "test"}
    source = list_of(folder / "songs.csv", [row | {"split": names[str(row["split"])]} for row in rows])
    pack(project, source)
    found = table(project)
    assert found["split"].tolist() == [row["split"] for row in rows]
    assert found["artist"].tolist() == [row["artist"] for row in rows]

    without_artists = [{key: row[key] for key in ("path", "genre", "split")} for row in rows]
    again = project.run_here(PACK, str(list_of(source, without_artists)), "--name", "again", check=False)
    assert "expected every artist in one split, found The same in training and validation and test" in again.stderr


def test_a_given_split_with_duplicates_on_both_sides_is_remarked_upon(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 8)
    shutil.copy(folder / "rock/rock.00000.wav", folder / "rock/rock.00003.wav")  # training, test
    output = pack(project, list_of(folder / "songs.csv", rows_of(folder)))
    assert re.search(
        r"same bytes are in different splits: \S+/songs.csv: line 10 and \S+: line 13 \(1 such groups\)", output
    )
    assert "no artist" not in output

    without_artists = [{key: row[key] for key in ("path", "genre", "split")} for row in rows_of(folder)]
    output = pack(project, list_of(folder / "songs.csv", without_artists), name="unknown")
    assert "same bytes are in different splits" in output
    found = table(project, "unknown").set_index("title")
    assert found["artist_id"].nunique() == len(found)


# The same bytes everywhere. ---------------------------------------------------------------------------------------


def contents(project: Project, name: str = "mine") -> list[bytes]:
    return [(project.path / f"data_sets/{name}{kind}.zip").read_bytes() for kind in ("", "_metadata")]


def test_the_bytes_depend_on_nothing_but_the_music(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another place, time, order of the directory and Unicode form of the names; then another locale."""
    folder = folder_of(tmp_path / "music", 5, ("Élan", "rock"))
    (folder / "Élan/ünï.wav").write_bytes(wav(3, seed=999))
    pack(project, folder, "--clips", "2")
    first = contents(project)

    other = tmp_path / "elsewhere"
    for path in sorted(folder.rglob("*.wav"), reverse=True):
        copied = other / unicodedata.normalize("NFD", str(path.relative_to(folder)))
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)
        os.utime(copied, (10**9, 10**9))
    listed = Path.iterdir
    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", lambda path: iter(sorted(listed(path), reverse=True)))
        pack(project, other, "--clips", "2", name="second")
    assert contents(project, "second") == first

    command = [sys.executable, PACK, str(other), "--name", "third", "--clips", "2"]
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Asia/Tokyo", "FMA_WORKERS": "2"}
    subprocess.run(command, cwd=project.path, env=project.environment | locale, capture_output=True, check=True)
    assert contents(project, "third") == first


def test_the_order_of_a_list_does_not_matter(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 8)
    rows = rows_of(folder)
    pack(project, list_of(folder / "songs.csv", rows))
    pack(project, list_of(folder / "reversed.csv", rows[::-1]), name="second")
    assert contents(project, "second") == contents(project)


# Interruptions. ---------------------------------------------------------------------------------------------------


def test_a_stopped_run_goes_on(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are measured once, even if the last line was cut off, and measured again after a change."""
    folder = folder_of(tmp_path / "music", 10)
    measure = measuring.measure
    asked: list[str] = []

    def stopping(path: Path) -> measuring.Measured:
        if len(asked) == 7:
            raise KeyboardInterrupt
        asked.append(path.name)
        return measure(path)

    with monkeypatch.context() as patched:
        patched.setattr(measuring, "measure", stopping)
        assert project.run_here(PACK, str(folder), "--name", "mine", check=False).returncode == 130
    kept = project.path / "data/work/pack/mine.jsonl"
    assert len(kept.read_text().splitlines()) == 7
    assert not (project.path / "data_sets").exists()
    kept.write_bytes(kept.read_bytes()[:-20])

    def counting(path: Path) -> measuring.Measured:
        asked.append(path.name)
        return measure(path)

    def run() -> list[str]:
        asked.clear()
        with monkeypatch.context() as patched:
            patched.setattr(measuring, "measure", counting)
            pack(project, folder)
        return asked

    assert len(run()) == 20 - 6
    written = contents(project)
    assert run() == []
    assert contents(project) == written
    (folder / "rock/rock.00004.wav").write_bytes(wav(2, seed=5000))
    assert run() == ["rock.00004.wav"]
    assert contents(project) != written


@pytest.mark.slow
def test_a_killed_run_goes_on(project: Project, tmp_path: Path) -> None:
    """kill -9 at several moments, at last while the archives are written; nothing half-written remains."""
    folder = folder_of(tmp_path / "music", 300)
    command = [sys.executable, PACK, str(folder), "--name", "mine"]
    kept = project.path / "data/work/pack/mine.jsonl"
    for lines in (1, 150, 400, 600):
        process = subprocess.Popen(command, cwd=project.path, env=project.environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (kept.exists() and kept.read_text().count("\n") >= lines):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert kept.read_text().count("\n") >= lines
    pack(project, folder)
    files = {path.name for path in (project.path / "data_sets").iterdir()}
    assert files == {"mine.zip", "mine_metadata.zip"}
    pack(project, folder, name="second")
    assert contents(project, "second") == contents(project)


def test_a_file_that_changes_meanwhile_is_named(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "music", 4)
    genres = summary.genres

    def changing(*arguments: Any) -> str:
        (folder / "rock/rock.00002.wav").write_bytes(wav(seed=77))
        return genres(*arguments)

    monkeypatch.setattr(summary, "genres", changing)
    message = refusal(project, folder)
    assert re.fullmatch(r"\S+/rock\.00002\.wav: expected the file that was measured, found other bytes: .*", message)


# Names and files among others. ------------------------------------------------------------------------------------

NAMES = [
    "Ünï.wav", "日本語.wav", "quo\"te's.wav", "new\nline.wav", "  spaces  .wav", "a,b;c.wav", "$(rm -rf ~).wav",
    "-dash.wav", "\x1b[31mred.wav", "🎵.wav", "invalid\udcff\udcfe.wav", "C:\\dir\\a.wav", "%2e%2e.wav", "null.wav",
]  # fmt: skip


def test_any_name_is_taken(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 3, ("new\nline", 'quo"te', "日本"))
    for number, name in enumerate(NAMES):
        (folder / "日本" / name).write_bytes(wav(seed=1000 + number))
    pack(project, folder)
    found, packed = table(project), members(project)
    assert sorted(found["genre"].unique()) == ["new line", 'quo"te', "日本"]
    assert len(found) == 9 + len(NAMES)
    assert all(name.isascii() for name in packed)
    assert all(title.isprintable() and title for title in found["title"])
    rows: list[dict[str, object]] = [
        {"path": str(path.relative_to(folder)), "genre": path.parent.name.replace("\n", " ")}
        for path in folder.rglob("*.wav")
        if path.name.isprintable() or "\n" in path.name
    ]
    pack(project, list_of(folder / "songs.csv", rows), name="listed")
    listed = table(project, "listed")
    assert len(listed) == len(rows)
    assert set(listed["title"]) < set(found["title"])


def test_other_files_are_skipped_and_unreadable_ones_are_named(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 4)
    jazz = folder / "jazz"
    (jazz / "album/disc 1").mkdir(parents=True)
    (jazz / "album/disc 1/deep.wav").write_bytes(wav(seed=50))
    for name in ("cover.jpg", ".DS_Store", "._song.wav", "list.m3u", "notes"):
        (jazz / name).write_bytes(b"x")
    (folder / ".Trash/rock").mkdir(parents=True)
    shutil.copy(jazz / "jazz.00000.wav", folder / ".Trash/rock/old.wav")
    (folder / "empty genre").mkdir()
    (folder / "readme.txt").write_bytes(b"x")
    (jazz / "loop").symlink_to("..")
    (jazz / "above").symlink_to(tmp_path)
    (jazz / "missing.wav").symlink_to("nowhere")
    (jazz / "dir.mp3").mkdir()
    os.mkfifo(jazz / "pipe.ogg")
    (jazz / "text.mp3").write_bytes(b"no audio")
    (jazz / "empty.flac").write_bytes(b"")
    (jazz / "new\nline.m4a").write_bytes(bytes(5000))
    for number in range(30):
        (folder / f"rock/zeros{number:02d}.mp3").write_bytes(bytes(100))
    output = pack(project, folder)
    assert len(table(project)) == 9
    (counted,) = [line for line in output.splitlines() if line.startswith("skipped")]
    assert counted == (
        "skipped: 4 files without the suffix of an audio format: no suffix (1), .jpg (1), .m3u (1), .txt (1)"
    )
    lines = [line for line in output.splitlines() if "left out" in line]
    assert [line.rpartition(":")[0] for line in lines[:4]] == [
        f"left out: jazz/{name}" for name in ("empty.flac", "new line.m4a", "pipe.ogg", "text.mp3")
    ]
    assert lines[2].endswith(": not a regular file")
    assert len(lines) == summary.MAX_LINES + 1
    assert lines[-1] == "14 other files left out"


def test_linked_folders_are_followed(project: Project, tmp_path: Path) -> None:
    folder, linked = folder_of(tmp_path / "music", 4), tmp_path / "linked"
    linked.mkdir()
    for genre in GENRES:
        (linked / genre).symlink_to(folder / genre)
    pack(project, folder)
    pack(project, linked, name="second")
    assert contents(project, "second") == contents(project)


# Refusals. --------------------------------------------------------------------------------------------------------


def first(value: dict[str, str]) -> Callable[[list[dict[str, object]]], list[dict[str, object]]]:
    """Change the first row."""
    return lambda rows: [rows[0] | value, *rows[1:]]


def every(value: dict[str, object]) -> Callable[[list[dict[str, object]]], list[dict[str, object]]]:
    return lambda rows: [row | value for row in rows]


def without(column: str) -> Callable[[list[dict[str, object]]], list[dict[str, object]]]:
    return lambda rows: [{key: value for key, value in row.items() if key != column} for row in rows]


LINE = r"\S+/songs\.csv: line 2"
REFUSED: dict[str, tuple[Callable[[list[dict[str, object]]], list[dict[str, object]]], str]] = {
    "one genre": (every({"genre": "rock"}), r"\S+: expected at least two genres, found \['rock'\]"),
    "no test track": (
        lambda rows: [row for row in rows if row["split"] != "test"],
        r"\S+: expected tracks in training, validation, test, found none in test",
    ),
    "a genre without training": (
        lambda rows: [row for row in rows if row["genre"] == "rock" or row["split"] != "training"],
        r"\S+: expected a training track for every genre, found none for jazz",
    ),
    "an artist in two splits": (
        every({"artist": "Jane Doe"}),
        r"\S+: expected every artist in one split, found Jane Doe in training and validation and test \(1 such .*",
    ),
    "an unknown split": (
        first({"split": "dev"}),
        rf"{LINE}: split: expected one of training, validation, test, train, valid, val, found 'dev'",
    ),
    "a missing split": (first({"split": ""}), rf"{LINE}: split: expected one of .*, found ''"),
    "a missing file": (
        first({"path": "no\nwhere.mp3"}),
        r"\S+/songs\.csv: line 3: expected an audio file, found none at no where\.mp3 \(1 such rows\)",
    ),
    "a folder": (first({"path": "rock"}), rf"{LINE}: expected an audio file, found none at rock \(1 such rows\)"),
    "no path": (first({"path": ""}), rf"{LINE}: path: expected a path, found ''"),
    "no genre": (first({"genre": " "}), rf"{LINE}: expected a genre of 1 to 200 characters in UTF-8, found ''"),
    "a long genre": (first({"genre": "x" * 201}), rf"{LINE}: expected a genre of 1 to 200 characters .*"),
    "no column genre": (without("genre"), r"\S+: expected the columns path, genre, and optionally .*, found no genre"),
    "an unknown column": (
        every({"artists": "x"}),
        r"\S+: expected the columns path, genre, and optionally artist, split, start, seconds, found 'artists'; did .*",
    ),
    "a repeated row": (
        lambda rows: [rows[0], *rows],
        r"\S+: line 3: expected every file and start once, found those of \S+: line 2 again",
    ),
    "parts of a file in two splits": (
        lambda rows: [rows[0] | {"start": 0}, rows[0] | {"start": 0.5, "split": "test"}],
        r"\S+: line 3: expected the split training, which \S+: line 2 has for another part of the file, found test",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_list_that_cannot_work_is_refused_before_anything_is_measured(
    case: str, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "measure", lambda path: pytest.fail("measured"))
    folder = folder_of(tmp_path / "music", 8)
    change, message = REFUSED[case]
    assert re.fullmatch(message, refusal(project, list_of(folder / "songs.csv", change(rows_of(folder)))))


@pytest.mark.parametrize(
    ("start", "seconds", "message"),
    [
        ("-1", "", "start: expected 0 to 86400 s in whole milliseconds, found '-1'"),
        ("nan", "", "start: expected 0 to 86400 s .*"),
        ("1e1", "", "start: expected 0 to 86400 s .*"),
        ("0.0001", "", "start: expected 0 to 86400 s .*"),
        ("99999", "", "start: expected 0 to 86400 s .*"),
        ("", "0.5", "seconds: expected 1 to 86400 s in whole milliseconds, found '0.5'"),
        ("1", "", "expected a start before the end at 1 s, found 1"),
        ("10", "5", "expected a start before the end at 1 s, found 10"),
    ],
)
def test_an_impossible_part_is_refused(
    start: str, seconds: str, message: str, project: Project, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "music", 8)
    rows = every({"start": "", "seconds": ""})(rows_of(folder))
    source = list_of(folder / "songs.csv", first({"start": start, "seconds": seconds})(rows))
    assert re.fullmatch(f"{LINE}: {message}", refusal(project, source))


def test_a_part_that_is_shorter_than_a_clip_is_refused(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 8)
    (folder / "jazz/jazz.00000.wav").write_bytes(wav(10))
    rows = every({"seconds": ""})(rows_of(folder))
    message = refusal(project, list_of(folder / "songs.csv", first({"seconds": "1.5"})(rows)))
    assert re.fullmatch(
        rf"{LINE}: expected at least 2 seconds \(spectrograms\.seconds in params\.yaml\), since .*, found 1\.5", message
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected the columns path, genre, and optionally .*, found no path"),
        (b"path;genre\na.wav;rock\n", "expected commas between columns, found semicolons"),
        (b"path,genre,path\n", "expected the columns path, genre, and optionally .*, found path twice"),
        (b"path,genre\na\n", "line 2: expected 2 columns, found 1"),
        (b'path,genre\n"a,b\n', "line 2: expected CSV, found: unexpected end of data"),
        (b"path,genre\n", "expected a row for each song, found none"),
        (b"path,genre\na\0b,c\n", "line 2: .*"),
        (b"path,genre\nsongs.csv,ro\xe9k\n", r"line 2: expected a genre .* in UTF-8, found 'ro\\udce9k'"),
    ],
)
def test_a_file_that_is_no_list_is_refused(content: bytes, message: str, project: Project, tmp_path: Path) -> None:
    source = tmp_path / "songs.csv"
    source.write_bytes(content)
    assert re.fullmatch(rf"{re.escape(str(source))}: {message}", refusal(project, source))


def test_a_list_from_a_spreadsheet_is_read(project: Project, tmp_path: Path) -> None:
    """With a byte-order mark, carriage returns, spaces in the header, and blank lines."""
    folder = folder_of(tmp_path / "music", 8)
    source = list_of(folder / "songs.csv", rows_of(folder))
    pack(project, source)
    text = source.read_text().replace("path,genre,", "path, genre ,").replace("\n", "\r\n\r\n")
    (folder / "excel.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    pack(project, folder / "excel.csv", name="second")
    assert contents(project, "second") == contents(project)


def test_a_folder_that_cannot_work_is_refused(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "parent/music", 2, ("rock",))
    assert refusal(project, tmp_path / "nowhere").endswith("nowhere: expected a folder or a CSV file, found none")
    assert refusal(project, folder).endswith("music: expected at least two genres, found only rock")
    assert refusal(project, folder.parent).endswith("parent: expected at least two genres, found only music")
    (tmp_path / "empty").mkdir()
    assert refusal(project, tmp_path / "empty").endswith("expected audio files in folders named by genre, found none")
    (folder / "song.wav").write_bytes(wav())
    expected = "music: expected every audio file in a folder named by its genre, found song.wav"
    assert refusal(project, folder).endswith(expected)


def test_too_few_songs_or_readable_ones_are_refused(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 1)
    expected = r"readable files of \S+: expected tracks in training, validation, test, found none in validation"
    assert re.fullmatch(expected, refusal(project, folder))
    for path in folder.rglob("*.wav"):
        path.write_bytes(b"no audio")
    assert refusal(project, folder).endswith("music: expected audio that can be decoded, found none in 2 files")


def test_a_file_that_the_archive_reader_would_refuse_is_left_out(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 4)
    with (folder / "rock/mix.wav").open("wb") as file:
        file.truncate(zips.MAX_CLIP_BYTES + 1)
    lines = pack(project, folder).splitlines()
    assert lines[0] == "left out: rock/mix.wav: expected at most 268435456 bytes, found 268435457"


def test_too_little_disk_space_is_refused(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path / "music", 4)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
    message = refusal(project, folder)
    assert re.fullmatch(r"data_sets: expected .* GB of disk space, found 0 GB free", message)


@pytest.mark.parametrize("option", [("--clips", "0"), ("--clips", "x"), ("--seed", "-1"), ("--clips", "101")])
def test_options_are_checked(option: tuple[str, str], project: Project, tmp_path: Path) -> None:
    done = project.run_here(PACK, str(tmp_path), "--name", "mine", *option, check=False)
    assert done.returncode == 2
    assert f"{option[0]}: " in done.stderr.splitlines()[-1]


# params.yaml. -----------------------------------------------------------------------------------------------------


def changed_lines(before: str, after: str) -> list[str]:
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


def test_the_shipped_params_keep_every_other_line() -> None:
    text = (ROOT / "params.yaml").read_text()
    section = {role: {"url": f"/a b/{role}.zip", "sha1": "0" * 40} for role in entry.ROLES} | {"subset": "large"}
    edited = entry.edit(text, "new", section)
    lines = changed_lines(text, edited)
    assert len(lines) == 8
    assert all(line.startswith("+ ") for line in lines)
    assert yaml.safe_load(edited)["datasets"]["new"] == section
    again = entry.edit(edited, "new", section | {"audio": {"url": "/b.zip", "sha1": "1" * 40}})
    assert [line[0] for line in changed_lines(edited, again)].count("+") == 2


def test_the_entry_is_added_once_then_replaced(project: Project, tmp_path: Path) -> None:
    folder, params = folder_of(tmp_path / "music", 4), project.path / "params.yaml"
    before = params.read_text()
    assert "data_sets/mine.zip, data_sets/mine_metadata.zip: written; added in params.yaml" in pack(project, folder)
    added = params.read_text()
    assert "  # short\n" in added
    assert all(line.startswith("+ ") for line in changed_lines(before, added))
    section = yaml.safe_load(added)["datasets"]["mine"]
    assert [section[role]["url"] for role in entry.ROLES] == ["data_sets/mine.zip", "data_sets/mine_metadata.zip"]
    assert project.run("sha1sum", "data_sets/mine.zip").stdout.split()[0] == section["audio"]["sha1"]

    (folder / "rock/new.wav").write_bytes(wav(seed=99))
    assert "written; replaced in params.yaml as datasets.mine" in pack(project, folder)
    assert len(changed_lines(added, params.read_text())) >= 4
    assert list(yaml.safe_load(params.read_text())["datasets"]).count("mine") == 1


def test_archives_elsewhere_have_an_absolute_path(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 4)
    pack(project, folder, "--out", str(tmp_path / "out put"))
    section = yaml.safe_load((project.path / "params.yaml").read_text())["datasets"]["mine"]
    assert section["audio"]["url"] == f"{tmp_path}/out put/mine.zip"


def test_names_and_files_of_others_are_never_replaced(project: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", 4)
    for name in ("demo", "small"):
        done = project.run_here(PACK, str(folder), "--name", name, check=False)
        assert re.match(
            rf"pack: params\.yaml: datasets\.{name}: expected a name that is free, or .*, found", done.stderr
        )
    done = project.run_here(PACK, str(folder), "--name", "a b", check=False)
    assert done.stderr == "pack: --name: expected a name of at most 64 letters, digits, - and _, found 'a b'\n"
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine_metadata.zip").write_bytes(b"mine")
    done = project.run_here(PACK, str(folder), "--name", "mine", "--out", str(tmp_path / "out"), check=False)
    assert re.fullmatch(r"pack: \S+/mine_metadata\.zip: expected a free name, or .*, found another file\n", done.stderr)
    assert (tmp_path / "out/mine_metadata.zip").read_bytes() == b"mine"


def test_params_in_another_form_are_refused(project: Project, tmp_path: Path) -> None:
    params = project.path / "params.yaml"
    values = yaml.safe_load(params.read_text())
    params.write_text(yaml.safe_dump(values, default_flow_style=True))
    assert refusal(project, folder_of(tmp_path / "music", 4)).startswith("params.yaml: ")


# The whole pipeline. ----------------------------------------------------------------------------------------------


def melodies(path: Path, songs: int = 10) -> Path:
    """A folder of ten-second WAV files: low tones and high tones."""
    for place, genre in enumerate(("high", "low")):
        (path / genre).mkdir(parents=True)
        for number in range(songs):
            tone = np.sin(2 * np.pi * (2000 - 1700 * place + 20 * number) * np.arange(10 * 16000) / 16000)
            soundfile.write(path / genre / f"{number}.wav", 0.5 * tone, 16000)
    return path


@pytest.mark.slow
def test_the_pipeline_runs_on_packed_music(finished: Project, tmp_path: Path) -> None:
    """The printed command works, and the stages read the tracks that were packed."""
    project = finished.copy(tmp_path / "project")
    output = project.run("python", "src/pack.py", str(melodies(tmp_path / "music")), "--name", "mine").stdout
    (command,) = re.findall(r"^(dvc exp run -S dataset=\w+) ", output, re.MULTILINE)
    project.run(*command.split())
    index = pd.read_csv(project.path / "data/index.csv", keep_default_na=False)
    packed = table(project)
    columns = ["track_id", "artist_id", "genre", "split", "member"]
    assert index[columns].to_numpy().tolist() == packed[columns].to_numpy().tolist()
    assert (index["left_out"] == "").all()
    assert (index["decoded"] == 10).all()
    assert yaml.safe_load((project.path / "params.yaml").read_text())["dataset"] == "mine"
    assert "mine" in (project.path / "report.md").read_text()


def test_gtzan_is_packed_as_the_page_says(project: Project, tmp_path: Path) -> None:
    """A folder of GTZAN's shape, with its broken file, and the lists of its fault-filtered split."""
    names = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"]
    lists: dict[str, list[str]] = defaultdict(list)
    home = tmp_path / "user"
    for place, genre in enumerate(names):
        (home / "gtzan/genres" / genre).mkdir(parents=True)
        for number in range(50, 60):
            name = f"{genre}/{genre}.{number:05d}.wav"
            (home / "gtzan/genres" / name).write_bytes(wav(seed=100 * place + number, seconds=0.2))
            if number != 52:  # faulty
                lists[("train", "valid", "test")[number % 3]].append(name)
    (home / "gtzan/genres/jazz/jazz.00054.wav").write_bytes(b"\xd5\x8c\0" * 1000)
    for name, songs in lists.items():
        end = "" if name == "train" else "\n"
        (home / f"gtzan/{name}_filtered.txt").write_text("\n".join(songs) + end)

    section = DATA_PAGE.split("\n## Your own music\n")[1].split("\n## ")[0]
    scripts = re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (script,) = (text for text in scripts if "gtzan" in text)
    assert len(script.splitlines()) == 5
    (project.path / "src").symlink_to(ROOT / "src")
    done = subprocess.run(
        ["bash", "-euc", script], cwd=project.path, env=project.environment | {"HOME": str(home)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = table(project, "gtzan")
    expected = {"training": lists["train"], "validation": lists["valid"], "test": lists["test"]}
    for split, listed in expected.items():
        titles = {Path(name).stem for name in listed} - {"jazz.00054"}
        assert set(found[found["split"] == split]["title"]) == titles
    assert re.search(r"^left out: \S+: line \d+ \(jazz\.00054\.wav\): Format not recognised", done.stdout, re.MULTILINE)

"""The built-in demo: archives in the FMA's layout, with deliberate defects."""

import filecmp
import hashlib
import io
import zipfile
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import joblib
import pandas as pd
import pytest
import soundfile

from fma_genre.archives.tracks import SPLITS
from fma_genre.common.params import Synthesis
from fma_genre.fetch import demo, synthesis

SMALLEST = Synthesis(seed=1, seconds=6, training=2, validation=1, test=1)
SETTINGS = replace(SMALLEST, test=2)
DEFAULT = Synthesis(seed=1, seconds=30, training=20, validation=5, test=12)
Archives = tuple[Path, Path]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Archives:
    return demo.build(SETTINGS, tmp_path_factory.mktemp("demo"))


def read_table(metadata: Path) -> pd.DataFrame:
    with zipfile.ZipFile(metadata) as archive, archive.open("fma_metadata/tracks.csv") as file:
        return pd.read_csv(file, index_col=0, header=[0, 1])


def read_clips(audio: Path) -> dict[int, bytes]:
    with zipfile.ZipFile(audio) as archive:
        return {int(Path(n).stem): archive.read(n) for n in archive.namelist() if n.endswith(".mp3")}


def condition(mp3: bytes) -> set[str]:
    """The unusual properties of a decoded clip."""
    try:
        samples, rate = soundfile.read(io.BytesIO(mp3), always_2d=True)
    except soundfile.LibsndfileError:
        return {"unreadable"}
    found = {
        "stereo": samples.shape[1] == 2 and (samples[:, 0] != samples[:, 1]).any(),
        "48 kHz": rate == 48000,
        "22.05 kHz": rate == 22050,
        "short": abs(len(samples) / rate - 1.5) < 0.1,
        "silent": not samples.any(),
    }
    if not found["short"]:
        assert len(samples) / rate == pytest.approx(SETTINGS.seconds, abs=0.1)
    return {name for name, true in found.items() if true}


@pytest.fixture(scope="module")
def conditions(archives: Archives) -> pd.DataFrame:
    """Split, genre and properties of every clip."""
    audio, metadata = archives
    table = read_table(metadata)
    clips = {track: condition(mp3) for track, mp3 in read_clips(audio).items()}
    rows = table.loc[list(clips)]
    columns = {
        "split": rows["set", "split"],
        "genre": rows["track", "genre_top"],
        "condition": list(clips.values()),
    }
    return pd.DataFrame(columns)


@pytest.mark.parametrize("part", [0, 1])
def test_layout(archives: Archives, part: int) -> None:
    path = archives[part]
    root = ["fma_demo", "fma_metadata"][part]
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        lines = archive.read(f"{root}/checksums").decode().splitlines()
        names = [line.split("  ")[1] for line in lines]
        sums = {name: hashlib.sha1(archive.read(f"{root}/{name}")).hexdigest() for name in names}
    assert path.name == f"{root}.zip"
    assert [member.filename for member in members[:2]] == [f"{root}/README.txt", f"{root}/checksums"]
    assert {member.compress_type for member in members} == {zipfile.ZIP_BZIP2}
    assert {member.date_time for member in members} == {demo.TIMESTAMP}
    assert [member.filename for member in members[2:]] == [f"{root}/{name}" for name in sums]
    assert lines == [f"{sha1}  {name}" for name, sha1 in sums.items()]
    if part:
        assert list(sums) == ["tracks.csv", "genres.csv"]


def test_names_of_clips_are_their_ids(archives: Archives) -> None:
    table = read_table(archives[1])
    audible = table.index[table["set", "subset"] != "large"]
    with zipfile.ZipFile(archives[0]) as archive:
        assert archive.namelist()[2:] == [f"fma_demo/{i:06d}"[:12] + f"/{i:06d}.mp3" for i in audible]
    assert len(set(audible // 1000)) > 1


def test_tables(archives: Archives) -> None:
    table = read_table(archives[1])
    assert table.shape[1] == 52
    assert table.index.name == "track_id"
    assert table.index.is_unique
    assert table.index.is_monotonic_increasing
    assert set(table.columns.get_level_values(0)) == {"album", "artist", "set", "track"}
    with zipfile.ZipFile(archives[1]) as archive:
        genres = pd.read_csv(archive.open("fma_metadata/genres.csv"), index_col="genre_id")
    assert list(genres) == ["#tracks", "parent", "title", "top_level"]
    assert genres["#tracks"].sum() == len(table)
    assert set(genres["title"]) == set(table["track", "genre_top"].dropna())


def test_split_is_artist_disjoint(archives: Archives) -> None:
    table = read_table(archives[1])
    artists = table["set", "split"].groupby(table["artist", "id"]).nunique()
    assert artists.max() == 1
    assert len(artists) < len(table) / 1.5


def test_subsets(archives: Archives) -> None:
    table = read_table(archives[1])
    split, subset, genre = table["set", "split"], table["set", "subset"], table["track", "genre_top"]
    small, medium = table[subset == "small"], table[subset.isin(["small", "medium"])]
    assert medium["set", "split"].value_counts().to_dict() == {s: 8 * getattr(SETTINGS, s) for s in SPLITS}
    for name, rows in small.groupby(("set", "split")):
        assert rows["track", "genre_top"].value_counts().std() == 0, name
    assert medium["track", "genre_top"].value_counts().std() > 0
    assert not medium["track", "genre_top"].isna().any()
    assert 24 <= (subset == "large").sum() <= 60
    assert 0 < genre[subset == "large"].isna().sum() < (subset == "large").sum()
    assert pd.crosstab(genre[subset != "large"], split).shape == (8, 3)


def test_defects(conditions: pd.DataFrame) -> None:
    rows = conditions.explode("condition").dropna()
    found = Counter(zip(rows["split"], rows["condition"], strict=True))
    both = [(split, what) for split in ("training", "test") for what in (*demo.FORMATS, "unreadable")]
    assert found == Counter([*both, ("training", "short"), ("training", "silent")])
    test = conditions[conditions["split"] == "test"]
    lost = test[test["condition"] == {"unreadable"}]["genre"].item()
    assert (test["genre"] == lost).sum() >= 3


def test_an_unreadable_clip_is_as_large_as_fmas() -> None:
    track = demo.plan(SMALLEST)[0]
    clip = demo.clip(replace(track, defect="unreadable"), seed=1, seconds=6)
    assert 1650 < len(clip) < 1750


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("settings", [SMALLEST, SETTINGS, DEFAULT])
def test_every_genre_keeps_a_good_clip_in_every_split(settings: Synthesis, seed: int) -> None:
    tracks = demo.plan(replace(settings, seed=seed))
    good = {(t.genre.title, t.split) for t in tracks if t.subset != "large" and t.defect not in demo.DEFECTS}
    assert len(good) == 8 * 3
    assert {"unreadable", "short", "silent"} <= {t.defect for t in tracks if t.split == "training"}
    assert not any(t.defect for t in tracks if t.subset == "large" or t.split == "validation")


def test_same_settings_same_bytes_whatever_the_processes(archives: Archives, tmp_path: Path) -> None:
    with joblib.parallel_config(backend="sequential"):
        again = demo.build(SETTINGS, tmp_path)
    assert all(filecmp.cmp(*pair, shallow=False) for pair in zip(again, archives, strict=True))


def test_another_seed_other_rows_and_other_sound() -> None:
    one, other = (demo.plan(replace(SMALLEST, seed=seed)) for seed in (1, 2))
    assert demo.tracks_csv(one, 6) != demo.tracks_csv(other, 6)
    track = next(track for track in one if not track.defect)
    assert demo.clip(track, seed=1, seconds=6) != demo.clip(track, seed=2, seconds=6)


def test_a_clip_repeats_its_loop() -> None:
    """MP3 frames are repeated, so the decoded samples repeat after the length of the loop."""
    track = next(t for t in demo.plan(SMALLEST) if not t.defect)
    samples, rate = soundfile.read(io.BytesIO(demo.clip(track, seed=1, seconds=12)))
    length = len(synthesis.loop(track, 1, rate, 1152))
    start = 5000  # after the decoder's start-up
    assert abs(samples[start + length : start + 2 * length] - samples[start : start + length]).max() < 1e-6


def test_crossover_decides_what_is_borrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    track = demo.plan(SMALLEST)[0]
    for share, source in ((0.0, track.genre), (1.0, track.second)):
        monkeypatch.setattr(synthesis, "CROSSOVER", share)
        style, *_ = synthesis.style_of(track, seed=1)
        assert [style.kit, style.harmony, style.lead, style.backing] == [
            source.kit, source.harmony, source.lead, source.backing
        ]  # fmt: skip


def test_the_tables_of_the_default_demo_stay() -> None:
    """A change of these tables changes the results of every clone."""
    settings = Synthesis(seed=1, seconds=30, training=12, validation=4, test=12)
    tracks = demo.plan(settings)
    tables = demo.tracks_csv(tracks, settings.seconds) + demo.genres_csv(tracks)
    assert hashlib.sha1(tables).hexdigest() == "9d031fff02739576e5d6275646a1919cf00f38ff"


def test_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo.fingerprint(SETTINGS)
    assert len(bytes.fromhex(first)) == 20
    assert demo.fingerprint(replace(SETTINGS)) == first
    for name, value in asdict(SETTINGS).items():
        assert demo.fingerprint(replace(SETTINGS, **{name: value + 1})) != first
    monkeypatch.setattr(soundfile, "__libsndfile_version__", "0.0.0")
    assert demo.fingerprint(SETTINGS) != first

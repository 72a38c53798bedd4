"""Invalid input to every stage, and input that is unusual but valid.

A stage ends with one line about invalid input. It leaves no output that a later run could mistake for a complete one.
"""

import functools
import hashlib
import http.server
import io
import json
import math
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

import promote
from fma_genre import store
from fma_genre.common import files
from fma_genre.common.errors import InputError
from fma_genre.fetch.demo import COLUMNS, to_csv
from project import ROOT, Project, create, without_other_representations

DVC_YAML = yaml.safe_load(without_other_representations((ROOT / "dvc.yaml").read_text()))
STAGES = {name: stage.get("do", stage) for name, stage in DVC_YAML["stages"].items()}
DEFAULT_KEYS = {"baseline": "svm"}  # the system of a stage that runs once per system; otherwise cnn
PREPARATION = ("download", "split", "spectrograms")
SECONDS, HOP, RATE = 5, 512, 22050  # s, samples, Hz; hop and rate as in tests/params.yaml


# Tiny archives in FMA's layout. -------------------------------------------------------------------------------


@functools.cache
def tone(seconds: float = 4, rate: int = 44100, channels: int = 1, frequency: float = 440) -> bytes:
    """An MP3."""
    samples = 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)
    file = io.BytesIO()
    soundfile.write(file, np.repeat(samples[:, None], channels, axis=1), rate, format="MP3")
    return file.getvalue()


UNREADABLE = b"no audio" * 200


@dataclass(frozen=True)
class Track:
    track_id: int
    genre: str
    split: str
    artist: int
    subset: str = "medium"
    clip: bytes = tone()

    @property
    def member(self) -> str:
        return f"fma_tiny/{self.track_id // 1000:03d}/{self.track_id:06d}.mp3"


GENRES, SPLITS = ("Folk", "Rock"), ("training", "validation", "test")
# The smallest valid data set: in each split one track per genre, each of a different artist.
LEAST = [
    Track(5 + 700 * number, genre, split, artist=number, clip=tone(frequency=220 * (1 + GENRES.index(genre))))
    for number, (split, genre) in enumerate((split, genre) for split in SPLITS for genre in GENRES)
]


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_BZIP2) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


def audio(tracks: Sequence[Track], compression: int = zipfile.ZIP_BZIP2) -> bytes:
    readme = {"fma_tiny/README.txt": b"", "fma_tiny/checksums": b""}
    return archive(readme | {track.member: track.clip for track in tracks}, compression)


def metadata(tracks: Sequence[Track], columns: Sequence[tuple[str, str]] = COLUMNS) -> bytes:
    return archive({"fma_metadata/README.txt": b"", "fma_metadata/tracks.csv": table(tracks, columns)})


def table(tracks: Sequence[Track], columns: Sequence[tuple[str, str]] = COLUMNS) -> bytes:
    """tracks.csv with its three header lines."""
    names = {("artist", "id"): "artist", ("track", "genre_top"): "genre"}
    fields = [names.get(column, column[1] if column[0] == "set" else "") for column in columns]
    head = [
        ["", *(group for group, _ in columns)],
        ["", *(name for _, name in columns)],
        ["track_id", *("" for _ in columns)],
    ]
    return to_csv([*head, *([track.track_id, *(getattr(track, field, "") for field in fields)] for track in tracks)])


# The commands in a checkout. ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("bad")
    return create(folder / "project", folder / "home")


@pytest.fixture
def project(checkout: Project, tmp_path: Path) -> Project:
    """The checkout as it was committed, with an empty FMA_HOME."""
    checkout.run("git", "checkout", "--quiet", "--", ".")
    checkout.run("git", "clean", "-xfdq", "--exclude=__pycache__")
    return Project(checkout.path, tmp_path / "home")


def give(project: Project, tracks: Sequence[Track] = LEAST, **other: Any) -> None:
    """Make archives of `tracks` the project's data set. `other` replaces an archive, or a key of the data set."""
    contents = {
        "audio": other.pop("audio", None) or audio(tracks),
        "metadata": other.pop("metadata", None) or metadata(tracks),
    }
    entry: dict[str, Any] = {"subset": "medium", **other}
    for part, content in contents.items():
        path = project.home.parent / f"fma_{part}.zip"
        path.write_bytes(content)
        entry[part] = {"url": str(path), "sha1": hashlib.sha1(content).hexdigest()}

    def change(params: dict[str, Any]) -> None:
        params["dataset"] = "tiny"
        params["datasets"]["tiny"] = entry
        params["spectrograms"]["seconds"] = SECONDS

    project.edit_params(change)


def put(project: Project, name: str, value: Any) -> None:
    """Set the parameter with this dotted name; None removes it."""

    def change(params: dict[str, Any]) -> None:
        *groups, key = name.split(".")
        for group in groups:
            params = params[group]
        params[key] = value
        if value is None:
            del params[key]

    project.edit_params(change)


def command(stage: str, key: str = "") -> list[str]:
    """A stage's script and arguments from dvc.yaml."""
    python, *command = STAGES[stage]["cmd"].replace("${key}", key or DEFAULT_KEYS.get(stage, "cnn")).split()
    assert python == "python"
    return command


def prepare(project: Project, *stages: str) -> str:
    """Run stages; return their output."""
    return "".join(project.run_here(*command(stage)).stdout for stage in stages)


def outputs(stage: str, key: str = "") -> list[str]:
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in STAGES[stage].get(kind, [])]
    names = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]
    return [name.replace("${key}", key or DEFAULT_KEYS.get(stage, "cnn")) for name in names]


def refusal(project: Project, stage: str, key: str = "") -> str:
    """The line with which a stage refuses its input. Check that it leaves no output."""
    for name in outputs(stage, key):  # DVC also deletes the outputs before it runs a stage
        files.remove(project.path / name)
    done = project.run_here(*command(stage, key), check=False)
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert [name for name in outputs(stage, key) if (project.path / name).exists()] == []
    assert list(project.path.rglob("*.part*")) == []
    return done.stderr.strip()


# Bad input. ---------------------------------------------------------------------------------------------------


# Each case names a stage. Every stage checks the whole file, except for the arguments of networks, front ends and
# baselines: the stages that use them check these, before they read data.
PARAMETERS: dict[str, tuple[str, str, Any, str]] = {
    "unknown model": ("download", "model", "cn", r"model: expected one of cnn, birnn, found 'cn'; did you mean cnn\?"),
    "unknown data set": ("download", "dataset", "dmo", "dataset: expected one of demo, .*, found 'dmo'; did you mean"),
    "unknown network": ("split", "models.cnn.network", "cn", r"models\.cnn\.network: expected one of .*, found 'cn'"),
    "unknown front end": ("split", "models.cnn.front_end", "mfcc", r"cnn\.front_end: expected one of .*, found 'mfcc'"),
    "unknown features": ("compare", "baselines.svm.features", "x", r"svm\.features: expected one of .*, found 'x'"),
    "features that are a classifier": (
        "baseline", "baselines.svm.features", "rbf_svm", r"baselines\.svm\.features: expected .*, found rbf_svm"
    ),
    "a model's name for a baseline": (
        "promote", "baselines.cnn", {"features": "low_level", "classifier": "rbf_svm"},
        r"baselines\.cnn: expected a name that no model has, found models\.cnn",
    ),
    "missing sha1": ("download", "datasets.tiny.audio.sha1", None, r"tiny\.audio\.sha1: expected 40 .*, found none"),
    "sha1 of another length": ("download", "datasets.tiny.audio.sha1", "abc", r"tiny\.audio\.sha1: .*40 .*'abc'"),
    "unsupported scheme": ("download", "datasets.tiny.audio.url", "ftp://a/b.zip", r"audio\.url: .*'ftp://a/b\.zip'"),
    "no such file": ("download", "datasets.tiny.audio.url", "no/b.zip", r"audio\.url: expected a file, .*no/b\.zip"),
    "unknown subset": ("split", "datasets.tiny.subset", "all", r"tiny\.subset: .*small, medium, large, found 'all'"),
    "fractional": ("spectrograms", "train.epochs", 2.5, r"train\.epochs: expected a whole number .*, found 2\.5"),
    "wrong type": ("split", "train.lr", "fast", r"train\.lr: expected a number .*, found 'fast'"),
    "out of range": ("evaluate", "models.cnn.lr", 0, r"models\.cnn\.lr: expected a number from 1e-09 to 10, found 0"),
    "far too many crops": (
        "spectrograms", "train.crops_per_track", 10**12, r"crops_per_track: .* from 1 to 1000, found 10{12}"
    ),
    "far too many resamples": ("compare", "compare.resamples", 10**12, r"\.resamples: .* 1 to 20000, found 10{12}"),
    "misspelt": ("compare", "train.epoch", 3, r"train: expected the keys .*, found 'epoch'; did you mean epochs\?"),
    "left out": ("promote", "compare.seed", None, r"compare\.seed: expected a whole number .*, found none"),
    "an argument out of range": (
        "train", "models.cnn.dropout", 1.5, r"models\.cnn\.dropout: expected a number from 0 to 0\.95, found 1\.5"
    ),
    "a misspelt argument": (
        "train", "models.cnn.chanels", [32], r"models\.cnn: expected the keys .*'chanels'; did you mean channels\?"
    ),
    "an argument left out": (
        "train", "models.cnn.cepstral_coefficients", None, r"coefficients: expected a whole number .*, found none"
    ),
    "an argument of a baseline": (
        "baseline", "baselines.svm.mfcc", 0, r"baselines\.svm\.mfcc: expected a whole number from 1 to .*, found 0"
    ),
    "a misspelt argument of a baseline": (
        "baseline", "baselines.svm.mfc", 3, r"baselines\.svm: expected the keys .*, found 'mfc'; did you mean mfcc\?"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PARAMETERS)
def test_a_wrong_parameter_is_named(project: Project, case: str) -> None:
    stage, name, value, says = PARAMETERS[case]
    give(project)
    put(project, name, value)
    assert re.search(says, refusal(project, stage))


@pytest.mark.parametrize("stage", ["download", "train"])
def test_a_value_that_dvc_reads_differently_is_named_by_its_line(project: Project, stage: str) -> None:
    path = project.path / "params.yaml"
    text = path.read_text().replace("resamples: 200", "resamples: 0200")
    path.write_text(text)
    line = 1 + text[: text.index("0200")].count("\n")
    assert re.search(
        rf"params\.yaml: line {line}: compare\.resamples: expected a value that YAML .* found '0200'",
        refusal(project, stage),
    )


@pytest.mark.parametrize(("name", "value"), [("model", "cn"), ("dataset", "dmo")])
def test_dvc_names_an_unknown_model_or_data_set(project: Project, name: str, value: str) -> None:
    put(project, name, value)
    done = project.run("dvc", "repro", check=False)
    assert done.returncode != 0
    assert value in done.stderr
    assert "Traceback" not in done.stderr


@dataclass(frozen=True)
class Data:
    """A data set that `stage` refuses and that earlier stages accept. `given` is passed to the function `give`."""

    stage: str
    says: str
    tracks: Sequence[Track] = tuple(LEAST)
    given: Mapping[str, Any] = field(default_factory=dict)


def changed(*positions: int, **changes: Any) -> list[Track]:
    return [replace(track, **changes) if place in positions else track for place, track in enumerate(LEAST)]


def damaged(content: bytes, near: bytes) -> bytes:
    """The content with one bit flipped, 100 bytes after the first `near`."""
    place = content.index(near) + len(near) + 100
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


NO_ARTIST = [column for column in COLUMNS if column != ("artist", "id")]
FOLK, ROCK, EVERY = 0, 1, range(6)  # positions in LEAST: training tracks; all tracks
HTML = b"<html>not found</html>"
DATA = {
    "audio that is no zip": Data("download", r"fma_audio\.zip.* not a zip", given={"audio": HTML}),
    "metadata that is no zip": Data("download", r"fma_metadata\.zip.* not a zip", given={"metadata": HTML}),
    "audio that breaks off": Data("download", r"fma_audio\.zip.* not a zip", given={"audio": audio(LEAST)[:-99]}),
    "no tracks.csv": Data(
        "split", r"fma_metadata\.zip: expected one member tracks\.csv, found none", given={"metadata": audio(LEAST)}
    ),
    "a damaged tracks.csv": Data(
        "split", r"fma_metadata\.zip.*tracks\.csv", given={"metadata": damaged(metadata(LEAST), b"tracks.csv")}
    ),
    "no column of the artist": Data(
        "split", r"tracks\.csv: expected .*, found: no column artist/id", given={"metadata": metadata(LEAST, NO_ARTIST)}
    ),
    "two columns of genres": Data(
        "split", r"tracks\.csv: expected .*, found: repeated column track/genre_top",
        given={"metadata": metadata(LEAST, [*COLUMNS, ("track", "genre_top")])},
    ),
    "an artist in two splits": Data(
        "split", r"expected every artist in one split, found artist 4 in training and test", changed(FOLK, artist=4)
    ),
    "other tracks than published": Data(
        "split", r"subset medium: expected 3 training tracks, found 2", given={"expect": {"training": 3}}
    ),
    "other genres than published": Data(
        "split", r"subset medium: expected 16 genres, found 2", given={"expect": {"training": 2, "genres": 16}}
    ),
    "clips that are not there": Data(
        "spectrograms",
        r"fma_audio\.zip: expected a clip for each of the 6 tracks .*, found none for 2 of them, .* track 2105",
        given={"audio": audio([*LEAST[:3], LEAST[5]])},
    ),
    "two clips of a track": Data(
        "spectrograms",
        r"fma_audio\.zip: expected one clip of track 5, found old/000005\.mp3 and fma_tiny/000/000005\.mp3",
        given={"audio": archive({"old/000005.mp3": tone(1)} | {track.member: track.clip for track in LEAST})},
    ),
    "a split without tracks": Data(
        "spectrograms", r"expected tracks in training, validation, test, found none in test", LEAST[:4]
    ),
    "no track in the subset": Data(
        "spectrograms", r"data/tracks\.csv: expected tracks in .*, found none in training", given={"subset": "small"}
    ),
    "a genre without a training track": Data(
        "spectrograms", r"expected a training track for every genre, found none for Jazz", changed(5, genre="Jazz")
    ),
    "no readable clip": Data(
        "spectrograms", r"readable clips in fma_audio\.zip: .* found none in training", changed(*EVERY, clip=UNREADABLE)
    ),
    "no readable training clip of a genre": Data(
        "spectrograms", r"readable clips in fma_audio\.zip: .* found none for Rock", changed(ROCK, clip=UNREADABLE)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DATA)
def test_wrong_data_is_refused_where_it_is_read(project: Project, case: str) -> None:
    data = DATA[case]
    give(project, data.tracks, **data.given)
    prepare(project, *PREPARATION[: PREPARATION.index(data.stage)])
    assert re.search(data.says, refusal(project, data.stage))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The url of the folder into which `give` writes archives."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))
    ) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("where", ["path", "http"])
def test_after_a_wrong_sha1_the_right_one_works(project: Project, server: str, where: str) -> None:
    give(project)
    right = hashlib.sha1((project.home.parent / "fma_audio.zip").read_bytes()).hexdigest()
    if where == "http":
        put(project, "datasets.tiny.audio.url", f"{server}/fma_audio.zip")
    put(project, "datasets.tiny.audio.sha1", "0" * 40)
    for _ in range(2):  # the second run must not use a file of the first
        assert re.search(
            rf"datasets\.tiny\.audio.*expected (sha1 )?0{{40}}, found {right}", refusal(project, "download")
        )
        assert list(project.home.rglob("fma_audio.zip")) == []
    put(project, "datasets.tiny.audio.sha1", right)
    prepare(project, "download")
    assert [path.parent.name for path in project.home.rglob("fma_audio.zip")] == [right]


def test_archives_that_changed_since_the_download_are_refused(project: Project) -> None:
    give(project)
    prepare(project, "download")
    give(project, changed(FOLK, genre="Rock"))
    says = (
        r"data/archives\.json: expected fma_metadata\.zip with sha1 .* as in params\.yaml, found .*`dvc repro download`"
    )
    assert re.search(says, refusal(project, "split"))


@pytest.mark.parametrize(
    ("stage", "key", "says"),
    [
        ("train", "resnet", "train@resnet: models: expected one of cnn, birnn, found 'resnet'"),
        ("evaluate", "svm", "evaluate@svm: models: expected one of cnn, birnn, found 'svm'"),
        ("baseline", "cnn", "baseline@cnn: baselines: expected one of svm, found 'cnn'"),
    ],
)
def test_an_unknown_system_as_argument_is_named(project: Project, stage: str, key: str, says: str) -> None:
    assert refusal(project, stage, key) == says


@pytest.mark.parametrize(
    ("stage", "missing"),
    [
        ("split", "data/archives.json"),
        ("spectrograms", "data/tracks.csv"),
        ("train", "data/mel/store.json"),
        ("baseline", "data/mel/store.json"),
        ("compare", "data/index.csv"),
        ("promote", "metrics/cnn.json"),
    ],
)
def test_a_missing_input_is_named(project: Project, stage: str, missing: str) -> None:
    """A user may run a stage before the stages that it needs."""
    give(project)
    assert f"{missing}: not found; `dvc repro`" in refusal(project, stage)


def test_a_missing_model_is_named(project: Project) -> None:
    assert "models/cnn: cannot load the model: " in refusal(project, "evaluate")


def test_a_missing_archive_is_named_with_the_command_that_brings_it_back(project: Project) -> None:
    give(project)
    prepare(project, "download")
    files.remove(project.home)
    says = r"fma_metadata\.zip: expected the metadata of data set tiny, found none: `dvc repro --force .* download`"
    assert re.search(says, refusal(project, "split"))
    assert not project.home.exists()


# Unusual but valid input. -------------------------------------------------------------------------------------


def results(project: Project) -> dict[str, bytes]:
    """The contents of the outputs of split and spectrograms."""
    outs = [project.path / name for stage in ("split", "spectrograms") for name in outputs(stage)]
    written = [file for out in outs for file in ([out] if out.is_file() else sorted(out.iterdir()))]
    return {str(file.relative_to(project.path)): file.read_bytes() for file in written}


def fresh(checkout: Project, folder: Path) -> Project:
    return Project(checkout.clone(folder / "project").path, folder / "home")


def index(project: Project) -> pd.DataFrame:
    return store.read_index(project.path / "data/index.csv")


@pytest.fixture(scope="module")
def plain(checkout: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The smallest data set after the stage spectrograms. Only read or copy it."""
    project = fresh(checkout, tmp_path_factory.mktemp("plain"))
    give(project)
    prepare(project, *PREPARATION)
    return project


@pytest.mark.parametrize(
    ("audio_from", "metadata_from", "compression"),
    [("http", "file", zipfile.ZIP_BZIP2), ("relative", "http", zipfile.ZIP_DEFLATED)],
)
def test_results_do_not_depend_on_how_archives_are_given(
    project: Project, plain: Project, server: str, audio_from: str, metadata_from: str, compression: int
) -> None:
    give(project, audio=audio(LEAST, compression))
    folder = project.path / "my archives"
    folder.mkdir()
    places = {"http": server, "file": folder.as_uri(), "relative": "my archives"}
    for part, where in {"audio": audio_from, "metadata": metadata_from}.items():
        archive = project.home.parent / f"fma_{part}.zip"
        put(project, f"datasets.tiny.{part}.url", f"{places[where]}/{archive.name}")
        if where != "http":
            archive.rename(folder / archive.name)
    prepare(project, *PREPARATION)
    assert results(project) == results(plain)


ODD = [
    Track(9000, "Folk", "training", 9000, clip=UNREADABLE),
    Track(9001, "Folk", "validation", 9001, clip=tone(1.5)),
    Track(9002, "Rock", "test", 9002, clip=tone(7)),
    Track(9003, "Rock", "test", 9003, clip=b""),
]
RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
FORMATS = [(rate, channels) for rate in RATES for channels in (1, 2)]
OTHERS = [
    Track(9100 + number, "Folk", "training", 9100 + number, clip=tone(4, rate, channels, frequency=1000))
    for number, (rate, channels) in enumerate(FORMATS)
]
MOTLEY = [*LEAST, *ODD, *OTHERS]


@pytest.fixture(scope="module")
def motley(checkout: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = fresh(checkout, tmp_path_factory.mktemp("motley"))
    give(project, MOTLEY)
    prepare(project, *PREPARATION)
    return project


def frames(seconds: float) -> int:
    """Number of centred frames of a clip, of which at most SECONDS are read."""
    return 1 + math.ceil(min(seconds, SECONDS) * RATE) // HOP


def test_the_index_has_a_row_for_each_track_and_says_why_a_clip_is_left_out(motley: Project) -> None:
    table = index(motley).set_index("track_id")
    expected = [(track.track_id, track.artist, track.genre, track.split) for track in MOTLEY]
    assert list(table[["artist_id", "genre", "split"]].itertuples(name=None)) == expected

    assert table["frames"].loc[[9000, 9001, 9002, 9003]].tolist() == [0, frames(1.5), frames(SECONDS), 0]
    assert table["left_out"][table["left_out"] != ""].index.tolist() == [9000, 9003]
    assert table["cut"][table["cut"]].index.tolist() == [9002]


def test_the_index_has_the_frames_of_each_readable_clip(motley: Project) -> None:
    found = dict(index(motley).set_index("track_id")["frames"])
    for track in MOTLEY:
        if track.track_id not in (9000, 9003):
            info = soundfile.info(io.BytesIO(track.clip))
            assert found[track.track_id] == frames(info.frames / info.samplerate), track.track_id


def test_a_tone_lies_in_the_same_bin_whatever_the_rate_and_the_channels(motley: Project) -> None:
    rows = index(motley).query("track_id >= 9100").index
    stft = np.load(motley.path / "data/stft/levels.npy")[rows]  # (tracks, frames, bins)
    loudest = 1 + stft[:, :150].mean(axis=1).argmax(axis=1)  # bin 0 is not stored
    assert loudest.tolist() == [round(1000 / RATE * 1024)] * len(FORMATS)


def test_names_of_genres_are_normalised_and_that_is_said(project: Project) -> None:
    give(project, changed(FOLK, genre=" Folk"))
    said, counts = prepare(project, "download", "split").splitlines()[-2:]
    assert said == "genres normalised for 1 tracks: ' Folk' to 'Folk'"
    assert counts.startswith("tiny: 6 tracks of 2 genres (")


def test_clips_of_the_same_bytes_are_in_the_index(plain: Project) -> None:
    """Tracks of a genre have the same tone in all splits."""
    folk, rock = (5, 1405, 2805), (705, 2105, 3505)
    expected = {track: str(ids[1] if track == ids[0] else ids[0]) for ids in (folk, rock) for track in ids}
    assert dict(zip(index(plain)["track_id"], index(plain)["same_as"], strict=True)) == expected


def test_subset_small_leaves_medium_out(project: Project) -> None:
    tracks = [*(replace(track, subset="small") for track in LEAST), Track(9000, "Jazz", "training", 9000)]
    give(project, tracks, subset="small")
    prepare(project, "download", "split")
    assert pd.read_csv(project.path / "data/tracks.csv")["track_id"].tolist() == [track.track_id for track in LEAST]


def test_one_track_a_class_runs_to_the_report(plain: Project, tmp_path: Path) -> None:
    """There are two classes, and fewer segments than fit a batch."""
    project = plain.copy(tmp_path / "project")
    for stage, key in [("baseline", "svm"), *product(("train", "evaluate"), ("cnn", "birnn")), ("compare", "")]:
        project.run_here(*command(stage, key))
    common = {"accuracy", "precision", "recall", "f1", "validation_accuracy", "validation_f1"}
    need_runs = {"accuracy_std", "ensemble_accuracy"}
    for system in ("cnn", "birnn", "svm"):
        metrics = json.loads((project.path / f"metrics/{system}.json").read_text())
        assert metrics.keys() >= common
        assert not metrics.keys() & need_runs
        assert ("segment_accuracy" in metrics) == (system != "svm")
        assert (metrics["n_test"], metrics["dataset"]) == (2, "tiny")
    assert "tiny" in (project.path / "report.md").read_text()


@pytest.mark.parametrize(("target", "found"), [("/dev/zero", "a device"), ("..", "a folder")])
def test_only_files_of_a_model_are_promoted(tmp_path: Path, target: str, found: str) -> None:
    (tmp_path / "cnn").mkdir()
    (tmp_path / "cnn" / "settings.json").touch()
    promote.copy(tmp_path / "cnn", tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["settings.json"]
    (tmp_path / "cnn" / "x").symlink_to(target)
    with pytest.raises(InputError, match=f"cnn/x: expected a file, found {found}$"):
        promote.copy(tmp_path / "cnn", tmp_path / "other")

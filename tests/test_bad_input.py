"""What users may give that is wrong, and what they may well give, to the stages' own commands.

Bad input ends in one line that says what is wrong, and leaves nothing that a later run would take for whole.
"""

import contextlib
import functools
import hashlib
import http.server
import importlib
import io
import json
import math
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from fma_genre import files, params
from fma_genre.demo import COLUMNS, to_csv
from project import ROOT, Project, create

STAGES = {
    name: stage.get("do", stage) for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
PREPARATION = ("download", "split", "spectrograms")
SECONDS, HOP, RATE = 5, 512, 22050  # of the spectrograms; hop and rate are those of params.yaml


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
# One track a genre in each split, one artist a track: the least that can be trained and evaluated.
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
    """A checkout as committed, with an FMA_HOME that is empty."""
    checkout.run("git", "checkout", "--quiet", "--", ".")
    checkout.run("git", "clean", "-xfdq", "--exclude=__pycache__")
    return Project(checkout.path, tmp_path / "home")


def give(project: Project, tracks: Sequence[Track] = LEAST, **other: Any) -> None:
    """Makes archives of `tracks` the data set of the project; `other` replaces an archive or a key of the entry."""
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
        params["spectrograms"] |= {"seconds": SECONDS, "workers": 1}

    project.edit_params(change)


def put(project: Project, name: str, value: Any) -> None:
    """Sets the parameter of this dotted name; None removes it."""

    def change(params: dict[str, Any]) -> None:
        *groups, key = name.split(".")
        for group in groups:
            params = params[group]
        params[key] = value
        if value is None:
            del params[key]

    project.edit_params(change)


def command(stage: str, model: str = "cnn") -> list[str]:
    return ["python", f"src/{stage}.py", *([model] if "$DVC_STAGE" in STAGES[stage]["cmd"] else [])]


def prepare(project: Project, *stages: str) -> None:
    for stage in stages:
        project.run(*command(stage))


def prepare_quickly(project: Project, stages: Sequence[str]) -> None:
    """Download and split in this process: where they are not what is tested, a second saved."""
    with contextlib.chdir(project.path), pytest.MonkeyPatch.context() as patch:
        patch.setenv("FMA_HOME", str(project.home))
        for stage in stages:
            importlib.import_module(stage).main(params.load())


def outputs(stage: str, model: str = "cnn") -> list[str]:
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in STAGES[stage].get(kind, [])]
    names = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]
    return [name.replace("${key}", model) for name in names]


def refusal(project: Project, stage: str, model: str = "cnn") -> str:
    """The one line in which the stage's command ends, having left nothing."""
    for name in outputs(stage, model):  # as DVC does before it runs a stage
        files.remove(project.path / name)
    done = project.run(*command(stage, model), check=False)
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert [name for name in outputs(stage, model) if (project.path / name).exists()] == []
    assert list(project.path.rglob("*.part*")) == []
    return done.stderr.strip()


# Bad input. ---------------------------------------------------------------------------------------------------


# In a stage each, so that it is seen that every stage checks all of the file; the first one names what is unknown.
PARAMETERS: dict[str, tuple[str, str, Any, str]] = {
    "unknown model": ("download", "model", "cn", "model: expected one of cnn, birnn, found 'cn'"),
    "unknown data set": ("download", "dataset", "dmo", "dataset: expected one of demo, .*, found 'dmo'"),
    "missing sha1": ("download", "datasets.tiny.audio.sha1", None, r"datasets\.tiny\.audio\.sha1: missing"),
    "sha1 of another length": ("download", "datasets.tiny.audio.sha1", "abc", r"tiny\.audio\.sha1: .*40 .*'abc'"),
    "unsupported scheme": ("download", "datasets.tiny.audio.url", "ftp://a/b.zip", r"audio\.url: .*'ftp://a/b\.zip'"),
    "no such file": ("download", "datasets.tiny.audio.url", "no/b.zip", r"audio\.url: expected a file, .*no/b\.zip"),
    "unknown subset": ("split", "datasets.tiny.subset", "all", r"tiny\.subset: .*small, medium, large, found 'all'"),
    "fractional": ("spectrograms", "train.epochs", 2.5, r"train\.epochs: expected a whole number .*, found 2\.5"),
    "wrong type": ("split", "train.lr", "fast", r"train\.lr: expected a number .*, found 'fast'"),
    "out of range": ("evaluate", "models.cnn.dropout", 1.5, r"models\.cnn\.dropout: .* from 0 to 0\.95, found 1\.5"),
    "misspelt": ("compare", "train.epoch", 3, r"train\.epoch: unknown parameter, did you mean epochs\?"),
    "left out": ("promote", "compare.seed", None, r"compare\.seed: missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", PARAMETERS)
def test_a_wrong_parameter_is_named(project: Project, case: str) -> None:
    stage, name, value, says = PARAMETERS[case]
    give(project)
    put(project, name, value)
    assert re.search(says, refusal(project, stage))


@pytest.mark.parametrize(("name", "value"), [("model", "cn"), ("dataset", "dmo")])
def test_dvc_names_an_unknown_model_or_data_set(project: Project, name: str, value: str) -> None:
    put(project, name, value)
    done = project.run("dvc", "repro", check=False)
    assert done.returncode != 0
    assert value in done.stderr
    assert "Traceback" not in done.stderr


@dataclass(frozen=True)
class Data:
    """Archives of `tracks`, but for what `given` replaces, that `stage` refuses and those before it accept."""

    stage: str
    says: str
    tracks: Sequence[Track] = tuple(LEAST)
    given: Mapping[str, Any] = field(default_factory=dict)


def changed(*positions: int, **changes: Any) -> list[Track]:
    return [replace(track, **changes) if place in positions else track for place, track in enumerate(LEAST)]


def damaged(content: bytes, near: bytes) -> bytes:
    """With a bit wrong a little after the first `near`."""
    place = content.index(near) + len(near) + 100
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


NO_ARTIST = [column for column in COLUMNS if column != ("artist", "id")]
FOLK, ROCK, EVERY = 0, 1, range(6)  # positions in LEAST: the training tracks, all
HTML = b"<html>not found</html>"
DATA = {
    "audio that is no zip": Data("download", r"fma_audio\.zip.* not a zip", given={"audio": HTML}),
    "metadata that is no zip": Data("download", r"fma_metadata\.zip.* not a zip", given={"metadata": HTML}),
    "audio that breaks off": Data("download", r"fma_audio\.zip.* not a zip", given={"audio": audio(LEAST)[:-99]}),
    "no tracks.csv": Data(
        "split", r"fma_metadata\.zip: expected one tracks\.csv in it, found 0", given={"metadata": audio(LEAST)}
    ),
    "a damaged tracks.csv": Data(
        "split", r"fma_metadata\.zip.*tracks\.csv", given={"metadata": damaged(metadata(LEAST), b"tracks.csv")}
    ),
    "no column of the artist": Data(
        "split", r"tracks\.csv: expected .*, found: no column artist/id", given={"metadata": metadata(LEAST, NO_ARTIST)}
    ),
    "an artist in two splits": Data(
        "split", r"expected every artist in one split, found artist 4 in training and test", changed(FOLK, artist=4)
    ),
    "other tracks than published": Data(
        "split", r"subset medium: expected training 3, found 2", given={"expect": {"training": 3}}
    ),
    "other genres than published": Data(
        "split", r"subset medium: expected genres 16, found 2", given={"expect": {"training": 2, "genres": 16}}
    ),
    "clips that are not there": Data(
        "spectrograms",
        r"fma_audio\.zip: expected a clip of each of the 6 tracks .*, found no clip of 2, the first of track 2105",
        given={"audio": audio([*LEAST[:3], LEAST[5]])},
    ),
    "a split without tracks": Data(
        "spectrograms", r"expected tracks in training, validation, test, found none in test", LEAST[:4]
    ),
    "no track in the subset": Data(
        "spectrograms", r"data/tracks\.csv: expected tracks in .*, found none in training", given={"subset": "small"}
    ),
    "a genre without a training track": Data(
        "spectrograms", r"expected a training track of every genre, found none of Jazz", changed(5, genre="Jazz")
    ),
    "no readable clip": Data(
        "spectrograms", r"fma_audio\.zip.* read: .* found none in training", changed(*EVERY, clip=UNREADABLE)
    ),
    "no readable training clip of a genre": Data(
        "spectrograms", r"fma_audio\.zip.* read: .* found none of Rock", changed(ROCK, clip=UNREADABLE)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DATA)
def test_wrong_data_is_refused_where_it_is_read(project: Project, case: str) -> None:
    data = DATA[case]
    give(project, data.tracks, **data.given)
    prepare_quickly(project, PREPARATION[: PREPARATION.index(data.stage)])
    assert re.search(data.says, refusal(project, data.stage))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The url of the folder in which `give` puts archives."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))
    ) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("where", ["path", "http"])
def test_a_wrong_sha1_leaves_nothing_and_the_right_one_works_after_it(
    project: Project, server: str, where: str
) -> None:
    give(project)
    right = hashlib.sha1((project.home.parent / "fma_audio.zip").read_bytes()).hexdigest()
    if where == "http":
        put(project, "datasets.tiny.audio.url", f"{server}/fma_audio.zip")
    put(project, "datasets.tiny.audio.sha1", "0" * 40)
    for _ in range(2):  # what is left after the first must not satisfy the second
        assert re.search(
            rf"datasets\.tiny\.audio.*expected (sha1 )?0{{40}}, found {right}", refusal(project, "download")
        )
        assert list(project.home.rglob("fma_audio.zip")) == []
    put(project, "datasets.tiny.audio.sha1", right)
    prepare(project, "download")
    assert [path.parent.name for path in project.home.rglob("fma_audio.zip")] == [right]


def test_archives_that_changed_since_the_download_are_refused(project: Project) -> None:
    give(project)
    prepare_quickly(project, ["download"])
    give(project, changed(FOLK, genre="Rock"))
    assert re.search(r"fma_metadata\.zip: expected sha1 .* data/raw/archives\.json, found", refusal(project, "split"))


def test_an_unknown_model_as_argument_is_named(project: Project) -> None:
    assert re.search(r"expected a model .*\(cnn, birnn\), found 'resnet'", refusal(project, "train", "resnet"))


@pytest.mark.parametrize(
    ("stage", "missing"),
    [
        ("split", "data/raw/archives.json"),
        ("spectrograms", "data/tracks.csv"),
        ("train", "data/spectrograms/index.csv"),
        ("baseline", "data/spectrograms/index.csv"),
        ("promote", "models/cnn"),
    ],
)
def test_a_missing_input_is_named(project: Project, stage: str, missing: str) -> None:
    """A stage run by hand before those that it needs."""
    give(project)
    assert f"expected {missing}, found none" in refusal(project, stage)


# Input that is unusual, and right. ----------------------------------------------------------------------------


def results(project: Project) -> dict[str, bytes]:
    """Of split and spectrograms."""
    names = [name for stage in ("split", "spectrograms") for name in outputs(stage)]
    return {name: (project.path / name).read_bytes() for name in names}


def fresh(checkout: Project, folder: Path) -> Project:
    return Project(checkout.clone(folder / "project").path, folder / "home")


def index(project: Project) -> pd.DataFrame:
    return pd.read_csv(project.path / "data/spectrograms/index.csv")


@pytest.fixture(scope="module")
def plain(checkout: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The least data set up to its spectrograms. Only read or copy it."""
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
    prepare_quickly(project, ["download", "split"])
    prepare(project, "spectrograms")
    return project


def test_unreadable_short_and_long_clips_are_counted(motley: Project) -> None:
    assert json.loads((motley.path / "metrics/dataset.json").read_text()) == {
        "dataset": "tiny",
        "genres": 2,
        "used": {"training": 2 + len(FORMATS), "validation": 3, "test": 3},
        "padded": {"training": 0, "validation": 1, "test": 0},
        "cut": {"training": 0, "validation": 0, "test": 1},
        "unreadable": {"training": 1, "validation": 0, "test": 1},
    }


def test_the_index_has_a_row_for_each_readable_clip(motley: Project) -> None:
    def frames(clip: bytes) -> int:
        info = soundfile.info(io.BytesIO(clip))
        return 1 + math.ceil(min(info.frames / info.samplerate, SECONDS) * RATE) // HOP

    assert list(index(motley).itertuples(index=False, name=None)) == [
        (row, track.track_id, track.artist, track.genre, track.split, frames(track.clip))
        for row, track in enumerate(MOTLEY)
        if track.track_id not in (9000, 9003)
    ]


def test_a_tone_lies_in_the_same_bin_whatever_the_rate_and_the_channels(motley: Project) -> None:
    rows = index(motley).query("track_id >= 9100")["row"]
    stft = np.load(motley.path / "data/spectrograms/stft.npy")[rows]  # (tracks, frames, bins)
    loudest = 1 + stft[:, :150].mean(axis=1).argmax(axis=1)  # bin 0 is not stored
    assert loudest.tolist() == [round(1000 / RATE * 1024)] * len(FORMATS)


def test_subset_small_leaves_medium_out(project: Project) -> None:
    tracks = [*(replace(track, subset="small") for track in LEAST), Track(9000, "Jazz", "training", 9000)]
    give(project, tracks, subset="small")
    prepare_quickly(project, ["download", "split"])
    assert pd.read_csv(project.path / "data/tracks.csv")["track_id"].tolist() == [track.track_id for track in LEAST]


ALL_IN_ONE = """
import sys
sys.path.insert(0, "src")
import baseline, evaluate, train
from fma_genre import params
baseline.main(params.load())
for model in ("cnn", "birnn"):
    train.main(params.load(), model)
    evaluate.main(params.load(), model)
"""


def test_one_track_a_class_runs_to_the_metrics(plain: Project, tmp_path: Path) -> None:
    """Two classes, and fewer segments than a batch. In one process, since importing torch takes longest."""
    project = plain.copy(tmp_path / "project")
    put(project, "models.cnn.svm", [0.01])
    project.run("python", "-c", ALL_IN_ONE)
    common = {"accuracy", "precision", "recall", "f1", "n_test", "dataset"}
    contract = {"segment_accuracy", "accuracy_std", "ensemble_accuracy", "parameters", "representation"}
    for system, own in (("cnn", contract | {"svm_accuracy"}), ("birnn", contract), ("baseline", {"c"})):
        metrics = json.loads((project.path / f"metrics/{system}.json").read_text())
        assert set(metrics) == common | own
        assert (metrics["n_test"], metrics["dataset"]) == (2, "tiny")

"""The first stages on real recordings, which need only an entry in params.yaml."""

import io
import math
import zipfile
from typing import Any

import pandas as pd
import pytest
import soundfile

from fma_genre import store
from project import Project, create
from real import REAL, needs_real

pytestmark = [needs_real, pytest.mark.slow]

INSTRUMENTS = REAL / "instruments"
CC_MUSIC = REAL / "cc_music"
STAGES = ("download", "split", "spectrograms")
SHA1 = {
    "fma_instruments.zip": "e632ef938bfb32de1cae3f0df714242603e2c720",
    "fma_instruments_metadata.zip": "ca48a91170ed5d8616b6bac07a59829c334911ab",
    "fma_ccmusic.zip": "426d7a412f843c11fa87d22243bc7531d5cd5298",
    "fma_ccmusic_metadata.zip": "1f710263ac5864b6f07bad2f2771fa384dd404f9",
}


def give(project: Project, name: str, folder: str, audio: str) -> None:
    """Make archives in `folder`, a path or a url, the project's data set."""
    parts = {"audio": f"{audio}.zip", "metadata": f"{audio}_metadata.zip"}
    entry = {part: {"url": f"{folder}/{file}", "sha1": SHA1[file]} for part, file in parts.items()}

    def change(params: dict[str, Any]) -> None:
        params["dataset"] = name
        params["datasets"][name] = entry | {"subset": "medium"}

    project.edit_params(change)


@pytest.fixture(scope="module")
def instruments(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the spectrograms of 300 clips of single instruments."""
    folder = tmp_path_factory.mktemp("instruments")
    project = create(folder / "project", folder / "home")
    give(project, "instruments", str(INSTRUMENTS), "fma_instruments")
    for stage in STAGES:
        project.run_here(f"src/{stage}.py")
    return project


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the spectrograms of 39 clips of music."""
    folder = tmp_path_factory.mktemp("music")
    project = create(folder / "project", folder / "home")
    give(project, "cc_music", CC_MUSIC.as_uri(), "fma_ccmusic")
    for stage in STAGES:
        project.run_here(f"src/{stage}.py")
    return project


def read_index(project: Project) -> pd.DataFrame:
    return store.read_index(project.path / "data/index.csv")


def test_the_split_of_instruments(instruments: Project) -> None:
    tracks = pd.read_csv(instruments.path / "data/tracks.csv")
    assert tracks["split"].value_counts().to_dict() == {"training": 210, "validation": 30, "test": 60}
    assert tracks["genre"].nunique() == 10
    assert (tracks.groupby("genre").size() == 30).all()


def test_every_clip_of_instruments_is_used(instruments: Project) -> None:
    index = read_index(instruments)
    tracks = pd.read_csv(instruments.path / "data/tracks.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(index[list(tracks.columns)], tracks, check_dtype=False)
    assert (index["frames"] > 0).all()
    assert (index["left_out"] == "").all()
    assert not index["cut"].any()  # the longest lasts 26 s
    assert (index["frames"] < 128).any(), "some clips are shorter than a segment"


@pytest.mark.parametrize("row", [0, 77, 150, 299])
def test_a_row_is_as_long_as_its_clip(instruments: Project, row: int) -> None:
    line = read_index(instruments).loc[row]
    with zipfile.ZipFile(INSTRUMENTS / "fma_instruments.zip") as archive:
        (member,) = (name for name in archive.namelist() if name.endswith(f"/{line['track_id']:06d}.mp3"))
        info = soundfile.info(io.BytesIO(archive.read(member)))
    assert line["frames"] == 1 + math.ceil(info.frames * 22050 / info.samplerate) // 512
    for representation in ("mel", "stft"):
        levels = store.open_store(representation, instruments.path / "data").levels[row]
        assert levels[: line["frames"]].max() == 255  # the maximum of the clip
        assert not levels[line["frames"] :].any()


def test_every_clip_of_music_is_used(music: Project) -> None:
    index = read_index(music)
    assert len(index) == 39
    assert index["frames"].between(1285, 1292).all()  # frames in 30 s
    assert (index["left_out"] == "").all()


@pytest.mark.parametrize("representation", ["mel", "stft"])
def test_a_store_names_its_data_set(music: Project, representation: str) -> None:
    description = store.open_store(representation, music.path / "data").description
    assert (description.dataset, description.synthetic) == ("cc_music", False)
    assert len(description.classes) == read_index(music)["genre"].nunique()

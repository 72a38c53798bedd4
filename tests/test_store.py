"""Stores: reading and writing, and errors in one line for damaged or inconsistent files."""

import json
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fma_genre import store
from fma_genre.common import params
from fma_genre.common.errors import InputError
from fma_genre.store import open_store
from project import PARAMS
from stores import describe, make_index, write_store

FREQUENCIES = [100.0, 200.5, 1e4]
GENRES, SPLITS, FRAMES = ["Rock", "Jazz", "Folk"], ["training", "validation", "test"], [5, 0, 3]
DESCRIPTION = describe(FREQUENCIES, classes=("Folk", "Rock"))  # the only Jazz track is left out


@pytest.fixture
def levels() -> np.ndarray:
    levels = np.random.default_rng(0).integers(1, 256, (3, 6, 3), np.uint8)
    for row, frames in enumerate(FRAMES):
        levels[row, frames:] = 0
    return levels


@pytest.fixture
def data(tmp_path: Path, levels: np.ndarray) -> Path:
    """A store of three tracks, one of them left out."""
    write_store(tmp_path, levels, make_index(GENRES, SPLITS, FRAMES), DESCRIPTION)
    return tmp_path


# Opening. ---------------------------------------------------------------------------------------------------------


def test_a_store_is_read_as_it_was_written(data: Path, levels: np.ndarray) -> None:
    opened = open_store("stft", data)
    assert opened.description == DESCRIPTION
    np.testing.assert_array_equal(opened.levels, levels)
    pd.testing.assert_frame_equal(opened.index, make_index(GENRES, SPLITS, FRAMES), check_dtype=False)


def test_used_rows_are_those_of_tracks_with_frames(data: Path) -> None:
    opened = open_store("stft", data)
    assert opened.used.index.tolist() == [0, 2]
    assert store.classes(opened.index) == ["Folk", "Rock"]


def test_a_clip_is_as_long_as_its_frames_and_in_decibels(data: Path, levels: np.ndarray) -> None:
    decibels = open_store("stft", data).decibels(2)
    assert decibels.dtype == np.float32
    np.testing.assert_allclose(decibels, levels[2, :3] / 255 * 100 - 100, rtol=1e-5)


def test_levels_cannot_be_written_to(data: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        open_store("stft", data).levels[0] = 0


def refused(data: Path, name: str) -> str:
    """The error for a store: one line that begins with the name of the invalid file."""
    with pytest.raises(InputError) as error:
        open_store("stft", data)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert message.startswith((f"{data / name}: expected ", f"{data / name}: cannot read "))
    return message


@pytest.mark.parametrize(
    "changed",
    [
        np.zeros((2, 6, 3), np.uint8),
        np.zeros((3, 4, 3), np.uint8),  # fewer frames than the first clip
        np.zeros((3, 6, 2), np.uint8),
        np.zeros((3, 18), np.uint8),
        np.zeros((3, 6, 3), np.float32),
    ],
    ids=["tracks", "frames", "bins", "dimensions", "type"],
)
def test_levels_that_do_not_fit_the_index_and_the_description_are_refused(data: Path, changed: np.ndarray) -> None:
    np.save(data / "stft/levels.npy", changed)
    message = refused(data, "stft/levels.npy")
    assert "8-bit levels of 3 tracks, at least 5 frames and 3 bins, found" in message
    assert f"{changed.dtype} of shape {changed.shape}: `dvc repro spectrograms` rebuilds it" in message


@pytest.mark.parametrize("size", [0, 5, 100, 140])
def test_truncated_levels_are_refused(data: Path, size: int) -> None:
    path = data / "stft/levels.npy"
    path.write_bytes(path.read_bytes()[:size])
    refused(data, "stft/levels.npy")


def test_a_description_with_other_classes_than_the_index_is_refused(data: Path) -> None:
    """This happens if `split` runs by hand on another data set. Labels would then mean other genres."""
    store.write_description(data / "stft/store.json", replace(DESCRIPTION, classes=("Folk", "Jazz")))
    assert "index.csv (Folk, Rock), found Folk, Jazz: `dvc repro" in refused(data, "stft/store.json")


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda values: values.pop(key)


def with_value(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda values: values.update({key: value})


@pytest.mark.parametrize(
    "change",
    [
        without("hop"), without("frequencies"), with_value("hop", 0), with_value("sample_rate", "22050"),
        with_value("classes", "Rock"), with_value("mels", [[1.0]]), with_value("floor_db", None),
    ],
)  # fmt: skip
def test_an_invalid_description_is_refused(data: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = data / "stft/store.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    refused(data, "stft/store.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b'"text"'])
def test_a_description_that_is_no_json_object_is_refused(data: Path, content: bytes) -> None:
    (data / "stft/store.json").write_bytes(content)
    refused(data, "stft/store.json")


@pytest.mark.parametrize("name", ["index.csv", "stft/levels.npy", "stft/store.json"])
def test_a_file_that_is_missing_is_named(data: Path, name: str) -> None:
    """The stages add the command that creates it."""
    (data / name).unlink()
    with pytest.raises(FileNotFoundError) as error:
        open_store("stft", data)
    assert error.value.filename == str(data / name)


# The description. -------------------------------------------------------------------------------------------------


def test_a_description_keeps_every_bit(tmp_path: Path) -> None:
    numbers = tuple(np.random.default_rng(0).uniform(0, 11025, 50).tolist())
    for description in (
        replace(DESCRIPTION, frequencies=numbers, mels=numbers, classes=("1980", "None", "Électro")),
        replace(DESCRIPTION, representation="mel", arguments={"bands": 3}),
    ):
        store.write_description(tmp_path / "store.json", description)
        assert store.read_description(tmp_path / "store.json") == description


def test_settings_are_those_of_the_representation() -> None:
    assert DESCRIPTION.settings == {"n_fft": 1024}
    assert replace(DESCRIPTION, arguments={"bands": 128}, n_fft=2048).settings == {"n_fft": 2048, "bands": 128}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset", "demo"), ("sample_rate", 16000), ("seconds", 20.0), ("hop", 256), ("floor_db", 80.0),
        ("n_fft", 512),
    ],
)  # fmt: skip
def test_a_store_made_with_other_parameters_is_refused(data: Path, key: str, value: Any) -> None:
    loaded = replace(params.load(PARAMS), dataset="tiny")
    store.check_current(open_store("stft", data), loaded)
    store.write_description(data / "stft/store.json", replace(DESCRIPTION, **{key: value}))
    with pytest.raises(InputError, match=r"store\.json: expected .* as in params\.yaml, found .*: `dvc repro "):
        store.check_current(open_store("stft", data), loaded)


# The index. -------------------------------------------------------------------------------------------------------


def test_genres_and_reasons_may_be_any_text(tmp_path: Path) -> None:
    index = make_index(["None", "1980", 'Folk, "new"'], SPLITS, FRAMES)
    index["left_out"] = ["", "nan", 'one, "two"']
    index["cut"] = [True, False, True]
    store.write_index(tmp_path / "index.csv", index)
    pd.testing.assert_frame_equal(store.read_index(tmp_path / "index.csv"), index, check_dtype=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text.replace("artist_id,", ""),
        lambda text: text.replace("left_out", "row"),
        lambda text: text.replace(",5,", ",five,"),
        lambda text: text.replace(",5,", ",,"),
        lambda text: text.replace("10,10", "ten,10"),
        lambda text: text.replace("False", "perhaps"),
        lambda text: text + "13,13,Rock,test,,,,,0.000,1,False,libsndfile,1.0,1.0,22050,1,353,10000,-20.0,,,more\n",
        lambda text: text.replace("0.116", "all"),
        lambda text: text.replace("-20.000,,", "-20.000,itself,"),
        lambda text: text.replace("-20.000", "loud"),
        lambda text: text.replace("genre,split", "genre,genre"),
    ],
    ids=[
        "empty",
        "a name missing",
        "another column",
        "text",
        "blank",
        "id",
        "bool",
        "a cell more",
        "seconds",
        "same_as",
        "loudness",
        "a name twice",
    ],
)
def test_an_invalid_index_is_refused(data: Path, change: Callable[[str], str]) -> None:
    path = data / "index.csv"
    changed = change(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    refused(data, "index.csv")


def test_seconds_have_three_decimals(tmp_path: Path) -> None:
    index = make_index(GENRES, SPLITS, FRAMES).assign(decoded=[0.1 + 0.2, 0.0, 29.9996], length=30.0)
    store.write_index(tmp_path / "index.csv", index)
    lines = (tmp_path / "index.csv").read_text().splitlines()
    assert lines[0] == ",".join(store.COLUMNS)
    assert lines[1:] == [
        "10,10,Rock,training,,,,,0.000,5,False,libsndfile,0.300,30.000,22050,1,353,10000,-20.000,,",
        "11,11,Jazz,validation,,,,,0.000,0,False,,0.000,30.000,22050,1,353,10000,-20.000,,too short",
        "12,12,Folk,test,,,,,0.000,3,False,libsndfile,30.000,30.000,22050,1,353,10000,-20.000,,",
    ]


def test_a_clip_is_short_if_less_than_nine_tenths_were_decoded() -> None:
    index = make_index(["Rock"] * 6, ["test"] * 6, [9, 9, 9, 9, 0, 9])
    index = index.assign(decoded=[26.9, 27, 30, 0.5, 0, 8.9], length=[30, 30, 30, 0.5, 30, 10])
    assert store.incomplete(index)["track_id"].tolist() == [10, 15]


# Arrays. ----------------------------------------------------------------------------------------------------------


def test_a_new_array_is_zeros_that_take_up_no_disk(tmp_path: Path) -> None:
    store.create_array(tmp_path / "array.npy", (1000, 100, 100))
    status = (tmp_path / "array.npy").stat()
    assert status.st_size > 10_000_000
    assert status.st_blocks * 512 < 1_000_000
    assert not np.load(tmp_path / "array.npy", mmap_mode="r").any()


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.dtype([("done", "?"), ("check", "<u4")])])
def test_a_row_is_read_as_it_was_written_and_no_other_changes(tmp_path: Path, kind: Any) -> None:
    values = np.frombuffer(np.random.default_rng(0).bytes(4 * 5 * 10), np.uint8)
    values = (values % 2).view(np.uint8)[: 4 * 5].astype(kind).reshape(4, 5)
    path = tmp_path / "array.npy"
    store.create_array(path, (4, 5), kind)
    store.write_row(path, 2, values[2])
    np.testing.assert_array_equal(store.read_row(path, 2), values[2])
    expected = np.zeros((4, 5), kind)
    expected[2] = values[2]
    np.testing.assert_array_equal(np.load(path), expected)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [1, 2, 5], [4], [5, 0, 1, 0], []])
def test_rows_are_read_in_the_given_order(tmp_path: Path, rows: list[int]) -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 3, 2), np.uint8)
    np.save(tmp_path / "array.npy", values)
    np.testing.assert_array_equal(store.read_rows(tmp_path / "array.npy", np.array(rows, int)), values[rows])


def test_a_shorter_row_leaves_the_rest_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    store.create_array(path, (2, 3, 2))
    store.write_row(path, 1, np.full((2, 2), 7, np.uint8))
    assert store.read_row(path, 1).tolist() == [[7, 7], [7, 7], [0, 0]]


def test_a_store_larger_than_the_memory_can_be_mapped(tmp_path: Path) -> None:
    """The system reserves memory for a writable map, but not for a read-only map."""
    path, tracks = tmp_path / "array.npy", 2**20
    store.create_array(path, (tracks, 1024, 1024))  # 1 TiB, of which the disk stores almost nothing
    store.write_row(path, tracks - 1, np.full((2, 1024), 9, np.uint8))
    assert store.map_array(path)[tracks - 1, :3, 0].tolist() == [9, 9, 0]
    assert store.read_row(path, tracks - 1)[:3, 0].tolist() == [9, 9, 0]


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    """A write through a memory map would kill the process instead."""
    path = tmp_path / "array.npy"
    store.create_array(path, (2, 100, 100))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            store.write_row(path, 1, np.ones((100, 100), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

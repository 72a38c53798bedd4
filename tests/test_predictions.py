"""Files of predictions: reading and writing, reproducible bytes, damaged files."""

import io
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fma_genre.common.errors import InputError
from fma_genre.results import systems
from fma_genre.results.predictions import SplitPredictions, read, thumbnail, write
from synthetic import make_baseline, make_index, make_model

INDEX = make_index()
SYSTEMS = {
    "model": make_model(INDEX, 0.7, svm_head=True),
    "baseline": make_baseline(INDEX, 0.5),
    "baseline with probabilities": make_baseline(INDEX, 0.5, probabilities=True),
}


def assert_same(found: SplitPredictions, expected: SplitPredictions) -> None:
    for field in fields(SplitPredictions):
        one, two = getattr(found, field.name), getattr(expected, field.name)
        assert (one is None) == (two is None)
        if two is not None:
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", SYSTEMS)
def test_everything_that_was_written_is_read(tmp_path: Path, kind: str) -> None:
    expected = SYSTEMS[kind]
    write(tmp_path / "folder/x.npz", expected)
    found = read(tmp_path / "folder/x.npz")
    assert (found.classes, found.seeds, found.facts) == (expected.classes, expected.seeds, expected.facts)
    assert_same(found.validation, expected.validation)
    assert_same(found.test, expected.test)
    assert len(found.examples) == len(expected.examples)
    for one, two in zip(found.examples, expected.examples, strict=True):
        assert (one.kind, one.track, one.seconds) == (two.kind, two.track, two.seconds)
        np.testing.assert_array_equal(one.picture, two.picture)
    if expected.frequencies is None:
        assert found.frequencies is None
    else:
        np.testing.assert_array_equal(found.frequencies, expected.frequencies)


@pytest.mark.parametrize("classes", [["", "1980", "None"], ["a\0b", "Forró", "日本\n"]])
def test_a_genre_may_have_any_name(tmp_path: Path, classes: list[str]) -> None:
    write(tmp_path / "x.npz", replace(SYSTEMS["baseline"], classes=classes))
    assert read(tmp_path / "x.npz").classes == classes


def test_the_same_predictions_have_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for seed in (0, 0, 1):
        write(tmp_path / "x.npz", make_model(INDEX, 0.7, seed=seed))
        written.append((tmp_path / "x.npz").read_bytes())
    assert written[0] == written[1]
    assert written[0] != written[2]
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write(tmp_path / "x.npz", SYSTEMS["baseline"])
    before = (tmp_path / "x.npz").read_bytes()
    with pytest.raises(TypeError):
        write(tmp_path / "x.npz", replace(SYSTEMS["baseline"], facts={"c": object()}))
    assert (tmp_path / "x.npz").read_bytes() == before


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as found:
        read(tmp_path / "x.npz")
    assert found.value.filename == str(tmp_path / "x.npz")


# Damage. ----------------------------------------------------------------------------------------------------------


def archive(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def array(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def flip(content: bytes) -> bytes:
    """Change bytes of the stored numbers. Only the checksum in the zip detects this."""
    middle = len(content) // 3
    return content[:middle] + bytes(byte ^ 255 for byte in content[middle : middle + 40]) + content[middle + 40 :]


def edited(**changed: Any) -> Callable[[dict[str, Any]], bytes]:
    """The file with some arrays replaced, or removed if None."""
    return lambda arrays: archive({key: value for key, value in (arrays | changed).items() if value is not None})


def header(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


HEADER: dict[str, Any] = {"dataset": "demo", "classes": ["a"], "seeds": [0, 1], "facts": {}, "examples": []}
DAMAGE: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "nothing in it": lambda arrays: b"",
    "text": lambda arrays: b"no archive at all",
    "cut off": lambda arrays: archive(arrays)[:-100],
    "flipped bits": lambda arrays: flip(archive(arrays)),
    "a pickle": lambda arrays: pickle.dumps([1, 2, 3]),
    "a single array": lambda arrays: array(np.zeros(3)),
    "an object": edited(test_labels=np.array([[object()]])),
    "no header": edited(header=None),
    "a header that is no JSON": edited(header=header("{")),
    "a header that is no group": edited(header=header("[1]")),
    "a header without classes": edited(header=header(json.dumps({"seeds": [0], "facts": {}, "examples": []}))),
    "no labels": edited(test_labels=None),
    "no picture of an example": edited(picture1=None),
    "an unknown array": edited(test_surprise=np.zeros(3)),
    "runs that differ": edited(test_labels=np.zeros((1, 40), int)),
    "tracks that differ": edited(validation_tracks=np.arange(7)),
    "classes that differ": edited(test_probabilities=np.zeros((2, 40, 4), np.float32)),
    "segments that differ": edited(test_segment_starts=np.zeros(3)),
    "cut off in its middle": lambda arrays: archive(arrays)[: len(archive(arrays)) // 2],
    "tracks that are one number": edited(test_tracks=np.array(3)),
    "labels that are texts": edited(test_labels=np.full((2, 40), "a")),
    "labels of no class": edited(test_labels=np.full((2, 40), 99)),
    "probabilities that are no numbers": edited(test_probabilities=np.full((2, 40, 5), np.nan, np.float32)),
    "segments of no track": edited(test_segment_tracks=np.full(120, 99)),
    "classes that are a number": edited(header=header(json.dumps(HEADER | {"classes": 3}))),
    "seeds that are texts": edited(header=header(json.dumps(HEADER | {"seeds": ["a", "b"]}))),
    "a header that is too deep": edited(header=header("[" * 100_000)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_refused_in_a_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.npz"
    write(path, SYSTEMS["model"])
    with np.load(path) as file:
        arrays = dict(file)
    path.write_bytes(archive(arrays))
    read(path)
    path.write_bytes(DAMAGE[kind](arrays))
    with pytest.raises(InputError, match=r"x\.npz: expected .*, found ") as found:
        read(path)
    assert "\n" not in str(found.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npz")
    with pytest.raises(InputError, match=r"x\.npz: expected a file, found a pipe"):
        read(tmp_path / "x.npz")


@pytest.mark.parametrize("length", [20, 70, -1])
def test_a_learning_curve_that_is_cut_off_is_refused(tmp_path: Path, length: int) -> None:
    curve = "epoch,validation_accuracy,validation_accuracy_std\n1,0.25,0.0\n2,0.5,0.125\n"
    path = tmp_path / "cnn.csv"
    path.write_text(curve)
    assert systems.read_curve(path)["validation_accuracy"].tolist() == [0.25, 0.5]
    path.write_text(curve[:length])
    with pytest.raises(InputError, match=r"cnn\.csv: expected "):
        systems.read_curve(path)


# Pictures. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 5), (256, 64), (1292, 512), (1, 1)])
def test_a_spectrogram_is_shown_by_means_of_neighbours(shape: tuple[int, int]) -> None:
    levels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    shown = thumbnail(levels)
    assert shown.shape == (min(shape[0], 256), min(shape[1], 64))
    assert shown.dtype == np.uint8
    assert shown.max() == 15
    flat = thumbnail(np.full(shape, 9, np.uint8))
    assert (flat == 15).all()


def test_a_thumbnail_is_the_mean_of_whole_blocks() -> None:
    levels = np.zeros((6, 64), np.uint8)
    levels[:2], levels[2:4] = 200, 100
    np.testing.assert_array_equal(thumbnail(levels, frames=3)[:, 0], [15, 8, 0])


def test_silence_has_a_thumbnail() -> None:
    assert not thumbnail(np.zeros((300, 128), np.uint8)).any()

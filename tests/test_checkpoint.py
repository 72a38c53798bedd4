"""A model's folder: what is saved predicts the same when it is loaded, and nothing in it is ever unpickled."""

import json
import math
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from fma_genre import InputError, checkpoint, inference
from fma_genre.inference import predict
from fma_genre.segments import Clips, Normalisation
from fma_genre.svm import LinearSVM

CLASSES = ["Forró", "Hip-Hop", "Old-Time / Historic"]
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "cnn": {"channels": [4, 6], "pools": [4, 2], "kernel": 4, "dense": 8, "dropout": 0.5},
    "birnn": {"pool": 2, "embedding": 4, "hidden": 4, "dropout": 0.3},
}
FRAMES, BINS = 16, 12
INPUT = {
    "representation": "mel", "sample_rate": 8000, "seconds": 30, "hop": 128, "floor_db": 100,
    "segment_frames": FRAMES, "n_fft": 512, "bands": BINS,
}  # fmt: skip


def clips(lengths: list[int]) -> Clips:
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (len(lengths), max(lengths), BINS), generator=generator, dtype=torch.uint8)
    rows = torch.arange(len(lengths))
    frequencies = torch.arange(1.0, BINS + 1)
    return Clips(levels, rows, torch.tensor(lengths), rows % 3, CLASSES, FRAMES, frequencies)


def settings(model: str = "cnn", **changed: Any) -> checkpoint.Settings:
    given: dict[str, Any] = {
        "model": model,
        "architecture": ARCHITECTURES[model],
        "classes": CLASSES,
        "input": INPUT,
        "training": {"lr": 1e-5, "epochs": 8},
        "seeds": [0, 7],
    }
    return checkpoint.Settings(**(given | changed))


def network(description: checkpoint.Settings, seed: int) -> nn.Module:
    """With weights of its own, and running statistics that are not those of a fresh one."""
    torch.manual_seed(seed)
    model = description.build()
    model.train()(torch.randn(8, FRAMES, BINS) * 3 + 1)
    return model.eval()


def head(seed: int) -> LinearSVM:
    generator = np.random.default_rng(seed)
    return LinearSVM(generator.normal(size=(8, 3)).astype(np.float32), generator.normal(size=3).astype(np.float32))


NORMALISATION = Normalisation(torch.rand(BINS) * 100, torch.randn(BINS, 5) / 50, torch.randn(5, BINS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cnn of two runs, of which the first has an SVM head."""
    description = settings()
    checkpoint.save(tmp_path / "cnn", description, NORMALISATION)
    for seed in description.seeds:
        checkpoint.save_run(tmp_path / "cnn", seed, network(description, seed), None if seed else head(seed))
    return tmp_path / "cnn"


def load_all(folder: Path) -> list[tuple[nn.Module, LinearSVM | None]]:
    settings, _ = checkpoint.load(folder)
    return [checkpoint.load_run(folder, settings, seed) for seed in settings.seeds]


# Saved and loaded. ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_what_is_loaded_predicts_the_same_bits(tmp_path: Path, model: str) -> None:
    description = settings(model)
    checkpoint.save(tmp_path, description, NORMALISATION)
    networks = [network(description, seed) for seed in description.seeds]
    for seed, trained in zip(description.seeds, networks, strict=True):
        checkpoint.save_run(tmp_path, seed, trained, None)
    loaded, normalisation = checkpoint.load(tmp_path)
    assert loaded == description
    data = clips([16, 40, 9])
    outputs = []
    for trained, (again, svm) in zip(networks, load_all(tmp_path), strict=True):
        assert svm is None
        before, after = predict(trained, data, NORMALISATION), predict(again, data, normalisation)
        assert torch.equal(before.features, after.features)
        assert torch.equal(before.probabilities, after.probabilities)
        outputs.append(after.probabilities)
    assert not torch.equal(*outputs), "each run has its own weights"


def test_svm_heads_come_back_with_their_runs(folder: Path) -> None:
    (_, first), (_, second) = load_all(folder)
    assert first is not None
    assert second is None
    np.testing.assert_array_equal(first.weights, head(0).weights)
    np.testing.assert_array_equal(first.bias, head(0).bias)


def test_folder_holds_safetensors_and_settings_only(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "normalisation.safetensors",
        "seed0.safetensors",
        "seed7.safetensors",
        "settings.json",
        "svm0.safetensors",
    ]
    written = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    assert written == vars(settings())


def test_same_model_same_bytes(folder: Path, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "again", settings(), NORMALISATION)
    checkpoint.save_run(tmp_path / "again", 0, network(settings(), 0), head(0))
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


# What is no trained model. ----------------------------------------------------------------------------------------


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [pickle.dump, torch.save], ids=["pickle", "torch.save"])
@pytest.mark.parametrize("name", ["seed0", "svm0", "normalisation"])
def test_a_pickle_is_refused_and_not_executed(folder: Path, name: str, save: Callable[..., None]) -> None:
    touched = folder / "executed"
    with (folder / f"{name}.safetensors").open("wb") as file:
        save(Payload(touched), file)
    with pytest.raises(InputError) as error:
        load_all(folder)
    assert len(str(error.value).splitlines()) == 1
    assert str(folder) in str(error.value)
    assert not touched.exists()


@pytest.mark.parametrize("name", ["settings.json", "normalisation.safetensors", "seed7.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"rubbish", b"{}", bytes(100)])
def test_a_file_that_is_missing_or_damaged_is_refused(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=r"expected .* found: ") as error:
        load_all(folder)
    assert len(str(error.value).splitlines()) == 1
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    "other", [settings("birnn"), settings(classes=["one"]), settings(input=INPUT | {"bands": BINS + 1})]
)
def test_weights_of_another_network_are_refused_in_one_line(folder: Path, other: checkpoint.Settings) -> None:
    with pytest.raises(InputError, match=rf"seed0\.safetensors: expected weights of {other.model}, found: ") as error:
        checkpoint.load_run(folder, other, 0)
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent: expected a trained model, found: "):
        checkpoint.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"model": "../params"}, r"model: expected names of letters, digits, - and _"),
        ({"model": "__init__"}, r"models\.__init__: expected a class Model"),
        ({"model": "transformer"}, r"models\.transformer: expected a network in"),
        ({"input": INPUT | {"bands": "12"}}, r"input\.bands: expected a whole number"),
        ({"input": INPUT | {"seconds": 600, "hop": 1, "sample_rate": 192000}}, r"\S+ numbers in the largest layer"),
        ({"input": INPUT | {"segment_frames": 2**13, "n_fft": 2**16}}, r"5\.37e\+08 numbers in the largest layer"),
        (
            {"input": INPUT | {"segment_frames": 2**13}, "architecture": ARCHITECTURES["cnn"] | {"dense": 2**16}},
            r"5\.37e\+08 numbers in the largest layer",
        ),
        (
            {"architecture": ARCHITECTURES["cnn"] | {"channels": [1] * 5000}},
            r"architecture\.channels: .* of 100 at most",
        ),
        (
            {"architecture": ARCHITECTURES["cnn"] | {"channels": [2**20, 1]}},
            r"architecture\.channels\[0\]: expected a wh",
        ),
        ({"classes": 3}, r"classes: expected a list"),
        ({"seeds": ["../../x"]}, r"seeds\[0\]: expected a whole number"),
        ({"seeds": []}, r"seeds: expected a list"),
        ({"seeds": [0] * 20_000}, r"seeds: 20000 of them, not 100 different ones at most"),
        ({"seeds": [0, 0]}, r"seeds: 2 of them"),
        ({"input": []}, r"input: expected a group with representation"),
        ({"input": INPUT | {"seconds": 1e9}}, r"input\.seconds: expected a number"),
        ({"architecture": [1]}, r"architecture: expected a group with channels"),
        ({"architecture": ARCHITECTURES["cnn"] | {"kernel": 10**7}}, r"architecture\.kernel: expected a whole number"),
        ({"architecture": ARCHITECTURES["cnn"] | {"pools": [4, 0]}}, r"architecture\.pools\[1\]: expected a whole"),
        ({"architecture": ARCHITECTURES["cnn"] | {"pools": [4, 10**4]}}, r"models\.cnn: "),
        ({"evil": 1}, r"evil: unknown parameter"),
    ],
)
def test_impossible_settings_are_named(folder: Path, changed: dict[str, Any], found: str) -> None:
    given = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps(given | changed))
    with pytest.raises(InputError, match=rf"cnn: expected a trained model, found: {found}"):
        checkpoint.load(folder)


def test_settings_nested_without_end_are_refused(folder: Path) -> None:
    (folder / "settings.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="cnn: expected a trained model, found: "):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"mean": torch.zeros(BINS + 1)}, "mean of shape (13,) in float32, not shape (12,) in float32"),
        ({"analysis": torch.zeros(3, 3)}, "analysis of shape (3, 3) in float32, not shape (12, 3)"),
        ({"analysis": torch.tensor(1.0)}, "analysis of shape () in float32, not shape (12,)"),
        ({"synthesis": torch.zeros(BINS, 5)}, "synthesis of shape (12, 5) in float32, not shape (5, 12)"),
        ({"mean": torch.zeros(BINS, dtype=torch.complex64)}, "mean of shape (12,) in complex64, not shape"),
        ({"synthesis": torch.zeros(5, BINS).half()}, "synthesis of shape (5, 12) in float16, not shape"),
        ({"mean": torch.full((BINS,), math.nan)}, "mean with numbers that are not finite"),
    ],
)
def test_a_normalisation_that_does_not_fit_is_refused(folder: Path, changed: dict[str, Tensor], found: str) -> None:
    checkpoint.save(folder, settings(), replace(NORMALISATION, **changed))
    with pytest.raises(InputError, match=re.escape(found)):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"bias": np.zeros(4, np.float32)}, "bias of shape (4,) in float32, not shape (3,)"),
        ({"weights": np.zeros((9, 3), np.float32)}, "weights of shape (9, 3) in float32, not shape (8, 3)"),
        ({"weights": np.zeros((8, 3), np.int64)}, "weights of shape (8, 3) in int64, not shape (8, 3) in float32"),
        ({"bias": np.full(3, np.inf, np.float32)}, "bias with numbers that are not finite"),
    ],
)
def test_an_svm_head_that_does_not_fit_is_refused(folder: Path, changed: dict[str, np.ndarray], found: str) -> None:
    checkpoint.save_run(folder, 0, network(settings(), 0), replace(head(0), **changed))
    with pytest.raises(InputError, match=rf"svm0\.safetensors: .*{re.escape(found)}"):
        load_all(folder)


@pytest.mark.parametrize("wrong", [torch.float64, torch.int32, torch.complex64, math.nan])
def test_weights_that_are_no_numbers_of_the_network_are_refused(folder: Path, wrong: torch.dtype | float) -> None:
    trained = network(settings(), 0)
    state = {
        key: value.to(wrong) if isinstance(wrong, torch.dtype) else value * wrong
        for key, value in trained.state_dict().items()
    }
    (folder / "seed0.safetensors").write_bytes(to_bytes(state))
    with pytest.raises(
        InputError, match=r"seed0\.safetensors: expected weights of cnn, found: \S+ (of shape|with num)"
    ):
        load_all(folder)


@pytest.mark.parametrize("name", ["settings.json", "normalisation.safetensors", "seed7.safetensors"])
@pytest.mark.parametrize("special", ["pipe", "endless"])
def test_what_never_ends_is_refused(folder: Path, name: str, special: str) -> None:
    (folder / name).unlink()
    if special == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match=f"{name} is no file"):
        load_all(folder)


def test_settings_of_gigabytes_are_not_read(folder: Path) -> None:
    with (folder / "settings.json").open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match=r"settings\.json of 1099511627776 bytes, not"):
        checkpoint.load(folder)


def test_no_memory_is_taken_for_a_network_that_the_file_does_not_hold(tmp_path: Path) -> None:
    """3 GB for each of its matrices, were it made."""
    vast = settings("birnn", architecture=ARCHITECTURES["birnn"] | {"hidden": 2**14})
    checkpoint.save(tmp_path, vast, NORMALISATION)
    checkpoint.save_run(tmp_path, 0, network(settings("birnn"), 0), None)
    with pytest.raises(InputError, match=r"seed0\.safetensors: expected weights of birnn, found: \S+ of shape"):
        load_all(tmp_path)


# Predictions. -----------------------------------------------------------------------------------------------------


def naive(model: nn.Module, data: Clips) -> tuple[list[Tensor], list[Tensor], list[int]]:
    """Mean features and softmax of each track, and its number of segments, one segment at a time."""
    features, probabilities, counts = [], [], []
    for row, length in zip(data.rows, data.lengths.tolist(), strict=True):
        filled = data.levels[row, :length]
        count = math.ceil(length / FRAMES)
        last = max(0, length - FRAMES)
        segments = [
            filled[start : start + FRAMES] if length >= FRAMES else filled.repeat(FRAMES, 1)[:FRAMES]
            for start in (last * segment // max(1, count - 1) for segment in range(count))
        ]
        inputs = [NORMALISATION(segment[None]) for segment in segments]
        with torch.inference_mode():
            features.append(torch.cat([model.features(x) for x in inputs]).mean(dim=0))
            probabilities.append(torch.cat([model(x).softmax(dim=1) for x in inputs]).mean(dim=0))
        counts.append(count)
    return features, probabilities, counts


@pytest.mark.parametrize("model", ARCHITECTURES)
@pytest.mark.parametrize("batch", [3, 256])
def test_tracks_are_the_means_of_their_segments(model: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "BATCH", batch)
    data = clips([16, 100, 5, 41, 63, 1])
    trained = network(settings(model), 0)
    features, probabilities, counts = naive(trained, data)
    found = predict(trained.train(), data, NORMALISATION)  # predict switches dropout off
    assert torch.bincount(found.tracks).tolist() == counts
    torch.testing.assert_close(found.track_features(), torch.stack(features))
    torch.testing.assert_close(found.track_probabilities(), torch.stack(probabilities))
    torch.testing.assert_close(found.track_probabilities().sum(dim=1), torch.ones(6))

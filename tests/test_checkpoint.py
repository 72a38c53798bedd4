"""A model's folder: a loaded model predicts the same as the saved one, and invalid files are refused."""

import functools
import json
import math
import operator
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

from fma_genre.common.errors import InputError
from fma_genre.common.params import load
from fma_genre.front_ends import standardised
from fma_genre.front_ends.cepstral import FrontEnd
from fma_genre.learning import checkpoint, inference
from fma_genre.learning import clips as clips_module
from fma_genre.learning.clips import Clips
from fma_genre.learning.inference import predict, predict_runs
from fma_genre.learning.svm_head import LinearSVM
from project import PARAMS
from stores import describe, make_clips

CLASSES = ("Forró", "Hip-Hop", "Old-Time / Historic")
NETWORKS: dict[str, dict[str, Any]] = {
    "cnn": {"channels": [4, 6], "pools": [4, 2], "kernel": 4, "dense": 8, "dropout": 0.5},
    "birnn": {"pool": 2, "embedding": 4, "hidden": 4, "dropout": 0.3},
}
FRAMES, BINS = 16, 12
TRAIN = replace(
    load(PARAMS).train, seed=6, runs=2, epochs=8, segment_frames=FRAMES, crops_per_track=1, batch_size=2, lr=1e-5,
    weight_decay=0, gradient_norm=1, label_smoothing=0, max_pitch_shift=0, mixup=0,
    precision="float32", cuda_graphs=False,
)  # fmt: skip
STORE = describe(
    np.arange(1.0, BINS + 1),
    classes=CLASSES,
    representation="mel",
    n_fft=512,
    arguments={"bands": BINS},
    sample_rate=8000,
    hop=128,
)


def clips(lengths: list[int]) -> Clips:
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (len(lengths), max(lengths), BINS), generator=generator, dtype=torch.uint8)
    return make_clips(levels, FRAMES, lengths=lengths, labels=[track % 3 for track in range(len(lengths))])


def settings(network: str = "cnn", **changed: Any) -> checkpoint.Settings:
    given: dict[str, Any] = {
        "key": "wide",
        "network": network,
        "network_arguments": NETWORKS[network],
        "front_end": "cepstral",
        "front_end_arguments": {"cepstral_coefficients": 5},
        "train": TRAIN,
        "store": STORE,
    }
    return checkpoint.Settings(**(given | changed))


def network(description: checkpoint.Settings, seed: int) -> nn.Module:
    """A network with random weights and with running statistics that differ from those of a new network."""
    torch.manual_seed(seed)
    model = description.build()
    model.train()(torch.randn(8, FRAMES, BINS) * 3 + 1)
    return model.eval()


def head(seed: int) -> LinearSVM:
    generator = np.random.default_rng(seed)
    return LinearSVM(generator.normal(size=(8, 3)).astype(np.float32), generator.normal(size=3).astype(np.float32))


FRONT_END = FrontEnd(torch.rand(BINS) * 100, torch.randn(BINS, 5) / 50, torch.randn(5, BINS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a cnn with two runs. The first run has an SVM head."""
    description = settings()
    checkpoint.save(tmp_path / "wide", description, FRONT_END)
    for seed in description.seeds:
        checkpoint.save_run(tmp_path / "wide", seed, network(description, seed), head(seed) if seed == 6 else None)
    return tmp_path / "wide"


def load_all(folder: Path) -> list[tuple[nn.Module, LinearSVM | None]]:
    settings, _ = checkpoint.load(folder)
    return [checkpoint.load_run(folder, settings, seed) for seed in settings.seeds]


# Saved and loaded. ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", NETWORKS)
def test_a_loaded_model_predicts_the_same_bits(tmp_path: Path, model: str) -> None:
    description = settings(model)
    checkpoint.save(tmp_path, description, FRONT_END)
    networks = [network(description, seed) for seed in description.seeds]
    for seed, trained in zip(description.seeds, networks, strict=True):
        checkpoint.save_run(tmp_path, seed, trained, None)
    loaded, front_end = checkpoint.load(tmp_path)
    assert loaded == description
    data = clips([16, 40, 9])
    outputs = []
    for trained, (again, svm) in zip(networks, load_all(tmp_path), strict=True):
        assert svm is None
        before, after = predict(trained, data, FRONT_END), predict(again, data, front_end)
        assert torch.equal(before.track_features, after.track_features)
        assert torch.equal(before.probabilities, after.probabilities)
        outputs.append(after.probabilities)
    assert not torch.equal(*outputs), "each run has its own weights"


def test_svm_heads_come_back_with_their_runs(folder: Path) -> None:
    (_, first), (_, second) = load_all(folder)
    assert first is not None
    assert second is None
    np.testing.assert_array_equal(first.weights, head(6).weights)
    np.testing.assert_array_equal(first.bias, head(6).bias)


def test_an_svm_head_comes_back_whatever_its_layout_in_memory(folder: Path) -> None:
    """safetensors writes an array in memory order, which could swap rows and columns."""
    column_major = replace(head(6), weights=np.asfortranarray(head(6).weights))
    checkpoint.save_run(folder, 6, network(settings(), 6), column_major)
    loaded = load_all(folder)[0][1]
    assert loaded is not None
    np.testing.assert_array_equal(loaded.weights, head(6).weights)


def test_folder_holds_safetensors_and_settings_only(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "front_end.safetensors",
        "seed6.safetensors",
        "seed7.safetensors",
        "settings.json",
        "svm_head6.safetensors",
    ]
    written = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    assert written == {
        "key": "wide",
        "network": "cnn",
        "network_arguments": NETWORKS["cnn"],
        "front_end": "cepstral",
        "front_end_arguments": {"cepstral_coefficients": 5},
        "train": vars(TRAIN),
        "store": json.loads(json.dumps(STORE.as_json())),
    }


def test_same_model_same_bytes(folder: Path, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "again", settings(), FRONT_END)
    checkpoint.save_run(tmp_path / "again", 6, network(settings(), 6), head(6))
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


# Folders without a model. ------------------------------------------------------------------------------------------


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [pickle.dump, torch.save], ids=["pickle", "torch.save"])
@pytest.mark.parametrize("name", ["seed6", "svm_head6", "front_end"])
def test_a_pickle_is_refused_and_not_executed(folder: Path, name: str, save: Callable[..., None]) -> None:
    touched = folder / "executed"
    with (folder / f"{name}.safetensors").open("wb") as file:
        save(Payload(touched), file)
    with pytest.raises(InputError) as error:
        load_all(folder)
    assert len(str(error.value).splitlines()) == 1
    assert str(folder) in str(error.value)
    assert not touched.exists()


@pytest.mark.parametrize("name", ["settings.json", "front_end.safetensors", "seed7.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"rubbish", b"{}", bytes(100)])
def test_a_file_that_is_missing_or_damaged_is_refused(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=r"cannot load .*: ") as error:
        load_all(folder)
    assert len(str(error.value).splitlines()) == 1
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    "other",
    [
        settings("birnn"),
        settings(store=replace(STORE, classes=("one", "two"))),
        settings(store=replace(STORE, frequencies=STORE.frequencies[:-1])),
    ],
)
def test_weights_of_another_network_are_refused_in_one_line(folder: Path, other: checkpoint.Settings) -> None:
    with pytest.raises(InputError, match=rf"seed6\.safetensors: cannot load weights of {other.network}: ") as error:
        checkpoint.load_run(folder, other, 6)
    assert len(str(error.value).splitlines()) == 1


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent: cannot load the model: "):
        checkpoint.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"network": "../params"}, r"network: expected a name of at most 64 letters, digits, - and _, found"),
        ({"network": "__init__"}, r"src/fma_genre/networks: expected a name without a leading _, found __init__"),
        ({"network": "transformer"}, r"src/fma_genre/networks: expected a file transformer\.py, found none"),
        ({"front_end": "a.b"}, r"front_end: expected a name of at most 64 letters, digits, - and _, found"),
        ({"front_end": "__init__"}, r"src/fma_genre/front_ends: expected a name without a leading _, found __init__"),
        ({"front_end": "plain"}, r"src/fma_genre/front_ends: expected a file plain\.py, found none"),
        ({"key": "x/../y"}, r"key: expected a name of at most 64"),
        ({"store.n_fft": "12"}, r"store\.n_fft: expected a whole number"),
        ({"store.representation": "../mel"}, r"store\.representation: expected a name"),
        ({"store.seconds": 1e9}, r"store\.seconds: expected a number from 1 to 600"),
        ({"store.seconds": math.nan}, r"store\.seconds: expected a number"),
        ({"store.synthetic": 1}, r"store\.synthetic: expected true or false, found 1"),
        ({"store.classes": 3}, r"store\.classes: expected a list"),
        ({"store.classes": []}, r"store\.classes: expected a list of 2 to 10000 values"),
        ({"store.classes": ["Folk"] * 10_001}, r"store\.classes: expected a list of 2 to 10000 values"),
        ({"store.classes": ["Folk", "Folk", "Rock"]}, r".* sorted and distinct, found 'Folk' after 'Folk'"),
        ({"store.classes": ["Rock", "Folk", "Rock"]}, r".* sorted and distinct, found 'Folk' after 'Rock'"),
        ({"store.classes": ["Folk", 7]}, r"store\.classes\[1\]: expected a non-empty string, found 7"),
        ({"store.frequencies": []}, r"store\.frequencies: expected a list of 1 to 65536 values"),
        ({"store.frequencies": [1.0, -1.0]}, r"store\.frequencies\[1\]: expected a number from 0 to 1000000"),
        ({"store.mels": {"a": 1}}, r"store\.mels: expected a list"),
        ({"store": []}, r"store: expected a group of named values"),
        (
            {"store.seconds": 600, "store.hop": 1, "store.sample_rate": 192000},
            r".* activations per layer and clip, found",
        ),
        ({"train.segment_frames": 2**13, "store.n_fft": 2**16}, r".* activations per layer and clip, found 5\.37e\+08"),
        (
            {"train.segment_frames": 2**13, "network_arguments.dense": 2**16},
            r".* activations per layer and clip, found 5\.37e\+08",
        ),
        ({"train": 3}, r"train: expected a group of named values"),
        ({"train.runs": 0}, r"train\.runs: expected a whole number from 1 to 100"),
        ({"train.runs": 20_000}, r"train\.runs: expected a whole number from 1 to 100"),
        ({"train.seed": "../../x"}, r"train\.seed: expected a whole number"),
        ({"train.lr": 0}, r"train\.lr: expected a number from"),
        ({"train.epcohs": 3}, r"train: expected the keys .* found 'epcohs'; did you mean epochs\?"),
        ({"network_arguments": [1]}, r"network_arguments: expected a group of named values"),
        ({"network_arguments.channels": [1] * 5000}, r"channels: expected a list of 1 to 100 values"),
        ({"network_arguments.channels": [2**20, 1]}, r"channels\[0\]: expected a whole number"),
        ({"network_arguments.kernel": 10**7}, r"kernel: expected a whole number"),
        ({"network_arguments.kernel": None}, r"kernel: expected a whole number"),
        ({"network_arguments.pools": [4, 0]}, r"pools\[1\]: expected a whole number"),
        ({"network_arguments.pools": [4, 10**4]}, r"models\.\w+: expected pools that leave at least one of 16"),
        ({"network_arguments.evil": 1}, r"expected the keys channels, pools, kernel, dense, dropout, found 'evil'"),
        ({"front_end_arguments": "x"}, r"front_end_arguments: expected a group of named values"),
        ({"front_end_arguments.cepstral_coefficients": 0}, r"cepstral_coefficients: expected a whole number from 1"),
        (
            {"front_end_arguments.cepstral_coefficients": 4},
            r"analysis has shape \(12, 5\) in float32, expected shape \(12, 4\)",
        ),
        ({"front_end_arguments": {}}, r"cepstral_coefficients: expected a whole number from 1 to 65536, found none"),
        ({"evil": 1}, r"expected the keys key, network, .* found 'evil'"),
    ],
)
def test_impossible_settings_are_named(folder: Path, changed: dict[str, Any], found: str) -> None:
    content = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    for name, value in changed.items():
        *groups, key = name.split(".")
        functools.reduce(operator.getitem, groups, content)[key] = value
    (folder / "settings.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"wide: cannot load the model: {found}") as error:
        checkpoint.load(folder)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("name", ["key", "network", "front_end_arguments", "train", "store", "store.classes"])
def test_missing_settings_are_named(folder: Path, name: str) -> None:
    content = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    *groups, key = name.split(".")
    del functools.reduce(operator.getitem, groups, content)[key]
    (folder / "settings.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"wide: cannot load the model: {name}: expected .*, found none$"):
        checkpoint.load(folder)


def test_settings_nested_without_end_are_refused(folder: Path) -> None:
    (folder / "settings.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="wide: cannot load the model: "):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"mean": torch.zeros(BINS + 1)}, "mean has shape (13,) in float32, expected shape (12,) in float32"),
        ({"analysis": torch.zeros(3, 3)}, "analysis has shape (3, 3) in float32, expected shape (12, 5)"),
        ({"analysis": torch.tensor(1.0)}, "analysis has shape () in float32, expected shape (12, 5)"),
        ({"synthesis": torch.zeros(BINS, 5)}, "synthesis has shape (12, 5) in float32, expected shape (5, 12)"),
        ({"mean": torch.zeros(BINS, dtype=torch.complex64)}, "mean has shape (12,) in complex64, expected shape"),
        ({"synthesis": torch.zeros(5, BINS).half()}, "synthesis has shape (5, 12) in float16, expected shape"),
        ({"mean": torch.full((BINS,), math.nan)}, "mean contains numbers that are not finite"),
        ({"analysis": torch.full((BINS, 5), -1e30)}, "analysis contains numbers beyond 1e+12"),
    ],
)
def test_a_front_end_that_does_not_fit_is_refused(folder: Path, changed: dict[str, Tensor], found: str) -> None:
    checkpoint.save(folder, settings(), replace(FRONT_END, **changed))
    with pytest.raises(InputError, match=re.escape(found)):
        checkpoint.load(folder)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_deviation_that_is_not_positive_is_refused(tmp_path: Path, value: float) -> None:
    """Division by 0 would give infinity."""
    deviation = torch.ones(BINS)
    deviation[3] = value
    described = settings(front_end="standardised", front_end_arguments={})
    checkpoint.save(tmp_path, described, standardised.FrontEnd(torch.zeros(BINS), deviation))
    with pytest.raises(InputError, match=r"cannot load the model: deviation contains numbers that are not positive$"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"bias": np.zeros(4, np.float32)}, "bias has shape (4,) in float32, expected shape (3,)"),
        ({"weights": np.zeros((9, 3), np.float32)}, "weights has shape (9, 3) in float32, expected shape (8, 3)"),
        ({"weights": np.zeros((8, 3), np.int64)}, "weights has shape (8, 3) in int64, expected shape (8, 3) in float"),
        ({"bias": np.full(3, np.inf, np.float32)}, "bias contains numbers that are not finite"),
        ({"bias": np.full(3, 1e30, np.float32)}, "bias contains numbers beyond 1e+12"),
    ],
)
def test_an_svm_head_that_does_not_fit_is_refused(folder: Path, changed: dict[str, np.ndarray], found: str) -> None:
    checkpoint.save_run(folder, 6, network(settings(), 6), replace(head(6), **changed))
    with pytest.raises(InputError, match=rf"svm_head6\.safetensors: .*{re.escape(found)}"):
        load_all(folder)


@pytest.mark.parametrize("wrong", [torch.float64, torch.int32, torch.complex64, math.nan])
def test_invalid_weights_are_refused(folder: Path, wrong: torch.dtype | float) -> None:
    trained = network(settings(), 6)
    state = {
        key: value.to(wrong) if isinstance(wrong, torch.dtype) else value * wrong
        for key, value in trained.state_dict().items()
    }
    (folder / "seed6.safetensors").write_bytes(to_bytes(state))
    with pytest.raises(
        InputError, match=r"seed6\.safetensors: cannot load weights of cnn: \S+ (has shape|contains num)"
    ):
        load_all(folder)


@pytest.mark.parametrize("model", NETWORKS)
def test_huge_weights_are_refused(tmp_path: Path, model: str) -> None:
    """With these, a cnn would give NaN, and a birnn 100 % for every file."""
    checkpoint.save(tmp_path, settings(model), FRONT_END)
    trained = network(settings(model), 6)
    for weights in trained.parameters():
        weights.data *= 1e30
    checkpoint.save_run(tmp_path, 6, trained, None)
    with pytest.raises(InputError, match=rf"cannot load weights of {model}: \S+ contains numbers beyond 1e\+12$"):
        load_all(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("running_var", -1.0), ("num_batches_tracked", -1)])
def test_negative_variances_and_counts_are_refused(folder: Path, name: str, value: float) -> None:
    state = network(settings(), 6).state_dict()
    last = [key for key in state if key.endswith(name)][-1]
    state[last] = torch.full_like(state[last], value)
    (folder / "seed6.safetensors").write_bytes(to_bytes(state))
    with pytest.raises(InputError, match=rf"cannot load weights of cnn: {re.escape(last)} contains negative numbers"):
        load_all(folder)


@pytest.mark.parametrize(
    "name", ["settings.json", "front_end.safetensors", "seed7.safetensors", "svm_head6.safetensors"]
)
@pytest.mark.parametrize("special", ["pipe", "endless"])
def test_endless_files_are_refused(folder: Path, name: str, special: str) -> None:
    (folder / name).unlink()
    if special == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match=f"expected a file {name}, found something else"):
        load_all(folder)


def test_settings_of_gigabytes_are_not_read(folder: Path) -> None:
    with (folder / "settings.json").open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match=r"expected settings\.json to have at most 4194304 bytes, found 1099511"):
        checkpoint.load(folder)


def test_a_tensor_with_a_name_without_end_is_refused_in_a_short_line(folder: Path) -> None:
    tensors = {"x\n" * 100_000: torch.zeros(1)} | vars(FRONT_END)
    (folder / "front_end.safetensors").write_bytes(to_bytes(tensors))
    with pytest.raises(InputError, match=r"wide: cannot load the model: unexpected tensor x\?x\?") as error:
        checkpoint.load(folder)
    assert len(str(error.value)) < 1000


def test_no_memory_is_taken_for_a_network_that_the_file_does_not_hold(tmp_path: Path) -> None:
    """Each matrix of such a network would take 3 GB."""
    vast = settings("birnn", network_arguments=NETWORKS["birnn"] | {"hidden": 2**14})
    checkpoint.save(tmp_path, vast, FRONT_END)
    checkpoint.save_run(tmp_path, 6, network(settings("birnn"), 6), None)
    with pytest.raises(InputError, match=r"seed6\.safetensors: cannot load weights of birnn: \S+ has shape"):
        load_all(tmp_path)


# Predictions. -----------------------------------------------------------------------------------------------------


def naive(model: nn.Module, data: Clips) -> tuple[list[Tensor], list[Tensor], list[int]]:
    """Mean features, mean softmax and number of segments of each track, computed one segment at a time."""
    features, probabilities, counts = [], [], []
    for row, length in zip(data.rows, data.lengths.tolist(), strict=True):
        filled = data.levels[row, :length]
        count = math.ceil(length / FRAMES)
        last = max(0, length - FRAMES)
        segments = [
            filled[start : start + FRAMES] if length >= FRAMES else filled.repeat(FRAMES, 1)[:FRAMES]
            for start in (last * segment // max(1, count - 1) for segment in range(count))
        ]
        inputs = [FRONT_END.decode(FRONT_END.encode(segment[None])) for segment in segments]
        with torch.inference_mode():
            features.append(torch.cat([model.features(x) for x in inputs]).mean(dim=0))
            probabilities.append(torch.cat([model(x).softmax(dim=1) for x in inputs]).mean(dim=0))
        counts.append(count)
    return features, probabilities, counts


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("batch", [3, 256])
@pytest.mark.parametrize("pools", [1, 4])
def test_tracks_are_the_means_of_their_segments(
    model: str, batch: int, pools: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "CPU_BATCH", batch)
    data = clips([16, 100, 5, 41, 63, 1])
    monkeypatch.setattr(clips_module, "POOL", 6 * data.levels[0].numel() // pools)
    assert len(data.pool_sizes()) == pools
    trained = network(settings(model), 0)
    features, probabilities, counts = naive(trained, data)
    found = predict(trained.train(), data, FRONT_END)  # `predict` switches dropout off
    assert torch.bincount(found.tracks).tolist() == counts
    torch.testing.assert_close(found.track_features, torch.stack(features))
    torch.testing.assert_close(found.track_probabilities(), torch.stack(probabilities))
    torch.testing.assert_close(found.track_probabilities().sum(dim=1), torch.ones(6))


@pytest.mark.parametrize("model", NETWORKS)
def test_threads_and_other_runs_change_no_bit(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "CPU_BATCH", 3)
    data, runs = clips([16, 100, 5, 41, 63, 1]), [network(settings(model), seed) for seed in (0, 1)]
    together = predict_runs(runs, data, FRONT_END, threads=2)
    for found, run in zip(together, runs, strict=True):
        alone = predict(run, data, FRONT_END)
        assert torch.equal(found.probabilities, alone.probabilities)
        assert torch.equal(found.track_features, alone.track_features)


@pytest.mark.parametrize(("model", "part"), [("cnn", "network"), ("cnn", "front end"), ("birnn", "front end")])
def test_a_model_without_probabilities_is_refused(model: str, part: str) -> None:
    """The weights are finite, but too large for computation in float32."""
    trained, front_end = network(settings(model), 0), FRONT_END
    if part == "network":
        for weights in trained.parameters():
            weights.data *= 1e30
    else:
        front_end = FrontEnd(FRONT_END.mean, FRONT_END.analysis * 1e30, FRONT_END.synthesis * 1e30)
    with pytest.raises(InputError, match=r"^expected a network whose probabilities add up to 1, found a sum of nan$"):
        predict(trained, clips([16, 40]), front_end)


# The store. -------------------------------------------------------------------------------------------------------


def test_the_store_that_a_model_was_trained_on_is_accepted(folder: Path) -> None:
    loaded, _ = checkpoint.load(folder)
    checkpoint.check_store(folder, loaded, STORE)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"dataset": "medium"}, "dataset 'medium' as in data/mel, found 'tiny'"),
        ({"synthetic": True}, "synthetic True as in data/mel, found False"),
        ({"classes": ("Folk", "Rock")}, r"classes \('Folk', 'Rock'\) as in data/mel, found \('Forró', 'Hip-Hop', .*\)"),
        ({"representation": "stft"}, "representation 'stft' as in data/stft, found 'mel'"),
        ({"hop": 256}, "hop 256 as in data/mel, found 128"),
        ({"floor_db": 80.0}, r"floor_db 80\.0 as in data/mel, found 100\.0"),
        ({"arguments": {"bands": 10}}, "arguments {'bands': 10} as in data/mel, found {'bands': 12}"),
        (
            {"frequencies": (1.0,) * 5000},
            r"frequencies \(1\.0, .*\.\.\.\) as in data/mel, found \(1\.0, 2\.0, .*\.\.\.\)",
        ),
    ],
)
def test_another_store_is_refused_in_one_line(folder: Path, changed: dict[str, Any], expected: str) -> None:
    loaded, _ = checkpoint.load(folder)
    with pytest.raises(InputError, match=rf"wide: expected {expected}: `dvc repro` retrains the model$") as error:
        checkpoint.check_store(folder, loaded, replace(STORE, **changed))
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 1000

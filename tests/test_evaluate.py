"""Stage evaluate on small stores of random levels: its outputs, and the models that it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

import evaluate
import train
from fma_genre.learning import build, checkpoint
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import devices
from fma_genre.learning.inference import predict
from fma_genre.results import predictions
from fma_genre.results.predictions import Predictions
from fma_genre.store import open_store
from project import Project
from stores import GENRES, SPLITS, create_checkout, make_clips, refusal, run_stage, write_stores

STEP = 512 / 22050  # s between frames
PREDICTIONS, METRICS = Path("data/predictions"), Path("metrics")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A checkout with both models trained and evaluated. Never change it."""
    project = create_checkout(tmp_path_factory.mktemp("evaluated"))
    for key in ("cnn", "birnn"):
        run_stage(project, "train", key, train.main)
        run_stage(project, "evaluate", key, evaluate.main)
    return project


@pytest.fixture
def project(evaluated: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy without predictions, as the current folder."""
    copy = evaluated.copy(tmp_path / "project")
    monkeypatch.chdir(copy.path)
    shutil.rmtree(PREDICTIONS)
    shutil.rmtree(METRICS)
    return copy


def read(project: Project, key: str) -> tuple[Predictions, dict[str, Any]]:
    """Read the predictions and metrics of a model."""
    metrics = json.loads((project.path / METRICS / f"{key}.json").read_text(encoding="utf-8"))
    return predictions.read(project.path / PREDICTIONS / f"{key}.npz"), metrics


# Results. ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "representation", "segment_frames", "starts"),
    [("cnn", "mel", 128, [0, 32]), ("birnn", "stft", 64, [0, 48, 96])],
)
def test_every_runs_predictions_of_both_splits_are_written(
    evaluated: Project, key: str, representation: str, segment_frames: int, starts: list[int]
) -> None:
    """Each model has segments of its own length; `starts` are those that cover a clip of FRAMES frames, in frames."""
    found, _ = read(evaluated, key)
    assert found.classes == ["Folk", "Rock"]
    assert found.seeds == [0, 1]
    folder = evaluated.path / "models" / key
    settings, front_end = checkpoint.load(folder)
    device = devices()[0]
    front_end = build.move(front_end, device)
    store = open_store(representation, evaluated.path / "data")
    for split in ("validation", "test"):
        part, clips = getattr(found, split), Clips.load(store, split, segment_frames, device)
        rows = [row for row, name in enumerate(SPLITS) if name == split]
        assert part.tracks.tolist() == [10 + row for row in rows]
        assert part.segment_tracks.tolist() == [0] * len(starts) + [1] * len(starts)
        np.testing.assert_allclose(part.segment_starts, [start * STEP for start in starts] * 2)
        for run, seed in enumerate(found.seeds):
            network, head = checkpoint.load_run(folder, settings, seed)
            expected = predict(network.to(device), clips, front_end)
            np.testing.assert_array_equal(part.segment_probabilities[run], expected.probabilities)
            np.testing.assert_array_equal(part.probabilities[run], expected.track_probabilities())
            np.testing.assert_array_equal(part.labels[run], expected.track_probabilities().argmax(dim=1))
            if head:
                labels = head.predict(expected.track_features.numpy())
                np.testing.assert_array_equal(part.svm_head_labels[run], labels)
        assert (part.svm_head_labels is None) == (key == "birnn")
    assert not np.array_equal(found.test.probabilities[0], found.test.probabilities[1])  # type: ignore[index]


@pytest.mark.parametrize("key", ["cnn", "birnn"])
def test_metrics_are_scikit_learns_on_what_was_predicted(evaluated: Project, key: str) -> None:
    found, metrics = read(evaluated, key)
    assert metrics["n_test"] == 2
    assert metrics["dataset"] == "demo"
    for split, prefix in (("test", ""), ("validation", "validation_")):
        part = getattr(found, split)
        actual = [found.classes.index(genre) for genre, name in zip(GENRES, SPLITS, strict=True) if name == split]
        accuracies = [accuracy_score(actual, labels) for labels in part.labels]
        macro = [
            precision_recall_fscore_support(actual, labels, labels=[0, 1], average="macro", zero_division=0)[:3]
            for labels in part.labels
        ]
        assert metrics[f"{prefix}accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-6)
        assert metrics[f"{prefix}f1"] == pytest.approx(np.mean(macro, axis=0)[2], abs=1e-6)
        if split == "test":
            assert metrics["accuracy_std"] == pytest.approx(np.std(accuracies, ddof=1), abs=1e-6)
            ensemble = part.probabilities.mean(axis=0).argmax(axis=1)
            assert metrics["ensemble_accuracy"] == pytest.approx(accuracy_score(actual, ensemble), abs=1e-6)
            of_segments = np.array(actual)[part.segment_tracks] == part.segment_probabilities.argmax(axis=2)
            assert metrics["segment_accuracy"] == pytest.approx(of_segments.mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("key", "representation", "front_end", "segment_frames", "bins", "multiply_adds"),
    [
        # Two blocks for 128 and 16 frames, the kernel-1 layer for 2 frames, the dense layer and the output layer:
        ("cnn", "mel", "cepstral", 128, 128, 128 * 128 * 4 * 4 + 16 * 4 * 4 * 4 + 2 * 4 * 4 + 2 * 4 * 8 + 8 * 2),
        # For each frame the embedding, and three gates in two directions; then the output layer:
        ("birnn", "stft", "standardised", 64, 512, 64 * (256 * 8 + 2 * 3 * 8 * (8 + 8)) + 16 * 2),
    ],
)
def test_facts_are_those_of_the_network_and_its_input(
    evaluated: Project,
    key: str,
    representation: str,
    front_end: str,
    segment_frames: int,
    bins: int,
    multiply_adds: int,
) -> None:
    found, _ = read(evaluated, key)
    folder = evaluated.path / "models" / key
    network, _ = checkpoint.load_run(folder, checkpoint.load(folder)[0], seed=0)
    count = sum(weights.numel() for weights in network.parameters())
    names = {"network": key, "representation": representation, "front_end": front_end}
    costs = {"parameters": count, "multiply_adds": multiply_adds}
    assert found.facts == names | {"segment_frames": segment_frames} | costs
    assert found.frequencies is not None
    assert len(found.frequencies) == bins


def test_the_same_model_gives_the_same_bytes(evaluated: Project, project: Project) -> None:
    run_stage(project, "evaluate", "cnn", evaluate.main)
    for path in (PREDICTIONS / "cnn.npz", METRICS / "cnn.json"):
        assert path.read_bytes() == (evaluated.path / path).read_bytes()


# Examples. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 0, 1, 0], {"Most confident correct": 0, "Smallest margin": 3, "Most confident error": 2}),
        ([0, 1, 0, 1], {"Most confident correct": 2, "Smallest margin": 3, "Most confident error": 3}),
        ([0, 0, 0, 0], {"Most confident correct": 2, "Smallest margin": 3}),
        ([1, 1, 1, 1], {"Smallest margin": 3, "Most confident error": 2}),
    ],
)
def test_examples_are_the_surest_and_the_closest_where_there_are_any(
    labels: list[int], expected: dict[str, int]
) -> None:
    """The closest call has the smallest gap between its two most probable classes, not the smallest maximum."""
    probabilities = np.array([[0.8, 0.1, 0.1], [0.45, 0.3, 0.25], [0.9, 0.1, 0], [0.5, 0.49, 0.01]])
    clips = make_clips(torch.zeros(4, 20, 3, dtype=torch.uint8), 8, labels=labels)
    examples = evaluate.choose_examples(clips, probabilities)
    assert {example.kind: example.track for example in examples} == expected


def test_an_example_shows_the_frames_that_its_clip_fills() -> None:
    levels = torch.arange(2 * 300 * 3).reshape(2, 300, 3).remainder(256).to(torch.uint8)
    clips = make_clips(levels, 128, lengths=[300, 100], labels=[0, 1]).subset(torch.tensor([1]))
    example = evaluate.make_example("Most confident correct", 0, clips)
    np.testing.assert_array_equal(example.picture, predictions.thumbnail(levels[1, :100].numpy()))
    assert example.seconds == pytest.approx(100 * STEP)


# Errors. ----------------------------------------------------------------------------------------------------------


def use_small(values: dict[str, Any]) -> None:
    values["dataset"] = "small"


def use_half_hop(values: dict[str, Any]) -> None:
    values["spectrograms"]["hop"] = 256


def use_stft(values: dict[str, Any]) -> None:
    values["models"]["cnn"]["representation"] = "stft"


ANOTHER_STORE = [
    (use_small, "expected dataset 'small' as in data/mel, found 'demo'"),
    (use_half_hop, "expected hop 256 as in data/mel, found 512"),
    (use_stft, "expected representation 'stft' as in data/stft, found 'mel'"),
]


@pytest.mark.parametrize(("change", "message"), ANOTHER_STORE)
def test_a_model_that_was_trained_on_another_store_is_refused(
    project: Project, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    project.edit_params(change)
    write_stores(project)
    found = refusal(project, "evaluate", "cnn", evaluate.main)
    assert found == f"models/cnn: {message}: `dvc repro` retrains the model"
    assert not PREDICTIONS.exists()
    assert not METRICS.exists()


def test_the_folder_of_another_model_is_refused(project: Project) -> None:
    shutil.rmtree("models/birnn")
    shutil.copytree("models/cnn", "models/birnn")
    message = refusal(project, "evaluate", "birnn", evaluate.main)
    assert message == "models/birnn: expected the model birnn, found cnn; run `dvc repro` to train birnn"
    assert not METRICS.exists()


def test_a_store_that_params_yaml_no_longer_describes_is_refused(project: Project) -> None:
    project.edit_params(use_half_hop)
    expected = (
        "data/mel/store.json: expected hop 256 as in params.yaml, found 512: `dvc repro spectrograms` rebuilds it"
    )
    assert refusal(project, "evaluate", "cnn", evaluate.main) == expected
    assert not PREDICTIONS.exists()
    assert not METRICS.exists()


@pytest.mark.parametrize("name", ["settings.json", "front_end.safetensors", "seed0.safetensors", "seed1.safetensors"])
def test_an_incomplete_model_is_refused(project: Project, name: str) -> None:
    (Path("models/cnn") / name).unlink()
    message = refusal(project, "evaluate", "cnn", evaluate.main)
    assert message.startswith("models/cnn")
    assert name in message
    assert not PREDICTIONS.exists()
    assert not METRICS.exists()


DAMAGED = ("seed1.safetensors", "front_end.safetensors", "settings.json")


@pytest.mark.parametrize("name", DAMAGED)
def test_a_model_that_is_cut_short_is_refused(project: Project, name: str) -> None:
    path = Path("models/cnn") / name
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 2):
        path.unlink()
        path.write_bytes(content[:length])
        message = refusal(project, "evaluate", "cnn", evaluate.main)
        assert message.startswith("models/cnn")
        assert "\n" not in message
    assert not PREDICTIONS.exists()


def test_a_store_that_is_cut_short_is_refused(project: Project) -> None:
    path = Path("data/mel/levels.npy")
    content = path.read_bytes()
    for length in (0, 90, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        message = refusal(project, "evaluate", "cnn", evaluate.main)
        assert message.startswith("data/mel/levels.npy: cannot read 8-bit levels of ")
    assert not PREDICTIONS.exists()

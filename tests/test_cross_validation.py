"""Cross-validation: its folds, its joined predictions, and its controls on data with a known leak."""

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fma_genre import store
from fma_genre.common import params
from fma_genre.common.errors import InputError
from fma_genre.features.build import describe
from fma_genre.results import metrics, predictions
from fma_genre.results.comparison import compare
from fma_genre.results.predictions import Predictions, SplitPredictions
from project import PARAMS, ROOT, Project
from stores import create_checkout, make_index, write_store

sys.path.append(str(ROOT / "benchmarks"))
from cross_validation import (
    DISJOINT,
    RANDOM,
    SHUFFLED,
    Task,
    correction,
    fold_indices,
    make_tasks,
    pool,
    pool_indices,
    pool_predictions,
)

FOLDS = 5
ARTISTS, TRACKS = 20, 4  # artists in training and validation, and tracks of each
USED = ARTISTS * TRACKS


def index_of_artists() -> pd.DataFrame:
    """An index of artists with tracks of one genre each, and of two test tracks and a track that is left out."""
    artists = [*np.repeat(np.arange(ARTISTS), TRACKS), 98, 99, 0]
    genres = np.where(np.array(artists) % 2, "Rock", "Folk")
    splits = ["training"] * (USED - 8) + ["validation"] * 8 + ["test", "test", "training"]
    return make_index(list(genres), splits, [160] * (USED + 2) + [0]).assign(artist_id=artists)


def splits_of(indices: list[pd.DataFrame]) -> pd.DataFrame:
    """The split of each used track (rows) in each fold (columns)."""
    return pd.concat([store.used(index).set_index("track_id")["split"] for index in indices], axis=1)


def straddling(index: pd.DataFrame) -> int:
    """The number of additional splits in which artists have tracks."""
    pairs = store.used(index)[["artist_id", "split"]].drop_duplicates()
    return int(pairs["artist_id"].duplicated().sum())


# Folds. -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [DISJOINT, RANDOM, SHUFFLED])
def test_each_track_is_once_a_test_track_and_once_a_validation_track(kind: str) -> None:
    index = index_of_artists()
    splits = splits_of(fold_indices(index, kind, FOLDS, seed=0))
    used = index[(index["frames"] > 0) & (index["split"] != "test")]
    assert list(splits.index) == list(used["track_id"])
    for split, count in (("test", 1), ("validation", 1), ("training", FOLDS - 2)):
        assert ((splits == split).sum(axis=1) == count).all()


def test_the_test_tracks_of_the_data_set_are_left_out() -> None:
    for index in fold_indices(index_of_artists(), DISJOINT, FOLDS, seed=0):
        assert list(index["left_out"][index["frames"] == 0]) == ["test track of the data set"] * 2 + ["too short"]


def test_artists_are_in_one_split_except_in_the_random_split() -> None:
    index = index_of_artists()
    assert [straddling(fold) for fold in fold_indices(index, DISJOINT, FOLDS, seed=0)] == [0] * FOLDS
    assert [straddling(fold) for fold in fold_indices(index, SHUFFLED, FOLDS, seed=0)] == [0] * FOLDS
    assert min(straddling(fold) for fold in fold_indices(index, RANDOM, FOLDS, seed=0)) > ARTISTS / 2


@pytest.mark.parametrize("kind", [DISJOINT, RANDOM])
def test_folds_have_equal_shares_of_each_genre(kind: str) -> None:
    for index in fold_indices(index_of_artists(), kind, FOLDS, seed=0):
        used = store.used(index)
        for split in ("test", "validation"):
            assert used["genre"][used["split"] == split].value_counts().to_dict() == {"Folk": 8, "Rock": 8}


@pytest.mark.parametrize("kind", [DISJOINT, RANDOM, SHUFFLED])
def test_folds_depend_only_on_the_seed(kind: str) -> None:
    first, again, other = (fold_indices(index_of_artists(), kind, FOLDS, seed) for seed in (0, 0, 1))
    assert all(one.equals(two) for one, two in zip(first, again, strict=True))
    assert not splits_of(first).equals(splits_of(other))


def test_shuffled_labels_permute_the_genres_of_training_and_validation_tracks() -> None:
    index = index_of_artists()
    indices = fold_indices(index, SHUFFLED, FOLDS, seed=0)
    for fold in indices:
        is_test = fold["split"] == "test"
        assert fold["genre"][is_test].equals(index["genre"][is_test])
        shuffled, real = fold["genre"][~is_test], index["genre"][~is_test]
        assert shuffled.value_counts().equals(real.value_counts())
        assert 0.3 < (shuffled == real).mean() < 0.7  # 0.5 is expected
    assert not indices[0]["genre"].equals(indices[1]["genre"])


def test_a_genre_that_a_fold_cannot_learn_is_an_error() -> None:
    index = index_of_artists()
    index.loc[index["artist_id"] == 0, "genre"] = "Polka"
    with pytest.raises(InputError, match=r"fold \d: expected training tracks of each genre, found none of Polka"):
        fold_indices(index, DISJOINT, FOLDS, seed=0)


@pytest.mark.parametrize("kind", [DISJOINT, RANDOM])
def test_too_many_folds_are_an_error(kind: str) -> None:
    index = index_of_artists()
    with pytest.raises(InputError, match=r"^--folds: expected at most 20 \(the number of artists\), found 21$"):
        fold_indices(index, kind, ARTISTS + 1, seed=0)
    assert len(fold_indices(index, kind, ARTISTS, seed=0)) == ARTISTS, "10 artists of a genre are enough"
    index["artist_id"] = range(len(index))
    expected = r"^--folds: expected at most 40 \(the number of tracks of the largest genre\), found 41$"
    with pytest.raises(InputError, match=expected):
        fold_indices(index, kind, USED // 2 + 1, seed=0)


# Joined predictions. ----------------------------------------------------------------------------------------------


def predict(index: pd.DataFrame, fold: int) -> Predictions:
    """Predictions of two runs; the first is always right, and every number tells its track."""

    def split(name: str) -> SplitPredictions:
        tracks = index["track_id"][(index["split"] == name) & (index["frames"] > 0)].to_numpy()
        labels = np.array([metrics.actual_labels(tracks, ["Folk", "Rock"], index), np.zeros(len(tracks), int)])
        segments = np.repeat(np.arange(len(tracks)), 2)
        values = np.stack([tracks, -tracks], axis=-1).astype(np.float32)
        return SplitPredictions(
            tracks=tracks,
            labels=labels,
            probabilities=np.stack([values] * 2),
            segment_probabilities=np.stack([values[segments]] * 2),
            segment_tracks=segments,
            segment_starts=tracks[segments].astype(float),
        )

    facts = {"network": "cnn", "c": fold}
    return Predictions("tiny", ["Folk", "Rock"], [0, 1], split("validation"), split("test"), facts)


def test_joined_predictions_are_those_of_the_folds() -> None:
    indices = fold_indices(index_of_artists(), DISJOINT, FOLDS, seed=0)
    joined = pool_predictions([predict(index, fold) for fold, index in enumerate(indices)])
    index = pool_indices(indices)
    assert list(joined.test.tracks) == list(store.used(index)["track_id"])
    assert joined.facts == {"network": "cnn"}

    for found in (joined.test, joined.validation):
        assert sorted(found.tracks) == list(range(10, 10 + USED))
        actual = metrics.actual_labels(found.tracks, joined.classes, index)
        assert (found.labels[0] == actual).all()
        assert not found.labels[1].any()

        assert found.probabilities is not None
        assert found.segment_probabilities is not None
        assert found.segment_tracks is not None
        assert found.segment_starts is not None
        assert np.array_equal(found.probabilities[1, :, 0], found.tracks)
        assert np.array_equal(found.segment_probabilities[1, :, 0], found.tracks[found.segment_tracks])
        assert np.array_equal(found.segment_starts, found.tracks[found.segment_tracks])


def test_joined_results_are_scattered_more_by_the_correction(tmp_path: Path) -> None:
    indices = fold_indices(index_of_artists(), DISJOINT, FOLDS, seed=0)
    tasks = [Task(DISJOINT, fold, "svm", False, index, tmp_path / str(fold)) for fold, index in enumerate(indices)]
    for task in tasks:
        predictions.write(task.predictions, predict(task.index, task.fold))
    loaded = params.load(PARAMS)
    settings = replace(loaded.compare, reference="svm", fusion=())
    found = pool(tasks, replace(loaded, compare=settings), FOLDS).reference
    plain = compare([found.system], pool_indices(indices), settings, dataset="", synthetic=True).reference
    value = plain.resampled["accuracy"][0]
    expected = value + correction(FOLDS) * (plain.resampled["accuracy"] - value)
    np.testing.assert_allclose(found.resampled["accuracy"], expected.clip(0, 1), rtol=1e-12)
    assert found.resampled["accuracy"][1:].std() > 0


def test_joined_results_have_no_stacking(tmp_path: Path) -> None:
    """Its SVM would be fitted to the tracks that are scored, since each of them is a validation track of a fold."""
    indices = fold_indices(index_of_artists(), DISJOINT, FOLDS, seed=0)
    tasks = [
        Task(DISJOINT, fold, key, False, index, tmp_path / f"{key}{fold}")
        for key in ("svm", "other")
        for fold, index in enumerate(indices)
    ]
    for task in tasks:
        predictions.write(task.predictions, predict(task.index, task.fold))
    loaded = params.load(PARAMS)
    settings = replace(loaded.compare, reference="svm", fusion=("svm", "other"), stacking=("svm", "other"))
    found = pool(tasks, replace(loaded, compare=settings), FOLDS)
    assert [row.key for row in found.rows] == ["majority", "svm", "other", "fusion"]


@pytest.mark.parametrize("kind", [DISJOINT, RANDOM, SHUFFLED])
def test_the_joined_index_has_each_track_with_its_real_genre(kind: str) -> None:
    index = index_of_artists()
    joined = pool_indices(fold_indices(index, kind, FOLDS, seed=0)).sort_values("track_id", ignore_index=True)
    columns = ["track_id", "artist_id", "genre"]
    assert joined[columns].equals(index[columns])
    assert (store.used(joined)["split"] == "test").all()
    assert len(store.used(joined)) == USED


def test_the_correction_is_that_of_nadeau_and_bengio() -> None:
    """Their variance of a mean over J folds is (1 / J + test / training) times the variance between the folds."""
    for folds in (3, 5, 10):
        test, training = 1 / folds, (folds - 2) / folds
        assert correction(folds) ** 2 == pytest.approx((1 / folds + test / training) / (1 / folds))
    assert correction(10**6) == pytest.approx(math.sqrt(2), rel=1e-5)


# Runs. ------------------------------------------------------------------------------------------------------------


def test_only_a_changed_system_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = create_checkout(tmp_path)
    monkeypatch.chdir(project.path)

    def folders(seed: int = 0) -> dict[str, Path]:
        parameters = params.load()
        indices = fold_indices(store.read_index(Path("data/index.csv")), DISJOINT, 3, seed)
        tasks: list[Task] = make_tasks(DISJOINT, indices, parameters)
        assert len({task.folder for task in tasks}) == len(tasks)
        return {task.key: task.folder for task in tasks if task.fold == 0}

    before = folders()
    assert folders() == before
    assert not set(before.values()) & set(folders(seed=1).values())
    project.edit_params(lambda values: values["models"]["cnn"].update(dropout=0.2))
    assert [key for key, folder in folders().items() if before[key] != folder] == ["cnn"]
    project.edit_params(lambda values: values["train"].update(lr=0.001))
    assert folders()["svm"] == before["svm"]
    assert folders()["birnn"] != before["birnn"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A checkout whose artists have spectra of their own, while genres have nothing in common."""
    project = create_checkout(tmp_path_factory.mktemp("cross_validation"))

    def simplify(values: dict[str, Any]) -> None:
        del values["models"]["birnn"]
        values["models"]["cnn"] |= {"epochs": 6, "crops_per_track": 8}
        values["train"] |= {"max_pitch_shift": 0, "mixup": 0}
        values["compare"] |= {"reference": "cnn", "fusion": ["cnn", "svm"]}

    project.edit_params(simplify)
    parameters, index = params.load(project.path / "params.yaml"), index_of_artists()
    generator = np.random.default_rng(0)
    for name in ("mel", "stft"):
        synthetic = parameters.data_set.synthetic
        description = describe(name, parameters.spectrograms, parameters.dataset, synthetic, store.classes(index))
        spectra = generator.integers(50, 200, (100, 1, len(description.frequencies)))
        noise = generator.integers(-20, 20, (len(index), 160, spectra.shape[2]))
        levels = (spectra[index["artist_id"]] + noise).astype(np.uint8)
        write_store(project.path / "data", levels, index, description)
    return project


def run(project: Project, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "cross_validation.py"), "--folds", "4", *arguments]
    environment = project.environment | {"FMA_WORKERS": str(os.cpu_count())}
    done = subprocess.run(command, cwd=project.path, env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def accuracies(summary: str) -> dict[str, list[tuple[float, ...]]]:
    """For each system, the numbers of each column of the summary: accuracy in % and its interval."""
    rows = [re.split(r" *\| *", line.strip("| ")) for line in summary.splitlines() if line.startswith("| ")][1:]
    number = r"([-+\d.]+)"
    cell = re.compile(rf"{number} \[{number}, {number}\]")
    return {key: [tuple(map(float, match)) for text in cells for match in cell.findall(text)] for key, *cells in rows}


@pytest.mark.slow
def test_controls_find_a_leak_and_only_chance_without_labels(checkout: Project) -> None:
    """Only in the random split, a system can recognise artists. Otherwise, it can only guess one of two genres."""
    out = checkout.path / "out"
    done = run(checkout, "--controls", RANDOM, SHUFFLED, "--out", str(out))
    summary = (out / "summary.md").read_text()
    assert done.stdout.endswith(summary)
    found = accuracies(summary)
    assert {"majority", "svm", "cnn", "cnn_svm_head", "fusion"} <= found.keys()
    for key in ("svm", "cnn"):
        disjoint, random, shuffled, leak = found[key]
        assert random[0] > 85
        assert 25 < disjoint[0] < 75
        assert 25 < shuffled[0] < 75
        assert leak[0] == pytest.approx(random[0] - disjoint[0], abs=0.11)
        assert leak[0] > 20
    assert found["svm"][3][1] > 0, "the interval of the svm's leak"  # that of the cnn contains the runs, too

    for kind in (DISJOINT, RANDOM, SHUFFLED):
        assert f"measured on {USED} test tracks by {ARTISTS} artists" in (out / kind / "report.md").read_text()
        table = pd.read_csv(out / kind / "predictions.csv").sort_values("track_id")
        index = index_of_artists()[:USED]
        assert list(table["track_id"]) == list(index["track_id"])
        assert list(table["actual"]) == list(index["genre"])
        accuracy = np.mean([(table[f"cnn_seed{seed}"] == table["actual"]).mean() for seed in (0, 1)])
        numbers = json.loads((out / kind / "comparison.json").read_text())
        assert numbers["systems"]["cnn"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.slow
def test_an_interrupted_run_resumes(checkout: Project) -> None:
    out = checkout.path / "out"
    first = run(checkout, "--out", str(out)).stdout  # finished by the test before, or run now
    log = (out / "log.jsonl").read_text().splitlines()
    records = map(json.loads, log)
    unfinished = {(record["kind"], record["fold"], record["system"]): record for record in records}[DISJOINT, 1, "svm"]
    (checkout.path / unfinished["folder"] / "metrics" / "svm.json").unlink()

    again = run(checkout, "--out", str(out)).stdout
    (line,) = (out / "log.jsonl").read_text().splitlines()[len(log) :]
    assert json.loads(line) | {"seconds": 0} == unfinished | {"seconds": 0}
    assert again == f"{line}\n{(out / 'summary.md').read_text()}"
    assert first.endswith((out / "summary.md").read_text())


@pytest.mark.slow
def test_the_error_of_a_stage_is_one_line(checkout: Project) -> None:
    file = checkout.path / "wrong.yaml"
    file.write_text((checkout.path / "params.yaml").read_text().replace("kernel: 4", "kernel: 0"))
    done = run(checkout, "--params", str(file), check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"cross_validation: artist-disjoint, fold \d: train@cnn: models.cnn.*\n", done.stderr)

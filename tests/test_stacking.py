"""The stacking: an SVM on the probabilities of several systems, compared with scikit-learn called directly."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.svm import LinearSVC

from fma_genre import store
from fma_genre.common.errors import InputError
from fma_genre.results import derived, metrics, stacked_svm
from fma_genre.results.predictions import SplitPredictions
from fma_genre.results.systems import System
from project import Project
from synthetic import compare_systems, make_baseline, make_comparison, make_index, make_model, make_systems, row

INDEX = make_index(artists=12)
USED = store.used(INDEX)
VALIDATION = USED[USED["split"] == "validation"]
ARTISTS = VALIDATION["artist_id"].to_numpy()
LABELS = metrics.actual_labels(VALIDATION["track_id"].to_numpy(), store.classes(INDEX), USED)


def make_members(index: pd.DataFrame = INDEX) -> list[System]:
    """Two runs of a model, three of another, and a baseline."""
    models = {"cnn": make_model(index, 0.4, runs=2, seed=1), "birnn": make_model(index, 0.3, runs=3, seed=2)}
    return make_systems(models, {"svm": make_baseline(index, 0.5, probabilities=True, seed=3)})


MEMBERS = make_members()
STACKING = derived.stacking(MEMBERS, USED)


def probabilities(member: System, split: str) -> np.ndarray:
    """Probabilities (runs, tracks, classes)."""
    return getattr(member.predictions, split).probabilities


def features(split: str) -> list[np.ndarray]:
    """Inputs (tracks, 9) of the SVM of each run."""
    cnn, birnn, svm = (probabilities(member, split) for member in MEMBERS)
    return [np.hstack([cnn[first], birnn[second], svm[0]]) for first in range(2) for second in range(3)]


def out_of_fold(labels: np.ndarray = LABELS, artists: np.ndarray = ARTISTS) -> np.ndarray:
    """Predictions for the validation tracks with the probabilities of the first run."""
    return stacked_svm.predict_out_of_fold(features("validation")[0], labels, artists)


# Predictions. -----------------------------------------------------------------------------------------------------


def test_the_test_tracks_are_predicted_by_an_svm_that_is_fitted_to_all_validation_tracks() -> None:
    assert (STACKING.key, STACKING.is_model, STACKING.predictions.seeds) == ("stacking", False, list(range(6)))
    expected = [
        LinearSVC(C=1).fit(known, LABELS).predict(others)
        for known, others in zip(features("validation"), features("test"), strict=True)
    ]
    test = STACKING.predictions.test
    assert test.labels.tolist() == np.array(expected).tolist()
    assert len({tuple(run) for run in test.labels.tolist()}) == 6, "this test needs runs that differ"
    assert test.tracks.tolist() == USED["track_id"][USED["split"] == "test"].tolist()


def test_the_validation_tracks_are_predicted_out_of_fold() -> None:
    folds = PredefinedSplit(stacked_svm.folds(ARTISTS.astype(str)))
    expected = [cross_val_predict(LinearSVC(C=1), known, LABELS, cv=folds) for known in features("validation")]
    validation = STACKING.predictions.validation
    assert validation.labels.tolist() == np.array(expected).tolist()
    within = [LinearSVC(C=1).fit(known, LABELS).predict(known) for known in features("validation")]
    assert validation.labels.tolist() != np.array(within).tolist()
    assert validation.tracks.tolist() == VALIDATION["track_id"].tolist()


def test_the_genres_of_an_artist_have_no_effect_on_predictions_for_this_artist() -> None:
    before, others_change = out_of_fold(), False
    for track, artist in enumerate(ARTISTS):
        labels, own = LABELS.copy(), artist == ARTISTS
        labels[track] = (labels[track] + 1) % 3
        after = out_of_fold(labels)
        assert after[own].tolist() == before[own].tolist()
        others_change |= bool((after != before).any())
    assert others_change, "this test needs genres that have an effect"


def test_the_genres_of_test_tracks_have_no_effect() -> None:
    of_test = USED["split"] == "test"
    other = USED.assign(genre=USED["genre"].mask(of_test, "Folk"))
    found = derived.stacking(MEMBERS, other).predictions
    assert found.test.labels.tolist() == STACKING.predictions.test.labels.tolist()


def test_the_same_inputs_give_the_same_predictions_whatever_the_state_of_random_generators() -> None:
    np.random.seed(123)  # noqa: NPY002 (scikit-learn's default generator)
    for _ in range(2):
        again = derived.stacking(make_members(), USED).predictions
        for split in ("validation", "test"):
            expected = getattr(STACKING.predictions, split).labels
            assert getattr(again, split).labels.tobytes() == expected.tobytes()


def test_the_runs_follow_the_order_of_the_members() -> None:
    assert STACKING.run_sources == (("cnn", 2), ("birnn", 3), ("svm", 1))
    reverse = derived.stacking(MEMBERS[::-1], USED)
    assert reverse.run_sources == (("svm", 1), ("birnn", 3), ("cnn", 2))
    for split in ("validation", "test"):
        forward, backward = (getattr(system.predictions, split).labels for system in (STACKING, reverse))
        by_run = backward.reshape(3, 2, -1)
        assert forward.tolist() == [by_run[second, first].tolist() for first, second in product(range(2), range(3))]


# Folds. -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("artists", [2, 3, 5, 6, 23])
def test_folds_are_whole_artists_in_equal_numbers(artists: int) -> None:
    names = np.repeat([f"artist {number}" for number in range(artists)], np.arange(artists) + 1)
    folds = stacked_svm.folds(names[::-1])[::-1]
    fold_of = {name: set(folds[names == name].tolist()) for name in names.tolist()}
    assert {len(found) for found in fold_of.values()} == {1}
    counts = np.bincount([fold for found in fold_of.values() for fold in found])
    assert len(counts) == min(5, artists)
    assert counts.max() - counts.min() <= 1


def test_folds_do_not_follow_the_order_of_the_ids() -> None:
    """Ids are in the order of registration, and artists of a genre may have registered together."""
    dealt = [*range(5), *range(5)]
    assert stacked_svm.folds(np.arange(10).astype(str)).tolist() not in (dealt, sorted(dealt))


def test_numbers_as_ids_of_artists_are_the_same_as_text() -> None:
    """Sorted as text, 10 comes before 9."""
    numbers = USED.assign(artist_id=USED["artist_id"] % 100 + 1)
    text = numbers.assign(artist_id=numbers["artist_id"].astype(str))
    first, second = (derived.stacking(MEMBERS, index).predictions.validation.labels for index in (numbers, text))
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_few_artists_are_predicted_from_all_others(count: int) -> None:
    artists, labels = np.arange(len(LABELS)) % count, LABELS.copy()
    found = out_of_fold(labels, artists)
    values = features("validation")[0]
    for artist in range(count):
        own = artists == artist
        expected = LinearSVC(C=1).fit(values[~own], labels[~own]).predict(values[own])
        assert found[own].tolist() == expected.tolist()


def test_a_genre_of_a_single_artist_is_never_predicted_for_this_artist() -> None:
    own = ARTISTS[0] == ARTISTS
    labels = np.where(own, 2, LABELS % 2)
    telling = np.eye(3)[labels]
    assert stacked_svm.predict(telling, labels, telling).tolist() == labels.tolist()
    found = stacked_svm.predict_out_of_fold(telling, labels, ARTISTS)
    assert found[~own].tolist() == labels[~own].tolist()
    assert 2 not in found[own]


def test_a_genre_without_validation_tracks_is_never_predicted() -> None:
    labels = np.where(LABELS == 1, 2, LABELS)
    assert set(out_of_fold(labels).tolist()) == {0, 2}
    assert set(stacked_svm.predict(features("validation")[0], labels, features("test")[0]).tolist()) == {0, 2}


def test_a_single_genre_is_always_predicted() -> None:
    """Two artists with a genre each: each is predicted from the other."""
    second = np.arange(len(LABELS)) % 2
    assert out_of_fold(2 * second, second).tolist() == (2 - 2 * second).tolist()
    assert stacked_svm.predict(features("validation")[0], np.full_like(LABELS, 1), features("test")[0]).tolist() == (
        [1] * len(features("test")[0])
    )


# Errors. ----------------------------------------------------------------------------------------------------------


def with_validation_tracks(count: int) -> list[System]:
    """The members with only the first validation tracks."""

    def shorten(split: SplitPredictions) -> SplitPredictions:
        assert split.probabilities is not None
        kept = {"labels": split.labels[:, :count], "probabilities": split.probabilities[:, :count]}
        return SplitPredictions(split.tracks[:count], **kept)

    predictions = [member.predictions for member in MEMBERS]
    return [
        replace(member, predictions=replace(found, validation=shorten(found.validation)))
        for member, found in zip(MEMBERS, predictions, strict=True)
    ]


@pytest.mark.parametrize(("tracks", "artists"), [(0, 0), (1, 1), (4, 1)])
def test_validation_tracks_by_fewer_than_two_artists_are_refused_in_one_line(tracks: int, artists: int) -> None:
    with pytest.raises(InputError) as found:
        derived.stacking(with_validation_tracks(tracks), USED)
    expected = "compare.stacking: expected validation tracks by at least 2 artists, found"
    assert str(found.value) == f"{expected} {artists}"
    assert derived.stacking(with_validation_tracks(5), USED).predictions.validation.labels.shape == (6, 5)


def test_a_member_without_probabilities_is_refused_in_one_line() -> None:
    expected = "compare.stacking: expected systems that predict probabilities, found forest, which predicts only genres"
    with pytest.raises(InputError) as found:
        make_comparison(2, 2, stacking=("cnn", "forest"))
    assert str(found.value) == expected


def test_too_many_combinations_of_runs_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^compare\.stacking: expected at most 200 combinations .*, found 243$"):
        derived.stacking([MEMBERS[1]] * 5, USED)


def test_an_svm_is_never_fitted_to_the_tracks_that_are_scored() -> None:
    predictions = [replace(member.predictions, test=member.predictions.validation) for member in MEMBERS]
    same = [replace(member, predictions=found) for member, found in zip(MEMBERS, predictions, strict=True)]
    with pytest.raises(ValueError, match="expected validation tracks that are not test tracks"):
        derived.stacking(same, USED)


# Comparison. ------------------------------------------------------------------------------------------------------


def test_a_stacking_is_a_row_and_a_difference_but_no_ensemble() -> None:
    comparison = make_comparison(2, 1, fusion=("cnn", "birnn"), stacking=("svm", "birnn"))
    plain = make_comparison(2, 1, fusion=("cnn", "birnn"))
    assert [result.key for result in comparison.rows] == [*(result.key for result in plain.rows), "stacking"]
    assert [difference.key for difference in comparison.differences][-2:] == ["fusion", "stacking"]
    assert comparison.differences[0].resolution > plain.differences[0].resolution, "Holm's correction is for one more"
    assert [result.key for result in comparison.ensembles] == [result.key for result in plain.ensembles]
    assert [result.key for result in comparison.systems] == [result.key for result in plain.systems]
    assert (comparison.members, comparison.stacked) == (("cnn", "birnn"), ("svm", "birnn"))
    found = row(comparison, "stacking")
    assert found.system.run_sources == (("svm", 1), ("birnn", 2))
    assert found.probability_scores == {}
    for result in plain.rows:
        assert row(comparison, result.key).intervals == result.intervals


def test_a_comparison_without_members_has_no_stacking() -> None:
    comparison = make_comparison(2, 1, fusion=("cnn", "birnn"))
    assert "stacking" not in {result.key for result in comparison.rows}


def test_scores_are_those_of_the_predictions() -> None:
    comparison = compare_systems(MEMBERS, INDEX, stacking=("cnn", "birnn", "svm"))
    found = row(comparison, "stacking")
    right = (STACKING.predictions.test.labels == comparison.actual).mean()
    assert found.intervals["accuracy"].value == pytest.approx(right, abs=1e-12)
    in_validation = (STACKING.predictions.validation.labels == LABELS).mean()
    assert found.summary["validation_accuracy"] == pytest.approx(in_validation, abs=1e-6)


def test_a_stacking_that_repeats_a_member_differs_from_it_by_nothing() -> None:
    """The resampled runs of the stacking are those of its members, so the difference is 0 in every resample."""
    index = make_index()
    cnn, other = make_model(index, 0.6, runs=3), make_model(index, 0.5, runs=2)
    used = store.used(index)
    actual = metrics.actual_labels(cnn.validation.tracks, cnn.classes, used)

    def sure(split: SplitPredictions, labels: np.ndarray) -> SplitPredictions:
        return replace(split, labels=labels, probabilities=np.eye(3, dtype=np.float32)[labels])

    def undecided(split: SplitPredictions) -> SplitPredictions:
        assert split.probabilities is not None
        return replace(split, probabilities=np.full_like(split.probabilities, 1 / 3))

    certain = replace(
        cnn, validation=sure(cnn.validation, np.tile(actual, (3, 1))), test=sure(cnn.test, cnn.test.labels)
    )
    uniform = replace(other, validation=undecided(other.validation), test=undecided(other.test))
    systems = make_systems({"cnn": certain, "uniform": uniform}, {})
    comparison = compare_systems(systems, index, stacking=("uniform", "cnn"))
    (difference,) = (found for found in comparison.differences if found.key == "stacking")
    assert difference.intervals["accuracy"] == pytest.approx((0, 0, 0), abs=1e-12)
    scores = row(comparison, "cnn").run_scores["accuracy"]
    assert np.ptp(scores) > 0, "this test needs runs that differ"


# The stage. -------------------------------------------------------------------------------------------------------


def test_the_stage_writes_a_row_only_if_params_yaml_names_members(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    names = ("report.md", "metrics/comparison.json", "plots/predictions.csv", "plots/comparison/accuracy.svg")

    def outputs(change: Callable[[dict[str, Any]], object]) -> list[bytes]:
        project.edit_params(change)
        project.run_here("src/compare.py")
        return [(project.path / name).read_bytes() for name in names]

    before = [(project.path / name).read_bytes() for name in names]
    stacked = outputs(lambda values: values["compare"].update(stacking=["cnn", "svm"]))
    assert stacked != before
    assert b"\n| stacking " in stacked[0]
    assert b"The system stacking is a linear SVM (C = 1) on the probabilities of cnn and svm;" in stacked[0]
    assert outputs(lambda values: values["compare"].update(stacking=[])) == before

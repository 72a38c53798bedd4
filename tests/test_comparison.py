"""Comparison of systems: rows, differences from a reference, ensembles and McNemar's test."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from fma_genre.common.errors import InputError
from fma_genre.common.params import Compare
from fma_genre.results import metrics
from fma_genre.results.bootstrap import holm
from fma_genre.results.comparison import by_size, compare, mcnemar
from fma_genre.results.predictions import Predictions
from synthetic import compare_systems, make_baseline, make_comparison, make_index, make_model, make_systems, row

COUNTS = [(1, 0), (1, 1), (2, 0), (2, 1), (4, 2)]  # models and baselines


# McNemar. ---------------------------------------------------------------------------------------------------------


def exact_p(b: int, c: int) -> float:
    """Two-sided p-value: the probability of outcomes of b + c fair coins that are not more likely than b heads."""
    n = b + c
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(min(b, c) + 1)) / 2**n)


@pytest.mark.parametrize(
    ("b", "c"), [*itertools.product([0, 1, 2, 5, 9], repeat=2), (40, 60), (60, 40), (300, 371), (0, 1000)]
)
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    first = np.repeat([True, False, True, False], [b, c, 13, 11])
    second = np.repeat([False, True, True, False], [b, c, 13, 11])
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (b, c)
    assert found.p == pytest.approx(exact_p(b, c), rel=1e-9)


# Rows and differences. --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("models", "baselines"), COUNTS)
def test_rows_are_majority_baselines_and_models_each_before_its_svm_head(models: int, baselines: int) -> None:
    comparison = make_comparison(models, baselines)
    expected = ["cnn", "cnn_svm_head", "birnn", "cnn_stft", "birnn_mel"][: models + 1]
    assert [result.key for result in comparison.rows] == ["majority", *["svm", "forest"][:baselines], *expected]


@pytest.mark.parametrize("reference", ["cnn", "birnn", "svm"])
def test_every_row_but_majority_is_compared_with_the_reference(reference: str) -> None:
    comparison = make_comparison(2, 2, reference=reference, fusion=("cnn", "birnn"))
    others = [result for result in comparison.rows if result.key not in ("majority", reference)]
    assert comparison.reference.key == reference
    assert [difference.key for difference in comparison.differences] == [result.key for result in others]
    for difference, other in zip(comparison.differences, others, strict=True):
        for metric in metrics.METRICS:
            values = other.resampled[metric] - row(comparison, reference).resampled[metric]
            expected = (values[0], *np.quantile(values[1:], [0.025, 0.975]))
            assert difference.intervals[metric] == pytest.approx(expected, abs=1e-12)


def test_p_values_are_corrected_for_the_number_of_differences() -> None:
    comparison = make_comparison(4, 2)
    differences = comparison.differences
    assert len(differences) == 6
    corrected = [difference.p_holm for difference in differences]
    assert corrected == holm([difference.p for difference in differences])
    assert corrected != [difference.p for difference in differences]


def test_resolution_is_the_half_width_of_an_interval_after_bonferronis_correction() -> None:
    comparison = make_comparison(2, 2)
    for difference in comparison.differences:
        values = row(comparison, difference.key).resampled["accuracy"] - row(comparison, "cnn").resampled["accuracy"]
        quantile = 2.497705  # of the normal distribution, at 1 − 0.05 / 2 / 4, since there are 4 differences
        assert difference.resolution == pytest.approx(quantile * np.std(values[1:]), rel=1e-6)
    alone = compare_systems(make_systems({"cnn": make_model(make_index(), 0.5)}, {}), make_index())
    assert alone.differences == []


def test_derived_systems_share_the_runs_of_their_models() -> None:
    """SVM heads with the labels of their network, and a fusion with a system that is always undecided."""
    index = make_index()
    cnn, other = make_model(index, 0.6, runs=3, svm_head=True), make_model(index, 0.5, runs=1)
    assert other.test.probabilities is not None
    undecided = replace(other.test, probabilities=np.full_like(other.test.probabilities, 1 / 3))
    same = replace(cnn, test=replace(cnn.test, svm_head_labels=cnn.test.labels))
    systems = make_systems({"cnn": same, "uniform": replace(other, test=undecided)}, {})
    comparison = compare_systems(systems, index, fusion=("cnn", "uniform"))
    for found in comparison.differences:
        if found.key in ("cnn_svm_head", "fusion"):
            assert found.intervals["accuracy"] == pytest.approx((0, 0, 0), abs=1e-12)


def scikit_learn(actual: pd.Series, predictions: Predictions) -> np.ndarray:
    """Accuracy and macro precision, recall and F1 over the genres that occur, as means over the runs."""
    genres = np.array(predictions.classes)
    runs = []
    for labels in predictions.test.labels:
        macro: Any = {"labels": sorted(set(actual)), "average": "macro", "zero_division": 0}
        scores = precision_recall_fscore_support(actual, genres[labels], **macro)[:3]
        runs.append([accuracy_score(actual, genres[labels]), *scores])
    return np.mean(runs, axis=0)


@pytest.mark.parametrize("absent", [None, "Jazz"])
def test_a_score_is_the_mean_of_scikit_learns_over_single_runs(absent: str | None) -> None:
    """A genre without test tracks is left out of macro averages, though it is predicted."""
    index = make_index()
    if absent:
        index = index[(index["split"] != "test") | (index["genre"] != absent)]
    given = {"cnn": make_model(index, 0.6, runs=3), "birnn": make_model(index, 0.5, runs=1, seed=1)}
    comparison = compare_systems(make_systems(given, {"svm": make_baseline(index, 0.5)}), index)
    assert len(comparison.classes) == 3
    for result in comparison.systems:
        found = [result.intervals[metric].value for metric in metrics.METRICS]
        assert found == pytest.approx(scikit_learn(comparison.tracks["genre"], result.system.predictions), rel=1e-12)
        assert all(np.isfinite(interval).all() for interval in result.intervals.values())


def test_an_interval_includes_artists_and_runs() -> None:
    """Runs that differ widen the interval, and a single run has an interval over artists."""
    index = make_index()
    good, bad = make_model(index, 1.0, runs=2), make_model(index, 0.0, runs=2, seed=1)
    mixed = replace(good, test=replace(good.test, labels=np.array([good.test.labels[0], bad.test.labels[0]])))
    given = {"cnn": good, "birnn": mixed, "one": make_model(index, 0.5, runs=1)}
    comparison = compare_systems(make_systems(given, {}), index)
    widths = {key: np.ptp(row(comparison, key).intervals["accuracy"]) for key in given}
    assert widths["birnn"] > 2 * max(widths["cnn"], widths["one"])
    assert widths["one"] > 0


def test_another_system_does_not_change_the_scores_of_a_system() -> None:
    few, many = make_comparison(2, 1), make_comparison(4, 2)
    for key in ("cnn", "birnn", "svm"):
        assert row(few, key).intervals == row(many, key).intervals
    assert few.differences[0].intervals == many.differences[0].intervals


def test_genres_are_sorted_by_training_tracks_then_all_tracks_then_name() -> None:
    splits = ["training"] * 5 + ["test"] * 3
    genres = ["Rock", "Folk", "Jazz", "Jazz", "Blues", "Rock", "Rock", "Pop"]
    assert by_size(pd.DataFrame({"genre": genres, "split": splits})) == ["Jazz", "Rock", "Blues", "Folk", "Pop"]
    assert make_comparison().genres == ["Rock", "Folk", "Jazz"]


@pytest.mark.parametrize(("resamples", "confidence", "needed"), [(79, 0.95, 80), (399, 0.99, 400)])
def test_too_few_resamples_for_a_clear_difference_are_refused(resamples: int, confidence: float, needed: int) -> None:
    """A p-value is at least 1 / resamples, and Holm's method multiplies the smallest one by 4 here."""
    index = make_index()
    models = {"cnn": make_model(index, 0.0, runs=1, svm_head=True), "birnn": make_model(index, 1.0, runs=1)}
    systems = make_systems(models, {"svm": make_baseline(index, 0.5), "forest": make_baseline(index, 0.5)})
    settings = Compare(reference="cnn", fusion=(), stacking=(), resamples=resamples, confidence=confidence, seed=0)
    expected = f"compare.resamples: expected at least {needed} for 4 differences at a confidence of {confidence}"
    with pytest.raises(InputError) as found:
        compare(systems, index, settings, dataset="small", synthetic=False)
    assert str(found.value) == f"{expected}, found {resamples}"
    enough = compare(systems, index, replace(settings, resamples=needed), dataset="small", synthetic=False)
    (birnn,) = (difference for difference in enough.differences if difference.key == "birnn")
    assert enough.is_significant(birnn.p_holm)


# Ensembles. -------------------------------------------------------------------------------------------------------


def test_ensembles_are_compared_only_with_ensembles() -> None:
    comparison = make_comparison(3, 2)
    keys = ["cnn_ensemble", "birnn_ensemble", "cnn_stft_ensemble"]
    assert sorted(result.key for result in comparison.ensembles) == sorted(keys)
    assert {difference.key for difference in comparison.ensemble_differences} == set(keys[1:])
    assert set(comparison.mcnemar) == set(keys[1:])
    assert not {difference.key for difference in comparison.differences} & set(keys)
    correct = {
        result.key: result.system.predictions.test.probabilities.mean(axis=0).argmax(axis=1) == comparison.actual
        for result in comparison.models
        if result.system.predictions.test.probabilities is not None
    }
    for difference in comparison.ensemble_differences:
        right = correct[difference.key.removesuffix("_ensemble")]
        gap = right.mean() - correct["cnn"].mean()
        assert difference.intervals["accuracy"].value == pytest.approx(gap, abs=1e-12)
        test = comparison.mcnemar[difference.key]
        assert (test.only_first, test.only_second) == ((correct["cnn"] & ~right).sum(), (right & ~correct["cnn"]).sum())
        assert difference.p_holm >= difference.p


def test_systems_with_a_single_run_have_no_ensembles() -> None:
    comparison = make_comparison(2, 1, runs=1)
    assert (comparison.ensembles, comparison.ensemble_differences, comparison.mcnemar) == ([], [], {})
    assert comparison.reference_ensemble is None


def test_ensembles_are_compared_with_the_first_if_the_reference_has_none() -> None:
    comparison = make_comparison(2, 1, reference="svm")
    assert comparison.reference_ensemble is comparison.ensembles[0]
    assert [difference.key for difference in comparison.ensemble_differences] == ["birnn_ensemble"]
    assert set(comparison.mcnemar) == {"birnn_ensemble"}

"""Systems derived from the predictions of others: ensembles, SVM heads, the fusion and the most frequent genre."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fma_genre.common.errors import InputError
from fma_genre.results import derived
from fma_genre.results.predictions import Predictions, SplitPredictions
from fma_genre.results.systems import System
from synthetic import compare_systems, make_baseline, make_comparison, make_index, make_model, make_systems, row

INDEX = make_index()


def system(key: str, probabilities: list[list[list[float]]] | None, labels: list[list[int]] | None = None) -> System:
    """A system on two tracks and three classes. Its validation predictions are those for the test in reverse order."""
    given = None if probabilities is None else np.array(probabilities, np.float32)
    found = np.array(labels) if given is None else given.argmax(axis=2)
    test = SplitPredictions(np.array([7, 9]), found, given)
    validation = SplitPredictions(np.array([9, 7]), found[:, ::-1], None if given is None else given[:, ::-1])
    seeds = list(range(len(found)))
    return System(key, True, Predictions("small", ["a", "b", "c"], seeds, validation, test, {}))


TWO_RUNS = system("two", [[[0.9, 0.1, 0.0], [0.4, 0.35, 0.25]], [[0.2, 0.8, 0.0], [0.1, 0.3, 0.6]]])
ONE_RUN = system("one", [[[0.0, 0.6, 0.4], [0.5, 0.0, 0.5]]])
THREE_RUNS = system("three", [[[1, 0, 0], [1, 0, 0]], [[0, 1, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 1]]])
NO_PROBABILITIES = system("forest", None, [[0, 1]])


def test_an_ensemble_averages_the_probabilities_of_the_runs() -> None:
    ensemble = derived.ensemble(TWO_RUNS)
    assert ensemble is not None
    assert (ensemble.key, ensemble.is_model, ensemble.predictions.seeds) == ("two_ensemble", False, [0])
    test, validation = ensemble.predictions.test, ensemble.predictions.validation
    np.testing.assert_allclose(test.probabilities, [[[0.55, 0.45, 0.0], [0.25, 0.325, 0.425]]], rtol=1e-6)  # type: ignore[arg-type]
    assert test.labels.tolist() == [[0, 2]]
    assert validation.labels.tolist() == [[2, 0]]
    assert (test.tracks.tolist(), validation.tracks.tolist()) == ([7, 9], [9, 7])


@pytest.mark.parametrize("alone", [ONE_RUN, NO_PROBABILITIES], ids=["one run", "no probabilities"])
def test_one_run_or_no_probabilities_make_no_ensemble(alone: System) -> None:
    assert derived.ensemble(alone) is None
    assert [found.key for found in derived.ensembles([alone, TWO_RUNS, alone])] == ["two_ensemble"]


def test_svm_heads_are_scored_by_their_own_labels() -> None:
    comparison = make_comparison()
    heads = comparison.models[0].system.predictions.test.svm_head_labels
    assert heads is not None
    result = row(comparison, "cnn_svm_head")
    right = [(labels == comparison.actual).mean() for labels in heads]
    assert result.runs == 2
    assert result.intervals["accuracy"].value == pytest.approx(np.mean(right), abs=1e-12)
    validation = comparison.models[0].system.predictions.validation
    np.testing.assert_array_equal(result.system.predictions.validation.labels, validation.svm_head_labels)
    assert derived.svm_head(comparison.models[1].system) is None


# The fusion. ------------------------------------------------------------------------------------------------------


def test_a_fusion_averages_each_combination_of_runs() -> None:
    members = [TWO_RUNS, ONE_RUN, THREE_RUNS]
    fusion = derived.fusion(members)
    assert (fusion.key, fusion.is_model, fusion.predictions.seeds) == ("fusion", False, list(range(6)))
    assert fusion.run_sources == tuple((member.key, len(member.predictions.seeds)) for member in members)
    for split in ("validation", "test"):
        found = getattr(fusion.predictions, split)
        two, one, three = (getattr(member.predictions, split).probabilities for member in members)
        expected = [(two[first] + one[0] + three[last]) / 3 for first in range(2) for last in range(3)]
        np.testing.assert_allclose(found.probabilities, expected, rtol=1e-6)
        assert found.labels.tolist() == np.argmax(expected, axis=2).tolist()


def test_too_many_combinations_of_runs_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^compare\.fusion: expected at most 200 combinations .*, found 243$"):
        derived.fusion([THREE_RUNS] * 5)


def test_a_comparison_without_members_has_no_fusion() -> None:
    comparison = make_comparison(fusion=())
    assert "fusion" not in {result.key for result in comparison.rows}


def test_a_member_without_probabilities_is_refused_in_one_line() -> None:
    expected = "compare.fusion: expected systems that predict probabilities, found forest, which predicts only genres"
    for members in ([TWO_RUNS, NO_PROBABILITIES], [NO_PROBABILITIES]):
        with pytest.raises(InputError) as found:
            derived.fusion(members)
        assert str(found.value) == expected
    with pytest.raises(InputError) as found:
        make_comparison(2, 2, fusion=("cnn", "forest"))
    assert str(found.value) == expected


def test_a_baseline_with_probabilities_may_be_a_member() -> None:
    comparison = make_comparison(2, 1, fusion=("svm", "birnn"))
    members = [result.system.predictions.test.probabilities for result in comparison.systems if result.key != "cnn"]
    (birnn, svm) = members
    assert birnn is not None
    assert svm is not None
    labels = [((run + svm[0]) / 2).argmax(axis=1) for run in birnn]
    np.testing.assert_array_equal(row(comparison, "fusion").labels, labels)


def test_a_fusion_is_a_row_a_difference_and_an_ensemble() -> None:
    comparison = make_comparison(2, 1, fusion=("cnn", "birnn"))
    assert comparison.rows[-1].key == "fusion"
    assert "fusion" in {difference.key for difference in comparison.differences}
    assert [result.key for result in comparison.ensembles] == ["cnn_ensemble", "birnn_ensemble", "fusion_ensemble"]
    assert "fusion" not in {result.key for result in comparison.systems}


def test_a_fusion_of_single_runs_has_no_ensemble() -> None:
    assert make_comparison(2, 1, runs=1, fusion=("cnn", "birnn")).ensembles == []


# The most frequent genre. -----------------------------------------------------------------------------------------


def test_majority_predicts_the_largest_genre_of_the_training_tracks() -> None:
    comparison = make_comparison()
    training = comparison.index[(comparison.index["split"] == "training") & (comparison.index["frames"] > 0)]
    largest = training["genre"].value_counts().idxmax()
    assert {comparison.classes[label] for label in row(comparison, "majority").labels.flatten()} == {largest}
    share = (comparison.tracks["genre"] == largest).mean()
    assert row(comparison, "majority").summary["accuracy"] == pytest.approx(share, abs=1e-6)


def test_a_larger_genre_among_the_test_tracks_does_not_matter() -> None:
    index = INDEX.copy()
    index.loc[index["split"] == "test", "genre"] = "Folk"
    index.loc[index.index[-1], "genre"] = "Rock"
    comparison = compare_systems(make_systems({"cnn": make_model(index, 0.5)}, {}), index)
    assert comparison.genres[0] == "Rock"
    assert row(comparison, "majority").summary["accuracy"] == pytest.approx(1 / 40, abs=1e-6)


def test_predictions_for_other_splits_are_kept_apart() -> None:
    """The validation accuracy of a derived system is that on the validation tracks."""
    cnn = make_model(INDEX, 0.9, runs=2, seed=3)
    wrong = np.zeros_like(cnn.validation.labels)
    used = INDEX[(INDEX["split"] == "validation") & (INDEX["frames"] > 0)]
    share_of_first = (pd.Series(used["genre"]) == cnn.classes[0]).mean()
    certain = np.zeros((*wrong.shape, 3), np.float32)
    certain[..., 0] = 1
    edited = replace(cnn, validation=replace(cnn.validation, labels=wrong, probabilities=certain))
    comparison = compare_systems(make_systems({"cnn": edited}, {"svm": make_baseline(INDEX, 0.5)}), INDEX)
    (ensemble,) = comparison.ensembles
    assert ensemble.summary["validation_accuracy"] == pytest.approx(share_of_first, abs=1e-6)
    assert ensemble.summary["accuracy"] > 0.8

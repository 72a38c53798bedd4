"""Comparison of systems: tests, intervals, tables and report, checked against closed forms and a plain bootstrap."""

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support, precision_score, recall_score

from fma_genre.common.errors import InputError
from fma_genre.common.params import Params, load
from fma_genre.results import metrics, predictions, systems
from fma_genre.results.comparison import (
    Comparison,
    Interval,
    McNemar,
    Pair,
    Resampling,
    Result,
    by_size,
    compare_pair,
    mcnemar,
)
from fma_genre.results.predictions import Predictions
from fma_genre.results.report import headline, report, verdict
from fma_genre.results.systems import System
from fma_genre.results.tables import genre_table, numbers, predictions_table, write_tables
from project import PARAMS
from synthetic import DATASET, make_baseline, make_comparison, make_curve, make_index, make_model

RESAMPLES = 4000
NAIVE = 300  # resamples of the bootstrap in plain Python


def resampling(artists: Any, classes: int = 4, resamples: int = RESAMPLES, confidence: float = 0.95) -> Resampling:
    return Resampling(np.asarray(artists), classes, resamples=resamples, confidence=confidence, seed=0)


def sample(seed: int = 0, tracks: int = 150, artists: int = 30, classes: int = 4) -> tuple[np.ndarray, ...]:
    """Random artists, actual labels and the labels of two classifiers. All tracks of an artist have one genre."""
    generator = np.random.default_rng(seed)
    artist = generator.integers(0, artists, tracks)
    actual = generator.integers(0, classes, artists)[artist]
    ease = generator.random(artists)[artist]
    first, second = (
        np.where(generator.random(tracks) < ease + bonus, actual, generator.integers(0, classes, tracks))
        for bonus in (0, 0.15)
    )
    return 1000 - 7 * artist, actual, first, second


def compare(actual: np.ndarray, first: np.ndarray, second: np.ndarray, sampling: Resampling) -> Pair:
    """Compare the labels (tracks,) of two systems."""
    results = []
    for key, labels in (("first", first), ("second", second)):
        scores = sampling.scores(actual, labels)
        empty = Predictions("small", [], [], None, None, {})  # type: ignore[arg-type]
        accuracy = sampling.interval(scores["accuracy"])
        results.append(Result(System(key, True, empty), labels, np.empty(0), {}, scores, accuracy, {}, None))
    return compare_pair(results[0], results[1], actual, sampling)


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


# Intervals. -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "excludes"), [(-1, 1, False), (0.1, 1, True), (-1, -0.1, True), (0, 1, False), (-1, 0, False)]
)
def test_an_interval_excludes_zero_only_if_it_lies_on_one_side(low: float, high: float, excludes: bool) -> None:
    assert Interval((low + high) / 2, low, high).excludes_zero is excludes


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
def test_interval_holds_the_sample_and_the_percentiles_of_the_resamples(confidence: float) -> None:
    values = np.concatenate([[7], np.random.default_rng(0).permutation(1001) / 1000])  # 0, 0.001 … 1
    found = resampling([1, 2], confidence=confidence).interval(values)
    assert found == pytest.approx((7, (1 - confidence) / 2, (1 + confidence) / 2))


def test_the_first_score_is_that_of_the_sample() -> None:
    artists, actual, first, _ = sample()
    found = resampling(artists).scores(actual, first)
    expected = metrics.scores(metrics.confusion(actual, first, 4))
    for name in metrics.METRICS:
        assert found[name].shape == (1 + RESAMPLES,)
        assert found[name][0] == pytest.approx(float(expected[name]), rel=1e-12)


def test_every_resample_draws_as_many_artists_as_there_are() -> None:
    artists, *_ = sample()
    draws = resampling(artists).draws
    count = len(set(artists))
    assert draws.shape == (1 + RESAMPLES, count)
    assert set(draws.sum(axis=1)) == {count}
    assert (draws[0] == 1).all()
    np.testing.assert_allclose(draws[1:].mean(axis=0), 1, atol=5 / math.sqrt(RESAMPLES))
    np.testing.assert_allclose(draws[1:].var(axis=0), 1 - 1 / count, atol=0.15)


def test_same_seed_same_resamples() -> None:
    artists, actual, first, _ = sample()
    one, two = (resampling(artists).scores(actual, first)["f1"] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    other = Resampling(artists, 4, resamples=RESAMPLES, confidence=0.95, seed=1).scores(actual, first)["f1"]
    assert not np.array_equal(one, other)


def naive_bootstrap(artists: np.ndarray, actual: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Differences in accuracy and macro F1 (resamples, 2), computed on the concatenated tracks of the drawn artists."""

    def both(actual: np.ndarray, labels: np.ndarray) -> np.ndarray:
        f1 = f1_score(actual, labels, labels=range(4), average="macro", zero_division=0)
        return np.array([accuracy_score(actual, labels), f1])

    generator = np.random.default_rng(5)
    names = np.unique(artists)
    differences = []
    for _ in range(NAIVE):
        drawn = generator.choice(names, len(names))
        tracks = np.concatenate([np.flatnonzero(artists == name) for name in drawn])
        differences.append(both(actual[tracks], second[tracks]) - both(actual[tracks], first[tracks]))
    return np.array(differences)


def test_bootstrap_agrees_with_a_naive_one() -> None:
    artists, actual, first, second = sample()
    found = compare(actual, first, second, resampling(artists)).differences
    naive = naive_bootstrap(artists, actual, first, second)
    for name, values in (("accuracy", naive[:, 0]), ("f1", naive[:, 1])):
        error = math.sqrt(0.025 * 0.975 / NAIVE) / 0.0584 * values.std()  # of a normal 2.5 % quantile
        low, high = np.quantile(values, [0.025, 0.975])
        assert found[name].low == pytest.approx(low, abs=3 * error)
        assert found[name].high == pytest.approx(high, abs=3 * error)
        assert found[name].high - found[name].low == pytest.approx(high - low, rel=0.15)


def test_differences_are_second_minus_first() -> None:
    artists, actual, first, second = sample()
    pair = compare(actual, first, second, resampling(artists, resamples=10))
    macro: Any = {"labels": range(4), "average": "macro", "zero_division": 0}
    scorers = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
    for name, scorer in scorers.items():
        expected = scorer(actual, second, **macro) - scorer(actual, first, **macro)
        assert pair.differences[name].value == pytest.approx(expected, rel=1e-9)
    accuracy = pair.differences["accuracy"].value
    assert accuracy == pytest.approx((second == actual).mean() - (first == actual).mean())
    assert accuracy == pytest.approx((pair.mcnemar.only_second - pair.mcnemar.only_first) / len(actual))


@pytest.mark.parametrize(("tracks", "share"), [(400, 0.6), (1000, 0.9)])
def test_one_track_an_artist_has_the_standard_error_of_a_binomial(tracks: int, share: float) -> None:
    actual = np.zeros(tracks, int)
    predicted = (np.arange(tracks) >= share * tracks).astype(int)
    sampling = resampling(np.arange(tracks), classes=2)
    accuracies = sampling.scores(actual, predicted)["accuracy"]
    error = math.sqrt(share * (1 - share) / tracks)
    assert accuracies[1:].std() == pytest.approx(error, rel=0.05)
    interval = sampling.interval(accuracies)
    assert interval == pytest.approx((share, share - 1.96 * error, share + 1.96 * error), abs=0.25 * error)


def test_artists_whose_tracks_stand_or_fall_together_widen_the_interval() -> None:
    """Ten tracks per artist, all correct or all wrong: the interval is √10 times as wide as for independent tracks."""
    artists = np.repeat(np.arange(60), 10)
    actual = np.zeros(600, int)
    predicted = (artists % 3 == 0).astype(int)
    together, apart = (
        sampling.interval(sampling.scores(actual, predicted)["accuracy"])
        for sampling in (resampling(artists, classes=2), resampling(np.arange(600), classes=2))
    )
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(math.sqrt(10), rel=0.12)


def test_resamples_are_paired() -> None:
    """A classifier compared with itself has a difference of exactly 0 in every resample."""
    artists, actual, first, _ = sample()
    pair = compare(actual, first, first, resampling(artists))
    assert set(pair.differences.values()) == {Interval(0, 0, 0)}
    assert pair.mcnemar == McNemar(0, 0, 1)


# All systems. -----------------------------------------------------------------------------------------------------

COUNTS = [(1, 0), (1, 1), (2, 0), (2, 1), (3, 2), (4, 2)]  # models and baselines


def scikit_learn(comparison: Comparison, labels: np.ndarray) -> dict[str, float]:
    genres, actual = np.array(comparison.classes)[labels], comparison.tracks["genre"]
    macro = precision_recall_fscore_support(actual, genres, labels=comparison.classes, average="macro", zero_division=0)
    return {"accuracy": accuracy_score(actual, genres), "f1": macro[2]}


@pytest.mark.parametrize(("models", "baselines"), COUNTS)
def test_every_two_models_and_every_model_with_every_baseline_are_compared(models: int, baselines: int) -> None:
    comparison = make_comparison(models, baselines)
    names = ["cnn", "birnn", "cnn_stft", "birnn_mel"][:models]
    classical = ["svm", "forest"][:baselines]
    assert [result.key for result in comparison.rows] == ["majority", *classical, *names]
    found = [(pair.first, pair.second) for pair in comparison.model_pairs]
    assert found == list(itertools.combinations(names, 2))
    found = [(pair.first, pair.second) for pair in comparison.baseline_pairs]
    assert found == list(itertools.product(classical, names))


def test_a_pair_compares_the_ensembles() -> None:
    comparison = make_comparison()
    cnn, birnn = comparison.models
    assert cnn.system.predictions.test.probabilities is not None
    ensemble = cnn.system.predictions.test.probabilities.mean(axis=0).argmax(axis=1)
    np.testing.assert_array_equal(cnn.labels, ensemble)
    difference = comparison.model_pairs[0].differences["accuracy"].value
    right = [(result.labels == comparison.actual).mean() for result in (cnn, birnn)]
    assert difference == pytest.approx(right[1] - right[0], abs=1e-12)
    assert cnn.accuracy.value == pytest.approx(right[0], abs=1e-12)
    assert cnn.accuracy.low < right[0] < cnn.accuracy.high


def test_majority_names_the_largest_genre_of_the_training_tracks() -> None:
    comparison = make_comparison()
    training = comparison.index[(comparison.index["split"] == "training") & (comparison.index["frames"] > 0)]
    largest = training["genre"].value_counts().idxmax()
    assert comparison.genres[0] == largest
    assert {comparison.classes[label] for label in comparison.majority.labels} == {largest}
    share = (comparison.tracks["genre"] == largest).mean()
    assert comparison.majority.summary["accuracy"] == pytest.approx(share, abs=1e-6)


def test_genres_are_in_order_of_their_training_tracks_and_then_of_their_names() -> None:
    splits = ["training"] * 5 + ["test"] * 3
    index = pd.DataFrame({"genre": ["Rock", "Folk", "Jazz", "Jazz", "Blues", "Rock", "Rock", "Pop"], "split": splits})
    assert by_size(index) == ["Jazz", "Blues", "Folk", "Rock", "Pop"]
    assert make_comparison().genres == ["Rock", "Folk", "Jazz"]


# metrics/comparison.json and tables. ------------------------------------------------------------------------------


@pytest.mark.parametrize(("models", "baselines"), COUNTS)
def test_numbers_hold_each_system_by_its_key(models: int, baselines: int) -> None:
    comparison = make_comparison(models, baselines)
    found = numbers(comparison)
    assert json.loads(json.dumps(found)) == found
    assert [found[key] for key in ("dataset", "n_test", "n_artists")] == ["small", len(comparison.tracks), 10]
    differences = {f"{pair.second}_minus_{pair.first}" for pair in comparison.model_pairs}
    assert set(found) == {"dataset", "n_test", "n_artists", *(result.key for result in comparison.rows), *differences}


def test_numbers_are_scikit_learns_means_over_the_runs() -> None:
    comparison = make_comparison()
    found, cnn = numbers(comparison), comparison.models[0]
    runs = [scikit_learn(comparison, labels) for labels in cnn.system.predictions.test.labels]
    for name in ("accuracy", "f1"):
        values = [run[name] for run in runs]
        assert found["cnn"][name] == pytest.approx(np.mean(values), abs=1e-6)
        assert found["cnn"][f"{name}_std"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)
        expected = scikit_learn(comparison, comparison.baselines[0].labels)[name]
        assert found["svm"][name] == pytest.approx(expected, abs=1e-6)


def test_numbers_have_the_facts_of_a_system_and_only_keys_that_apply() -> None:
    found = numbers(make_comparison())
    scores = {"accuracy", "accuracy_std", "f1", "f1_std"}
    facts = {"network", "representation", "parameters", "segment_frames"}
    assert set(found["cnn"]) == scores | facts | {"svm_head_accuracy"}
    assert set(found["birnn"]) == scores | facts
    assert found["birnn"]["representation"] == "stft"
    assert set(found["svm"]) == {"accuracy", "f1", "features", "classifier", "c"}
    assert set(found["majority"]) == {"accuracy", "f1"}


def test_svm_heads_are_scored_by_their_own_labels() -> None:
    comparison = make_comparison()
    heads = comparison.models[0].system.predictions.test.svm_head_labels
    assert heads is not None
    right = [(labels == comparison.actual).mean() for labels in heads]
    assert numbers(comparison)["cnn"]["svm_head_accuracy"] == pytest.approx(np.mean(right), abs=1e-6)


def test_numbers_of_a_pair_are_its_differences_and_its_test() -> None:
    comparison = make_comparison()
    found, pair = numbers(comparison)["birnn_minus_cnn"], comparison.model_pairs[0]
    assert [found[f"f1{end}"] for end in ("", "_low", "_high")] == pytest.approx(pair.differences["f1"], abs=1e-6)
    assert len(found) == 4 * 3 + 3
    assert (found["only_cnn_right"], found["only_birnn_right"]) == (pair.mcnemar.only_first, pair.mcnemar.only_second)
    assert found["mcnemar_p"] == pytest.approx(pair.mcnemar.p, abs=1e-6)


def test_table_of_predictions_has_a_column_a_system_and_a_run() -> None:
    comparison = make_comparison()
    table = predictions_table(comparison)
    runs = [f"{model}{run}" for model in ("cnn", "birnn") for run in ("", "_seed0", "_seed1")]
    assert list(table.columns) == ["track_id", "artist_id", "actual", *runs, "svm"]
    used = comparison.index[comparison.index["frames"] > 0]
    test = used[used["split"] == "test"]
    for column, name in (("track_id", "track_id"), ("artist_id", "artist_id"), ("actual", "genre")):
        assert table[column].tolist() == test[name].tolist()
    right = {column: (table[column] == table["actual"]).mean() for column in ("cnn", "svm", "birnn_seed1")}
    models, (svm,) = comparison.models, comparison.baselines
    expected = {"cnn": models[0].accuracy.value, "svm": svm.accuracy.value}
    expected["birnn_seed1"] = models[1].run_scores["accuracy"][1]
    assert right == pytest.approx(expected, abs=1e-12)


def test_table_of_genres_has_the_macro_metrics_as_means() -> None:
    comparison = make_comparison()
    for result in comparison.systems:
        table = genre_table(result, comparison)
        assert table["genre"].tolist() == comparison.genres
        for name in ("precision", "recall", "f1"):
            assert table[name].mean() == pytest.approx(result.summary[name], abs=2e-6)
        counts = comparison.tracks["genre"].value_counts()
        assert table["n_test"].tolist() == [counts[genre] for genre in comparison.genres]
        assert table["n_training"].is_monotonic_decreasing


def test_tables_are_written_for_each_system_and_those_of_others_go(tmp_path: Path) -> None:
    write_tables(make_comparison(3, 2), tmp_path)
    write_tables(make_comparison(2, 1), tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.csv")}
    tables = {f"{kind}/{key}.csv" for kind in ("confusion", "genres") for key in ("cnn", "birnn", "svm")}
    assert files == {"predictions.csv"} | tables
    table = pd.read_csv(tmp_path / "confusion/svm.csv")
    accuracy = (table["actual"] == table["predicted"]).mean()
    assert accuracy == pytest.approx(make_comparison(2, 1).baselines[0].accuracy.value)


# The report. ------------------------------------------------------------------------------------------------------


def pair(value: float, low: float, high: float, first: str = "cnn", second: str = "birnn") -> Pair:
    differences = {name: Interval(value, low, high) for name in metrics.METRICS}
    return Pair(first, second, differences, McNemar(31, 42, 0.0417))


def with_summary(result: Result, summary: Mapping[str, float], svm_head: float | None = None) -> Result:
    return replace(result, summary=summary, svm_head_accuracy=svm_head)


def made_up(synthetic: bool = False) -> Comparison:
    """A comparison with invented numbers that are easy to recognise."""
    comparison = make_comparison(2, 1, synthetic=synthetic)
    cnn, birnn = comparison.models
    rest = {"precision": 0.41, "recall": 0.42, "f1": 0.43, "segment_accuracy": 0.44, "ensemble_accuracy": 0.45}
    svm = {"accuracy": 0.464, "precision": 0.471, "recall": 0.472, "f1": 0.473}
    majority = {"accuracy": 0.125, "precision": 0.016, "recall": 0.125, "f1": 0.028}
    return replace(
        comparison,
        models=[
            with_summary(cnn, {"accuracy": 0.501, "accuracy_std": 0.012, **rest}, svm_head=0.487),
            with_summary(birnn, {"accuracy": 0.523, "accuracy_std": 0.012, **rest}),
        ],
        baselines=[with_summary(comparison.baselines[0], svm)],
        majority=with_summary(comparison.majority, majority),
        model_pairs=[pair(0.022, -0.013, 0.057)],
        baseline_pairs=[pair(0.037, 0.011, 0.062, "svm", "cnn"), pair(-0.021, -0.049, 0.004, "svm", "birnn")],
    )


@pytest.mark.parametrize(
    ("interval", "sentence"),
    [
        ((0.031, 0.01, 0.05), "birnn is better than cnn by 3.1 points of accuracy"),
        ((-0.031, -0.05, -0.01), "cnn is better than birnn by 3.1 points of accuracy"),
        ((0.022, -0.01, 0.05), "birnn is ahead of cnn by 2.2 points of accuracy, but the data cannot tell them apart"),
        ((-0.022, -0.05, 0.01), "cnn is ahead of birnn by 2.2 points of accuracy, but the data cannot tell them apart"),
        ((0.0, -0.02, 0.02), "cnn and birnn are equally accurate, and the data cannot tell them apart"),
    ],
)
def test_verdict_says_which_is_better_and_whether_the_data_can_tell(
    interval: tuple[float, float, float], sentence: str
) -> None:
    assert verdict(pair(*interval)) == sentence


def test_report_says_synthetic_only_of_synthetic_data() -> None:
    assert "synthetic" in report(made_up(synthetic=True))
    assert "synthetic" not in report(made_up())


def reading(*facts: tuple[str, str]) -> str:
    """The report on two models with these networks and representations."""
    comparison = make_comparison(len(facts), 0)
    models = []
    for model, (network, representation) in zip(comparison.models, facts, strict=True):
        given = {"segment_frames": 128, "network": network, "representation": representation}
        found = replace(model.system.predictions, facts=given)
        models.append(replace(model, system=replace(model.system, predictions=found)))
    return report(replace(comparison, models=models))


def test_report_says_whether_systems_architectures_inputs_or_recipes_are_compared() -> None:
    different = reading(("cnn", "mel"), ("birnn", "stft"))
    assert "cnn reads mel, birnn reads stft" in different
    assert "so this report compares systems, not architectures" in different
    same = reading(("cnn", "mel"), ("birnn", "mel"))
    assert "All models read the same input, mel, so this report compares architectures" in same
    assert "systems" not in same
    inputs = reading(("cnn", "mel"), ("cnn", "stft"))
    assert "All models use the network cnn, so this report compares inputs (cnn reads mel, birnn reads stft)" in inputs
    recipes = reading(("cnn", "mel"), ("cnn", "mel"))
    assert "All models use the network cnn and read mel, so this report compares settings" in recipes
    several = reading(("cnn", "mel"), ("birnn", "stft"), ("cnn", "stft"))
    assert "cnn_stft reads stft), so this report compares systems, not architectures." in several
    assert "reads" not in reading(("cnn", "mel"))


def test_report_gives_the_numbers_behind_the_verdict() -> None:
    text = report(made_up())
    assert text.startswith("# cnn and birnn on small\n")
    assert "**birnn is ahead of cnn by 2.2 points of accuracy, but the data cannot tell them apart.**" in text
    assert "birnn − cnn: accuracy +2.2 [-1.3, +5.7] points, F1 +2.2 [-1.3, +5.7] points (95 % intervals" in text
    assert "Only cnn is correct on 31 tracks, only birnn on 42 (exact McNemar test: p = 0.042" in text
    assert "The scores are in %, measured on 40 test tracks by 10 artists." in text
    assert text.endswith(".\n")


def test_report_says_of_each_model_where_it_stands_with_each_baseline_after_the_models_themselves() -> None:
    models, _, baseline = report(made_up()).partition("Baseline: svm (rbf_svm on low_level features)")
    assert "birnn is ahead of cnn" in models
    assert [line for line in baseline.splitlines() if line.startswith("-")] == [
        "- cnn is better than svm by 3.7 points of accuracy"
        " (cnn − svm: +3.7 [+1.1, +6.2] points; McNemar test: p = 0.042).",
        "- svm is ahead of birnn by 2.1 points of accuracy, but the data cannot tell them apart"
        " (birnn − svm: -2.1 [-4.9, +0.4] points; McNemar test: p = 0.042).",
    ]


def test_table_has_a_row_a_system() -> None:
    lines = [line for line in report(made_up()).splitlines() if line[:1] == "|"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    columns = ["accuracy", "precision", "recall", "F1", "segment accuracy", "ensemble accuracy"]
    assert rows[0] == ["system", *columns]
    assert rows[2:] == [
        ["majority", "12.5", "1.6", "12.5", "2.8", "", ""],
        ["svm", "46.4", "47.1", "47.2", "47.3", "", ""],
        ["cnn", "50.1 ± 1.2", "41.0", "42.0", "43.0", "44.0", "45.0"],
        ["cnn, SVM head", "48.7", "", "", "", "", ""],
        ["birnn", "52.3 ± 1.2", "41.0", "42.0", "43.0", "44.0", "45.0"],
    ]
    assert len({len(line) for line in lines}) == 1, "columns are aligned"


@pytest.mark.parametrize(("models", "baselines"), COUNTS)
def test_report_has_every_system_and_every_pair(models: int, baselines: int) -> None:
    comparison = make_comparison(models, baselines)
    text = report(comparison)
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line[:1] == "|"][2:]
    assert [row for row in rows if "SVM head" not in row] == [result.key for result in comparison.rows]
    assert text.count("Only ") == len(comparison.model_pairs)
    assert len(baseline_lines(text)) == len(comparison.baseline_pairs)
    assert ("aseline" in text) == bool(baselines)


def baseline_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("- ")]


def test_report_counts_tracks_from_the_index() -> None:
    comparison = make_comparison()
    index = comparison.index.copy()
    index["frames"] = np.where(index.index < 8, 0, 260)
    index["left_out"] = ["a damaged MP3"] * 3 + [f"reason {n}" for n in range(5)] + [""] * (len(index) - 8)
    index["cut"] = index.index >= len(index) - 3
    index.loc[10:11, "frames"] = 127
    text = report(replace(comparison, index=index))
    assert "112 of 120 tracks are used: 32 training, 40 validation and 40 test tracks." in text
    assert "left out, by reason: 3 × a damaged MP3, 1 × reason 0, 1 × reason 1, 1 × reason 2, 1 × reason 3," in text
    assert "Clips cut to the length of the stored spectrograms: 3." in text
    assert "Clips shorter than a segment (128 frames), which are repeated to fill it: 2." in text
    assert "less than 90 %" not in text
    assert "same bytes" not in text
    complete = report(replace(comparison, index=index[index["frames"] > 0].assign(cut=False, frames=128)))
    assert "112 of 112 tracks are used" in complete
    assert "left out" not in complete
    assert "cut to" not in complete
    assert "shorter" not in complete


def test_report_names_clips_that_are_short_or_the_same() -> None:
    comparison = make_comparison()
    index = comparison.index.copy()
    first, other = index.index[index["split"] == "training"][5], index.index[index["split"] == "test"][5]
    tracks = index["track_id"]
    index.loc[[first, other], "same_as"] = [str(tracks[other]), str(tracks[first])]
    index.loc[first, "decoded"] = 5.0
    text = report(replace(comparison, index=index))
    assert f"Clips with less than 90 % of their length decoded: 1 (tracks {tracks[first]})." in text
    pair = f"track {tracks[first]} in training and track {tracks[other]} in test"
    assert f"same bytes as another clip: 2. Pairs of them in different splits: 1 ({pair})." in text


@pytest.mark.parametrize(("models", "synthetic"), [(1, False), (2, True), (4, False)])
def test_headline_is_one_sentence_about_the_models(models: int, synthetic: bool) -> None:
    comparison = make_comparison(models, synthetic=synthetic)
    found = headline(comparison)
    data, _, sentence = found.partition(": ")
    assert data == ("synthetic demo" if synthetic else "small")
    assert "\n" not in found
    if models == 1:
        accuracy = f"{100 * comparison.models[0].accuracy.value:.1f} %"
        assert sentence == f"cnn predicts the genre of {accuracy} of the test tracks correctly"
    if models == 2:
        assert sentence == verdict(comparison.model_pairs[0])


def test_headline_of_several_models_names_the_leader_and_those_it_is_better_than() -> None:
    comparison = make_comparison(3)
    cnn, birnn, other = (
        replace(model, accuracy=Interval(value, 0, 1))
        for model, value in zip(comparison.models, (0.5, 0.6, 0.3), strict=True)
    )
    pairs = [
        pair(0.1, -0.1, 0.3),
        pair(-0.2, -0.3, -0.1, "cnn", "cnn_stft"),
        pair(-0.3, -0.4, -0.2, "birnn", "cnn_stft"),
    ]
    found = headline(replace(comparison, models=[cnn, birnn, other], model_pairs=pairs))
    assert found == (
        "small: birnn leads the models with 60.0 % accuracy; it is better than cnn_stft,"
        " but the data cannot tell it apart from cnn"
    )


# The systems of params.yaml. --------------------------------------------------------------------------------------


@pytest.fixture
def params() -> Params:
    """Parameters with the models cnn and birnn and the baseline svm."""
    return replace(load(PARAMS), dataset=DATASET)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """An index of tracks. The current folder has predictions of all systems for them."""
    monkeypatch.chdir(tmp_path)
    index = make_index()
    for seed, model in enumerate(("cnn", "birnn")):
        predictions.write(Path(f"data/predictions/{model}.npz"), make_model(index, 0.7, seed=seed))
        Path("plots/training").mkdir(parents=True, exist_ok=True)
        make_curve().to_csv(f"plots/training/{model}.csv", index=False)
    predictions.write(Path("data/predictions/svm.npz"), make_baseline(index, 0.5))
    return index


def test_systems_are_those_of_params_in_their_order(params: Params, index: pd.DataFrame) -> None:
    found = systems.load(params, index)
    assert [(system.key, system.is_model) for system in found] == [("cnn", True), ("birnn", True), ("svm", False)]
    assert [system.curve is not None for system in found] == [True, True, False]
    assert found[2].facts["c"] == 3
    models = {key: params.models[key] for key in reversed(list(params.models))}
    reverse = systems.load(replace(params, models=models, baselines={}), index)
    assert [system.key for system in reverse] == ["birnn", "cnn"]


@pytest.mark.parametrize("path", ["data/predictions/birnn.npz", "data/predictions/svm.npz", "plots/training/cnn.csv"])
def test_a_missing_file_of_a_system_is_named(params: Params, index: pd.DataFrame, path: str) -> None:
    Path(path).unlink()
    with pytest.raises(FileNotFoundError) as found:
        systems.load(params, index)
    assert str(found.value.filename) == path


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("key", ["birnn", "svm"])
def test_a_system_of_other_tracks_is_refused(params: Params, index: pd.DataFrame, key: str, split: str) -> None:
    chosen = (index["split"] == split).to_numpy().nonzero()[0]
    other = index.drop(index.index[chosen[-1]])
    make = make_baseline if key == "svm" else make_model
    predictions.write(Path(f"data/predictions/{key}.npz"), make(other, 0.5))
    expected = f"{key}.npz: expected the 40 {split} tracks of data/index.csv, found 39 tracks with other ids or order"
    with pytest.raises(InputError, match=expected):
        systems.load(params, index)


def test_predictions_on_another_data_set_are_refused(params: Params, index: pd.DataFrame) -> None:
    with pytest.raises(
        InputError, match=r"cnn\.npz: expected predictions on the data set medium, found small: `dvc repro` replaces"
    ):
        systems.load(replace(params, dataset="medium"), index)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot read the learning curve: No columns"),
        ("epoch,loss\n1,2\n", "expected the columns .*, found epoch, loss"),
    ],
)
def test_a_damaged_learning_curve_is_one_line(params: Params, index: pd.DataFrame, content: str, message: str) -> None:
    Path("plots/training/birnn.csv").write_text(content)
    with pytest.raises(InputError, match=rf"plots/training/birnn\.csv: {message}"):
        systems.load(params, index)


def test_a_system_of_other_genres_is_refused(params: Params, index: pd.DataFrame) -> None:
    predictions.write(Path("data/predictions/svm.npz"), make_baseline(index.replace("Jazz", "Blues"), 0.5))
    with pytest.raises(InputError, match=r"svm\.npz: expected the genres Folk, Jazz, Rock, found Blues, Folk, Rock"):
        systems.load(params, index)


def test_files_of_removed_systems_are_deleted_and_named(
    params: Params, index: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    systems.remove_leftovers(params)
    assert capsys.readouterr().out == ""
    for path in ("data/predictions/gone.npz", "plots/training/gone.csv", "plots/training/svm.csv"):
        Path(path).touch()
    Path("data/predictions/.gitignore").write_text("/gone.npz\n")
    systems.remove_leftovers(params)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("removed files of systems that are no longer in params.yaml: ")
    assert line.partition(": ")[2] == "data/predictions/gone.npz, plots/training/gone.csv, plots/training/svm.csv"
    left = {str(path) for folder in ("data", "plots") for path in Path(folder).rglob("*") if path.is_file()}
    assert left == {
        "data/predictions/.gitignore", "data/predictions/cnn.npz", "data/predictions/birnn.npz",
        "data/predictions/svm.npz", "plots/training/cnn.csv", "plots/training/birnn.csv",
    }  # fmt: skip

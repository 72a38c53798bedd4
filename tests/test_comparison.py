"""Comparison: exact tests and intervals against closed forms and a naive bootstrap, and what the report says."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from fma_genre import metrics
from fma_genre.comparison import Interval, McNemar, Pair, Resampling, compare, mcnemar
from fma_genre.report import BASELINE, MAJORITY, report, verdict

RESAMPLES = 4000
NAIVE = 300  # resamples, in plain Python


def resampling(artists: Any, classes: int = 4, resamples: int = RESAMPLES, confidence: float = 0.95) -> Resampling:
    return Resampling(np.asarray(artists), classes, resamples=resamples, confidence=confidence, seed=0)


def sample(seed: int = 0, tracks: int = 150, artists: int = 30, classes: int = 4) -> tuple[np.ndarray, ...]:
    """Artists, actual labels and two classifiers' labels; an artist has one genre, and is easy or hard."""
    generator = np.random.default_rng(seed)
    artist = generator.integers(0, artists, tracks)
    actual = generator.integers(0, classes, artists)[artist]
    ease = generator.random(artists)[artist]
    first, second = (
        np.where(generator.random(tracks) < ease + bonus, actual, generator.integers(0, classes, tracks))
        for bonus in (0, 0.15)
    )
    return 1000 - 7 * artist, actual, first, second


# McNemar. ---------------------------------------------------------------------------------------------------------


def exact_p(b: int, c: int) -> float:
    """Two-sided: of b + c fair coins, the share of outcomes no likelier than b heads."""
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


def test_first_score_is_the_samples_own() -> None:
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
    """Differences (resamples, 2) of accuracy and macro F1, from the drawn artists' tracks laid end to end."""

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
        error = math.sqrt(0.025 * 0.975 / NAIVE) / 0.0584 * values.std()  # of a normal's 2.5 % quantile
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
    """Ten tracks an artist, all right or all wrong: √10 times as wide as if the tracks were independent."""
    artists = np.repeat(np.arange(60), 10)
    actual = np.zeros(600, int)
    predicted = (artists % 3 == 0).astype(int)
    together, apart = (
        sampling.interval(sampling.scores(actual, predicted)["accuracy"])
        for sampling in (resampling(artists, classes=2), resampling(np.arange(600), classes=2))
    )
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(math.sqrt(10), rel=0.12)


def test_resamples_are_paired() -> None:
    """A classifier differs from itself by exactly nothing in every resample."""
    artists, actual, first, _ = sample()
    pair = compare(actual, first, first, resampling(artists))
    assert set(pair.differences.values()) == {Interval(0, 0, 0)}
    assert pair.mcnemar == McNemar(0, 0, 1)


# The report. ------------------------------------------------------------------------------------------------------

FACTS = {"dataset": "small", "n_test": 800, "n_artists": 123}


def pair(value: float, low: float, high: float) -> Pair:
    return Pair({name: Interval(value, low, high) for name in metrics.METRICS}, McNemar(31, 42, 0.0417))


def result(accuracy: float, representation: str, **more: float) -> dict[str, Any]:
    rows = {"precision": 0.41, "recall": 0.42, "f1": 0.43, "segment_accuracy": 0.44, "ensemble_accuracy": 0.45}
    return {"accuracy": accuracy, **rows, "accuracy_std": 0.012, "representation": representation, **more}


RESULTS = {
    "cnn": result(0.501, "mel", svm_accuracy=0.487),
    "birnn": result(0.523, "stft"),
    MAJORITY: {"accuracy": 0.125, "precision": 0.016, "recall": 0.125, "f1": 0.028},
    BASELINE: {"accuracy": 0.464, "precision": 0.471, "recall": 0.472, "f1": 0.473},
}


def write(results: dict[str, Any] = RESULTS, synthetic: bool = False) -> str:
    against = {"cnn": pair(0.037, 0.011, 0.062), "birnn": pair(-0.021, -0.049, 0.004)}
    return report(FACTS, results, {("cnn", "birnn"): pair(0.022, -0.013, 0.057)}, against, 0.95, synthetic)


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
    assert verdict("cnn", "birnn", pair(*interval)) == sentence


def test_report_says_synthetic_only_of_synthetic_data() -> None:
    assert "synthetic" in write(synthetic=True)
    assert "synthetic" not in write()


def test_report_says_whether_systems_or_architectures_are_compared() -> None:
    different = write()
    assert "cnn reads mel, birnn reads stft" in different
    assert "what is compared are systems, not architectures" in different
    same = write({**RESULTS, "birnn": result(0.5, "mel")})
    assert "All models read the same input, mel: architectures are compared" in same
    assert "systems" not in same


def test_report_gives_the_numbers_behind_the_verdict() -> None:
    text = write()
    assert "**birnn is ahead of cnn by 2.2 points of accuracy, but the data cannot tell them apart.**" in text
    assert "birnn − cnn: accuracy +2.2 [-1.3, +5.7] points, F1 +2.2 [-1.3, +5.7] points (95 % intervals" in text
    assert "Only cnn is right on 31 tracks, only birnn on 42 (exact McNemar p = 0.042" in text
    assert "800 test tracks by 123 artists" in text
    assert text.endswith(".\n")


def test_report_says_of_each_model_where_it_stands_beside_the_baseline_after_the_models_themselves() -> None:
    models, _, baseline = write().partition("SVM on MFCC is the FMA paper's best baseline")
    assert "birnn is ahead of cnn" in models
    assert [line for line in baseline.splitlines() if line.startswith("-")] == [
        "- cnn is better than SVM on MFCC by 3.7 points of accuracy:"
        " cnn − SVM +3.7 [+1.1, +6.2] points, McNemar p = 0.042.",
        "- SVM on MFCC is ahead of birnn by 2.1 points of accuracy, but the data cannot tell them apart:"
        " birnn − SVM -2.1 [-4.9, +0.4] points, McNemar p = 0.042.",
    ]


def test_table_has_a_row_a_system() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in write().splitlines() if line[:1] == "|"]
    columns = ["accuracy", "precision", "recall", "F1", "segment accuracy", "ensemble accuracy"]
    assert rows[0] == ["system, %", *columns]
    assert rows[2:] == [
        [MAJORITY, "12.5", "1.6", "12.5", "2.8", "", ""],
        [BASELINE, "46.4", "47.1", "47.2", "47.3", "", ""],
        ["cnn", "50.1 ± 1.2", "41.0", "42.0", "43.0", "44.0", "45.0"],
        ["cnn, SVM head", "48.7", "", "", "", "", ""],
        ["birnn", "52.3 ± 1.2", "41.0", "42.0", "43.0", "44.0", "45.0"],
    ]
    lengths = {len(line) for line in write().splitlines() if line[:1] == "|"}
    assert len(lengths) == 1, "columns are aligned"

"""Bootstrap over artists and runs, held against closed forms, a bootstrap in plain loops, and simulated studies."""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from fma_genre.results import metrics
from fma_genre.results.bootstrap import Bootstrap, holm, p_value

RESAMPLES = 4000
NAIVE = 250  # resamples of the bootstrap in plain loops
CLASSES = 4


def bootstrap(
    artists: Any, classes: int = CLASSES, resamples: int = RESAMPLES, confidence: float = 0.95, seed: int = 0
) -> Bootstrap:
    return Bootstrap(np.asarray(artists), classes, resamples=resamples, confidence=confidence, seed=seed)


def scores(resampler: Bootstrap, actual: np.ndarray, labels: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """Score a system with runs of its own."""
    return resampler.scores(actual, labels, [(name, len(labels))])


class Sample(NamedTuple):
    artists: np.ndarray
    actual: np.ndarray
    first: np.ndarray  # (2, tracks) labels of a system with two runs
    second: np.ndarray  # (3, tracks) labels of a better system with three runs


def sample(tracks: int = 150, artists: int = 30) -> Sample:
    """Tracks of which some artists' are easier than others'. All tracks of an artist have one genre."""
    generator = np.random.default_rng(0)
    artist = generator.integers(0, artists, tracks)
    actual = generator.integers(0, CLASSES, artists)[artist]
    ease = generator.random(artists)[artist]

    def labels(runs: int, bonus: float) -> np.ndarray:
        right = generator.random((runs, tracks)) < ease + bonus + 0.1 * generator.standard_normal((runs, 1))
        return np.where(right, actual, generator.integers(0, CLASSES, (runs, tracks)))

    return Sample(1000 - 7 * artist, actual, labels(2, 0), labels(3, 0.15))


# Artists. ---------------------------------------------------------------------------------------------------------


def test_every_resample_draws_as_many_artists_as_there_are() -> None:
    artists = sample().artists
    draws = bootstrap(artists).draws
    count = len(set(artists))
    assert draws.shape == (1 + RESAMPLES, count)
    assert set(draws.sum(axis=1)) == {count}
    assert (draws[0] == 1).all()
    np.testing.assert_allclose(draws[1:].mean(axis=0), 1, atol=5 / math.sqrt(RESAMPLES))
    np.testing.assert_allclose(draws[1:].var(axis=0), 1 - 1 / count, atol=0.15)


@pytest.mark.parametrize(("tracks", "share"), [(400, 0.6), (1000, 0.9)])
def test_one_track_an_artist_has_the_standard_error_of_a_binomial(tracks: int, share: float) -> None:
    actual = np.zeros(tracks, int)
    predicted = (np.arange(tracks) >= share * tracks).astype(int)
    resampler = bootstrap(np.arange(tracks), classes=2)
    accuracies = scores(resampler, actual, predicted[np.newaxis], "cnn")["accuracy"]
    error = math.sqrt(share * (1 - share) / tracks)
    assert accuracies[1:].std() == pytest.approx(error, rel=0.05)
    expected = (share, share - 1.96 * error, share + 1.96 * error)
    assert resampler.interval(accuracies) == pytest.approx(expected, abs=0.25 * error)


def test_artists_whose_tracks_are_all_correct_or_all_wrong_widen_the_interval() -> None:
    """With ten tracks an artist, the interval is √10 times as wide as for independent tracks."""
    artists = np.repeat(np.arange(60), 10)
    actual = np.zeros(600, int)
    predicted = (artists % 3 == 0).astype(int)[np.newaxis]
    together, apart = (
        resampler.interval(scores(resampler, actual, predicted, "cnn")["accuracy"])
        for resampler in (bootstrap(artists, classes=2), bootstrap(np.arange(600), classes=2))
    )
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(math.sqrt(10), rel=0.12)


# Runs. ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_variance_of_the_mean_of_runs_is_their_variance_divided_by_their_number(runs: int) -> None:
    """The textbook variance S² / n, without the factor (n − 1) / n of a plain bootstrap."""
    weights = bootstrap([1, 2], resamples=40_000).run_weights(runs, "cnn")
    scores = np.random.default_rng(runs).random(runs)
    assert (weights[1:] @ scores).var() == pytest.approx(scores.var(ddof=1) / runs, rel=0.03)
    assert (weights[1:] @ scores).mean() == pytest.approx(scores.mean(), abs=0.01)


@pytest.mark.parametrize("runs", [1, 2, 3, 5])
def test_weights_of_runs_add_up_to_1_and_are_equal_in_the_original_sample(runs: int) -> None:
    weights = bootstrap([1, 2]).run_weights(runs, "cnn")
    assert weights.shape == (1 + RESAMPLES, runs)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    assert set(weights[0]) == {1 / runs}


def test_the_only_run_of_a_system_has_the_weight_1() -> None:
    assert set(bootstrap([1, 2]).run_weights(1, "cnn").flatten()) == {1}


def test_runs_of_two_systems_are_drawn_independently() -> None:
    resampler = bootstrap([1, 2])
    first, second = (resampler.run_weights(2, name)[1:, 0] for name in ("cnn", "birnn"))
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / math.sqrt(RESAMPLES)


def test_draws_of_runs_depend_on_the_seed() -> None:
    weights = [bootstrap([1, 2], seed=seed).run_weights(2, "cnn") for seed in (0, 0, 1)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_runs_are_drawn_independently_of_artists() -> None:
    resampler = bootstrap([1, 2])
    correlation = np.corrcoef(resampler.run_weights(2, "cnn")[1:, 0], resampler.draws[1:, 0])[0, 1]
    assert abs(correlation) < 4 / math.sqrt(RESAMPLES)


def test_draws_of_a_system_depend_on_seed_and_name_only() -> None:
    """Neither another system, nor the order of the systems, changes the numbers of a system."""
    given = sample()
    alone = scores(bootstrap(given.artists), given.actual, given.first, "cnn")["f1"]
    after_another = bootstrap(given.artists)
    scores(after_another, given.actual, given.second, "birnn")
    np.testing.assert_array_equal(scores(after_another, given.actual, given.first, "cnn")["f1"], alone)
    for other in (
        scores(bootstrap(given.artists), given.actual, given.first, "birnn"),
        scores(bootstrap(given.artists, seed=1), given.actual, given.first, "cnn"),
    ):
        assert not np.array_equal(other["f1"], alone)
        assert other["f1"][0] == alone[0]


def test_combinations_of_the_runs_of_two_systems_have_the_products_of_their_weights() -> None:
    resampler = bootstrap([1, 2])
    found = resampler.combined_weights([("cnn", 2), ("birnn", 3)])
    first, second = resampler.run_weights(2, "cnn"), resampler.run_weights(3, "birnn")
    for place, (one, two) in enumerate(itertools.product(range(2), range(3))):
        np.testing.assert_allclose(found[:, place], first[:, one] * second[:, two], rtol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)


def test_shares_stay_between_0_and_1() -> None:
    """Two runs of 90 and 100 %: the weights alone would reach 102 %."""
    labels = np.zeros((2, 20), int)
    labels[0, :2] = 1
    found = scores(bootstrap(np.arange(20), classes=2), np.zeros(20, int), labels, "cnn")["accuracy"]
    assert found[0] == pytest.approx(0.95)
    assert found.max() == 1


@pytest.mark.parametrize("inflation", [1.5, 2.0])
def test_inflation_widens_an_interval_by_its_factor(inflation: float) -> None:
    given = sample()
    plain, wide = (
        Bootstrap(given.artists, CLASSES, resamples=RESAMPLES, confidence=0.95, seed=0, inflation=factor)
        for factor in (1, inflation)
    )
    narrow, found = (scores(one, given.actual, given.first, "cnn")["accuracy"] for one in (plain, wide))
    np.testing.assert_allclose(found - found[0], (inflation * (narrow - narrow[0])).clip(-narrow[0], 1 - narrow[0]))
    assert found[0] == narrow[0]


# Artists and runs. ------------------------------------------------------------------------------------------------


def test_the_first_value_is_the_mean_of_scikit_learns_scores_over_the_runs() -> None:
    given = sample()
    found = scores(bootstrap(given.artists), given.actual, given.second, "birnn")
    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": [accuracy_score(given.actual, run) for run in given.second],
        "precision": [precision_score(given.actual, run, **macro) for run in given.second],
        "recall": [recall_score(given.actual, run, **macro) for run in given.second],
        "f1": [f1_score(given.actual, run, **macro) for run in given.second],
    }
    assert tuple(found) == metrics.METRICS
    for metric, values in expected.items():
        assert found[metric].shape == (1 + RESAMPLES,)
        assert found[metric][0] == pytest.approx(np.mean(values), rel=1e-12)


def naive_bootstrap(given: Sample) -> dict[str, np.ndarray]:
    """Differences between the two systems on the concatenated tracks of drawn artists, with drawn runs."""
    generator = np.random.default_rng(5)
    names = np.unique(given.artists)

    def mean_scores(labels: np.ndarray, tracks: np.ndarray) -> np.ndarray:
        """Mean over drawn runs, at √(n / (n − 1)) times their distance from the mean over all runs."""
        actual = given.actual[tracks]
        present = sorted(set(actual))
        scores = []
        for run in labels:
            predicted = run[tracks]
            hits = predicted == actual
            f1 = [
                2 * hits[actual == name].sum() / ((actual == name).sum() + (predicted == name).sum())
                for name in present
            ]
            scores.append([hits.mean(), np.mean(f1)])
        count = len(scores)
        drawn = np.mean([scores[generator.integers(count)] for _ in range(count)], axis=0)
        mean = np.mean(scores, axis=0)
        return mean + math.sqrt(count / (count - 1)) * (drawn - mean)

    differences = []
    for _ in range(NAIVE):
        tracks = np.concatenate([np.flatnonzero(given.artists == name) for name in generator.choice(names, len(names))])
        differences.append(mean_scores(given.second, tracks) - mean_scores(given.first, tracks))
    return dict(zip(("accuracy", "f1"), np.array(differences).T, strict=True))


def test_differences_agree_with_a_bootstrap_in_plain_loops() -> None:
    given = sample()
    resampler = bootstrap(given.artists)
    first, second = (
        scores(resampler, given.actual, labels, name) for name, labels in (("1", given.first), ("2", given.second))
    )
    for metric, naive in naive_bootstrap(given).items():
        found = second[metric] - first[metric]
        interval = resampler.interval(found)
        error = math.sqrt(0.025 * 0.975 / NAIVE) / norm.pdf(norm.ppf(0.025)) * naive.std()  # of a normal quantile
        assert [interval.low, interval.high] == pytest.approx(np.quantile(naive, [0.025, 0.975]), abs=3 * error)
        assert found[1:].std() == pytest.approx(naive.std(), rel=3 / math.sqrt(2 * NAIVE))
        assert found[1:].mean() == pytest.approx(naive.mean(), abs=3 * naive.std() / math.sqrt(NAIVE))


def test_resamples_are_paired() -> None:
    """A single run with the same labels has a difference of exactly 0 in every resample."""
    given = sample()
    resampler = bootstrap(given.artists)
    one, two = (scores(resampler, given.actual, given.first[:1], name)["accuracy"] for name in ("cnn", "birnn"))
    np.testing.assert_array_equal(one, two)
    assert one[1:].std() > 0


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
def test_an_interval_is_the_first_value_and_the_percentiles_of_the_others(confidence: float) -> None:
    values = np.concatenate([[7], np.random.default_rng(0).permutation(1001) / 1000])  # 0, 0.001 … 1
    found = bootstrap([1, 2], confidence=confidence).interval(values)
    assert found == pytest.approx((7, (1 - confidence) / 2, (1 + confidence) / 2))


@pytest.mark.parametrize(("count", "quantile"), [(1, 1.959964), (8, 2.734369)])  # quantiles of tables: 1 − 0.05 / 2k
def test_half_width_is_a_normal_quantile_times_the_standard_error(count: int, quantile: float) -> None:
    values = np.concatenate([[99], np.tile([-0.03, 0.03], 50)])
    assert bootstrap([1, 2]).half_width(values, count) == pytest.approx(0.03 * quantile, rel=1e-6)


# Tests. -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resampled", "expected"),
    [
        ([1] * 100, 0.01),  # at least 1 / resamples
        ([-1] * 100, 0.01),
        ([-1] * 3 + [1] * 97, 0.06),
        ([-1] * 97 + [1] * 3, 0.06),
        ([-1] * 2 + [0] * 2 + [1] * 96, 0.08),  # 0 counts for both sides
        ([-1] * 50 + [1] * 50, 1),
        ([0] * 100, 1),
    ],
)
def test_a_p_value_is_twice_the_share_on_the_smaller_side_of_0(resampled: list[float], expected: float) -> None:
    assert p_value(np.array([123, *resampled])) == pytest.approx(expected)


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
def test_a_p_value_is_below_the_level_only_if_the_interval_excludes_0(confidence: float) -> None:
    resampler, generator = bootstrap([1, 2], confidence=confidence), np.random.default_rng(0)
    outcomes = []
    for shift in np.linspace(-4, 4, 81):
        values = generator.standard_normal(1001) + shift
        interval, p = resampler.interval(values), p_value(values)
        excludes = interval.low > 0 or interval.high < 0
        if abs(p - (1 - confidence)) > 0.003:  # apart from the resolution of 1000 resamples
            assert excludes == (p < 1 - confidence)
            outcomes.append(excludes)
    assert 20 < sum(outcomes) < len(outcomes) - 10


def rejected_by_holm(p_values: list[float], level: float) -> set[int]:
    """Holm's procedure: from the smallest p-value on, reject while p ≤ level / number of hypotheses that are left."""
    rejected: set[int] = set()
    for place in sorted(range(len(p_values)), key=p_values.__getitem__):
        if p_values[place] > level / (len(p_values) - len(rejected)):
            break
        rejected.add(place)
    return rejected


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_holm_rejects_what_the_step_down_procedure_rejects(count: int) -> None:
    generator = np.random.default_rng(count)
    for level in (0.01, 0.05, 0.2, 0.5, 0.9):
        for _ in range(20):
            p_values = list(generator.random(count) ** 3)
            corrected = holm(p_values)
            assert {place for place, p in enumerate(corrected) if p <= level} == rejected_by_holm(p_values, level)


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([], []),
        ([0.3], [0.3]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # as R's p.adjust and statsmodels' multipletests
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
        ([0.5, 0.5, 0.001], [1, 1, 0.003]),
    ],
)
def test_holm_gives_known_values(p_values: list[float], expected: list[float]) -> None:
    assert holm(p_values) == pytest.approx(expected)
    for order in itertools.islice(itertools.permutations(range(len(p_values))), 24):
        assert holm([p_values[place] for place in order]) == pytest.approx([expected[place] for place in order])


# Simulated studies, whose true values are known. ------------------------------------------------------------------

STUDIES = 300
ARTIST, TRACK, RUN, RUN_AND_TRACK = 0.8, 0.8, 0.05, 0.5  # standard deviations of effects on all systems, and of runs
SYSTEM_AND_ARTIST, SYSTEM_AND_TRACK = 0.3, 0.6  # standard deviations of effects on one system
TOTAL = math.hypot(ARTIST, TRACK, RUN, RUN_AND_TRACK, SYSTEM_AND_ARTIST, SYSTEM_AND_TRACK)


def study(artists: int, accuracies: list[float], runs: int, seed: int) -> tuple[Bootstrap, list[np.ndarray]]:
    """Bootstrap accuracies (1 + resamples,) of systems on the tracks of random artists, with runs of random seeds.

    A run is correct on a track if the sum of normal effects lies below Φ⁻¹(accuracy) × their standard deviation. Its
    expected accuracy over artists, tracks and runs is therefore known.
    """
    generator = np.random.default_rng([seed, artists, runs])
    artist = np.repeat(np.arange(artists), generator.geometric(0.2, artists))
    tracks = len(artist)

    def effects(of_artist: float, of_track: float) -> np.ndarray:
        return of_artist * generator.standard_normal(artists)[artist] + of_track * generator.standard_normal(tracks)

    shared = effects(ARTIST, TRACK)
    resampler = bootstrap(artist, classes=2, resamples=200, seed=seed)
    found = []
    for name, accuracy in enumerate(accuracies):
        own = effects(SYSTEM_AND_ARTIST, SYSTEM_AND_TRACK) + RUN * generator.standard_normal((runs, 1))
        noise = RUN_AND_TRACK * generator.standard_normal((runs, tracks))
        wrong = shared + own + noise > norm.ppf(accuracy) * TOTAL
        found.append(scores(resampler, np.zeros(tracks, int), wrong.astype(int), str(name))["accuracy"])
    return resampler, found


@pytest.mark.parametrize(("artists", "runs"), [(60, 2), (30, 3), (40, 5)])
def test_an_interval_covers_the_true_accuracy_and_equal_systems_are_rarely_told_apart(artists: int, runs: int) -> None:
    """About 95 % of the intervals should cover the true value. The limits are 3 standard errors of 300 studies away."""
    covered = false = 0
    for seed in range(STUDIES):
        resampler, (first, second) = study(artists, [0.6, 0.6], runs, seed)
        interval = resampler.interval(first)
        covered += interval.low <= 0.6 <= interval.high
        false += p_value(second - first) <= 0.05
    assert 0.91 <= covered / STUDIES <= 0.985
    assert 0.005 <= false / STUDIES <= 0.085


@pytest.mark.parametrize("count", [1, 4])
def test_a_true_difference_of_the_half_width_is_detected_half_of_the_time(count: int) -> None:
    """The other differences are 0, and Holm's method corrects for all of them."""
    widths = []
    for seed in range(40):
        resampler, (first, second) = study(40, [0.6, 0.6], 3, seed)
        widths.append(resampler.half_width(second - first, count))
    accuracies = [0.6, 0.6 + float(np.median(widths)), *[0.6] * (count - 1)]
    detected = 0
    for seed in range(STUDIES // 2):
        _, (reference, *others) = study(40, accuracies, 3, 1000 + seed)
        detected += holm([p_value(other - reference) for other in others])[0] <= 0.05
    assert 0.37 <= detected / (STUDIES // 2) <= 0.63

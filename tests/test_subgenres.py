"""Recall by sub-genre and accuracy by any genre: expected values from pandas, scikit-learn and SciPy."""

from ast import literal_eval
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, recall_score

from fma_genre.archives import genres, tracks
from fma_genre.archives.cells import join_genres
from fma_genre.results.comparison import Comparison
from fma_genre.results.report import report
from fma_genre.results.subgenres import (
    MIN_TRACKS,
    SubGenre,
    any_genre_accuracy,
    effective_size,
    has_second_genres,
    right_by_any,
    sub_genres,
    wilson,
)
from fma_genre.results.tables import numbers
from real import REAL, needs_real
from synthetic import compare_systems, make_baseline, make_index, make_model, make_systems
from test_report import tables

CLASSES = ["Folk", "Rock"]


def table(*groups: tuple[int, str, str]) -> pd.DataFrame:
    """Tracks in groups of (number, class, list of genres), each by an artist of its own."""
    rows = [(genre, listed) for count, genre, listed in groups for _ in range(count)]
    found = pd.DataFrame(rows, columns=["genre", "genres"])
    return found.assign(artist_id=range(len(found)))


def recalls(
    given: pd.DataFrame, labels: np.ndarray, classes: list[str] = CLASSES, inflation: float = 1
) -> list[SubGenre]:
    actual = pd.Index(classes).get_indexer(pd.Index(given["genre"]))
    return sub_genres(given, classes, actual, labels, confidence=0.95, inflation=inflation)


def names(given: pd.DataFrame, classes: list[str] = CLASSES) -> list[tuple[str, str, int]]:
    """Class, name and number of tracks of each sub-genre."""
    found = recalls(given, np.zeros((1, len(given)), int), classes)
    return [(row.genre, row.name, row.tracks) for row in found]


# The FMA's own metadata. ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> pd.DataFrame:
    """The tracks with a top genre in an excerpt of the FMA's tracks.csv, as in data/tracks.csv."""
    folder = REAL / "metadata"
    by_id = genres.parse_names((folder / "genres.csv").read_text(encoding="utf-8"))
    table = tracks.parse_table((folder / "tracks.csv").read_bytes(), "tracks.csv", by_id)
    return tracks.select(table, "large", "tracks.csv")


def predicted(labels: np.ndarray, classes: int, runs: int = 2) -> np.ndarray:
    """Labels (runs, tracks) of which about two thirds are right."""
    generator = np.random.default_rng(0)
    guesses = generator.integers(0, classes, (runs, len(labels)))
    return np.where(generator.random(guesses.shape) < 0.6, labels, guesses)


@needs_real
def test_recalls_on_the_fmas_genres_equal_scikit_learns(real: pd.DataFrame) -> None:
    classes = sorted(set(real["genre"]))
    actual = pd.Index(classes).get_indexer(pd.Index(real["genre"]))
    labels = predicted(actual, len(classes))
    found = {(row.genre, row.name): row for row in recalls(real, labels, classes)}

    reference = pd.read_csv(REAL / "metadata/tracks.csv", index_col=0, header=[0, 1]).loc[real["track_id"]]
    titles = pd.read_csv(REAL / "metadata/genres.csv", index_col=0)["title"]
    lists = reference["track", "genres_all"].map(literal_eval).explode().map(titles).rename("name")
    pairs = lists.to_frame().join(real.set_index("track_id")["genre"]).query("name != genre")
    expected = pairs.groupby(["genre", "name"]).size()
    expected = expected[expected >= MIN_TRACKS]
    assert {key: row.tracks for key, row in found.items()} == expected.to_dict()
    assert len(found) == 10
    assert found["Rock", "Punk"].tracks == 103

    for (genre, name), row in found.items():
        members = real["track_id"].isin(pairs.index[pairs["name"] == name]).to_numpy()
        own = [classes.index(genre)]
        options = {"labels": own, "average": "macro", "zero_division": 0}
        of_runs = [recall_score(actual[members], run[members], **options) for run in labels]
        of_genre = [recall_score(actual, run, **options) for run in labels]
        assert row.recall.value == pytest.approx(np.mean(of_runs), abs=1e-12)
        assert row.genre_recall == pytest.approx(np.mean(of_genre), abs=1e-12)
        assert row.artists == real["artist_id"][members].nunique()
        assert row.recall.low < row.recall.value < row.recall.high


@needs_real
def test_no_track_of_the_fma_with_a_top_genre_has_a_second_one(real: pd.DataFrame) -> None:
    """The FMA gives a track a top genre only if all of its genres belong to that one."""
    assert len(real) == 682 - 51
    assert (real["genres"] != "").all()
    assert not has_second_genres(right_by_any(real, sorted(set(real["genre"]))))


# Sub-genres. ------------------------------------------------------------------------------------------------------


def test_a_sub_genre_is_a_listed_name_that_is_no_class() -> None:
    given = table((12, "Rock", "Rock; Punk; Lo-Fi"), (10, "Folk", "Lo-Fi; Folk; Rock"), (3, "Folk", ""))
    assert names(given) == [("Rock", "Lo-Fi", 12), ("Rock", "Punk", 12), ("Folk", "Lo-Fi", 10)]


def test_a_sub_genre_with_few_tracks_is_left_out() -> None:
    given = table((MIN_TRACKS, "Rock", "Punk"), (MIN_TRACKS - 1, "Folk", "Drone"))
    assert names(given) == [("Rock", "Punk", MIN_TRACKS)]


def test_a_class_is_known_in_the_form_that_lists_have() -> None:
    classes = ["A; B", "Rock"]
    given = table((10, "A; B", "A, B"), (10, "Rock", "Rock; A, B"))
    assert names(given, classes) == []
    assert right_by_any(given, classes).tolist() == [[True, False]] * 10 + [[True, True]] * 10


def test_a_track_that_lists_a_name_twice_counts_once() -> None:
    assert names(table((10, "Rock", "Punk; Punk"))) == [("Rock", "Punk", 10)]


# Intervals. -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "count"), [(0, 10), (3, 10), (10, 10), (77, 120)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_of_independent_tracks_equals_scipys(right: int, count: int, confidence: float) -> None:
    expected = binomtest(right, count).proportion_ci(confidence, method="wilson")
    assert wilson(right / count, count, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("counts", "size"), [([1] * 10, 10), ([10], 1), ([3, 3, 3, 3], 4), ([4, 2], 36 / 20), ([97, 1, 1, 1], 1e4 / 9412)]
)
def test_tracks_of_an_artist_count_as_one(counts: list[int], size: float) -> None:
    assert effective_size(np.repeat(np.arange(len(counts)), counts)) == pytest.approx(size, rel=1e-12)


def test_an_interval_of_joined_folds_is_wider() -> None:
    given = table((40, "Rock", "Punk"))
    for factor, right, count in ((1, 32, 40), (2, 8, 10)):  # twice the standard error, as of a quarter of the tracks
        expected = binomtest(right, count).proportion_ci(method="wilson")
        (found,) = recalls(given, np.array([[0, 1, 1, 1, 1] * 8]), inflation=factor)
        assert found.recall == pytest.approx((0.8, expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("mean", [0.5, 0.9])
@pytest.mark.parametrize("similarity", [0, 0.3, 0.8])
def test_intervals_contain_the_true_recall_as_often_as_they_promise(mean: float, similarity: float) -> None:
    """In 400 simulated test sets, an artist has 1 to 6 tracks, which are right with a probability of their own."""
    generator, studies, hits = np.random.default_rng(7), 400, 0
    strength = 1 / max(similarity, 1e-6) - 1  # the tracks of an artist have this intraclass correlation
    for _ in range(studies):
        counts = generator.integers(1, 7, 8)
        own = generator.beta(mean * strength, (1 - mean) * strength, len(counts))
        artists = np.repeat(np.arange(len(counts)), counts)
        share = (generator.random(len(artists)) < own[artists]).mean()
        low, high = wilson(share, effective_size(artists), 0.95)
        hits += low <= mean <= high
    assert hits / studies >= 0.93


# Any genre. -------------------------------------------------------------------------------------------------------


def test_any_genre_accuracy_counts_each_class_in_the_list() -> None:
    given = table((1, "Rock", "Rock; Folk"), (1, "Rock", "Punk"), (1, "Folk", ""), (1, "Folk", "Rock; Punk"))
    right = right_by_any(given, CLASSES)
    assert right.tolist() == [[True, True], [False, True], [True, False], [True, True]]
    assert has_second_genres(right)
    assert any_genre_accuracy(np.array([[1, 0, 0, 1], [0, 0, 1, 1]]), right) == (3 / 4 + 2 / 4) / 2


# The comparison and its report. -----------------------------------------------------------------------------------


def compared(lists: dict[str, str]) -> Comparison:
    """A comparison on tracks whose lists of genres depend on their class."""
    index = make_index()
    index = index.assign(genres=index["genre"].map(lists))
    models = {"cnn": make_model(index, 0.7, seed=1), "birnn": make_model(index, 0.5, seed=2)}
    return compare_systems(make_systems(models, {"svm": make_baseline(index, 0.6)}), index)


WITHOUT = {"Folk": "", "Jazz": "Jazz", "Rock": "Rock"}
SUB_GENRES = {"Folk": "Folk; Free-Folk", "Jazz": "Jazz", "Rock": "Rock; Punk"}
SECOND = {"Folk": "Folk; Rock", "Jazz": "Jazz", "Rock": "Rock"}


def test_without_sub_genres_and_second_genres_report_and_metrics_have_nothing_of_them() -> None:
    comparison = compared(WITHOUT)
    assert comparison.sub_genres == []
    assert comparison.any_genre == {}
    text = report(comparison)
    assert "any genre" not in text
    assert "ub-genre" not in text
    assert "any_genre" not in str(numbers(comparison))


def test_the_report_has_a_row_for_each_sub_genre() -> None:
    comparison = compared(SUB_GENRES)
    text = report(comparison)
    assert "\n## Sub-genres\n" in text
    found = next(cells for cells in tables(text) if cells[0][0] == "sub-genre")
    labels, actual = comparison.reference.labels, comparison.actual
    rows = []
    for name, genre in (("Punk", "Rock"), ("Free-Folk", "Folk")):
        place = comparison.classes.index(genre)
        members = actual == place
        share = f"{100 * np.mean([recall_score(actual, run, average=None)[place] for run in labels]):.1f}"
        rows.append([name, genre, str(members.sum()), str(members.sum() // 4), share, share])
    assert [[*row[:5], row[6]] for row in found[1:]] == rows
    assert "is the share of a sub-genre's test tracks that cnn assigns to their genre" in text
    assert "all sub-genres with at least 10 test tracks" in text
    assert "any genre" not in text


def test_the_table_of_sub_genres_stays_short_and_shows_names_as_text() -> None:
    comparison = compared(SUB_GENRES)
    many = [replace(comparison.sub_genres[0], name=f"<b>|{number}") for number in range(25)]
    text = report(replace(comparison, sub_genres=many))
    found = next(cells for cells in tables(text) if cells[0][0] == "sub-genre")
    assert [row[0] for row in found[1:]] == [f"`<b>/{number}`" for number in range(20)]
    assert "The table has the 20 largest of 25 sub-genres with at least 10 test tracks" in text


def test_accuracy_by_any_genre_stands_beside_accuracy_for_every_system() -> None:
    comparison = compared(SECOND)
    folk, rock = map(comparison.classes.index, ("Folk", "Rock"))
    head, *rows = tables(report(comparison))[0]
    column = head.index("any genre")
    assert head[column - 2] == "accuracy"
    values = numbers(comparison)
    for result in [*comparison.rows, *comparison.ensembles]:
        second = (comparison.actual == folk) & (result.labels == rock)
        expected = np.mean(
            [
                accuracy_score(comparison.actual, np.where(also, folk, run))
                for also, run in zip(second, result.labels, strict=True)
            ]
        )
        group = "ensembles" if result in comparison.ensembles else "systems"
        assert values[group][result.key]["any_genre_accuracy"] == pytest.approx(expected, abs=1e-6)
        assert comparison.any_genre[result.key] >= result.intervals["accuracy"].value
    shown = {row[0]: row[column] for row in rows}
    assert shown == {result.key: f"{100 * comparison.any_genre[result.key]:.1f}" for result in comparison.rows}
    assert comparison.sub_genres == []


def test_a_list_skips_empty_names() -> None:
    assert join_genres(["Rock", "", "Punk"]) == "Rock; Punk"

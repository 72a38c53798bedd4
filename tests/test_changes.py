"""Changes of scores between two revisions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from fma_genre.common.errors import InputError
from fma_genre.results import changes
from fma_genre.results.bootstrap import holm
from fma_genre.results.changes import CONFIDENCE, RESAMPLES, Pair, Predictions, read

GENRES = np.array(["Folk", "Hip-Hop", "Rock"])
TRACKS, ARTISTS = 240, 60
CNN, BIRNN = Pair("cnn", "cnn"), Pair("cnn", "birnn")


def predictions(seed: int, right: dict[str, list[float]], tracks: int = TRACKS) -> Predictions:
    """Predictions for the same tracks, whatever the seed; `right` has the share of correct ones for each run."""
    fixed, random = np.random.default_rng(0), np.random.default_rng(seed)
    actual = fixed.integers(0, len(GENRES), TRACKS)[:tracks]
    table = pd.DataFrame({
        "track_id": [str(track) for track in range(tracks)],
        "artist_id": fixed.integers(0, ARTISTS, TRACKS)[:tracks].astype(str),
        "actual": GENRES[actual],
    })  # fmt: skip
    runs = {}
    for key, shares in right.items():
        wrong = (actual + random.integers(1, len(GENRES), (len(shares), tracks))) % len(GENRES)
        is_right = random.random((len(shares), tracks)) < np.array(shares)[:, np.newaxis]
        runs[key] = GENRES[np.where(is_right, actual, wrong)]
    return Predictions(table, runs)


BASE = predictions(1, {"cnn": [0.6, 0.6], "svm": [0.5]})
BRANCH = predictions(2, {"cnn": [0.62, 0.62], "birnn": [0.8, 0.8], "svm": [0.5]})


def test_scores_before_and_after_are_those_of_scikit_learn() -> None:
    for metric, score in (
        ("accuracy", accuracy_score),
        ("f1", lambda actual, found: f1_score(actual, found, average="macro")),
    ):
        change = changes.changes(BASE, BRANCH, [CNN], metric)[CNN]
        before, after = (
            np.mean([score(BASE.tracks["actual"], run) for run in side.runs["cnn"]]) for side in (BASE, BRANCH)
        )
        assert (change.before, change.after) == (pytest.approx(before), pytest.approx(after))
        assert change.interval.value == pytest.approx(after - before)


def test_the_interval_is_that_of_a_paired_bootstrap_over_artists() -> None:
    """With one run each, written out with loops. Both bootstraps are random, so their ends differ a little."""
    pair = Pair("svm", "svm")
    change = changes.changes(BASE, BRANCH, [pair], "accuracy")[pair]
    actual, artists = BASE.tracks["actual"].to_numpy(), BASE.tracks["artist_id"].to_numpy()
    gains = (BRANCH.runs["svm"][0] == actual).astype(float) - (BASE.runs["svm"][0] == actual)
    tracks_of = [np.flatnonzero(artists == artist) for artist in np.unique(artists)]
    random = np.random.default_rng(5)
    means = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, len(tracks_of), len(tracks_of))
        means.append(gains[np.concatenate([tracks_of[artist] for artist in drawn])].mean())
    expected = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    assert change.interval[1:] == pytest.approx(expected, abs=0.01)
    assert change.resolution == pytest.approx(1.96 * np.std(means), rel=0.1)


def test_equal_systems_are_rarely_called_clear_and_large_changes_always() -> None:
    chance = [
        changes.changes(
            predictions(seed, {"cnn": [0.6] * 3}), predictions(seed + 100, {"cnn": [0.6] * 3}), [CNN], "accuracy"
        )
        for seed in range(40)
    ]
    assert sum(found[CNN].is_clear for found in chance) <= 6
    found = changes.changes(BASE, BRANCH, [BIRNN], "accuracy")[BIRNN]
    assert found.is_clear
    assert found.interval.low > 0


def test_more_rows_need_larger_changes() -> None:
    alone = changes.changes(BASE, BRANCH, [CNN], "accuracy")[CNN]
    together = changes.changes(BASE, BRANCH, [CNN, Pair("svm", "svm"), BIRNN], "accuracy")[CNN]
    assert together.resolution > alone.resolution
    assert together.interval == alone.interval


def test_p_values_are_corrected_for_the_rows() -> None:
    pairs = [CNN, Pair("svm", "svm"), BIRNN]
    alone = [changes.changes(BASE, BRANCH, [pair], "accuracy")[pair].p for pair in pairs]
    together = [change.p for change in changes.changes(BASE, BRANCH, pairs, "accuracy").values()]
    assert together == pytest.approx(holm(alone))
    assert together != pytest.approx(alone)


def test_a_change_is_clear_up_to_the_chosen_probability() -> None:
    change = changes.changes(BASE, BRANCH, [CNN], "accuracy")[CNN]
    found = [replace(change, p=p).is_clear for p in (0.0005, 0.049, 0.051, 1)]
    assert found == [True, True, False, False]


def test_runs_of_networks_that_were_trained_again_are_drawn_separately() -> None:
    """Runs of the same networks are drawn together: if every run gains the same, so does every resample of runs."""
    base = predictions(1, {"cnn": [0.3, 0.7]})
    better = base.runs["cnn"].copy()
    wrong = (better != base.tracks["actual"].to_numpy()).all(axis=0)
    better[:, wrong] = base.tracks["actual"].to_numpy()[wrong]
    branch = Predictions(base.tracks, {"cnn": better})
    found = changes.changes(base, branch, [CNN], "accuracy")[CNN]
    assert found.interval.low < -0.2
    together = changes.changes(base, branch, [CNN], "accuracy", same_networks=["cnn"])[CNN]
    assert together.interval.low > 0
    assert together.is_clear
    assert together.interval.value == found.interval.value


def test_equal_predictions_are_no_change() -> None:
    """Also if one revision has tracks that the other does not have."""
    assert changes.changes(BASE, BASE, [CNN], "accuracy") == {}
    part = Predictions(BASE.tracks.head(9), {key: runs[:, :9] for key, runs in BASE.runs.items()})
    assert not changes.changed(BASE, part, "cnn")
    assert changes.changes(BASE, part, [CNN], "accuracy") == {}


def test_a_system_of_the_branch_can_stand_for_that_of_the_base() -> None:
    found = changes.changes(BASE, BRANCH, [BIRNN], "accuracy", from_branch=["cnn", "in no table"])[BIRNN]
    assert found.before == pytest.approx((BRANCH.runs["cnn"] == BASE.tracks["actual"].to_numpy()).mean())


def test_only_tracks_that_both_revisions_have_are_compared() -> None:
    """In whichever order; a track whose genre or artist changed is another track."""
    rows = np.random.default_rng(0).permutation(TRACKS)[: TRACKS // 2]
    relabelled = BRANCH.tracks.iloc[rows].copy()
    relabelled.iloc[0, 2] = "Blues"
    part = Predictions(relabelled, {key: runs[:, rows] for key, runs in BRANCH.runs.items()})
    found = changes.changes(BASE, part, [CNN], "accuracy")[CNN]
    kept, actual = rows[1:], BASE.tracks["actual"].to_numpy()
    assert found.before == pytest.approx((BASE.runs["cnn"][:, kept] == actual[kept]).mean())
    assert found.after == pytest.approx((BRANCH.runs["cnn"][:, kept] == actual[kept]).mean())
    other = Predictions(BRANCH.tracks.assign(track_id=BRANCH.tracks["track_id"] + "x"), BRANCH.runs)
    assert changes.changes(BASE, other, [CNN], "accuracy") == {}


def test_systems_without_predictions_are_left_out() -> None:
    assert list(changes.changes(BASE, BRANCH, [Pair("birnn", "cnn"), CNN, Pair("cnn", "x")], "accuracy")) == [CNN]


def test_a_genre_that_only_the_base_predicts_is_wrong() -> None:
    base = Predictions(BASE.tracks, {"cnn": np.full((1, TRACKS), "Zydeco")})
    branch = Predictions(BASE.tracks, {"cnn": np.full((1, TRACKS), "Rock")})
    found = changes.changes(base, branch, [CNN], "accuracy")[CNN]
    assert (found.before, found.after) == (0, pytest.approx((BASE.tracks["actual"] == "Rock").mean()))


def test_changed_predictions_are_found() -> None:
    assert changes.changed(BASE, BRANCH, "cnn")
    assert changes.changed(BASE, BRANCH, "birnn"), "new"
    assert changes.changed(BRANCH, BASE, "birnn"), "removed"
    assert not changes.changed(BASE, BASE, "cnn")
    assert not changes.changed(BASE, BRANCH, "unknown")


def test_so_many_genres_that_memory_would_run_out_are_refused() -> None:
    many = 20_000
    tracks = pd.DataFrame({name: [str(i) for i in range(many)] for name in changes.COLUMNS})
    table = Predictions(tracks, {"cnn": tracks["actual"].to_numpy()[np.newaxis]})
    other = Predictions(tracks, {"cnn": np.roll(table.runs["cnn"], 1)})
    with pytest.raises(InputError, match=r"expected at most \d+ artists × genres², found 8000000000000$"):
        changes.changes(table, other, [CNN], "accuracy")


def test_a_table_is_read_as_it_was_written() -> None:
    """Everything is text: a genre may be called NA, true or 1e5."""
    content = (
        b"track_id,artist_id,actual,my-model_seed0,my-model_seed1,svm_seed0,note\n2,7,NA,true,1e5,NA,x\n3,7,a,b,c,d,y\n"
    )
    found = read(content, "plots/predictions.csv")
    assert found.tracks.to_numpy().tolist() == [["2", "7", "NA"], ["3", "7", "a"]]
    assert {key: runs.tolist() for key, runs in found.runs.items()} == {
        "my-model": [["true", "b"], ["1e5", "c"]], "svm": [["NA", "d"]],
    }  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [b"", b"track_id,actual\n1,Rock\n", b"\xff\xfe", b"track_id,artist_id,actual\n1,1,Rock\n1,1,Rock\n", b'a"b\n"'],
)
def test_another_table_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(InputError, match=r"^plots/predictions\.csv: [^\n]+$"):
        read(content, "plots/predictions.csv")

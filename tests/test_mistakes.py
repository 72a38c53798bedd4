"""Lists of mistakes, closest calls and disagreements, compared with sorting track by track."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from fma_genre.results import track_cards
from fma_genre.results.mistakes import LISTED, ListedTrack, closest_calls, disagreements, mistakes, track_lists
from fma_genre.results.systems import System
from synthetic import GENRES, make_baseline, make_index, make_model
from test_attack_data import Elements


def random_probabilities(seed: int, tracks: int = 60, classes: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([0.7] * classes, tracks)


@pytest.mark.parametrize("seed", range(5))
def test_lists_are_those_of_sorting_track_by_track(seed: int) -> None:
    own, first, second = (random_probabilities(10 * seed + system) for system in range(3))
    actual = np.random.default_rng(seed).integers(0, 4, len(own))
    wrong, close, different = [], [], []
    for place, row in enumerate(own.tolist()):
        ranked = sorted(row, reverse=True)
        label = row.index(ranked[0])
        close.append((ranked[0] - ranked[1], place))
        if label != actual[place]:
            wrong.append((-ranked[0], place))
        contradictions = [
            max(other[place]) for other in (first, second) if other[place].tolist().index(max(other[place])) != label
        ]
        if contradictions:
            different.append((-min(ranked[0], max(contradictions)), place))
    assert mistakes(own, actual).tolist() == [place for _, place in sorted(wrong)]
    assert closest_calls(own).tolist() == [place for _, place in sorted(close)]
    assert disagreements(own, [first, second]).tolist() == [place for _, place in sorted(different)]


def test_equal_values_keep_the_order_of_the_tracks() -> None:
    same = np.tile([0.75, 0.25], (4, 1))
    assert mistakes(same, np.array([1, 0, 1, 1])).tolist() == [0, 2, 3]
    assert closest_calls(same).tolist() == [0, 1, 2, 3]
    assert disagreements(same, [same[:, ::-1]]).tolist() == [0, 1, 2, 3]


def test_no_mistakes_and_no_other_system_give_empty_lists() -> None:
    own = random_probabilities(0)
    assert mistakes(own, own.argmax(axis=1)).tolist() == []
    assert disagreements(own, []).tolist() == []
    assert disagreements(own, [own]).tolist() == []


# Lists of systems. ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def index() -> pd.DataFrame:
    found = make_index()
    return found.assign(title=[f"Title {track}" for track in found["track_id"]], artist="Somebody")


@pytest.fixture(scope="module")
def model(index: pd.DataFrame) -> System:
    return System("cnn", True, make_model(index, 0.6))


def test_a_listed_track_has_the_predictions_of_all_systems_with_probabilities(
    index: pd.DataFrame, model: System
) -> None:
    others = [
        System("svm", False, make_baseline(index, 0.5, probabilities=True)),
        System("forest", False, make_baseline(index, 0.5)),
        System("birnn", True, make_model(index, 0.7, seed=1)),
    ]
    lists = track_lists(model, others, index)
    assert [found.heading for found in lists] == ["Most confident mistakes", "Closest calls", "Disagreements"]
    ids = index["track_id"][(index["split"] == "test") & (index["frames"] > 0)].tolist()
    for track in [track for found in lists for track in found.tracks]:
        row = index.set_index("track_id").loc[track.track_id]
        assert (track.genre, track.title, track.artist) == (row["genre"], f"Title {track.track_id}", "Somebody")
        assert [vote.system for vote in track.votes] == ["cnn", "svm", "birnn"]
        for vote, system in zip(track.votes, [model, others[0], others[2]], strict=True):
            probabilities = system.predictions.test.probabilities
            assert probabilities is not None
            mean = dict(zip(GENRES, probabilities[:, ids.index(track.track_id)].mean(axis=0), strict=True))
            assert vote.genre == max(mean, key=lambda genre: mean[genre])
            assert vote.probability == pytest.approx(mean[vote.genre], abs=1e-6)
    wrong, close, different = lists
    assert all(track.votes[0].genre != track.genre for track in wrong.tracks)
    assert all(len({vote.genre for vote in track.votes}) > 1 for track in different.tracks)
    assert len(close.tracks) == min(LISTED, close.total)
    assert close.total == len(ids)


def test_curves_are_means_over_the_runs_and_average_to_the_probability_of_the_track(
    index: pd.DataFrame, model: System
) -> None:
    for track in [track for found in track_lists(model, [], index) for track in found.tracks]:
        assert [curve.genre for curve in track.curves][:1] == [track.votes[0].genre]
        assert track.genre in [curve.genre for curve in track.curves]
        assert len({curve.genre for curve in track.curves}) == len(track.curves) == len(GENRES)
        for curve in track.curves:
            assert curve.segments.mean() == pytest.approx(curve.probability, abs=1e-6)
        assert track.starts.tolist() == [0, 2, 4]
        assert track.seconds == 6


def test_without_other_systems_there_are_no_disagreements(index: pd.DataFrame, model: System) -> None:
    lists = track_lists(model, [], index)
    assert [(len(found.tracks), found.total) for found in lists][2] == (0, 0)
    assert "<p>None.</p>" in track_cards.section("cnn", 2, lists).content


# Cards. -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onload='alert(1)", "</bdi></li>&amp;"]
)
def test_names_add_no_elements_to_a_card(index: pd.DataFrame, model: System, text: str) -> None:
    def elements(**changed: Any) -> list[Any]:
        lists = track_lists(model, [], index.assign(**changed))
        content = track_cards.section("cnn", 2, lists).content
        assert text not in content
        return [tag for tag, _ in Elements(content).found]

    assert elements(title=text, artist=text) == elements(title="a", artist="b")


def test_a_card_without_names_has_only_the_id(index: pd.DataFrame, model: System) -> None:
    content = track_cards.section("cnn", 2, track_lists(model, [], index.assign(title="", artist=""))).content
    assert "<h4>Track " in content
    assert "<p>by " not in content


def test_a_curve_is_a_step_for_each_segment(index: pd.DataFrame, model: System) -> None:
    track = track_lists(model, [], index)[1].tracks[0]
    for curve in track.curves:
        heights, ends = steps(track_cards._path(curve, track))
        shown = [1 - (y - track_cards.TOP) / track_cards.HEIGHT for y in heights]
        assert shown == pytest.approx(curve.segments.tolist(), abs=0.001)
        seconds = [6 * (x - track_cards.LEFT) / (track_cards.WIDTH - track_cards.LEFT) for x in ends]
        assert seconds == pytest.approx([2, 4, 6], abs=0.01)


def steps(path: str) -> tuple[list[float], list[float]]:
    """Heights and ends of the steps of a path `Mx y1Hx1Vy2Hx2…`."""
    beginning, *rest = path.replace(" ", "V", 1).split("V")
    assert beginning == f"M{track_cards.LEFT:.1f}"
    pairs = [step.split("H") for step in rest]
    return [float(y) for y, _ in pairs], [float(x) for _, x in pairs]


def test_a_clip_of_no_length_has_a_chart(index: pd.DataFrame, model: System) -> None:
    track: ListedTrack = track_lists(model, [], index.assign(decoded=0.0))[1].tracks[0]
    assert "nan" not in track_cards._chart(track)

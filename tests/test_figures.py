"""Figures: reproducible bytes, correct titles and labels, and any names of genres."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fma_genre.results import charts, style
from fma_genre.results.comparison import Interval
from fma_genre.results.figures import FIGURES, headings, votes_of, write_figures
from fma_genre.results.votes import Clip, votes
from synthetic import make_comparison, make_curve

COLOUR = style.colours(["cnn", "birnn"])
MATRICES = {"cnn": np.array([[3, 1], [0, 2]]), "birnn": np.array([[4, 0], [2, 0]])}
RIGHT = {"cnn": np.array([1, 1, 1, 0, 1, 1]) == 1, "birnn": np.array([1, 1, 1, 1, 0, 0]) == 1}


def genres(names: list[str]) -> dict[str, pd.DataFrame]:
    table = pd.DataFrame({"genre": names, "f1": [0.8, 0.5], "n_test": [4, 2]})
    return {"cnn": table, "birnn": table.assign(f1=[0.9, 0.0])}


def clip(segments: list[list[float]]) -> Clip:
    picture = np.arange(256 * 64).reshape(256, 64) % 16
    return Clip("Rock 3", picture.astype(np.uint8), np.array([0.0, 2.0, 4.0]), np.array(segments), 6.0)


def draw_votes(names: list[str]) -> Figure:
    shown = [clip([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])]
    return votes(shown, names, np.linspace(40, 11000, 80), COLOUR["cnn"], "cnn votes")


CHARTS: dict[str, Callable[[list[str]], Figure]] = {
    "confusions": lambda names: charts.confusions(MATRICES, names),
    "genres": lambda names: charts.genre_scores(genres(names)),
    "disagreements": lambda names: charts.disagreements(RIGHT, pd.Series(np.repeat(names, [4, 2])), names),
    "votes": draw_votes,
}


@pytest.mark.parametrize("kind", CHARTS)
def test_a_figure_has_the_same_bytes_again_and_others_for_another_genre(tmp_path: Path, kind: str) -> None:
    drawn = []
    for attempt, name in enumerate(["Rock", "Rock", "A$\\foo$", "<script>--><b>", "Forró"]):
        style.save(CHARTS[kind]([name, "Jazz"]), tmp_path / f"{attempt}.svg")
        drawn.append((tmp_path / f"{attempt}.svg").read_bytes())
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 4
    for dangerous in (b"<script", b"--><b>"):
        assert not any(dangerous in content for content in drawn)


def words(figure: Figure) -> str:
    texts = [text.get_text() for axes in figure.axes for text in [axes.title, *axes.texts]]
    headings = [axes.get_title(loc="left") for axes in figure.axes]
    return " ".join([figure.get_suptitle(), *headings, *texts]).replace("\n", " ")


def test_titles_state_the_finding() -> None:
    assert "cnn: 5 of 6 tracks correct" in words(CHARTS["confusions"](["a", "b"]))
    assert "Highest F1 by genre: cnn in 1, birnn in 1 of 2 genres" in words(CHARTS["genres"](["a", "b"]))
    found = words(CHARTS["disagreements"](["a", "b"]))
    only = "only cnn correct on 2, only birnn correct on 1"
    assert f"6 tracks: all models correct on 3, {only}, none correct on 0" in found
    assert "Final validation accuracy: cnn 50.0 ± 2.0 %" in words(charts.learning_curves({"cnn": make_curve()}))
    interval = {"cnn": Interval(0.5, 0.4, 0.6)}
    assert "50.0 %" in words(charts.accuracies(interval, {"cnn": [0.5]}, "cnn leads"))
    assert "cnn leads" in words(charts.accuracies(interval, {"cnn": [0.5]}, "cnn leads"))


def test_confusions_are_percent_of_the_actual_genre() -> None:
    shown = words(charts.confusions({"cnn": np.array([[3, 1], [0, 2]])}, ["a", "b"]))
    assert re.findall(r"\b(75|25|100|0)\b", shown) == ["75", "25", "100"]


def bars(figure: Figure) -> dict[float, list[tuple[float, float]]]:
    """Left and right ends of the bars of each genre, by the genre's position."""
    found: dict[float, list[tuple[float, float]]] = {}
    for bar in figure.axes[0].patches:
        centre = round(bar.get_y() + bar.get_height() / 2)  # type: ignore[attr-defined]
        ends = bar.get_x(), bar.get_x() + bar.get_width()  # type: ignore[attr-defined]
        found.setdefault(centre, []).append(ends)
    return found


@pytest.mark.parametrize("models", [2, 3, 4])
def test_disagreements_fill_each_genres_bar_once(models: int) -> None:
    generator = np.random.default_rng(0)
    right = {f"model{place}": generator.random(60) < 0.6 for place in range(models)}
    names = pd.Series(generator.choice(["a", "b"], 60))
    found = bars(charts.disagreements(right, names, ["a", "b"]))
    assert set(found) == {0, 1}
    for ends in found.values():
        assert len(ends) == models + 2 + (models > 2)
        assert ends[0][0] == 0
        assert ends[-1][1] == pytest.approx(100)
        assert [end for _, end in ends[:-1]] == pytest.approx([start for start, _ in ends[1:]])


def test_votes_are_those_of_the_leading_genres_from_segment_to_segment() -> None:
    below = draw_votes(["a", "b"]).axes[1]
    np.testing.assert_allclose(np.asarray(below.collections[0].get_array()), [[0.9, 0.2, 0.5], [0.1, 0.8, 0.5]])
    assert [label.get_text() for label in below.get_yticklabels()] == ["a", "b"]
    np.testing.assert_array_equal(below.collections[0]._coordinates[0, :, 0], [0, 2, 4, 6])  # type: ignore[attr-defined]


def test_a_model_has_its_colour_by_its_place() -> None:
    assert COLOUR["cnn"] != COLOUR["birnn"]
    assert style.colours(["cnn", "other"])["cnn"] == COLOUR["cnn"]


def test_the_first_two_colours_differ_in_grey_print() -> None:
    """By the luminance of ITU-R BT.709."""
    grey = [
        sum(weight * int(colour[place : place + 2], 16) for weight, place in ((0.2126, 1), (0.7152, 3), (0.0722, 5)))
        for colour in style.PALETTE[:2]
    ]
    assert abs(grey[0] - grey[1]) > 255 / 4


# All figures of a comparison. -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders with the figures of comparisons, by the number of models."""
    folders = {}
    for models, baselines in ((1, 0), (2, 1), (4, 2)):
        folders[models] = tmp_path_factory.mktemp("figures") / "comparison"
        write_figures(make_comparison(models, baselines), folders[models])
    return folders


@pytest.mark.parametrize("models", [1, 2, 4])
def test_there_is_a_figure_of_each_kind_and_votes_of_each_model(drawn: dict[int, Path], models: int) -> None:
    names = ["cnn", "birnn", "cnn_stft", "birnn_mel"][:models]
    expected = set(headings(names)) - (set() if models > 1 else {"disagreement"})
    assert {path.stem for path in drawn[models].glob("*.svg")} == expected
    assert set(FIGURES) | {f"votes_{name}" for name in names} == set(headings(names))


@pytest.mark.parametrize("models", [1, 2, 4])
def test_figures_name_every_system(drawn: dict[int, Path], models: int) -> None:
    comparison = make_comparison(models, {1: 0, 2: 1, 4: 2}[models])
    accuracy = (drawn[models] / "accuracy.svg").read_text()
    for result in comparison.rows:
        assert f"<!-- {result.key} -->" in accuracy
    for name in ("genres", "confusion", "curves"):
        text = (drawn[models] / f"{name}.svg").read_text()
        assert all(model.key in text for model in comparison.models)
        assert "svm" not in text


def test_the_same_comparison_gives_the_same_files(drawn: dict[int, Path], tmp_path: Path) -> None:
    shutil.copytree(drawn[4], tmp_path / "comparison")
    write_figures(make_comparison(2, 1), tmp_path / "comparison")
    found, expected = (
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in (tmp_path / "comparison", drawn[2])
    )
    assert found == expected


def test_models_have_the_colours_of_their_places_and_others_are_grey() -> None:
    (axes,) = FIGURES["accuracy"].draw(make_comparison(4, 2)).axes
    intervals = [line.get_color() for line in axes.lines if line.get_linewidth() == 2.5]
    assert intervals == [style.GREY] * 3 + list(style.PALETTE[:4])
    assert [label.get_text() for label in axes.get_yticklabels()][:3] == ["majority", "svm", "forest"]


def test_an_example_is_titled_by_the_ensembles_verdict() -> None:
    comparison = make_comparison()
    model = comparison.models[0]
    test = model.system.predictions.test
    assert test.probabilities is not None
    share = test.probabilities.mean(axis=0)[3]
    figure = votes_of(model, comparison)
    expected = (
        f"Closest call: track {test.tracks[3]}, {comparison.tracks['genre'].iloc[3]},"
        f" predicted as {comparison.classes[share.argmax()]} ({100 * share.max():.0f}\N{NO-BREAK SPACE}%)"
    )
    assert expected in words(figure)

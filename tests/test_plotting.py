"""Figures: the same numbers give the same bytes, whatever the genres are called; titles and labels say what is true."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fma_genre import plotting

COLOUR = plotting.colours(["cnn", "birnn"])
MATRICES = {"cnn": np.array([[3, 1], [0, 2]]), "birnn": np.array([[4, 0], [2, 0]])}
RIGHT = {"cnn": np.array([1, 1, 1, 0, 1, 1]) == 1, "birnn": np.array([1, 1, 1, 1, 0, 0]) == 1}


def genres(names: list[str]) -> dict[str, pd.DataFrame]:
    table = pd.DataFrame({"genre": names, "f1": [0.8, 0.5], "n_test": [4, 2]})
    return {"cnn": table, "birnn": table.assign(f1=[0.9, 0.0])}


def clip(segments: list[list[float]]) -> plotting.Votes:
    levels = np.arange(300 * 80).reshape(300, 80) % 256
    return plotting.Votes("Rock 3", levels.astype(np.uint8), np.array([0.0, 2.0, 4.0]), np.array(segments), 6.0)


def votes(names: list[str]) -> Figure:
    shown = [clip([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])]
    return plotting.votes(shown, names, np.linspace(40, 11000, 80), COLOUR["cnn"], "cnn votes")


FIGURES: dict[str, Callable[[list[str]], Figure]] = {
    "confusions": lambda names: plotting.confusions(MATRICES, names, COLOUR),
    "genres": lambda names: plotting.genres(genres(names), COLOUR),
    "disagreements": lambda names: plotting.disagreements(RIGHT, pd.Series(np.repeat(names, [4, 2])), names, COLOUR),
    "votes": votes,
}


@pytest.mark.parametrize("kind", FIGURES)
@pytest.mark.parametrize("name", ["Rock", "A$\\foo$", "<script>--><b>", "Forró"])
def test_a_figure_has_the_same_bytes_again(tmp_path: Path, kind: str, name: str) -> None:
    drawn = []
    for attempt, names in enumerate([[name, "Jazz"], [name, "Jazz"], ["Folk", "Jazz"]]):
        plotting.save(FIGURES[kind](names), tmp_path / f"{attempt}.svg")
        drawn.append((tmp_path / f"{attempt}.svg").read_bytes())
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert b"<script" not in drawn[0]
    assert b"--><b>" not in drawn[0]


def words(figure: Figure) -> str:
    texts = [text.get_text() for axes in figure.axes for text in [axes.title, *axes.texts]]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    return " ".join([figure.get_suptitle(), *titles, *texts]).replace("\n", " ")


def test_titles_state_the_finding() -> None:
    assert "cnn: 5 of 6 tracks right" in words(FIGURES["confusions"](["a", "b"]))
    assert "Higher F1, of 2 genres: cnn in 1, birnn in 1" in words(FIGURES["genres"](["a", "b"]))
    found = words(FIGURES["disagreements"](["a", "b"]))
    assert "Of 6 tracks, all models are right on 3, only cnn is on 2, only birnn is on 1, none is on 0" in found
    curve = pd.DataFrame({"epoch": [1, 2], "validation_accuracy": [0.1, 0.5], "validation_accuracy_std": [0.0, 0.02]})
    assert "cnn ends at 50.0 ± 2.0 %" in words(plotting.learning_curves({"cnn": curve}, COLOUR))


def test_confusions_are_percent_of_the_actual_genre() -> None:
    shown = words(plotting.confusions({"cnn": np.array([[3, 1], [0, 2]])}, ["a", "b"], COLOUR))
    assert re.findall(r"\b(75|25|100|0)\b", shown) == ["75", "25", "100"]


def test_disagreements_fill_each_genres_bar() -> None:
    figure = FIGURES["disagreements"](["a", "b"])
    ends: dict[float, float] = {}
    for bar in figure.axes[0].patches:
        centre = round(bar.get_y() + bar.get_height() / 2)  # type: ignore[attr-defined]
        ends[centre] = max(ends.get(centre, 0), bar.get_x() + bar.get_width())  # type: ignore[attr-defined]
    assert ends == {0: 100, 1: 100}


def test_votes_are_those_of_the_leading_genres_from_segment_to_segment() -> None:
    below = votes(["a", "b"]).axes[1]
    np.testing.assert_allclose(np.asarray(below.collections[0].get_array()), [[0.9, 0.2, 0.5], [0.1, 0.8, 0.5]])
    assert [label.get_text() for label in below.get_yticklabels()] == ["a", "b"]
    np.testing.assert_array_equal(below.collections[0]._coordinates[0, :, 0], [0, 2, 4, 6])  # type: ignore[attr-defined]


@pytest.mark.parametrize("shape", [(7, 5), (256, 64), (1292, 512), (1, 1)])
def test_a_spectrogram_is_shown_by_means_of_neighbours(shape: tuple[int, int]) -> None:
    levels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    shown = plotting.pooled(levels)
    assert shown.shape == (min(shape[0], 256), min(shape[1], 64))
    assert (shown.min(), shown.max()) >= (0, 0)
    assert shown.max() == 15
    flat = plotting.pooled(np.full(shape, 9, np.uint8))
    assert (flat == 15).all()


def test_a_model_has_its_colour_by_its_place() -> None:
    assert COLOUR["cnn"] != COLOUR["birnn"]
    assert plotting.colours(["cnn", "other"])["cnn"] == COLOUR["cnn"]


def test_the_first_two_colours_differ_in_grey_print() -> None:
    """By the luminance of ITU-R BT.709."""
    grey = [
        sum(weight * int(colour[place : place + 2], 16) for weight, place in ((0.2126, 1), (0.7152, 3), (0.0722, 5)))
        for colour in plotting.PALETTE[:2]
    ]
    assert abs(grey[0] - grey[1]) > 255 / 4

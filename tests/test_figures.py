"""Figures: reproducible bytes, correct titles and labels, and any names of genres."""

import itertools
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from sklearn.metrics import confusion_matrix

from fma_genre.results import charts, style
from fma_genre.results.bootstrap import Interval
from fma_genre.results.comparison import Comparison
from fma_genre.results.figures import FIGURES, confusion_of, headings, votes_of, write_figures
from fma_genre.results.page import description
from fma_genre.results.votes import Clip, votes
from synthetic import SIXTEEN, compare_systems, make_comparison, make_curve, make_index, make_model, make_systems

COLOUR = style.colours(["cnn", "birnn"])
MATRIX = np.array([[3, 1], [0, 2]])
CORRECT = {"cnn": np.array([[1, 1, 1, 0, 1, 1]]) == 1, "birnn": np.array([[1, 1, 1, 1, 0, 0]]) == 1}


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
    "confusion": lambda names: charts.confusion(MATRIX, names, COLOUR["cnn"], "cnn"),
    "genres": lambda names: charts.genre_scores(genres(names)),
    "agreement": lambda names: charts.agreements(CORRECT, pd.Series(np.repeat(names, [4, 2])), names),
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
    """All text of a figure but the labels of its axes' ticks."""
    texts = [text.get_text() for axes in figure.axes for text in [axes.title, *axes.texts]]
    headings = [axes.get_title(loc="left") for axes in figure.axes]
    legends = [text.get_text() for legend in figure.findobj(Legend) for text in legend.get_texts()]
    labels = [axes.get_xlabel() for axes in figure.axes]
    return " ".join([figure.get_suptitle(), *headings, *texts, *legends, *labels]).replace("\n", " ")


# Descriptions. ----------------------------------------------------------------------------------------------------


CURVES = {"cnn": make_curve(0.5)}
DESCRIPTIONS = {  # sentences in the description of each chart
    "confusion": "Confusion matrix of cnn. Right: Jazz 100 %, Rock 75 %. Most frequent confusions: Rock as Jazz 25 %.",
    "genres": "F1 of each genre, the highest first. cnn: Rock 80 %, Jazz 50 %. birnn: Rock 90 %, Jazz 0 %.",
    "agreement": "Agreement of the models on 6 tracks: all correct on 50 %, only cnn correct on 33 %, "
    "only birnn correct on 17 %, none correct on 0 %. All correct: Rock 75 %, Jazz 0 %. "
    "None correct: Rock 0 %, Jazz 0 %.",
    "votes": "cnn votes. Rock 3.",
}


@pytest.mark.parametrize("kind", CHARTS)
def test_a_description_has_the_numbers_of_the_chart(tmp_path: Path, kind: str) -> None:
    style.save(CHARTS[kind](["Rock", "Jazz"]), tmp_path / "a.svg")
    assert description((tmp_path / "a.svg").read_bytes()).replace("\N{NO-BREAK SPACE}", " ") == DESCRIPTIONS[kind]


def test_intervals_and_curves_are_described() -> None:
    interval = {"svm": Interval(-0.062, -0.1, 0.041)}
    figures = [
        charts.accuracies({"svm": Interval(0.6, 0.5, 0.65)}, {"svm": [0.6]}, [], "svm leads", confidence=0.9),
        charts.differences(interval, [], "cnn", confidence=0.95),
        charts.learning_curves(CURVES, {"cnn": 2}),
    ]
    assert [str(figure.get_label()).replace("\N{NO-BREAK SPACE}", " ") for figure in figures] == [
        "svm leads. Test accuracy with its 90 % interval: svm 60.0 % (50.0 % to 65.0 %).",
        "Differences in accuracy from cnn in points, with 95 % intervals: svm −6.2 (−10.0 to +4.1).",
        "Validation accuracy after the first and the last epoch: cnn 10.0 % and 50.0 %.",
    ]


def test_a_figure_without_a_description_has_its_title(tmp_path: Path) -> None:
    figure, _ = style.single_axes(4, 2)
    style.set_title(figure, "cnn & birnn <both> " * 5)
    style.save(figure, tmp_path / "a.svg")
    assert description((tmp_path / "a.svg").read_bytes()) == ("cnn & birnn <both> " * 5).strip()


@pytest.mark.parametrize("content", [b"", b"<svg/>", b"\xff", b"<svg><title>"])
def test_a_file_that_is_no_figure_has_no_description(content: bytes) -> None:
    assert description(content) == ""


# Accuracies and differences. --------------------------------------------------------------------------------------


def test_accuracies_are_shown_with_intervals_and_single_runs() -> None:
    intervals = {"svm": Interval(0.6, 0.5, 0.65), "cnn": Interval(0.5, 0.4, 0.7)}
    figure = charts.accuracies(intervals, {"svm": [0.6], "cnn": [0.45, 0.55]}, ["cnn"], "cnn leads", confidence=0.95)
    lines = [[list(np.asarray(part)) for part in line.get_data()] for line in figure.axes[0].lines]
    assert lines == [
        [[0.5, 0.65], [0, 0]], [[0.6], [0]], [[0.4, 0.7], [1, 1]], [[0.5], [1]], [[0.45, 0.55], [1.25, 1.25]],
    ]  # fmt: skip
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["svm", "cnn"]
    for text in ("cnn leads", "60.0 %", "50.0 %", "marker: mean of the runs; ticks: single runs; line: 95 % interval"):
        assert text in words(figure)
    single = charts.accuracies(intervals, {"svm": [0.6], "cnn": [0.5]}, ["cnn"], "cnn leads", confidence=0.95)
    assert len(single.axes[0].lines) == 4
    assert "runs" not in words(single)
    assert "(line: 95 % interval)" in words(single)


@pytest.mark.parametrize(
    "intervals",
    [
        {"a": Interval(0.1, 0.05, 0.2), "b": Interval(0.02, -0.01, 0.05)},
        {"a": Interval(-0.6, -0.7, -0.5)},
        {"a": Interval(0.0, 0.0, 0.0)},
    ],
)
def test_axis_of_differences_includes_0_and_all_intervals(intervals: dict[str, Interval]) -> None:
    figure = charts.differences(intervals, ["a"], "cnn", confidence=0.95)
    low, high = figure.axes[0].get_xlim()
    assert low < min(0, *(interval.low for interval in intervals.values()))
    assert high > max(0, *(interval.high for interval in intervals.values()))
    assert "from cnn" in words(figure)
    for interval in intervals.values():
        assert f"{100 * interval.value:+.1f}".replace("-", "−") in words(figure)


@pytest.mark.parametrize("size", [0.002, 0.01, 0.3])
def test_ticks_of_small_and_large_differences_are_labelled_by_their_places(size: float) -> None:
    figure = charts.differences({"a": Interval(0, -size, size)}, ["a"], "cnn", confidence=0.95)
    FigureCanvasAgg(figure).draw()
    ticks = [(tick.get_position()[0], tick.get_text()) for tick in figure.axes[0].get_xticklabels()]
    assert len(ticks) > 2
    for place, text in ticks:
        assert float(text.replace("−", "-")) == pytest.approx(100 * place, abs=1e-9)


# Genres. ----------------------------------------------------------------------------------------------------------


def cells(figure: Figure) -> dict[tuple[float, float], tuple[str, str, object]]:
    """Text, weight and colour of the cells of a table by column and row."""
    return {
        text.get_position(): (text.get_text(), str(text.get_fontweight()), text.get_color())
        for text in figure.axes[0].texts
    }


def test_the_highest_f1_of_a_genre_is_bold_and_a_missing_one_is_empty() -> None:
    tables = genres(["a", "b"])
    tables["svm"] = tables["cnn"].assign(f1=[np.nan, 0.5])
    found = {place: (text, weight) for place, (text, weight, _) in cells(charts.genre_scores(tables)).items()}
    assert found == {
        (0, 0): ("80", "normal"), (1, 0): ("90", "bold"),
        (0, 1): ("50", "bold"), (1, 1): ("0", "normal"), (2, 1): ("50", "bold"),
    }  # fmt: skip
    alone = charts.genre_scores({"cnn": tables["cnn"]})
    assert "bold" not in {weight for _, weight, _ in cells(alone).values()} | set(words(alone).split())


def test_no_f1_of_0_is_bold_and_equal_ones_are() -> None:
    tables = genres(["a", "b"])
    tables["svm"] = tables["birnn"].assign(f1=[0.8957, 0.004])
    tables["cnn"]["f1"] = [0.8, 0.0]
    weights = {place: weight for place, (_, weight, _) in cells(charts.genre_scores(tables)).items()}
    assert weights == {
        (0, 0): "normal", (1, 0): "bold", (2, 0): "bold", (0, 1): "normal", (1, 1): "normal", (2, 1): "normal",
    }  # fmt: skip


def test_a_genre_without_test_tracks_has_no_f1() -> None:
    table = pd.DataFrame({"genre": ["a", "b"], "f1": [0.8, np.nan], "n_test": [4, 0]})
    texts = [text for text, *_ in cells(charts.genre_scores({"cnn": table, "birnn": table})).values()]
    assert texts == ["80", "80"]


def test_confusions_are_percent_of_the_actual_genre() -> None:
    found = cells(charts.confusion(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), ["a", "b", "c"], COLOUR["cnn"], ""))
    assert {place: text for place, (text, *_) in found.items()} == {(0, 0): "75", (1, 0): "25", (1, 1): "100"}
    rare = cells(charts.confusion(np.array([[991, 5, 4], [0, 1, 0], [0, 0, 1]]), ["a", "b", "c"], COLOUR["cnn"], ""))
    assert {place: text for place, (text, *_) in rare.items()} == {(0, 0): "99", (1, 1): "100", (2, 2): "100"}


@pytest.mark.parametrize("colour", style.PALETTE)
def test_text_on_a_cell_has_a_contrast_of_at_least_4(colour: str) -> None:
    """By the definition of WCAG 2 for the contrast of text."""

    def luminance(shade: Any) -> float:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(shade)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for share in np.linspace(0, 1, 21):
        shade = style.shades(colour)
        dark, light = sorted([luminance(shade(share)), luminance(style.ink(shade, share))])
        assert (light + 0.05) / (dark + 0.05) >= 4


# Agreement, learning curves and votes. ----------------------------------------------------------------------------


def bars(figure: Figure) -> dict[float, list[tuple[float, float]]]:
    """Left and right ends of the bars of each genre, by the genre's position."""
    found: dict[float, list[tuple[float, float]]] = {}
    for bar in figure.axes[0].patches:
        centre = round(bar.get_y() + bar.get_height() / 2)  # type: ignore[attr-defined]
        ends = bar.get_x(), bar.get_x() + bar.get_width()  # type: ignore[attr-defined]
        found.setdefault(centre, []).append(ends)
    return found


def test_agreement_of_two_models_names_each_of_them() -> None:
    figure = CHARTS["agreement"](["a", "b"])
    found = "6 tracks: all correct on 50 %, only cnn correct on 33 %, only birnn correct on 17 %, none correct on 0 %"
    assert found in words(figure).replace("\N{NO-BREAK SPACE}", " ")
    assert bars(figure) == {
        0: [(0, 75), (75, 75), (75, 100), (100, 100)],
        1: [(0, 0), (0, 100), (100, 100), (100, 100)],
    }


@pytest.mark.parametrize("models", [3, 4, 10])
def test_agreement_of_more_models_says_how_many_are_correct(models: int) -> None:
    generator = np.random.default_rng(0)
    correct = {f"model{place}": generator.random((2, 60)) < 0.6 for place in range(models)}
    names = pd.Series(generator.choice(["a", "b"], 60))
    figure = charts.agreements(correct, names, ["a", "b"])
    number = sum(correct.values())
    for place, genre in enumerate(("a", "b")):
        widths = [right - left for left, right in bars(figure)[place]]
        share = np.asarray(number)[:, names == genre] / models
        groups = [share == 1, (share < 1) & (share >= 0.5), (share < 0.5) & (share > 0), share == 0]
        assert widths == pytest.approx([100 * group.mean() for group in groups])
    (legend,) = figure.legends
    expected = ["all correct", "half or more, not all", "fewer than half", "none correct"]
    assert [text.get_text() for text in legend.get_texts()] == expected
    assert len({bar.get_facecolor() for bar in figure.axes[0].patches}) == 4


def test_a_model_with_fewer_runs_is_compared_by_its_first_runs_again() -> None:
    correct = {"cnn": np.array([[True], [False], [True]]), "birnn": np.array([[True]])}
    found = bars(charts.agreements(correct, pd.Series(["a"]), ["a"]))[0]
    np.testing.assert_allclose(found, [(0, 200 / 3), (200 / 3, 200 / 3), (200 / 3, 100), (100, 100)])


def test_learning_curves_of_several_runs_have_a_band_and_a_single_run_has_none() -> None:
    curves = {"cnn": make_curve(0.5), "birnn": make_curve(0.6)}
    figure = charts.learning_curves(curves, {"cnn": 2, "birnn": 1})
    assert "cnn: 50.0 ± 2.0 % birnn: 60.0 %" in words(figure)
    (band,) = figure.axes[0].collections
    heights = np.asarray(band.get_paths()[0].vertices)[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((0.1, 0.52))
    alone = charts.learning_curves({"cnn": make_curve()}, {"cnn": 1})
    assert "±" not in words(alone)
    assert len(alone.axes[0].collections) == 0


def test_votes_are_those_of_the_leading_genres_from_segment_to_segment() -> None:
    below = draw_votes(["a", "b"]).axes[1]
    np.testing.assert_allclose(np.asarray(below.collections[0].get_array()), [[0.9, 0.2, 0.5], [0.1, 0.8, 0.5]])
    assert [label.get_text() for label in below.get_yticklabels()] == ["a", "b"]
    np.testing.assert_array_equal(below.collections[0]._coordinates[0, :, 0], [0, 2, 4, 6])  # type: ignore[attr-defined]


# Style. -----------------------------------------------------------------------------------------------------------


def test_ten_models_have_different_colours_and_marks_that_depend_on_their_place_only() -> None:
    ten = [f"model{place}" for place in range(10)]
    for assign in (style.colours, style.marks):
        assert len(set(assign(ten).values())) == 10
        assert assign(["cnn", "other"])["cnn"] == assign(["cnn", "birnn"])["cnn"]
    assert style.GREY not in style.PALETTE


def test_the_first_two_colours_differ_in_grey_print() -> None:
    """By the luminance of ITU-R BT.709."""
    grey = [
        sum(weight * int(colour[place : place + 2], 16) for weight, place in ((0.2126, 1), (0.7152, 3), (0.0722, 5)))
        for colour in style.PALETTE[:2]
    ]
    assert abs(grey[0] - grey[1]) > 255 / 4


def test_a_title_breaks_into_lines_but_not_before_a_percent_sign() -> None:
    title = "the data cannot tell " + "model, " * 20 + "apart from cnn (50.1 %)"
    for width in np.arange(1.7, 5.4, 0.1):
        lines = style.wrapped(title, width).split("\n")
        assert len(lines) > 2
        assert max(map(len, lines)) <= width * style.CHARACTERS
        assert not [line for line in lines if line.startswith("%")]
        assert " ".join(lines).replace("\N{NO-BREAK SPACE}", " ") == title


# All figures of a comparison. -------------------------------------------------------------------------------------


CASES: dict[str, tuple[Comparison, set[str]]] = {  # comparison, and figures that it lacks
    "one system": (make_comparison(1, 0, runs=1), {"agreement"}),
    "a model and a baseline": (make_comparison(1, 1, reference="svm"), {"agreement"}),
    "two models": (make_comparison(2, 1), set()),
    "ten systems, sixteen genres": (make_comparison(7, 3, genres=SIXTEEN, fusion=("cnn", "birnn")), set()),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the figures of each case."""
    folders = {case: tmp_path_factory.mktemp("figures") / "comparison" for case in CASES}
    for case, folder in folders.items():
        write_figures(CASES[case][0], folder)
    return folders


@pytest.mark.parametrize("case", CASES)
def test_there_is_a_figure_of_each_kind_and_two_of_each_model(drawn: dict[str, Path], case: str) -> None:
    comparison, absent = CASES[case]
    names = [model.key for model in comparison.models]
    assert {path.stem for path in drawn[case].glob("*.svg")} == set(headings(names)) - absent
    of_models = {f"{kind}_{name}" for kind in ("confusion", "votes") for name in names}
    assert set(FIGURES) | of_models == set(headings(names))


def test_a_system_that_is_compared_with_nothing_has_no_figure_of_differences(tmp_path: Path) -> None:
    index = make_index()
    write_figures(compare_systems(make_systems({"cnn": make_model(index, 0.5)}, {}), index), tmp_path / "figures")
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn >= {"accuracy", "genres", "curves", "confusion_cnn", "votes_cnn"}
    assert not drawn & {"differences", "agreement"}


@pytest.mark.parametrize("case", CASES)
def test_figures_name_every_system_and_genre(drawn: dict[str, Path], case: str) -> None:
    comparison, _ = CASES[case]
    models = {model.key for model in comparison.models}
    systems = {result.key for result in comparison.systems}
    genres = {genre.replace("&", "&amp;") for genre in comparison.genres}
    expected = {
        "accuracy": {result.key for result in comparison.rows},
        "differences": {difference.key for difference in comparison.differences},
        "curves": models,
        "genres": systems | genres,
        **{f"confusion_{model}": genres for model in models},
    }
    for name, texts in expected.items():
        comments = re.findall("<!-- (.*?) -->", (drawn[case] / f"{name}.svg").read_text())
        found = {comment.partition(": ")[0].partition(" (")[0] for comment in comments}
        assert texts <= found


def extent(artist: Artist) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a text in pixels."""
    return artist.get_window_extent().extents


@pytest.mark.parametrize("case", CASES)
def test_everything_is_within_the_figure_and_labels_of_ticks_do_not_overlap(case: str) -> None:
    comparison, absent = CASES[case]
    figures = {name: figure.draw(comparison) for name, figure in FIGURES.items() if name not in absent}
    figures |= {f"confusion_{model.key}": confusion_of(model, comparison) for model in comparison.models[-2:]}
    for name, figure in figures.items():
        FigureCanvasAgg(figure).draw()
        left, bottom, right, top = figure.get_tightbbox().extents
        width, height = figure.get_size_inches()
        assert left >= 0, name
        assert bottom >= 0, name
        assert right <= width, name
        assert top <= height, name
        for axes in figure.axes:
            for labels, low, high in ((axes.get_yticklabels(), 1, 3), (axes.get_xticklabels(), 0, 2)):
                ends = sorted((extent(label)[low], extent(label)[high]) for label in labels if label.get_text())
                assert all(one[1] <= two[0] + 1 for one, two in itertools.pairwise(ends)), name


def test_the_same_comparison_gives_the_same_files(drawn: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(drawn["ten systems, sixteen genres"], tmp_path / "comparison")
    write_figures(make_comparison(2, 1), tmp_path / "comparison")
    found, expected = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (tmp_path / "comparison", drawn["two models"])
    )
    assert found == expected


def test_models_have_the_colours_of_their_places_and_others_are_grey() -> None:
    comparison, _ = CASES["ten systems, sixteen genres"]
    assert len(comparison.systems) == 10
    (axes,) = FIGURES["accuracy"].draw(comparison).axes
    intervals = [line.get_color() for line in axes.lines if line.get_linewidth() == 2.5]
    place = {model.key: colour for model, colour in zip(comparison.models, style.PALETTE, strict=False)}
    assert intervals == [place.get(result.key, style.GREY) for result in comparison.rows]
    assert [label.get_text() for label in axes.get_yticklabels()] == [result.key for result in comparison.rows]


def test_confusion_matrix_is_the_mean_over_the_runs() -> None:
    comparison, _ = CASES["two models"]
    model = comparison.models[1]
    pairs = [(comparison.actual, run) for run in model.labels]
    mean = np.mean([confusion_matrix(*pair, normalize="true") for pair in pairs], axis=0)
    order = [comparison.classes.index(genre) for genre in comparison.genres]
    figure = confusion_of(model, comparison)
    image = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(image, mean[np.ix_(order, order)], atol=1e-9)
    accuracy = np.mean([(run == comparison.actual).mean() for run in model.labels])
    assert f"birnn: {100 * accuracy:.1f}\N{NO-BREAK SPACE}% correct" in words(figure)


def test_an_example_is_titled_by_the_mean_prediction_of_the_runs() -> None:
    comparison, _ = CASES["two models"]
    model = comparison.models[0]
    test = model.system.predictions.test
    assert test.probabilities is not None
    share = test.probabilities.mean(axis=0)[3]
    figure = votes_of(model, comparison)
    expected = (
        f"Smallest margin: track {test.tracks[3]}, {comparison.tracks['genre'].iloc[3]},"
        f" predicted as {comparison.classes[share.argmax()]} ({100 * share.max():.0f}\N{NO-BREAK SPACE}%)"
    )
    assert expected in words(figure)

"""Learning curves: points, gains and the figure, from results that the search for a recipe has written."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from project import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import growth
from fma_genre.common.errors import InputError

CORRECT = {0.25: (40, 52, 43), 0.5: (50, 54, 58), 1.0: (60, 61, 65)}  # of 100, by share and fold


def record(fold: int, share: float, correct: int, dataset: str = "music", series: str = "recipe") -> dict[str, object]:
    return {
        "key": f"{dataset} {series} {share} {fold}",
        "candidate": f"{series} 1/{1 / share:g}",
        "dataset": dataset,
        "model": "cnn",
        "repeat": 0,
        "fold": fold,
        "share": share,
        "training": 200 * share,
        "tracks": 100,
        "correct": {"clean": correct},
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The folds are not in order, as in a search with several workers."""
    records = [record(fold, share, CORRECT[share][fold]) for share in (1.0, 0.25, 0.5) for fold in (2, 0, 1)]
    records += [record(fold, share, 30 + fold, "instruments", "long") for share in (0.5, 1.0) for fold in range(3)]
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(found) + "\n" for found in records))
    return path


def test_a_point_is_the_mean_over_the_folds_with_a_corrected_error(results: Path) -> None:
    points = {
        point.tracks: point
        for point in growth.read_points([results])[1]
        if (point.dataset, point.series) == ("music", "recipe")
    }
    assert list(points) == [50, 100, 200]
    for share, correct in CORRECT.items():
        point = points[round(200 * share)]
        assert point.accuracies.tolist() == pytest.approx(list(correct))
        # The folds of all tracks have 100 test tracks and 200 training tracks.
        assert point.error == pytest.approx(np.std(correct, ddof=1) * np.sqrt(1 / 3 + 100 / 200))


def test_a_gain_is_paired_by_fold(results: Path) -> None:
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in growth.points_table(growth.read_points([results])[1]).splitlines()
    ]
    changes = np.subtract(CORRECT[0.5], CORRECT[0.25])
    error = changes.std(ddof=1) * np.sqrt(1 / 3 + 1 / 2)
    assert lines[2] == [
        "music",
        "recipe",
        "50",
        "3",
        f"{45:.1f} ± {growth.standard_error(np.array(CORRECT[0.25]), 0.5):.1f}",
        "",
        "",
    ]
    assert lines[3][2:4] == ["100", "3"]
    assert lines[3][5] == f"{changes.mean():+.1f} ± {error:.1f}"
    assert lines[5][:2] == ["instruments", "long"]


def test_the_figure_has_a_panel_for_each_data_set(results: Path) -> None:
    figure = growth.draw("cnn", growth.read_points([results])[1])
    music, instruments = figure.axes
    assert (music.get_title(loc="left"), instruments.get_title(loc="left")) == ("music", "instruments")
    (container,) = music.containers
    assert list(container[0].get_ydata()) == pytest.approx([45, 54, 62])
    legend = instruments.get_legend()
    assert legend is not None
    assert [label.get_text() for label in legend.get_texts()] == ["long"]


def test_a_file_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl: expected results of one model, found none$"):
        growth.read_points([tmp_path / "none.jsonl"])


def test_results_of_an_unfinished_search_are_refused(results: Path) -> None:
    lines = results.read_text().splitlines()
    results.write_text("".join(f"{line}\n" for line in lines[:-1]))
    message = r"^instruments, long 100 and long 200: expected the same folds, found 3 and 2 folds"
    with pytest.raises(InputError, match=message):
        growth.points_table(growth.read_points([results])[1])


def test_a_series_is_compared_with_the_first_one(results: Path) -> None:
    others = [record(fold, 0.5, correct, series="other") for fold, correct in enumerate((51, 57, 56))]
    results.write_text(results.read_text() + "".join(f"{json.dumps(found)}\n" for found in others))
    (row,) = (line for line in growth.points_table(growth.read_points([results])[1]).splitlines() if "| other" in line)
    changes = np.subtract((51, 57, 56), CORRECT[0.5])
    error = changes.std(ddof=1) * np.sqrt(1 / 3 + 1 / 2)
    assert row.split("|")[-2].strip() == f"{changes.mean():+.1f} ± {error:.1f}"


def test_results_of_two_models_are_refused(results: Path) -> None:
    results.write_text(results.read_text() + json.dumps(record(0, 1.0, 3) | {"model": "birnn", "key": "b"}) + "\n")
    with pytest.raises(InputError, match=r"results\.jsonl: expected results of one model, found birnn, cnn$"):
        growth.read_points([results])

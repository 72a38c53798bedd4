"""Figures: the same numbers give the same bytes, whatever the genres are called."""

from pathlib import Path

import numpy as np
import pytest

from fma_genre import plotting


def draw(path: Path, names: list[str]) -> bytes:
    plotting.save(plotting.confusion(np.array([[3, 1], [0, 2]]), names, "cnn"), path)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["Rock", "A$\\foo$", "<script>", "Forró"])
def test_a_figure_has_the_same_bytes_again(tmp_path: Path, name: str) -> None:
    first = draw(tmp_path / "first.svg", [name, "Jazz"])
    assert draw(tmp_path / "second.svg", [name, "Jazz"]) == first
    assert draw(tmp_path / "other.svg", ["Folk", "Jazz"]) != first


def test_a_model_has_its_colour_by_its_place() -> None:
    colours = plotting.colours(["cnn", "birnn"])
    assert colours["cnn"] != colours["birnn"]
    assert plotting.colours(["cnn", "other"])["cnn"] == colours["cnn"]

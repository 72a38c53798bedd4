"""Charts of the data set: the drawn numbers are those of the index, in pictures and in words."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import show
from fma_genre import store
from fma_genre.common.params import load
from fma_genre.results import data_charts, style
from fma_genre.results.data_charts import ALL, data_figures, formats, ranges, sizes
from fma_genre.results.page import description
from project import PARAMS
from synthetic import SIXTEEN, make_index


def make_data(genres: tuple[str, ...] = ("Folk", "Jazz", "Rock"), seed: int = 0) -> pd.DataFrame:
    """An index with random conditions; all tracks of the first genre are in mono."""
    index = make_index(genres, artists=3 * len(genres))
    generator = np.random.default_rng(seed)
    size = len(index)
    return index.assign(
        rate=generator.choice([22050, 44100, 48000], size, p=[0.1, 0.8, 0.1]),
        channels=np.where(index["genre"] == genres[0], 1, 2),
        bit_rate=generator.choice([0, 128, 320], size),
        bandwidth=generator.integers(8000, 20_000, size),
        loudness=generator.normal(-15, 4, size).round(1),
        length=generator.uniform(20, 30, size).round(3),
    )


def rows(figure: Figure) -> list[str]:
    """Names of the rows, from top to bottom."""
    return [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


def words(figure: Figure) -> str:
    return description(style.as_svg(figure))


def test_bars_are_the_tracks_and_artists_of_each_split() -> None:
    used = store.used(make_data())
    figure = sizes(used)
    for axes, column in zip(figure.axes, ("track_id", "artist_id"), strict=True):
        bars = np.array([bar.get_width() for bar in axes.patches]).reshape(3, -1)  # type: ignore[attr-defined]
        for split, widths in zip(("training", "validation", "test"), bars, strict=True):
            own = used[used["split"] == split]
            assert widths.tolist() == [own[column][own["genre"] == genre].nunique() for genre in rows(figure)]
        totals = [used[column][used["genre"] == genre].nunique() for genre in rows(figure)]
        assert [text.get_text() for text in axes.texts] == list(map(str, totals))
    assert rows(figure)[0] == "Rock", "the largest genre comes first"
    assert "Rock: 19 training, 20 validation, 20 test tracks, 15 artists." in words(figure)


def test_cells_are_shares_of_the_genre() -> None:
    used = store.used(make_data())
    figure = formats(used)
    columns = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert columns == ["22.05 kHz", "44.1 kHz", "48 kHz", "mono"]
    found = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    for row, genre in enumerate(rows(figure)):
        own = used if genre == ALL else used[used["genre"] == genre]
        shares = [*((own["rate"] == rate).mean() for rate in (22050, 44100, 48000)), (own["channels"] == 1).mean()]
        expected = {(column, row): f"{100 * share:.0f}" for column, share in enumerate(shares) if share}
        assert {place: text for place, text in found.items() if place[1] == row} == expected
    assert "mono 100 %" in words(figure)
    assert words(figure).count("mono") == 3, "in the title, and for Folk and all genres"


def test_rare_rates_share_a_column_and_few_tracks_are_not_none() -> None:
    index = pd.concat([make_data()] * 10).assign(rate=44100)
    index.iloc[:5, index.columns.get_loc("rate")] = [8000, 11025, 16000, 32000, 96000]  # type: ignore[index]
    figure = formats(index)
    columns = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert columns[-2:] == ["other rates", "mono"]
    assert len(columns) == data_charts.MAX_RATES + 2
    assert "<1" in [text.get_text() for text in figure.axes[0].texts]


def test_lines_are_quantiles() -> None:
    used = store.used(make_data())
    figure = ranges(used)
    known = used[used["bit_rate"] > 0]
    drawn = [used["bandwidth"] / 1000, used["loudness"], known["bit_rate"], used["length"]]
    for axes, values in zip(figure.axes, drawn, strict=True):
        lines = [np.asarray(line.get_xdata(), float) for line in axes.lines]
        for row, genre in enumerate(rows(figure)):
            own = values if genre == ALL else values[used["genre"] == genre]
            expected = [np.quantile(own, shares) for shares in ([0.05, 0.95], [0.25, 0.75], [0.5])]
            for found, quantiles in zip(lines[3 * row : 3 * row + 3], expected, strict=True):
                np.testing.assert_allclose(found, quantiles)
    low, high = np.quantile(used["loudness"], [0.05, 0.95])
    assert f"Loudness: {low:.1f} to {high:.1f} dB for 90 % of the tracks".replace("-", "−") in words(figure)


def test_unknown_and_equal_values_are_drawn() -> None:
    index = make_data().assign(bit_rate=0, length=19.998)
    index.loc[::7, "length"] = 20.0
    figure = ranges(index)
    assert "Bit rate: unknown." in words(figure)
    low, high = figure.axes[3].get_xlim()
    assert high - low >= 2


@pytest.mark.parametrize("genres", [("A$\\foo$", "<script>"), SIXTEEN])
def test_any_genres_give_the_same_bytes_again(genres: tuple[str, ...]) -> None:
    first, second = ([style.as_svg(figure) for figure in data_figures(make_data(genres)).values()] for _ in range(2))
    assert first == second
    assert not any(b"<script" in svg for svg in first)


def test_a_split_without_tracks_has_no_bar() -> None:
    index = make_data()
    assert "0 validation" in words(sizes(index[index["split"] != "validation"]))


# The page. --------------------------------------------------------------------------------------------------------


def test_before_training_the_page_shows_the_data_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    store.write_index(tmp_path / "data/index.csv", make_data())
    show.main(load(PARAMS))
    line, page = capsys.readouterr().out.splitlines()
    assert line == "report.md is missing, so the page shows only the data: `dvc repro` trains the models"
    assert page.endswith("page.html: open it in a browser")
    text = (tmp_path / "page.html").read_text()
    assert text.count("<img ") == 3
    assert '<section id="data"' in text
    assert "Rock: 19 training, 20 validation, 20 test tracks, 15 artists." in text
    with pytest.raises(FileNotFoundError):
        show.main(load(PARAMS), listen=True)


def test_without_any_data_the_missing_report_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        show.main(load(PARAMS))
    assert str(error.value.filename) == "report.md"

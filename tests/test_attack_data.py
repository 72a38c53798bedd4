"""The whole pipeline on genres with hostile names and on clips that break arithmetic."""

import io
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import cycle, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from project import Project, create
from test_bad_input import Track, give

pytestmark = pytest.mark.slow

RATE, SECONDS = 44100, 4
TIME = np.arange(SECONDS * RATE) / RATE
TONE = np.sin(2 * np.pi * 440 * TIME)
CLIPS = {
    "silence": np.zeros_like(TIME),
    "constant": np.full_like(TIME, 0.5),
    "full-scale clipping": np.sign(TONE),
    "DC": 0.5 + 0.1 * TONE,
    "one click": np.eye(1, len(TIME), len(TIME) // 2)[0],
    "the least bit": TONE / 2**15,
    "tone": 0.5 * TONE,
}
NAMES = [
    '<script>alert(1)</script><img src=x onerror="alert(1)">',
    "[x](javascript:alert(1)) ![x](https://example.org/x.png) | **x** `x` @everyone",
    "\x1b]0;owned\x07\x1b[2J\u202egenre",
    "'; touch pwned; $(touch pwned)",
    "carriage\rreturn\r\nand line feed",
]
SYSTEMS = ("cnn", "birnn", "svm")
MOVES_THE_CURSOR = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


def mp3(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="MP3")
    return file.getvalue()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """The project after `dvc repro`, and the output of that command."""
    folder = tmp_path_factory.mktemp("hostile")
    project = create(folder / "project", folder / "home")
    clips = list(map(mp3, CLIPS.values()))
    splits = ("training", "validation", "test")
    kinds = product(splits, zip(cycle(NAMES), clips))  # each name and each clip occurs in each split
    give(project, [Track(2 + 7 * i, genre, split, i, clip=clip) for i, (split, (genre, clip)) in enumerate(kinds)])
    done = project.run("dvc", "repro")
    return project, done.stdout + done.stderr


def numbers(value: object) -> Iterator[float]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    elif isinstance(value, int | float):
        yield value


def test_bad_numbers(hostile: tuple[Project, str]) -> None:
    """Silent, constant, clipped and very quiet clips give finite results."""
    project, output = hostile
    assert not re.search(r"Traceback|Warning|\bnan\b", output), output
    metrics = {path.stem: json.loads(path.read_text()) for path in (project.path / "metrics").glob("*.json")}
    assert set(metrics) == {"cnn", "birnn", "svm", "comparison", "promoted"}
    assert all(math.isfinite(number) for number in numbers(metrics))
    assert {metrics[system]["n_test"] for system in SYSTEMS} == {len(CLIPS)}
    index = pd.read_csv(project.path / "data/index.csv", keep_default_na=False)
    assert len(index) == 3 * len(CLIPS)
    assert set(index["left_out"]) == {""}
    predictions = pd.read_csv(project.path / "plots/predictions.csv")
    assert len(predictions) == len(CLIPS)
    runs = predictions.columns[3:]
    assert {column.rpartition("_seed")[0] for column in runs} == set(SYSTEMS)
    for column in ("actual", *runs):
        assert set(predictions[column]) <= {re.sub(r"[\r\n]+", " ", name) for name in NAMES}
    assert predictions["actual"].nunique() == len(NAMES)
    for curve in (project.path / "plots/training").glob("*.csv"):
        assert np.isfinite(pd.read_csv(curve).select_dtypes("number")).all(axis=None)


class Elements(HTMLParser):
    """Names and attributes of HTML elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_names_from_the_data_inject_nothing(hostile: tuple[Project, str]) -> None:
    """Not into the terminal, the report, the page or a shell."""
    project, output = hostile
    page = project.run_here("src/show.py")
    difference = project.run_here("src/diff.py", "HEAD", check=False)
    clip = project.path / "clip\x1b[2J.mp3"
    clip.write_bytes(mp3(CLIPS["tone"]))
    heard = project.run("python", "src/predict.py", clip.name)
    printed = [output, page.stdout, page.stderr, difference.stdout, difference.stderr, heard.stdout, heard.stderr]
    for text in [*printed, (project.path / "report.md").read_text()]:
        assert not MOVES_THE_CURSOR.search(text.replace("\r", "")), text
    assert not list(project.path.rglob("pwned"))
    elements = Elements((project.path / "page.html").read_text()).found
    assert elements
    assert not {"script", "iframe", "object"} & {tag for tag, _ in elements}
    assert all((attributes["href"] or "").startswith("#") for tag, attributes in elements if tag == "a")
    assert not [attributes for _, attributes in elements if any(name.startswith("on") for name in attributes)]
    assert all((attributes["src"] or "").startswith("data:") for tag, attributes in elements if tag == "img")


def test_pictures_hold_no_more_than_pictures(hostile: tuple[Project, str]) -> None:
    project, _ = hostile
    pictures: list[Path] = list((project.path / "plots").rglob("*.svg"))
    assert len(pictures) >= 5
    for picture in pictures:
        for element in ElementTree.parse(picture).iter():
            assert element.tag.rpartition("}")[2] not in ("script", "foreignObject", "a", "iframe")
            assert not [name for name in element.attrib if name.lower().startswith("on")]


def test_a_message_does_not_move_the_cursor(hostile: tuple[Project, str]) -> None:
    """Control characters in a name from the data are replaced."""
    project, _ = hostile
    copy = project.copy(project.path.parent / "copy")
    tracks = [Track(2 + i, "Rock", split, i) for i, split in enumerate(("training", "validation", "test"))]
    give(copy, [*tracks, Track(9, NAMES[2], "test", 9)])
    for stage in ("download", "split"):
        copy.run("python", f"src/{stage}.py")
    done = copy.run("python", "src/spectrograms.py", check=False)
    assert "expected a training track for every genre, found none for ?]0;owned??[2J?genre" in done.stderr
    assert not MOVES_THE_CURSOR.search(done.stderr)

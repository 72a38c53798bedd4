"""The page of results: complete without network or scripts, and readable in wide and narrow browser windows."""

import html
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import show
from browser import Tab, needs_browser, open_tab
from fma_genre import store
from fma_genre.common.errors import InputError
from fma_genre.common.params import load
from fma_genre.results import page
from fma_genre.results.figures import FIGURES, MODEL_FIGURES, headings
from fma_genre.results.mistakes import LISTED
from fma_genre.results.page import Picture
from project import PARAMS, Project

MODELS = 2  # in tests/params.yaml
DATA = ["Tracks and artists", "Sample rates and channels", "Bandwidth, loudness, bit rate and length"]
RESULTS = len(FIGURES) + len(MODEL_FIGURES) * MODELS
PICTURES = RESULTS + len(DATA)
LISTS = ("Most confident mistakes", "Closest calls", "Disagreements")
HEADING = re.compile("<h3>(.*?)</h3>\n<figure>")  # of a figure
AUDIO = len(LISTS) * LISTED  # at most
# Ratios of the contrast between each text or curve and the ground behind it, by WCAG 2, with the text.
CONTRAST = r"""
(() => {
  const channels = colour => colour.match(/[\d.]+/g).map(Number)
  const luminance = colour => channels(colour).slice(0, 3).map(value => value / 255)
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0)
  const ground = element => {
    const colour = getComputedStyle(element).backgroundColor
    return (channels(colour)[3] ?? 1) > 0 ? colour : ground(element.parentElement)
  }
  const ratio = (first, second) => {
    const [light, dark] = [luminance(first), luminance(second)].sort((a, b) => b - a)
    return (light + 0.05) / (dark + 0.05)
  }
  document.querySelectorAll("details").forEach(details => { details.open = true })
  const found = []
  for (const element of document.body.querySelectorAll("*")) {
    const style = getComputedStyle(element)
    const hasText = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())
    const colour = element.matches(".curve") ? style.stroke : element.matches("text") ? style.fill : style.color
    if (hasText || element.matches(".curve")) found.push([ratio(colour, ground(element)), element.outerHTML])
  }
  return found
})()
"""
OPEN_ALL = "document.querySelectorAll('details').forEach(details => { details.open = true })"
IS_OPEN = "document.activeElement.parentElement.open"
MEASURE = """
(() => {
  const { scrollWidth, clientWidth } = document.documentElement
  const boxes = [...document.querySelectorAll("figure, .wide, li, p, h4, audio, svg, .wrapped")]
  return {
    pictures: [...document.images].map(
      image => [image.complete, image.naturalWidth, image.getBoundingClientRect().width]),
    scrollWidth, clientWidth, scripts: document.scripts.length,
    wide: boxes.filter(box => box.getBoundingClientRect().right > clientWidth).map(box => box.outerHTML),
    sizes: [...document.querySelectorAll("p, td, th, li, .others, h4, text")].map(element => {
      const svg = element.closest("svg")
      const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1
      return scale * parseFloat(getComputedStyle(element).fontSize)
    }),
  }
})()
"""
# The directive of the page's policy that refuses an element, or null if none does.
REFUSED = """
new Promise(done => {
  const element = {
    image: () => Object.assign(new Image(), { src: "https://example.org/a.png" }),
    sound: () => new Audio("https://example.org/a.mp3"),
    file: () => new Audio("data:audio/mpeg;base64,AAAA"),
    script: () => Object.assign(document.createElement("script"), { src: "https://example.org/a.js" }),
  }["%s"]()
  document.addEventListener("securitypolicyviolation", event => done(event.effectiveDirective), { once: true })
  element.addEventListener("error", () => setTimeout(() => done(null), 100))
  document.body.append(element)
})
"""
PLAY = """
(async () => {
  const audio = document.querySelector("audio")
  await audio.play()
  return [audio.duration, audio.getAttribute("aria-label")]
})()
"""


@pytest.fixture(scope="module")
def shown(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = finished.copy(tmp_path_factory.mktemp("shown") / "project")
    output = project.run_here("src/show.py").stdout
    assert output.startswith("file://")
    assert output.endswith("page.html: open it in a browser\n")
    return project.path / "page.html"


def test_the_page_contains_all_its_pictures(shown: Path) -> None:
    text = shown.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", text)
    assert "<script" not in text
    pictures = len(re.findall("<img ", text))
    assert pictures == len(re.findall('alt="[^"]+"', text)) == PICTURES
    assert text.index("<img ") < text.index("<table>"), "figures come before tables"


def test_the_page_shows_all_figures_in_order_with_their_headings(shown: Path) -> None:
    models = load(shown.parent / "params.yaml").models
    assert HEADING.findall(shown.read_text()) == [*headings(models).values(), *DATA]


def test_the_page_shows_a_figure_without_a_heading(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    svg = (project.path / "plots/comparison/curves.svg").read_bytes()
    (project.path / "plots/comparison/another.svg").write_bytes(svg)
    (project.path / "plots/comparison/agreement.svg").unlink()
    project.run_here("src/show.py")
    found = HEADING.findall((project.path / "page.html").read_text())
    assert len(found) == PICTURES
    assert found[RESULTS - 1] == "another"
    assert "Agreement of the models" not in found


def test_names_cannot_add_elements_to_the_page() -> None:
    evil = "<script>alert(1)</script>"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg'><title>&quot;&gt;{html.escape(evil)}</title></svg>"
    report = page.report(f"| a |\n|---|\n| {evil} |\n\n[x](javascript:alert(1)) <img src=x>")
    shares = pd.DataFrame({"actual": [evil] * 2, "predicted": [evil, f"{evil}2"], "share": [0.5, 0.5]})
    figures = page.figures([Picture(f'"{evil}', svg.encode(), page.confusion_text(shares))])
    text = page.page(evil, [figures, report])
    assert "<script" not in text
    assert "<img src=x" not in text
    assert 'href="javascript' not in text
    assert "<td>&lt;script&gt;" in text


# Sections. --------------------------------------------------------------------------------------------------------


def test_sections_are_linked_in_their_order(shown: Path) -> None:
    text = shown.read_text()
    links = re.findall(r'<a href="#(.*?)">(.*?)</a>', text)
    assert links == [(heading.lower(), heading) for heading in ("Figures", "Mistakes", "Data", "Report")]
    assert re.findall('<section id="(.*?)"', text) == [name for name, _ in links]
    levels = [int(level) for level in re.findall(r"<h(\d)>", text)]
    assert levels[0] == 1
    assert all(level <= before + 1 for before, level in itertools.pairwise(levels)), "no level is skipped"


def test_a_picture_is_described_in_words_and_numbers(shown: Path, finished: Project) -> None:
    descriptions = dict(re.findall(r'<h3>(.*?)</h3>\n<figure><img alt="(.*?)"', shown.read_text()))
    summaries = {
        key: json.loads((finished.path / f"metrics/{key}.json").read_text()) for key in ("cnn", "birnn", "svm")
    }
    accuracies = descriptions["Accuracy on the test tracks"].replace("\N{NO-BREAK SPACE}", " ")
    for key, summary in summaries.items():
        assert f"{key} {100 * summary['accuracy']:.1f} % (" in accuracies
    assert min(map(len, descriptions.values())) > 80
    assert len(set(descriptions.values())) == PICTURES


def test_a_confusion_matrix_is_also_a_table(shown: Path, finished: Project) -> None:
    table = pd.read_csv(finished.path / "plots/confusion.csv", keep_default_na=False)
    text = html.unescape(shown.read_text()).replace("\N{NO-BREAK SPACE}", " ")
    tables = re.findall(r'<table class="wrapped">(.*?)</table>', text, re.DOTALL)
    assert len(tables) == MODELS
    for model, found in zip(("cnn", "birnn"), tables, strict=True):
        lines = re.findall(r"<bdi>(.*?)</bdi></th><td>(.*?)</td><td>(.*?)</td>", found)
        read = {(genre, genre): int(right.removesuffix(" %")) for genre, right, _ in lines}
        for genre, _, instead in lines:
            read |= {(genre, name): int(share) for name, share in re.findall(r"<bdi>(.*?)</bdi> (\d+) %", instead)}
        rows = table[table["system"] == model][["actual", "predicted", "share"]].to_dict("records")
        for row in rows:
            assert read.pop((row["actual"], row["predicted"]), 0) == round(100 * row["share"])
        assert read == {}


def test_a_genre_without_test_tracks_is_named_in_the_table() -> None:
    shares = pd.DataFrame({"actual": ["a", "a"], "predicted": ["a", "b"], "share": [np.nan, np.nan]})
    assert "<td>no test tracks</td><td></td>" in page.confusion_text(shares)


# In a browser. ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_tab(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def audible(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with excerpts."""
    project = finished.copy(tmp_path_factory.mktemp("audible") / "project")
    output = project.run_here("src/show.py", "--listen").stdout
    assert output.endswith("it contains recordings, so check their licences before you share it\n")
    return project.path / "page.html"


@pytest.fixture(scope="module")
def hostile(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with long and strange names of tracks."""
    project = finished.copy(tmp_path_factory.mktemp("hostile") / "project")
    path = project.path / "data/index.csv"
    index = store.read_index(path)
    path.unlink()  # a link into DVC's cache
    names = [
        "<script>alert(1)</script>",
        "W" * 200,
        "\u202eright to left",
        "שלום " * 40,
        '\'" onerror="alert(1)',
        "long " * 40,
    ]
    cycle = [names[place % len(names)] for place in range(len(index))]
    store.write_index(path, index.assign(title=cycle, artist=cycle[::-1]))
    project.run_here("src/show.py")
    return project.path / "page.html"


@needs_browser
@pytest.mark.parametrize("kind", ["shown", "audible"])
def test_a_browser_opens_the_page_without_errors_or_requests(
    request: pytest.FixtureRequest, tab: Tab, kind: str
) -> None:
    path: Path = request.getfixturevalue(kind)
    tab.open(path)
    tab.run(OPEN_ALL)
    assert tab.named("Log.entryAdded") + tab.named("Runtime.exceptionThrown") == []
    addresses = {sent["request"]["url"] for sent in tab.named("Network.requestWillBeSent")}
    assert path.as_uri() in addresses
    assert {address.partition(":")[0] for address in addresses - {path.as_uri()}} <= {"data"}


@needs_browser
def test_the_page_may_load_only_what_it_contains(shown: Path, audible: Path, tab: Tab) -> None:
    """The browser refuses everything else before it sends a request."""
    refusals = {}
    for path in (shown, audible):
        tab.open(path)
        refusals[path] = [tab.run(REFUSED % name) for name in ("image", "sound", "file", "script")]
    assert refusals == {
        shown: ["img-src", "media-src", "media-src", "script-src-elem"],
        audible: ["img-src", "media-src", None, "script-src-elem"],
    }


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("kind", ["shown", "hostile", "audible"])
def test_everything_fits_the_window(request: pytest.FixtureRequest, tab: Tab, kind: str, width: int) -> None:
    tab.open(request.getfixturevalue(kind), width)
    tab.run(OPEN_ALL)
    found = tab.run(MEASURE)
    assert len(found["pictures"]) == PICTURES
    for complete, natural, seen in found["pictures"]:
        assert complete
        assert natural > 250
        assert 0.7 * natural < seen < 1.01 * natural, "text of 10 pt has at least 9 px"
    assert found["scrollWidth"] <= found["clientWidth"]
    assert width - 20 <= found["clientWidth"] <= width  # 20 px for a scroll bar
    assert found["wide"] == []
    assert found["scripts"] == 0
    assert min(found["sizes"]) >= 10, "px of the smallest text outside pictures"


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_text_and_curves_stand_out(audible: Path, tab: Tab, dark: bool) -> None:
    tab.open(audible, dark=dark)
    ratios = tab.run(CONTRAST)
    assert len(ratios) > 100
    assert [text for ratio, text in ratios if ratio < 4.5] == []
    assert (tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") != dark


@needs_browser
def test_the_keyboard_reaches_and_opens_everything(audible: Path, tab: Tab) -> None:
    tab.open(audible)
    visited = []
    for _ in range(4):
        tab.press("Tab")
        visited.append(tab.run("document.activeElement.textContent"))
        assert tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid", "the focus is visible"
    assert visited == ["Figures", "Mistakes", "Data", "Report"]

    tab.run("document.querySelector(\"nav a[href='#mistakes']\").focus()")
    tab.press("Enter")
    assert tab.run("location.hash") == "#mistakes"
    openings = []
    for key in ("Space", "Enter"):
        while not tab.run('document.activeElement.matches("#mistakes summary")'):
            tab.press("Tab")
        was_open = tab.run(IS_OPEN)
        tab.press(key)
        openings.append((was_open, tab.run(IS_OPEN)))
        tab.press("Tab")
    assert openings == [(True, False), (False, True)]
    assert tab.run('document.activeElement.matches("#mistakes audio")')


@needs_browser
def test_an_excerpt_plays(audible: Path, tab: Tab) -> None:
    tab.open(audible)
    tab.run(OPEN_ALL)
    assert 0 < tab.run("document.querySelectorAll('audio').length") <= AUDIO
    seconds, label = tab.run(PLAY)
    assert 5.9 < seconds < 6.2
    assert label.startswith("Track ")


# Missing and damaged files. ---------------------------------------------------------------------------------------


def test_a_clone_without_the_data_shows_the_same_figures(finished: Project, tmp_path: Path, shown: Path) -> None:
    project = finished.clone(tmp_path / "clone")
    project.run_here("src/show.py")
    text, complete = (project.path / "page.html").read_text(), shown.read_text()
    line = "<p>Not shown: data/index.csv is missing: `dvc pull` fetches it, or `dvc repro` makes it</p>"
    assert line in text
    for name in ("figures", "report"):
        assert part(text, name) == part(complete, name)

    done = project.run_here("src/show.py", "--listen", check=False)
    assert done.stderr == "show: data/index.csv: not found; `dvc repro` runs the stages that write it\n"


def part(text: str, name: str) -> str:
    (found,) = re.findall(rf'<section id="{name}".*?</section>', text, re.DOTALL)
    return found


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("data/index.csv", "a,b\n", "data/index.csv: expected the columns track_id, "),
        ("data/predictions/cnn.npz", "", "data/predictions/cnn.npz: expected the predictions of a system, found"),
        ("data/predictions/svm.npz", None, "data/predictions/svm.npz is missing: `dvc pull` fetches it"),
    ],
)
def test_damaged_data_leave_the_figures(
    finished: Project, tmp_path: Path, name: str, content: str | None, reason: str
) -> None:
    project = finished.copy(tmp_path / "project")
    (project.path / name).unlink()
    if content is not None:
        (project.path / name).write_text(content)
    project.run_here("src/show.py")
    text = (project.path / "page.html").read_text()
    assert f"<p>Not shown: {reason}" in text
    assert len(HEADING.findall(text)) == (RESULTS if name == "data/index.csv" else PICTURES)


def test_results_on_other_data_are_not_shown(finished: Project, tmp_path: Path) -> None:
    """A run that ended before `compare` leaves the report on the former data set."""
    project = finished.copy(tmp_path / "project")
    path = project.path / "metrics/comparison.json"
    name = json.loads(path.read_text())["dataset"]
    path.write_text(path.read_text().replace(f'"{name}"', '"former"', 1))
    output = project.run_here("src/show.py").stdout
    assert output.startswith(
        f"report.md is on the data set former, but the data are those of {name}, so the page shows"
    )
    text = (project.path / "page.html").read_text()
    assert f"<h1>{name}</h1>" in text
    assert re.findall('<section id="(.*?)"', text) == ["data"]


def test_a_damaged_confusion_matrix_is_named(results: Path) -> None:
    (results / "plots/confusion.csv").write_text("system\ncnn\n")
    with pytest.raises(InputError, match=r"^plots/confusion\.csv: expected the columns system, actual, .*found: "):
        show.main(load(PARAMS))


def test_missing_results_are_named(finished: Project, tmp_path: Path) -> None:
    project = finished.clone(tmp_path / "clone")
    shutil.rmtree(project.path / "plots/comparison")
    for missing in ("plots/comparison/*.svg", "report.md"):
        done = project.run_here("src/show.py", check=False)
        assert done.returncode == 1
        line = f"show: {missing}: not found; `dvc repro` runs the stages that write it\n"
        assert done.stderr == line
        (project.path / "report.md").unlink(missing_ok=True)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a report and a figure."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plots/comparison").mkdir(parents=True)
    (tmp_path / "plots/comparison/a.svg").write_text("<svg/>")
    (tmp_path / "report.md").write_text("# Title\n\nText\n")
    return tmp_path


def test_a_folder_of_that_name_and_its_neighbour_stay(results: Path) -> None:
    (results / ".page.html.part").write_text("mine")
    (results / "page.html").mkdir()
    (results / "page.html/mine").touch()
    with pytest.raises(InputError, match=r"^page\.html: expected a file, found a folder$"):
        show.main(load(PARAMS))
    assert (results / "page.html/mine").exists()
    shutil.rmtree(results / "page.html")
    show.main(load(PARAMS))
    assert "<p>Text</p>" in (results / "page.html").read_text()
    assert (results / ".page.html.part").read_text() == "mine"


@pytest.mark.parametrize("name", ["report.md", "plots/comparison/a.svg"])
@pytest.mark.parametrize("found", ["a pipe", "a folder", "a device"])
def test_special_files_are_refused_without_waiting(results: Path, name: str, found: str) -> None:
    (results / name).unlink()
    if found == "a pipe":
        os.mkfifo(results / name)
    elif found == "a folder":
        (results / name).mkdir()
    else:
        (results / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match=f"^{name}: expected a file, found {found}$"):
        show.main(load(PARAMS))

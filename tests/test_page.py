"""The page of results: complete without network or scripts, and readable in wide and narrow browser windows."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import show
from fma_genre.common.errors import InputError
from fma_genre.common.params import load
from fma_genre.results.figures import FIGURES, MODEL_FIGURES, headings
from fma_genre.results.page import page
from project import PARAMS, Project

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MODELS = 2  # in tests/params.yaml
PICTURES = len(FIGURES) + len(MODEL_FIGURES) * MODELS
HEADING = re.compile("<h2>(.*?)</h2>\n<figure>")  # of a figure
needs_browser = pytest.mark.skipif(not BROWSER, reason="needs Chromium or Chrome: apt install chromium")
MEASURE = """
<iframe style="border: 0; width: {width}px; height: 800px" srcdoc="{page}"></iframe>
<pre id="found"></pre>
<script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument
  const pictures = [...page.images].map(
    image => [image.complete, image.naturalWidth, image.getBoundingClientRect().width])
  const {{ scrollWidth, clientWidth }} = page.documentElement
  const overlaps = [...page.querySelectorAll("figure")].filter(figure => figure.clientWidth > clientWidth).length
  found.textContent = JSON.stringify({{ pictures, scrollWidth, clientWidth, overlaps, scripts: page.scripts.length }})
}})
</script>
"""


def browse(path: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Open a file in a browser without name resolution."""
    assert BROWSER
    return subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}", *arguments, path.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shown(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = finished.copy(tmp_path_factory.mktemp("shown") / "project")
    output = project.run_here("src/show.py").stdout
    assert output.startswith("file://")
    assert output.endswith("page.html: open it in a browser\n")
    return project.path / "page.html"


def test_the_page_contains_all_its_pictures(shown: Path) -> None:
    text = shown.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "<script" not in text
    pictures = len(re.findall("<img ", text))
    assert pictures == len(re.findall('alt="[^"]+"', text)) == PICTURES
    assert text.index("<img ") < text.index("<table>"), "figures come before tables"


def test_the_page_shows_all_figures_in_order_with_their_headings(shown: Path) -> None:
    models = load(shown.parent / "params.yaml").models
    assert HEADING.findall(shown.read_text()) == list(headings(models).values())


def test_the_page_shows_a_figure_without_a_heading(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    svg = (project.path / "plots/comparison/curves.svg").read_bytes()
    (project.path / "plots/comparison/another.svg").write_bytes(svg)
    (project.path / "plots/comparison/agreement.svg").unlink()
    project.run_here("src/show.py")
    found = HEADING.findall((project.path / "page.html").read_text())
    assert len(found) == PICTURES
    assert found[-1] == "another"
    assert "Agreement of the models" not in found


@needs_browser
def test_a_browser_opens_the_page_without_errors(shown: Path, tmp_path: Path) -> None:
    done = browse(shown, tmp_path, f"--screenshot={tmp_path / 'page.png'}", "--window-size=1280,2000")
    assert not re.findall(r".*CONSOLE.*", done.stderr)
    assert (tmp_path / "page.png").stat().st_size > 50_000


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_all_pictures_fit_the_window(shown: Path, tmp_path: Path, width: int) -> None:
    measured = tmp_path / "measured.html"
    measured.write_text(MEASURE.format(width=width, page=html.escape(shown.read_text())))
    done = browse(measured, tmp_path, "--dump-dom", "--window-size=1400,900")
    found = json.loads(re.findall(r'<pre id="found">(.*?)</pre>', done.stdout)[0])
    assert len(found["pictures"]) == PICTURES
    for complete, natural, seen in found["pictures"]:
        assert complete
        assert natural > 250
        assert 0.7 * natural < seen < 1.01 * natural, "text of 10 pt has at least 9 px"
    assert found["scrollWidth"] <= found["clientWidth"]
    assert width - 20 <= found["clientWidth"] <= width  # 20 px for a scroll bar
    assert (found["overlaps"], found["scripts"]) == (0, 0)


def test_names_cannot_add_elements_to_the_page() -> None:
    evil = "<script>alert(1)</script>"
    text = page(evil, {f'"{evil}': b"<svg/>"}, f"| a |\n|---|\n| {evil} |\n\n[x](javascript:alert(1)) <img src=x>")
    assert "<script" not in text
    assert "<img src=x" not in text
    assert 'href="javascript' not in text
    assert "<td>&lt;script&gt;" in text


def test_a_clone_without_the_data_shows_the_same_page(finished: Project, tmp_path: Path, shown: Path) -> None:
    project = finished.clone(tmp_path / "clone")
    project.run_here("src/show.py")
    assert (project.path / "page.html").read_bytes() == shown.read_bytes()


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

"""The documentation: its links, its numbers, and its commands, which run in a miniature of the project."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from project import ROOT, Project

DOCS = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *DOCS]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPTS = {"bash": r"^", "console": r"^\$ "}  # before each command, by the language of the block
NUMBER = re.compile(r"[-−+]?\d+(\.\d+)?")

# Commands of the pages that do not run here, with the reason.
NOT_RUN = {
    "make test": "runs these tests",
    "dvc exp run -S dataset=small": "downloads 7 GiB",
    "python benchmarks/extraction.py": "takes ten minutes",
    "python benchmarks/training.py": "takes minutes",
    "python benchmarks/ablations.py --repeats 2": "trains 140 networks",
    "PYTHONPATH=src dask scheduler": "runs until it is stopped; test_extraction.py has a cluster",
    "dask worker tcp://HOST:8786 --nthreads 1 --nworkers auto": "needs the scheduler",
    "DASK_SCHEDULER_ADDRESS=tcp://HOST:8786 dvc repro": "needs the scheduler",
    "git commit": "opens an editor",
}


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def prose(page: str) -> str:
    return BLOCK.sub("", text_of(page))


def commands(page: str) -> list[tuple[str, str]]:
    """The page's commands as (command, printed output), with continued lines joined and comments cut."""
    found = []
    for language, content in BLOCK.findall(text_of(page)):
        if language not in PROMPTS:
            continue
        text = content.replace("\\\n", "")
        for item in re.split(PROMPTS[language], text, flags=re.MULTILINE)[1:]:
            command, _, output = item.partition("\n")
            bare = re.sub(r"(^|\s+)# .*", "", command)
            found += [(bare, output)] if bare else []
    return found


def test_readme_is_two_screens() -> None:
    assert 8_000 <= len((ROOT / "README.md").read_bytes()) <= 10_000


def test_readme_links_every_page() -> None:
    readme = text_of("README.md")
    assert [page for page in PAGES[1:] if f"]({page}" not in readme] == []


def anchors(page: str) -> set[str]:
    """The fragments that GitHub gives to the page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, fragment = link.partition("#")
        if path.startswith("https://"):
            continue
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.exists(), f"{page} links {link}"
        assert not fragment or fragment in anchors(str(target.relative_to(ROOT))), f"{page} links {link}"


@pytest.mark.parametrize("page", PAGES)
def test_the_tests_that_a_page_names_exist(page: str) -> None:
    code = "".join(path.read_text() for path in (ROOT / "tests").glob("*.py"))
    for name in re.findall(r"`(?:tests/)?(test_\w+)(?:\.py)?`", prose(page)):
        assert f"def {name}(" in code or (ROOT / f"tests/{name}.py").exists(), f"{page} names {name}"


def printed_difference() -> dict[str, str]:
    """The rows of `dvc metrics diff` in README, from the cnn to the birnn, by metric."""
    rows = [line.split(maxsplit=2)[1:] for line in dict(commands("README.md"))["dvc metrics diff"].splitlines()[1:]]
    return {metric: " ".join(values.split()) for metric, values in rows}


def difference(metrics: dict[str, dict[str, Any]], metric: str) -> str:
    old, new = metrics["cnn"][metric], metrics["birnn"][metric]
    return " ".join(str(round(value, 5)) for value in (old, new, new - old))


@pytest.fixture(scope="module")
def metrics() -> dict[str, dict[str, Any]]:
    """The committed metrics by the name of their file, if they are the results that README prints.

    Another data set, setting or processor gives others. Whoever commits these need not edit README for the tests.
    """
    paths = [ROOT / f"metrics/{name}.json" for name in ("svm", "cnn", "birnn", "comparison")]
    stored = {path.stem: json.loads(path.read_text()) for path in paths if path.exists()}
    dataset = yaml.safe_load(text_of("params.yaml"))["dataset"]
    if dataset != "demo" or len(stored) < len(paths):
        pytest.skip(f"README prints results of svm, cnn and birnn on demo; here are {', '.join(stored)} on {dataset}")
    expected = difference(stored, "segment_accuracy")  # the metric over most items, so it hardly ever coincides
    if printed_difference()["segment_accuracy"] != expected:
        pytest.skip(f"README prints other results than metrics/ has: expected segment_accuracy {expected}")
    return stored


def percent(values: dict[str, Any], key: str = "accuracy") -> str:
    spread = f" ± {100 * values['accuracy_std']:.1f}" if "accuracy_std" in values and key == "accuracy" else ""
    return f"{100 * values[key]:.1f}{spread}"


def test_the_table_of_results_is_that_of_the_metrics(metrics: dict[str, dict[str, Any]]) -> None:
    (row,) = re.findall(r"^\| demo \(synthetic\) \| (\d+) \| \d+ \| (.+) \|$", text_of("README.md"), re.MULTILINE)
    comparison = metrics["comparison"]
    expected = [percent(comparison["majority"]), percent(metrics["svm"]), percent(metrics["cnn"])]
    expected += [percent(comparison["cnn"], "svm_head_accuracy"), percent(metrics["birnn"])]
    assert row == (str(comparison["n_test"]), " | ".join(expected))


def test_the_gap_between_the_ensembles_is_that_of_the_comparison(metrics: dict[str, dict[str, Any]]) -> None:
    pattern = r"birnn's ensemble .*? is ([\d.]+) points ahead of the cnn's, with a 95 % interval of \[(.+?)\]"
    (printed,) = re.findall(pattern, " ".join(text_of("README.md").split()))
    pair = metrics["comparison"]["birnn_minus_cnn"]
    low, high = (f"{100 * pair[key]:+.1f}".replace("-", "−") for key in ("accuracy_low", "accuracy_high"))
    assert printed == (f"{100 * pair['accuracy']:.1f}", f"{low}, {high}")


def test_the_difference_of_the_models_is_that_of_their_metrics(metrics: dict[str, dict[str, Any]]) -> None:
    cnn, birnn = metrics["cnn"], metrics["birnn"]
    changed = sorted(key for key in cnn if cnn[key] != birnn[key])
    assert list(printed_difference().items()) == [(key, difference(metrics, key)) for key in changed]


def test_each_command_that_does_not_run_stands_in_a_page() -> None:
    shown = {command for page in PAGES for command, _ in commands(page)}
    assert set(NOT_RUN) <= shown


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A finished project with an environment that is installed, and a song."""
    project = finished.copy(tmp_path / "project")
    environment = project.path / ".venv"
    environment.mkdir()
    for entry in Path(sys.prefix).iterdir():
        (environment / entry.name).symlink_to(entry)
    (environment / "installed").unlink(missing_ok=True)
    (environment / "installed").touch()
    (archive,) = project.home.glob("*/fma_demo.zip")
    with zipfile.ZipFile(archive) as clips:
        name = next(name for name in clips.namelist() if name.endswith(".mp3"))
        (project.path / "song.mp3").write_bytes(clips.read(name))
    return project


def forms(output: str, names: set[str]) -> set[str]:
    """The lines of an output, with numbers, spaces and these names made equal: they are another run's or model's."""
    words = (line.split() for line in output.splitlines())
    return {NUMBER.sub("0", " ".join("NAME" if word in names else word for word in line)) for line in words if line}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_run_and_print_what_the_page_shows(page: str, project: Project) -> None:
    genres = re.findall(r"^\d+,\d+,([^,]+)", (project.path / "data/index.csv").read_text(), re.MULTILINE)
    names = {"cnn", "birnn", *genres}
    folder = project.path
    for command, printed in commands(page):
        if command in NOT_RUN:
            continue
        script = f"set -euo pipefail; {command}; pwd > {project.path.parent}/folder"
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=project.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{page}: {command}\n{done.stdout}"
        folder = Path((project.path.parent / "folder").read_text().strip())
        if printed:
            found, expected = forms(done.stdout, names), forms(printed, names)
            assert forms(printed.splitlines()[0], names) <= found <= expected, f"{page}: {command}\n{done.stdout}"

"""The package as `pip install .` installs it: what it holds, what it needs, and the three lines of README."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import soundfile

import train
from closure import PACKAGE, SOURCE, imports
from project import ROOT, Project
from stores import create_checkout, run_stage

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DISTRIBUTIONS = {"yaml": "pyyaml", "sklearn": "scikit-learn", "markdown_it": "markdown-it-py"}  # by what they import as
FULL = os.environ.get("ATTACK") == "all"  # download all dependencies, as a user does

TYPES = """
from typing import assert_type
from fma_genre import Ensemble, load

model = load("models/promoted")
assert_type(model, Ensemble)
assert_type(model("song.mp3"), dict[str, float])
assert_type(model.classes, tuple[str, ...])
load(3)
from fma_genre import nothing
"""


def names(requirements: list[str]) -> set[str]:
    """Normalised names of the required distributions."""
    found = [re.match(r"[\w.-]+", requirement) for requirement in requirements]
    return {match[0].lower().replace("_", "-") for match in found if match}


# Requirements. ----------------------------------------------------------------------------------------------------


def test_the_package_requires_what_it_imports() -> None:
    imported = {name.partition(".")[0] for file in PACKAGE.rglob("*.py") for name in imports(file)}
    others = imported - sys.stdlib_module_names - {"fma_genre"}
    optional = {name for group in PYPROJECT["project"]["optional-dependencies"].values() for name in names(group)}
    assert {DISTRIBUTIONS.get(name, name) for name in others} - optional == names(PYPROJECT["project"]["dependencies"])


def test_all_requirements_are_pinned() -> None:
    groups = [PYPROJECT["project"]["dependencies"], *PYPROJECT["dependency-groups"].values()]
    pinned = names((ROOT / "requirements.lock").read_text().splitlines())
    assert {name for group in groups for name in names(group)} <= pinned


# The wheel. -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the checkout, in which pip leaves a folder `build`."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(SOURCE, copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    isolation = ["--no-build-isolation"] if int(version("setuptools").split(".")[0]) >= 77 else []  # needs no network
    pip("wheel", "--no-deps", *isolation, "--wheel-dir", copy / "wheels", copy)
    (path,) = (copy / "wheels").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new virtual environment with the wheel."""
    return create_environment(tmp_path_factory.mktemp("environment"), wheel, with_dependencies=FULL)


def create_environment(path: Path, wheel: Path, with_dependencies: bool = False) -> Path:
    """Create a virtual environment with the wheel; return its interpreter.

    Args:
        with_dependencies: download them; otherwise, the environment finds them among the packages of these tests.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    python = path / "bin/python"
    if with_dependencies:
        pip("--python", python, "install", "--constraint", ROOT / "requirements.lock", wheel)
    else:
        pip("--python", python, "install", "--no-deps", wheel)
        (site_packages_of(path) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


def site_packages_of(environment: Path) -> Path:
    (folder,) = environment.glob("lib/python*/site-packages")
    return folder


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    subprocess.run(command, check=True)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and a song, which have the names that README gives them."""
    project = create_checkout(tmp_path_factory.mktemp("trained"))
    run_stage(project, "train", "cnn", train.main)
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(project.path / "models/cnn", folder / "models/promoted")
    soundfile.write(folder / "song.mp3", np.random.default_rng(0).normal(size=22050 * 7) / 10, 22050)
    return folder


def run(*command: str | Path, folder: Path, lines: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command without the settings of this test."""
    dropped = ("PYTHON", "FMA_", "DVC_", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    done = subprocess.run(
        command, cwd=folder, env=environment, input=lines, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(SOURCE)) for path in PACKAGE.rglob("*.py")}
    assert found == modules | {"fma_genre/py.typed"}


@pytest.mark.slow
def test_the_lines_of_readme_run_in_another_folder(python: Path, folder: Path) -> None:
    """They are given to an interactive interpreter, which prints the value of the last one."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len([line for line in block.splitlines() if line]) == 3
    done = run(python, "-iq", folder=folder, lines=block)
    genres = ast.literal_eval(done.stdout)
    assert set(genres) == {"Folk", "Rock"}
    assert list(genres.values()) == sorted(genres.values(), reverse=True)
    assert "UserWarning: models/promoted: the model cnn was trained on the synthetic demo" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["models", "song.mp3"]


@pytest.mark.slow
def test_type_checkers_know_the_types(python: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(TYPES)
    others = "follow_imports = skip\nignore_missing_imports = true\n"  # reading PyTorch would take a minute
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nfollow_imports = silent\n[mypy-torch.*,numpy.*,pandas.*]\n{others}")
    checker = (Path(sys.executable).with_name("mypy"), "--python-executable", python, "program.py")
    done = run(*checker, folder=tmp_path, check=False)
    errors = re.findall(r"^program.py:(\d+): error: .*\[(.+)\]$", done.stdout, re.MULTILINE)
    assert errors == [("9", "arg-type"), ("10", "attr-defined")], done.stdout


@pytest.mark.slow
def test_stages_run_the_code_of_the_checkout_although_the_package_is_installed(
    wheel: Path, finished: Project, tmp_path: Path
) -> None:
    """The installed package is of another version, in which nothing works. Worker processes must not import it."""
    python = create_environment(tmp_path / "environment", wheel)
    for path in (site_packages_of(tmp_path / "environment") / "fma_genre").rglob("*.py"):
        path.write_text("raise ImportError('this is the installed package')")
    assert "this is the installed package" in run(python, "-c", "import fma_genre", folder=tmp_path, check=False).stderr

    project = finished.copy(tmp_path / "project")
    recorded = read_outputs(project)
    environment = project.environment | {"FMA_WORKERS": "2"}
    for stage in ("split", "spectrograms", "baseline svm", "train cnn", "evaluate cnn", "compare", "promote"):
        name, *key = stage.split()
        command: list[str | Path] = [python, f"src/{name}.py", *key]
        done = subprocess.run(command, cwd=project.path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert read_outputs(project) == recorded


def read_outputs(project: Project) -> dict[str, bytes]:
    files = [*project.path.glob("data/*/*.npy"), *project.path.glob("models/cnn/*"), project.path / "report.md"]
    assert len(files) > 5
    return {str(path): path.read_bytes() for path in files}

"""Only what changed runs again: by the table of changes below, one after the other, and by every stage's imports."""

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from project import ROOT, Project

SOURCE = ROOT / "src"
Change = Callable[[Project], None]

CNN = {"train@cnn", "evaluate@cnn", "compare", "promote"}  # promote, since the miniature ships cnn
BIRNN = {"train@birnn", "evaluate@birnn", "compare"}
EVERYTHING = {"download", "split", "spectrograms", "baseline"} | CNN | BIRNN


def parameter(name: str, value: Any) -> Change:
    """Sets the parameter of this dotted name."""

    def set_value(params: dict[str, Any]) -> None:
        *groups, key = name.split(".")
        for group in groups:
            params = params[group]
        assert params[key] != value
        params[key] = value

    return lambda project: project.edit_params(set_value)


def comment(name: str) -> Change:
    """Adds a comment to a file, which changes no result."""

    def append(project: Project) -> None:
        with (project.path / name).open("a") as file:
            file.write("\n# a comment\n")

    return append


def library(name: str) -> Change:
    return comment(f"src/fma_genre/{name}.py")


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "nothing": (lambda project: None, set()),
    "README": (comment("README.md"), set()),
    "a comment in params.yaml": (comment("params.yaml"), set()),
    "a data set that is not used": (parameter("datasets.small.audio.url", "elsewhere.zip"), set()),
    "the number of workers": (parameter("spectrograms.workers", 2), set()),
    "a parameter of one model": (parameter("models.birnn.hidden", 6), BIRNN),
    "a training parameter": (parameter("train.lr", 0.002), CNN | BIRNN),
    "a mel parameter": (parameter("spectrograms.mel.bands", 64), {"spectrograms", "baseline"} | CNN),
    "an STFT parameter": (parameter("spectrograms.stft.n_fft", 512), {"spectrograms", "baseline"} | BIRNN),
    "a parameter of the baseline": (parameter("baseline.svm", [0.001]), {"baseline", "compare"}),
    "a comparison parameter": (parameter("compare.resamples", 50), {"compare"}),
    "model": (parameter("model", "birnn"), {"download", "promote"}),
    "dataset": (parameter("dataset", "other"), EVERYTHING),
    "dataset, back to what it was": (lambda project: None, set()),
    # What is run again for a comment in the code gives the same bytes: nothing after it runs.
    "cnn's source": (library("models/cnn"), {"train@cnn", "evaluate@cnn"}),
    "birnn's source": (library("models/birnn"), {"train@birnn", "evaluate@birnn"}),
    "the audio module": (library("audio"), {"spectrograms"}),
    "the baseline's source": (library("baseline"), {"baseline"}),
    "the metrics module": (library("metrics"), {"baseline", "evaluate@cnn", "evaluate@birnn", "compare"}),
    "the figures": (library("plotting"), {"evaluate@cnn", "evaluate@birnn", "compare"}),
    "the comparison module": (library("comparison"), {"compare"}),
}


@pytest.fixture(scope="module")
def project(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return finished.copy(tmp_path_factory.mktemp("graph") / "project")


@pytest.mark.parametrize("change", CHANGES)
def test_only_what_changed_runs(project: Project, change: str) -> None:
    apply, expected = CHANGES[change]
    project.run("git", "checkout", "--quiet", "--", "src", "params.yaml", "README.md")
    apply(project)
    assert project.repro() == expected


def test_what_was_restored_is_what_was_there(project: Project, finished: Project) -> None:
    project.run("git", "checkout", "--quiet", "--", "src", "params.yaml", "README.md")
    assert project.repro() == set()
    assert project.run("git", "status", "--short").stdout == ""
    assert (project.path / "report.md").read_bytes() == (finished.path / "report.md").read_bytes()


def resolved_stages() -> Iterator[tuple[str, str, list[str]]]:
    """Name, key of `foreach` (empty without one) and dependencies of every stage in dvc.yaml."""
    models = yaml.safe_load((ROOT / "params.yaml").read_text())["models"]
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        for key in models if "foreach" in stage else [""]:
            deps = stage.get("do", stage)["deps"]
            yield name, key, [dependency.replace("${key}", key) for dependency in deps]


def modules_of(name: str) -> list[Path]:
    """The files that `import name` runs, if they are ours."""
    path = SOURCE.joinpath(*name.split("."))
    files = [path.with_suffix(".py"), path / "__init__.py"]
    return [file for file in files if file.is_file()]


def imports(file: Path) -> Iterator[str]:
    """Names of all modules that a file imports, anywhere in it; `from a import b` may mean the module a.b."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def closure(script: Path, key: str) -> set[Path]:
    """All of our files that a stage's script imports, itself included."""
    exempt, networks = SOURCE / "fma_genre/params.py", SOURCE / "fma_genre/models"
    reached, waiting = set(), [script]
    while waiting:
        file = waiting.pop()
        if file in reached or file == exempt:
            continue
        reached.add(file)
        waiting += [found for name in imports(file) for found in modules_of(name)]
        if file == networks / "__init__.py":  # imports the network by its name
            waiting.append(networks / f"{key}.py")
    return reached


@pytest.mark.parametrize(("name", "key", "deps"), list(resolved_stages()))
def test_dependencies_are_what_is_imported(name: str, key: str, deps: list[str]) -> None:
    imported = {str(file.relative_to(ROOT)) for file in closure(SOURCE / f"{name}.py", key)}
    assert {dependency for dependency in deps if dependency.startswith("src/")} == imported


@pytest.mark.parametrize("name", ["train", "evaluate", "compare", "promote"])
def test_training_path_needs_the_numeric_packages_only(name: str) -> None:
    """It runs on GPU machines that have neither DVC nor librosa."""
    numeric = {"torch", "numpy", "scipy", "pandas", "sklearn", "matplotlib", "yaml", "safetensors", "tqdm"}
    numeric |= {"joblib", "filelock"}  # which scikit-learn and torch bring
    files = {file for key in ("cnn", "birnn") for file in closure(SOURCE / f"{name}.py", key)}
    imported = {module.split(".")[0] for file in [*files, SOURCE / "fma_genre/params.py"] for module in imports(file)}
    assert imported - sys.stdlib_module_names - {"fma_genre", "stage"} <= numeric


def test_params_imports_nothing_of_ours() -> None:
    """It need not be a dependency because it only checks; what it would import could change results."""
    own = {name for name in imports(SOURCE / "fma_genre/params.py") if name.startswith("fma_genre.")}
    assert own == {"fma_genre.InputError"}

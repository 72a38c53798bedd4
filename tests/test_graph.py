"""Only what changed runs again: by dvc.yaml for every module, and in the miniature after a series of changes."""

import ast
import sys
from collections.abc import Callable
from typing import Any

import pytest

from closure import PACKAGE, SOURCE, Stage, closure, imports, modules, stages
from project import ROOT, Project

Change = Callable[[Project], object]

CNN = {"train@cnn", "evaluate@cnn", "compare", "promote"}  # promote, since the miniature ships cnn
BIRNN = {"train@birnn", "evaluate@birnn", "compare"}
EVERYTHING = {"download", "split", "spectrograms", "baseline@svm"} | CNN | BIRNN
CODE = {"train@cnn", "evaluate@cnn", "train@birnn", "evaluate@birnn"}  # what learning and front ends are code of
PREDICTIONS = {"baseline@svm", "evaluate@cnn", "evaluate@birnn", "compare"}
STAGES = list(stages())

# The stages that an edit of each file, or of the files in each folder, runs again. The longest path counts.
RERUNS: dict[str, set[str]] = {
    "download.py": {"download"},
    "split.py": {"split"},
    "spectrograms.py": {"spectrograms"},
    "baseline.py": {"baseline@svm"},
    "train.py": {"train@cnn", "train@birnn"},
    "evaluate.py": {"evaluate@cnn", "evaluate@birnn"},
    "compare.py": {"compare"},
    "promote.py": {"promote"},
    "predict.py": set(),
    "show.py": set(),
    "diff.py": set(),
    "fma_genre/common": set(),
    "fma_genre/fetch": {"download"},
    "fma_genre/archives": {"download", "split", "spectrograms"},
    "fma_genre/features": {"spectrograms"},
    "fma_genre/store.py": {"spectrograms", "baseline@svm", "compare"} | CODE,
    "fma_genre/prediction.py": set(),
    "fma_genre/baselines": {"baseline@svm"},
    "fma_genre/front_ends/cepstral.py": CODE,
    "fma_genre/networks/cnn.py": {"train@cnn", "evaluate@cnn"},
    "fma_genre/networks/birnn.py": {"train@birnn", "evaluate@birnn"},
    "fma_genre/learning": CODE,
    "fma_genre/results": {"compare"},
    "fma_genre/results/metrics.py": PREDICTIONS,
    "fma_genre/results/predictions.py": PREDICTIONS,
}


# What dvc.yaml says. ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [str(path.relative_to(SOURCE)) for path in modules()])
def test_an_edit_runs_the_stages_of_the_table(file: str) -> None:
    entry = max((path for path in RERUNS if f"{file}/".startswith(f"{path}/")), key=len)
    assert {stage.name for stage in STAGES if stage.covers(SOURCE / file)} == RERUNS[entry]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_all_that_a_stage_imports_is_among_its_dependencies(stage: Stage) -> None:
    exempt = {file for file in closure(stage) if file.parent == PACKAGE / "common" or file.name == "__init__.py"}
    missing = {file for file in closure(stage) - exempt if not stage.covers(file)}
    assert not {str(file.relative_to(ROOT)) for file in missing}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_imports_something_of_each_dependency(stage: Stage) -> None:
    imported = {file for file in closure(stage) if file.name != "__init__.py"}
    for dependency in stage.deps:
        if dependency.startswith("src/"):
            assert any(file.is_relative_to(ROOT / dependency) for file in imported), dependency


def test_package_files_hold_only_a_docstring() -> None:
    """They are no dependencies, so they may not change a result."""
    for path in PACKAGE.rglob("__init__.py"):
        body = ast.parse(path.read_text()).body
        assert len(body) == 1, path
        assert ast.get_docstring(ast.parse(path.read_text())), path


@pytest.mark.parametrize("name", ["train", "evaluate", "compare", "promote"])
def test_the_training_path_needs_numeric_packages_only(name: str) -> None:
    """It runs on GPU machines that have neither DVC nor librosa."""
    numeric = {"torch", "numpy", "scipy", "pandas", "sklearn", "matplotlib", "yaml", "safetensors", "tqdm"}
    numeric |= {"joblib", "filelock"}  # which scikit-learn and torch bring
    files = {file for stage in STAGES if stage.script.stem == name for file in closure(stage)}
    imported = {module.split(".")[0] for file in files for module in imports(file)}
    assert imported - sys.stdlib_module_names - {"fma_genre"} <= numeric


def test_only_download_can_fetch() -> None:
    for stage in STAGES:
        fetches = any(file.is_relative_to(PACKAGE / "fetch") for file in closure(stage))
        assert fetches == (stage.name == "download")


# What DVC does. ---------------------------------------------------------------------------------------------------


def parameter(name: str, value: Any) -> Change:
    """Set the parameter of this dotted name."""

    def set_value(params: dict[str, Any]) -> None:
        *groups, key = name.split(".")
        for group in groups:
            params = params[group]
        assert params.get(key) != value
        params[key] = value

    return lambda project: project.edit_params(set_value)


def comment(name: str) -> Change:
    """Append a comment to a file, which changes no result."""

    def append(project: Project) -> None:
        with (project.path / name).open("a") as file:
            file.write("\n# a comment\n")

    return append


def library(name: str) -> Change:
    return comment(f"src/fma_genre/{name}.py")


def leave_files(project: Project) -> None:
    """Leave the files that editors, file managers and people do."""
    for folder in ("src/fma_genre/learning", "src/fma_genre/features", "src/fma_genre/results"):
        for name in (".clips.py.swp", ".DS_Store", "notes.md", "clips.py~", ".#clips.py"):
            (project.path / folder / name).write_text("x")


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "nothing": (lambda project: None, set()),
    "README": (comment("README.md"), set()),
    "a comment in params.yaml": (comment("params.yaml"), set()),
    "a data set that is not used": (parameter("datasets.small.audio.url", "elsewhere.zip"), set()),
    "files of an editor": (leave_files, set()),
    "model": (parameter("model", "birnn"), {"promote"}),
    # What runs again for a comment in the code gives the same bytes: nothing after it runs.
    "cnn's source": (library("networks/cnn"), {"train@cnn", "evaluate@cnn"}),
    "the front end's source": (library("front_ends/cepstral"), CODE),
    "the synthesiser's source": (library("fetch/synthesis"), {"download"}),
    "the figures": (library("results/figures"), {"compare"}),
    "the metrics module": (library("results/metrics"), PREDICTIONS),
    "a comparison parameter": (parameter("compare.resamples", 50), {"compare"}),
    "a parameter of the baseline": (parameter("baselines.svm.c", [0.001]), {"baseline@svm", "compare"}),
    "a parameter of one model": (parameter("models.birnn.hidden", 6), BIRNN),
    "a training parameter": (parameter("train.lr", 0.002), CNN | BIRNN),
    "another segment length": (parameter("train.segment_frames", 160), CNN | BIRNN),
    "a mel parameter": (parameter("spectrograms.mel.bands", 64), {"spectrograms", "baseline@svm"} | CNN),
    "an STFT parameter": (parameter("spectrograms.stft.n_fft", 512), {"spectrograms", "baseline@svm"} | BIRNN),
    "dataset": (parameter("dataset", "other"), EVERYTHING),
}


@pytest.fixture(scope="module")
def project(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return finished.copy(tmp_path_factory.mktemp("graph") / "project")


def undo(project: Project) -> None:
    project.run("git", "checkout", "--quiet", "--", "src", "params.yaml", "README.md")


@pytest.mark.parametrize("change", CHANGES)
def test_only_what_changed_runs(project: Project, change: str) -> None:
    """Each change is one to the miniature as it was; what the change before it had made is restored from DVC's cache.

    But for compare, which has no run cache, since its report is kept by git: it runs to restore its outputs.
    """
    apply, expected = CHANGES[change]
    position = list(CHANGES).index(change)
    _, before = list(CHANGES.values())[position - 1] if position else (None, set[str]())
    undo(project)
    apply(project)
    assert project.repro() == expected | ({"compare"} & before)


def test_what_was_restored_is_what_was_there(project: Project, finished: Project) -> None:
    undo(project)
    assert project.repro() == {"compare"}
    assert project.run("git", "status", "--short", "--untracked-files=no").stdout == ""
    assert (project.path / "report.md").read_bytes() == (finished.path / "report.md").read_bytes()

"""Which stages run after a change: by the dependencies in dvc.yaml, and by `dvc repro` in a miniature project."""

import ast
import sys
from collections.abc import Callable
from typing import Any

import pytest

import fma_genre
from closure import PACKAGE, SOURCE, Stage, closure, imports, modules, stages, uncovered
from project import ROOT, Project

Change = Callable[[Project], object]

CNN = {"train@cnn", "evaluate@cnn", "compare", "promote"}  # promote, since `model` is cnn
BIRNN = {"train@birnn", "evaluate@birnn", "compare", "promote"}  # promote, since the comparison changes
EVERYTHING = {"download", "split", "spectrograms", "baseline@svm"} | CNN | BIRNN
CODE = {"train@cnn", "evaluate@cnn", "train@birnn", "evaluate@birnn"}  # stages that run learning and front ends
PREDICTIONS = {"baseline@svm", "evaluate@cnn", "evaluate@birnn", "compare"}
RAW = "waveforms@raw"
STAGES = list(stages(waveforms={"raw": {"sample_rate": 22050, "hop": 27}}))

# The stages that run again after an edit of a file or folder. The longest matching path counts.
RERUNS: dict[str, set[str]] = {
    "download.py": {"download"},
    "split.py": {"split"},
    "spectrograms.py": {"spectrograms"},
    "waveforms.py": {RAW},
    "baseline.py": {"baseline@svm"},
    "train.py": {"train@cnn", "train@birnn"},
    "evaluate.py": {"evaluate@cnn", "evaluate@birnn"},
    "compare.py": {"compare"},
    "promote.py": {"promote"},
    "predict.py": set(),
    "show.py": set(),
    "diff.py": set(),
    "record.py": set(),
    "experiments.py": set(),
    "choose.py": set(),
    "related.py": set(),
    "pack.py": set(),
    "known_answer.py": set(),
    "fma_genre/known_answer": set(),
    "fma_genre/packing": set(),
    "fma_genre/checkout.py": set(),
    "fma_genre/listening.py": set(),
    "fma_genre/common": set(),
    "fma_genre/fetch": {"download"},
    "fma_genre/archives": {"download", "split", "spectrograms", RAW},
    "fma_genre/archives/cells.py": {"download", "split", "spectrograms", RAW, "compare"},
    "fma_genre/features": {"spectrograms", RAW},
    "fma_genre/model_card.py": {"promote"},
    "fma_genre/store.py": {"spectrograms", RAW, "baseline@svm", "compare", "promote"} | CODE,
    "fma_genre/prediction.py": set(),
    "fma_genre/scored_split.py": set(),
    "fma_genre/baselines": set(),
    "fma_genre/baselines/_spectra.py": {"baseline@svm"},
    "fma_genre/baselines/low_level.py": {"baseline@svm"},
    "fma_genre/baselines/rbf_svm.py": {"baseline@svm", "compare"},
    "fma_genre/front_ends": set(),  # here and in networks: files that no system of tests/params.yaml uses
    "fma_genre/front_ends/cepstral.py": {"train@cnn", "evaluate@cnn"},
    "fma_genre/front_ends/standardised.py": {"train@birnn", "evaluate@birnn"},
    "fma_genre/networks": set(),
    "fma_genre/networks/cnn.py": {"train@cnn", "evaluate@cnn"},
    "fma_genre/networks/birnn.py": {"train@birnn", "evaluate@birnn"},
    "fma_genre/learning": CODE,
    "fma_genre/results": {"compare"},
    "fma_genre/results/markdown.py": {"compare", "promote"},
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
    assert uncovered(stage) == []


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_imports_something_of_each_dependency(stage: Stage) -> None:
    imported = {file for file in closure(stage) if file.name != "__init__.py"}
    for dependency in stage.deps:
        if dependency.startswith("src/"):
            assert any(file.is_relative_to(ROOT / dependency) for file in imported), dependency


def test_no_stage_uses_the_public_names_of_the_package() -> None:
    """They are imported lazily, so `closure` would not find the modules behind them."""
    public = {f"fma_genre.{name}" for name in fma_genre.__all__}
    files = {file for stage in STAGES for file in closure(stage)}
    assert [file for file in files if public & set(imports(file))] == []


def test_package_files_hold_only_a_docstring() -> None:
    """No stage depends on these files, so they must not change a result."""
    for path in PACKAGE.glob("*/**/__init__.py"):
        body = ast.parse(path.read_text()).body
        assert len(body) == 1, path
        assert ast.get_docstring(ast.parse(path.read_text())), path


@pytest.mark.parametrize("name", ["train", "evaluate", "compare", "promote"])
def test_the_training_path_needs_numeric_packages_only(name: str) -> None:
    """It also runs on GPU machines without DVC and librosa."""
    numeric = {"torch", "numpy", "scipy", "pandas", "sklearn", "matplotlib", "yaml", "safetensors", "tqdm"}
    numeric |= {"joblib", "filelock"}  # dependencies of scikit-learn and torch
    files = {file for stage in STAGES if stage.script.stem == name for file in closure(stage)}
    imported = {module.split(".")[0] for file in files for module in imports(file)}
    assert imported - sys.stdlib_module_names - {"fma_genre"} <= numeric


def test_only_download_can_fetch() -> None:
    for stage in STAGES:
        fetches = any(file.is_relative_to(PACKAGE / "fetch") for file in closure(stage))
        assert fetches == (stage.name == "download")


# What DVC does. ---------------------------------------------------------------------------------------------------


def parameter(name: str, value: Any) -> Change:
    """A change of the parameter with this dotted name."""

    def set_value(params: dict[str, Any]) -> None:
        *groups, key = name.split(".")
        for group in groups:
            params = params[group]
        assert params.get(key) != value
        params[key] = value

    return lambda project: project.edit_params(set_value)


def comment(name: str) -> Change:
    """A change that appends a comment to a file."""

    def append(project: Project) -> None:
        with (project.path / name).open("a") as file:
            file.write("\n# a comment\n")

    return append


def library(name: str) -> Change:
    return comment(f"src/fma_genre/{name}.py")


def nothing_that_counts(project: Project) -> None:
    """Edit README and a comment, change an unused data set, and add files that no stage reads."""
    for edit in (parameter("datasets.small.audio.url", "elsewhere.zip"), comment("README.md"), comment("params.yaml")):
        edit(project)
    for folder in ("src/fma_genre/learning", "src/fma_genre/features", "src/fma_genre/results"):
        for name in (".clips.py.swp", ".DS_Store", "notes.md", "clips.py~", ".#clips.py"):
            (project.path / folder / name).write_text("x")


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "nothing that counts": (nothing_that_counts, set()),
    "model": (parameter("model", "birnn"), {"promote"}),
    # After a comment in the code, outputs have the same bytes, so downstream stages do not run.
    "cnn's source": (library("networks/cnn"), {"train@cnn", "evaluate@cnn"}),
    "a front end's source": (library("front_ends/standardised"), {"train@birnn", "evaluate@birnn"}),
    "the synthesiser's source": (library("fetch/synthesis"), {"download"}),
    "the figures": (library("results/figures"), {"compare"}),
    "the metrics module": (library("results/metrics"), PREDICTIONS),
    "a comparison parameter": (parameter("compare.resamples", 100), {"compare", "promote"}),
    "a parameter of the baseline": (parameter("baselines.svm.c", [0.001]), {"baseline@svm", "compare", "promote"}),
    "a parameter of one model": (parameter("models.birnn.hidden", 6), BIRNN),
    "a training parameter": (parameter("train.lr", 0.002), CNN | BIRNN),
    # The birnn has a segment length of its own, so it is trained again with the same result.
    "another segment length": (parameter("train.segment_frames", 160), CNN | {"train@birnn"}),
    "a mel parameter": (parameter("spectrograms.mel.bands", 64), {"spectrograms", "baseline@svm"} | CNN),
    "an STFT parameter": (parameter("spectrograms.stft.n_fft", 512), {"spectrograms", "baseline@svm"} | BIRNN),
    "dataset": (parameter("dataset", "other"), EVERYTHING),
}
FAST = ("nothing that counts", "model", "a parameter of the baseline")


@pytest.fixture(scope="module")
def project(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return finished.copy(tmp_path_factory.mktemp("graph") / "project")


def undo(project: Project) -> None:
    project.run("git", "checkout", "--quiet", "--", "src", "params.yaml", "README.md")


@pytest.fixture(scope="module")
def ran() -> list[set[str]]:
    """The stages that ran in each test so far."""
    return [set()]


@pytest.mark.parametrize(
    "change", [pytest.param(change, marks=() if change in FAST else pytest.mark.slow) for change in CHANGES]
)
def test_only_what_changed_runs(project: Project, ran: list[set[str]], change: str) -> None:
    """Each change starts from the original project. DVC restores the results of the stages that ran before.

    Only compare runs to restore its outputs: it has no run cache, because git keeps its report.
    """
    apply, expected = CHANGES[change]
    undo(project)
    apply(project)
    assert project.repro() == expected | ({"compare"} & ran[-1])
    ran.append(expected)


def test_restored_outputs_equal_the_original_ones(project: Project, ran: list[set[str]], finished: Project) -> None:
    undo(project)
    assert project.repro() == {"compare"} & ran[-1]
    assert project.run("git", "status", "--short", "--untracked-files=no").stdout == ""
    assert (project.path / "report.md").read_bytes() == (finished.path / "report.md").read_bytes()

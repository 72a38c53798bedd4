"""Experiments with `dvc exp run`: which stages run, and what DVC shows afterwards."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from fma_genre.results.style import colours
from project import Project, stages_run

METRICS = ("accuracy", "precision", "recall", "f1")
PREPARATION = {"download", "split", "spectrograms"}
CNN = {"train@cnn", "evaluate@cnn"}
BIRNN = {"train@birnn", "evaluate@birnn"}

# Variants of the models, each as one setting on the command line.
CNN_STFT = (
    "++models.cnn_stft={network: cnn, representation: stft, front_end: cepstral, cepstral_coefficients: 20,"
    " channels: [32, 32, 32, 32, 32], pools: [4, 4, 4, 2, 1], kernel: 4, dense: 32, dropout: 0.1}"
)
BIRNN_MEL = (
    "++models.birnn_mel={network: birnn, representation: mel, front_end: cepstral, cepstral_coefficients: 20,"
    " pool: 2, embedding: 8, hidden: 8, dropout: 0.3}"
)


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    return finished.copy(tmp_path / "project")


def experiment(project: Project, *settings: str) -> set[str]:
    arguments = [argument for setting in settings for argument in ("-S", setting)]
    return stages_run(project.run("dvc", "exp", "run", *arguments).stdout)


def metrics(project: Project, name: str) -> dict[str, Any]:
    return json.loads((project.path / "metrics" / f"{name}.json").read_text())


def assert_diff_reads_cnn_to_birnn(project: Project, cnn: dict[str, Any], birnn: dict[str, Any]) -> None:
    """Check that `dvc metrics diff` shows four metrics of the promoted model before and after the experiment."""
    changed = {key for key in METRICS if cnn[key] != birnn[key]}
    assert {"accuracy", "f1"} <= changed, "this test needs models with different metrics"
    table = json.loads(project.run("dvc", "metrics", "diff", "--json").stdout)["metrics/promoted.json"]
    assert {key: (table[key]["old"], table[key]["new"]) for key in changed} == {
        key: (cnn[key], birnn[key]) for key in changed
    }


def results(project: Project, *folders: str) -> dict[str, bytes]:
    files = [file for folder in folders for file in (project.path / folder).rglob("*") if file.is_file()]
    return {str(file.relative_to(project.path)): file.read_bytes() for file in files}


def archives(home: Path) -> dict[Path, int]:
    """The archives in FMA_HOME and the time when each was written."""
    return {path: path.stat().st_mtime_ns for path in home.glob("*/fma_*.zip")}


@pytest.mark.slow
def test_birnn_in_a_fresh_clone_with_the_same_bits(finished: Project, tmp_path: Path) -> None:
    """Data, models and predictions, which git does not keep, are made again with the same bytes."""
    project = finished.clone(tmp_path / "clone")
    assert experiment(project, "model=birnn") == PREPARATION | CNN | BIRNN | {"baseline@svm", "promote"}
    assert_diff_reads_cnn_to_birnn(project, metrics(finished, "cnn"), metrics(project, "birnn"))
    made = ("data/mel", "data/stft", "data/predictions", "models/cnn", "models/birnn")
    assert results(project, *made) == results(finished, *made)
    assert len(results(project, *made)) > len(made)
    for table in ("archives.json", "tracks.csv", "index.csv"):
        assert (project.path / "data" / table).read_bytes() == (finished.path / "data" / table).read_bytes()
    project.repro("--force", "--single-item", "compare")
    changed = project.run("git", "diff", "--name-only", "main").stdout.split()
    assert set(changed) == {"params.yaml", "dvc.lock", "metrics/promoted.json"}


@pytest.mark.slow
def test_birnn_alone_on_cnns_input_with_a_small_learning_rate(project: Project) -> None:
    """DVC writes 1e-05, which plain PyYAML reads as a string."""
    settings = ("model=birnn", "models.birnn.representation=mel", "++models.birnn.lr=0.00001")
    assert experiment(project, *settings) == BIRNN | {"compare", "promote"}
    assert "1e-05" in (project.path / "params.yaml").read_text()
    promoted = json.loads((project.path / "models/promoted/settings.json").read_text())
    assert promoted["key"] == "birnn"
    assert promoted["store"]["representation"] == "mel"
    assert promoted["train"]["lr"] == 0.00001


def test_birnn_after_a_repro(project: Project) -> None:
    assert experiment(project, "model=birnn") == {"promote"}
    assert_diff_reads_cnn_to_birnn(project, metrics(project, "cnn"), metrics(project, "birnn"))


@pytest.mark.slow
def test_a_parameter_of_one_model_and_back(project: Project, finished: Project) -> None:
    """On the way back only compare runs; DVC restores the other outputs from its cache."""
    assert experiment(project, "models.cnn.dropout=0.3") == CNN | {"compare", "promote"}
    assert metrics(project, "cnn") != metrics(finished, "cnn")
    assert experiment(project, "models.cnn.dropout=0.1") == {"compare"}
    shown = ("data/predictions", "models", "metrics", "plots")
    assert results(project, *shown) == results(finished, *shown)
    assert project.run("git", "status", "--porcelain").stdout == ""


@pytest.mark.slow
def test_a_variant_by_one_setting(project: Project, finished: Project) -> None:
    """One command adds a model to the report, without an edit of any file."""
    output = project.run("bash", "-c", f"dvc exp run -S '{CNN_STFT}'").stdout
    assert stages_run(output) == {"train@cnn_stft", "evaluate@cnn_stft", "compare", "promote"}
    assert_compared(project, ["cnn", "birnn", "cnn_stft"])
    for key in ("cnn", "birnn", "svm"):
        assert metrics(project, key) == metrics(finished, key)

    assert experiment(project, BIRNN_MEL) == {"train@birnn_mel", "evaluate@birnn_mel", "compare", "promote"}
    assert_compared(project, ["cnn", "birnn", "cnn_stft", "birnn_mel"])
    page = project.run("python", "src/show.py")
    assert page.returncode == 0
    assert "Segment predictions of cnn_stft" in (project.path / "page.html").read_text()

    assert experiment(project, "model=cnn_stft") == {"promote"}
    assert metrics(project, "promoted") == metrics(project, "cnn_stft")


def assert_compared(project: Project, models: list[str]) -> None:
    """Check that report, metrics, tables and figures have these models, in this order."""
    report = (project.path / "report.md").read_text()
    scores = re.findall(r"^\| (\w+) +\|", report.partition("\n## ")[0], re.MULTILINE)
    systems = ["svm", "cnn", "cnn_svm_head", *models[1:], "fusion"]
    assert scores == ["system", "majority", "conditions", *systems]
    comparison = metrics(project, "comparison")
    assert list(comparison["systems"]) == ["majority", *systems]
    assert list(comparison["differences"]) == [key for key in systems if key != "cnn"]
    curves = (project.path / "plots/comparison/curves.svg").read_text()
    for key, colour in colours(models).items():
        assert comparison["systems"][key]["accuracy"] == metrics(project, key)["accuracy"]
        assert key in (project.path / f"plots/comparison/votes_{key}.svg").read_text()
        assert f"stroke: {colour.lower()}" in curves
    for table in ("confusion", "genres"):
        lines = (project.path / f"plots/{table}.csv").read_text().splitlines()
        assert list(dict.fromkeys(line.split(",")[0] for line in lines[1:])) == [*models, "svm"]
    columns = (project.path / "plots/predictions.csv").read_text().splitlines()[0].split(",")
    assert columns[3:] == [f"{key}_seed0" for key in (*models, "svm")]
    shown = project.run("dvc", "metrics", "show").stdout
    rows = re.findall(r"^metrics/([\w/]+)\.json", shown, re.MULTILINE)
    assert rows == ["svm", *(f"training/{model}" for model in models), *models, "promoted"]


def test_a_clone_under_autocrlf_has_the_same_bytes(finished: Project, tmp_path: Path) -> None:
    """With other line endings, every stage would be out of date in that clone."""
    clone = Project(tmp_path / "clone", finished.home)
    finished.run("git", "clone", "--quiet", "-c", "core.autocrlf=true", str(finished.path), str(clone.path))
    listed = clone.run("git", "ls-files", "-z").stdout.split("\0")[:-1]
    assert {"dvc.lock", "src/train.py", "docs/page.png"} <= set(listed)
    assert [name for name in listed if (clone.path / name).read_bytes() != (finished.path / name).read_bytes()] == []
    assert stages_run(clone.run("dvc", "repro", "--dry", "--allow-missing").stdout) == set()


@pytest.mark.slow
def test_a_removed_model_leaves_the_comparison(project: Project, finished: Project, tmp_path: Path) -> None:
    """DVC leaves the outputs of removed models. `compare` deletes them, so that a fresh clone is up to date."""
    project.run("git", "checkout", "--quiet", "-b", "without")
    project.edit_params(lambda params: params["models"].pop("birnn"))
    project.edit_params(lambda params: params["compare"].update(fusion=[]))
    output = project.run("dvc", "repro").stdout
    assert stages_run(output) == {"compare", "promote"}
    left = ["data/predictions/birnn.npz", "metrics/birnn.json", "metrics/training/birnn.json"]
    left += ["plots/training/birnn.csv"]
    assert f"removed files of systems that are no longer in params.yaml: {', '.join(left)}\n" in output
    assert not [name for name in left if (project.path / name).exists()]
    assert "birnn" not in (project.path / "report.md").read_text()
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message=without birnn")
    assert "up to date" in project.run("dvc", "status").stdout
    shown = project.run("dvc", "metrics", "show")
    rows = re.findall(r"^metrics/([\w/]+)\.json", shown.stdout, re.MULTILINE)
    assert rows == ["svm", "training/cnn", "cnn", "promoted"]
    assert shown.stderr == ""

    clone = project.clone(tmp_path / "clone")
    assert stages_run(clone.run("dvc", "repro", "--dry", "--allow-missing").stdout) == set()
    report = clone.run("python", "src/diff.py", "origin/main").stdout
    assert re.search(r"^Removed: `birnn`", report, re.MULTILINE)
    assert "out of date" not in report
    shutil.copytree(project.path / ".dvc/cache", clone.path / ".dvc/cache")
    clone.run("dvc", "checkout")
    assert "up to date" in clone.run("dvc", "status").stdout
    assert clone.repro() == set()


@pytest.mark.slow
def test_an_output_that_is_edited_in_place_is_noticed(project: Project, finished: Project) -> None:
    """By default, DVC copies outputs into its cache instead of linking them."""
    project.run("dvc", "checkout", "--relink")  # copying the project has turned links into copies
    index = project.path / "data/index.csv"
    expected, cached = index.read_bytes(), results(project, ".dvc/cache/files")
    with index.open("r+b") as file:
        file.write(b"T")
    assert "data/index.csv" in project.run("dvc", "status").stdout
    assert results(project, ".dvc/cache/files") == cached
    assert project.repro() == set(), "restored from the cache"
    assert index.read_bytes() == expected
    assert "up to date" in project.run("dvc", "status").stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["home", "relative"])
def test_a_temporary_run_uses_the_archives_in_fma_home(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """FMA_HOME may begin with ~. A relative path starts at the checkout, not at DVC's temporary copy."""
    kept = tmp_path / "kept"
    shutil.copytree(project.home, kept, ignore=shutil.ignore_patterns("*.part"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[user]\nname = test\nemail = test@example.org\n")
    before = archives(kept)
    given = Project(project.path, Path({"home": "~/kept", "relative": "../kept"}[kind]))
    output = given.run("dvc", "exp", "run", "--temp", "--force", "spectrograms").stdout
    assert stages_run(output) == PREPARATION
    assert len(before) >= 2
    assert archives(kept) == before
    assert not [path for path in tmp_path.rglob("*.zip") if not path.is_relative_to(kept)]
    if kind == "relative":
        given.run("python", "src/split.py")  # without DVC


@pytest.mark.slow
def test_a_queue_runs_committed_code_and_downloads_nothing(project: Project) -> None:
    before = archives(project.home)
    project.run("dvc", "exp", "run", "--queue", "-S", "model=cnn,birnn")
    script = project.path / "src/promote.py"
    script.write_text("raise SystemExit('the code of the workspace, not of the commit')\n")
    project.run("dvc", "queue", "start")
    names = re.findall(r"^\w{7} +(\S+)", project.run("dvc", "queue", "status").stdout, re.MULTILINE)
    for name in names:
        project.run("dvc", "queue", "logs", "--follow", name)
    table = json.loads(project.run("dvc", "exp", "show", "--json").stdout)
    experiments = [experiment for row in table for experiment in row["experiments"] or []]
    promoted = {
        revision["data"]["params"]["params.yaml"]["data"]["model"]: revision["data"]["metrics"]["metrics/promoted.json"]
        for experiment in experiments
        for revision in experiment["revs"]
    }
    assert promoted["birnn"]["data"] == metrics(project, "birnn")
    assert promoted["cnn"]["data"] == metrics(project, "cnn")
    assert {path: written for path, written in archives(project.home).items() if path in before} == before

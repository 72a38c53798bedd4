"""What users ask with `dvc exp run`, and what DVC answers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides

from project import ROOT, Project, stages_run

METRICS = ("accuracy", "precision", "recall", "f1")
PREPARATION = {"download", "split", "spectrograms"}
CNN = {"train@cnn", "evaluate@cnn"}
BIRNN = {"train@birnn", "evaluate@birnn"}


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    return finished.copy(tmp_path / "project")


def experiment(project: Project, *settings: str) -> set[str]:
    arguments = [argument for setting in settings for argument in ("-S", setting)]
    return stages_run(project.run("dvc", "exp", "run", *arguments).stdout)


def metrics(project: Project, name: str) -> dict[str, Any]:
    return json.loads((project.path / "metrics" / f"{name}.json").read_text())


def assert_diff_reads_cnn_to_birnn(project: Project, cnn: dict[str, Any], birnn: dict[str, Any]) -> None:
    """On the rows of one file, `dvc metrics diff` shows the four metrics before and after."""
    changed = {key for key in METRICS if cnn[key] != birnn[key]}
    assert {"accuracy", "f1"} <= changed, "the miniature's models must differ for this test to say anything"
    table = json.loads(project.run("dvc", "metrics", "diff", "--json").stdout)["metrics/promoted.json"]
    assert {key: (table[key]["old"], table[key]["new"]) for key in changed} == {
        key: (cnn[key], birnn[key]) for key in changed
    }


def results(project: Project, *folders: str) -> dict[str, bytes]:
    files = [file for folder in folders for file in (project.path / folder).rglob("*") if file.is_file()]
    return {str(file.relative_to(project.path)): file.read_bytes() for file in files}


def test_an_experiment_changes_no_line_but_its_own(tmp_path: Path) -> None:
    """DVC writes params.yaml anew; what it keeps as it is does not clutter a pull request."""
    written = (ROOT / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(written)
    apply_overrides(str(path), ["model=birnn", "train.lr=0.123"])
    changed = [line for line in path.read_text().splitlines() if line not in written.splitlines()]
    assert [line.split("#")[0].strip() for line in changed] == ["model: birnn", "lr: 0.123"]
    assert len(path.read_text().splitlines()) == len(written.splitlines())


def test_birnn_in_a_fresh_clone_with_the_same_bits(finished: Project, tmp_path: Path) -> None:
    """Metrics are committed, data and models are not: these are made again, and come out the same."""
    project = finished.clone(tmp_path / "clone")
    # Neither evaluate stage: its metrics are there, and it finds the models that they were measured on.
    assert experiment(project, "model=birnn") == PREPARATION | {"train@cnn", "train@birnn", "compare", "promote"}
    assert_diff_reads_cnn_to_birnn(project, metrics(finished, "cnn"), metrics(project, "birnn"))
    made = ("data/spectrograms", "models/cnn", "models/birnn")
    assert results(project, *made) == results(finished, *made)
    shown = ("metrics", "plots")
    before = results(project, *shown)
    project.repro("--force", "--single-item", "evaluate@cnn", "evaluate@birnn")
    assert results(project, *shown) == before
    assert (project.path / "report.md").read_bytes() == (finished.path / "report.md").read_bytes()


def test_birnn_alone_on_cnns_input_with_a_small_learning_rate(project: Project) -> None:
    """DVC writes 1e-05, which PyYAML by itself reads as a string."""
    settings = ("-S", "model=birnn", "-S", "models.birnn.representation=mel", "-S", "train.lr=0.00001")
    output = project.run("dvc", "exp", "run", *settings, "promote").stdout
    assert stages_run(output) == {"download", "promote"} | BIRNN
    assert "1e-05" in (project.path / "params.yaml").read_text()
    assert metrics(project, "promoted")["representation"] == "mel"
    trained = json.loads((project.path / "models/promoted/settings.json").read_text())
    assert trained["training"]["lr"] == 0.00001


def test_birnn_after_a_repro(project: Project) -> None:
    assert experiment(project, "model=birnn") == {"download", "promote"}
    assert_diff_reads_cnn_to_birnn(project, metrics(project, "cnn"), metrics(project, "birnn"))


def test_a_parameter_of_one_model(project: Project) -> None:
    assert experiment(project, "models.cnn.dropout=0.3") == CNN | {"compare", "promote"}


def test_a_queue_runs_committed_code_and_downloads_nothing(project: Project) -> None:
    finished = project.home.glob("demo/[!.]*/*.zip")  # others may be being built
    archives = {path: path.stat().st_mtime_ns for path in finished}
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
    assert {path: path.stat().st_mtime_ns for path in archives} == archives

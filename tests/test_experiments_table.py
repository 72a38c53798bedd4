"""The table of experiments, from a recorded answer of DVC and from experiments in a miniature project."""

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import experiments
from fma_genre import checkout
from fma_genre.common.errors import InputError
from project import ROOT, Project, stages_run

# Answer of `dvc exp show --json` in this project, without dependencies, outputs and data sets. After the experiment
# ethic-farm, which changed `model`, train.lr=-1 failed, and train.lr=0.002 was queued.
RECORDED = Path(__file__).with_name("experiments.json").read_text()
SYSTEMS = ["cnn", "birnn", "cnn_stft", "birnn_mel", "svm"]
Values = dict[str, Any]


def as_rows(text: str) -> list[list[str]]:
    """Cells of the lines of a table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if not line.startswith("|-")][1:]


def show(answer: list[Values]) -> str:
    return experiments.as_table(experiments.read_revisions(answer))


def parameters(row: Values) -> Values:
    return row["data"]["params"]["params.yaml"]["data"]


def metrics(row: Values, name: str) -> Values:
    return row["data"]["metrics"][f"metrics/{name}.json"]["data"]


@pytest.fixture
def answer() -> list[Values]:
    return json.loads(RECORDED)


def add(answer: list[Values], name: str, promoted: float, state: str | None = None) -> Values:
    """Add an experiment whose promoted model has this validation accuracy; return its revision."""
    row = copy.deepcopy(answer[1]) | {"name": name, "experiments": None}
    metrics(row, "promoted")["validation_accuracy"] = promoted
    executor = None if state is None else {"state": state, "name": None, "local": None}
    answer[1]["experiments"].append({"name": name, "executor": executor, "revs": [row]})
    return row


# A recorded answer. -----------------------------------------------------------------------------------------------


def test_the_recorded_experiments_as_a_table(answer: list[Values]) -> None:
    assert show(answer).splitlines() == [
        "| experiment | changed        | promoted | cnn  | birnn | cnn_stft | birnn_mel | svm  |",
        "|------------|----------------|----------|------|-------|----------|-----------|------|",
        "| HEAD       |                | 81.2     | 81.2 | 81.2  | 75.0     | 81.2      | 81.2 |",
        "| ethic-farm | model=birnn    | 81.2     | 81.2 | 81.2  | 75.0     | 81.2      | 81.2 |",
        "| broken     | model=birnn    | failed   |      |       |          |           |      |",
        "|            | train.lr=-1    |          |      |       |          |           |      |",
        "| waiting    | model=birnn    | queued   |      |       |          |           |      |",
        "|            | train.lr=0.002 |          |      |       |          |           |      |",
    ]


def test_the_best_on_the_validation_tracks_is_first(answer: list[Values]) -> None:
    for name, promoted in (("worse", 0.5), ("best", 1), ("good", 0.9)):
        add(answer, name, promoted)
    add(answer, "ran-in-a-queue", 0.95, "success")
    add(answer, "unfinished", 0.99, "running")
    del metrics(add(answer, "without", 0), "promoted")["validation_accuracy"]
    rows = as_rows(show(answer))
    names = ["best", "ran-in-a-queue", "good", "HEAD", "ethic-farm", "worse", "without"]
    assert [row[0] for row in rows if row[0]] == [*names, "broken", "waiting", "unfinished"]
    assert [row[2] for row in rows[:7]] == ["100.0", "95.0", "90.0", "81.2", "81.2", "50.0", ""]
    assert rows[-1][2:] == ["running", "", "", "", "", ""]


def test_without_an_experiment_the_last_commit_is_shown(answer: list[Values]) -> None:
    answer[1]["experiments"] = None
    assert as_rows(show(answer)) == [["HEAD", "", "81.2", "81.2", "81.2", "75.0", "81.2", "81.2"]]
    answer[1]["data"]["metrics"] = {}
    assert as_rows(show(answer)) == [["HEAD", *[""] * 7]]


def test_no_test_score_is_shown(answer: list[Values]) -> None:
    rows = [row for experiment in answer[1]["experiments"] for row in experiment["revs"]]
    for row in (*answer, *rows):
        for file in row["data"]["metrics"].values():
            file["data"] = {
                key: value if key == "validation_accuracy" else 0.123 for key, value in file["data"].items()
            }
    assert show(answer) == show(json.loads(RECORDED))


def test_a_system_of_one_revision_has_a_column(answer: list[Values]) -> None:
    """The metrics of a removed system, which may be left in git, do not count."""
    row = add(answer, "other", 0.9)
    parameters(row)["models"]["wide"] = parameters(row)["models"].pop("birnn") | {"hidden": 256}
    row["data"]["metrics"]["metrics/wide.json"] = {"data": {"validation_accuracy": 0.7}}
    text = show(answer)
    assert text.splitlines()[0].split() == f"| experiment | changed | promoted | {' | '.join(SYSTEMS)} | wide |".split()
    first, second, head, *_ = as_rows(text)
    assert first == ["other", "~models.birnn", "90.0", "81.2", "", "75.0", "81.2", "81.2", "70.0"]
    assert second == ["", "+models.wide", *[""] * 7]
    assert (head[0], head[4], head[-1]) == ("HEAD", "81.2", "")


@pytest.mark.parametrize(
    ("section", "key", "value", "shown"),
    [
        ("train", "lr", 1e-5, "train.lr=1e-05"),
        ("models", "birnn", {"lr": 0.01}, "models.birnn.lr=0.01"),
        ("models", "cnn", {"front_end": "cepstral"}, "models.cnn.front_end=cepstral"),
        ("models", "cnn", {"channels": [64, 64]}, "models.cnn.channels=[64,64]"),
        ("models", "cnn", {"channels": [1024] * 9}, "models.cnn.channels=[1024,1024,1024,102…"),
        ("compare", "fusion", [], "compare.fusion=[]"),
        ("baselines", "svm", {"c": "x|y"}, "baselines.svm.c=x/y"),
        ("baselines", "svm", {"c": "\x1b[1m"}, "baselines.svm.c=?[1m"),
    ],
)
def test_a_changed_parameter_is_shown_as_for_the_command_line(
    answer: list[Values], section: str, key: str, value: Any, shown: str
) -> None:
    group = parameters(add(answer, "changed", 1))[section]
    group[key] = group[key] | value if isinstance(value, dict) else value
    name, changed, *_ = as_rows(show(answer))[0]
    assert (name, changed) == ("changed", shown)


def test_a_usual_experiment_fits_into_100_columns(answer: list[Values]) -> None:
    parameters(add(answer, "umber-kirk", 0.9))["models"]["cnn_stft"]["dropout"] = 0.3
    parameters(add(answer, "rainy-sill", 1))["train"] |= {"lr": 0.0005, "epochs": 32, "weight_decay": 0.05}
    assert {len(line) for line in show(answer).splitlines()} == {100}


def test_the_command_prints_a_legend(
    answer: list[Values], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkout, "experiments", lambda: answer)
    monkeypatch.setattr("sys.argv", ["experiments.py"])
    experiments.main()
    assert capsys.readouterr().out == f"{show(answer)}\n\n{experiments.LEGEND}\n"


@pytest.mark.parametrize(
    ("code", "output", "errors", "message"),
    [
        (251, "", "ERROR: you are not\n inside of a DVC repository", "ERROR: you are not inside of a DVC repository"),
        (-15, "", "", "exit code -15, no output"),
        (0, "[", "", "cannot be read as JSON: .*"),
        (0, "{}", "", r"expected a list of revisions, found \{\}"),
        (0, '[{"rev": "workspace"}]', "", "expected the last commit, found none"),
    ],
)
def test_an_error_of_dvc_is_one_line(
    monkeypatch: pytest.MonkeyPatch, code: int, output: str, errors: str, message: str
) -> None:
    done = subprocess.CompletedProcess([], code, output, errors)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(InputError, match=f"^dvc exp show: {message}$"):
        experiments.read_revisions(checkout.experiments())


def test_outside_a_project_the_command_prints_one_line(tmp_path: Path) -> None:
    done = Project(tmp_path, tmp_path).run("python", str(ROOT / "src/experiments.py"), check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("experiments: dvc exp show: ERROR: you are not inside of a DVC repository")


# In a miniature project. ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_experiments_in_a_miniature_project(finished: Project, tmp_path: Path) -> None:
    """An experiment with a model that is not promoted, a removed system, a failure, and one that waits."""
    project = finished.copy(tmp_path / "project")
    (project.path / ".venv").mkdir()
    (project.path / ".venv/installed").touch()

    def own(name: str) -> str:
        return f"{100 * json.loads((project.path / f'metrics/{name}.json').read_text())['validation_accuracy']:.1f}"

    head = ["HEAD", "", own("promoted"), own("cnn"), own("birnn"), own("svm")]
    assert as_rows(project.run("make", "experiments").stdout) == [head]

    output = project.run("dvc", "exp", "run", "--name=narrow", "-S", "models.birnn.hidden=2").stdout
    assert stages_run(output) == {"train@birnn", "evaluate@birnn", "compare", "promote"}
    narrow = ["narrow", "models.birnn.hidden=2", own("promoted"), own("cnn"), own("birnn"), own("svm")]
    project.run("git", "checkout", "--quiet", ".")
    project.run("dvc", "checkout")
    project.run("dvc", "exp", "run", "--name=less", "-S", "~models.birnn", "-S", "compare.fusion=[]")
    assert not (project.path / "metrics/birnn.json").exists()
    less = ["less", "~models.birnn", own("promoted"), own("cnn"), "", own("svm")]
    project.run("git", "checkout", "--quiet", ".")
    failed = project.run("dvc", "exp", "run", "--name=broken", "--queue", "-S", "train.lr=-1")
    assert failed.returncode == 0
    project.run("dvc", "queue", "start")
    project.run("dvc", "queue", "logs", "--follow", "broken", check=False)
    project.run("dvc", "exp", "run", "--name=waiting", "--queue", "-S", "train.lr=0.002")
    project.run("dvc", "queue", "stop", "--kill", check=False)

    rows = as_rows(project.run("make", "experiments").stdout)
    named = {row[0]: row for row in rows if row[0]}
    assert (named["HEAD"], named["narrow"], named["less"]) == (head, narrow, less)
    assert rows[[row[0] for row in rows].index("less") + 1] == ["", "compare.fusion=[]", "", "", "", ""]
    assert named["broken"] == ["broken", "train.lr=-1", "failed", "", "", ""]
    assert named["waiting"][:2] == ["waiting", "train.lr=0.002"]
    assert re.fullmatch(r"queued|running|failed", named["waiting"][2])
    assert set(list(named)[3:]) == {"broken", "waiting"}

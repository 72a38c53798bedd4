"""Output of `dvc plots` and `dvc exp show`: each thing is drawn once, and a training can be followed."""

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from project import ROOT, Project

TEMPLATES = ROOT / ".dvc/plots"
PATIENCE = 300  # s for a training to begin to learn
FOLLOW = ("dvc", "exp", "show", "--json")
METRIC = "metrics/training/birnn.json"
LONG = "models.birnn.epochs=400"  # it learns something in the first 100; a training that is not stopped ends soon


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    return finished.copy(tmp_path / "project")


def plots(project: Project, *command: str) -> dict[str, Any]:
    """The plots that a command of `dvc plots` draws, by id; each has one picture for each revision or for all."""
    done = project.run("dvc", "plots", *command, "--json")
    answer = json.loads(done.stdout)
    assert (set(answer), done.stderr) == ({"data"}, ""), "no errors"
    return answer["data"]


def datapoints(plot: list[dict[str, Any]]) -> pd.DataFrame:
    (drawn,) = plot
    return pd.DataFrame(drawn["content"]["data"]["values"])


def test_each_thing_is_drawn_once(project: Project) -> None:
    drawn = plots(project, "show")
    curves = ["plots/training/cnn.csv", "plots/training/birnn.csv"]
    assert sorted(drawn) == sorted(
        [*curves, "plots/confusion.csv", "plots/genres.csv", "plots/comparison/accuracy.svg"]
    )
    assert {name: len(plot) for name, plot in drawn.items()} == dict.fromkeys(drawn, 1)

    titles = {name: drawn[name][0]["content"]["title"]["text"] for name in drawn if name.endswith(".csv")}
    assert titles["plots/training/birnn.csv"] == "Learning curves of birnn"
    assert "in % of the actual genre" in titles["plots/confusion.csv"]
    for name in ("confusion", "genres"):
        table = datapoints(drawn[f"plots/{name}.csv"])
        assert list(table["system"].unique()) == ["cnn", "birnn", "svm"]
        assert set(table["rev"]) == {"workspace"}
    for model, epochs in (("cnn", 4), ("birnn", 2)):
        curve = datapoints(drawn[f"plots/training/{model}.csv"])
        assert curve["epoch"].tolist() == [str(epoch) for epoch in range(1, epochs + 1)]


def test_a_difference_shows_both_revisions(project: Project) -> None:
    for path in ("plots/training/cnn.csv", "plots/genres.csv", "plots/confusion.csv"):
        lines = (project.path / path).read_text().splitlines(keepends=True)
        (project.path / path).write_text("".join(lines[:-1]))
    drawn = plots(project, "diff", "HEAD")
    for path in ("plots/training/cnn.csv", "plots/genres.csv", "plots/confusion.csv"):
        rows = Counter(datapoints(drawn[path])["rev"])
        assert rows == {"HEAD": rows["HEAD"], "workspace": rows["HEAD"] - 1}
    assert [picture["revisions"] for picture in drawn["plots/comparison/accuracy.svg"]] == [["workspace"], ["HEAD"]]


@pytest.mark.parametrize(
    ("template", "path", "unread"),
    [
        ("learning_curves", "plots/training/cnn.csv", {"validation_accuracy_std"}),
        ("confusion_matrices", "plots/confusion.csv", set()),
        ("genre_scores", "plots/genres.csv", {"precision", "recall", "n_training", "n_test"}),
    ],
)
def test_a_template_reads_columns_that_its_table_has(
    finished: Project, template: str, path: str, unread: set[str]
) -> None:
    """A misspelt column would leave the plot empty, without a message."""
    spec = json.loads((TEMPLATES / f"{template}.json").read_text())
    names = {*found(spec, "field"), *found(spec, "fold"), *re.findall(r"datum\.(\w+)", json.dumps(spec))}
    read = names - {"rev", *found(spec, "as")}
    columns = set(pd.read_csv(finished.path / path))
    assert (read - columns, columns - read) == (set(), unread)


def found(value: Any, key: str) -> Iterator[str]:
    """Strings under a key, or in a list under it, anywhere in a JSON value."""
    for name, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
        if name == key:
            yield from [inner] if isinstance(inner, str) else inner
        elif isinstance(inner, Mapping | list):
            yield from found(inner, key)


def test_every_template_is_used_and_every_used_one_exists() -> None:
    used = re.findall(r"template: (\w+)", (ROOT / "dvc.yaml").read_text())
    assert sorted(used) == sorted(path.stem for path in TEMPLATES.iterdir())


# Metrics of a training. -------------------------------------------------------------------------------------------


def test_a_training_adds_one_short_row_and_no_column(project: Project) -> None:
    shown = project.run("dvc", "metrics", "show", "--json")
    (revision,) = json.loads(shown.stdout).values()
    metrics = {path: values["data"] for path, values in revision["data"].items()}
    for model in ("cnn", "birnn"):
        own = metrics.pop(f"metrics/training/{model}.json")
        assert own == {"validation_accuracy": metrics[f"metrics/{model}.json"]["validation_accuracy"]}
    assert set(metrics) == {f"metrics/{name}.json" for name in ("cnn", "birnn", "svm", "promoted")}


def test_the_table_shows_what_a_training_has_just_written(project: Project) -> None:
    path = project.path / METRIC
    path.write_text('{"validation_accuracy": 0.987}\n')
    assert accuracies(project)["workspace"] == 0.987
    path.unlink()  # as before the first epoch
    assert accuracies(project)["workspace"] is None


def accuracies(project: Project) -> dict[str, float | None]:
    """Validation accuracy of the birnn's training in the workspace, the last commit and each experiment, by name.

    DVC fails, and nothing is returned, in the moment when it creates the folder of a temporary experiment.
    """
    rows = json.loads(project.run(*FOLLOW, check=False).stdout or "[]")
    rows += [row for commit in rows for experiment in commit["experiments"] or [] for row in experiment["revs"]]
    values = {}
    for row in rows:
        metric = ((row["data"] or {}).get("metrics") or {}).get(METRIC, {})
        values[row["name"] or row["rev"]] = metric.get("data", {}).get("validation_accuracy")
    return values


@contextmanager
def running(project: Project, *arguments: str) -> Iterator[None]:
    """An experiment that runs in the background, in the workspace or in a temporary folder."""
    command = ["nice", "dvc", "exp", "run", "--name=followed", "-S", LONG, *arguments]
    with subprocess.Popen(
        command, cwd=project.path, env=project.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield
        finally:
            subprocess.run(["kill", "--", f"-{process.pid}"], check=False)


@contextmanager
def queued(project: Project) -> Iterator[None]:
    project.run("dvc", "exp", "run", "--queue", "--name=followed", "-S", LONG)
    project.run("bash", "-c", "dvc queue start > start.log 2>&1")  # its worker would keep a pipe open until the end
    try:
        yield
    finally:
        project.run("dvc", "queue", "stop", "--kill")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["workspace", "temporary", "queue"])
def test_a_running_training_can_be_followed(project: Project, kind: str) -> None:
    """Long before its end, it is better than the training of two epochs in the last commit."""
    before = accuracies(project)["main"]
    assert before is not None
    start = queued(project) if kind == "queue" else running(project, *(["--temp"] if kind == "temporary" else []))
    with start:
        end, accuracy = time.monotonic() + PATIENCE, before
        while accuracy <= before:
            assert time.monotonic() < end
            values = accuracies(project)
            accuracy = values.get("followed") or 0
            assert values.get("main", before) == before
        assert '"state": "running"' in project.run(*FOLLOW).stdout

"""The report on a pull request, made by the workflow's commands in a shallow clone of the merge commit."""

import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import workflows
from fma_genre.checkout import count_missing
from fma_genre.common import files
from fma_genre.results import predictions, pull_request
from fma_genre.results.bootstrap import Interval
from fma_genre.results.changes import RESAMPLES, SPLITS, Pair, Predictions
from fma_genre.results.metrics import summarise
from fma_genre.results.pull_request import Comparison, Results
from fma_genre.store import read_index
from project import Project, stages_run

URL = "https://github.com/someone/fma-genre/blob/1a2b3c"
ROW = re.compile(r"^\| (`[^|]+) \| ([^|]*) \| ([^|]*) \| ([^|]*) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)


def git(folder: Path, *arguments: str) -> str:
    author = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **author}, check=True, capture_output=True, text=True
    ).stdout


def metrics(project: Project, name: str) -> dict[str, Any]:
    return json.loads((project.path / "metrics" / f"{name}.json").read_text())


def propose(base: Project, branch: Project, folder: Path, *, fork: bool = False) -> Project:
    """Propose a branch; return the clone of GitHub's runner: the merge into base, with a history of two commits.

    The branch lies in the base's repository, or else in a fork, of which that repository has only the merge.
    """
    remote = folder / "remote.git"
    git(folder, "clone", "--quiet", "--bare", str(base.path), str(remote))
    home = folder / "fork.git" if fork else remote
    if fork:
        git(folder, "clone", "--quiet", "--bare", str(remote), str(home))
    git(branch.path, "checkout", "--quiet", "-b", "proposal")
    git(branch.path, "add", ".")
    git(branch.path, "commit", "--quiet", "--message=proposal", "--allow-empty")
    git(branch.path, "push", "--quiet", str(home), "proposal")
    merging = folder / "merging"
    git(folder, "clone", "--quiet", str(remote), str(merging))
    git(merging, "fetch", "--quiet", str(home), "proposal")
    git(merging, "merge", "--quiet", "--no-ff", "--message=merge", "FETCH_HEAD")
    git(merging, "push", "--quiet", "origin", "HEAD:refs/pull/1/merge")
    clone = folder / "runner"
    git(folder, "init", "--quiet", str(clone))
    git(clone, "fetch", "--quiet", "--depth=2", remote.as_uri(), "refs/pull/1/merge")
    git(clone, "checkout", "--quiet", "FETCH_HEAD")
    return Project(clone, base.home)


def report(runner: Project, folder: Path, code: int = 0, base: str = "main") -> str:
    """The report that the commands of the workflow write."""
    environment = runner.environment | {"BASE": base, "URL": URL, "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    done = workflows.run("report", "Compare with the base", runner.path, environment)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    text = (runner.path / "pull-request.md").read_text()
    assert (folder / "summary.md").read_text() == text
    return text


def rows(text: str) -> dict[str, tuple[str, ...]]:
    """Rows of the table of accuracies: validation, change and visible from, then the same for the test tracks."""
    table = text.partition("<details>")[0]
    cells = [[cell.strip() for cell in match] for match in ROW.findall(table)]
    return {name: tuple(values) for name, *values in cells}


def scores(before: Project, old: str, after: Project, new: str) -> list[str]:
    """Accuracies of two systems, as a row of the table has them, from their metrics files."""
    found = []
    for metric in ("validation_accuracy", "accuracy"):
        pair = metrics(before, old)[metric], metrics(after, new)[metric]
        found.append(" → ".join(f"{100 * value:.1f}" for value in pair))
    return found


@pytest.fixture
def branch(finished: Project, tmp_path: Path) -> Project:
    return finished.copy(tmp_path / "branch")


def choose(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda params: params.update({name: value})


def test_a_branch_that_ships_the_other_model(finished: Project, branch: Project, tmp_path: Path) -> None:
    """Its row has the difference in report.md if both have as many resamples."""
    branch.edit_params(
        lambda params: params.update(model="birnn", compare=params["compare"] | {"resamples": RESAMPLES})
    )
    branch.repro()
    text = report(propose(finished, branch, tmp_path), tmp_path)
    (name, row), *others = rows(text).items()
    assert (name, others) == ("`cnn` → `birnn` (promoted)", [])
    assert [row[0], row[3]] == scores(finished, "cnn", finished, "birnn")
    expected = metrics(branch, "comparison")["differences"]["birnn"]
    found = [float(number) for number in re.findall(r"[+-]\d+\.\d", row[4].replace("−", "-"))]
    interval = [100 * expected[key] for key in ("accuracy", "accuracy_low", "accuracy_high")]
    assert found == pytest.approx(interval, abs=0.051)
    assert text.startswith(
        "### Results compared with `main`\n\n**The promoted model is `birnn` instead of `cnn`, and its"
    )
    assert re.search(r"\| `promote` +\| `model` `cnn` → `birnn` +\|", text)
    assert "Unchanged: `cnn`, `birnn`, `svm`." in text
    assert "synthetic demo" in text
    assert "out of date" not in text
    folded = text.partition("<details><summary>report.md of this branch</summary>\n\n")[2]
    assert folded == (branch.path / "report.md").read_text().strip() + "\n\n</details>\n"


def test_a_base_with_commits_that_the_branch_lacks_is_named(hostile: Project) -> None:
    """The verdict stays."""
    base = git(hostile.path, "commit-tree", "-m", "x", "-p", "main", "main^{tree}").strip()
    text = hostile.run_here("src/diff.py", base).stdout
    assert f"`{base}` has 1 commit that this branch lacks; its changes appear reversed. Merge `{base}` first." in text
    assert "**The promoted model is still `cnn`, and it predicts the same.**" in text


@pytest.mark.parametrize("base", ["main", workflows.ODD_NAME])
@pytest.mark.parametrize("fork", [False, True])
def test_a_fork_and_a_base_of_any_name_are_compared(
    finished: Project, branch: Project, tmp_path: Path, fork: bool, base: str
) -> None:
    runner = propose(finished, branch, tmp_path, fork=fork)
    assert len(git(runner.path, "log", "--format=%h").split()) == 3, "a merge and its parents"
    assert git(runner.path, "branch", "--list", "main", "proposal") == ""
    text = report(runner, tmp_path, base=base)
    assert f"### Results compared with `{base}`\n" in text
    assert "lacks" not in text
    assert not (runner.path / "ran").exists()


@pytest.mark.slow
def test_a_branch_that_changes_a_parameter(finished: Project, branch: Project, tmp_path: Path) -> None:
    branch.edit_params(lambda params: params["models"]["birnn"].update(hidden=16))
    branch.repro()
    text = report(propose(finished, branch, tmp_path), tmp_path)
    ((name, row),) = rows(text).items()
    assert name == "`birnn`"
    assert [row[0], row[3]] == scores(finished, "birnn", branch, "birnn")
    assert "**The promoted model is still `cnn`, and it predicts the same.** No other accuracy changes clearly." in text
    assert re.search(r"\| `train@birnn`, `compare` +\| `models.birnn.hidden` `8` → `16` +\|", text)
    assert "Also changed, because they read changed outputs: `evaluate@birnn`, `promote`." in text
    assert "train@cnn" not in text
    shown = re.findall(r"\]\(<(\S+?)>\)", text)
    assert f"{URL}/plots/comparison/accuracy.svg?raw=true" in shown
    assert all(address.startswith(f"{URL}/plots/") for address in shown)


@pytest.mark.slow
def test_a_branch_on_other_data_is_not_subtracted(finished: Project, branch: Project, tmp_path: Path) -> None:
    """Not even if both data sets have the same name and size."""
    branch.edit_params(choose("dataset", "other"))
    branch.repro()
    renamed = branch.copy(tmp_path / "renamed")
    text = report(propose(finished, branch, tmp_path), tmp_path)
    assert not rows(text)
    tests = [metrics(project, "cnn")["n_test"] for project in (finished, branch)]
    assert f"**Not comparable**: `main` was measured on `demo ({tests[0]} test tracks)`, and this branch on" in text
    assert f" on `other ({tests[1]} test tracks)`, so nothing is subtracted." in text
    assert "`dataset` `demo` → `other`" in text

    renamed.edit_params(lambda params: params["datasets"].update(demo=params["datasets"]["other"]))
    renamed.edit_params(choose("dataset", "demo"))
    renamed.repro()
    assert metrics(renamed, "cnn")["n_test"] == metrics(finished, "cnn")["n_test"]
    (tmp_path / "second").mkdir()
    text = report(propose(finished, renamed, tmp_path / "second"), tmp_path / "second")
    assert not rows(text)
    assert "**Not comparable**: the archives or the tracks of `demo (" in text


def test_a_branch_from_another_machine_is_not_subtracted(finished: Project, branch: Project, tmp_path: Path) -> None:
    """Its cnn predicts otherwise with the same inputs, and the branch ships the birnn, which predicts the same.

    The models are then compared on the base's machine.
    """
    rerun_elsewhere(branch)
    branch.edit_params(choose("model", "birnn"))
    branch.repro()
    text = report(propose(finished, branch, tmp_path), tmp_path)
    assert list(rows(text)) == ["`cnn` → `birnn` (promoted)"]
    assert rows(text)["`cnn` → `birnn` (promoted)"][3] == scores(finished, "cnn", branch, "birnn")[1], "on one machine"
    assert "are from this branch" not in text
    assert "**Another machine**: `evaluate@cnn` had the same inputs as in `main`, but other outputs" in text
    accuracies = [f"{100 * metrics(project, 'cnn')['accuracy']:.1f}" for project in (finished, branch)]
    assert accuracies[0] != accuracies[1]
    (row,) = re.findall(r"^\| `cnn` +\|(.*)\|$", text, re.MULTILINE)
    assert [cell.strip() for cell in row.split("|")][2:] == accuracies


def rerun_elsewhere(project: Project) -> None:
    """Let the stage evaluate@cnn predict the first genre for every second test track, as no real machine would."""
    path = project.path / "data/predictions/cnn.npz"
    found = predictions.read(path)
    labels = found.test.labels.copy()
    labels[:, ::2] = 0
    probabilities = np.eye(len(found.classes), dtype=np.float32)[labels]
    test = replace(found.test, labels=labels, probabilities=probabilities)
    predictions.write(path, replace(found, test=test))
    summary = summarise(predictions.read(path), read_index(project.path / "data/index.csv"))
    files.write_json(project.path / "metrics/cnn.json", summary)
    project.run("dvc", "commit", "--quiet", "--force", "evaluate@cnn")


def test_outputs_of_another_branch_are_not_called_out_of_date(finished: Project, branch: Project) -> None:
    """After `git switch` without `dvc checkout`, nothing has to run."""
    git(branch.path, "switch", "--quiet", "--create", "other")
    branch.edit_params(choose("model", "birnn"))
    branch.repro()
    git(branch.path, "commit", "--quiet", "--all", "--message=birnn")
    git(branch.path, "switch", "--quiet", "main")
    done = branch.run("python", "src/diff.py", "main", check=False)
    assert done.returncode == 1
    assert done.stderr == "diff: this folder has outputs of another revision; run `dvc checkout`\n"
    assert "**This folder has outputs of another revision**: `models/promoted`. Run `dvc checkout`, or" in done.stdout
    assert "out of date" not in done.stdout
    branch.run("dvc", "checkout", "--quiet")
    assert branch.run("python", "src/diff.py", "main").stderr == ""


def test_a_missing_lock_is_not_taken_for_outputs_of_another_branch(branch: Project) -> None:
    """`dvc checkout` would then delete all outputs."""
    (branch.path / "dvc.lock").unlink()
    done = branch.run_here("src/diff.py", "main", check=False)
    assert done.stderr == "diff: dvc.lock is missing or empty; run `git restore dvc.lock` or `dvc repro`\n"
    assert done.stdout == f"### Results compared with `main`\n\n{pull_request.missing_lock()}\n"


def test_an_edited_comment_needs_no_run(finished: Project, branch: Project) -> None:
    """With the commands of docs/collaboration.md."""
    with (branch.path / "src/evaluate.py").open("a") as file:
        file.write("# a comment\n")
    assert branch.run("python", "src/diff.py", "main", check=False).returncode == 1
    branch.run("python", "src/evaluate.py", "cnn")
    status = json.loads(branch.run("dvc", "status", "--json", "evaluate@cnn").stdout)
    assert status == {"evaluate@cnn": [{"changed deps": {"src/evaluate.py": "modified"}}]}
    branch.run("dvc", "commit", "--quiet", "--force")
    text = branch.run("python", "src/diff.py", "main").stdout
    assert "**The promoted model is still `cnn`, and it predicts the same.**" in text
    assert re.search(r"\| `evaluate@cnn`, `evaluate@birnn` +\| `src/evaluate.py` +\|", text)
    assert stages_run(branch.run("dvc", "repro").stdout) == set()


def test_a_branch_that_deletes_results_is_out_of_date(finished: Project, branch: Project, tmp_path: Path) -> None:
    git(branch.path, "rm", "-r", "--quiet", "plots/training", "plots/predictions.csv")
    text = report(propose(finished, branch, tmp_path), tmp_path, code=1)
    assert "**dvc.lock is out of date**" in text
    assert "`train@cnn`" in text
    assert "`compare`" in text


@pytest.mark.slow
def test_a_branch_that_removes_a_model(finished: Project, branch: Project, tmp_path: Path) -> None:
    """DVC leaves its files and its entries in dvc.lock. They count neither as results nor as out of date."""
    branch.edit_params(lambda params: params["models"].pop("birnn"))
    branch.edit_params(lambda params: params["compare"].update(fusion=[]))
    branch.repro()
    assert "train@birnn" in (branch.path / "dvc.lock").read_text()
    assert not (branch.path / "data/predictions/birnn.npz").exists()
    text = report(propose(finished, branch, tmp_path), tmp_path)
    assert re.search(r"\| `train@birnn`, `evaluate@birnn` +\| stage removed +\|", text)
    assert "Removed: `birnn`. Unchanged: `cnn`, `svm`." in text
    assert not rows(text)


@pytest.mark.parametrize(
    ("path", "content"), [("params.yaml", "x: ["), ("dvc.lock", "<<<<<<< main\nstages:\n=======\n")]
)
def test_a_branch_that_cannot_be_compared_says_why(
    finished: Project, branch: Project, tmp_path: Path, path: str, content: str
) -> None:
    (branch.path / path).unlink()
    (branch.path / path).write_text(content)
    text = report(propose(finished, branch, tmp_path), tmp_path, code=1)
    assert text.startswith("### Results compared with `main`\n")
    assert path in text.partition("**Comparison failed**: ")[2]


def test_a_branch_whose_results_are_older_than_its_code(finished: Project, branch: Project, tmp_path: Path) -> None:
    branch.edit_params(lambda params: params["train"].update(lr=0.123))
    text = report(propose(finished, branch, tmp_path), tmp_path, code=1)
    would_run = "`train@cnn`, `train@birnn`, and all dependent stages"
    assert f"**dvc.lock is out of date**: `dvc repro` would run {would_run}" in text


def test_a_branch_that_changes_no_result(finished: Project, branch: Project, tmp_path: Path) -> None:
    (branch.path / "README.md").write_text("a better one\n")
    text = report(propose(finished, branch, tmp_path), tmp_path)
    assert (
        "**The promoted model is still `cnn`, and it predicts the same.**\n\nUnchanged: `cnn`, `birnn`, `svm`." in text
    )
    assert "No stage has changed." in text
    assert "Figures" not in text


def test_a_first_pull_request_on_a_base_without_results(finished: Project, branch: Project, tmp_path: Path) -> None:
    empty = finished.clone(tmp_path / "empty")
    for path in ("metrics", "plots", "dvc.lock"):
        git(empty.path, "rm", "-r", "--quiet", path)
    git(empty.path, "commit", "--quiet", "--message=no results yet")
    git(branch.path, "fetch", "--quiet", str(empty.path), "main")
    git(branch.path, "reset", "--quiet", "--soft", "FETCH_HEAD")
    text = report(propose(empty, branch, tmp_path), tmp_path)
    assert not rows(text)
    assert "**Nothing to compare**: `main` has no predictions of tracks." in text
    assert re.search(r"\| .*`train@cnn`.* \| stage added +\|", text)


@pytest.mark.slow
def test_make_diff_reads_the_working_tree(finished: Project, branch: Project) -> None:
    branch.edit_params(choose("model", "birnn"))
    branch.repro()
    (branch.path / ".venv").mkdir()
    (branch.path / ".venv/installed").touch()
    text = branch.run("make", "diff", "BASE=main").stdout
    assert list(rows(text)) == ["`cnn` → `birnn` (promoted)"]
    done = branch.run("make", "diff", "BASE=nowhere", check=False)
    assert done.returncode
    assert "diff: BASE: expected a commit in this clone, found 'nowhere'" in done.stderr
    assert "Traceback" not in done.stderr


HOSTILE: dict[str, bytes] = {
    "UTF-16": '{"accuracy": 0.5}'.encode("utf-16"),
    "Latin-1": b'{"dataset": "\xe9"}',
    "a huge number": b'{"accuracy": 1' + b"0" * 400 + b"}",
    "a number without end": b'{"accuracy": 1' + b"0" * 9000 + b"}",
    "no number": b'{"accuracy": NaN}',
    "100,000 brackets": b"[" * 100_000,
    "a list": b"[1]",
}
BOMB = b"a: &a [x, x]\n" + b"".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n".encode()
    for before, name in itertools.pairwise("abcdefghijklmnop")
)
RECORDS = {
    "a number": b"stages: {split: 3}",
    "invalid outputs": b"stages: {split: {outs: [3]}}",
    "an invalid path": b'stages: {split: {deps: [{path: "a\\0b"}]}}',
    "invalid parameters": b"stages: {split: {params: [1]}}",
    "aliases of aliases": BOMB,
    "a number in base 60": b"stages: 1" + b":1" * 400_000,
}
CONTENTS = [("metrics/cnn.json", key, content) for key, content in HOSTILE.items()]
CONTENTS += [("dvc.lock", key, content) for key, content in RECORDS.items()]
CONTENTS += [(name, "aliases of aliases", BOMB) for name in ("dvc.yaml", "params.yaml", "sub/dvc.yaml")]


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(5 << 30)


def link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


LINK, DEVICE = "a symbolic link", "a device"
KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (pipe, "a pipe"), "socket": (bound_socket, "a socket"), "folder": (Path.mkdir, "a folder"),
    "gigabytes": (sparse, "more"), "zero": (link("/dev/zero"), LINK), "passwd": (link("/etc/passwd"), LINK),
    "nowhere": (link("nowhere"), LINK), "itself": (link("cnn.json"), LINK),
}  # fmt: skip


def folder_of_one(path: Path) -> None:
    path.mkdir()
    (path / "kept").write_text("x")


def writes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


@pytest.fixture(scope="module")
def hostile(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A checkout for the hostile files of the following tests."""
    return finished.copy(tmp_path_factory.mktemp("hostile") / "branch")


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Remove the file for the block; restore it afterwards."""
    content = path.read_bytes() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        yield path
    finally:
        files.remove(path)
        if content is not None:
            path.write_bytes(content)


def refused(project: Project, base: str = "main") -> str:
    done = project.run_here("src/diff.py", base, check=False)
    assert done.returncode == 1
    assert done.stdout.count("\n") < 8
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("base", ["nowhere", "1a2b3c", "main:dvc.lock", "HEAD^{tree}"])
def test_a_base_that_is_no_commit_here_is_refused(hostile: Project, base: str) -> None:
    expected = f"diff: BASE: expected a commit in this clone, found {base!r}"
    assert refused(hostile, base) == f"{expected}; to fetch a branch, run `git fetch origin NAME:NAME`\n"


def test_a_folder_without_repository_is_refused(hostile: Project) -> None:
    (hostile.path / ".git").rename(hostile.path / "moved")
    try:
        assert refused(hostile).startswith("diff: git rev-parse: not a git repository")
    finally:
        (hostile.path / "moved").rename(hostile.path / ".git")


@pytest.mark.parametrize("name", ["metrics/cnn.json", "dvc.lock", "plots/predictions.csv", "report.md"])
@pytest.mark.parametrize("kind", KINDS)
def test_special_files_are_refused_without_waiting(hostile: Project, name: str, kind: str) -> None:
    make, found = KINDS[kind]
    with replaced(hostile.path / name) as path:
        make(path)
        message = refused(hostile)
    assert message.startswith(f"diff: {name}: expected ")
    assert found in message


@pytest.mark.parametrize("name", ["plots/genres.csv", "plots/training/cnn.csv", "data/index.csv", "src/promote.py"])
@pytest.mark.parametrize("kind", ["pipe", "zero"])
def test_endless_files_that_dvc_would_read_are_refused(hostile: Project, name: str, kind: str) -> None:
    with replaced(hostile.path / name) as path:
        KINDS[kind][0](path)
        assert refused(hostile) == f"diff: {name}: expected a file, found {'a pipe' if kind == 'pipe' else DEVICE}\n"


@pytest.mark.parametrize(("name", "_kind", "content"), CONTENTS, ids=[f"{name} {kind}" for name, kind, _ in CONTENTS])
def test_hostile_contents_are_refused_in_bounded_time(hostile: Project, name: str, _kind: str, content: bytes) -> None:
    with replaced(hostile.path / name) as path:
        path.write_bytes(content)
        assert refused(hostile).startswith(f"diff: {name}: ")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics/cnn.json", "{", "cannot be read as JSON: "), ("metrics/cnn.json", "[1]", "expected "),
        ("dvc.lock", "a: 1\nb: c: d", "line 2: cannot be read as YAML: mapping values are not allowed here\n"),
        ("dvc.lock", "stages: [1]", "stages: expected "), ("dvc.yaml", "{", "line 1: cannot be read as YAML: "),
        ("dvc.yaml", "stages", "expected "), ("params.yaml", "[]", "expected "),
    ],
)  # fmt: skip
def test_invalid_results_are_refused_in_one_line(hostile: Project, name: str, content: str, message: str) -> None:
    with replaced(hostile.path / name) as path:
        path.write_text(content)
        assert refused(hostile).startswith(f"diff: {name}: {message}")


def test_another_folder_than_the_root_is_named(hostile: Project) -> None:
    with replaced(hostile.path / "dvc.yaml"):
        assert refused(hostile).startswith("diff: dvc.yaml: expected it in this folder, found none")


CONFLICT = b"a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n"


@pytest.mark.parametrize(
    "name",
    ["dvc.lock", "dvc.yaml", "params.yaml", "requirements.lock", "report.md", "metrics/cnn.json", *SPLITS.values()],
)
def test_marks_of_a_merge_conflict_are_refused_with_a_solution(hostile: Project, name: str) -> None:
    with replaced(hostile.path / name) as path:
        path.write_bytes(CONFLICT)
        message = refused(hostile)
    found = "line 2: expected no marks of a merge conflict, found '<<<<<<< HEAD'"
    assert message == f"diff: {name}: {found}; see `Merge conflicts` in docs/collaboration.md\n"


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("metrics/cnn.json", link("/etc/passwd")), ("dvc.lock", link("/dev/zero")), ("metrics/x.json", folder_of_one),
        ("metrics/cnn.json", writes(HOSTILE["UTF-16"])), ("metrics/cnn.json", writes(HOSTILE["a huge number"])),
        ("dvc.lock", writes(BOMB)), ("dvc.lock", writes(RECORDS["a number"])), ("dvc.yaml", writes(BOMB)),
        ("dvc.lock", writes(CONFLICT)), ("dvc.lock", writes(b"a: b: c")),
    ],
)  # fmt: skip
def test_a_base_that_is_hostile_is_refused_by_its_name(
    hostile: Project, name: str, make: Callable[[Path], object]
) -> None:
    hostile.run("git", "checkout", "--quiet", "-B", "bad")
    with replaced(hostile.path / name) as path:
        make(path)
        hostile.run("git", "add", "--all")
        hostile.run("git", "commit", "--quiet", "--message=hostile")
    hostile.run("git", "symbolic-ref", "HEAD", "refs/heads/main")
    hostile.run("git", "reset", "--quiet")
    assert refused(hostile, "bad").startswith(f"diff: {name} in bad: ")


@pytest.mark.slow
def test_a_checkout_below_another_repository(finished: Project, tmp_path: Path) -> None:
    """Paths and the addresses of figures are relative to the checkout's folder in that repository."""
    folder = tmp_path / "larger" / "my music"
    project = finished.copy(folder)
    shutil.rmtree(folder / ".git")
    git(tmp_path / "larger", "init", "--quiet", "--initial-branch=main")
    git(tmp_path / "larger", "add", ".")
    git(tmp_path / "larger", "commit", "--quiet", "--message=a folder of a larger repository")
    project.run("dvc", "exp", "run", "-S", "model=birnn")
    (folder / "plots/other.svg").write_text("<svg/>")
    git(tmp_path / "larger", "add", ".")
    git(tmp_path / "larger", "commit", "--quiet", "--message=birnn")
    git(tmp_path / "larger", "checkout", "--quiet", "--detach")
    text = report(project, tmp_path)
    assert list(rows(text)) == ["`cnn` → `birnn` (promoted)"]
    assert re.search(r"\| `promote` +\| `model` `cnn` → `birnn`", text)
    assert re.findall(r"\]\(<(\S+?)>\)", text)[0] == f"{URL}/my%20music/plots/other.svg?raw=true"


def test_the_note_about_the_demo_follows_the_results(branch: Project) -> None:
    """Not params.yaml, which may name a data set on which no stage has run yet."""
    real = {"audio": {"url": "a.zip", "sha1": "0" * 40}, "metadata": {"url": "b.zip", "sha1": "0" * 40}}
    branch.edit_params(lambda params: params["datasets"].update(real=real | {"subset": "medium"}))
    branch.edit_params(choose("dataset", "real"))
    done = branch.run_here("src/diff.py", "main", check=False)
    assert done.returncode == 1
    assert "out of date" in done.stdout
    assert "synthetic demo" in done.stdout


@pytest.mark.parametrize("output", ["full", "latin-1"])
def test_a_report_that_cannot_be_written_is_one_line(hostile: Project, output: str) -> None:
    if output == "full":
        done = hostile.run("bash", "-c", "python src/diff.py main >/dev/full", check=False)
        assert done.stderr == "diff: the report could not be written: No space left on device\n"
    else:
        command = "PYTHONIOENCODING=latin-1 python src/diff.py main >/dev/null"
        done = hostile.run("bash", "-c", command, check=False)
        assert (done.returncode, done.stderr) == (0, "")


# Without a repository. --------------------------------------------------------------------------------------------

EVIL = "x` <img src=x> @somebody | [a](javascript:b)"


def test_synthetic_data_are_known_from_the_results() -> None:
    demo, real = {"audio": {"url": "demo"}}, {"audio": {"url": "https://example.org/a.zip"}}
    ran = {"download": {"params": {"params.yaml": {"dataset": "x", "datasets.x": demo}}, "deps": [], "outs": []}}
    metrics = {"cnn": {"dataset": "x"}}
    assert pull_request.is_synthetic(Results(metrics, ran), {})
    assert pull_request.is_synthetic(Results(metrics, ran), {"datasets": {"x": real}}), "dvc.lock counts"
    assert pull_request.is_synthetic(Results(metrics, {}), {"datasets": {"x": demo}})
    assert not pull_request.is_synthetic(Results({"cnn": {"dataset": "fma"}}, ran), {"dataset": "x"})
    assert not pull_request.is_synthetic(Results({}, ran), {})
    unusable: list[Any] = [None, [1], {"x": 3}, {"x": {"audio": []}}]
    for wrong in unusable:
        assert not pull_request.is_synthetic(Results({"cnn": {"dataset": ["x"]}}, {}), {"datasets": wrong})


def results(
    labels: dict[str, str], promoted: str = "cnn", stages: dict[str, Any] | None = None, **changed: Any
) -> Results:
    """Results on 60 test tracks by 30 artists, all of genre a; `labels` has what each system predicts, e.g. aab."""
    tracks = pd.DataFrame({"track_id": [str(i) for i in range(60)], "artist_id": [str(i % 30) for i in range(60)]})
    tracks["actual"] = "a"
    runs = {key: np.array([list(text * (60 // len(text)))]) for key, text in labels.items()}
    metrics = {key: {"accuracy": 0.5, "dataset": "demo", "n_test": 60} for key in labels}
    promote = {"promote": {"params": {"params.yaml": {"model": promoted}}, "deps": [], "outs": []}}
    return Results(metrics, promote | (stages or {}), {"test": Predictions(tracks, runs)}, **changed)


def verdict(before: Results, after: Results) -> str:
    return pull_request.report(before, after, base="main").split("\n\n")[1]


def test_the_verdict_names_what_changes_clearly() -> None:
    base = results({"cnn": "ab", "svm": "aab"})
    assert verdict(base, base) == "**The promoted model is still `cnn`, and it predicts the same.**"
    rise = verdict(base, results({"cnn": "aaaaab", "svm": "aab"}))
    assert rise.startswith("**The promoted model is still `cnn`, and its test accuracy rises clearly.** +33.3 [")
    fall = verdict(base, results({"cnn": "b", "svm": "b"}))
    assert fall.startswith("**The promoted model is still `cnn`, and its test accuracy falls clearly.** −50.0 [")
    assert fall.endswith("] points on the test tracks. Other clear changes: `svm` on the test tracks.")
    small = verdict(base, results({"cnn": "ab" * 5 + "aa" + "ab" * 9, "svm": "aab"}))
    assert "and its test accuracy does not change clearly.** +3.3 [" in small or "+1.7 [" in small


def test_a_change_without_variation_has_no_size_from_which_it_is_visible() -> None:
    """If other wrong genres are predicted, e.g., no resample of the artists changes the accuracy."""
    text = pull_request.report(results({"cnn": "b"}), results({"cnn": "c"}), base="main")
    assert re.search(r"^\| `cnn` \(promoted\) \| 0\.0 → 0\.0 \| \+0\.0 \[\+0\.0, \+0\.0\] \| +\|$", text, re.MULTILINE)


def stage(*outs: tuple[str, str], deps: dict[str, str] | None = None, **params: Any) -> dict[str, Any]:
    """A record in dvc.lock with the hashes of outputs and dependencies by path."""
    listed = [[{"path": path, "md5": md5} for path, md5 in items] for items in (outs, (deps or {}).items())]
    return {"cmd": "x", "outs": listed[0], "deps": listed[1], "params": {"params.yaml": params}}


def evaluated(key: str, md5: str, **other: Any) -> dict[str, Any]:
    """The record of the stage that writes a system's predictions."""
    return {f"evaluate@{key}": stage((f"data/predictions/{key}.npz", md5), **other)}


@pytest.mark.parametrize(("name", "path"), [("download", "data/archives.json"), ("split", "data/tracks.csv")])
def test_results_on_other_archives_or_tracks_are_not_subtracted(name: str, path: str) -> None:
    base, branch = (results({"cnn": text}, stages={name: stage((path, text))}) for text in ("ab", "b"))
    text = pull_request.report(base, branch, base="main")
    reason = "the archives or the tracks of `demo (60 test tracks)` differ from those in `main`"
    assert f"**Not comparable**: {reason}, so nothing is subtracted." in text
    assert "| `cnn`" not in text


def test_results_on_another_data_set_are_not_subtracted() -> None:
    base, branch = results({"cnn": "ab"}), results({"cnn": "b"})
    branch = replace(branch, metrics={"cnn": {"dataset": "other", "n_test": 60}})
    reason = "`main` was measured on `demo (60 test tracks)`, and this branch on `other (60 test tracks)`"
    assert verdict(base, branch) == f"**Not comparable**: {reason}, so nothing is subtracted."


def test_results_that_are_not_comparable_name_the_promoted_model_and_the_new_and_removed_systems() -> None:
    base, labels = results({"cnn": "ab", "svm": "b", "old": "a"}), {"cnn": "b", "svm": "b", "birnn": "a"}
    other = {key: scored(0.75, 0.7) | {"dataset": "other"} for key in labels}
    for promoted, name, replaced_model in (("birnn", "`birnn`", " instead of `cnn`"), ("cnn", "still `cnn`", "")):
        after = replace(results(labels, promoted), metrics=other)
        _, reason, promotion, systems, *rest = pull_request.report(base, after, base="main").split("\n\n")
        assert reason.startswith("**Not comparable**: ")
        assert promotion == f"The promoted model is {name} (validation 70.0 %, test 75.0 %){replaced_model}."
        assert systems == "New: `birnn` (validation 70.0 %, test 75.0 %). Removed: `old`."
        assert "| `cnn`" not in "".join(rest)
        stale = pull_request.report(base, after, base="main", problems=[pull_request.stale(["compare"])])
        assert "The promoted model" not in stale
        assert "Removed: `old`." in stale


def test_a_side_without_predictions_is_named() -> None:
    some, none = results({"cnn": "ab"}), replace(results({"cnn": "ab"}), predictions={})
    assert verdict(none, some) == "**Nothing to compare**: `main` has no predictions of tracks."
    assert verdict(some, none) == "**Nothing to compare**: this branch has no predictions of tracks."


def test_a_former_model_without_predictions_is_not_compared() -> None:
    base, branch = results({"cnn": "ab"}, promoted="old"), results({"cnn": "ab"})
    says = "**The promoted model is `cnn` instead of `old`, and their accuracies cannot be compared.**"
    assert verdict(base, branch) == says
    rows = [
        line
        for line in pull_request.report(base, branch, base="main").splitlines()
        if "`old` → `cnn` (promoted)" in line
    ]
    assert len(rows) == 2, "accuracy and F1"
    assert all("not known" in row and "unchanged" not in row for row in rows)


@pytest.fixture
def histories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Work in an empty repository; return a function that commits nothing after some parents."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    tree = git(tmp_path, "write-tree").strip()

    def commit(message: str, *parents: str) -> str:
        options = [option for parent in parents for option in ("-p", parent)]
        return git(tmp_path, "commit-tree", "-m", message, *options, tree).strip()

    return commit


def test_commits_that_the_branch_lacks_are_counted(histories: Callable[..., str], tmp_path: Path) -> None:
    """None are if the branch and its base share no commit, or the branch has none."""
    first, other = histories("first"), histories("unrelated")
    ahead = histories("ahead", histories("next", first))
    merge = histories("merge", ahead, histories("branch", first))
    assert count_missing(ahead) == 0, "no commit yet"
    for head, base, expected in (
        (first, ahead, 2), (ahead, first, 0), (merge, ahead, 0), (ahead, merge, 2), (other, ahead, 0),
    ):  # fmt: skip
        git(tmp_path, "update-ref", "refs/heads/main", head)
        assert count_missing(base) == expected


def test_a_shallow_clone_cannot_tell_how_many_commits_the_branch_lacks(
    histories: Callable[..., str], tmp_path: Path
) -> None:
    """Except for a merge with its parents, as in the workflow."""
    first = histories("first")
    base, branch = histories("base", first), histories("branch", first)
    shallow = tmp_path / ".git/shallow"
    shallow.write_text(f"{base}\n{branch}\n")
    for head in (branch, histories("merge", base, branch)):
        git(tmp_path, "update-ref", "refs/heads/main", head)
        assert count_missing(base) == 0
    shallow.unlink()
    git(tmp_path, "update-ref", "refs/heads/main", branch)
    assert count_missing(base) == 1


def test_commits_that_the_branch_lacks_come_before_the_verdict() -> None:
    base, branch = results({"cnn": "ab"}), results({"cnn": "ab"})
    parts = pull_request.report(base, branch, base="main", n_behind=3).split("\n\n")
    assert parts[1] == (
        "`main` has 3 commits that this branch lacks; their changes appear reversed. Merge `main` first."
    )
    assert parts[2].startswith("**The promoted model is still")
    assert "lacks" not in pull_request.report(base, branch, base="main")


def test_what_only_another_machine_changed_is_not_subtracted() -> None:
    """Stages that read its outputs are not named."""
    compared = [{"compare": stage(("report.md", md5), deps={"data/predictions": md5})} for md5 in "12"]
    base, branch = (results({"cnn": text}, stages=evaluated("cnn", text)) for text in ("ab", "b"))
    base = replace(base, stages={**base.stages, **compared[0]}, metrics={"cnn": scored(0.5, 0.4)})
    branch = replace(branch, stages={**branch.stages, **compared[1]}, metrics={"cnn": scored(0.3, 0.2)})
    assert verdict(base, branch) == (
        "**The promoted model is still `cnn`, and it differs only by the machine that trained it.**"
    )
    text = pull_request.report(base, branch, base="main")
    outside, _, apart = text.partition(
        "**Another machine**: `evaluate@cnn` had the same inputs as in `main`, but other"
    )
    assert "| `cnn`" not in outside
    assert "Unchanged" not in text
    assert "contain this difference" not in text
    (row,) = re.findall(r"^\| `cnn` +\|(.*)\|$", apart, re.MULTILINE)
    assert [cell.strip() for cell in row.split("|")] == ["40.0", "20.0", "50.0", "30.0"]


def scored(accuracy: float, validation: float) -> dict[str, Any]:
    return {"accuracy": accuracy, "validation_accuracy": validation, "dataset": "demo", "n_test": 60}


def test_another_promoted_model_is_compared_on_the_machine_of_the_branch() -> None:
    """If both models ran elsewhere, the former one has its predictions from the branch on both sides."""
    base, branch = (
        results({"cnn": cnn, "birnn": birnn}, promoted, evaluated("cnn", md5) | evaluated("birnn", md5))
        for cnn, birnn, promoted, md5 in (("b", "b", "cnn", "1"), ("ab", "a", "birnn", "2"))
    )
    text = pull_request.report(base, branch, base="main")
    assert "**The promoted model is `birnn` instead of `cnn`, and its test accuracy rises clearly.** +50.0 [" in text
    assert "| `cnn` → `birnn` (promoted) | 50.0 → 100.0 |" in text
    assert "the *resolution* of the difference between the two models is for another number of rows" in text
    assert "For the promoted models, the accuracies of `cnn` above are from this branch." in text
    assert "contain this difference" not in text
    assert Comparison(base, branch).pairs == [Pair("cnn", "birnn")]


@pytest.mark.parametrize(
    ("before", "after", "row", "remark"),
    [
        # The branch's machine changed the former model only.
        ({"cnn": "b", "birnn": "a"}, {"cnn": "ab", "birnn": "a"}, "0.0 → 100.0", ""),
        # The new model is not in the base, so that it is from the branch's machine.
        ({"cnn": "b"}, {"cnn": "ab", "birnn": "a"}, "50.0 → 100.0", "accuracies of `cnn` above are from this branch."),
        # The branch's machine changed the new model only.
        ({"cnn": "b", "birnn": "b"}, {"cnn": "b", "birnn": "a"}, "0.0 → 100.0",
         "The changes of the promoted models contain this difference, too."),
        # It changed a model that was never promoted.
        ({"cnn": "b", "birnn": "a", "x": "a"}, {"cnn": "b", "birnn": "a", "x": "b"}, "0.0 → 100.0", ""),
    ],
)  # fmt: skip
def test_the_former_promoted_model_is_from_the_machine_of_the_new_one(
    before: dict[str, str], after: dict[str, str], row: str, remark: str
) -> None:
    base, branch = (
        results(
            labels, promoted, {name: record for key in labels for name, record in evaluated(key, labels[key]).items()}
        )
        for labels, promoted in ((before, "cnn"), (after, "birnn"))
    )
    text = pull_request.report(base, branch, base="main")
    assert f"| `cnn` → `birnn` (promoted) | {row} |" in text
    assert "**Another machine**" in text
    assert remark in text
    remarks = ("are from this branch", "contain this difference")
    assert sum(some in text for some in remarks) == bool(remark)


def test_other_packages_may_be_the_cause_too() -> None:
    base, branch = (results({"cnn": text}, stages=evaluated("cnn", text)) for text in ("ab", "b"))
    branch = replace(branch, packages={"torch": "2.14.0"})
    assert "differs only by the machine or the packages that trained it.**" in verdict(base, branch)
    text = pull_request.report(base, branch, base="main")
    assert "which is the effect of another machine or of the changed packages." in text


def test_what_a_branch_edits_on_another_machine_contains_both_differences() -> None:
    """The stage after it has changed inputs and changed outputs of others, and is named once."""
    base, branch = (
        results({"cnn": text}, stages={
            "extract": stage(("levels", md5)), **evaluated("cnn", md5, deps={"levels": md5}, lr=float(md5)),
        })
        for text, md5 in (("ab", "1"), ("b", "2"))
    )  # fmt: skip
    text = pull_request.report(base, branch, base="main")
    assert Comparison(base, branch).pairs == [Pair("cnn", "cnn")]
    assert "**Another machine**: `extract` had the same inputs" in text
    assert "The changes of the edited systems contain this difference, too." in text
    assert "| `evaluate@cnn` | `lr` `1.0` → `2.0` |" in text
    assert "Also changed" not in text


def test_a_change_whose_interval_excludes_0_may_not_be_clear() -> None:
    """Holm's method corrects for the rows, here three. Clear changes are bold."""
    gain = "aa" * 4 + "ab" * 26
    base, alone = results({"cnn": "ab"}), results({"cnn": gain})
    assert "its test accuracy rises clearly.** +6.7 [+1.7, " in verdict(base, alone)
    assert "| **+6.7 [+1.7, " in pull_request.report(base, alone, base="main")
    base = results({"cnn": "ab", "x": "ab", "y": "ab"})
    branch = results({"cnn": gain, "x": "aa" + "ab" * 29, "y": "aa" + "ab" * 29})
    assert "its test accuracy does not change clearly.** +6.7 [+1.7, " in verdict(base, branch)
    assert "**+" not in pull_request.report(base, branch, base="main")


def test_a_row_has_the_size_from_which_a_change_is_visible() -> None:
    base, branch = results({"cnn": "ab"}), results({"cnn": "aab"})
    (change,) = Comparison(base, branch).changes("accuracy")["test"].values()
    (row,) = re.findall(
        r"^\| `cnn` .*\|$", pull_request.report(base, branch, base="main").partition("<d")[0], re.MULTILINE
    )
    assert row.split("|")[-2].strip() == f"{100 * change.resolution:.1f}"


def test_the_same_networks_have_narrower_intervals() -> None:
    """Two runs of different accuracy gain the same on every track that is wrong in both."""

    def two_runs(first: str, second: str, weights: str) -> Results:
        made = results({"cnn": "a"}, stages={"train@cnn": stage(("models/cnn", weights))})
        labels = np.array([list(text * (60 // len(text))) for text in (first, second)])
        return replace(made, predictions={"test": Predictions(made.predictions["test"].tracks, {"cnn": labels})})

    base = two_runs("abbbbb", "aaaabb", "1")
    kept, trained = (two_runs("abbbba", "aaaaba", weights) for weights in "12")
    widths = []
    for branch in (kept, trained):
        (change,) = Comparison(base, branch).changes("accuracy")["test"].values()
        widths.append(change.interval.high - change.interval.low)
    assert 3 * widths[0] < widths[1]


def test_the_legend_counts_the_tracks_of_both_revisions() -> None:
    base, branch = results({"cnn": "ab"}), results({"cnn": "b"})
    found = branch.predictions["test"]
    fewer = Predictions(found.tracks.head(40), {key: labels[:, :40] for key, labels in found.runs.items()})
    text = pull_request.report(base, replace(branch, predictions={"test": fewer}), base="main")
    assert "measured on the 40 test tracks of both revisions" in text
    assert "resolution" not in text


def test_no_difference_is_negative_zero() -> None:
    assert pull_request._points(Interval(-1e-17, -0.0002, 0.0)) == "+0.0 [+0.0, +0.0]"


def test_the_password_in_a_changed_url_is_not_shown() -> None:
    base, branch = (
        results({"cnn": "ab"}, stages={"download": stage(("x", "1"), url=f"https://me:secret@example.org/{name}.zip")})
        for name in "ab"
    )
    text = pull_request.report(base, branch, base="main")
    assert "example.org/b.zip" in text
    assert "secret" not in text


def on_both_splits(validation: str, test: str) -> Results:
    """Results of cnn, whose predictions for the validation tracks are not those for the test tracks."""
    first, found = results({"cnn": validation}), results({"cnn": test})
    return replace(found, predictions={"validation": first.predictions["test"], **found.predictions})


def test_validation_comes_first_and_a_clear_change_on_test_tracks_is_named() -> None:
    before, slightly = on_both_splits("ab", "ab"), "ab" * 29 + "aa"
    expected = {
        (slightly, slightly): "its validation accuracy does not change clearly",
        (slightly, "b"): "its validation accuracy does not change clearly, but its test accuracy falls clearly",
        ("aaaaab", slightly): "its validation accuracy rises clearly",
        ("aaaaab", "aaaaab"): "its validation accuracy rises clearly, and its test accuracy rises clearly",
        ("aaaaab", "b"): "its validation accuracy rises clearly, but its test accuracy falls clearly",
        ("ab", "b"): "its test accuracy falls clearly",
    }
    for predicted, words in expected.items():
        assert f"The promoted model is still `cnn`, and {words}.** " in verdict(before, on_both_splits(*predicted))
    (row,) = rows(pull_request.report(before, on_both_splits(slightly, "b"), base="main")).values()
    assert (row[0], row[3]) == ("50.0 → 51.7", "50.0 → 0.0")


def test_the_verdict_on_other_systems_is_about_accuracies() -> None:
    """The folded table of F1 may have a clear change."""
    base, branch = results({"cnn": "ab", "svm": "ab"}), results({"cnn": "ab", "svm": "ab" * 29 + "aa"})
    assert verdict(base, branch).endswith(" No other accuracy changes clearly.")
    without = [replace(side, stages={"x": stage()}) for side in (base, branch)]
    assert verdict(*without).endswith(" No accuracy changes clearly.")


def test_predictions_of_one_split_that_are_missing_are_named() -> None:
    """Equal predictions of the other split are no change."""
    base = results({"cnn": "ab"})
    both = replace(base, predictions={"validation": base.predictions["test"], **base.predictions})
    text = pull_request.report(base, both, base="main")
    assert "The validation tracks are not compared: there are no predictions for them in `main`." in text
    after = results({"cnn": "b"})
    after = replace(after, predictions={"validation": base.predictions["test"], **after.predictions})
    (row,) = rows(pull_request.report(both, after, base="main")).values()
    assert row[:3] == ("unchanged", "", "")
    assert row[3] == "50.0 → 0.0"


def test_runs_of_the_same_networks_are_drawn_together() -> None:
    """An edit of the evaluation changes the same tracks in all runs."""

    def trained(weights: str) -> dict[str, Any]:
        stages = {"train@cnn": {"path": "models/cnn", "md5": weights}}
        return {name: {"params": {}, "deps": [], "outs": [out]} for name, out in stages.items()}

    assert Comparison(
        results({"cnn": "ab"}, stages=trained("1")), results({"cnn": "b"}, stages=trained("1"))
    ).same_networks
    again = Comparison(results({"cnn": "ab"}, stages=trained("1")), results({"cnn": "b"}, stages=trained("2")))
    assert again.same_networks == []
    assert Comparison(results({"svm": "ab"}), results({"svm": "b"})).same_networks == [], (
        "baselines may be fitted again"
    )


def test_a_promoted_model_that_predicts_like_the_former_one() -> None:
    base, branch = (results({"cnn": "ab", "birnn": "ab"}, promoted=key) for key in ("cnn", "birnn"))
    assert verdict(base, branch) == "**The promoted model is `birnn` instead of `cnn`, and it predicts the same.**"


def test_without_a_lock_nothing_is_said_about_the_branch() -> None:
    nothing = Results({}, {})
    text = pull_request.report(results({"cnn": "ab"}), nothing, base="main", problems=[pull_request.missing_lock()])
    assert text == f"### Results compared with `main`\n\n{pull_request.missing_lock()}\n"


def test_results_that_are_out_of_date_have_no_verdict() -> None:
    base, branch = results({"cnn": "ab"}), results({"cnn": "b"})
    text = pull_request.report(base, branch, base="main", problems=[pull_request.stale(["compare"])])
    assert "The promoted model" not in text
    assert "| `cnn` (promoted) | 50.0 → 0.0 " in text


def test_new_removed_and_unchanged_systems_are_lists() -> None:
    text = pull_request.report(results({"cnn": "ab", "old": "a"}), results({"cnn": "ab", "my-model": "a"}), base="main")
    assert "New: `my-model` (test 50.0 %). Removed: `old`. Unchanged: `cnn`." in text


def test_packages_that_changed_are_a_line() -> None:
    before = results({"cnn": "ab"}, packages={"torch": "2.13.0", "dvc": "3.67.1", "old": "1"})
    after = results({"cnn": "ab"}, packages={"torch": "2.14.0", "dvc": "3.67.1", "new": "2"})
    text = pull_request.report(before, after, base="main")
    assert "**Packages**: `torch` `2.13.0` → `2.14.0`, `old` `1` removed, `new` `2` added.\n" in text


def test_added_and_removed_parameters_have_their_values() -> None:
    """Sections, lists and stages have none; values are escaped, and cut like those of changed parameters."""
    evil, url = "`@x|" + "y" * 500, "https://me:secret@example.org/a.zip"
    old = {"models": {"cnn": {"lr": 1, "batch": False}, "birnn": {"lr": 1}}}
    new = {"models": {"cnn": {"lr": 1, "epochs": 3, "sizes": [1, 2], "name": evil, "url": url}}}
    records = [{"train@cnn": stage(**values)} for values in (old, new)]
    base, branch = (results({"cnn": "ab"}, stages=record) for record in (records[0], {**records[1], "new": stage()}))
    text = pull_request.report(base, branch, base="main")
    expected = ["`models.cnn.batch` `False` removed", "`models.birnn` removed", "`models.cnn.epochs` `3` added",
                "`models.cnn.sizes` added", f"`models.cnn.name` `'@x/{'y' * 96}` added"]  # fmt: skip
    assert f"{', '.join(expected)}, `models.cnn.url` `" in text
    assert "secret" not in text
    assert re.search(r"\| `new` +\| stage added +\|", text)


def test_values_that_are_no_numbers_have_no_score() -> None:
    """JSON's true is 1 for Python."""
    after = results({"cnn": "ab", "new": "a"})
    wrong: list[Any] = [True, "0.5", None, [1]]
    for value in wrong:
        odd = replace(after, metrics={**after.metrics, "new": {"accuracy": value}})
        assert "New: `new`." in pull_request.report(results({"cnn": "ab"}), odd, base="main")


def test_long_reports_and_many_names_are_cut() -> None:
    many = {f"system{number}": "a" for number in range(20)}
    text = pull_request.report(results({"cnn": "ab"}), results({"cnn": "ab"} | many), base="main", text="x" * 50_000)
    assert "report.md has 50,000 characters, which are too many to show here." in text
    assert "`system7` (test 50.0 %) and 12 more." in text
    assert len(text) < 2000
    assert len(pull_request.report(results({"cnn": "ab"}), results({"x" * 5000: "a"}), base="main")) < 2000


def test_names_and_values_of_a_branch_are_shown_as_code() -> None:
    """Names cannot add Markdown, HTML or mentions to the report."""
    record = {"cmd": EVIL, "outs": [], "deps": [{"path": EVIL, "md5": "1"}], "params": {"params.yaml": {EVIL: EVIL}}}
    other = {"cmd": "y", "outs": [], "deps": [{"path": EVIL, "md5": "2"}], "params": {"params.yaml": {EVIL: {EVIL: 1}}}}
    base = results({"cnn": "ab", EVIL: "ab"}, stages={EVIL: record}, packages={EVIL: EVIL})
    here = results({"cnn": "b", EVIL: "b", f"{EVIL}2": "b"}, EVIL, {EVIL: other, f"{EVIL}2": other})
    problems = [pull_request.stale([EVIL]), pull_request.not_checked_out([EVIL])]
    text = pull_request.report(base, here, base=EVIL, problems=problems)
    text += pull_request.failure(EVIL, EVIL)
    outside = re.sub(r"`[^`\n]*`", "", text)
    for dangerous in ("<img", "@", "javascript", "](", "somebody"):
        assert dangerous in text
        assert dangerous not in outside
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {3, 5}, "a name adds a cell"


def test_each_figure_is_shown_once() -> None:
    figures = {name: f"https://x/{name}.svg" for name in "abc"}
    text = pull_request.report(results({}), results({}), base="main", figures=figures)
    assert re.findall(r"\[!\[(.)\]", text) == ["a", "b", "c"]


def test_titles_of_figures_are_text() -> None:
    figures = {"a_b](x)": "https://x/a.svg"}
    text = pull_request.report(results({}), results({}), base="main", figures=figures)
    assert r"[![a\_b\]\(x\)](<https://x/a.svg>)](<https://x/a.svg>)" in text

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
from pathlib import Path
from typing import Any

import pytest

import workflows
from fma_genre.common import files
from fma_genre.results import pull_request
from fma_genre.results.pull_request import Results, stage_names
from project import Project

URL = "https://github.com/someone/fma-genre/blob/1a2b3c"
METRICS = ("validation_accuracy", "validation_f1", "accuracy", "precision", "recall", "f1")
TEST_METRICS = METRICS[2:]
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)


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


def label(metric: str) -> str:
    """Name of a metric in the report."""
    return metric.replace("_", " ").replace("f1", "F1")


def rows(text: str) -> dict[tuple[str, str], tuple[str, str, str]]:
    return {(name, metric): (before, after, change) for name, metric, before, after, change in ROW.findall(text)}


def expected(before: float, after: float) -> tuple[str, str, str]:
    return tuple(f"{100 * value:{form}}".replace("-", "−") for value, form in  # type: ignore[return-value]
                 ((before, "z.2f"), (after, "z.2f"), (after - before, "+z.2f")))  # fmt: skip


@pytest.fixture
def branch(finished: Project, tmp_path: Path) -> Project:
    return finished.copy(tmp_path / "branch")


def choose(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda params: params.update({name: value})


def test_a_branch_that_ships_the_other_model(finished: Project, branch: Project, tmp_path: Path) -> None:
    branch.edit_params(choose("model", "birnn"))
    branch.repro()
    text = report(propose(finished, branch, tmp_path), tmp_path)
    cnn, birnn = metrics(finished, "cnn"), metrics(finished, "birnn")
    assert rows(text) == {
        ("promoted", label(metric)): expected(cnn[metric], birnn[metric])
        for metric in METRICS
        if cnn[metric] != birnn[metric]
    }
    assert text.endswith(
        "| changed stage | reason |\n|---|---|\n"
        "| `promote` | `model` `cnn` → `birnn`, `metrics/cnn.json`, `models/cnn`, `metrics/birnn.json` and 1 more |\n"
    )
    assert "### Results compared with `main`\n" in text
    assert "| | metric | `main`, % | this branch, % | change |" in text
    assert "synthetic demo" in text
    assert "out of date" not in text


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
    assert not (runner.path / "ran").exists()


@pytest.mark.slow
def test_a_branch_that_changes_a_parameter(finished: Project, branch: Project, tmp_path: Path) -> None:
    branch.edit_params(lambda params: params["models"]["birnn"].update(hidden=16))
    branch.repro()
    text = report(propose(finished, branch, tmp_path), tmp_path)
    before, after = metrics(finished, "birnn"), metrics(branch, "birnn")
    changed = {metric for metric in METRICS if before[metric] != after[metric]}
    assert changed, "this test needs metrics that change"
    found = rows(text)
    for metric in METRICS:
        row = found.get(("birnn", label(metric)))
        assert row == (expected(before[metric], after[metric]) if metric in changed else None)
    old, new = (metrics(project, "comparison")["differences"] for project in (finished, branch))
    assert set(old) == {"svm", "cnn_svm_head", "birnn", "fusion"}
    for system, metric in itertools.product(old, TEST_METRICS):
        row = found.get(("comparison", f"{system} − cnn, {label(metric)}"))
        values = old[system][metric], new[system][metric]
        assert row == (expected(*values) if values[0] != values[1] else None)
    assert {name for name, _ in found} <= {"birnn", "comparison"}
    assert "| `train@birnn` | `models.birnn.hidden` `8` → `16` |" in text
    assert "train@cnn" not in text
    shown = re.findall(r"\]\((\S+?)\)", text)
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
    assert "**Not comparable**: the metrics of `promoted`, `birnn`, `cnn`, `svm`, `comparison` were measured on" in text
    tests = [metrics(project, "cnn")["n_test"] for project in (finished, branch)]
    assert f"`demo ({tests[0]} test tracks)` in `main`, and on `other ({tests[1]} test tracks)` in this branch." in text
    assert "`dataset` `demo` → `other`" in text

    renamed.edit_params(lambda params: params["datasets"].update(demo=params["datasets"]["other"]))
    renamed.edit_params(choose("dataset", "demo"))
    renamed.repro()
    assert metrics(renamed, "cnn")["n_test"] == metrics(finished, "cnn")["n_test"]
    (tmp_path / "second").mkdir()
    text = report(propose(finished, renamed, tmp_path / "second"), tmp_path / "second")
    assert not rows(text)
    assert "test tracks)` in both branches, but the archives or the tracks differ." in text


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
    assert "| `train@birnn` | removed from dvc.yaml |" in text
    assert "| `evaluate@birnn` | removed from dvc.yaml |" in text
    change = metrics(finished, "comparison")["differences"]["birnn"]["accuracy"]
    assert rows(text)["comparison", "birnn − cnn, accuracy"] == (f"{100 * change:.2f}".replace("-", "−"), "", "")
    assert {name for name, _ in rows(text)} == {"comparison", "birnn"}
    accuracy = f"{100 * metrics(finished, 'birnn')['accuracy']:.2f}"
    assert rows(text)["birnn", "accuracy"] == (accuracy, "", "")


@pytest.mark.parametrize(
    ("path", "content"), [("params.yaml", "x: ["), ("dvc.lock", "<<<<<<< main\nstages:\n=======\n")]
)
def test_a_branch_that_cannot_be_compared_says_why(
    finished: Project, branch: Project, tmp_path: Path, path: str, content: str
) -> None:
    (branch.path / path).unlink()
    (branch.path / path).write_text(content)
    text = report(propose(finished, branch, tmp_path), tmp_path, code=1)
    assert text.startswith("<!-- metric differences -->\n")
    assert path in text.partition("**Comparison failed**: ")[2]


def test_a_branch_whose_results_are_older_than_its_code(finished: Project, branch: Project, tmp_path: Path) -> None:
    branch.edit_params(lambda params: params["train"].update(lr=0.123))
    text = report(propose(finished, branch, tmp_path), tmp_path, code=1)
    would_run = "`train@cnn`, `train@birnn`, and all dependent stages"
    assert f"**dvc.lock is out of date**: `dvc repro` would run {would_run}" in text


def test_a_branch_that_changes_no_result(finished: Project, branch: Project, tmp_path: Path) -> None:
    (branch.path / "README.md").write_text("a better one\n")
    text = report(propose(finished, branch, tmp_path), tmp_path)
    assert "The scores on the validation and test tracks have not changed." in text
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
    found = rows(text)
    for metric in METRICS:
        value = metrics(finished, "cnn")[metric]
        assert found["promoted", label(metric)] == ("", f"{100 * value:.2f}", "")
    assert "| `train@cnn` | new stage |" in text


@pytest.mark.slow
def test_make_diff_reads_the_working_tree(finished: Project, branch: Project) -> None:
    branch.edit_params(choose("model", "birnn"))
    branch.repro()
    (branch.path / ".venv").mkdir()
    (branch.path / ".venv/installed").touch()
    text = branch.run("make", "diff", "BASE=main").stdout
    assert {name for name, _ in rows(text)} == {"promoted"}
    done = branch.run("make", "diff", "BASE=nowhere", check=False)
    assert done.returncode
    assert "diff: git rev-parse" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("metrics/cnn.json", "{"), ("metrics/cnn.json", "[1]"), ("dvc.lock", "a: b: c"), ("dvc.lock", "stages: [1]"),
        ("dvc.yaml", "{"), ("dvc.yaml", "stages"), ("params.yaml", "[]"),
    ],
)  # fmt: skip
def test_invalid_results_are_refused_in_one_line(branch: Project, path: str, content: str) -> None:
    (branch.path / path).unlink()
    (branch.path / path).write_text(content)
    done = branch.run_here("src/diff.py", "main", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("diff: ")
    assert path in done.stderr


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


@pytest.mark.parametrize("name", ["metrics/cnn.json", "dvc.lock"])
@pytest.mark.parametrize("kind", KINDS)
def test_special_files_are_refused_without_waiting(hostile: Project, name: str, kind: str) -> None:
    make, found = KINDS[kind]
    with replaced(hostile.path / name) as path:
        make(path)
        message = refused(hostile)
    assert message.startswith(f"diff: {name}: expected ")
    assert found in message


@pytest.mark.parametrize("name", ["report.md", "plots/training/cnn.csv", "data/index.csv", "src/promote.py"])
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
    ("name", "make"),
    [
        ("metrics/cnn.json", link("/etc/passwd")), ("dvc.lock", link("/dev/zero")), ("metrics/x.json", folder_of_one),
        ("metrics/cnn.json", writes(HOSTILE["UTF-16"])), ("metrics/cnn.json", writes(HOSTILE["a huge number"])),
        ("dvc.lock", writes(BOMB)), ("dvc.lock", writes(RECORDS["a number"])), ("dvc.yaml", writes(BOMB)),
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
    assert {name for name, _ in rows(text)} == {"promoted"}
    assert "| `promote` | `model` `cnn` → `birnn`" in text
    assert re.findall(r"\]\((\S+?)\)", text)[0] == f"{URL}/my%20music/plots/other.svg?raw=true"


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
        done = hostile.run("env", "PYTHONIOENCODING=latin-1", "python", "src/diff.py", "main", check=False)
        assert (done.returncode, done.stderr) == (0, "")


# Without a repository. --------------------------------------------------------------------------------------------

PIPELINE = {
    "stages": {
        "split": {"cmd": "x"},
        "train": {"foreach": "${models}", "do": {"cmd": "x"}},
        "tune": {"foreach": "${search.values}", "do": {"cmd": "x"}},
        "list": {"foreach": ["a", 1], "do": {"cmd": "x"}},
        "group": {"foreach": {"b": {"x": 1}}, "do": {"cmd": "x"}},
        "unknown": {"foreach": "${nowhere.at.all}", "do": {"cmd": "x"}},
    }
}


def test_stages_are_those_of_the_pipeline_and_its_parameters() -> None:
    parameters = {"models": {"cnn": {}, "other": {}}, "search": {"values": [3, 4]}}
    found = stage_names(PIPELINE, parameters)
    assert found == {"split", "train@cnn", "train@other", "tune@3", "tune@4", "list@a", "list@1", "group@b"}
    assert stage_names({}, parameters) == set()


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


def test_differences_are_named_by_system_and_reference() -> None:
    """Intervals, p-values and the systems' own scores are left out: these have their own files."""

    def results(accuracy: float) -> Results:
        difference = {"accuracy": accuracy, "accuracy_low": accuracy - 0.1, "f1": 0.02, "p": accuracy}
        systems = {"cnn": {"accuracy": accuracy}, "birnn": {"accuracy": accuracy}}
        shared = {"dataset": "demo", "n_test": 3, "reference": "cnn", "systems": systems}
        return Results({"comparison": {**shared, "differences": {"birnn": difference}}}, {})

    text = pull_request.report(results(-0.01), results(0.03), base="main", stale=[], figures={}, synthetic=False)
    assert rows(text) == {("comparison", "birnn − cnn, accuracy"): ("−1.00", "3.00", "+4.00")}


def test_differences_are_folded_below_the_scores_of_the_systems() -> None:
    pair = (
        Results({"svm": {"accuracy": value}, "comparison": {"differences": {"svm": {"accuracy": -value / 1e5}}}}, {})
        for value in (0.1, 0.2)
    )
    text = pull_request.report(*pair, base="main", stale=[], figures={}, synthetic=False)
    scores, _, folded = text.partition("\n\n<details><summary>Differences from the reference</summary>\n\n")
    assert rows(scores) == {("svm", "accuracy"): ("10.00", "20.00", "+10.00")}
    table, _, rest = folded.partition("\n\n</details>\n\n")
    assert rows(table) == {("comparison", "svm − None, accuracy"): ("0.00", "0.00", "+0.00")}
    assert rest == "No stage has changed.\n"


def test_scores_on_validation_tracks_come_first() -> None:
    before, after = (dict.fromkeys(reversed(METRICS), 0.5 + step) for step in (0, 0.01))
    pair = (Results({"cnn": values | {"dataset": "demo", "n_test": 3}}, {}) for values in (before, after))
    text = pull_request.report(*pair, base="main", stale=[], figures={}, synthetic=False)
    assert list(rows(text).items()) == [(("cnn", label(metric)), ("50.00", "51.00", "+1.00")) for metric in METRICS]


def test_names_and_values_of_a_branch_are_shown_as_code() -> None:
    """Names cannot add Markdown, HTML or mentions to the report."""
    record = {"cmd": EVIL, "outs": [], "deps": [{"path": EVIL, "md5": "1"}], "params": {"params.yaml": {EVIL: EVIL}}}
    other = {"cmd": "y", "outs": [], "deps": [{"path": EVIL, "md5": "2"}], "params": {"params.yaml": {EVIL: {EVIL: 1}}}}
    base = Results({"cnn": {"accuracy": 0.5, "dataset": "demo", "n_test": 3}}, {EVIL: record})
    here = Results(
        {
            "cnn": {"accuracy": 0.5, "dataset": EVIL, "n_test": 3},
            EVIL: {"accuracy": 0.5},
            "comparison": {"reference": EVIL, "differences": {EVIL: {"accuracy": 0.1}}},
        },
        {EVIL: other, f"{EVIL}2": other},
    )
    text = pull_request.report(base, here, base=EVIL, stale=[EVIL], figures={}, synthetic=False)
    text += pull_request.failure(EVIL, EVIL)
    outside = re.sub(r"`[^`\n]*`", "", text)
    for dangerous in ("<img", "@", "javascript", "](", "somebody"):
        assert dangerous in text
        assert dangerous not in outside
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {3, 6}, "a name adds a cell"

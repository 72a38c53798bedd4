"""The workflow that runs an experiment on a self-hosted runner and proposes its results.

The fast tests have fakes of DVC, make and GitHub's program gh, and a real git. The slow ones run the pipeline.
"""

import base64
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from dvc.utils.hydra import to_hydra_overrides

import workflows
from project import ROOT, Project, stages_run
from workflows import SCRIPTS, Fakes

sys.path.append(str(SCRIPTS))
import experiment
import posted

NAME = "someone/fma-genre"
STEPS = ("Prepare", "Run the pipeline", "Store the results", "Open a pull request")
PREPARE, RUN, STORE, PROPOSE = STEPS
BRANCH = "experiment-5-1"  # of the proposal


@dataclass(frozen=True)
class Runner:
    """A self-hosted runner, and the repository on GitHub."""

    folder: Path
    home: Path  # FMA_HOME

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def clone(self) -> Path:
        """The clone in which experiments run."""
        return self.home / "experiments" / NAME

    @property
    def origin(self) -> Path:
        return self.folder / "github" / f"{NAME}.git"

    @property
    def fakes(self) -> Fakes:
        return Fakes(self.folder / "programs")

    def checkout(self, branch: str = "main") -> None:
        """Update the workspace to a branch as actions/checkout does, and delete everything else."""
        self.git("init", "--quiet", str(self.workspace))
        for command in (
            ("fetch", "--quiet", "--depth=1", self.origin.as_uri(), branch),
            ("checkout", "--quiet", "--force", "-B", branch, "FETCH_HEAD"),
            ("clean", "-ffdxq"),
        ):
            self.git("-C", str(self.workspace), *command)

    def git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout

    def environment(self, overrides: str = "", **other: str) -> dict[str, str]:
        variables = Project(self.workspace, self.home).environment
        kept = {key: value for key, value in variables.items() if not key.startswith("GIT_")}
        return kept | {
            "PATH": f"{self.fakes.folder}{os.pathsep}{kept['PATH']}", "HOME": str(self.folder),
            "OVERRIDES": overrides, "GH_TOKEN": "secret", "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_REPOSITORY": NAME, "GITHUB_SERVER_URL": self.origin.parents[1].as_uri(),
            "GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": "main", "GITHUB_RUN_ID": "5", "GITHUB_RUN_ATTEMPT": "1",
            **other,
        }  # fmt: skip

    def run(self, step: str, overrides: str = "", **other: str) -> subprocess.CompletedProcess[str]:
        done = workflows.run("experiment", step, self.workspace, self.environment(overrides, **other))
        assert "Traceback" not in done.stderr
        return done

    def finish(self, *steps: str, overrides: str = "", **other: str) -> str:
        """Run steps, which must succeed; return what they print."""
        printed = ""
        for step in steps:
            done = self.run(step, overrides, **other)
            assert done.returncode == 0, done.stdout + done.stderr
            printed += done.stdout
        return printed


# The fakes of `make .venv/installed`, DVC, and the script that writes the report.
MAKE = """
folder = pathlib.Path(".venv/bin")
folder.mkdir(parents=True, exist_ok=True)
(folder.parent / "installed").touch()
"""
DVC = """
if arguments[0] == "config":
    print(os.environ.get("FAKE_REMOTE", "storage"))
if arguments[:2] == ["exp", "run"]:
    with open("params.yaml", "a") as file:
        file.write("".join(f"{item}\\n" for item in arguments if "=" in item))
"""
PYTHON = f"""
pushed = subprocess.run(["git", "ls-remote", os.environ["FAKE_ORIGIN"], "{BRANCH}"], capture_output=True).stdout
print("pushed" if pushed else "not pushed", end=os.environ.get("FAKE_TEXT", "") * int(os.environ.get("FAKE_TIMES", 1)))
sys.exit(1)  # as src/diff.py does if the results are out of date
"""


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A runner with fakes, and a repository with hardly more than the names of ignored files."""
    runner = Runner(tmp_path, tmp_path / "home")
    for name, code in {"make": MAKE, "dvc": DVC, "python": PYTHON, "gh": ""}.items():
        runner.fakes.add(name, code)
    source = Project(tmp_path / "source", tmp_path)
    (source.path / ".dvc").mkdir(parents=True)
    for name in (".gitignore", ".dvc/.gitignore"):
        shutil.copy(ROOT / name, source.path / name)
    (source.path / "params.yaml").write_text("model: cnn\n")
    shutil.copytree(SCRIPTS, source.path / ".github/scripts", ignore=shutil.ignore_patterns("__pycache__"))
    publish(source, runner)
    return runner


def publish(project: Project, runner: Runner) -> None:
    """Commit a project, make it the repository on GitHub, and check it out."""
    project.run("git", "init", "--quiet", "--initial-branch=main")
    project.run("git", "add", ".")
    project.run("git", "commit", "--quiet", "--allow-empty", "--message=published")
    runner.git("clone", "--quiet", "--bare", str(project.path), str(runner.origin))
    runner.checkout()


def origin(runner: Runner) -> dict[str, str]:
    return {"FAKE_ORIGIN": runner.origin.as_uri()}


# Overrides. -------------------------------------------------------------------------------------------------------


def examples() -> set[str]:
    """The overrides in the documentation, apart from placeholders, and grids, which only a queue takes."""
    pages = "\n".join(path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    found = {quoted or bare for quoted, bare in re.findall(r" -S (?:'([^'\n]+)'|([^'\s`…]+)(?![^\s`]))", pages)}
    return {item for item in found if "…" not in item and not re.search(r"=[^\[{]*,", item)}


@pytest.mark.parametrize("override", sorted(examples()))
def test_overrides_that_the_documentation_shows_are_accepted(override: str) -> None:
    assert experiment.parse_overrides(f"'{override}'") == [override]


def test_several_overrides_are_split_as_a_shell_does() -> None:
    text = "model=birnn  ++models.birnn.lr=1e-3\n'++models.a-b={network: cnn, pools: [4, 4]}' ~models.cnn a=[]"
    overrides = experiment.parse_overrides(text)
    assert overrides == [
        "model=birnn", "++models.birnn.lr=1e-3", "++models.a-b={network: cnn, pools: [4, 4]}", "~models.cnn",
        "a=[]",
    ]  # fmt: skip
    parsed = to_hydra_overrides(overrides)
    assert [item.key_or_group for item in parsed] == ["model", "models.birnn.lr", "models.a-b", "models.cnn", "a"]
    assert parsed[2].value() == {"network": "cnn", "pools": [4, 4]}
    assert experiment.parse_overrides(" \n") == []


HOSTILE = [
    "model=cnn;touch x", "model=$(touch x)", "model=`touch x`", "'model=cnn\ntrain.lr=1'", "model=cnn|x", "a=b&c",
    "a=b>c", "train.lr=${oc.env:GH_TOKEN}", r"train.lr='$\{oc.env:GH_TOKEN\}'", "a=${train.lr}", "a=$HOME", r"a='\b'",
    "dvc.yaml:stages.promote.cmd=x", "../x.yaml:a=b", "'++models={x|y: {}}'", "'a b=c'", "a@b=c", "--queue", "-S",
    "-S a=b", "model", "=x", "~a=b", "a=choice(1,2)", "a=é", "é=a", "a='", '"', "a=b\\", "a='b\0c'", "a=\u2028",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_more_than_a_change_of_a_parameter_is_refused(runner: Runner, text: str) -> None:
    """Before any work, and on one line."""
    if "\0" in text:  # an environment variable cannot contain it
        with pytest.raises(SystemExit, match=r"^overrides: expected"):
            experiment.parse_overrides(text)
        return
    done = runner.run(PREPARE, text)
    assert done.returncode == 1
    assert re.fullmatch(r"overrides: expected .+, found .+\n", done.stderr)
    assert done.stdout == ""
    assert runner.fakes.calls == []
    assert not runner.clone.exists()
    assert not any(folder.joinpath("x").exists() for folder in (runner.workspace, runner.folder))


# Steps. -----------------------------------------------------------------------------------------------------------


def test_results_are_pushed_before_the_report_is_made(runner: Runner) -> None:
    overrides = "model=birnn '++models.x={network: cnn}'"
    runner.finish(*STEPS, overrides=overrides, **origin(runner))
    calls = [call for call in runner.fakes.calls if call[:2] != ["gh", "auth"]]
    assert [call[:3] for call in calls] == [
        ["make", ".venv/installed"], ["dvc", "config", "core.remote"], ["dvc", "pull", "--allow-missing"],
        ["dvc", "exp", "run"], ["dvc", "push", "--run-cache"], ["python", "src/diff.py", "--url"],
        ["gh", "pr", "create"],
    ]  # fmt: skip
    assert calls[3][3:] == ["--pull", "--set-param", "model=birnn", "--set-param", "++models.x={network: cnn}"]
    commit = runner.git("-C", str(runner.origin), "rev-parse", BRANCH).strip()
    url = f"{runner.origin.parents[1].as_uri()}/{NAME}/blob/{commit}"
    assert calls[5][3:] == [url, "--", "main"]
    title = "Results of model=birnn ++models.x={network: cnn}"
    place = ["--repo", NAME, "--base", "main", "--head", BRANCH]
    assert calls[6][3:] == [*place, "--title", title, "--body-file", "-", "pushed"]
    log = runner.git("-C", str(runner.origin), "log", "--format=%an|%s", f"main..{BRANCH}")
    assert log == f"github-actions|{title}\n"
    assert runner.git("-C", str(runner.origin), "diff", "--name-only", "main", BRANCH) == "params.yaml\n"


def test_nothing_durable_lies_in_what_the_next_checkout_deletes(runner: Runner) -> None:
    """But changes that an earlier run left in the clone are gone."""
    runner.finish(PREPARE)
    durable = [".venv/installed", ".dvc/cache/files/md5/1", ".dvc/tmp/x", "data/work/train/1/epoch"]
    for name in durable:
        (runner.clone / name).parent.mkdir(parents=True, exist_ok=True)
        (runner.clone / name).write_text("hours of work")
    for name in (".git/index.lock", ".dvc/tmp/rwlock", "new.csv", "params.yaml"):
        (runner.clone / name).write_text("left by a killed run")
    runner.checkout()
    assert runner.git("-C", str(runner.workspace), "status", "--porcelain", "--ignored") == ""
    runner.finish(PREPARE)
    assert [(runner.clone / name).read_text() for name in durable[1:]] == ["hours of work"] * 3
    assert (runner.clone / "params.yaml").read_text() == "model: cnn\n"
    assert not any((runner.clone / name).exists() for name in (".git/index.lock", ".dvc/tmp/rwlock", "new.csv"))
    assert runner.git("-C", str(runner.clone), "status", "--porcelain") == ""


def test_the_clone_follows_the_branch(runner: Runner) -> None:
    runner.finish(PREPARE)
    source = Project(runner.folder / "source", runner.home)
    (source.path / "params.yaml").write_text("model: birnn\n")
    (source.path / "second.txt").write_text("x\n")
    source.run("git", "add", ".")
    source.run("git", "commit", "--quiet", "--message=second")
    source.run("git", "push", "--quiet", str(runner.origin), "main")
    runner.checkout()
    runner.finish(PREPARE)
    assert (runner.clone / "params.yaml").read_text() == "model: birnn\n"
    assert (runner.clone / "second.txt").exists()


def test_without_a_remote_nothing_runs(runner: Runner) -> None:
    done = runner.run(PREPARE, FAKE_REMOTE="")
    assert done.returncode == 1
    assert re.fullmatch("experiment: expected a default DVC remote .*, found none; see .*\n", done.stderr)
    assert [call[1] for call in runner.fakes.calls if call[0] == "dvc"] == ["config"]
    steps = {step["name"]: step.get("if") for step in workflows.steps("experiment") if "name" in step}
    assert steps[RUN] is None, "a step without a condition is skipped after a failure"
    assert steps[STORE] == "always() && steps.run.outcome != 'skipped'"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"FMA_HOME": "archives"}, "experiment: FMA_HOME: expected a folder outside the checkout, found .+archives"),
        ({"GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": "v1"}, "experiment: expected a branch, found the tag v1"),
    ],
)
def test_a_run_that_could_not_end_well_is_refused(runner: Runner, variables: dict[str, str], message: str) -> None:
    done = runner.run(PREPARE, **variables)
    assert done.returncode == 1
    assert re.fullmatch(f"{message}\n", done.stderr)
    assert runner.fakes.calls == []


def test_an_experiment_that_changes_nothing_proposes_nothing(runner: Runner) -> None:
    assert "Nothing has changed" in runner.finish(*STEPS, **origin(runner))
    assert [call for call in runner.fakes.calls if call[0] == "gh"] == []
    assert BRANCH not in runner.git("-C", str(runner.origin), "branch")


@pytest.mark.parametrize("base", ["main", workflows.ODD_NAME])
def test_a_branch_of_any_name_and_a_report_of_any_length(runner: Runner, base: str) -> None:
    runner.git("-C", str(runner.origin), "branch", "--force", base)
    variables = {"GITHUB_REF_NAME": base, "FAKE_TEXT": "x", "FAKE_TIMES": "200000", **origin(runner)}
    runner.finish(*STEPS, overrides=f"'note={'long ' * 100}'", **variables)
    *_, call = runner.fakes.calls
    assert call[:7] == ["gh", "pr", "create", "--repo", NAME, "--base", base]
    assert len(call[call.index("--title") + 1]) <= 200
    assert call[-1].startswith("<sub>Only the first 60,000 characters are shown.</sub>\n\npushed")
    assert len(call[-1]) < 65_536
    assert not list(runner.folder.rglob("ran"))


def test_the_description_notifies_nobody(runner: Runner) -> None:
    """In the same way as the comment on a pull request."""
    runner.finish(*STEPS, overrides="a=b", **origin(runner), FAKE_TEXT=" @me &#64;me &commat;me")
    *_, call = runner.fakes.calls
    assert call[-1] == posted.without_mentions("pushed @me &#64;me &commat;me")
    assert workflows.notified(call[-1]) == set()


def test_a_report_that_fails_is_replaced_by_a_line(runner: Runner) -> None:
    runner.fakes.add("python", "sys.exit(1)")
    runner.finish(*STEPS, overrides="a=b")
    *_, call = runner.fakes.calls
    assert re.fullmatch(r"There is no report\. See file://.+/actions/runs/5 for the reason\.", call[-1])


def test_what_has_finished_before_a_failure_is_pushed(runner: Runner) -> None:
    runner.finish(PREPARE)
    runner.fakes.add("dvc", DVC + "    sys.exit(1)")
    assert runner.run(RUN, "a=b").returncode == 1
    runner.finish(STORE, overrides="a=b")
    *_, call = runner.fakes.calls
    assert call == ["dvc", "push", "--run-cache"]
    assert runner.git("-C", str(runner.origin), "diff", "--name-only", "main", BRANCH) == "params.yaml\n"


class Refusing(BaseHTTPRequestHandler):
    """A server that refuses every password, and remembers them."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="test"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and the passwords that it has seen."""
    seen: list[str] = []
    with HTTPServer(("127.0.0.1", 0), type("Handler", (Refusing,), {"seen": seen})) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}", seen
        listening.shutdown()


def test_the_runners_own_passwords_are_neither_used_nor_replaced(runner: Runner) -> None:
    asked = runner.folder / "asked"
    helper = f'!f() {{ echo "$1" >> {asked}; echo username=owner; echo password=private; }}; f'
    runner.fakes.add("gh", "print('username=x-access-token\\npassword=' + os.environ['GH_TOKEN'])")
    system, user = runner.folder / "system", runner.folder / ".gitconfig"
    (runner.folder / ".netrc").write_text("machine 127.0.0.1 login owner password private\n")
    with server() as (address, seen):
        for file, key in itertools.product((system, user), ("credential.helper", f"credential.{address}.helper")):
            runner.git("config", "--file", str(file), key, helper)
        runner.git("config", "--file", str(user), "url.ssh://owner@localhost/.insteadOf", f"{address}/")
        runner.finish(PREPARE, RUN, overrides="a=b")
        done = runner.run(STORE, "a=b", GITHUB_SERVER_URL=address, GIT_CONFIG_SYSTEM=str(system))
    assert done.returncode == 1
    assert "experiment: git " in done.stderr
    token = base64.b64encode(b"x-access-token:secret").decode()
    assert seen == ["", f"Basic {token}"]
    assert not asked.exists()
    assert ["gh", "auth", "git-credential", "get"] in runner.fakes.calls
    assert "secret" not in done.stdout + done.stderr


# With DVC. --------------------------------------------------------------------------------------------------------


@pytest.fixture
def real(finished: Project, tmp_path: Path) -> Runner:
    """A runner with a miniature project, whose results are in a DVC remote."""
    runner = Runner(tmp_path, tmp_path / "home")
    runner.home.mkdir()
    for archive in finished.home.iterdir():
        (runner.home / archive.name).symlink_to(archive)
    runner.fakes.add("gh")
    environment = f"""
        mkdir -p .venv && cd .venv && ln -sfn {sys.prefix}/bin bin && ln -sfn {sys.prefix}/lib lib
        cp {sys.prefix}/pyvenv.cfg . && touch installed"""
    runner.fakes.add("make", f"subprocess.run({environment!r}, shell=True, check=True)")
    source = finished.copy(tmp_path / "source")
    source.run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    source.run("dvc", "push", "--quiet", "--run-cache")
    publish(source, runner)
    return runner


@pytest.mark.slow
def test_an_experiment_becomes_a_pull_request(real: Runner, finished: Project) -> None:
    """A colleague who pulls its branch has nothing to run."""
    printed = real.finish(*STEPS, overrides="model=birnn")
    assert stages_run(printed) <= {"promote"}, "the other outputs are in the remote"
    (created,) = [call for call in real.fakes.calls if call[0] == "gh"]
    assert "birnn" in created[-1]
    changed = real.git("-C", str(real.origin), "diff", "--name-only", "main", BRANCH).split()
    assert set(changed) == {"dvc.lock", "metrics/promoted.json", "params.yaml"}
    colleague = Project(real.folder / "colleague", real.home)
    real.git("clone", "--quiet", "--branch", BRANCH, str(real.origin), str(colleague.path))
    colleague.run("dvc", "pull")
    assert colleague.repro() == set()
    assert (colleague.path / "metrics/promoted.json").read_bytes() == (
        finished.path / "metrics/birnn.json"
    ).read_bytes()


@pytest.mark.slow
def test_an_unknown_parameter_is_refused_before_any_stage_runs(real: Runner) -> None:
    real.finish(PREPARE)
    done = real.run(RUN, "train.lrr=1")
    assert done.returncode == 1
    assert "Could not override 'train.lrr'" in done.stderr
    assert stages_run(done.stdout) == set()


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False])
def test_a_run_that_was_stopped_goes_on_after_the_next_checkout(real: Runner, kept: bool) -> None:
    """No finished stage runs again. On a new machine, the run goes on from the branch that was pushed."""
    overrides = "train.lr=0.001"
    real.finish(PREPARE)
    script = next(step["run"] for step in workflows.steps("experiment") if step.get("name") == RUN)
    log = real.folder / "log"
    with log.open("w") as file, subprocess.Popen(
        ["bash", "-c", script], cwd=real.workspace, env=real.environment(overrides), stdout=file, stderr=file,
        start_new_session=True,
    ) as process:  # fmt: skip
        while len(stages_run(log.read_text())) < 3 and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    *finished, _ = re.findall(r"Running stage '(\S+)'", log.read_text())
    assert len(finished) >= 2, log.read_text()
    real.finish(STORE, overrides=overrides)
    if kept:
        real.checkout()
    else:
        real.checkout(BRANCH)
        shutil.rmtree(real.clone)
    printed = real.finish(PREPARE, RUN, overrides=overrides if kept else "")
    assert stages_run(printed)
    assert not stages_run(printed) & set(finished)

"""Miniature projects: copies of the working tree with the parameters of tests/params.yaml."""

import io
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PATIENCE = 120  # s for a script in the test process
PARAMS = Path(__file__).with_name("params.yaml")  # parameters of the tests
RESULTS = ("metrics", "plots", "dvc.lock")  # not copied: a miniature project creates its own


@dataclass(frozen=True)
class Project:
    path: Path
    home: Path  # FMA_HOME

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_"))}
        author = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        single = {"FMA_WORKERS": "1", "OMP_NUM_THREADS": "1"}  # starting worker processes takes longer than the work
        return kept | author | single | {"PATH": path, "FMA_HOME": str(self.home)}

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def run_here(self, script: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a script of src/ in the test process, where its imports are already loaded.

        The result has the same form as that of `run`. Only output from Python is captured, not from C libraries.
        """
        command = [script, *arguments]
        with pytest.MonkeyPatch.context() as patched, _time_limit(script):
            patched.chdir(self.path)
            output, errors = _prepare_process(patched, command, self.environment)
            try:
                runpy.run_path(str(self.path / script), run_name="__main__")
                code: Any = 0
            except SystemExit as end:
                code = end.code or 0
        if isinstance(code, str):  # Python prints such a code
            print(code, file=errors)
        done = subprocess.CompletedProcess(command, 1 if isinstance(code, str) else code, _text(output), _text(errors))
        if check and code:
            raise AssertionError(f"{' '.join(command)}: exit code {code}\n{done.stdout}\n{done.stderr}")
        return done

    def repro(self, *arguments: str) -> set[str]:
        """Run `dvc repro`; return the stages that ran, without those restored from DVC's run cache."""
        return stages_run(self.run("dvc", "repro", *arguments).stdout)

    def edit_params(self, change: Callable[[dict[str, Any]], object]) -> None:
        path = self.path / "params.yaml"
        params = yaml.safe_load(path.read_text())
        change(params)
        path.write_text(dump(params))

    def clone(self, path: Path) -> "Project":
        """Clone the project, without data, models and cache."""
        subprocess.run(["git", "clone", "--quiet", str(self.path), str(path)], check=True)
        return Project(path, self.home)

    def copy(self, path: Path) -> "Project":
        """Copy the project with data, models and cache."""
        shutil.copytree(self.path, path, symlinks=True)
        return Project(path, self.home)


def _prepare_process(
    patched: pytest.MonkeyPatch, command: list[str], environment: dict[str, str]
) -> tuple[io.TextIOWrapper, io.TextIOWrapper]:
    """Set arguments and environment as for a new process; return its standard output and standard error."""
    for name in os.environ.keys() - environment.keys():
        patched.delenv(name)
    for name, value in environment.items():
        patched.setenv(name, value)
    output, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    patched.setattr(sys, "argv", command)
    patched.setattr(sys, "stdout", output)
    patched.setattr(sys, "stderr", errors)
    patched.setattr(signal, "signal", lambda *_: None)  # the handlers of the test process stay
    return output, errors


@contextmanager
def _time_limit(script: str) -> Iterator[None]:
    """Let the test fail if the block takes longer than PATIENCE."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"{script}: still running after {PATIENCE} s"))
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)


def _text(stream: io.TextIOWrapper) -> str:
    """Everything that was written to the stream."""
    stream.flush()
    stream.seek(0)
    return stream.read()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write repeated values in full: anchors are not allowed in params.yaml."""
        return True


def dump(params: dict[str, Any]) -> str:
    """Format parameters as the text of a params.yaml."""
    return yaml.dump(params, Dumper=_Dumper, sort_keys=False)


def stages_run(output: str) -> set[str]:
    return set(re.findall(r"Running stage '(\S+)'", output))


def create(path: Path, home: Path) -> Project:
    """Copy the working tree without results, with the parameters of the tests, and commit it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if name.split("/")[0] not in ("tests", *RESULTS) and (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, path / name)
    project = Project(path, home)
    shutil.copy(PARAMS, path / "params.yaml")
    stages = path / "dvc.yaml"
    stages.write_text(without_other_representations(stages.read_text()))
    project.run("git", "init", "--quiet", "--initial-branch=main")
    project.run("git", "add", ".")
    project.run("git", "commit", "--quiet", "--message=miniature")
    return project


def without_other_representations(stages: str) -> str:
    """Remove the representations that the parameters of the tests lack from dvc.yaml: no stage would write them."""
    own = yaml.safe_load(PARAMS.read_text())["spectrograms"]
    for folder in yaml.safe_load(stages)["stages"]["spectrograms"]["outs"]:
        if folder != "data/index.csv" and Path(folder).name not in own:
            stages = re.sub(rf"^ *- {folder}\n|{folder}, ", "", stages, flags=re.MULTILINE)
    return stages

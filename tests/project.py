"""A miniature of the project: its working tree in a folder of its own, with a data set that takes seconds."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
SYNTHESIS = {"seed": 1, "seconds": 6, "training": 2, "validation": 1, "test": 2}
RESULTS = ("metrics", "plots", "dvc.lock")  # of the working tree; the miniature makes its own


@dataclass(frozen=True)
class Project:
    path: Path
    home: Path  # FMA_HOME

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_"))}
        author = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        single = {"FMA_WORKERS": "1", "OMP_NUM_THREADS": "1"}  # to start others takes longer than their work
        return kept | author | single | {"PATH": path, "FMA_HOME": str(self.home)}

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def repro(self, *arguments: str) -> set[str]:
        """The stages that `dvc repro` ran; those restored from DVC's run cache are not among them."""
        return stages_run(self.run("dvc", "repro", *arguments).stdout)

    def edit_params(self, change: Callable[[dict[str, Any]], object]) -> None:
        path = self.path / "params.yaml"
        params = yaml.safe_load(path.read_text())
        change(params)
        path.write_text(dump(params))

    def clone(self, path: Path) -> "Project":
        """A fresh clone: no data, no models, no cache."""
        subprocess.run(["git", "clone", "--quiet", str(self.path), str(path)], check=True)
        return Project(path, self.home)

    def copy(self, path: Path) -> "Project":
        """With data, models and cache."""
        shutil.copytree(self.path, path, symlinks=True)
        return Project(path, self.home)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write values out wherever they occur: anchors are refused in params.yaml."""
        return True


def dump(params: dict[str, Any]) -> str:
    """The parameters as a params.yaml."""
    return yaml.dump(params, Dumper=_Dumper, sort_keys=False)


def stages_run(output: str) -> set[str]:
    return set(re.findall(r"Running stage '(\S+)'", output))


def create(path: Path, home: Path) -> Project:
    """The working tree as it is now, committed, with miniature parameters and without results."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if name.split("/")[0] not in ("tests", *RESULTS) and (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, path / name)
    project = Project(path, home)
    project.edit_params(shrink)
    project.run("git", "init", "--quiet", "--initial-branch=main")
    project.run("git", "add", ".")
    project.run("git", "commit", "--quiet", "--message=miniature")
    return project


def shrink(params: dict[str, Any]) -> None:
    params["datasets"]["demo"]["synthesis"] = SYNTHESIS
    params["datasets"]["other"] = params["datasets"]["demo"] | {"synthesis": SYNTHESIS | {"seed": 2}}
    params["train"] |= {"runs": 1, "epochs": 2, "crops": 1, "batch_size": 8, "lr": 0.004, "mixup": 0, "pitch": 0}
    params["compare"]["resamples"] = 100

    cnn, birnn = params["models"]["cnn"], params["models"]["birnn"]
    cnn |= {"channels": [32, 32, 32, 32, 32], "dense": 32, "dropout": 0.1}
    cnn |= {"epochs": 4, "crops": 10}  # it learns something, the other does not
    del cnn["svm_head"]
    birnn |= {"embedding": 8, "hidden": 8, "epochs": 2}

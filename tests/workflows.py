"""Run the commands of GitHub workflows as a runner does."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from project import ROOT

FOLDER = ROOT / ".github" / "workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yml"))


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / f"{name}.yml").read_text())


def run(workflow: str, step: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the commands of a step in `folder`. `environment` has values for all variables that step and job declare."""
    job = next(iter(load(workflow)["jobs"].values()))
    found = next(item for item in job["steps"] if item.get("name") == step)
    declared = {**job.get("env", {}), **found.get("env", {})}
    assert set(declared) <= set(environment), "the test must set all declared variables"
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]]
    return subprocess.run(shell, cwd=folder, env=dict(environment), capture_output=True, text=True, check=False)

"""Run the commands of GitHub workflows as a runner does."""

import html
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt

from project import ROOT

FOLDER = ROOT / ".github" / "workflows"
SCRIPTS = ROOT / ".github" / "scripts"
ODD_NAME = """fix/it's$(touch${IFS}ran);"a"&b"""  # of a branch; git allows everything but spaces
NAMES = sorted(path.stem for path in FOLDER.glob("*.yml"))


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / f"{name}.yml").read_text())


def steps(name: str) -> list[dict[str, Any]]:
    """The steps of a workflow's only job."""
    (job,) = load(name)["jobs"].values()
    return job["steps"]


def run(workflow: str, step: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the commands of a step in `folder`. `environment` has values for all variables that step and job declare."""
    job = next(iter(load(workflow)["jobs"].values()))
    found = next(item for item in job["steps"] if item.get("name") == step)
    declared = {**job.get("env", {}), **found.get("env", {})}
    assert set(declared) <= set(environment), "the test must set all declared variables"
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]]
    return subprocess.run(shell, cwd=folder, env=dict(environment), capture_output=True, text=True, check=False)


def notified(text: str) -> set[str]:
    """Names that GitHub may notify: it searches the rendered HTML outside of code.

    This function searches it with and without the borders between tags and texts.
    """
    rendered = MarkdownIt("commonmark", {"html": True}).render(text)
    shown = [html.unescape(re.sub(r"<code>.*?</code>|<[^>]*>", tag, rendered, flags=re.DOTALL)) for tag in ("", " ")]
    return set(re.findall(r"(?<!\w)@(\w+)", "\n".join(shown)))


@dataclass(frozen=True)
class Fakes:
    """Fake programs in a folder, which log their calls."""

    folder: Path

    def add(self, name: str, code: str = "") -> None:
        """Add a program that logs its arguments and its input, then runs Python code. The code sees both."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "#!/usr/bin/python3\nimport json, os, pathlib, shutil, subprocess, sys\n"
            "arguments = sys.argv[1:]\ngiven = sys.stdin.read() if '-' in arguments else ''\n"
            f"with open({str(self.log)!r}, 'a') as log:\n"
            f"    log.write(json.dumps([{name!r}, *arguments, *filter(None, [given])]) + '\\n')\n{code}"
        )
        path.chmod(0o755)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def calls(self) -> list[list[str]]:
        """The calls so far: a program's name, its arguments, and its input."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    @property
    def path(self) -> str:
        """The variable PATH that finds the fakes first."""
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"

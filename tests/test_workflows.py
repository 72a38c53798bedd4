"""GitHub workflows: valid, pinned, with minimal permissions, and without foreign code next to a token."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from closure import SOURCE, Stage, closure, imports
from project import ROOT
from workflows import FOLDER, NAMES, load


def program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def test_workflows_match_githubs_schema() -> None:
    files = sorted(map(str, FOLDER.glob("*.yml")))
    done = subprocess.run(
        [program("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *files],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_security_linter_finds_nothing() -> None:
    done = subprocess.run(
        [program("zizmor"), "--offline", "--no-progress", str(FOLDER)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_rights_are_given_to_jobs_and_actions_are_pinned(name: str) -> None:
    workflow = load(name)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"]
        for step in job["steps"]:
            assert re.search(r"@[0-9a-f]{40}$", step.get("uses", f"@{'0' * 40}"))
            assert "${{" not in step.get("run", ""), "an expression in a script can be an injection"


def test_only_the_manual_workflow_may_push() -> None:
    rights = {name: next(iter(load(name)["jobs"].values()))["permissions"] for name in NAMES}
    assert rights["test"] == rights["report"] == {"contents": "read"}
    assert rights["comment"] == {"actions": "read", "pull-requests": "write"}
    assert "\non:\n  workflow_dispatch:\n" in (FOLDER / "experiment.yml").read_text()


def test_the_commenting_workflow_runs_no_code_of_the_branch() -> None:
    steps = load("comment")["jobs"]["comment"]["steps"]
    assert [step.get("uses") for step in steps] == [None]
    assert not re.search(r"python|make|checkout|\./", steps[0]["run"])


def test_all_called_scripts_exist() -> None:
    scripts = "\n".join(
        step.get("run", "") for name in NAMES for job in load(name)["jobs"].values() for step in job["steps"]
    )
    for script in re.findall(r"src/\w+\.py", scripts + (ROOT / "Makefile").read_text()):
        assert (ROOT / script).is_file()


def test_the_tests_run_on_each_python_from_the_oldest_that_is_supported() -> None:
    job = load("test")["jobs"]["test"]
    versions = job["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert job["strategy"]["fail-fast"] is False
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["requires-python"] == f">={versions[0]}"
    (python,) = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert python == {"python-version": "${{ matrix.python }}"}
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make test"]


def test_the_report_installs_only_what_it_imports() -> None:
    """Every package makes the workflow slower."""
    steps = load("report")["jobs"]["report"]["steps"]
    (install,) = [step["run"] for step in steps if step.get("run", "").startswith("pip install ")]
    installed = set(install.removeprefix("pip install --quiet --constraint requirements.lock ").split())
    files = closure(Stage("diff", SOURCE / "diff.py", {}, []))
    assert len(files) > 5
    imported = {name.partition(".")[0] for file in files for name in imports(file)}
    packages = {"yaml": "pyyaml"}
    others = imported - sys.stdlib_module_names - {"fma_genre"}
    assert installed == {"dvc"} | {packages.get(name, name) for name in others}

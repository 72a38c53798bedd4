"""GitHub workflows: valid, pinned, with minimal permissions, and without foreign code next to a token."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from closure import SOURCE, Stage, closure, imports
from project import ROOT
from workflows import FOLDER, NAMES, SCRIPTS, load, steps


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
    """Not even its strictest persona, apart from findings that a comment beside them accepts and explains."""
    done = subprocess.run(
        [program("zizmor"), "--offline", "--no-progress", "--persona=auditor", str(FOLDER)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    accepted = re.findall(r"# zizmor: ignore\[.+?\](.*)", "".join(map(Path.read_text, FOLDER.glob("*.yml"))))
    assert all(len(reason.split()) > 3 for reason in accepted)


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
    assert rights["comment"] == {"actions": "read", "contents": "read", "pull-requests": "write"}
    assert "\non:\n  workflow_dispatch:\n" in (FOLDER / "experiment.yml").read_text()


def test_the_commenting_workflow_runs_no_code_of_the_branch() -> None:
    """Without a `ref`, it checks out the default branch, since `workflow_run` has started it."""
    assert "\non:\n  workflow_run:" in (FOLDER / "comment.yml").read_text()
    checkout, post = steps("comment")
    assert checkout["uses"].startswith("actions/checkout@")
    assert checkout["with"] == {"persist-credentials": False, "sparse-checkout": ".github/scripts"}
    assert post["run"] == "python3 .github/scripts/comment.py"


def test_only_the_steps_that_write_to_github_get_a_token() -> None:
    tokens = {(name, step.get("name")) for name in NAMES for step in steps(name) if "GH_TOKEN" in step.get("env", {})}
    experiment = {("experiment", "Store the results"), ("experiment", "Open a pull request")}
    assert tokens == {("comment", "Post the report"), *experiment}
    assert [name for name in NAMES if "GH_TOKEN" in next(iter(load(name)["jobs"].values())).get("env", {})] == []
    checkouts = [step for name in NAMES for step in steps(name) if "checkout@" in step.get("uses", "")]
    assert len(checkouts) == len(NAMES)
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_all_called_scripts_exist_and_no_other() -> None:
    commands = [step["run"] for name in NAMES for step in steps(name) if "run" in step]
    sources = [*commands, *(path.read_text() for path in SCRIPTS.glob("*.*")), (ROOT / "Makefile").read_text()]
    called = set(re.findall(r"(?:src|\.github/scripts)/\w+\.(?:py|sh)", "\n".join(sources)))
    imported = set().union(*(imports(path) for path in SCRIPTS.glob("*.py")))
    own = [path for path in SCRIPTS.glob("*.*") if path.stem not in imported]
    assert {str(path.relative_to(ROOT)) for path in own} <= called
    assert [path for path in called if not (ROOT / path).is_file()] == []


def test_the_tests_run_on_each_python_from_the_oldest_that_is_supported() -> None:
    job = load("test")["jobs"]["test"]
    versions = job["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert job["strategy"]["fail-fast"] is False
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["requires-python"] == f">={versions[0]}"
    (python,) = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert python["python-version"] == "${{ matrix.python }}"
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make test"]


def test_the_tests_cache_packages_and_install_the_cpu_build_of_torch() -> None:
    """pip takes the highest version that satisfies the pin."""
    job = load("test")["jobs"]["test"]
    (python,) = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert python["cache"] == "pip"
    assert (ROOT / python["cache-dependency-path"]).is_file()
    assert job["env"] == {"PIP_EXTRA_INDEX_URL": "https://download.pytorch.org/whl/cpu"}
    (pin,) = re.findall(r"^torch(==.+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    version = pin.removeprefix("==")
    assert list(SpecifierSet(pin).filter([version, f"{version}+cpu"])) == [version, f"{version}+cpu"]
    assert max(version, f"{version}+cpu", key=Version) == f"{version}+cpu"


def test_the_report_installs_only_what_it_imports() -> None:
    """Every package makes the workflow slower."""
    (install,) = [step["run"] for step in steps("report") if step.get("run", "").startswith("pip install ")]
    installed = set(install.removeprefix("pip install --quiet --constraint requirements.lock ").split())
    files = closure(Stage("diff", SOURCE / "diff.py", {}, []))
    assert len(files) > 5
    imported = {name.partition(".")[0] for file in files for name in imports(file)}
    packages = {"yaml": "pyyaml"}
    others = imported - sys.stdlib_module_names - {"fma_genre"}
    assert installed == {"dvc"} | {packages.get(name, name) for name in others}

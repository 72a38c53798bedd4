"""Effect of a branch on the results, compared with another revision, as its pull request shows it.

    python src/diff.py BASE [--url URL]

It compares the metrics, stages and figures in this folder with those committed in BASE, and prints Markdown. The
addresses of figures begin with URL, where this revision's files can be seen, e.g. https://github.com/me/x/blob/1a2b3c.
Exits with 1 if `dvc repro` would run a stage: the results are then older than the code.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fma_genre.common import params, schema
from fma_genre.common.errors import InputError
from fma_genre.results.pull_request import Results, failure, report, stage_names

LOCK, PIPELINE, PARAMETERS = "dvc.lock", "dvc.yaml", "params.yaml"
COMMITTED = ("metrics/", "plots/")  # outputs that git holds
FIGURE = re.compile(r"plots/[\w./-]+\.svg")  # other names could hold Markdown
RUNNING = re.compile(r"^Running stage '(\S+)'", re.MULTILINE)
FAILED = re.compile(r"^ERROR: failed to reproduce (.*)", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description="Effect of a branch on the results, as Markdown.")
    parser.add_argument("base", help="the revision to compare with, e.g. main")
    parser.add_argument("--url", default="", help="where this revision's files can be seen")
    arguments = parser.parse_args()
    try:
        text, stale = compare(arguments.base, arguments.url)
    except InputError as error:
        print(failure(arguments.base, str(error)), end="")
        sys.exit(f"diff: {error}")
    print(text, end="")
    if stale:
        sys.exit("diff: dvc.lock is out of date: run `dvc repro` and commit what it writes")


def compare(base: str, url: str) -> tuple[str, list[str]]:
    """The report on this folder compared with a revision, and the stages that are out of date."""
    commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}").strip()
    before, here = parse(committed(commit)), parse(present())
    stale = list(dict.fromkeys([*stale_stages(), *incomplete_stages(here)]))
    synthetic = params.load().data_set.synthetic
    figures = changed_figures(commit, url)
    return report(before, here, name=base, stale=stale, figures=figures, synthetic=synthetic), stale


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["no such revision; is it fetched?"]
        raise InputError(f"git {' '.join(arguments)}: {reason[0]}")
    return done.stdout


# Stages that are out of date. -------------------------------------------------------------------------------------


def stale_stages() -> list[str]:
    """Stages that would run. Only the output tells: `--dry` exits with 0 either way.

    Where data are missing, as in a fresh clone, DVC fails at a stage that would need them to run.
    """
    command = [sys.executable, "-m", "dvc", "repro", "--dry", "--allow-missing", "--keep-going"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    failed = FAILED.search(done.stderr)
    if done.returncode and not failed:
        raise InputError(f"dvc repro --dry: {' '.join(done.stderr.split())}")
    return RUNNING.findall(done.stdout) + (re.findall(r"'(\S+)'", failed[1]) if failed else [])


def incomplete_stages(here: Results) -> list[str]:
    """Stages with a committed result that is missing; `--allow-missing` lets it be."""
    outs = [(stage, out["path"]) for stage, record in here.stages.items() for out in record.get("outs", [])]
    return [stage for stage, path in outs if path.startswith(COMMITTED) and not Path(path).exists()]


# Results of a revision. -------------------------------------------------------------------------------------------


def committed(commit: str) -> dict[str, str]:
    """Texts of the pipeline's files and metrics in a commit, by their paths; any may be absent."""
    paths = git("ls-tree", "-z", "--name-only", commit, LOCK, PIPELINE, PARAMETERS, "metrics/").split("\0")
    return {path: git("show", f"{commit}:{path}") for path in paths if path}


def present() -> dict[str, str]:
    """The same of this folder."""
    paths = [Path(LOCK), Path(PIPELINE), Path(PARAMETERS), *sorted(Path("metrics").glob("*.json"))]
    return {str(path): path.read_text(encoding="utf-8") for path in paths if path.exists()}


def parse(texts: Mapping[str, str]) -> Results:
    """The results in files by their paths; raises InputError if one does not hold what it should.

    A removed model leaves records in dvc.lock and a file in metrics/. Neither counts: only stages of dvc.yaml do, and
    what they wrote.
    """
    lock, pipeline, parameters = (_read(path, texts.get(path, "{}")) for path in (LOCK, PIPELINE, PARAMETERS))
    names = stage_names(pipeline, parameters)
    stages = {name: record for name, record in _group(LOCK, lock.get("stages", {})).items() if name in names}
    outs = {out["path"] for record in stages.values() for out in record.get("outs", [])}
    found = [path for path in texts if path.endswith(".json") and (path in outs or not stages)]
    return Results({Path(path).stem: _read(path, texts[path]) for path in found}, stages)


def _read(path: str, text: str) -> dict[str, Any]:
    try:
        return _group(path, json.loads(text) if path.endswith(".json") else yaml.safe_load(text))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: expected YAML, found {' '.join(str(error).split())}") from error


def _group(path: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise schema.wrong(path, "a group of named values", found)
    return found


# Figures. ---------------------------------------------------------------------------------------------------------


def changed_figures(commit: str, url: str) -> dict[str, str]:
    """Addresses of the figures that differ from the commit, by their names; those of the comparison first."""
    changed = git("diff", "-z", "--name-only", commit, "--", "plots").split("\0")
    added = git("ls-files", "-z", "--others", "--exclude-standard", "--", "plots").split("\0")
    paths = [path for path in changed + added if FIGURE.fullmatch(path) and Path(path).exists()]
    paths.sort(key=lambda path: not path.startswith("plots/comparison/"))
    return {Path(path).stem.replace("_", " "): f"{url}/{path}?raw=true" if url else path for path in paths}


if __name__ == "__main__":
    main()

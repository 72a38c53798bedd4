"""What a branch does to the results, beside those of another revision: what its pull request shows.

    python src/diff.py BASE [--url URL]

It compares the metrics, dvc.lock and pictures in this folder with those committed in BASE, and prints Markdown. The
addresses of pictures begin with URL, where this revision's files can be seen, e.g. https://github.com/me/x/blob/1a2b3c.
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

from fma_genre import InputError, params
from fma_genre.differences import Results, failure, report

COMMITTED = ("metrics/", "plots/")
RUNNING = re.compile(r"^Running stage '(\S+)'", re.MULTILINE)
FAILED = re.compile(r"^ERROR: failed to reproduce (.*)", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a branch does to the results, as Markdown.")
    parser.add_argument("base", help="the revision to compare with, e.g. main")
    parser.add_argument("--url", default="", help="where this revision's files can be seen")
    arguments = parser.parse_args()
    try:
        commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{arguments.base}^{{commit}}").strip()
        there, here = results(committed(commit)), results(present())
        stale = list(dict.fromkeys([*stale_stages(), *incomplete(here)]))
        text = report(
            there,
            here,
            name=arguments.base,
            stale=stale,
            pictures=pictures(commit, arguments.url),
            synthetic=params.is_synthetic(params.load()),
        )
    except InputError as error:
        print(failure(arguments.base, str(error)), end="")
        sys.exit(f"diff: {error}")
    print(text, end="")
    if stale:
        sys.exit("diff: dvc.lock is not fresh, run `dvc repro` and commit what it writes")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["no such revision; is it fetched?"]
        raise InputError(f"git {' '.join(arguments)}: {reason[0]}")
    return done.stdout


def stale_stages() -> list[str]:
    """Stages that would run, which only the output tells: `--dry` exits with 0 all the same.

    Where data are missing, as in a fresh clone, DVC fails at a stage that would need them to run.
    """
    command = [sys.executable, "-m", "dvc", "repro", "--dry", "--allow-missing", "--keep-going"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    failed = FAILED.search(done.stderr)
    if done.returncode and not failed:
        raise InputError(f"dvc repro --dry: {' '.join(done.stderr.split())}")
    return RUNNING.findall(done.stdout) + (re.findall(r"'(\S+)'", failed[1]) if failed else [])


def incomplete(here: Results) -> list[str]:
    """Stages of which a committed result is missing, which `--allow-missing` allows."""
    outs = [(stage, out["path"]) for stage, record in here.stages.items() for out in record.get("outs", [])]
    return [stage for stage, path in outs if path.startswith(COMMITTED) and not Path(path).exists()]


def committed(commit: str) -> dict[str, str]:
    """dvc.lock and the metrics of a commit, by their paths; it may have neither."""
    paths = git("ls-tree", "-z", "--name-only", commit, "dvc.lock", "metrics/").split("\0")
    return {path: git("show", f"{commit}:{path}") for path in paths if path}


def present() -> dict[str, str]:
    paths = [path for path in [Path("dvc.lock"), *sorted(Path("metrics").glob("*.json"))] if path.exists()]
    return {str(path): path.read_text(encoding="utf-8") for path in paths}


def results(files: Mapping[str, str]) -> Results:
    """Raises InputError if a file does not hold what it should."""
    metrics, stages = {}, {}
    for path, text in files.items():
        try:
            if path == "dvc.lock":
                stages = group(yaml.safe_load(text)).get("stages", {})
            elif path.endswith(".json"):
                metrics[Path(path).stem] = group(json.loads(text))
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
        except yaml.YAMLError as error:
            raise InputError(f"{path}: expected YAML, found {' '.join(str(error).split())}") from error
    return Results(metrics, stages)


def group(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"expected a group of named values, found {params.shown(found)}")
    return found


def pictures(commit: str, url: str) -> dict[str, str]:
    """Those that are not as they were in the commit, by what they show; the comparison's first."""
    changed = git("diff", "-z", "--name-only", commit, "--", "plots").split("\0")
    added = git("ls-files", "-z", "--others", "--exclude-standard", "--", "plots").split("\0")
    shown = [path for path in changed + added if path.endswith(".svg") and Path(path).exists()]
    shown.sort(key=lambda path: not path.startswith("plots/comparison/"))
    titles = {path: " of ".join(Path(path).with_suffix("").parts[:0:-1]) for path in shown}
    return {title: f"{url}/{path}?raw=true" if url else path for path, title in titles.items()}


if __name__ == "__main__":
    main()

"""The state of this checkout, read with git and DVC.

This module and its imports need no packages besides PyYAML and DVC.
"""

import os
import re
import subprocess
import sys
from typing import Any

from fma_genre.common import documents, schema
from fma_genre.common.errors import InputError

RUNNING_STAGE = re.compile(r"^Running stage '(\S+)'", re.MULTILINE)
FAILED_STAGES = re.compile(r"^ERROR: failed to reproduce (.*)", re.MULTILINE)
DVC_TIMEOUT = 600  # seconds; long enough for DVC to hash all changed files


def git(*arguments: str) -> str:
    """Return the output of a git command; raise InputError if the command fails."""
    return os.fsdecode(git_bytes(*arguments))


def git_bytes(*arguments: str) -> bytes:
    """Like `git`, but return the output as bytes, since it may not be text."""
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    if done.returncode:
        reason = os.fsdecode(done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
        raise InputError(f"git {arguments[0]}: {reason[0].removeprefix('fatal: ')}")
    return done.stdout


def git_paths(*arguments: str) -> list[str]:
    """Return the paths that a git command lists; `arguments` must include -z."""
    return git(*arguments).split("\0")[:-1]


def find_commit(revision: str, where: str) -> str:
    """The hash of the commit that a revision names, e.g. main.

    Raises:
        InputError: this clone does not have such a commit. The message begins with `where`.
    """
    git("rev-parse", "--git-dir")  # explains what is wrong if this folder is in no repository
    try:
        return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
    except InputError:
        error = schema.mismatch(where, "a commit in this clone", revision)
        raise InputError(f"{error}; to fetch a branch, run `git fetch origin NAME:NAME`") from None


def count_missing(commit: str) -> int:
    """Number of commits that lead to `commit`, but not to HEAD.

    It is 0 if this clone has no commit that leads to both: HEAD may have no commit yet, or a history of its own, or the
    clone may be too shallow to tell.
    """
    try:
        git("merge-base", "HEAD", commit)
    except InputError:
        return 0
    return int(git("rev-list", "--count", f"HEAD..{commit}"))


def stale_stages() -> list[str]:
    """Stages that `dvc repro` would run.

    Their names are read from the output of `dvc repro --dry`, because its exit code does not tell whether a stage is
    out of date. If data are missing, as in a fresh clone, DVC reports a failure of the stages that need them. These
    stages are included, because `dvc repro` would run them, too.
    """
    done = _run_dvc("repro", "--dry", "--allow-missing", "--keep-going")
    failed = FAILED_STAGES.search(done.stderr)
    if done.returncode and not failed:
        raise InputError(f"dvc repro --dry: {_reason(done)}")
    failed_stages = re.findall(r"'(\S+)'", failed[1]) if failed else []
    return [*RUNNING_STAGE.findall(done.stdout), *failed_stages]


def modified_outputs() -> list[str]:
    """Outputs in DVC's cache that differ from dvc.lock, as after `git switch` without `dvc checkout`.

    Missing outputs are left out, since a clone without data is in order.
    """
    done = _run_dvc("status", "--json")
    if done.returncode:
        raise InputError(f"dvc status: {_reason(done)}")
    status = schema.as_group(documents.from_json(done.stdout.encode(), "dvc status"), "dvc status")
    changed = [entry["changed outs"] for stage in status.values() for entry in stage if "changed outs" in entry]
    modified = [path for outs in changed for path, state in outs.items() if state == "modified"]
    in_git = {*git_paths("ls-files", "-z", "--", *modified)} if modified else set()
    return [path for path in modified if path not in in_git]


def experiments() -> list[Any]:
    """Experiments since the last commit, as `dvc exp show --json` describes them."""
    done = _run_dvc("exp", "show", "--json")
    if done.returncode:
        raise InputError(f"dvc exp show: {_reason(done)}")
    found = documents.from_json(done.stdout.encode(), "dvc exp show")
    if not isinstance(found, list):
        raise schema.mismatch("dvc exp show", "a list of revisions", found)
    return found


def remove_experiments(*names: str) -> None:
    """Remove experiments since the last commit, so that others may take their names.

    `dvc exp run --force` would replace an experiment, too, but it also runs all stages that are up to date.
    """
    if names and (done := _run_dvc("exp", "remove", *names)).returncode:
        raise InputError(f"dvc exp remove: {_reason(done)}")


def rename_experiment(name: str, new: str) -> None:
    """Rename an experiment since the last commit."""
    if (done := _run_dvc("exp", "rename", name, new)).returncode:
        raise InputError(f"dvc exp rename: {_reason(done)}")


def _run_dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=DVC_TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        name = " ".join(["dvc", *arguments[:2]])
        raise InputError(f"{name}: expected an answer within {DVC_TIMEOUT} s, found none") from error


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """The reason why a command failed: its messages, or else its exit code and the last line of its output."""
    if messages := done.stderr.split():
        return " ".join(messages)
    lines = done.stdout.strip().splitlines() or ["no output"]
    return f"exit code {done.returncode}, {lines[-1]}"

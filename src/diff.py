"""Effect of a branch on the results, compared with another revision, as its pull request shows it.

    python src/diff.py BASE [--url URL]

It compares the metrics, stages and figures in this folder with those committed in BASE, and prints Markdown. The
addresses of figures begin with URL, where this revision's files can be seen, e.g. https://github.com/me/x/blob/1a2b3c.
Exits with 1 if `dvc repro` would run a stage: the results are then older than the code.
"""

import argparse
import os
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fma_genre.common import documents, schema
from fma_genre.common.errors import InputError
from fma_genre.results.pull_request import Results, failure, is_synthetic, report, stage_names, stage_records

LOCK, PIPELINE, PARAMETERS = "dvc.lock", "dvc.yaml", "params.yaml"
DOCUMENTS = (LOCK, PIPELINE, PARAMETERS)
COMMITTED = ("metrics/", "plots/")  # outputs that git holds
FIGURE = re.compile(r"plots/[\w./-]+\.svg")  # other names could hold Markdown
RUNNING = re.compile(r"^Running stage '(\S+)'", re.MULTILINE)
FAILED = re.compile(r"^ERROR: failed to reproduce (.*)", re.MULTILINE)
PATIENCE = 600  # s for DVC, which hashes what has changed
EMPTY = b"{}"


@dataclass(frozen=True)
class Revision:
    """The pipeline's files and metrics of a revision."""

    name: str  # that messages show behind a path: " in main", or nothing for this folder
    contents: Mapping[str, bytes]  # by their paths; any may be absent


def main() -> None:
    parser = argparse.ArgumentParser(description="Effect of a branch on the results, as Markdown.")
    parser.add_argument("base", help="the revision to compare with, e.g. main")
    parser.add_argument("--url", default="", help="where this revision's files can be seen")
    arguments = parser.parse_args()
    try:
        text, stale = compare(arguments.base, arguments.url)
    except (InputError, OSError) as error:
        write(failure(arguments.base, str(error)))
        sys.exit(f"diff: {error}")
    write(text)
    if stale:
        sys.exit("diff: dvc.lock is out of date: run `dvc repro` and commit what it writes")


def write(text: str) -> None:
    """Print the report; exit with one line if there is no room for it, or nobody reads on."""
    if not sys.stdout:
        sys.exit("diff: expected a standard output, found none")
    try:
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding, errors="replace"))
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still wants to write
        sys.exit(f"diff: the report could not be written: {error.strerror}")


def compare(base: str, url: str) -> tuple[str, list[str]]:
    """The report on this folder compared with a revision, and the stages that are out of date."""
    commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}").strip()
    revision = present()
    before, here = parse(committed(commit, base)), parse(revision)
    check_files(here)
    stale = list(dict.fromkeys([*stale_stages(), *incomplete_stages(here)]))
    synthetic = is_synthetic(here, read(revision, PARAMETERS))
    figures = changed_figures(commit, url)
    return report(before, here, name=base, stale=stale, figures=figures, synthetic=synthetic), stale


def git(*arguments: str) -> str:
    return os.fsdecode(git_bytes(*arguments))


def git_bytes(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    if done.returncode:
        reason = os.fsdecode(done.stderr).strip().splitlines() or ["no such revision; is it fetched?"]
        raise InputError(f"git {' '.join(arguments)}: {reason[0]}")
    return done.stdout


# Stages that are out of date. -------------------------------------------------------------------------------------


def stale_stages() -> list[str]:
    """Stages that would run. Only the output tells: `--dry` exits with 0 either way.

    Where data are missing, as in a fresh clone, DVC fails at a stage that would need them to run.
    """
    command = [sys.executable, "-m", "dvc", "repro", "--dry", "--allow-missing", "--keep-going"]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"dvc repro --dry: expected an answer within {PATIENCE} s, found none") from error
    failed = FAILED.search(done.stderr)
    if done.returncode and not failed:
        raise InputError(f"dvc repro --dry: {' '.join(done.stderr.split())}")
    return RUNNING.findall(done.stdout) + (re.findall(r"'(\S+)'", failed[1]) if failed else [])


def incomplete_stages(here: Results) -> list[str]:
    """Stages with a committed result that is missing; `--allow-missing` lets it be."""
    outs = [(stage, out["path"]) for stage, record in here.stages.items() for out in record["outs"]]
    return [stage for stage, path in outs if path.startswith(COMMITTED) and not Path(path).exists()]


def check_files(here: Results) -> None:
    """Raise InputError for a file that DVC would read without end: a pipe, a device, aliases of aliases."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")[:-1]
    records = [entry for record in here.stages.values() for entry in (*record["deps"], *record["outs"])]
    for path in dict.fromkeys([*listed, *(record["path"] for record in records)]):
        for file in files_of(Path(path)):
            documents.check_kind(file, file.stat().st_mode)
            if file.name in (LOCK, PIPELINE) or file.suffix == ".dvc":  # it reads those of all folders
                documents.read_yaml(file)


def files_of(path: Path) -> Iterable[Path]:
    """The file, or the files of a folder of this checkout, without links that lead nowhere."""
    inside = real(path).is_relative_to(real(Path()))
    found = path.rglob("*") if inside and path.is_dir() else [path]
    return (file for file in found if file.exists() and not file.is_dir())


# Results of a revision. -------------------------------------------------------------------------------------------


def committed(commit: str, name: str) -> Revision:
    """The pipeline's files and metrics in a commit."""
    where, contents = f" in {name}", {}
    for entry in git("ls-tree", "-z", "--long", commit, *DOCUMENTS, "metrics/").split("\0")[:-1]:
        facts, _, path = entry.partition("\t")
        mode, _, identity, size = facts.split()
        if is_read(path):
            documents.check_kind(f"{path}{where}", int(mode, 8))
            documents.check_size(f"{path}{where}", int(size))
            contents[path] = git_bytes("cat-file", "blob", identity)
    return Revision(where, contents)


def present() -> Revision:
    """The same of this folder."""
    paths = [*map(Path, DOCUMENTS), *sorted(Path("metrics").glob("*.json"))]
    for path in paths:
        check_no_link(path)
    return Revision("", {str(path): documents.read_bytes(path) for path in paths if path.exists()})


def is_read(path: str) -> bool:
    return path in DOCUMENTS or path.endswith(".json")


def check_no_link(path: Path) -> None:
    """Raise InputError for a link: what it leads to, perhaps outside of the checkout, is not what git holds."""
    if path.is_symlink() or real(path) != real(Path()) / path:
        raise InputError(f"{path}: expected a file, found a symbolic link")


def real(path: Path) -> Path:
    """The path without links, as far as they lead anywhere."""
    return Path(os.path.realpath(path))


def parse(revision: Revision) -> Results:
    """The results of a revision; raises InputError if a file does not hold what it should.

    A removed model leaves records in dvc.lock and a file in metrics/. Neither counts: only stages of dvc.yaml do, and
    what they wrote.
    """
    lock, pipeline, parameters = (read(revision, path) for path in DOCUMENTS)
    names = stage_names(pipeline, parameters, f"{PIPELINE}{revision.name}")
    records = stage_records(lock, f"{LOCK}{revision.name}")
    stages = {name: record for name, record in records.items() if name in names}
    outs = {out["path"] for record in stages.values() for out in record["outs"]}
    metrics = {path: read(revision, path) for path in revision.contents if path not in DOCUMENTS}
    return Results({Path(path).stem: values for path, values in metrics.items() if path in outs or not stages}, stages)


def read(revision: Revision, path: str) -> Mapping[str, Any]:
    """The group of named values that a file holds, none if it is absent."""
    where, content = f"{path}{revision.name}", revision.contents.get(path, EMPTY)
    value = documents.from_json(content, where) if path.endswith(".json") else documents.from_yaml(content, where)
    return schema.as_group(value, where)


# Figures. ---------------------------------------------------------------------------------------------------------


def changed_figures(commit: str, url: str) -> dict[str, str]:
    """Addresses of the figures that differ from the commit, by their names; those of the comparison first."""
    changed = git("diff", "-z", "--name-only", "--relative", commit, "--", "plots").split("\0")
    added = git("ls-files", "-z", "--others", "--exclude-standard", "--", "plots").split("\0")
    paths = [path for path in changed + added if FIGURE.fullmatch(path) and Path(path).exists()]
    paths.sort(key=lambda path: not path.startswith("plots/comparison/"))
    folder = urllib.parse.quote(git("rev-parse", "--show-prefix").removesuffix("\n"))  # of a larger repository
    addresses = {path: f"{url}/{folder}{path}?raw=true" if url else path for path in paths}
    return {Path(path).stem.replace("_", " "): address for path, address in addresses.items()}


if __name__ == "__main__":
    main()

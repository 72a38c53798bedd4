"""Print what this branch changes in the results, formatted as the comment on its pull request.

    python src/diff.py BASE [--url URL]

Compares the metrics, stages and figures in this folder with those committed in the revision BASE, and prints Markdown.
URL is the address of this revision's files in a browser, e.g. https://github.com/me/x/blob/1a2b3c; links to figures
begin with this address. The exit code is 1 if the comparison fails, or if the results are out of date, i.e. if
`dvc repro` would run a stage.
"""

import argparse
import os
import re
import sys
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fma_genre.checkout import count_missing, find_commit, git, git_bytes, git_paths, modified_outputs, stale_stages
from fma_genre.common import documents, schema
from fma_genre.common.errors import InputError
from fma_genre.results import changes, pull_request
from fma_genre.results.lock import stage_names, stage_records
from fma_genre.results.pull_request import Results, failure, is_synthetic

LOCK, PIPELINE, PARAMETERS = "dvc.lock", "dvc.yaml", "params.yaml"
PACKAGES, REPORT = "requirements.lock", "report.md"
DOCUMENTS = (LOCK, PIPELINE, PARAMETERS, PACKAGES)
TABLES = tuple(changes.SPLITS.values())
MAX_TABLE_BYTES = 1 << 26
COMMITTED = ("metrics/", "plots/")  # folders of outputs that are committed to git
FIGURE = re.compile(r"plots/[\w./-]+\.svg")  # other figures are left out, since their names could contain Markdown
EMPTY_MAPPING = b"{}"


@dataclass(frozen=True)
class Revision:
    """The files of a revision that this comparison reads."""

    suffix: str  # text after each path in messages: " in <revision>", or empty for this folder
    contents: Mapping[str, bytes]  # content of each file, by path; missing files are left out


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what this branch changes in the results, as Markdown.")
    parser.add_argument("base", help="the revision to compare with, e.g. main")
    parser.add_argument("--url", default="", help="the address of this revision's files in a browser")
    arguments = parser.parse_args()
    try:
        text, problem = compare(arguments.base, arguments.url)
    except (InputError, OSError) as error:
        print_report(failure(arguments.base, str(error)))
        sys.exit(f"diff: {error}")
    print_report(text)
    if problem:
        sys.exit(f"diff: {problem}")


def print_report(text: str) -> None:
    """Print the report; exit with a one-line message if standard output is closed or its disk is full."""
    if not sys.stdout:
        sys.exit("diff: expected a standard output, found none")
    try:
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding, errors="replace"))
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would flush again on exit, and fail
        sys.exit(f"diff: the report could not be written: {error.strerror}")


def compare(base: str, url: str) -> tuple[str, str]:
    """Compare this folder with a revision; return the report, and a line on what is out of date."""
    commit = find_commit(base, "BASE")
    workspace = read_workspace()
    if PIPELINE not in workspace.contents:
        raise InputError(f"{PIPELINE}: expected it in this folder, found none: run this in the root of the project")
    before, after = parse_results(read_commit(commit, base)), parse_results(workspace)
    check_files(after)
    paragraph, problem = check_current(after)
    text = pull_request.report(
        before,
        after,
        base=base,
        problems=[paragraph] if paragraph else [],
        n_behind=count_missing(commit),
        figures=changed_figures(commit, url),
        synthetic=is_synthetic(after, read_mapping(workspace, PARAMETERS)),
        text=documents.decode(workspace.contents.get(REPORT, b""), REPORT),
    )
    return text, problem


# Checks of this folder. -------------------------------------------------------------------------------------------


def check_current(results: Results) -> tuple[str, str]:
    """A paragraph of the report and a line for the terminal on results that are out of date; else two empty texts."""
    if not results.stages:
        return pull_request.missing_lock(), "dvc.lock is missing or empty; run `git restore dvc.lock` or `dvc repro`"
    outs = {entry["path"] for record in results.stages.values() for entry in record["outs"]}
    if paths := [path for path in modified_outputs() if path in outs]:
        return pull_request.not_checked_out(paths), "this folder has outputs of another revision; run `dvc checkout`"
    if stale := list(dict.fromkeys([*stale_stages(), *incomplete_stages(results)])):
        return pull_request.stale(stale), "the results are out of date; run `dvc repro` and commit the changed files"
    return "", ""


def incomplete_stages(results: Results) -> list[str]:
    """Stages with a missing output that should be in git; `dvc repro --allow-missing` ignores missing outputs."""
    outs = [(stage, out["path"]) for stage, record in results.stages.items() for out in record["outs"]]
    return [stage for stage, path in outs if path.startswith(COMMITTED) and not Path(path).exists()]


def check_files(results: Results) -> None:
    """Raise InputError for a file that DVC would read forever: a pipe, a device, or YAML with nested aliases."""
    listed = git_paths("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    entries = [entry for record in results.stages.values() for entry in (*record["deps"], *record["outs"])]
    for path in dict.fromkeys([*listed, *(entry["path"] for entry in entries)]):
        for file in files_in(Path(path)):
            documents.check_kind(file, file.stat().st_mode)
            if file.name in (LOCK, PIPELINE) or file.suffix == ".dvc":  # DVC reads these in every folder
                documents.read_yaml(file)


def files_in(path: Path) -> Iterable[Path]:
    """The files below `path` if it is a folder in this checkout, or `path` itself if it is a file.

    Broken links are left out.
    """
    inside = resolve_links(path).is_relative_to(resolve_links(Path()))
    found = path.rglob("*") if inside and path.is_dir() else [path]
    return (file for file in found if file.exists() and not file.is_dir())


# Results of a revision. -------------------------------------------------------------------------------------------


def read_commit(commit: str, name: str) -> Revision:
    """Read the files of a commit; `name` is the revision's name in messages."""
    suffix, contents = f" in {name}", {}
    for entry in git_paths("ls-tree", "-z", "--long", commit, *DOCUMENTS, *TABLES, "metrics/"):
        attributes, _, path = entry.partition("\t")
        mode, _, blob, size = attributes.split()
        if path in (*DOCUMENTS, *TABLES) or path.endswith(".json"):
            documents.check_kind(f"{path}{suffix}", int(mode, 8))
            documents.check_size(f"{path}{suffix}", int(size), max_bytes(path))
            contents[path] = git_bytes("cat-file", "blob", blob)
    return Revision(suffix, contents)


def read_workspace() -> Revision:
    """Read the files in this folder."""
    paths = [*map(Path, (*DOCUMENTS, *TABLES, REPORT)), *sorted(Path("metrics").glob("*.json"))]
    for path in paths:
        check_no_link(path)
    return Revision(
        "", {str(path): documents.read_bytes(path, max_bytes(str(path))) for path in paths if path.exists()}
    )


def max_bytes(path: str) -> int:
    return MAX_TABLE_BYTES if path in TABLES else documents.MAX_BYTES


def check_no_link(path: Path) -> None:
    """Raise InputError for a symbolic link: its target may be outside the checkout, and git stores only the link."""
    if path.is_symlink() or resolve_links(path) != resolve_links(Path()) / path:
        raise InputError(f"{path}: expected a file, found a symbolic link in its path")


def resolve_links(path: Path) -> Path:
    """The absolute path without symbolic links; unlike Path.resolve, this accepts a loop of links."""
    return Path(os.path.realpath(path))


def parse_results(revision: Revision) -> Results:
    """Parse the results of a revision; raise InputError for a file without the expected content.

    A removed model leaves an entry in dvc.lock and a file in metrics/. Both are ignored: only the stages of dvc.yaml
    and their outputs count.
    """
    lock, pipeline, parameters = (read_mapping(revision, path) for path in (LOCK, PIPELINE, PARAMETERS))
    names = stage_names(pipeline, parameters, f"{PIPELINE}{revision.suffix}")
    records = stage_records(lock, f"{LOCK}{revision.suffix}")
    stages = {name: record for name, record in records.items() if name in names}
    outs = {out["path"] for record in stages.values() for out in record["outs"]}
    metrics = {path: read_mapping(revision, path) for path in revision.contents if path.startswith("metrics/")}
    current = {Path(path).stem: values for path, values in metrics.items() if path in outs or not stages}
    return Results(current, stages, dict(read_predictions(revision)), dict(read_packages(revision)))


def read_predictions(revision: Revision) -> Iterator[tuple[str, changes.Predictions]]:
    """Yield the predictions for each split that has tracks."""
    for split, path in changes.SPLITS.items():
        if path in revision.contents:
            found = changes.read(revision.contents[path], f"{path}{revision.suffix}")
            if len(found.tracks):
                yield split, found


def read_packages(revision: Revision) -> Iterator[tuple[str, str]]:
    """Yield each pinned package with its version."""
    for line in documents.decode(revision.contents.get(PACKAGES, b""), f"{PACKAGES}{revision.suffix}").splitlines():
        name, separator, version = line.partition("==")
        if separator:
            yield name.strip(), version.strip()


def read_mapping(revision: Revision, path: str) -> Mapping[str, Any]:
    """The mapping in a JSON or YAML file of a revision; empty if the file is missing."""
    where, content = f"{path}{revision.suffix}", revision.contents.get(path, EMPTY_MAPPING)
    value = documents.from_json(content, where) if path.endswith(".json") else documents.from_yaml(content, where)
    return schema.as_group(value, where)


# Figures. ---------------------------------------------------------------------------------------------------------


def changed_figures(commit: str, url: str) -> dict[str, str]:
    """Addresses of the figures that have changed since the commit, by name; figures of the comparison come first."""
    changed = git_paths("diff", "-z", "--name-only", "--relative", commit, "--", "plots")
    added = git_paths("ls-files", "-z", "--others", "--exclude-standard", "--", "plots")
    paths = [path for path in changed + added if FIGURE.fullmatch(path) and Path(path).exists()]
    paths.sort(key=lambda path: not path.startswith("plots/comparison/"))
    prefix = git("rev-parse", "--show-prefix").removesuffix("\n")  # the folder of this project in a larger repository
    folder = urllib.parse.quote(prefix)
    addresses = {path: f"{url}/{folder}{urllib.parse.quote(path)}?raw=true" if url else path for path in paths}
    return {Path(path).stem: address for path, address in addresses.items()}


if __name__ == "__main__":
    main()

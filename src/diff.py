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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fma_genre.checkout import git, git_bytes, git_paths, stale_stages
from fma_genre.common import documents, schema
from fma_genre.common.errors import InputError
from fma_genre.results.pull_request import Results, failure, is_synthetic, report, stage_names, stage_records

LOCK, PIPELINE, PARAMETERS = "dvc.lock", "dvc.yaml", "params.yaml"
DOCUMENTS = (LOCK, PIPELINE, PARAMETERS)
COMMITTED = ("metrics/", "plots/")  # folders of outputs that are committed to git
FIGURE = re.compile(r"plots/[\w./-]+\.svg")  # other figures are left out, since their names could contain Markdown
EMPTY_MAPPING = b"{}"


@dataclass(frozen=True)
class Revision:
    """dvc.lock, dvc.yaml, params.yaml and the metrics of a revision."""

    suffix: str  # text after each path in messages: " in <revision>", or empty for this folder
    contents: Mapping[str, bytes]  # content of each file, by path; missing files are left out


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what this branch changes in the results, as Markdown.")
    parser.add_argument("base", help="the revision to compare with, e.g. main")
    parser.add_argument("--url", default="", help="the address of this revision's files in a browser")
    arguments = parser.parse_args()
    try:
        text, stale = compare(arguments.base, arguments.url)
    except (InputError, OSError) as error:
        print_report(failure(arguments.base, str(error)))
        sys.exit(f"diff: {error}")
    print_report(text)
    if stale:
        sys.exit("diff: the results are out of date; run `dvc repro` and commit the changed files")


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


def compare(base: str, url: str) -> tuple[str, list[str]]:
    """Compare this folder with a revision; return the report and the stages that are out of date."""
    commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}").strip()
    workspace = read_workspace()
    before, after = parse_results(read_commit(commit, base)), parse_results(workspace)
    check_files(after)
    stale = list(dict.fromkeys([*stale_stages(), *incomplete_stages(after)]))
    synthetic = is_synthetic(after, read_mapping(workspace, PARAMETERS))
    figures = changed_figures(commit, url)
    return report(before, after, base=base, stale=stale, figures=figures, synthetic=synthetic), stale


# Checks of this folder. -------------------------------------------------------------------------------------------


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
    """Read the pipeline's files and the metrics in a commit; `name` is the revision's name in messages."""
    suffix, contents = f" in {name}", {}
    for entry in git_paths("ls-tree", "-z", "--long", commit, *DOCUMENTS, "metrics/"):
        attributes, _, path = entry.partition("\t")
        mode, _, blob, size = attributes.split()
        if path in DOCUMENTS or path.endswith(".json"):
            documents.check_kind(f"{path}{suffix}", int(mode, 8))
            documents.check_size(f"{path}{suffix}", int(size))
            contents[path] = git_bytes("cat-file", "blob", blob)
    return Revision(suffix, contents)


def read_workspace() -> Revision:
    """Read the pipeline's files and the metrics in this folder."""
    paths = [*map(Path, DOCUMENTS), *sorted(Path("metrics").glob("*.json"))]
    for path in paths:
        check_no_link(path)
    return Revision("", {str(path): documents.read_bytes(path) for path in paths if path.exists()})


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
    lock, pipeline, parameters = (read_mapping(revision, path) for path in DOCUMENTS)
    names = stage_names(pipeline, parameters, f"{PIPELINE}{revision.suffix}")
    records = stage_records(lock, f"{LOCK}{revision.suffix}")
    stages = {name: record for name, record in records.items() if name in names}
    outs = {out["path"] for record in stages.values() for out in record["outs"]}
    metrics = {path: read_mapping(revision, path) for path in revision.contents if path not in DOCUMENTS}
    current = {Path(path).stem: values for path, values in metrics.items() if path in outs or not stages}
    return Results(current, stages)


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
    addresses = {path: f"{url}/{folder}{path}?raw=true" if url else path for path in paths}
    return {Path(path).stem.replace("_", " "): address for path, address in addresses.items()}


if __name__ == "__main__":
    main()

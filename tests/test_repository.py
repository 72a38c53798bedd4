"""CITATION.cff, CHANGELOG.md, CONTRIBUTING.md, the targets of the Makefile, and the licences."""

import os
import re
import subprocess
import sys
import tomllib

import yaml

from project import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()


def section(page: str, heading: str) -> str:
    text = (ROOT / page).read_text()
    assert f"\n## {heading}\n" in text
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_the_citation_follows_the_schema_of_its_format() -> None:
    schema = ["--builtin-schema", "vendor.citation-file-format", str(ROOT / "CITATION.cff")]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_citation_agrees_with_the_package_and_the_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["title"].startswith(f"{PROJECT['name']}: ")
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["license"] == PROJECT["license"] == "MIT"
    (author,) = citation["authors"]
    assert f"Copyright (c) 2026 {author['name']}\n" in (ROOT / "LICENSE").read_text()


def test_the_citation_names_each_paper_that_readme_cites() -> None:
    references = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    cited = set(re.findall(r"https://arxiv\.org/abs/[\d.]+\d", (ROOT / "README.md").read_text()))
    assert cited <= {reference.get("url") for reference in references}


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    headings = re.findall(r"^##+ .+$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "## [Unreleased]"
    release = r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d"
    kind = r"### (Added|Changed|Deprecated|Removed|Fixed|Security)"
    assert [heading for heading in headings[1:] if not re.fullmatch(f"{release}|{kind}", heading)] == []


def test_how_to_contribute_is_one_screen() -> None:
    lines = (ROOT / "CONTRIBUTING.md").read_text().splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120


def test_make_alone_lists_the_targets_and_runs_none() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    first, *lines = done.stdout.splitlines()
    assert re.fullmatch(r"make {2,}\S.+", first)
    assert ["help", *(line.split()[1] for line in lines)] == phony.split()
    assert all(re.fullmatch(r"make [\w-]+ {2,}\S.+", line) for line in lines)


def test_readme_states_the_licences_of_code_clips_and_metadata() -> None:
    licence = section("README.md", "Licence")
    assert "[MIT](LICENSE)" in licence
    assert "`track/license`" in licence
    assert "CC BY 4.0" in licence
    assert '("track", "license"): "CC0 1.0"' in (ROOT / "src/fma_genre/fetch/demo.py").read_text()


def test_the_repository_contains_no_audio() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "README.md" in listed.stdout.splitlines()
    assert not re.search(r"\.(mp3|wav|flac|ogg|opus|m4a|aac|zip|tar|gz)$", listed.stdout, re.MULTILINE | re.IGNORECASE)

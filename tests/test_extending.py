"""docs/extending.md: every recipe works as it is pasted."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from project import ROOT, Project, dump

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"^```(python|yaml|diff)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MOST_FILES = 3


def blocks(recipe: str) -> list[tuple[str, str, str]]:
    """The blocks of a recipe: kind, path of the file, and text."""
    return BLOCK.findall(RECIPES[recipe])


def apply(recipe: str, folder: Path) -> None:
    """Do what the page says, unless it is done already: write new files, merge into params.yaml, edit other files."""
    for kind, name, text in blocks(recipe):
        path = folder / name
        if kind == "python":
            path.write_text(text)
        elif kind == "yaml":
            values = yaml.safe_load(path.read_text())
            merge(values, yaml.safe_load(text))
            path.write_text(dump(values))
        else:
            edit(path, text)


def merge(values: dict[str, Any], added: dict[str, Any]) -> None:
    for key, value in added.items():
        if isinstance(values.get(key), dict):
            merge(values[key], value)
        else:
            values[key] = value


def edit(path: Path, diff: str) -> None:
    """Apply the hunks of a diff without line numbers; each place is found by its text."""
    content = path.read_text()
    for hunk in diff.split("@@\n"):
        before, after = ("".join(line[1:] for line in hunk.splitlines(True) if line[0] != sign) for sign in "+-")
        if after not in content:
            assert content.count(before) == 1, (path, before)
            content = content.replace(before, after)
    path.write_text(content)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_touches_at_most_three_files_in_places_that_exist(recipe: str, tmp_path: Path) -> None:
    files = {name for _, name, _ in blocks(recipe)}
    assert len(files) <= MOST_FILES
    for kind, name, text in blocks(recipe):
        if kind == "diff":
            (tmp_path / "file").write_bytes((ROOT / name).read_bytes())
            edit(tmp_path / "file", text)


@pytest.mark.slow
def test_the_recipes_work_and_run_what_the_page_says(finished: Project, tmp_path: Path) -> None:
    project, new = finished.copy(tmp_path / "project"), ("mean_pool", "birnn_mel", "birnn_standardised", "birnn_chroma")
    for recipe in ("A model", "A variant", "A representation", "A front end", "A metric", "A figure", "A baseline"):
        apply(recipe, project.path)
    stages = {f"{stage}@{key}" for stage in ("train", "evaluate") for key in new} | {"baseline@knn", "compare"}
    others = {"spectrograms", "evaluate@cnn", "evaluate@birnn", "baseline@svm", "promote"}  # no other model is trained
    assert stages <= project.repro() <= stages | others
    check_results(project, new)

    for recipe in ("A loss", "Mixed precision"):
        apply(recipe, project.path)
    project.edit_params(lambda params: params["models"]["mean_pool"].update(mixup=1.0))
    assert project.repro("train@mean_pool") == {"train@mean_pool"}

    apply("Another split", project.path)
    assert "split" in project.repro("split")
    tracks = pd.read_csv(project.path / "data/tracks.csv")
    assert set(tracks["split"]) == {"training", "validation", "test"}
    assert (tracks.groupby("artist_id")["split"].agg(set).map(len) == 1).all()


def check_results(project: Project, models: Sequence[str]) -> None:
    """Every new system has metrics, a row of the report and figures, and predicts a file if it is a model."""
    report, figures = (project.path / "report.md").read_text(), project.path / "plots/comparison"
    for key in (*models, "knn"):
        metrics = json.loads((project.path / f"metrics/{key}.json").read_text())
        assert 0 <= metrics["worst_recall"] <= 1
        assert ("log_loss" in metrics) == (key in models)
        assert f"\n| {key} " in report
    assert {path.stem for path in figures.glob("*.svg")} >= {"confidence", *(f"votes_{key}" for key in models)}

    soundfile.write(project.path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 4 * 22050), 22050)
    for key in ("mean_pool", "birnn_standardised", "birnn_chroma"):
        printed = project.run("python", "src/predict.py", "--json", "--model", f"models/{key}", "noise.wav").stdout
        assert len(json.loads(printed)["genres"]) == 3

"""The benchmark of robustness predicts copies of the clips with all systems of a finished project."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from project import ROOT, Project

sys.path.append(str(ROOT / "benchmarks"))
import robustness
from copies import CHANGES, Change
from fma_genre.results.predictions import read

SYSTEMS = ["majority", "svm", "cnn", "cnn_svm_head", "birnn", "fusion"]


def add_what_is_left_out(values: dict[str, Any]) -> None:
    """Add a stacking, and a model on raw audio."""
    values["compare"]["stacking"] = ["cnn", "svm"]
    values["waveforms"] = {"raw": {"sample_rate": 22050, "hop": 27}}
    values["models"]["on_raw"] = values["models"]["cnn"] | {"representation": "raw"}


@pytest.fixture
def project(finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = finished.copy(tmp_path / "project")
    project.edit_params(add_what_is_left_out)
    for file in ("data/predictions/{}.npz", "plots/training/{}.csv"):
        shutil.copy(project.path / file.format("cnn"), project.path / file.format("on_raw"))
    monkeypatch.chdir(project.path)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(CHANGES, "same", Change())  # lossless copies without any change
    return project


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["robustness.py", *arguments])
    robustness.main()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_equal_copies_have_equal_results(
    split: str, project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results on the clips themselves are those of the pipeline."""
    run(monkeypatch, "--split", split, "--copies", "same", "8 kHz", "--out", "out.json")
    output = capsys.readouterr().out
    table = [[cell.strip() for cell in line[2:-2].split("|")] for line in output.splitlines() if line.startswith("| ")]
    rows = {name: cells for name, *cells in table}
    assert rows.pop("system") == ["clean", "same", "8 kHz"]
    assert sorted(rows) == sorted(SYSTEMS)
    assert {cells[1] for cells in rows.values()} == {"+0.0 [+0.0, +0.0]"}

    found = json.loads((project.path / "out.json").read_text())
    assert found["accuracy"]["same"] == found["accuracy"]["clean"]
    metrics = json.loads((project.path / "metrics/cnn.json").read_text())
    expected = metrics["accuracy" if split == "test" else "validation_accuracy"]
    assert found["accuracy"]["clean"]["cnn"] == pytest.approx(expected, abs=1e-4)
    scored = getattr(read(project.path / "data/predictions/cnn.npz"), split)
    assert found["tracks"] == len(scored.tracks)


def test_silent_copies_all_have_the_same_genre(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sound, a system predicts one genre for all tracks, and is right as often as this genre occurs."""
    monkeypatch.setitem(CHANGES, "silent", Change((("volume", "0"),)))
    run(monkeypatch, "--split", "test", "--copies", "silent", "--out", "out.json")
    accuracy = json.loads((project.path / "out.json").read_text())["accuracy"]
    index = pd.read_csv(project.path / "data/index.csv")
    tested = index["genre"][(index["split"] == "test") & (index["frames"] > 0)]
    shares = [round(share, 4) for share in tested.value_counts(normalize=True)]
    assert accuracy["silent"]["svm"] in [*shares, 0]
    assert accuracy["silent"]["svm"] != accuracy["clean"]["svm"]
    means = [round((first + second) / 2, 4) for first in [*shares, 0] for second in [*shares, 0]]
    for key in ("cnn", "birnn"):
        assert min(abs(accuracy["silent"][key] - mean) for mean in means) < 2e-4


def test_a_rerun_extracts_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "--copies", "8 kHz", "--out", "out.json")
    work = project.path / "data/work/robustness"
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.suffix in (".zip", ".npy")}
    assert before
    first = (project.path / "out.json").read_bytes()
    run(monkeypatch, "--copies", "8 kHz", "--out", "out.json")
    after = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.suffix in (".zip", ".npy")}
    assert after == before
    assert (project.path / "out.json").read_bytes() == first

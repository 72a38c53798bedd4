"""How stages keep unfinished work: for the same inputs, code and packages, and for no other."""

import stage

import contextlib
from pathlib import Path

import pytest

from project import Project

SHOW = """
import sys
sys.path.insert(0, "src")
import stage, fma_genre.audio
with stage.work("any", 1) as folder: print(folder)
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def leave(inputs: object) -> Path:
    """Unfinished work."""
    with contextlib.suppress(RuntimeError), stage.work("any", inputs) as folder:
        (folder / "half").touch()
        raise RuntimeError
    return folder


def test_work_is_found_again_and_other_work_is_removed() -> None:
    begun = leave({"hop": 512, "tracks": [2, 5]})
    with stage.work("any", {"tracks": [2, 5], "hop": 512}) as folder:
        assert folder == begun
        assert (folder / "half").exists()
    with stage.work("any", {"hop": 512, "tracks": [5, 2]}) as folder:
        assert not list(folder.iterdir())
    assert not begun.exists()


def test_other_packages_are_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = leave(1)
    assert any(name.startswith("numpy-") for name in stage._packages())
    monkeypatch.setattr(stage, "_packages", lambda: ["numpy-99.dist-info"])
    assert leave(1) != begun


def test_other_code_is_other_work_but_not_that_of_modules_which_are_not_used(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    folders = []
    for module in ("none", "training", "audio", "stage"):
        path = project.path / "src" / ("stage.py" if module == "stage" else f"fma_genre/{module}.py")
        if module != "none":
            path.write_text(path.read_text() + "# a comment\n")
        folders.append(project.run("python", "-c", SHOW).stdout)
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3


def test_finished_work_is_forgotten_and_unfinished_work_is_not() -> None:
    begun = leave(1)
    stage.forget("any")
    assert begun.exists()
    with stage.work("any", 1):
        pass
    stage.forget("other")
    assert begun.exists()
    stage.forget("any")
    assert not begun.exists()

from pathlib import Path

import pytest
from filelock import FileLock

from project import Project, create


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that two processes end together."""
    slow = [
        "test_graph.py", "test_bad_input.py", "test_pull_request.py", "test_experiments.py", "test_attack_faults.py",
        "test_real.py", "test_train_stage.py", "test_predict.py",
    ]  # fmt: skip
    items.sort(key=lambda item: slow.index(item.path.name) if item.path.name in slow else len(slow))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all test processes share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def home(shared: Path) -> Path:
    """FMA_HOME of all miniature projects."""
    return shared / "home"


@pytest.fixture(scope="session")
def finished(shared: Path, home: Path) -> Project:
    """A miniature project after `dvc repro`, results committed. Copy or clone it; never change it."""
    path = shared / "finished"
    with FileLock(shared / "finished.lock"):
        if not path.exists():
            unfinished = create(shared / "unfinished", home)
            unfinished.repro()
            unfinished.run("git", "add", ".")
            unfinished.run("git", "commit", "--quiet", "--message=results")
            unfinished.path.rename(path)
    return Project(path, home)

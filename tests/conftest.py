import os
import signal
from pathlib import Path

import pytest
from filelock import FileLock

from project import Project, create

# With more threads than this, the test processes slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell lets its background commands ignore Ctrl-C, and their child processes inherit this. Some tests send Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that all test processes end at about the same time.

    The first file creates the finished project. The next files do not need it, so the other processes do not wait.
    """
    long = [
        "test_graph.py", "test_bad_input.py", "test_params.py", "test_pull_request.py", "test_experiments.py",
        "test_attack_faults.py", "test_attack_archives.py", "test_attack_data.py", "test_remote.py",
        "test_train_stage.py", "test_real.py", "test_extraction.py", "test_predict.py", "test_stage.py",
    ]  # fmt: skip
    items.sort(key=lambda item: long.index(item.path.name) if item.path.name in long else len(long))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder shared by all test processes."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def home(shared: Path) -> Path:
    """FMA_HOME of the miniature projects."""
    return shared / "home"


@pytest.fixture(scope="session")
def finished(shared: Path, home: Path) -> Project:
    """A miniature project after `dvc repro`, with its results committed. Copy or clone it; never change it."""
    path = shared / "finished"
    with FileLock(shared / "finished.lock"):
        if not path.exists():
            unfinished = create(shared / "unfinished", home)
            unfinished.repro()
            unfinished.run("git", "add", ".")
            unfinished.run("git", "commit", "--quiet", "--message=results")
            unfinished.path.rename(path)
    return Project(path, home)

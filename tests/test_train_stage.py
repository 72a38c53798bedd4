"""Stage train in a miniature project: killed and run again, and looked at while it runs."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from project import Project

EPOCHS = 16


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    copy = finished.copy(tmp_path / "project")
    copy.edit_params(lambda params: params["train"].update(runs=2))
    copy.edit_params(lambda params: params["models"]["birnn"].update(epochs=EPOCHS))
    return copy


def start(project: Project) -> subprocess.Popen[bytes]:
    command = [sys.executable, "src/train.py", "birnn"]
    return subprocess.Popen(
        command, cwd=project.path, env=project.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def weights(project: Project) -> dict[str, str]:
    paths = sorted((project.path / "models/birnn").iterdir())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_a_killed_training_goes_on_and_ends_with_the_same_bits(project: Project) -> None:
    curve = project.path / "plots/training/birnn.csv"
    assert start(project).wait() == 0
    expected, expected_curve = weights(project), curve.read_text()
    assert set(expected) == {"settings.json", "normalisation.safetensors", "seed0.safetensors", "seed1.safetensors"}
    project.run("python", "src/evaluate.py", "birnn")  # has read the model: unfinished work is not needed any more
    assert not (project.path / "data/work/train@birnn").exists()

    curve.unlink()
    seen = []
    for epochs in (3, 7):
        process = start(project)
        while process.poll() is None and not (curve.exists() and len(pd.read_csv(curve)) >= epochs):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seen.append(len(pd.read_csv(curve)))
    assert seen[0] < EPOCHS, "it was not stopped in time to show anything"
    assert seen == sorted(seen)
    for _ in range(2):  # the second time as if DVC had been killed before it took note: it deletes what it has not
        curve.unlink()
        assert start(project).wait() == 0
        assert weights(project) == expected
        assert curve.read_text() == expected_curve


def test_unfinished_work_of_other_parameters_is_not_taken_up(project: Project) -> None:
    project.edit_params(lambda params: params["models"]["birnn"].update(epochs=2))
    assert start(project).wait() == 0
    (before,) = (project.path / "data/work/train@birnn").iterdir()
    project.edit_params(lambda params: params["train"].update(lr=0.001))
    assert start(project).wait() == 0
    (after,) = (project.path / "data/work/train@birnn").iterdir()
    assert before.name != after.name


OUT_OF_MEMORY = """
import runpy, sys
sys.path.insert(0, "src")
import torch
from fma_genre import training
def train_epoch(*arguments): raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
training.train_epoch = train_epoch
sys.argv = ["src/train.py", "birnn"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_gpu_with_too_little_memory_is_one_line(project: Project) -> None:
    project.edit_params(lambda params: params["train"].update(runs=1))
    ended = project.run("python", "-c", OUT_OF_MEMORY, check=False)
    assert ended.returncode == 1
    expected = "train@birnn: seed 0: out of memory on cpu: lower train.batch_size, or raise train.batches"
    assert ended.stderr.splitlines()[-1] == expected
    assert "Traceback" not in ended.stderr

"""DVC remotes: after `dvc pull` of pushed results, a fresh clone is up to date."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from project import Project, stages_run

KEYS = {"access_key_id": "testing", "secret_access_key": "testing"}


@contextmanager
def s3() -> Iterator[str]:
    """The address of a local S3 server with one bucket."""
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {f"aws_{key}": value for key, value in KEYS.items()}
    boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys).create_bucket(Bucket="results")
    yield address
    server.stop()


def configure(project: Project, url: str, **options: str) -> None:
    project.run("dvc", "remote", "add", "--local", "--default", "storage", url)
    for option, value in options.items():
        project.run("dvc", "remote", "modify", "--local", "storage", option, value)


def pulled(finished: Project, folder: Path, url: str, **options: str) -> Project:
    """A fresh clone after `dvc pull` of everything that the project pushed. Its FMA_HOME does not exist."""
    project = finished.copy(folder / "project")
    configure(project, url, **options)
    project.run("dvc", "push")
    clone = Project(finished.clone(folder / "clone").path, folder / "home")
    configure(clone, url, **options)
    clone.run("dvc", "pull")
    return clone


def assert_pulled_results_need_no_run(clone: Project, finished: Project) -> None:
    assert clone.repro() == set()
    for name in ("models/promoted/settings.json", "models/cnn/seed0.safetensors", "data/mel/levels.npy"):
        assert (clone.path / name).read_bytes() == (finished.path / name).read_bytes()
    assert not clone.run("git", "status", "--porcelain").stdout
    assert not clone.home.exists()


def test_a_folder(finished: Project, tmp_path: Path) -> None:
    """The clone can also promote the other model without archives."""
    clone = pulled(finished, tmp_path, str(tmp_path / "storage"))
    assert_pulled_results_need_no_run(clone, finished)
    assert stages_run(clone.run("dvc", "exp", "run", "-S", "model=birnn").stdout) == {"promote"}
    assert (clone.path / "metrics/promoted.json").read_bytes() == (finished.path / "metrics/birnn.json").read_bytes()
    assert not clone.home.exists()


@pytest.mark.slow
def test_s3(finished: Project, tmp_path: Path) -> None:
    with s3() as address:
        clone = pulled(finished, tmp_path, "s3://results/fma", endpointurl=address, **KEYS)
        assert_pulled_results_need_no_run(clone, finished)


@pytest.mark.slow
def test_a_stage_in_a_pulled_clone_names_the_command_that_fetches_archives(finished: Project, tmp_path: Path) -> None:
    """Pulled data need no archives until a stage before training must run."""
    clone = pulled(finished, tmp_path, str(tmp_path / "storage"))
    spectrograms = ("dvc", "repro", "--force", "--single-item", "spectrograms")
    refused = clone.run(*spectrograms, check=False)
    assert refused.returncode != 0
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("spectrograms: ")]
    command = re.search("`(.+)`", line)
    assert command
    assert command[1] == "dvc repro --force --single-item download"
    assert "Traceback" not in refused.stderr
    assert not clone.home.exists()

    clone.run(*command[1].split())
    clone.run(*spectrograms)
    assert clone.repro() == set()
    assert (clone.path / "data/stft/levels.npy").read_bytes() == (finished.path / "data/stft/levels.npy").read_bytes()
    assert clone.run("git", "diff", "--stat").stdout == ""

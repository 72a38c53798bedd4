"""DVC remotes and the model registry: what is pushed on one machine is pulled or fetched on another."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile
from moto.server import ThreadedMotoServer

from project import Project, stages_run

KEYS = {"access_key_id": "testing", "secret_access_key": "testing"}


REMOTES = ("a folder", "S3")


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


@contextmanager
def remote(kind: str, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The url and the options of a remote."""
    if kind == "a folder":
        yield str(tmp_path / "storage"), {}
    else:
        with s3() as address:
            yield "s3://results/fma", {"endpointurl": address, **KEYS}


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
@pytest.mark.parametrize("kind", REMOTES)
def test_an_experiment_is_pulled_with_all_its_results(finished: Project, tmp_path: Path, kind: str) -> None:
    project = finished.copy(tmp_path / "project")
    project.run("git", "clone", "--quiet", "--bare", ".", "../origin")
    project.run("git", "remote", "add", "origin", "../origin")
    with remote(kind, tmp_path) as (url, options):
        configure(project, url, **options)
        project.run("dvc", "exp", "run", "--name", "wide", "-S", "models.birnn.hidden=6")
        project.run("dvc", "exp", "push", "origin", "wide")
        clone = Project(Project(tmp_path / "origin", finished.home).clone(tmp_path / "clone").path, tmp_path / "home")
        configure(clone, url, **options)
        clone.run("dvc", "exp", "pull", "origin", "wide")
    clone.run("dvc", "exp", "apply", "wide")
    assert clone.repro() == set()
    for name in ("metrics/birnn.json", "models/birnn/seed0.safetensors", "report.md"):
        assert (clone.path / name).read_bytes() == (project.path / name).read_bytes()
        assert (clone.path / name).read_bytes() != (finished.path / name).read_bytes()
    assert not clone.home.exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", REMOTES)
def test_the_run_cache_of_a_remote_restores_spectrograms(finished: Project, tmp_path: Path, kind: str) -> None:
    """It restores no stage that has metrics or plots, since DVC does not push files that git keeps."""
    project = finished.copy(tmp_path / "project")
    project.edit_params(narrow)
    assert {"spectrograms", "train@cnn"} <= project.repro()
    levels = (project.path / "data/mel/levels.npy").read_bytes()
    with remote(kind, tmp_path) as (url, options):
        configure(project, url, **options)
        project.run("dvc", "push", "--run-cache")
        project.run("git", "restore", ".")
        project.run("dvc", "checkout")
        project.run("dvc", "push")
        clone = Project(finished.clone(tmp_path / "clone").path, tmp_path / "home")
        configure(clone, url, **options)
        clone.run("dvc", "pull", "--run-cache")
        assert_pulled_results_need_no_run(clone, finished)
        clone.edit_params(narrow)
        ran = clone.repro("--pull")
    assert "spectrograms" not in ran
    assert "train@cnn" in ran
    assert (clone.path / "data/mel/levels.npy").read_bytes() == levels
    assert not clone.home.exists()


def narrow(params: dict[str, Any]) -> None:
    params["spectrograms"]["mel"]["bands"] = 64


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


# The model registry. ----------------------------------------------------------------------------------------------


def test_a_version_is_fetched_by_address_if_the_remote_was_configured_before(finished: Project, tmp_path: Path) -> None:
    """The first version is tagged too early. It needs the remote on the command line."""
    project, storage = finished.copy(tmp_path / "project"), str(tmp_path / "storage")
    register(project, "v1.0.0", "old")
    project.run("dvc", "remote", "add", "--default", "storage", storage)
    project.run("git", "commit", "--quiet", "--all", "--message=remote")
    project.run("dvc", "push")
    register(project, "v2.0.0", "prod")

    elsewhere = Project(tmp_path / "elsewhere", tmp_path / "home")
    elsewhere.path.mkdir()
    get = ("dvc", "artifacts", "get", project.path.as_uri(), "genre-model")
    refused = elsewhere.run(*get, "--stage", "old", check=False)
    assert refused.returncode != 0
    assert "failed to load directory ('models', 'promoted'): [Errno 2] No such file or directory" in refused.stderr
    elsewhere.run(*get, "--stage", "prod", "--out", "new")
    elsewhere.run(*get, "--rev", "v1.0.0", "--out", "old", "--remote", "storage", "--remote-config", f"url={storage}")
    for name in ("new", "old"):
        assert contents(elsewhere.path / name) == contents(finished.path / "models/promoted")
    assert "**This model was trained on a synthetic demo." in (elsewhere.path / "new/README.md").read_text()

    soundfile.write(tmp_path / "song.wav", [0.1, -0.1] * 22050, 22050)
    done = finished.run_here("src/predict.py", "--model", str(elsewhere.path / "new"), str(tmp_path / "song.wav"))
    assert done.stderr == "predict: the model cnn was trained on the synthetic demo and knows nothing about music\n"
    assert done.stdout.count("%") == 3


def register(project: Project, version: str, stage: str) -> None:
    project.run("gto", "register", "genre-model", "--version", version)
    project.run("gto", "assign", "genre-model", "--version", version, "--stage", stage)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}

"""A DVC remote: what one clone pushes, a fresh one pulls, and then has nothing to run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moto.server import ThreadedMotoServer

from project import Project

KEYS = {"access_key_id": "testing", "secret_access_key": "testing"}


@contextmanager
def s3() -> Iterator[str]:
    """The address of an S3 server on this machine, with one bucket."""
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


def assert_pulled_results_need_no_run(finished: Project, folder: Path, url: str, **options: str) -> None:
    project = finished.copy(folder / "project")
    configure(project, url, **options)
    project.run("dvc", "push")
    clone = finished.clone(folder / "clone")
    configure(clone, url, **options)
    clone.run("dvc", "pull")
    assert clone.repro() == set()
    for name in ("models/promoted/settings.json", "models/cnn/seed0.safetensors", "data/spectrograms/mel.npy"):
        assert (clone.path / name).read_bytes() == (finished.path / name).read_bytes()
    assert not clone.run("git", "status", "--porcelain").stdout


def test_a_folder(finished: Project, tmp_path: Path) -> None:
    assert_pulled_results_need_no_run(finished, tmp_path, str(tmp_path / "storage"))


def test_s3(finished: Project, tmp_path: Path) -> None:
    with s3() as address:
        assert_pulled_results_need_no_run(finished, tmp_path, "s3://results/fma", endpointurl=address, **KEYS)


def test_an_experiment_in_a_pulled_clone_runs_only_what_changed(finished: Project, tmp_path: Path) -> None:
    storage = str(tmp_path / "storage")
    project = finished.copy(tmp_path / "project")
    configure(project, storage)
    project.run("dvc", "push")
    clone = finished.clone(tmp_path / "clone")
    configure(clone, storage)
    clone.run("dvc", "pull")
    clone.edit_params(lambda params: params.update(model="birnn"))
    assert clone.repro() == {"download", "promote"}

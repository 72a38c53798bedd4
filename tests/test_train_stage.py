"""Stage train, on a small store of noise: killed and run again, stopped before any work, looked at while it runs."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import train
from fma_genre.common import params, stage
from fma_genre.learning import build, checkpoint, svm_head, training
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import devices, make_deterministic
from fma_genre.learning.inference import predict
from fma_genre.store import open_store
from project import ROOT, Project, dump
from stores import create_checkout, refusal, run_stage

EPOCHS = 16


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return create_checkout(tmp_path, epochs=EPOCHS)


@pytest.fixture
def inside(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project as this process's working folder, outside DVC."""
    monkeypatch.chdir(project.path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return project


def start(project: Project, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "src/train.py"), "birnn"]
    return subprocess.Popen(
        command, cwd=project.path, env=project.environment | {"FMA_WORKERS": "2"} | environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def files_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def scratch(project: Project, key: str = "birnn") -> Path:
    (folder,) = (project.path / f"data/work/train@{key}").iterdir()
    return folder


# Killed, and run again. -------------------------------------------------------------------------------------------


def test_a_killed_training_goes_on_and_ends_with_the_same_bits(project: Project) -> None:
    model, curve = project.path / "models/birnn", project.path / "plots/training/birnn.csv"
    assert start(project).wait() == 0
    expected, expected_curve = files_of(model), curve.read_text()
    assert set(expected) == {"settings.json", "front_end.safetensors", "seed0.safetensors", "seed1.safetensors"}
    assert not (project.path / "data/work/train@birnn").exists(), "trained by hand, it leaves no scratch"

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
    unfinished = scratch(project)

    curve.unlink()
    assert start(project, DVC_ROOT=str(project.path), FMA_WORKERS="1").wait() == 0
    assert scratch(project) == unfinished
    assert files_of(model) == expected
    assert curve.read_text() == expected_curve


def test_what_dvc_had_no_time_to_record_is_restored(inside: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DVC that is killed deletes the outputs. Nothing is trained again, until dvc.lock is newer than the work."""
    monkeypatch.setenv("DVC_ROOT", str(inside.path))
    lock = inside.path / "dvc.lock"
    lock.touch()
    os.utime(lock, ns=(0, 0))
    model, curve = inside.path / "models/cnn", inside.path / "plots/training/cnn.csv"
    train_here(inside, "cnn")
    expected, expected_curve = files_of(model), curve.read_text()
    assert {"svm_head0.safetensors", "svm_head1.safetensors"} < set(expected)
    complete = scratch(inside, "cnn") / stage.COMPLETE

    for path in (*model.iterdir(), curve):
        path.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(training, "train_epoch", lambda *_: pytest.fail("trained again"))
        train_here(inside, "cnn")
    assert files_of(model) == expected
    assert curve.read_text() == expected_curve

    after = complete.stat().st_mtime_ns + 10**9  # file systems may count time in steps
    os.utime(lock, ns=(after, after))
    assert epochs_trained(inside, "cnn", monkeypatch) == 4, "recorded: two epochs of two runs"
    assert files_of(model) == expected


def test_by_hand_each_run_trains_again_and_removes_its_scratch(
    inside: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert epochs_trained(inside, "cnn", monkeypatch) == 4, "two epochs of two runs"
        assert not (inside.path / "data/work/train@cnn").exists()


def train_here(project: Project, key: str) -> None:
    run_stage(project, "train", key, train.main)


def epochs_trained(project: Project, key: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many epochs `train_here` has to train."""
    calls: list[int] = []
    train_epoch = training.train_epoch

    def count(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return train_epoch(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(training, "train_epoch", count)
        train_here(project, key)
    return len(calls)


def test_unfinished_work_of_other_parameters_is_not_taken_up(inside: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(inside.path))
    train_here(inside, "cnn")
    before = scratch(inside, "cnn")
    inside.edit_params(lambda values: values["train"].update(lr=0.001))
    assert epochs_trained(inside, "cnn", monkeypatch) == 4, "two epochs of two runs"
    assert scratch(inside, "cnn").name != before.name


def test_a_forced_dvc_repro_trains_again(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    written = []
    for _ in range(2):
        assert project.repro("--force", "--single-item", "train@birnn") == {"train@birnn"}
        written.append((scratch(project) / "seed0.pt").stat().st_mtime_ns)
    assert written[0] < written[1]
    assert "up to date" in project.run("dvc", "status").stdout


# Results. ---------------------------------------------------------------------------------------------------------


def test_a_model_folder_says_what_was_trained_on_what(inside: Project) -> None:
    train_here(inside, "cnn")
    parameters = params.load()
    settings, _ = checkpoint.load(Path("models/cnn"))
    section = parameters.models["cnn"]
    assert (settings.key, settings.network, settings.front_end) == ("cnn", "cnn", "cepstral")
    assert {**settings.network_arguments, **settings.front_end_arguments} == section.arguments
    assert settings.train == section.train
    assert settings.store == open_store("mel").description


def test_what_runs_share_is_written_once(inside: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end at the same time, and two writers of one file would remove each other's."""
    saved: list[Path] = []
    save = checkpoint.save

    def count(folder: Path, *arguments: Any) -> None:
        saved.append(folder)
        save(folder, *arguments)

    monkeypatch.setattr(checkpoint, "save", count)
    run_stage(inside, "train", "birnn", train.main)
    assert len(list(Path("models/birnn").glob("seed*.safetensors"))) == 2
    assert len(saved) == 1


def test_svm_heads_are_fitted_on_the_features_of_their_networks(inside: Project) -> None:
    train_here(inside, "cnn")
    settings, front_end = checkpoint.load(Path("models/cnn"))
    make_deterministic(0)
    clips = Clips.load(open_store("mel"), settings.train.segment_frames, devices()[0])
    for seed in (0, 1):
        network, head = checkpoint.load_run(Path("models/cnn"), settings, seed)
        samples = [
            (predict(network, clips[split], front_end).track_features().numpy(), clips[split].labels.numpy())
            for split in ("training", "validation")
        ]
        expected = svm_head.fit(samples[0], samples[1], [0.01, 0.1])
        assert head is not None
        np.testing.assert_array_equal(head.weights, expected.weights)
        np.testing.assert_array_equal(head.bias, expected.bias)


def test_the_front_end_is_fitted_on_training_tracks_alone(inside: Project) -> None:
    train_here(inside, "birnn")
    settings, front_end = checkpoint.load(Path("models/birnn"))
    clips = Clips.load(open_store("stft"), settings.train.segment_frames, torch.device("cpu"))
    expected = build.fit_front_end("cepstral", {"coefficients": 20}, clips["training"])
    for name, tensor in build.tensors_of(expected).items():
        assert torch.equal(tensor, getattr(front_end, name))


def test_a_learning_curve_is_the_mean_of_the_runs_so_far() -> None:
    """The second run has one epoch less."""
    keys = ("epoch", "loss", "validation_loss", "validation_accuracy")
    runs = [[(1, 2.0, 1.5, 0.5), (2, 1.0, 0.5, 0.7)], [(1, 4.0, 2.5, 0.7)]]
    text = train.learning_curve([[dict(zip(keys, epoch, strict=True)) for epoch in run] for run in runs])
    header, *rows = text.splitlines()
    assert header == "epoch,loss,validation_loss,validation_accuracy,validation_accuracy_std"
    assert rows == ["1,3.0,2.0,0.6,0.141421", "2,1.0,0.5,0.7,0.0"]


# Stopped before any work. -----------------------------------------------------------------------------------------


def edit(key: str, name: str, value: object) -> Callable[[dict[str, Any]], None]:
    """A change of a model's section; None leaves the parameter out."""

    def change(values: dict[str, Any]) -> None:
        section = values["models"][key]
        if value is None:
            del section[name]
        else:
            section[name] = value

    return change


WRONG_ARGUMENTS = [
    ("cnn", "kernell", 4, r"models\.cnn: expected the keys .*, found 'kernell'; did you mean kernel\?"),
    ("cnn", "hidden", 8, r"models\.cnn: expected the keys channels, .*, found 'hidden'"),
    ("cnn", "kernel", None, r"models\.cnn\.kernel: expected a whole number from 1 to 1024, found none"),
    ("cnn", "kernel", 0, r"models\.cnn\.kernel: expected a whole number from 1 to 1024, found 0"),
    ("cnn", "kernel", 10**12, r"models\.cnn\.kernel: expected a whole number from 1 to 1024, found 1000000000000"),
    ("cnn", "dropout", "half", r"models\.cnn\.dropout: expected a number from 0 to 0\.95, found 'half'"),
    ("cnn", "pools", [8, 0], r"models\.cnn\.pools\[1\]: expected a whole number from 1 to 65536, found 0"),
    ("cnn", "channels", 4, r"models\.cnn\.channels: expected a list of 1 to 100 values, found 4"),
    ("cnn", "epcohs", 3, r"models\.cnn: expected the keys .*, found 'epcohs'; did you mean epochs\?"),
    ("cnn", "svm_haed", [1], r"models\.cnn: expected the keys .*, found 'svm_haed'; did you mean svm_head\?"),
    ("cnn", "coefficients", 0, r"models\.cnn\.coefficients: expected a whole number from 1 to 65536, found 0"),
    (
        "birnn",
        "coefficients",
        None,
        r"models\.birnn\.coefficients: expected a whole number from 1 .*, found none",
    ),
    ("birnn", "embeding", 8, r"models\.birnn: expected the keys .*, found 'embeding'; did you mean embedding\?"),
    ("birnn", "pool", True, r"models\.birnn\.pool: expected a whole number from 1 to 65536, found True"),
]


@pytest.mark.parametrize(("key", "name", "value", "message"), WRONG_ARGUMENTS)
def test_wrong_arguments_stop_it_in_one_line_before_any_work(
    tmp_path: Path, key: str, name: str, value: object, message: str
) -> None:
    """There is not even data: whatever reads some would say that it is missing."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    edit(key, name, value)(values)
    (tmp_path / "params.yaml").write_text(dump(values))
    assert re.fullmatch(message, refusal(Project(tmp_path, tmp_path), "train", key, train.main))
    assert not list(tmp_path.glob("data/work/*/")), "no scratch folder"


def test_the_other_models_arguments_are_not_its_concern(inside: Project) -> None:
    """Each stage checks the arguments that it uses; the others belong to other stages, and perhaps other packages."""
    inside.edit_params(edit("birnn", "embeding", 8))
    train_here(inside, "cnn")


@pytest.mark.parametrize(
    ("key", "name", "value", "message"),
    [
        ("cnn", "pools", [8, 32], r"models\.cnn: expected pools that leave a frame of 128, found \[8, 32\]"),
        ("cnn", "segment_frames", 63, r"models\.cnn: expected pools that leave a frame of 63, found \[8, 8\]"),
        ("cnn", "pools", [8], r"models\.cnn: expected as many pools as channels, found 1 and 2"),
        ("birnn", "pool", 513, r"models\.birnn: expected a pool of at most 512 bins, found 513"),
    ],
)
def test_a_network_that_cannot_take_the_input_stops_it_before_any_work(
    inside: Project, key: str, name: str, value: object, message: str
) -> None:
    inside.edit_params(edit(key, name, value))
    assert re.fullmatch(message, refusal(inside, "train", key, train.main))
    assert not list(inside.path.glob("data/work/*/")), "no scratch folder"
    assert not Path("models").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.update(dataset="small"), "expected dataset small as in params.yaml, found demo"),
        (lambda values: values["spectrograms"].update(hop=256), "expected hop 256 as in params.yaml, found 512"),
        (
            lambda values: values["spectrograms"].update(sample_rate=16000),
            "expected sample_rate 16000 as in params.yaml, found 22050",
        ),
        (
            lambda values: values["spectrograms"].update(seconds=10),
            "expected seconds 10.0 as in params.yaml, found 30.0",
        ),
        (
            lambda values: values["spectrograms"].update(floor_db=80),
            "expected floor_db 80.0 as in params.yaml, found 100.0",
        ),
        (
            lambda values: values["spectrograms"]["stft"].update(n_fft=512),
            "expected settings {'n_fft': 512} as in params.yaml, found {'n_fft': 1024}",
        ),
    ],
)
def test_a_store_that_params_yaml_no_longer_describes_is_refused(
    inside: Project, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    inside.edit_params(change)
    expected = f"data/stft/store.json: {message}: `dvc repro spectrograms` makes it anew"
    assert refusal(inside, "train", "birnn", train.main) == expected
    assert not Path("models").exists()


def test_settings_of_the_other_representation_do_not_matter(inside: Project) -> None:
    inside.edit_params(lambda values: values["spectrograms"]["stft"].update(n_fft=512))
    train_here(inside, "cnn")


OUT_OF_MEMORY = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT / "src")!r})
import torch
from fma_genre.learning import training
def train_epoch(*arguments): raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
training.train_epoch = train_epoch
sys.argv = [{str(ROOT / "src/train.py")!r}, "birnn"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_gpu_with_too_little_memory_is_one_line(project: Project) -> None:
    project.edit_params(lambda values: values["train"].update(runs=1))
    ended = project.run("python", "-c", OUT_OF_MEMORY, check=False)
    assert ended.returncode == 1
    expected = "train@birnn: seed 0: out of memory on cpu: lower train.batch_size, or raise train.batches"
    assert ended.stderr.splitlines()[-1] == expected
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: python src/train.py KEY, a key of `models` in params.yaml"),
        (["cnn", "birnn"], "usage: python src/train.py KEY, a key of `models` in params.yaml"),
        (["cn"], "expected one of cnn, birnn, found 'cn'; did you mean cnn?"),
        (["../cnn"], "expected one of cnn, birnn, found '../cnn'; did you mean cnn?"),
    ],
)
def test_a_key_that_is_no_models_is_one_line(project: Project, arguments: list[str], message: str) -> None:
    ended = project.run("python", str(ROOT / "src/train.py"), *arguments, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.endswith(message)

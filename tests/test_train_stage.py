"""Stage train on a small store of random levels: resumed after a kill, invalid arguments, the model folder."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

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
from project import PARAMS, ROOT, Project, dump
from stores import create_checkout, refusal, run_stage

EPOCHS = 20


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return create_checkout(tmp_path)


@pytest.fixture
def inside(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project as the current folder, without DVC."""
    monkeypatch.chdir(project.path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return project


def start(project: Project, **environment: str) -> subprocess.Popen[bytes]:
    command = ["nice", sys.executable, str(ROOT / "src/train.py"), "birnn"]  # must not finish before the test kills it
    return subprocess.Popen(
        command, cwd=project.path, env=project.environment | {"FMA_WORKERS": "2"} | environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def files_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def accuracy_of(project: Project, key: str = "birnn") -> float:
    """The validation accuracy in metrics/training, which is the only value there."""
    values = json.loads((project.path / f"metrics/training/{key}.json").read_text())
    assert list(values) == ["validation_accuracy"]
    return values["validation_accuracy"]


def scratch(project: Project, key: str = "birnn") -> Path:
    (folder,) = (project.path / f"data/work/train@{key}").iterdir()
    return folder


# Killed, and run again. -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    project = create_checkout(tmp_path, epochs=EPOCHS)
    model, curve = project.path / "models/birnn", project.path / "plots/training/birnn.csv"
    assert start(project).wait() == 0
    expected, expected_curve = files_of(model), curve.read_text()
    assert set(expected) == {"settings.json", "front_end.safetensors", "seed0.safetensors", "seed1.safetensors"}
    assert not (project.path / "data/work/train@birnn").exists(), "without DVC, no scratch folder is left"

    curve.unlink()
    seen = []
    for epochs in (3, 7):
        process = start(project)
        while process.poll() is None and not (curve.exists() and len(pd.read_csv(curve)) >= epochs):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seen.append(len(pd.read_csv(curve)))
    assert seen[0] < EPOCHS, "it finished before the kill"
    assert seen == sorted(seen)
    unfinished = scratch(project)

    curve.unlink()
    assert start(project, DVC_ROOT=str(project.path), FMA_WORKERS="1").wait() == 0
    assert scratch(project) == unfinished
    assert files_of(model) == expected
    assert curve.read_text() == expected_curve
    assert accuracy_of(project) == pd.read_csv(curve)["validation_accuracy"].iloc[-1]


def test_outputs_that_dvc_did_not_record_are_restored(inside: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill, DVC deletes unrecorded outputs. No training is repeated until dvc.lock is newer than the work."""
    monkeypatch.setenv("DVC_ROOT", str(inside.path))
    lock = inside.path / "dvc.lock"
    lock.touch()
    os.utime(lock, ns=(0, 0))
    model, curve = inside.path / "models/cnn", inside.path / "plots/training/cnn.csv"
    accuracy = inside.path / "metrics/training/cnn.json"
    train_here(inside, "cnn")
    expected, expected_curve, expected_accuracy = files_of(model), curve.read_text(), accuracy.read_bytes()
    assert {"svm_head0.safetensors", "svm_head1.safetensors"} < set(expected)
    complete = scratch(inside, "cnn") / stage.COMPLETE

    for path in (*model.iterdir(), curve, accuracy):
        path.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(training, "train_epoch", lambda *_: pytest.fail("trained again"))
        train_here(inside, "cnn")
    assert files_of(model) == expected
    assert curve.read_text() == expected_curve
    assert accuracy.read_bytes() == expected_accuracy

    after = complete.stat().st_mtime_ns + 10**9  # more than the time resolution of file systems
    os.utime(lock, ns=(after, after))
    assert epochs_trained(inside, "cnn", monkeypatch) == 4, "recorded, so two epochs of two runs are trained again"
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
    """Number of epochs that `train_here` trains."""
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


@pytest.mark.slow
def test_a_forced_dvc_repro_trains_again_and_the_next_stage_removes_its_scratch(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "project")
    written = []
    for _ in range(2):
        assert project.repro("--force", "--single-item", "train@birnn") == {"train@birnn"}
        assert (scratch(project) / stage.COMPLETE).exists()
        written.append((scratch(project) / "seed0.pt").stat().st_mtime_ns)
    assert written[0] < written[1]
    assert "up to date" in project.run("dvc", "status").stdout
    assert project.repro("--force", "--single-item", "evaluate@birnn") == {"evaluate@birnn"}
    assert not list((project.path / "data/work/train@birnn").iterdir())


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


def test_the_number_of_updates_is_printed_once(inside: Project, capfd: pytest.CaptureFixture[str]) -> None:
    """Two runs of two epochs, with two segments of each of twelve training tracks in an epoch."""
    inside.edit_params(lambda values: values["models"]["birnn"].update(batch_size=5))
    train_here(inside, "birnn")
    (line,) = (line for line in capfd.readouterr().out.splitlines() if "updates" in line)
    assert line == "birnn: 2 epochs × 4 batches of 5 segments = 8 updates per run"


def test_files_shared_by_runs_are_written_once(inside: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs may end at the same time and must not write the same file."""
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
    device = devices()[0]
    front_end = build.move(front_end, device)
    splits = [
        Clips.load(open_store("mel"), split, settings.train.segment_frames, device)
        for split in ("training", "validation")
    ]
    for seed in (0, 1):
        network, head = checkpoint.load_run(Path("models/cnn"), settings, seed)
        predicted = [predict(network.to(device), clips, front_end) for clips in splits]
        labels = [clips.labels.cpu().numpy() for clips in splits]
        samples = [(part.track_features.numpy(), actual) for part, actual in zip(predicted, labels, strict=True)]
        expected = svm_head.fit(samples[0], samples[1], [0.01, 0.1])
        assert head is not None
        np.testing.assert_array_equal(head.weights, expected.weights)
        np.testing.assert_array_equal(head.bias, expected.bias)


def test_the_front_end_is_fitted_on_training_tracks_alone(inside: Project) -> None:
    train_here(inside, "birnn")
    settings, front_end = checkpoint.load(Path("models/birnn"))
    training = Clips.load(open_store("stft"), "training", settings.train.segment_frames, torch.device("cpu"))
    expected = build.fit_front_end("standardised", {}, training)
    for name, tensor in build.tensors_of(expected).items():
        assert torch.equal(tensor, getattr(front_end, name))


def test_a_front_end_damaged_by_a_power_cut_is_fitted_again(inside: Project) -> None:
    store = open_store("mel")
    clips = Clips.load(store, "training", 128, torch.device("cpu"))
    expected = build.tensors_of(build.fit_front_end("standardised", {}, clips))
    settings = SimpleNamespace(front_end="standardised", front_end_arguments={})
    job = train.Job(cast(checkpoint.Settings, settings), store, None, inside.path, inside.path)
    damaged = inside.path / "front_end.safetensors"
    for content in (None, b"", b"\0" * 100):
        damaged.unlink(missing_ok=True)
        if content is not None:
            damaged.write_bytes(content)
        for name, tensor in build.tensors_of(train.fit_front_end(job, clips)).items():
            assert torch.equal(tensor, expected[name])


def test_a_learning_curve_is_the_mean_of_the_runs_so_far() -> None:
    """The second run has finished one epoch fewer, so the latest validation accuracy is that of the first run."""
    keys = ("epoch", "loss", "accuracy", "validation_loss", "validation_accuracy")
    runs = [[(1, 2.0, 0.2, 1.5, 0.5), (2, 1.0, 0.4, 0.5, 0.8)], [(1, 4.0, 0.5, 2.5, 0.7)]]
    curve = train.learning_curve([[dict(zip(keys, epoch, strict=True)) for epoch in run] for run in runs])
    header, *rows = curve.to_csv().splitlines()
    assert header == "epoch,loss,accuracy,validation_loss,validation_accuracy,validation_accuracy_std"
    assert rows == ["1,3.0,0.35,2.0,0.6,0.141421", "2,1.0,0.4,0.5,0.8,0.0"]
    assert train.latest(curve) == {"validation_accuracy": 0.8}


def test_curve_and_accuracy_are_written_after_each_epoch(inside: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs train one after the other here: the second one counts when it reaches the last epoch."""
    record = train.record
    histories: dict[int, list[float]] = {}
    written: list[float] = []

    def watch(job: train.Job, seed: int, history: list[training.Epoch]) -> None:
        record(job, seed, history)
        histories[seed] = [epoch.validation_accuracy for epoch in history]
        written.append(accuracy_of(inside))
        own = [run[-1] for run in histories.values() if len(run) == max(map(len, histories.values()))]
        assert written[-1] == pytest.approx(np.mean(own), abs=1e-6)
        assert written[-1] == pd.read_csv("plots/training/birnn.csv")["validation_accuracy"].iloc[-1]

    monkeypatch.setattr(train, "record", watch)
    train_here(inside, "birnn")
    assert len(written) == 2 * (2 + 1), "two runs of two epochs, and once at the end of each"


# Stopped before any work. -----------------------------------------------------------------------------------------


def edit(key: str, name: str, value: object) -> Callable[[dict[str, Any]], None]:
    """A change of a model's parameter; None removes it."""

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
    (
        "cnn",
        "cepstral_coefficients",
        0,
        r"models\.cnn\.cepstral_coefficients: expected a whole number from 1 to 65536, found 0",
    ),
    (
        "cnn",
        "cepstral_coefficients",
        None,
        r"models\.cnn\.cepstral_coefficients: expected a whole number from 1 .*, found none",
    ),
    (
        "birnn",
        "cepstral_coefficients",
        20,
        r"models\.birnn: expected the keys pool, .*, found 'cepstral_coefficients'",
    ),
    ("birnn", "embeding", 8, r"models\.birnn: expected the keys .*, found 'embeding'; did you mean embedding\?"),
    ("birnn", "pool", True, r"models\.birnn\.pool: expected a whole number from 1 to 65536, found True"),
]


@pytest.mark.parametrize(("key", "name", "value", "message"), WRONG_ARGUMENTS)
def test_wrong_arguments_stop_it_in_one_line_before_any_work(
    tmp_path: Path, key: str, name: str, value: object, message: str
) -> None:
    """The error comes before the one about missing data."""
    values = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    edit(key, name, value)(values)
    (tmp_path / "params.yaml").write_text(dump(values))
    assert re.fullmatch(message, refusal(Project(tmp_path, tmp_path), "train", key, train.main))
    assert not list(tmp_path.glob("data/work/*/")), "no scratch folder"


def test_arguments_of_other_models_are_not_checked(inside: Project) -> None:
    """Each stage checks only the arguments that it uses."""
    inside.edit_params(edit("birnn", "embeding", 8))
    train_here(inside, "cnn")


@pytest.mark.parametrize(
    ("key", "name", "value", "message"),
    [
        ("cnn", "pools", [8, 32], r"models\.cnn: expected pools that leave .* of 128 frames, found \[8, 32\]"),
        ("cnn", "segment_frames", 63, r"models\.cnn: expected pools that leave .* of 63 frames, found \[8, 8\]"),
        ("cnn", "pools", [8], r"models\.cnn: expected as many pools as channels, found 1 pools and 2 channels"),
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
    expected = f"data/stft/store.json: {message}: `dvc repro spectrograms` rebuilds it"
    assert refusal(inside, "train", "birnn", train.main) == expected
    assert not Path("models").exists()


def test_settings_of_the_other_representation_do_not_matter(inside: Project) -> None:
    inside.edit_params(lambda values: values["spectrograms"]["stft"].update(n_fft=512))
    train_here(inside, "cnn")


def test_pitch_is_not_shifted_where_bins_are_no_frequencies(inside: Project) -> None:
    path = inside.path / "data/mel/store.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps(description | {"frequencies": [0.0] * len(description["frequencies"])}))
    expected = "models.cnn.max_pitch_shift: expected 0, since mel has no frequencies to shift, found 3"
    assert refusal(inside, "train", "cnn", train.main) == expected
    inside.edit_params(lambda values: values["train"].update(max_pitch_shift=0))
    train_here(inside, "cnn")


def test_a_gpu_with_too_little_memory_is_one_line(inside: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def train_epoch(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(training, "train_epoch", train_epoch)
    expected = f"seed 0: out of memory on {devices()[0]}: lower train.batch_size"
    assert refusal(inside, "train", "birnn", train.main) == expected

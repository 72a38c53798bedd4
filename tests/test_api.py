"""The public API, `from fma_genre import load`: what it returns, its errors, and what it leaves alone."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fma_genre
import train
from fma_genre import Ensemble, InputError, load
from project import ROOT
from stores import create_checkout, run_stage

RATE = 22050
GENRES = {"Folk", "Rock"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that was trained on the synthetic demo. Never change it."""
    project = create_checkout(tmp_path_factory.mktemp("trained"))
    run_stage(project, "train", "cnn", train.main)
    return project.path / "models/cnn"


@pytest.fixture(scope="module")
def model(folder: Path) -> Ensemble:
    with warnings.catch_warnings(action="ignore"):
        return load(folder)


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("songs") / "song.mp3", seconds=7)


def write(path: Path, seconds: float, rate: int = RATE, channels: int = 1) -> Path:
    """Write a file of noise."""
    noise = np.random.default_rng(0).normal(size=(round(seconds * rate), channels)) / 10
    soundfile.write(path, noise, rate)
    return path


# Results. ---------------------------------------------------------------------------------------------------------


def test_the_result_has_all_genres_with_the_most_probable_first(model: Ensemble, song: Path) -> None:
    genres = model(song)
    assert type(genres) is dict
    assert set(genres) == set(model.classes) == GENRES
    assert all(type(value) is float for value in genres.values())
    assert list(genres.values()) == sorted(genres.values(), reverse=True)
    assert sum(genres.values()) == pytest.approx(1)
    assert genres == model.predict_file(song).genres


def test_paths_may_be_text_and_begin_with_the_home_directory(
    folder: Path, model: Ensemble, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "models")
    shutil.copy(song, tmp_path / "song.mp3")
    shutil.copy(song, tmp_path / "~song.mp3")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="synthetic"):
        found = load("~/models")
    assert found("~/song.mp3") == found(str(song)) == found("~song.mp3") == model(song)


@pytest.mark.parametrize("seconds", [0.001, 0.1, 2, 3])
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2)])
def test_any_length_and_format_has_a_result(
    model: Ensemble, tmp_path: Path, seconds: float, rate: int, channels: int
) -> None:
    path = write(tmp_path / "a.wav", seconds, rate, channels)
    assert set(model(path)) == GENRES


def test_the_device_may_be_chosen(folder: Path, model: Ensemble, song: Path) -> None:
    with pytest.warns(UserWarning, match="synthetic"):
        found = load(folder, device="cpu")
    assert str(found.device) == "cpu"
    assert found(song) == pytest.approx(model(song), rel=1e-2, abs=1e-3)


def test_silence_has_no_genre(model: Ensemble, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE * 5), RATE)
    assert model(tmp_path / "silence.wav") == {}


# Training data. ---------------------------------------------------------------------------------------------------


def test_loading_a_model_of_the_synthetic_demo_warns(folder: Path, song: Path) -> None:
    line = f"^{folder}: the model cnn was trained on the synthetic demo and knows nothing about music$"
    with pytest.warns(UserWarning, match=line) as found:
        model = load(folder)
    assert [warning.filename for warning in found] == [__file__], "the warning names the caller's line"
    assert repr(model) == "<Ensemble: the model cnn was trained on the synthetic demo and knows nothing about music>"
    with warnings.catch_warnings(action="error"):
        model(song)


def test_loading_a_model_of_real_music_does_not_warn(folder: Path, tmp_path: Path) -> None:
    edit_settings(shutil.copytree(folder, tmp_path / "model"), synthetic=False, dataset="medium")
    with warnings.catch_warnings(action="error"):
        model = load(tmp_path / "model")
    assert model.description == "the model cnn was trained on medium"
    assert model.settings.store.dataset == "medium"


def edit_settings(folder: Path, **changed: object) -> None:
    """Change the description of the training data."""
    content = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    content["store"] |= changed
    (folder / "settings.json").write_text(json.dumps(content))


# Errors. ----------------------------------------------------------------------------------------------------------


def remove(folder: Path) -> None:
    shutil.rmtree(folder)


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("a model")


def write_older_version(folder: Path) -> None:
    (folder / "front_end.safetensors").rename(folder / "normalisation.safetensors")


def write_newer_version(folder: Path) -> None:
    edit_settings(folder, tuning=440)


def cut_weights(folder: Path) -> None:
    weights = next(folder.glob("seed*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove, "No such file or directory; `make repro` in a checkout of fma-genre trains models"),
        (empty, "No such file or directory: .*settings.json"),
        (replace_by_file, "Not a directory"),
        (write_older_version, "front_end.safetensors"),
        (write_newer_version, "tuning"),
        (cut_weights, "weights"),
    ],
)
def test_a_folder_without_a_model_is_an_error_of_one_line(
    folder: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    broken = shutil.copytree(folder, tmp_path / "model")
    change(broken)
    with pytest.raises(InputError, match=rf"^{broken}.*: (expected|cannot) .*{message}") as error:
        load(broken)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent.mp3", "No such file or directory"),
        ("folder.mp3", "a folder"),
        ("text.mp3", "Format not recognised"),
        ("empty.mp3", "Format not recognised"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_file_that_is_not_audio_is_an_error_of_one_line(
    model: Ensemble, tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "folder.mp3").mkdir()
    (tmp_path / "text.mp3").write_text("no audio" * 100)
    (tmp_path / "empty.mp3").touch()
    with pytest.raises(InputError, match=f"^{tmp_path / name}: expected audio, found: {reason}") as error:
        model(tmp_path / name)
    assert len(str(error.value).splitlines()) == 1


# Threads, processes, and the rest of the program. -----------------------------------------------------------------


def test_threads_may_share_a_model(model: Ensemble, song: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mp3"
    content = bytearray(song.read_bytes())
    content[20_000:24_000] = np.random.default_rng(0).bytes(4_000)
    damaged.write_bytes(content)
    files = [song, damaged] * 8
    expected = {path: model(path) for path in {song, damaged}}
    stderr = os.fstat(2)
    with ThreadPoolExecutor(4) as threads:
        for path, genres in zip(files, threads.map(model, files), strict=True):
            assert genres == pytest.approx(expected[path], rel=1e-4, abs=1e-6)
    assert os.path.samestat(os.fstat(2), stderr), "standard error is still where it was"


def test_processes_may_share_a_model(model: Ensemble, song: Path) -> None:
    """The model is pickled for the new process."""
    expected = model(song)
    with multiprocessing.get_context("spawn").Pool(1) as processes:
        assert processes.apply_async(model, [song]).get(timeout=60) == pytest.approx(expected, rel=1e-4, abs=1e-6)


PROGRAM = """
import sys

known = set(sys.modules)
import fma_genre

new = {name.partition(".")[0] for name in set(sys.modules) - known}
assert new <= {"fma_genre", *sys.stdlib_module_names}, new

import locale, logging, os, random, signal, threading, warnings
import librosa.filters, numpy, scipy.fft, torch  # two of them add filters of warnings

def state():
    return {
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "streams": [sys.stdin, sys.stdout, sys.stderr],
        "files": [os.readlink(f"/proc/self/fd/{number}") for number in range(3)],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "warnings": list(warnings.filters),
        "locale": locale.setlocale(locale.LC_ALL),
        "loggers": [logging.getLogger().level, list(logging.getLogger().handlers)],
        "threads": threading.active_count(),
        "hooks": [sys.excepthook, threading.excepthook],
        "random": [random.getstate(), str(numpy.random.get_state()), torch.get_rng_state().tolist()],
        "numpy": numpy.geterr(),
        "torch": [
            torch.get_num_threads(), torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
        ],
    }

before = state()
model = fma_genre.load(sys.argv[1])
genres = model(sys.argv[2])
after = state()
assert before == after, [key for key in before if before[key] != after[key]]
imported = {name.partition(".")[0] for name in sys.modules}
assert not imported & {"dvc", "matplotlib", "sklearn", "distributed", "requests"}, imported
assert "fma_genre.common.stage" not in sys.modules

import multiprocessing

with multiprocessing.get_context("fork").Pool(1) as processes:
    forked = processes.apply_async(model, [sys.argv[2]]).get(timeout=60)
assert all(abs(forked[genre] - genres[genre]) < 1e-4 for genre in genres), forked
"""


def test_a_program_that_predicts_stays_as_it_was_and_may_fork(folder: Path, song: Path, tmp_path: Path) -> None:
    """`import fma_genre` alone imports nothing else, and prediction imports only what it needs.

    PyTorch has threads here, which a forked process would wait for.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(folder), str(song)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == [], "nothing was written to the home directory"


def test_the_package_names_what_is_public() -> None:
    assert set(fma_genre.__all__) == {"Ensemble", "InputError", "load"} <= set(dir(fma_genre))
    with pytest.raises(AttributeError, match=r"^module 'fma_genre' has no attribute 'nothing'$"):
        _ = fma_genre.nothing  # type: ignore[attr-defined]

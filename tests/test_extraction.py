"""Extraction: each clip's rows, whatever the engine; work that was stopped is taken up, and other work never is."""

import stage

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import soundfile

import spectrograms
from fma_genre import InputError, archives, audio, params, store
from fma_genre.extraction import extract, members
from fma_genre.spectrogram import mel_filters, quantise, spectrogram
from project import Project

RATE, HOP, FLOOR = 22050, 512, 100
SETTINGS: dict[str, Any] = {
    "sample_rate": RATE, "seconds": 4, "hop": HOP, "floor_db": FLOOR, "workers": 1, "backend": "loky",
    "mel": {"n_fft": 2048, "bands": 128}, "stft": {"n_fft": 1024},
}  # fmt: skip
FRAMES = 1 + 4 * RATE // HOP
SECONDS = (1, 3, 4, 5)  # of the clips; another one cannot be read
UNREADABLE = 2  # its row


def noise(seed: int, seconds: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=int(seconds * RATE)).astype(np.float32)


def clip(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    contents = [clip(noise(seed, seconds)) for seed, seconds in enumerate(SECONDS)]
    contents.insert(UNREADABLE, b"no audio")
    path = tmp_path / "clips.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as file:
        for track, content in enumerate(contents):
            file.writestr(f"fma/000/{track:06d}.mp3", content)
    return path


@pytest.fixture
def clips(archive: Path) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(archive) as file:
        return [members(file)[track] for track in range(len(SECONDS) + 1)]


def run(archive: Path, clips: Sequence[zipfile.ZipInfo], folder: Path, **settings: Any) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    return extract(archive, clips, SETTINGS | settings, folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_clips_rows_are_its_spectrograms(archive: Path, clips: list[zipfile.ZipInfo], tmp_path: Path) -> None:
    outcomes = run(archive, clips, tmp_path / "work")
    assert outcomes["frames"].tolist() == [1 + RATE // HOP, 1 + 3 * RATE // HOP, 0, FRAMES, FRAMES]
    assert outcomes["cut"].tolist() == [False, False, False, False, True]
    assert outcomes["unreadable"].tolist() == [b"", b"", b"Format not recognised.", b"", b""]
    seconds = [*SECONDS]
    seconds.insert(UNREADABLE, 0)
    seeds = [0, 1, -1, 2, 3]
    for name, filters in (("mel", mel_filters(RATE, 2048, 128)), ("stft", None)):
        rows = np.load(tmp_path / "work" / f"{name}.npy")
        assert rows.shape == (5, FRAMES, {"mel": 128, "stft": 512}[name])
        assert not rows[UNREADABLE].any()
        for row in (0, 1, 3, 4):
            samples = noise(seeds[row], min(seconds[row], 4))
            levels = quantise(spectrogram(samples, HOP, FLOOR, SETTINGS[name]["n_fft"], filters), FLOOR)
            np.testing.assert_array_equal(rows[row, : len(levels)], levels)
            assert not rows[row, len(levels) :].any()


def test_members_are_found_by_track() -> None:
    file = io.BytesIO()
    names = ["fma_large/README.txt", "fma_large/checksums", "fma_large/000/000002.mp3", "fma_large/155/155320.mp3"]
    with zipfile.ZipFile(file, "w") as archive:
        for name in [*names, "fma_large/000/cover.mp3", "fma_large/" + 5000 * "9" + ".mp3"]:
            archive.writestr(name, b"")
        found = {track: member.filename for track, member in members(archive).items()}
    assert found == {2: names[2], 155320: names[3]}


def test_an_archive_that_has_gone_is_no_unreadable_clip(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("000/000002.mp3")
    member.header_offset = 0
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "gone.zip", [member], tmp_path / "work")


def test_more_mel_bands_than_can_be_told_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"spectrograms\.mel: expected bands that n_fft can tell apart, found \d+"):
        run(tmp_path / "any.zip", [], tmp_path / "work", mel={"n_fft": 256, "bands": 400})


# Engines. ---------------------------------------------------------------------------------------------------------


def test_two_processes_write_what_one_does(archive: Path, clips: list[zipfile.ZipInfo], tmp_path: Path) -> None:
    run(archive, clips, tmp_path / "one")
    run(archive, clips, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


class Killer:
    """Kills the process that compares it with a checksum: a worker, at a clip."""

    def __eq__(self, other: object) -> bool:
        signal.raise_signal(signal.SIGKILL)
        return True

    __hash__ = None  # type: ignore[assignment]


def test_an_engine_that_is_not_installed_is_one_line(
    archive: Path, clips: list[zipfile.ZipInfo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"^spectrograms\.backend: dask is not installed: pip install '\.\[dask\]'$"):
        run(archive, clips, tmp_path / "work", backend="dask")


def test_a_dask_cluster_writes_what_one_process_does(
    archive: Path, clips: list[zipfile.ZipInfo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    run(archive, clips, tmp_path / "one")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        dask.config.set({"scheduler-address": cluster.scheduler_address}),
    ):
        run(archive, clips, tmp_path / "dask", backend="dask")
    assert contents(tmp_path / "one") == contents(tmp_path / "dask")


# Work that was stopped. -------------------------------------------------------------------------------------------


class StoppedError(Exception):
    """Stands for what ends a run: a signal, a full disk."""


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by a number whenever a clip is decoded."""
    numbers: list[int] = []
    load = audio.load

    def counted(*arguments: Any) -> audio.Clip:
        numbers.append(len(numbers))
        return load(*arguments)

    monkeypatch.setattr(audio, "load", counted)
    return numbers


def stop_after(count: int, archive: Path, clips: list[zipfile.ZipInfo], folder: Path) -> None:
    """Extracts that many clips, and is stopped while the next one is being written."""
    written = 0
    write = store.write

    def failing(path: Path, row: int, values: np.ndarray) -> None:
        nonlocal written
        if written == count and path.name == "stft.npy":  # its mel rows are there
            raise StoppedError
        written += path.name == "outcomes.npy" and bool(values["done"].all())
        write(path, row, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "write", failing)
        with pytest.raises(StoppedError):
            run(archive, clips, folder)


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_what_is_done_is_not_done_again(
    archive: Path, clips: list[zipfile.ZipInfo], tmp_path: Path, decoded: list[int], count: int
) -> None:
    run(archive, clips, tmp_path / "undisturbed")
    stop_after(count, archive, clips, tmp_path / "stopped")
    decoded.clear()
    run(archive, clips, tmp_path / "stopped")
    assert len(decoded) == len(clips) - count
    assert contents(tmp_path / "stopped") == contents(tmp_path / "undisturbed")


def test_rows_that_a_dying_machine_did_not_write_are_done_again(
    archive: Path, clips: list[zipfile.ZipInfo], tmp_path: Path, decoded: list[int]
) -> None:
    run(archive, clips, tmp_path / "work")
    expected = contents(tmp_path / "work")
    store.write(tmp_path / "work" / "stft.npy", 1, np.zeros((7, 512), np.uint8))
    decoded.clear()
    run(archive, clips, tmp_path / "work")
    assert len(decoded) == 1
    assert contents(tmp_path / "work") == expected


def test_a_worker_that_is_killed_is_one_line(
    archive: Path, clips: list[zipfile.ZipInfo], tmp_path: Path, decoded: list[int]
) -> None:
    clips[1].CRC = Killer()  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"^a worker process was killed, .* \(spectrograms\.workers ") as error:
        run(archive, clips, tmp_path / "work", workers=2)
    assert clips[1].filename in str(error.value)


# The stage. -------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """All is there but what the stage makes: so DVC leaves it to the stage."""
    project = finished.copy(tmp_path / "project")
    for path in results(project):
        path.unlink()
    return project


def results(project: Project) -> list[Path]:
    return sorted(path for path in (project.path / "data" / "spectrograms").iterdir() if path.name != ".gitignore")


def contents_of_results(project: Project) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in results(project)}


def work(project: Project) -> list[Path]:
    return sorted((project.path / "data" / "work" / "spectrograms").glob("*"))


def done(project: Project) -> int:
    return sum(int(store.rows(folder / "outcomes.npy")["done"].sum()) for folder in work(project))


def kill_while_extracting(project: Project) -> None:
    command = [sys.executable, "src/spectrograms.py"]
    with subprocess.Popen(command, cwd=project.path, env=project.environment, start_new_session=True) as process:
        while not (work(project) and (work(project)[0] / "outcomes.npy").exists() and done(project)):
            assert process.poll() is None
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)


def test_a_killed_stage_is_taken_up(project: Project, finished: Project) -> None:
    kill_while_extracting(project)
    (folder,) = work(project)
    begun = (folder / "outcomes.npy").stat().st_ino
    assert done(project)
    assert not results(project)
    project.run("python", "src/spectrograms.py")
    assert (folder / "outcomes.npy").stat().st_ino == begun
    assert contents_of_results(project) == contents_of_results(finished)


def test_work_outlives_the_stage_until_training_begins(project: Project) -> None:
    """DVC reads the results after the stage has ended; killed meanwhile, it deletes them before the next run."""
    project.run("python", "src/spectrograms.py")
    (folder,) = work(project)
    made = (folder / "stft.npy").stat()
    for path in results(project):
        path.unlink()
    project.run("python", "src/spectrograms.py")
    again = (project.path / "data" / "spectrograms" / "stft.npy").stat()
    assert (again.st_ino, again.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    project.run("python", "src/split.py")  # as DVC may before it runs this stage again
    assert work(project) == [folder]
    project.run("python", "src/train.py", "cnn")
    assert not work(project)


class AskedError(Exception):
    """For a folder of work."""


def inputs(project: Project, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> str:
    """What the stage says that its work depends on."""

    def asked(name: str, inputs: object) -> None:
        raise AskedError(json.dumps(inputs))

    monkeypatch.chdir(project.path)
    monkeypatch.setenv("FMA_HOME", str(project.home))
    monkeypatch.setattr(stage, "work", asked)
    parameters = params.load()
    parameters["spectrograms"] |= changes
    with pytest.raises(AskedError) as asking:
        spectrograms.main(parameters)
    return str(asking.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_rate", 16000), ("seconds", 5), ("hop", 256), ("floor_db", 80),
        ("mel", {"n_fft": 2048, "bands": 64}), ("stft", {"n_fft": 512}),
    ],
)  # fmt: skip
def test_other_parameters_are_other_work(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    assert inputs(project, monkeypatch, **{name: value}) != inputs(project, monkeypatch)


def test_workers_engine_and_segments_are_not(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = inputs(project, monkeypatch, workers=2, backend="dask", segment_frames=64)
    assert changed == inputs(project, monkeypatch)


def test_another_archive_or_other_tracks_are_other_work(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = inputs(project, monkeypatch)
    tracks = project.path / "data" / "tracks.csv"
    lines = tracks.read_text().splitlines(keepends=True)
    tracks.write_text("".join([lines[0], *lines[:0:-1]]))
    reordered = inputs(project, monkeypatch)
    of_data_set = archives.of_data_set
    monkeypatch.setattr(archives, "of_data_set", lambda *a: replace(of_data_set(*a), sha1="0" * 40))
    monkeypatch.setattr(archives, "check_receipt", lambda *a: None)
    assert len({before, reordered, inputs(project, monkeypatch)}) == 3

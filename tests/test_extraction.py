"""Extraction: rows of clips from one or several processes, and resumption of a stopped run."""

import errno
import hashlib
import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import distributed
import numpy as np
import pytest
import soundfile
from distributed import LocalCluster

import spectrograms
from fma_genre import store
from fma_genre.archives.clips import Clip, find_clips
from fma_genre.archives.receipt import Archive, Receipt, open_current, read_receipt, write_receipt
from fma_genre.common import files, params, stage
from fma_genre.common.errors import InputError
from fma_genre.features import audio
from fma_genre.features.build import build, describe
from fma_genre.features.extraction import extract
from fma_genre.features.levels import quantised_levels
from project import PARAMS, ROOT, Project
from stores import sources

RATE, HOP, FLOOR = 22050, 512, 100.0
REPRESENTATIONS = {"mel": {"n_fft": 2048, "bands": 128}, "stft": {"n_fft": 1024}}
SETTINGS = params.Spectrograms(RATE, 4.0, HOP, FLOOR, REPRESENTATIONS)
FRAMES = 1 + 4 * RATE // HOP
SECONDS = (1, 3, 4, 5)  # of the readable clips; one more is unreadable
UNREADABLE = 2  # row of the unreadable clip


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extract in the test process, unless a test changes that."""
    monkeypatch.setenv("FMA_WORKERS", "1")
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)


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
def clips(archive: Path) -> list[Clip]:
    with zipfile.ZipFile(archive) as file:
        return find_clips(file, sources(range(len(SECONDS) + 1)), archive.name)


def run(archive: Path, clips: Sequence[Clip], folder: Path, **settings: Any) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    return extract(archive, clips, replace(SETTINGS, **settings), folder)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets an item for each decoded clip."""
    numbers: list[int] = []
    load = audio.load

    def counted(*arguments: Any) -> audio.Clip:
        numbers.append(len(numbers))
        return load(*arguments)

    monkeypatch.setattr(audio, "load", counted)
    return numbers


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_clips_rows_are_its_spectrograms(archive: Path, clips: list[Clip], tmp_path: Path) -> None:
    outcomes = run(archive, clips, tmp_path / "work")
    assert outcomes["frames"].tolist() == [1 + RATE // HOP, 1 + 3 * RATE // HOP, 0, FRAMES, FRAMES]
    assert outcomes["cut"].tolist() == [False, False, False, False, True]
    assert outcomes["unreadable"].tolist() == [b"", b"", b"Format not recognised.", b"", b""]
    seconds = [*SECONDS]
    seconds.insert(UNREADABLE, 0)
    seeds = [0, 1, -1, 2, 3]
    for name in ("mel", "stft"):
        representation = build(name, SETTINGS)
        rows = np.load(tmp_path / "work" / f"{name}.npy")
        assert rows.shape == (5, FRAMES, {"mel": 128, "stft": 512}[name])
        assert not rows[UNREADABLE].any()
        for row in (0, 1, 3, 4):
            samples = noise(seeds[row], min(seconds[row], 4))
            levels = quantised_levels(representation.power(samples), FLOOR)
            np.testing.assert_array_equal(rows[row, : len(levels)], levels)
            assert not rows[row, len(levels) :].any()


def test_a_missing_archive_is_not_an_unreadable_clip(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("000/000002.mp3")
    member.header_offset = 0
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "gone.zip", [Clip(member)], tmp_path / "work")


def test_settings_that_do_not_go_together_are_refused_before_any_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^spectrograms\.mel: expected fewer bands or a larger n_fft, found \d+"):
        run(tmp_path / "any.zip", [], tmp_path / "work", representations={"mel": {"n_fft": 256, "bands": 400}})
    assert not contents(tmp_path / "work")


def test_a_disk_without_room_is_found_out_before_any_clip(
    archive: Path, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    """Space that is already allocated to files of an earlier run counts as available."""
    needed = len(clips) * FRAMES * (128 + 512)
    usage = shutil.disk_usage(tmp_path)
    free = [needed - 1]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free[0]))
    with pytest.raises(InputError, match=r"work: expected 0\.000\d+ GB of disk space, found 0\.000\d+ GB free$"):
        run(archive, clips, tmp_path / "work")
    assert not decoded
    free[0] = needed
    run(archive, clips, tmp_path / "work")
    free[0] = needed // 2
    run(archive, clips, tmp_path / "work")


def test_a_disk_error_is_not_an_unreadable_clip(
    archive: Path, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(audio, "load", failing)
    with pytest.raises(OSError, match="Input/output error"):
        run(archive, clips, tmp_path / "work")
    assert not store.map_array(tmp_path / "work" / "outcomes.npy")["done"].any()


@pytest.mark.parametrize(
    ("message", "reason"),
    [("two\nlines", b"two lines"), ("\x1b[2J", b"\\x1b[2J"), ("", b"UnreadableClipError"), ("é" * 200, b"\\xe9" * 32)],
)
def test_a_reason_is_a_short_line_that_cannot_move_the_cursor(
    archive: Path, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    message: str, reason: bytes,
) -> None:  # fmt: skip
    def failing(*_: object) -> None:
        raise audio.UnreadableClipError(message)

    monkeypatch.setattr(audio, "load", failing)
    outcomes = run(archive, clips[:1], tmp_path / "work")
    assert outcomes["unreadable"].tolist() == [reason]


# Workers. ---------------------------------------------------------------------------------------------------------


def test_two_processes_write_what_one_does(
    archive: Path, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    run(archive, clips, tmp_path / "one")
    assert len(decoded) == len(clips)
    monkeypatch.setenv("FMA_WORKERS", "2")
    run(archive, clips, tmp_path / "two")
    assert len(decoded) == len(clips), "the clips of the second run were decoded in other processes"
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_workers_never_load_librosa() -> None:
    """Loading librosa takes a second, so the mel filters are sent to the workers with their tasks."""
    program = (
        "import pickle, sys; from fma_genre.features import extraction; import numpy as np;"
        "mel = pickle.load(sys.stdin.buffer); print(mel.power(np.ones(22050, np.float32)).shape);"
        "print('librosa.filters' in sys.modules or 'numba' in sys.modules)"
    )
    given = pickle.dumps(build("mel", SETTINGS))
    assert len(given) < 100_000, "it is sent with every task"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "src", input=given, capture_output=True, check=True
    )
    assert done.stdout.decode().splitlines() == ["(44, 128)", "False"]


class Killer:
    """A checksum that kills the process that compares with it: a worker."""

    def __eq__(self, other: object) -> bool:
        signal.raise_signal(signal.SIGKILL)
        return True

    __hash__ = None  # type: ignore[assignment]


def test_dask_that_is_not_installed_is_one_line(
    archive: Path, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:8786")
    monkeypatch.setitem(sys.modules, "distributed", None)
    message = r"^DASK_SCHEDULER_ADDRESS: expected Dask, found no such package: pip install '\.\[dask\]'$"
    with pytest.raises(InputError, match=message):
        run(archive, clips, tmp_path / "work")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "carrier-pigeon://1"])
def test_a_missing_scheduler_is_one_line(
    archive: Path, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """No client is made before the scheduler has answered: Dask can wait forever for a half-open one."""
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
    monkeypatch.setattr(distributed, "Client", None)
    message = f"^DASK_SCHEDULER_ADDRESS: expected a running scheduler, found none at {address}"
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(InputError, match=message) as error,
    ):
        run(archive, clips, tmp_path / "work")
    assert len(str(error.value).splitlines()) == 1


def test_a_dask_cluster_writes_what_one_process_does(
    archive: Path, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    run(archive, clips, tmp_path / "one")
    decoded.clear()
    own = str(tmp_path / "workers")  # by default, all clusters on a machine share one folder
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=own) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        run(archive, clips, tmp_path / "dask")
    assert not decoded, "the workers decode"
    assert contents(tmp_path / "one") == contents(tmp_path / "dask")


# Work that was stopped. -------------------------------------------------------------------------------------------


class StoppedError(Exception):
    """Represents the end of a run by a signal or a full disk."""


def stop_after(count: int, archive: Path, clips: list[Clip], folder: Path) -> None:
    """Extract this many clips; stop while the next one is written."""
    written = 0
    write = store.write_row

    def failing(path: Path, row: int, values: np.ndarray) -> None:
        nonlocal written
        if written == count and path.name == "stft.npy":  # its mel rows are already written
            raise StoppedError
        written += path.name == "outcomes.npy" and bool(values["done"].all())
        write(path, row, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "write_row", failing)
        with pytest.raises(StoppedError):
            run(archive, clips, folder)


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_finished_clips_are_not_extracted_again(
    archive: Path, clips: list[Clip], tmp_path: Path, decoded: list[int], count: int
) -> None:
    run(archive, clips, tmp_path / "undisturbed")
    stop_after(count, archive, clips, tmp_path / "stopped")
    decoded.clear()
    run(archive, clips, tmp_path / "stopped")
    assert len(decoded) == len(clips) - count
    assert contents(tmp_path / "stopped") == contents(tmp_path / "undisturbed")


def test_rows_that_a_dying_machine_did_not_write_are_done_again(
    archive: Path, clips: list[Clip], tmp_path: Path, decoded: list[int]
) -> None:
    run(archive, clips, tmp_path / "work")
    expected = contents(tmp_path / "work")
    store.write_row(tmp_path / "work" / "stft.npy", 1, np.zeros((7, 512), np.uint8))
    decoded.clear()
    run(archive, clips, tmp_path / "work")
    assert len(decoded) == 1
    assert contents(tmp_path / "work") == expected


def test_a_worker_that_is_killed_is_one_line(
    archive: Path, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips[1].member.CRC = Killer()  # type: ignore[assignment]
    monkeypatch.setenv("FMA_WORKERS", "2")
    with pytest.raises(InputError, match=r"^a worker process was killed, .* \(FMA_WORKERS limits ") as error:
        run(archive, clips, tmp_path / "work")
    assert clips[1].member.filename in str(error.value)


# The stage. -------------------------------------------------------------------------------------------------------


TRACKS = """\
track_id,artist_id,genre,split,artist,title,genres,member,start
0,10,None,training,,,,,0.0
1,11,1980,training,,,,,0.0
2,12,None,training,,,,,0.0
3,13,None,validation,,,,,0.0
4,14,1980,test,,,,,0.0
"""
INDEX = """\
track_id,artist_id,genre,split,artist,title,genres,member,start,\
frames,cut,decoder,decoded,length,rate,channels,bit_rate,bandwidth,loudness,same_as,left_out
0,10,None,training,,,,,0.000,44,False,libsndfile,1.000,1.000,22050,1,706,11025,-20.000,,
1,11,1980,training,,,,,0.000,130,False,libsndfile,3.000,3.000,22050,1,706,11025,-20.000,,
2,12,None,training,,,,,0.000,0,False,,0.000,0.000,0,0,0,0,0.000,,Format not recognised.
3,13,None,validation,,,,,0.000,173,False,libsndfile,4.000,4.000,22050,1,706,11025,-20.000,,
4,14,1980,test,,,,,0.000,173,True,libsndfile,4.000,4.000,22050,1,706,11025,-20.000,,
"""


@pytest.fixture
def checkout(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with tracks and a receipt, and the archive in FMA_HOME."""
    checkout = tmp_path / "checkout"
    (checkout / "data").mkdir(parents=True)
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("FMA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DVC_ROOT", raising=False)
    content = archive.read_bytes()
    stored = Archive(archive.name, len(content), hashlib.sha1(content).hexdigest())
    stored.path.parent.mkdir(parents=True)
    shutil.copy(archive, stored.path)
    write_receipt(Path("data/archives.json"), Receipt("tiny", False, metadata=stored, audio=stored))
    Path("data/tracks.csv").write_text(TRACKS)
    return checkout


def parameters(**changes: Any) -> params.Params:
    """Parameters with the data set of the receipt and SETTINGS with `changes`."""
    archive = read_receipt().audio
    source = params.Source(archive.name, archive.sha1)
    pipeline = params.load(PARAMS)
    data_sets = {"tiny": params.DataSet(audio=source, metadata=source, subset="medium")}
    return replace(pipeline, dataset="tiny", datasets=data_sets, spectrograms=replace(SETTINGS, **changes))


def outputs(checkout: Path) -> dict[str, bytes]:
    """The contents of the stage's output files."""
    paths = [path for name in ("index.csv", "mel", "stft") for path in (checkout / "data").glob(f"{name}/**/*")]
    paths += (checkout / "data").glob("index.csv")
    return {str(path.relative_to(checkout)): path.read_bytes() for path in paths if path.is_file()}


def remove_outputs(checkout: Path) -> None:
    for name in ("index.csv", "mel", "stft"):
        files.remove(checkout / "data" / name)


def scratch_folders(checkout: Path) -> list[Path]:
    return sorted((checkout / "data" / "work" / "spectrograms").glob("*"))


def test_the_index_has_every_track_and_says_why_one_is_left_out(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spectrograms.main(parameters())
    assert Path("data/index.csv").read_text() == INDEX
    assert capsys.readouterr().out == "track 2 left out: Format not recognised.\n"


@pytest.mark.parametrize(("name", "bins"), [("mel", 128), ("stft", 512)])
def test_a_store_has_the_levels_of_every_track_and_says_how_they_were_made(
    checkout: Path, archive: Path, clips: list[Clip], tmp_path: Path, name: str, bins: int
) -> None:
    spectrograms.main(parameters())
    run(archive, clips, tmp_path / "other")
    opened = store.open_store(name)
    np.testing.assert_array_equal(opened.levels, np.load(tmp_path / "other" / f"{name}.npy"))
    assert opened.levels.shape == (5, FRAMES, bins)
    expected = describe(name, SETTINGS, "tiny", synthetic=False, classes=["1980", "None"])
    assert opened.description == expected


def test_the_number_of_processes_changes_no_bit_of_the_outputs(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spectrograms.main(parameters())
    alone = outputs(checkout)
    assert len(alone) == 5
    monkeypatch.setenv("FMA_WORKERS", "2")
    spectrograms.main(parameters())
    assert outputs(checkout) == alone


def test_a_clip_that_begins_after_the_end_of_its_file_is_left_out(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file of track 1 has three seconds; track 0 is its end, and track 5 would begin after that."""
    other = TRACKS.replace("0,10,None,training,,,,,0.0", "0,10,None,training,,,,fma/000/000001.mp3,1.0")
    Path("data/tracks.csv").write_text(f"{other}5,15,1980,test,,,,fma/000/000001.mp3,3.0\n")
    spectrograms.main(parameters())
    index = store.read_index(Path("data/index.csv")).set_index("track_id")
    assert index["left_out"][5] == "no samples after 3 s"
    assert index["frames"][[0, 1, 5]].tolist() == [1 + 2 * RATE // HOP, 1 + 3 * RATE // HOP, 0]
    assert index["length"][[0, 1]].tolist() == [2, 3]
    assert set(index["same_as"]) == {""}
    assert "track 5 left out: no samples after 3 s\n" in capsys.readouterr().out


def test_a_genre_without_a_readable_training_track_is_refused(checkout: Path) -> None:
    Path("data/tracks.csv").write_text(TRACKS.replace("0,10,None,training", "0,10,1980,training"))
    with pytest.raises(InputError, match=r"^readable clips in clips\.zip: expected a training track for every genre"):
        spectrograms.main(parameters())
    assert not outputs(checkout)


def test_a_track_without_a_clip_is_refused(checkout: Path) -> None:
    Path("data/tracks.csv").write_text(TRACKS + "99,14,1980,test,,,,,0.0\n")
    with pytest.raises(
        InputError, match=r"^clips\.zip: expected a clip for each of the 6 tracks .* the first being track 99$"
    ):
        spectrograms.main(parameters())


def test_the_index_appears_last(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_description = store.write_description

    def failing(path: Path, description: store.Description) -> None:
        if description.representation == "stft":
            raise StoppedError
        write_description(path, description)

    monkeypatch.setattr(store, "write_description", failing)
    with pytest.raises(StoppedError):
        spectrograms.main(parameters())
    assert set(outputs(checkout)) == {"data/mel/levels.npy", "data/mel/store.json"}


def test_outputs_that_dvc_deleted_before_it_recorded_them_come_back_from_the_scratch_folder(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    """DVC sets DVC_ROOT. Before it runs a stage again, it deletes outputs that it has not recorded."""
    monkeypatch.setenv("DVC_ROOT", str(checkout))
    spectrograms.main(parameters())
    expected, inode = outputs(checkout), Path("data/mel/levels.npy").stat().st_ino
    remove_outputs(checkout)
    decoded.clear()
    spectrograms.main(parameters())
    assert not decoded
    assert outputs(checkout) == expected
    assert Path("data/mel/levels.npy").stat().st_ino == inode


def test_without_dvc_no_scratch_folder_stays(checkout: Path) -> None:
    spectrograms.main(parameters())
    assert not scratch_folders(checkout)


class AskedError(Exception):
    """Raised instead of opening a scratch folder. Holds the inputs that identify the work."""


@pytest.fixture
def inputs(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A function that returns the inputs that identify the stage's work."""

    def asked(name: str, inputs: object) -> None:
        raise AskedError(json.dumps(inputs))

    def ask(**changes: Any) -> str:
        with pytest.raises(AskedError) as asking:
            spectrograms.main(parameters(**changes))
        return str(asking.value)

    monkeypatch.setattr(stage, "scratch", asked)
    return ask


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_rate", 16000), ("seconds", 5.0), ("hop", 256), ("floor_db", 80.0),
        ("representations", REPRESENTATIONS | {"mel": {"n_fft": 2048, "bands": 64}}),
        ("representations", REPRESENTATIONS | {"stft": {"n_fft": 512}}),
    ],
)  # fmt: skip
def test_other_parameters_are_other_work(inputs: Callable[..., str], name: str, value: object) -> None:
    assert inputs(**{name: value}) != inputs()


def test_workers_and_scheduler_do_not_make_other_work(
    inputs: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inputs()
    monkeypatch.setenv("FMA_WORKERS", "7")
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:8786")
    assert inputs() == before


def test_another_archive_or_other_tracks_are_other_work(
    inputs: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inputs()
    header, *lines = TRACKS.splitlines(keepends=True)
    Path("data/tracks.csv").write_text("".join([header, *lines[:2], *lines[3:]]))
    fewer = inputs()
    receipt, archive = open_current(parameters(), "audio")
    other = replace(archive, sha1="0" * 40)
    monkeypatch.setattr(spectrograms, "open_current", lambda *_: (receipt, other))
    monkeypatch.setattr(spectrograms, "clips_of", lambda *_: [])
    assert len({before, fewer, inputs()}) == 3


@pytest.mark.parametrize("place", ["fma/000/000000.mp3,0.0", ",0.001"], ids=["member", "start"])
def test_another_place_in_the_archive_is_other_work(inputs: Callable[..., str], place: str) -> None:
    before = inputs()
    line = "0,10,None,training,,,,"
    Path("data/tracks.csv").write_text(TRACKS.replace(f"{line},0.0", f"{line}{place}"))
    assert inputs() != before


@pytest.mark.slow
def test_a_killed_stage_is_resumed(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    files.remove(project.path / "data/work")
    remove_outputs(project.path)
    kill_when([sys.executable, "src/spectrograms.py"], project, lambda: clips_done(project))
    (folder,) = scratch_folders(project.path)
    begun = (folder / "mel.npy").stat().st_ino
    assert not outputs(project.path)
    project.run("python", "src/spectrograms.py")
    assert (project.path / "data/mel/levels.npy").stat().st_ino == begun
    assert outputs(project.path) == outputs(finished.path)


@pytest.mark.slow
def test_a_dvc_that_is_killed_before_it_has_recorded_the_outputs_costs_no_extraction(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "project")
    files.remove(project.path / "data/work")
    project.edit_params(lambda values: values["spectrograms"].update(floor_db=90))
    command = ["dvc", "repro", "--single-item", "spectrograms"]
    kill_when(command, project, lambda: [folder for folder in scratch_folders(project.path) if complete(folder)])
    (folder,) = scratch_folders(project.path)
    extracted = (folder / "mel.npy").stat()
    assert "Running stage 'spectrograms'" in project.run(*command).stdout
    assert (folder / "mel.npy").stat().st_ino == extracted.st_ino
    assert (folder / "mel.npy").stat().st_mtime_ns == extracted.st_mtime_ns
    assert "up to date" in project.run("dvc", "status", "spectrograms").stdout


def complete(folder: Path) -> bool:
    return (folder / stage.COMPLETE).exists()


def clips_done(project: Project) -> int:
    paths = [folder / "outcomes.npy" for folder in scratch_folders(project.path)]
    return sum(int(store.map_array(path)["done"].sum()) for path in paths if path.exists())


def kill_when(command: list[str], project: Project, happened: Callable[[], object]) -> None:
    """Run a command; kill it and its child processes as soon as `happened()` is true."""
    with subprocess.Popen(command, cwd=project.path, env=project.environment, start_new_session=True) as process:
        while not happened():
            assert process.poll() is None
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)

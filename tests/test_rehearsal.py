"""Rehearsal: its archives, its measurements, its edits of params.yaml, its cost card, and a small run."""

import difflib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fma_genre.archives import clips, tracks, zips
from fma_genre.archives.tracks import SPLITS, SUBSETS
from fma_genre.common.errors import InputError
from fma_genre.common.params import Expect, Synthesis
from fma_genre.fetch import demo
from fma_genre.packing import yaml_edits
from project import ROOT, Project, create
from real import REAL, needs_real

sys.path.append(str(ROOT / "benchmarks"))
import monitor
import rehearsal_archives as archives
from rehearsal import Step, select
from rehearsal_card import card, extrapolate
from stores import sources

PARAMS = ROOT / "params.yaml"
PUBLISHED = {name: yaml.safe_load(PARAMS.read_text())["datasets"][name]["expect"] for name in SUBSETS}
SHARE = 0.01
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the measurements read /proc, which only Linux has")


# The archives. ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Archives whose clips are copied: 8 genres, and some clips that no decoder opens."""
    return demo.build(Synthesis(seed=1, seconds=2, training=2, validation=1, test=1), tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def built(source: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("built")
    return folder, archives.build(folder, *source, size="medium", share=SHARE)


def read_table(path: Path) -> Any:
    with zips.open_zip(path) as archive:
        return tracks.parse_table(zips.read_member(archive, "tracks.csv"), path.name)


def read_clips(path: Path) -> dict[int, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {track: archive.read(found[0]) for track, found in clips.candidates(archive).items()}


@pytest.mark.parametrize("size", SUBSETS)
def test_the_counts_are_the_published_ones(size: str) -> None:
    included = SUBSETS[: SUBSETS.index(size) + 1]
    counts = {key: count for key, count in archives.published_counts().items() if key[0] in included}
    for split in SPLITS:
        assert sum(count for (_, _, other), count in counts.items() if other == split) == PUBLISHED[size][split]
    genres = {genre for _, genre, _ in counts} - {archives.NO_GENRE}
    assert len(genres) == PUBLISHED[size]["genres"]
    assert all((size, genre, split) in counts or size != "small" for genre in genres for split in SPLITS)
    if size == "small":
        assert {counts[size, genre, "training"] for genre in genres} == {800}


@needs_real
def test_the_genres_have_as_many_tracks_as_in_the_official_table() -> None:
    titles = json.loads((REAL / "metadata" / "genre_top_by_track.json").read_text()).values()
    official = {title: list(titles).count(title) for title in archives.GENRES}
    assert official == {title: genre.all for title, genre in archives.GENRES.items()}
    assert sum(official.values()) == sum(isinstance(title, str) for title in titles)


def test_the_whole_table_has_artists_of_several_tracks_in_one_split() -> None:
    table = archives.plan(1, np.random.default_rng(0))
    of_artist = table.groupby("artist_id")
    assert of_artist["split"].nunique().max() == of_artist["genre"].nunique().max() == 1
    assert len(of_artist) == pytest.approx(16341, rel=0.03)  # as published
    assert 3 < 25000 / table[table["subset"] != "large"]["artist_id"].nunique() < 6
    assert table["track_id"].is_unique
    assert table["track_id"].between(2, 155_320).all()


def test_the_pipeline_accepts_a_share_of_the_table(built: tuple[Path, dict[str, Any]]) -> None:
    """`select` checks the counts and that artists are in one split."""
    folder, description = built
    table = read_table(folder / "fma_metadata.zip")
    small = tracks.select(table, "small", "small", Expect(training=8 * 8, validation=8 * 1, test=8 * 1, genres=8))
    assert set(small.groupby(["genre", "split"]).size()) == {8, 1}
    medium = tracks.select(table, "medium", "medium", Expect(**description["expect"]))
    assert len(medium) == description["clips"] == pytest.approx(250, rel=0.1)
    assert medium.groupby(["genre", "split"]).size()["Rock", "training"] == round(56.81)
    assert medium.groupby(["genre", "split"]).size()["Easy Listening", "test"] == 1  # no genre is lost
    large = tracks.select(table, "large", "large", Expect(genres=16))
    assert len(large) == pytest.approx(495.98, rel=0.1)
    assert len(table) == description["rows of tracks.csv"] == pytest.approx(1065.74, rel=0.1)


def test_clips_are_copies_from_one_genre_and_the_same_split(
    source: tuple[Path, Path], built: tuple[Path, dict[str, Any]]
) -> None:
    folder, description = built
    original_table, table = read_table(source[1]), read_table(folder / "fma_metadata.zip")
    originals, copies = read_clips(source[0]), read_clips(folder / "fma_medium.zip")
    track_of = {content: track for track, content in originals.items()}
    assert len(track_of) == len(originals)
    assert set(copies) == set(table.index[table["subset"] != "large"])

    origin = original_table.loc[[track_of[content] for content in copies.values()]]
    assert list(origin["split"]) == list(table.loc[list(copies), "split"])
    of_genre = origin["genre"].groupby(table.loc[list(copies), "genre"].to_numpy()).unique()
    assert set(of_genre.map(len)) == {1}
    assert len(set(of_genre.map(lambda found: found[0]))) == 8
    assert description["different clips"] == origin.index.nunique() > 8


def test_the_layout_is_that_of_the_fma(built: tuple[Path, dict[str, Any]]) -> None:
    folder, description = built
    with zipfile.ZipFile(folder / "fma_medium.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names[:2] == ["fma_medium/README.txt", "fma_medium/checksums"]
        lines = archive.read(names[1]).decode().splitlines()
        sums = {name: sha1 for sha1, name in (line.split("  ") for line in lines)}
        assert [f"fma_medium/{name}" for name in sums] == names[2:]
        for member in archive.infolist():
            assert member.compress_type == zipfile.ZIP_BZIP2
            if member.filename in names[2:]:
                content = zips.read(folder / "fma_medium.zip", member)  # reads the member's own header
                assert hashlib.sha1(content).hexdigest() == sums[member.filename.removeprefix("fma_medium/")]
    for role in ("audio", "metadata"):
        content = (folder / description[role]["name"]).read_bytes()
        assert hashlib.sha1(content).hexdigest() == description[role]["sha1"]


def test_the_unzip_program_reads_the_archive(built: tuple[Path, dict[str, Any]]) -> None:
    command = ["unzip", "-tq", str(built[0] / "fma_medium.zip")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs the program unzip")
    if "need PK compat" in done.stdout + done.stderr:
        pytest.skip("needs an unzip program that supports bzip2")
    assert done.returncode == 0, done.stdout + done.stderr


def test_unreadable_clips_are_not_copied_and_the_shortest_can_be_chosen(source: tuple[Path, Path]) -> None:
    available = archives.find_clips(*source)
    table = read_table(source[1])
    found = sum(len(of_key) for of_key in available.values())
    assert 0 < (table["subset"] != "large").sum() - found <= 2
    (shortest,) = archives.find_clips(*source, shortest=1)["Rock", "training"]
    assert shortest.seconds == min(clip.seconds for clip in available["Rock", "training"])


def test_a_genre_without_clips_in_a_split_is_an_error(source: tuple[Path, Path], tmp_path: Path) -> None:
    audio, metadata = source
    table = read_table(metadata)
    lost = table.index[(table["split"] == "test") & (table["genre"] == "Rock") & (table["subset"] != "large")]
    kept = tmp_path / "kept.zip"
    with zipfile.ZipFile(audio) as archive, zipfile.ZipFile(kept, "w") as other:
        for member in archive.infolist():
            if not any(member.filename.endswith(f"/{track:06d}.mp3") for track in lost):
                other.writestr(member, archive.read(member))
    with pytest.raises(InputError, match="expected readable clips of Rock in test, found none"):
        archives.find_clips(kept, metadata)


def test_an_archive_may_have_more_than_65535_members_and_4_gib(tmp_path: Path) -> None:
    count, gap = 70_000, 5 << 30  # the gap is a hole, which takes up no disk space
    original = tmp_path / "original.zip"
    with zipfile.ZipFile(original, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("clips/000002.mp3", b"content")
    with zipfile.ZipFile(original) as archive:
        (member,) = archive.infolist()
    path = tmp_path / "large.zip"
    with original.open("rb") as raw, zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            if number == count // 2:
                assert archive.fp is not None
                archive.start_dir = archive.fp.seek(gap)
            archives.copy_member(raw, member, archive, f"clips/{number:06d}.mp3")
    assert path.stat().st_size > gap
    with zips.open_zip(path) as archive:
        found = [clip.member for clip in clips.find_clips(archive, sources(range(count)), "large.zip")]
        for number in (0, count // 2 - 1, count // 2, count - 1):
            assert zips.read(path, found[number]) == archive.read(found[number]) == b"content"
        assert found[-1].header_offset > gap


# params.yaml. -----------------------------------------------------------------------------------------------------


def test_edits_keep_all_other_lines() -> None:
    text = PARAMS.read_text()
    section = {"audio": {"url": "/a b/c.zip", "sha1": "0" * 40}, "subset": "medium"}
    edited = yaml_edits.add(text, ("datasets", "rehearsal"), section)
    edited = yaml_edits.set_value(edited, ("dataset",), "rehearsal")
    edited = yaml_edits.set_value(edited, ("models", "birnn", "epochs"), 1)

    expected = yaml.safe_load(text)
    expected["datasets"]["rehearsal"] = section
    expected["dataset"] = "rehearsal"
    expected["models"]["birnn"]["epochs"] = 1
    assert yaml.safe_load(edited) == expected
    changes = [line for line in difflib.ndiff(text.splitlines(), edited.splitlines()) if line[0] in "+-"]
    assert sum(line[0] == "-" for line in changes) == 2
    assert sum(line[0] == "+" for line in changes) == 2 + 5  # a line for each key: rehearsal, audio, url, sha1, subset


@pytest.mark.parametrize("path", [("models", "cnn"), ("models", "birnn_mel"), ("baselines", "svm"), ("compare",)])
def test_a_removed_section_leaves_the_others(path: tuple[str, ...]) -> None:
    text = PARAMS.read_text()
    expected = yaml.safe_load(text)
    parent = expected
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    if not parent and len(path) > 1:
        expected[path[0]] = None
    assert yaml.safe_load(yaml_edits.remove(text, path)) == expected


def test_an_edit_of_a_missing_key_is_an_error() -> None:
    with pytest.raises(InputError, match=r"expected the key models\.cnn2, found none"):
        yaml_edits.remove(PARAMS.read_text(), ("models", "cnn2"))


# The monitor. -----------------------------------------------------------------------------------------------------

MB = 1_000_000
WORKERS = f"""
import os, sys, time
from joblib import Parallel, delayed

def work(path):
    data = bytearray(b"x") * {100 * MB}
    with open(path, "wb") as file:
        file.write(data[:{25 * MB}])
        os.fsync(file.fileno())
    while time.process_time() < 0.7:
        pass
    time.sleep(0.5)
    os.remove(path)

Parallel(2)(delayed(work)(f"{{sys.argv[1]}}/{{number}}") for number in range(2))
print("done")
"""
FORKED = f"""
import os, time
data = bytearray(b"x") * {200 * MB}
for _ in range(3):
    if not os.fork():
        time.sleep(1)
        os._exit(0)
time.sleep(1)
"""


def measure(script: str, folder: Path, **environment: str) -> monitor.Usage:
    log = folder.parent / "log.txt"
    script_file = folder.parent / "script.py"
    script_file.write_text(script)
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(script_file), str(folder)]
    return monitor.measure(command, folder, {**os.environ, **environment}, log, folder)


def is_in_memory(folder: Path) -> bool:
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True)
    return kind.stdout.strip() == "tmpfs"


@needs_linux
def test_the_monitor_sees_workers_and_files(tmp_path: Path) -> None:
    usage = measure(WORKERS, tmp_path / "folder")
    assert usage.exit_code == 0
    assert (tmp_path / "log.txt").read_text() == "done\n"
    assert usage.cpu_seconds > 1.4
    assert 200 * MB < usage.peak.anonymous < 450 * MB
    assert usage.peak.anonymous <= usage.peak.memory < 500 * MB
    assert 50 * MB <= usage.peak.disk < 51 * MB
    if is_in_memory(tmp_path):
        pytest.skip("the temporary folder is not on a disk, so that nothing is written")
    assert 50 * MB <= usage.written < 60 * MB


@needs_linux
def test_shared_memory_counts_once(tmp_path: Path) -> None:
    usage = measure(FORKED, tmp_path / "folder")
    assert 200 * MB < usage.peak.memory < 250 * MB


@needs_linux
def test_the_monitor_returns_the_exit_code(tmp_path: Path) -> None:
    usage = measure("import time; time.sleep(0.5); raise SystemExit(3)", tmp_path / "folder")
    assert usage.exit_code == 3
    assert 0.5 < usage.seconds < 3


@needs_linux
def test_gpu_memory_is_the_sum_over_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 1000\necho 24\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    assert measure("import time; time.sleep(0.5)", tmp_path / "folder").peak.gpu == 1024 << 20


@needs_linux
def test_an_interrupted_monitor_ends_the_command(tmp_path: Path) -> None:
    started = tmp_path / "started"
    script = f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(600)"

    def interrupt(*_: object) -> None:
        if not started.exists():
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            return
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            measure(script, tmp_path / "folder")
    finally:
        signal.signal(signal.SIGALRM, handler)
    assert time.monotonic() - start < 30
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path / "script.py") not in listed


# The cost card. ---------------------------------------------------------------------------------------------------


def record(seconds: float, **changed: Any) -> dict[str, Any]:
    figures = {"seconds": seconds, "cpu_seconds": 1.5 * seconds, "read": 10**9, "written": 2 * 10**9}
    peak = {"memory": 4 * 10**9, "anonymous": 3 * 10**9, "gpu": 0, "disk": 5 * 10**9}
    return {"kind": "measured", "epochs": None, "crops": None, **figures, "peak": peak, "outputs": 10**8} | changed


def report(stages: Mapping[str, Mapping[str, Any]], size: str = "medium", share: float = 1) -> dict[str, Any]:
    machine = {"device": "x86_64", "cores": 2, "memory": 8 * 10**9, "torch": "2.13.0"}
    described = {"size": size, "share": share, "clips with a genre": 25000 * share}
    return {
        "machine": machine,
        "archives": described,
        "options": {"links": True, "revision": "0123456789abcdef"},
        "stages": stages,
    }


def trainings(fixed: float, per_epoch: float, per_crop: float) -> list[dict[str, Any]]:
    lengths = ((1, 3), (2, 1), (1, 1))
    return [record(fixed + e * (per_epoch + c * per_crop), epochs=e, crops=c) for e, c in lengths]


def cells(text: str, stage: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {stage} |")]
    return line.strip("| ").split(" | ")


def test_a_training_is_extrapolated() -> None:
    records = trainings(fixed=100, per_epoch=7, per_crop=3)
    records[1]["peak"] = records[1]["peak"] | {"memory": 9 * 10**9}
    found = extrapolate(records, epochs=8, crops=10)
    assert found["kind"] == "extrapolated"
    assert found["seconds"] == pytest.approx(100 + 8 * (7 + 10 * 3))
    assert found["cpu_seconds"] == pytest.approx(1.5 * found["seconds"])
    assert found["read"] == pytest.approx(10**9)  # the same in all trainings, so it does not depend on their length
    assert found["peak"]["memory"] == 9 * 10**9
    assert found["measured"] == records


def test_noise_does_not_give_negative_times() -> None:
    """Without per_epoch, the second training should take as long as the third; let it be even faster."""
    records = trainings(fixed=100, per_epoch=0, per_crop=0)
    records[1]["seconds"] = 90
    assert 90 < extrapolate(records, epochs=8, crops=10)["seconds"] < 110


def test_the_card_has_a_row_for_each_stage() -> None:
    text = card(report({"split": record(90), "train@cnn": extrapolate(trainings(100, 7, 3), 8, 10)}))
    assert text.startswith("FMA medium: 2 cores, 8 GB of memory, x86_64, torch 2.13.0, outputs linked")
    assert cells(text, "split") == ["split", "1.5", "1.5", "4.0 (3.0)", "–", "1.0", "2.0", "5.0", "0.1"]
    assert cells(text, "train@cnn")[1] == "≈ 6.6"
    assert "train@cnn: 8 × 10 epochs and crops, from 116 s for 1 × 3, 120 s for 2 × 1, 110 s for 1 × 1" in text


def test_the_extraction_of_a_share_is_extrapolated_to_all_clips() -> None:
    whole = report({"download": record(1), "spectrograms": record(60), "evaluate@cnn": record(60)})
    thirty = report({"download": record(2), "split": record(3), "spectrograms": record(60)}, share=0.04)
    text = card(whole, thirty)
    assert cells(text, "spectrograms") == [
        "spectrograms", "≈ 25", "1.5", "4.0 (3.0)", "–", "≈ 25.0", "≈ 50.0", "≈ 125.0", "≈ 2.5",
    ]  # fmt: skip
    assert cells(text, "download")[1] == "≈ 0.83"
    assert cells(text, "evaluate@cnn")[1] == "1"
    assert "| split |" not in text


def test_the_card_of_another_subset_is_extrapolated() -> None:
    stages = {"split": record(60), "evaluate@cnn": record(600), "train@cnn": record(600), "page": record(60)}
    text = card(report(stages), size="large")
    assert text.startswith("FMA large")
    assert cells(text, "split")[1] == "1"  # reads the table of all tracks anyway
    assert cells(text, "page")[1] == "1"
    assert cells(text, "evaluate@cnn")[1] == f"≈ {10 * 49598 / 25000:.0f}"
    assert cells(text, "train@cnn")[1:] == ["≈ 20", "1.5", "4.0 (3.0)", "–", "≈ 2.0", "≈ 2.0", "≈ 5.0", "≈ 0.1"]


# Runs. ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return create(tmp_path_factory.mktemp("rehearsed") / "project", tmp_path_factory.mktemp("unused"))


def run(project: Project, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return project.run(sys.executable, "benchmarks/rehearsal.py", "run", *arguments, check=check)


def read_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@needs_linux
def test_a_run_records_a_failure_and_resumes(
    project: Project, built: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, out = tmp_path / "run", tmp_path / "result.json"
    options = [str(folder), "--archives", str(built[0]), "--output", str(out)]
    failed = run(project, *options, "--stages", "download", "promote", check=False)
    assert failed.returncode == 1
    assert "rehearsal: promote: expected success, found exit code" in failed.stderr
    download, promote = read_log(folder)
    assert (download["stage"], promote["stage"]) == ("download", "promote")
    assert "metrics/cnn.json: not found" in "\n".join(promote["failed"])
    assert not out.exists()

    done = run(project, *options, "--stages", "download", "split")
    assert read_log(folder)[:2] == [download, promote]
    assert [row["stage"] for row in read_log(folder)[2:]] == ["split"]
    assert "| split |" in done.stdout
    found = json.loads(out.read_text())
    assert list(found["stages"]) == ["download", "split"]
    assert found["archives"] == built[1]
    table = folder / "checkout" / "data" / "tracks.csv"
    assert found["stages"]["split"]["outputs"] == table.stat().st_size
    assert len(tracks.read_tracks(table)) == built[1]["clips"]
    values = yaml.safe_load((folder / "checkout" / "params.yaml").read_text())
    lengths = [values["train"], values["models"]["cnn"]]
    assert [(group["epochs"], group["crops_per_track"]) for group in lengths] == [(1, 1), (1, 1)]


def test_stages_are_chosen_by_name_or_group() -> None:
    steps = [Step(name, []) for name in ("split", "train@cnn", "train@birnn", "evaluate@cnn")]
    assert select(iter(steps), None) == steps
    assert select(iter(steps), ["train", "split"]) == steps[:3]
    assert select(iter(steps), ["train@birnn"]) == [steps[2]]
    with pytest.raises(InputError, match=r"--stages: expected evaluate, evaluate@cnn, .*, found extract"):
        select(iter(steps), ["extract"])


@pytest.mark.slow
@needs_linux
def test_a_whole_run(project: Project, source: tuple[Path, Path], tmp_path: Path) -> None:
    archives.build(tmp_path, *source, size="small", share=SHARE)
    done = run(project, str(tmp_path), "--links")
    result = json.loads((tmp_path / "rehearsal.json").read_text())
    assert set(result["stages"]) == {
        "download", "split", "spectrograms", "baseline@svm", "train@cnn", "train@birnn", "evaluate@cnn",
        "evaluate@birnn", "compare", "promote", "status", "repro", "page", "predict",
    }  # fmt: skip
    kinds = {name: figures["kind"] for name, figures in result["stages"].items()}
    assert {name for name, kind in kinds.items() if kind == "extrapolated"} == {"train@cnn", "train@birnn"}
    assert result["stages"]["train@cnn"]["epochs"] == 4
    assert result["stages"]["train@cnn"]["crops"] == 10
    assert all(figures["peak"]["memory"] > 0 for figures in result["stages"].values())
    assert f"from {result['stages']['train@cnn']['measured'][0]['seconds']:.0f} s for 1 × 3" in done.stdout
    assert "up to date" in (tmp_path / "logs" / "repro.txt").read_text()

"""src/predict.py: any audio file, judged as the pipeline judges clips."""

import hashlib
import json
import resource
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import predict
from fma_genre import checkpoint, ensemble, extraction, inference
from fma_genre.ensemble import Ensemble
from fma_genre.segments import Clips
from project import Project
from test_bad_input import tone

RATE = 22050


@pytest.fixture(scope="module")
def clips(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The miniature's test clips, as files."""
    folder = tmp_path_factory.mktemp("clips")
    receipt = json.loads((finished.path / "data/raw/archives.json").read_text())
    index = pd.read_csv(finished.path / "data/spectrograms/index.csv")
    wanted = set(index["track_id"][index["split"] == "test"])
    archives = {hashlib.sha1(path.read_bytes()).hexdigest(): path for path in finished.home.rglob("*.zip")}
    archive = archives[receipt["audio"]["sha1"]]  # other tests leave others there
    with zipfile.ZipFile(archive) as opened:
        for track, member in extraction.members(opened).items():
            if track in wanted:
                (folder / f"{track}.mp3").write_bytes(opened.read(member))
    return {track: folder / f"{track}.mp3" for track in sorted(wanted)}


def test_a_clip_is_judged_as_evaluate_judges_it(finished: Project, clips: dict[int, Path]) -> None:
    folder = finished.path / "models/birnn"
    settings, normalisation = checkpoint.load(folder)
    data = Clips.load(finished.path / "data/spectrograms", settings.input, torch.device("cpu"))["test"]
    network, _ = checkpoint.load_run(folder, settings, settings.seeds[0])
    expected = inference.predict(network, data, normalisation).track_probabilities().numpy()
    table = pd.read_csv(finished.path / "data/spectrograms/index.csv").query("split == 'test'")
    ensemble = Ensemble(folder)
    for track, probabilities in zip(table["track_id"], expected, strict=True):
        found = ensemble.hear(clips[track]).probabilities.mean(axis=0)
        np.testing.assert_allclose(found, probabilities, rtol=1e-4, atol=1e-6)


def test_a_table_with_a_line_a_file(finished: Project, clips: dict[int, Path]) -> None:
    done = finished.run("python", "src/predict.py", *map(str, clips.values()))
    predicted = pd.read_csv(finished.path / "plots/predictions/cnn.csv").set_index("track_id")["predicted"]
    lines = done.stdout.splitlines()
    assert len(lines) == len(clips)
    for line, (track, path) in zip(lines, clips.items(), strict=True):
        name, genres = line.split(maxsplit=1)
        assert name == str(path)
        assert genres.startswith(predicted[track])
        assert line.count("%") == 3
    assert "knows nothing of music" in done.stderr


def test_json_for_programs(finished: Project, clips: dict[int, Path]) -> None:
    paths = list(map(str, clips.values()))[:2]
    done = finished.run("python", "src/predict.py", "--json", "--model", "models/birnn", *paths)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [item["file"] for item in found] == paths
    for item in found:
        shares = list(item["genres"].values())
        assert len(shares) == 3
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1
        assert item["seconds"] == pytest.approx(6, abs=0.1)
    assert not done.stderr


def test_an_unreadable_file_is_a_line_and_stops_nothing(
    finished: Project, clips: dict[int, Path], tmp_path: Path
) -> None:
    good = str(next(iter(clips.values())))
    (tmp_path / "noise.mp3").write_bytes(b"no audio" * 100)
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(RATE * 2, np.nan, np.float32), RATE, subtype="FLOAT")
    mp3 = tone()
    noise = np.random.default_rng(0).bytes(20_000)
    (tmp_path / "head.mp3").write_bytes(mp3[:300])
    (tmp_path / "broken.mp3").write_bytes(mp3[:600] + noise)  # libmpg123 has lines to say of it
    bad = {
        "head.mp3": "a damaged MP3", "broken.mp3": "a damaged MP3",
        "noise.mp3": "Format not recognised", "empty.wav": "Format not recognised", "none.wav": "no samples in it",
        "nan.wav": "samples that are not finite", "absent": "No such file or directory", "\x1b[31mred": "No such file",
        ".": "Is a directory",
    }  # fmt: skip
    files = [good, *(str(tmp_path / name) for name in bad), good]
    done = finished.run("python", "src/predict.py", "--model", "models/cnn", *files, check=False)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    errors = done.stderr.splitlines()
    assert len(errors) == len(bad)
    for line, (name, reason) in zip(errors, bad.items(), strict=True):
        assert line.startswith(f"predict: {tmp_path / name}".replace("\x1b", "?"))
        assert f"expected audio, found: {reason}" in line


@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (8000, 1), (96000, 6)])
def test_other_rates_channels_and_formats(finished: Project, tmp_path: Path, rate: int, channels: int) -> None:
    wave = np.sin(np.arange(3 * rate)[:, None] * 2 * np.pi * 440 / rate) * np.ones(channels) * 0.5
    ensemble = Ensemble(finished.path / "models/cnn")
    heard = []
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, wave, rate)
        heard.append(ensemble.hear(tmp_path / name))
    np.testing.assert_allclose(heard[0].probabilities, heard[1].probabilities, atol=0.02)
    assert heard[0].seconds == pytest.approx(3, abs=0.001)


def test_a_long_file_is_heard_to_its_end_in_windows(finished: Project, tmp_path: Path) -> None:
    """Windows of 30 s; a rest shorter than a segment (2.97 s) is left out, a longer one is not."""
    noise = np.random.default_rng(0).normal(size=RATE * 70).astype(np.float32) / 10
    ensemble = Ensemble(finished.path / "models/cnn")
    found = {}
    for seconds in (30, 32, 60, 65):
        soundfile.write(tmp_path / "long.wav", noise[: RATE * seconds], RATE, subtype="FLOAT")
        found[seconds] = ensemble.hear(tmp_path / "long.wav")
    assert [round(heard.seconds) for heard in found.values()] == [30, 30, 60, 65]
    np.testing.assert_allclose(found[32].probabilities, found[30].probabilities)
    first = len(found[30].probabilities)
    np.testing.assert_allclose(found[65].probabilities[:first], found[30].probabilities, rtol=1e-4, atol=1e-6)
    assert (np.diff(found[65].starts) > 0).all()
    assert found[65].starts[first] == pytest.approx(30)
    assert found[65].picture.shape[0] == pytest.approx(256 * 65 / 30, abs=1)


def test_memory_does_not_grow_with_length(finished: Project, tmp_path: Path) -> None:
    """Ten minutes take 53 MB as samples alone; an hour would take six times that."""
    ensemble = Ensemble(finished.path / "models/birnn")
    short, long = tmp_path / "short.flac", tmp_path / "long.flac"
    soundfile.write(short, np.zeros(RATE * 35, np.float32), RATE)
    soundfile.write(long, np.zeros(RATE * 600, np.float32), RATE)
    ensemble.hear(short)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert ensemble.hear(long).seconds == pytest.approx(600)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


def test_votes_are_drawn_once_a_file(finished: Project, clips: dict[int, Path], tmp_path: Path) -> None:
    first = next(iter(clips.values()))
    (tmp_path / "other").mkdir()
    second = tmp_path / "other" / first.name
    second.write_bytes(first.read_bytes())
    votes = tmp_path / "votes"
    finished.run("python", "src/predict.py", "--plot", str(votes), str(first), str(second))
    drawn = sorted(path.name for path in votes.iterdir())
    assert drawn == [f"{first.name}-1.svg", f"{first.name}.svg"]
    assert (votes / drawn[0]).read_bytes() == (votes / drawn[1]).read_bytes()


def test_a_picture_that_cannot_be_written_is_a_line_and_stops_nothing(
    finished: Project, clips: dict[int, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    first, second = map(str, list(clips.values())[:2])
    done = finished.run("python", "src/predict.py", "--plot", str(tmp_path / "file"), first, second, check=False)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    lines = [line for line in done.stderr.splitlines() if "no picture in" in line]
    assert len(lines) == 2
    assert "Traceback" not in done.stderr


def test_who_reads_no_further_gets_no_traceback(finished: Project, clips: dict[int, Path]) -> None:
    first, second = map(str, list(clips.values())[:2])
    done = finished.run("bash", "-c", f"python src/predict.py '{first}' '{second}' | true", check=False)
    assert not [line for line in done.stderr.splitlines() if not line.startswith("predict: the model has learnt")]


@pytest.mark.parametrize("delay", [1.0, 6.0])  # seconds: while modules are imported, and after
def test_ctrl_c_ends_it_without_a_word(finished: Project, clips: dict[int, Path], delay: float) -> None:
    process = subprocess.Popen(
        ["python", "src/predict.py", *list(map(str, clips.values())) * 1000],
        cwd=finished.path, env=finished.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in said


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory\nframe #0")])
def test_a_model_that_needs_more_memory_than_there_is(
    finished: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    def fail(*_: object) -> None:
        raise error

    soundfile.write(tmp_path / "a.wav", np.zeros(RATE * 3, np.float32), RATE)
    monkeypatch.setattr(ensemble, "predict", fail)
    monkeypatch.setattr(
        "sys.argv", ["predict.py", "--model", str(finished.path / "models/cnn"), str(tmp_path / "a.wav")]
    )
    assert predict.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"predict: {tmp_path / 'a.wav'}: cannot be judged by {finished.path / 'models/cnn'}: ")
    assert line.endswith(str(error).partition("\n")[0] or "not enough memory")


def test_without_a_model_it_says_so(finished: Project, clips: dict[int, Path], tmp_path: Path) -> None:
    done = finished.run(
        "python", "src/predict.py", "--model", str(tmp_path), str(next(iter(clips.values()))), check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"predict: {tmp_path}: expected a trained model, found: ")
    assert len(done.stderr.splitlines()) == 1

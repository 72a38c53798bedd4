"""src/predict.py predicts any audio file as the pipeline predicts clips."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import predict
from fma_genre import prediction
from fma_genre.archives.clips import find_clips
from fma_genre.archives.receipt import read_receipt
from fma_genre.common.errors import InputError
from fma_genre.prediction import Ensemble
from fma_genre.results import predictions
from project import Project
from stores import sources
from test_bad_input import tone

RATE = 22050

WARNING = "predict: the model {} was trained on the synthetic demo and knows nothing about music"


@pytest.fixture(scope="module")
def clips(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Files of the test clips of the finished project, by track id."""
    folder = tmp_path_factory.mktemp("clips")
    index = pd.read_csv(finished.path / "data/index.csv")
    wanted = index["track_id"][(index["split"] == "test") & (index["frames"] > 0)].tolist()
    archive = read_receipt(finished.path / "data/archives.json").audio
    with zipfile.ZipFile(finished.home / archive.sha1 / archive.name) as opened:
        for track, clip in zip(wanted, find_clips(opened, sources(wanted), archive.name), strict=True):
            (folder / f"{track}.mp3").write_bytes(opened.read(clip.member))
    return {track: folder / f"{track}.mp3" for track in wanted}


@pytest.mark.parametrize(("key", "segment_frames"), [("cnn", 128), ("birnn", 64)])
def test_a_clip_is_predicted_as_evaluate_predicts_it(
    finished: Project, clips: dict[int, Path], key: str, segment_frames: int
) -> None:
    """Each model has segments of its own length, so that it also has its own number of votes for a clip."""
    test = predictions.read(finished.path / f"data/predictions/{key}.npz").test
    assert test.probabilities is not None
    assert test.segment_starts is not None
    assert test.tracks.tolist() == list(clips)
    ensemble = Ensemble(finished.path / "models" / key)
    assert ensemble.settings.train.segment_frames == segment_frames
    tracks = zip(clips.values(), np.mean(test.probabilities, axis=0), strict=True)
    for place, (path, probabilities) in enumerate(tracks):
        found = ensemble.predict_file(path)
        np.testing.assert_allclose(found.probabilities.mean(axis=0), probabilities, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.starts, test.segment_starts[test.segment_tracks == place])
        assert len(found.starts) == math.ceil((1 + int(found.seconds * 22050) // 512) / segment_frames)


def test_the_table_has_a_line_for_each_file(finished: Project, clips: dict[int, Path]) -> None:
    done = finished.run_here("src/predict.py", *map(str, clips.values()))
    predicted = pd.read_csv(finished.path / "plots/predictions.csv").set_index("track_id")["cnn_seed0"]
    lines = done.stdout.splitlines()
    assert len(lines) == len(clips)
    for line, (track, path) in zip(lines, clips.items(), strict=True):
        name, genres = line.split(maxsplit=1)
        assert name == str(path)
        assert genres.startswith(predicted[track])
        assert line.count("%") == 3
    assert done.stderr.splitlines() == [WARNING.format("cnn")]


def test_json_for_programs(finished: Project, clips: dict[int, Path]) -> None:
    paths = list(map(str, clips.values()))[:2]
    done = finished.run_here("src/predict.py", "--json", "--model", "models/birnn", *paths)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [item["file"] for item in found] == paths
    for item in found:
        shares = list(item["genres"].values())
        assert len(shares) == 3
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1
        assert item["seconds"] == pytest.approx(6, abs=0.1)
    assert done.stderr.splitlines() == [WARNING.format("birnn")]  # the description of the model's store says so


def test_an_unreadable_file_is_one_line_and_the_others_go_on(
    finished: Project, clips: dict[int, Path], tmp_path: Path
) -> None:
    """Runs in a process of its own, to see lines that a decoder prints."""
    good = str(next(iter(clips.values())))
    (tmp_path / "noise.mp3").write_bytes(b"no audio" * 100)
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(RATE * 2, np.nan, np.float32), RATE, subtype="FLOAT")
    mp3 = tone()
    noise = np.random.default_rng(0).bytes(20_000)
    (tmp_path / "head.mp3").write_bytes(mp3[:300])
    (tmp_path / "broken.mp3").write_bytes(mp3[:600] + noise)  # libmpg123 prints lines about this file
    bad = {
        "head.mp3": "a damaged MP3", "broken.mp3": "a damaged MP3",
        "noise.mp3": "Format not recognised", "empty.wav": "Format not recognised", "none.wav": "no samples",
        "nan.wav": "samples that are not finite", "absent": "No such file or directory", "\x1b[31mred": "No such file",
        ".": "a folder", "fifo": "a pipe",
    }  # fmt: skip
    os.mkfifo(tmp_path / "fifo")
    files = [good, *(str(tmp_path / name) for name in bad), good]
    done = finished.run("python", "src/predict.py", "--model", "models/cnn", *files, check=False)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    warning, *errors = done.stderr.splitlines()
    assert warning == WARNING.format("cnn")
    assert len(errors) == len(bad)
    for line, (name, reason) in zip(errors, bad.items(), strict=True):
        assert line.startswith(f"predict: {tmp_path / name}".replace("\x1b", "?"))
        assert f"expected audio, found: {reason}" in line


def test_a_file_with_a_narrow_band_is_predicted_with_a_warning(finished: Project, tmp_path: Path) -> None:
    """The tests' models are trained on sound up to 11 kHz. A file of a high rate may have no sound above 4 kHz."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=5 * RATE)
    spectrum = np.fft.rfft(noise)
    spectrum[np.fft.rfftfreq(len(noise), 1 / RATE) > 4000] = 0
    soundfile.write(tmp_path / "wide.flac", noise, RATE)
    soundfile.write(tmp_path / "8kHz.flac", noise[: 3 * 8000], 8000)
    soundfile.write(tmp_path / "low.flac", np.fft.irfft(spectrum), RATE, subtype="PCM_24")
    soundfile.write(tmp_path / "silent.flac", np.zeros(5 * RATE), RATE)
    files = [str(tmp_path / f"{name}.flac") for name in ("wide", "8kHz", "low", "silent")]
    for model, highest in (("cnn", "10.7 kHz"), ("birnn", "11.0 kHz")):
        done = finished.run_here("src/predict.py", "--model", f"models/{model}", *files)
        assert len(done.stdout.splitlines()) == 4
        _, *warnings = done.stderr.splitlines()
        pattern = r"predict: (.*): no sound above (\S+) kHz; the model was trained on sound up to (.*), so .*"
        found = [re.fullmatch(pattern, line) for line in warnings]
        assert [match and match[1] for match in found] == files[1:3]
        for match in found:
            assert match
            assert float(match[2]) == pytest.approx(4, abs=0.5)
            assert match[3] == highest


def test_votes_are_drawn_once_a_file(finished: Project, clips: dict[int, Path], tmp_path: Path) -> None:
    first = next(iter(clips.values()))
    (tmp_path / "other").mkdir()
    second = tmp_path / "other" / first.name
    second.write_bytes(first.read_bytes())
    votes = tmp_path / "votes"
    finished.run_here("src/predict.py", "--plot", str(votes), str(first), str(second))
    drawn = sorted(path.name for path in votes.iterdir())
    assert drawn == [f"{first.name}-1.svg", f"{first.name}.svg"]
    assert (votes / drawn[0]).read_bytes() == (votes / drawn[1]).read_bytes()


def test_a_figure_that_cannot_be_written_is_one_line_and_the_others_go_on(
    finished: Project, clips: dict[int, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    first, second = map(str, list(clips.values())[:2])
    done = finished.run_here("src/predict.py", "--plot", str(tmp_path / "file"), first, second, check=False)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    lines = [line for line in done.stderr.splitlines() if "cannot write a figure to" in line]
    assert len(lines) == 2
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_reader_that_ends_early_causes_no_traceback(finished: Project, clips: dict[int, Path]) -> None:
    first, second = map(str, list(clips.values())[:2])
    done = finished.run("bash", "-c", f"python src/predict.py '{first}' '{second}' | true", check=False)
    assert not [line for line in done.stderr.splitlines() if line != WARNING.format("cnn")]


@pytest.mark.slow
def test_ctrl_c_causes_no_traceback(finished: Project, clips: dict[int, Path]) -> None:
    process = subprocess.Popen(
        ["python", "src/predict.py", *list(map(str, clips.values())) * 1000],
        cwd=finished.path, env=finished.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    process.stdout.readline()  # wait until it is busy
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
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

    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=RATE * 3) / 10, RATE)
    monkeypatch.setattr(prediction, "predict_runs", fail)
    monkeypatch.setattr(
        "sys.argv", ["predict.py", "--model", str(finished.path / "models/cnn"), str(tmp_path / "a.wav")]
    )
    assert predict.main() == 1
    warning, line = capsys.readouterr().err.splitlines()
    assert warning == WARNING.format("cnn")
    assert line.startswith(f"predict: {tmp_path / 'a.wav'}: prediction with {finished.path / 'models/cnn'} failed: ")
    assert line.endswith(str(error).partition("\n")[0] or "not enough memory")


def test_a_missing_model_is_one_line(
    finished: Project, clips: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = finished.run_here("src/predict.py", "--model", str(tmp_path), str(next(iter(clips.values()))), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"predict: {tmp_path}: cannot load the model: ")
    assert len(done.stderr.splitlines()) == 1
    absent = predict.PROMOTED.parent / "absent"
    with pytest.raises(InputError, match=f"^{absent}: cannot load the model: No such file .*`make repro`"):
        run(monkeypatch, "--model", absent, "a.mp3")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command in the test process; return its exit code."""
    monkeypatch.setattr("sys.argv", ["predict.py", *map(str, arguments)])
    return predict.main()


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).normal(size=RATE * 4) / 10
    soundfile.write(tmp_path / "ok.ogg", noise, RATE)
    return tmp_path / "ok.ogg"


@pytest.mark.parametrize(
    ("dataset", "synthetic", "says"),
    [
        ("medium", False, "predict: the model cnn was trained on medium"),
        ("demo", False, "predict: the model cnn was trained on demo"),
        ("medium", True, WARNING.format("cnn")),
        ("\x1b[31m", False, "predict: the model cnn was trained on ?[31m"),
    ],
)
def test_a_model_says_what_it_was_trained_on_whatever_params_yaml_says(
    finished: Project,
    tmp_path: Path,
    sound: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dataset: str,
    synthetic: bool,
    says: str,
) -> None:
    model = tmp_path / "model"
    shutil.copytree(finished.path / "models/cnn", model)
    content = json.loads((model / "settings.json").read_text(encoding="utf-8"))
    content["store"] |= {"dataset": dataset, "synthetic": synthetic}
    (model / "settings.json").write_text(json.dumps(content))
    assert run(monkeypatch, "--model", model, sound) == 0
    assert capsys.readouterr().err.splitlines() == [says]


def test_silence_has_no_genre(
    finished: Project,
    tmp_path: Path,
    sound: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    silent = tmp_path / "zeros.mp3"
    soundfile.write(silent, np.zeros(RATE * 4), RATE)
    arguments = ("--model", finished.path / "models/cnn", "--plot", tmp_path / "p", silent, sound)
    assert run(monkeypatch, *arguments) == 0
    row, other = capsys.readouterr().out.splitlines()
    assert row.split() == [str(silent), "silence"]
    assert "%" in other
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["ok.ogg.svg"]
    assert run(monkeypatch, "--json", *arguments) == 0
    found, other = map(json.loads, capsys.readouterr().out.splitlines())
    assert found == {"file": str(silent), "seconds": pytest.approx(4, abs=0.1), "silent": True, "genres": {}}
    assert other["silent"] is False


def test_a_figure_replaces_only_a_file(
    finished: Project,
    tmp_path: Path,
    sound: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plots = tmp_path / "p"
    (plots / "ok.ogg.svg").mkdir(parents=True)
    (plots / "ok.ogg.svg/mine").touch()
    (plots / ".ok.ogg.svg.part").write_text("mine")
    arguments = ("--model", finished.path / "models/cnn", "--plot", plots, sound)
    assert run(monkeypatch, *arguments) == 1
    figure = plots / "ok.ogg.svg"
    line = f"predict: {sound}: cannot write a figure to {plots}: {figure}: expected a file, found a folder"
    assert capsys.readouterr().err.splitlines() == [WARNING.format("cnn"), line]
    assert (figure / "mine").exists()
    shutil.rmtree(figure)
    for _ in range(2):
        assert run(monkeypatch, *arguments) == 0
        assert figure.read_bytes().startswith(b"<?xml")
    assert (plots / ".ok.ogg.svg.part").read_text() == "mine"


def test_no_figure_takes_the_place_of_another_input(sound: Path) -> None:
    other = sound.with_name("ok.ogg.svg")  # also the name of an audio file
    (sound.parent / "q").mkdir()
    assert list(predict.figure_paths(sound.parent / "q/..", [sound, other])) == [
        sound.parent / "q/.." / figure.name for figure in predict.figure_paths(sound.parent, [sound, other]) if figure
    ], "for any spelling of the folder"
    figures = list(predict.figure_paths(sound.parent, [sound, other]))
    assert [figure and figure.name for figure in figures] == ["ok.ogg-1.svg", "ok.ogg.svg.svg"]


def test_a_model_without_probabilities_is_one_line(
    finished: Project, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_probabilities(*_: object) -> None:
        raise InputError("expected a network whose probabilities add up to 1, found a sum of nan")

    monkeypatch.setattr(prediction, "predict_runs", no_probabilities)
    model = finished.path / "models/cnn"
    with pytest.raises(InputError, match=f"^{model}: expected a network whose probabilities add up to 1, found"):
        run(monkeypatch, "--model", model, sound, sound)


def test_json_is_never_nan(sound: Path) -> None:
    found = prediction.FilePrediction(("Folk",), np.full((1, 1), np.nan), np.zeros(1), 1.0, 0.0, 0.0, np.zeros((1, 1)))
    with pytest.raises(ValueError, match="not JSON compliant"):
        predict.as_json(sound, found)


@pytest.mark.slow
def test_a_full_or_latin_1_output_causes_no_traceback(finished: Project, sound: Path) -> None:
    name = os.fsdecode(b"\xe3\xff") + "ロ.ogg"
    shutil.copy(sound, sound.with_name(name))
    command = "PYTHONIOENCODING={} python src/predict.py --model models/cnn '{}' >{}"
    latin = sound.with_name("latin")
    finished.run("bash", "-c", command.format("latin-1", sound.with_name(name), latin))
    assert f"{sound.parent}/??\\u30ed.ogg  " in latin.read_text(encoding="latin-1")
    full = finished.run("bash", "-c", command.format("utf-8", sound, "/dev/full"), check=False)
    assert full.returncode == 1
    assert [line.partition(":")[0] for line in full.stderr.splitlines()] == ["predict"] * 2
    assert "No space left on device" in full.stderr

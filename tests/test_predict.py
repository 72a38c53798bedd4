"""src/predict.py: any audio file, judged as the pipeline judges clips."""

import json
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
from fma_genre.archives.receipt import read_receipt
from fma_genre.features.extraction import members
from fma_genre.prediction import Ensemble
from fma_genre.results import predictions
from project import Project
from test_bad_input import tone

RATE = 22050

WARNING = "predict: the model was trained on the synthetic demo and knows nothing of music"


@pytest.fixture(scope="module")
def clips(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The miniature's test clips, as files."""
    folder = tmp_path_factory.mktemp("clips")
    index = pd.read_csv(finished.path / "data/index.csv")
    wanted = set(index["track_id"][(index["split"] == "test") & (index["frames"] > 0)])
    archive = read_receipt(finished.path / "data/archives.json").audio
    with zipfile.ZipFile(finished.home / archive.sha1 / archive.name) as opened:
        for track, member in members(opened).items():
            if track in wanted:
                (folder / f"{track}.mp3").write_bytes(opened.read(member))
    return {track: folder / f"{track}.mp3" for track in sorted(wanted)}


@pytest.mark.parametrize("key", ["cnn", "birnn"])
def test_a_clip_is_predicted_as_evaluate_predicts_it(finished: Project, clips: dict[int, Path], key: str) -> None:
    test = predictions.read(finished.path / f"data/predictions/{key}.npz").test
    assert test.probabilities is not None
    assert test.tracks.tolist() == list(clips)
    ensemble = Ensemble(finished.path / "models" / key)
    for path, probabilities in zip(clips.values(), np.mean(test.probabilities, axis=0), strict=True):
        found = ensemble.predict_file(path).probabilities.mean(axis=0)
        np.testing.assert_allclose(found, probabilities, rtol=1e-4, atol=1e-6)


def test_a_table_with_a_line_a_file(finished: Project, clips: dict[int, Path]) -> None:
    done = finished.run("python", "src/predict.py", *map(str, clips.values()))
    predicted = pd.read_csv(finished.path / "plots/predictions.csv").set_index("track_id")["cnn"]
    lines = done.stdout.splitlines()
    assert len(lines) == len(clips)
    for line, (track, path) in zip(lines, clips.items(), strict=True):
        name, genres = line.split(maxsplit=1)
        assert name == str(path)
        assert genres.startswith(predicted[track])
        assert line.count("%") == 3
    assert done.stderr.splitlines() == [WARNING]


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
    assert done.stderr.splitlines() == [WARNING]  # whichever model: its store says so


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
    warning, *errors = done.stderr.splitlines()
    assert warning == WARNING
    assert len(errors) == len(bad)
    for line, (name, reason) in zip(errors, bad.items(), strict=True):
        assert line.startswith(f"predict: {tmp_path / name}".replace("\x1b", "?"))
        assert f"expected audio, found: {reason}" in line


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


def test_a_figure_that_cannot_be_written_is_a_line_and_stops_nothing(
    finished: Project, clips: dict[int, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    first, second = map(str, list(clips.values())[:2])
    done = finished.run("python", "src/predict.py", "--plot", str(tmp_path / "file"), first, second, check=False)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    lines = [line for line in done.stderr.splitlines() if "no figure in" in line]
    assert len(lines) == 2
    assert "Traceback" not in done.stderr


def test_who_reads_no_further_gets_no_traceback(finished: Project, clips: dict[int, Path]) -> None:
    first, second = map(str, list(clips.values())[:2])
    done = finished.run("bash", "-c", f"python src/predict.py '{first}' '{second}' | true", check=False)
    assert not [line for line in done.stderr.splitlines() if line != WARNING]


def test_ctrl_c_ends_it_without_a_word(finished: Project, clips: dict[int, Path]) -> None:
    process = subprocess.Popen(
        ["python", "src/predict.py", *list(map(str, clips.values())) * 1000],
        cwd=finished.path, env=finished.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    process.stdout.readline()  # it is at work
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
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

    soundfile.write(tmp_path / "a.wav", np.zeros(RATE * 3, np.float32), RATE)
    monkeypatch.setattr(prediction, "predict", fail)
    monkeypatch.setattr(
        "sys.argv", ["predict.py", "--model", str(finished.path / "models/cnn"), str(tmp_path / "a.wav")]
    )
    assert predict.main() == 1
    warning, line = capsys.readouterr().err.splitlines()
    assert warning == WARNING
    assert line.startswith(f"predict: {tmp_path / 'a.wav'}: {finished.path / 'models/cnn'} cannot predict it: ")
    assert line.endswith(str(error).partition("\n")[0] or "not enough memory")


def test_without_a_model_it_says_so(finished: Project, clips: dict[int, Path], tmp_path: Path) -> None:
    done = finished.run(
        "python", "src/predict.py", "--model", str(tmp_path), str(next(iter(clips.values()))), check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"predict: {tmp_path}: expected a trained model, found: ")
    assert len(done.stderr.splitlines()) == 1

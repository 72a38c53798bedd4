"""Waveforms: µ-law codes, the stage that writes them, the front end that reads them, and a model on raw audio."""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml

import evaluate
import train
import waveforms
from fma_genre import store
from fma_genre.archives.receipt import Archive, Receipt, write_receipt
from fma_genre.common import params
from fma_genre.common.errors import InputError
from fma_genre.common.params import Waveform
from fma_genre.features import audio, waveform
from fma_genre.features.waveform import WaveformEncoder, compress
from fma_genre.learning import augmentation, build
from fma_genre.learning.clips import Clips
from fma_genre.prediction import Ensemble
from fma_genre.results import predictions
from fma_genre.store import expand, open_store
from project import PARAMS, Project
from stores import GENRES, create_checkout, make_clips, refusal, run_stage

RATE, HOP, SECONDS = 4000, 9, 2
RAW = {"sample_rate": RATE, "hop": HOP}
FRAMES = SECONDS * RATE // HOP
MODEL = {
    "network": "rescnn_raw",
    "representation": "raw",
    "front_end": "waveform",
    "channels": [4, 4, 8],
    "block_dropout": 0.1,
    "dense": 8,
    "dropout": 0.1,
    "segment_frames": 81,
    "max_pitch_shift": 0,
    "epochs": 2,
}


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=shape).astype(np.float32)


# µ-law. -----------------------------------------------------------------------------------------------------------


def test_codes_are_those_of_the_mu_law_relative_to_the_largest_sample() -> None:
    samples = noise(10_000)
    expected = 128 + 127 * librosa.mu_compress(samples / np.abs(samples).max(), mu=255, quantize=False)
    assert np.abs(compress(samples) - expected).max() <= 0.5 + 1e-4
    assert compress(samples).dtype == np.uint8


def test_samples_are_those_of_the_mu_law() -> None:
    codes = np.arange(1, 256, dtype=np.uint8)
    expected = librosa.mu_expand((codes.astype(float) - 128) / 127, mu=255, quantize=False)
    np.testing.assert_allclose(expand(codes), expected, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 3.0])
def test_the_ratio_of_signal_to_rounding_error_does_not_depend_on_the_level(scale: float) -> None:
    samples = scale * noise(50_000)
    peak = np.abs(samples).max()
    error = expand(compress(samples)) * peak - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(error**2)) > 37.5
    assert (np.abs(error) <= 0.0221 * np.abs(samples) + 0.00009 * peak).all()


def test_zero_and_the_largest_sample_are_exact() -> None:
    samples = np.array([0.0, 0.5, -0.25, 0.0], np.float32)
    assert compress(samples)[[0, 1, 3]].tolist() == [128, 255, 128]
    assert compress(-samples)[1] == 1
    assert expand(np.array([1, 128, 255], np.uint8)).tolist() == [-1, 0, 1]


@pytest.mark.parametrize("level", [0.0, 1e-6])
def test_a_silent_clip_is_not_amplified(level: float) -> None:
    assert (compress(np.array([0.0, level, -level], np.float32)) == 128).all()


# Frames. ----------------------------------------------------------------------------------------------------------


def settings(**changed: Any) -> Waveform:
    return replace(Waveform(sample_rate=RATE, hop=HOP, seconds=float(SECONDS)), **changed)


def test_a_frame_has_consecutive_samples() -> None:
    samples = noise(5 * HOP + HOP - 1)
    levels = WaveformEncoder.of(settings()).levels(samples)
    assert levels.shape == (5, HOP), "samples that do not fill a frame are left out"
    np.testing.assert_array_equal(levels.flatten(), compress(samples[: 5 * HOP]))


def test_a_clip_shorter_than_a_frame_is_filled_with_zeros() -> None:
    samples = noise(4)
    levels = WaveformEncoder.of(settings()).levels(samples)
    assert levels.tolist() == [[*compress(samples).tolist(), *[128] * (HOP - 4)]]


@pytest.mark.parametrize(
    ("changed", "shape"),
    [({}, (888, 9)), ({"sample_rate": 22050, "seconds": 30.0, "hop": 27}, (24_500, 27)), ({"hop": 9000}, (1, 9000))],
)
def test_rows_are_as_long_as_the_longest_clip(changed: dict[str, Any], shape: tuple[int, int]) -> None:
    encoder = WaveformEncoder.of(settings(**changed))
    assert encoder.shape == shape
    assert encoder.levels(noise(700_000)).shape == shape
    assert encoder.frequencies().tolist() == [0] * shape[1]


# Parameters. ------------------------------------------------------------------------------------------------------


def parameters(**sections: Any) -> dict[str, Any]:
    """The parameters of the tests with these sections of `waveforms`, and the model."""
    values: dict[str, Any] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    values["waveforms"] = sections
    values["models"]["rescnn_raw"] = dict(MODEL)
    return values


def test_a_waveform_has_the_seconds_of_the_spectrograms() -> None:
    assert params.check(parameters(raw=RAW)).waveforms == {"raw": settings(seconds=30.0)}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({}, "models.rescnn_raw.representation: expected one of mel, stft, found 'raw'"),
        ({"raw1": RAW}, "models.rescnn_raw.representation: expected one of mel, stft, raw1, found 'raw'; did you mean"),
        ({"raw": RAW, "mel": RAW}, "waveforms.mel: expected a name other than predictions, work, mel, stft, found"),
        ({"raw": RAW, "work": RAW}, "waveforms.work: expected a name other than predictions, work, "),
        ({"raw": RAW, "predictions": RAW}, "waveforms.predictions: expected a name other than predictions, work, "),
        ({"../raw": RAW}, "waveforms: expected a name of at most 64 letters, digits, - and _, found '../raw'"),
        ({"raw": RAW | {"hop": 0}}, "waveforms.raw.hop: expected a whole number from 1 to 65536, found 0"),
        ({"raw": RAW | {"hop": 2**16 + 1}}, "waveforms.raw.hop: expected a whole number from 1 to 65536, found 65537"),
        ({"raw": {"hop": 27}}, "waveforms.raw.sample_rate: expected a whole number from 4000 to 192000, found none"),
        ({"raw": RAW | {"seconds": 30}}, "waveforms.raw: expected the keys sample_rate, hop, found 'seconds'"),
        ({"raw": 22050}, "waveforms.raw: expected a group of named values, found 22050"),
    ],
)
def test_invalid_sections_are_refused_in_one_line(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}") as error:
        params.check(parameters(**sections))
    assert len(str(error.value).splitlines()) == 1


# The stage. -------------------------------------------------------------------------------------------------------


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def clip(row: int) -> np.ndarray:
    """Samples of a track; row 0 is a short clip, and row 1 is longer than `spectrograms.seconds`."""
    return noise(int({0: 1.5, 1: 3}.get(row, SECONDS) * RATE), seed=row)


def make_project(path: Path, home: Path, contents: list[bytes]) -> Project:
    """A checkout with an archive of clips with these contents, an index and a receipt."""
    project = create_checkout(path)
    project.edit_params(lambda values: values.update(parameters(raw=RAW)))
    project.edit_params(lambda values: values["spectrograms"].update(seconds=SECONDS))
    archive = path / "clips.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for row, content in enumerate(contents):
            file.writestr(f"fma/000/{10 + row:06d}.mp3", content)
    stored = Archive(archive.name, archive.stat().st_size, hashlib.sha1(archive.read_bytes()).hexdigest())
    stored_path = home / stored.sha1 / stored.name
    stored_path.parent.mkdir(parents=True, exist_ok=True)
    archive.rename(stored_path)
    write_receipt(path / "data/archives.json", Receipt("demo", True, metadata=stored, audio=stored))
    return project


def run_waveforms(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.path)
    waveforms.main(params.load(), "raw")


@pytest.fixture(autouse=True)
def one_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Extract in the test process."""
    monkeypatch.setenv("FMA_HOME", str(home))
    monkeypatch.setenv("FMA_WORKERS", "1")
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)


@pytest.fixture
def project(tmp_path: Path, home: Path) -> Project:
    return make_project(tmp_path / "project", home, [wav(clip(row)) for row in range(len(GENRES))])


def edit_index(project: Project, row: int, **changed: Any) -> None:
    path = project.path / "data/index.csv"
    index = store.read_index(path)
    for name, value in changed.items():
        index.loc[row, name] = value
    store.write_index(path, index)


def test_the_store_has_the_samples_of_every_clip(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run_waveforms(project, monkeypatch)
    opened = open_store("raw")
    assert opened.index["frames"].tolist() == [int(1.5 * RATE) // HOP, *[FRAMES] * (len(GENRES) - 1)]
    assert opened.levels.shape == (len(GENRES), FRAMES, HOP)
    for row, frames in enumerate(opened.index["frames"]):
        expected = compress(clip(row)[: frames * HOP]).reshape(frames, HOP)
        np.testing.assert_array_equal(opened.levels[row, :frames], expected)
    spectrograms = store.read_index(Path("data/index.csv"))
    pd.testing.assert_frame_equal(opened.index.drop(columns="frames"), spectrograms.drop(columns="frames"))
    found = opened.description
    assert (found.dataset, found.synthetic, found.classes) == ("demo", True, ("Folk", "Rock"))
    assert (found.representation, found.sample_rate, found.seconds, found.hop) == ("raw", RATE, SECONDS, HOP)
    assert found.is_waveform
    assert not found.has_frequencies
    store.check_current(opened, params.load())
    assert not list(Path("data/work").glob("*/*")), "no scratch folder stays"


def test_clips_are_resampled(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [wav(noise(2 * 5000, 2, seed=row), 5000) for row in range(len(GENRES))]
    project = make_project(tmp_path / "stereo", home, contents)
    run_waveforms(project, monkeypatch)
    samples, _ = librosa.load(io.BytesIO(contents[3]), sr=RATE, mono=True)
    np.testing.assert_array_equal(open_store("raw").levels[3].flatten(), compress(samples[: FRAMES * HOP]))


def test_a_track_that_the_index_leaves_out_later_is_left_out(stored: Project) -> None:
    """Cross-validation marks the test tracks as left out."""
    edit_index(stored, 4, frames=0, left_out="test track of the data set")
    assert open_store("raw").index["frames"][4] == 0


def test_a_track_that_the_spectrograms_left_out_is_left_out(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_index(project, 4, frames=0, left_out="too short")
    run_waveforms(project, monkeypatch)
    opened = open_store("raw")
    assert opened.index["frames"][4] == 0
    assert 14 not in opened.used["track_id"].tolist()
    assert np.load("data/raw/frames.npy")[4] == 0


def test_an_unreadable_clip_is_left_out_if_the_index_says_so_and_else_refused(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [wav(clip(row)) for row in range(len(GENRES))]
    contents[5] = b"no audio"
    project = make_project(tmp_path / "unreadable", home, contents)
    message = r"^data/index\.csv: expected track 15 to have a readable clip, found: Format not recognised\.$"
    with pytest.raises(InputError, match=message):
        run_waveforms(project, monkeypatch)
    assert not Path("data/raw").exists()
    edit_index(project, 5, frames=0, left_out="Format not recognised.")
    run_waveforms(project, monkeypatch)
    assert open_store("raw").index["frames"].eq(0).tolist() == [row == 5 for row in range(len(GENRES))]


def test_a_stopped_stage_is_resumed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    load = audio.load

    def counted(data: bytes, *arguments: Any) -> audio.Clip:
        if len(decoded) == 6:
            decoded.append(-1)
            raise KeyboardInterrupt
        decoded.append(len(data))
        return load(data, *arguments)

    monkeypatch.setattr(audio, "load", counted)
    with pytest.raises(KeyboardInterrupt):
        run_waveforms(project, monkeypatch)
    assert not Path("data/raw").exists()
    run_waveforms(project, monkeypatch)
    assert len(decoded) == 1 + len(GENRES)
    assert open_store("raw").levels.any(axis=(1, 2)).all()


# The store. -------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A checkout with a waveform, as the current folder."""
    run_waveforms(project, monkeypatch)
    return project


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"sample_rate": 8000}, "expected sample_rate 8000 as in params.yaml, found 4000"),
        ({"hop": 18}, "expected hop 18 as in params.yaml, found 9"),
    ],
)
def test_a_store_made_with_other_settings_is_refused(stored: Project, change: dict[str, Any], found: str) -> None:
    stored.edit_params(lambda values: values["waveforms"]["raw"].update(change))
    expected = f"data/raw/store.json: {found}: `dvc repro waveforms@raw` rebuilds it"
    assert refusal(stored, "train", "rescnn_raw", train.main) == expected


def test_other_seconds_of_the_spectrograms_make_a_store_outdated(stored: Project) -> None:
    stored.edit_params(lambda values: values["spectrograms"].update(seconds=3))
    message = refusal(stored, "train", "rescnn_raw", train.main)
    assert message.startswith("data/raw/store.json: expected seconds 3.0 as in params.yaml, found 2.0: `dvc repro wave")


def test_a_missing_store_is_named_with_the_command_that_makes_it(project: Project) -> None:
    expected = "data/raw/store.json: not found; `dvc repro` runs the stages that write it"
    assert refusal(project, "train", "rescnn_raw", train.main) == expected


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        (np.zeros(3, np.int32), r"int32 of shape \(3,\)"),
        (np.zeros(16), r"float64 of shape \(16,\)"),
        (np.arange(16), r"none of 1 used tracks"),
        (None, r"cannot read .*"),
    ],
)
def test_damaged_frames_are_refused_in_one_line(stored: Project, frames: np.ndarray | None, found: str) -> None:
    path = Path("data/raw/frames.npy")
    if frames is None:
        path.write_bytes(b"no array")
    else:
        np.save(path, frames)
    with pytest.raises(InputError, match=rf"^{path}: .*{found}.*: `dvc repro waveforms@raw` rebuilds it$"):
        open_store("raw")


def test_damaged_levels_name_the_stage(stored: Project) -> None:
    np.save("data/raw/levels.npy", np.zeros((16, FRAMES, HOP - 1), np.uint8))
    with pytest.raises(InputError, match=r"^data/raw/levels\.npy: .*: `dvc repro waveforms@raw` rebuilds it$"):
        open_store("raw")


def test_a_spectrogram_without_its_floor_is_refused_in_one_line(stored: Project) -> None:
    """Only a waveform has no floor."""
    path = Path("data/mel/store.json")
    content = json.loads(path.read_text())
    del content["floor_db"]
    path.write_text(json.dumps(content))
    message = (
        r"^data/mel/store\.json: expected the settings of a section of `waveforms`, found those of mel: `dvc repro`"
    )
    with pytest.raises(InputError, match=message):
        store.check_current(store.Store(Path("data/mel"), store.read_description(path), pd.DataFrame()), params.load())


def test_a_description_survives_its_file(stored: Project) -> None:
    found = open_store("raw").description
    assert found == waveform.describe("raw", settings(), "demo", True, ["Folk", "Rock"])
    assert "floor_db" not in json.loads(Path("data/raw/store.json").read_text())
    assert found.stage == "waveforms@raw"
    assert open_store("mel").description.stage == "spectrograms"


# The front end. ---------------------------------------------------------------------------------------------------


def raw_clips(samples: np.ndarray, lengths: list[int] | None = None) -> Clips:
    """Clips with these samples (tracks, frames, bins), which are compressed together."""
    codes = compress(samples.flatten()).reshape(samples.shape)
    clips = make_clips(torch.from_numpy(codes), 3, lengths=lengths, frequencies=[0.0] * samples.shape[2])
    return replace(clips, description=replace(clips.description, floor_db=None, n_fft=None))


def test_input_is_the_samples_over_their_root_mean_square() -> None:
    clips = raw_clips(noise(4, 50, 9))
    front_end = build.fit_front_end("waveform", {}, clips)
    found = front_end.decode(front_end.encode(clips.levels))
    expected = expand(clips.levels.numpy())
    np.testing.assert_allclose(found, expected / np.sqrt(np.mean(expected**2)), rtol=1e-5)
    assert build.front_end_shapes("waveform", {}, 9) == {
        name: tuple(tensor.shape) for name, tensor in build.tensors_of(front_end).items()
    }


def test_only_filled_frames_count() -> None:
    samples = noise(2, 50, 9)
    samples[1, 20:] *= 100
    found = build.fit_front_end("waveform", {}, raw_clips(samples, [50, 20]))
    expected = expand(raw_clips(samples).levels.numpy())
    scale = np.sqrt(np.mean(np.concatenate([expected[0], expected[1, :20]]) ** 2))
    np.testing.assert_allclose(found.values, expand(np.arange(256)) / scale, rtol=1e-5)  # type: ignore[attr-defined]


def test_silent_clips_give_a_finite_front_end() -> None:
    front_end = build.fit_front_end("waveform", {}, raw_clips(np.zeros((2, 5, 9), np.float32)))
    assert torch.isfinite(front_end.encode(torch.arange(256).byte())).all()


def test_mixup_mixes_audio() -> None:
    """The mean of two mixed segments is the mean of their samples."""
    clips = raw_clips(noise(2, 3, 9))
    front_end = build.fit_front_end("waveform", {}, clips)
    torch.manual_seed(0)
    batches = [torch.tensor([0, 1])]
    mixed, shares = augmentation.augment(clips, batches, front_end, max_pitch_shift=0, mixup=0.5)
    samples = front_end.encode(clips.levels)
    torch.testing.assert_close(mixed, torch.einsum("st,tfb->sfb", shares, samples))
    assert 0 < shares.min() < 0.5


def test_a_spectrogram_is_refused() -> None:
    clips = make_clips(torch.zeros(2, 5, 9, dtype=torch.uint8), 3)
    with pytest.raises(InputError, match=r"^front_end waveform: expected a representation of `waveforms`, found stft$"):
        build.fit_front_end("waveform", {}, clips)


def test_a_picture_shows_magnitudes() -> None:
    description = raw_clips(noise(2, 5, 9)).description
    levels = np.array([[1, 128, 255], [100, 128, 129]], np.uint8)
    assert description.brightness(levels).tolist() == [[127, 0, 127], [28, 0, 1]]
    assert replace(description, floor_db=60.0).brightness(levels) is levels


# A model. ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_pitch_shift", 3, "max_pitch_shift: expected 0, since raw has no frequencies to shift, found 3"),
        ("segment_frames", 891, "segment_frames: expected at most 888, the frames of 2 s of raw, found 891"),
    ],
)
def test_impossible_training_is_refused(stored: Project, name: str, value: int, message: str) -> None:
    stored.edit_params(lambda values: values["models"]["rescnn_raw"].update({name: value}))
    assert refusal(stored, "train", "rescnn_raw", train.main) == f"models.rescnn_raw.{message}"


def test_other_segments_are_refused(stored: Project) -> None:
    stored.edit_params(lambda values: values["models"]["rescnn_raw"].update(segment_frames=80))
    message = refusal(stored, "train", "rescnn_raw", train.main)
    assert message.endswith("3 ^ (3 blocks + 1) = 81 samples, found 80 frames of 9 samples = 720")


def test_a_file_gets_the_probabilities_of_the_same_clip(stored: Project) -> None:
    for name, main in (("train", train.main), ("evaluate", evaluate.main)):
        run_stage(stored, name, "rescnn_raw", main)
    evaluated = predictions.read(Path("data/predictions/rescnn_raw.npz")).test
    assert evaluated.segment_probabilities is not None
    assert evaluated.segment_tracks is not None
    assert evaluated.segment_starts is not None
    model = Ensemble("models/rescnn_raw")
    for place, track in enumerate(evaluated.tracks):
        path = Path(f"{track}.wav")
        path.write_bytes(wav(clip(track - 10)))
        found = model.predict_file(path)
        own = evaluated.segment_tracks == place
        np.testing.assert_allclose(found.probabilities, evaluated.segment_probabilities[:, own].mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(found.starts, evaluated.segment_starts[own])
        assert len(found.starts) == 11
        assert found.starts[-1] == pytest.approx((FRAMES - 81) * HOP / RATE, abs=1e-9)
        assert found.seconds == SECONDS
        codes = WaveformEncoder.of(settings()).levels(clip(track - 10)).astype(int)
        picture = predictions.thumbnail(np.abs(codes - 128))
        np.testing.assert_array_equal(found.picture, picture)
        assert not model.is_narrow(found)
    shown = predictions.read(Path("data/predictions/rescnn_raw.npz")).examples
    assert any(np.array_equal(example.picture, picture) for example in shown if example.track == place)


@pytest.mark.parametrize("change", [{"hop": 27}, {"frequencies": [1.0] * HOP}])
def test_a_model_whose_description_contradicts_itself_is_refused(stored: Project, change: dict[str, Any]) -> None:
    run_stage(stored, "train", "rescnn_raw", train.main)
    path = Path("models/rescnn_raw/settings.json")
    content = json.loads(path.read_text())
    content["store"] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"expected frequencies that match its raw settings, found others$"):
        Ensemble("models/rescnn_raw")


# With the pipeline. -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_dvc_runs_a_model_on_raw_audio_after_the_others(
    finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = finished.copy(tmp_path / "project")
    model = MODEL | {"segment_frames": 243, "epochs": 1}
    project.edit_params(lambda values: values.update(waveforms={"raw": RAW}))
    assert project.repro() == {"waveforms@raw"}
    project.edit_params(lambda values: values["models"].update(rescnn_raw=model))
    own = {"train@rescnn_raw", "evaluate@rescnn_raw", "compare", "promote"}
    assert project.repro() == own
    opened, spectrograms = (open_store(name, project.path / "data") for name in ("raw", "mel"))
    assert opened.used["track_id"].tolist() == spectrograms.used["track_id"].tolist()
    seconds = opened.used["frames"] * HOP / RATE
    np.testing.assert_allclose(seconds, opened.used["decoded"], atol=HOP / RATE)
    assert "| rescnn_raw " in (project.path / "report.md").read_text()
    assert (project.path / "plots/comparison/votes_rescnn_raw.svg").exists()

    soundfile.write(project.path / "noise.wav", noise(7 * RATE), RATE)
    printed = project.run("python", "src/predict.py", "--json", "--model", "models/rescnn_raw", "noise.wav").stdout
    assert json.loads(printed)["seconds"] == 7
    assert len(json.loads(printed)["genres"]) == 3

    changes: list[tuple[Callable[[dict[str, Any]], object], set[str]]] = [
        (lambda values: values["waveforms"]["raw"].update(hop=27), {"waveforms@raw"} | own),
        (lambda values: values["spectrograms"]["mel"].update(bands=64), {"spectrograms", "baseline@svm", "compare"}),
    ]
    for change, expected in changes:
        project.edit_params(change)
        found = project.repro()
        assert expected <= found
        assert not {"train@birnn", "evaluate@birnn", "download", "split"} & found
    assert not {"waveforms@raw", "train@rescnn_raw"} & found, "another spectrogram changes no waveform"

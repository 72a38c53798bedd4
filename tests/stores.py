"""Clips and stores that a test makes; checkouts with stores of noise, and the stages train and evaluate there."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import Tensor

from fma_genre import store
from fma_genre.common import params, stage
from fma_genre.common.params import Params
from fma_genre.features.representations import describe as describe_representation
from fma_genre.learning.clips import Clips
from fma_genre.store import Description
from project import ROOT, Project, dump

GENRES = ("Folk", "Rock") * 8  # of the tracks of a checkout
SPLITS = ("training",) * 12 + ("validation",) * 2 + ("test",) * 2
FRAMES = 160  # which are two segments


def describe(frequencies: Sequence[float] | np.ndarray, **changed: Any) -> Description:
    """The description of a store whose bins have these frequencies in Hz."""
    values = np.asarray(frequencies, float)
    given: dict[str, Any] = {
        "dataset": "tiny",
        "synthetic": False,
        "classes": ("Folk", "Rock"),
        "representation": "stft",
        "n_fft": 1024,
        "sample_rate": 22050,
        "seconds": 30.0,
        "hop": 512,
        "floor_db": 100.0,
        "frequencies": tuple(values.tolist()),
        "mels": tuple(librosa.hz_to_mel(values).tolist()),
    }
    return Description(**(given | changed))


def make_clips(
    levels: Tensor,
    segment_frames: int,
    *,
    lengths: Sequence[int] | None = None,
    labels: Sequence[int] | None = None,
    frequencies: Sequence[float] | np.ndarray | None = None,
) -> Clips:
    """All rows of some levels (tracks, frames, bins): by default filled, and of a class each."""
    tracks, frames, bins = levels.shape
    labels = range(tracks) if labels is None else labels
    frequencies = np.linspace(50, 10_000, bins) if frequencies is None else frequencies
    classes = tuple(map(str, range(max(labels) + 1)))
    return Clips(
        description=describe(frequencies, classes=classes),
        levels=levels,
        rows=torch.arange(tracks),
        lengths=torch.tensor([frames] * tracks if lengths is None else list(lengths)),
        labels=torch.tensor(list(labels)),
        segment_frames=segment_frames,
        frequencies=torch.tensor(np.asarray(frequencies, float)),
    )


def make_index(genres: Sequence[str], splits: Sequence[str], frames: Sequence[int]) -> pd.DataFrame:
    """An index of tracks 10, 11, …, each of its own artist; one without frames is left out."""
    tracks = range(10, 10 + len(genres))
    index = pd.DataFrame({"track_id": tracks, "artist_id": tracks, "genre": genres, "split": splits, "frames": frames})
    used = index["frames"] > 0
    seconds = (index["frames"] * 512 / 22050).round(3)
    decoder = np.where(used, "libsndfile", "")
    index = index.assign(cut=False, decoder=decoder, decoded=seconds, length=seconds, same_as="")
    return index.assign(left_out=np.where(used, "", "too short"))


def write_store(data: Path, levels: np.ndarray, index: pd.DataFrame, description: Description) -> None:
    """Write a store of `levels` (tracks, frames, bins) below the folder `data`, with the index."""
    folder = data / description.representation
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / store.LEVELS, levels)
    store.write_description(folder / store.DESCRIPTION, description)
    store.write_index(data / store.INDEX, index)


def create_checkout(path: Path, epochs: int = 2, seed: int = 0) -> Project:
    """A folder with parameters of small networks and with stores of noise; its code is that of this checkout.

    Args:
        epochs: of birnn; cnn has two, and an SVM head.
        seed: of the noise.
    """
    path.mkdir(parents=True, exist_ok=True)
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["models"]["cnn"] |= {"channels": [4, 4], "pools": [8, 8], "dense": 8, "svm_head": [0.01, 0.1]}
    values["models"]["birnn"] |= {"embedding": 8, "hidden": 8, "epochs": epochs}
    values["train"] |= {"runs": 2, "epochs": 2, "crops": 2, "batch_size": 8}
    (path / "params.yaml").write_text(dump(values))
    project = Project(path, path / "home")
    write_stores(project, seed)
    return project


def write_stores(project: Project, seed: int = 0) -> None:
    """Stores of noise, as the parameters describe them."""
    parameters = params.load(project.path / "params.yaml")
    index = make_index(GENRES, SPLITS, [FRAMES] * len(GENRES))
    for name in ("mel", "stft"):
        description = describe_representation(
            name, parameters.spectrograms, parameters.dataset, parameters.data_set.synthetic, store.classes(index)
        )
        shape = (len(GENRES), FRAMES, len(description.frequencies))
        levels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        write_store(project.path / "data", levels, index, description)


def run_stage(project: Project, name: str, key: str, main: Callable[[Params, str], None]) -> None:
    """Run a stage in this process, which saves the time to import everything again."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(project.path)
        patched.setattr(sys, "argv", [f"src/{name}.py", key])
        patched.setattr(signal, "signal", lambda *_: None)
        patched.setitem(os.environ, "FMA_WORKERS", "1")  # no other process: what a test replaces is what runs
        stage.run_for_system(name, "models", main)


def refusal(project: Project, name: str, key: str, main: Callable[[Params, str], None]) -> str:
    """The line with which a stage ends."""
    with pytest.raises(SystemExit) as end:
        run_stage(project, name, key, main)
    message = str(end.value.code)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{name}@{key}: ")
    return message.removeprefix(f"{name}@{key}: ")

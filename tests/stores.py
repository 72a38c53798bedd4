"""Clips, stores and checkouts with random levels, and a way to run stages on them in the test process."""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
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
from fma_genre.features.build import describe as describe_representation
from fma_genre.learning.clips import Clips
from fma_genre.store import Description
from project import PARAMS, Project, dump

GENRES = ("Folk", "Rock") * 8  # of each track in a checkout
SPLITS = ("training",) * 12 + ("validation",) * 2 + ("test",) * 2
FRAMES = 160  # two overlapping segments


def describe(frequencies: Sequence[float] | np.ndarray, **changed: Any) -> Description:
    """The description of a store with bins at these frequencies in Hz."""
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
        "arguments": {},
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
    """Clips with these levels (tracks, frames, bins). By default, each fills all frames and has a class of its own."""
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
    """An index of tracks 10, 11, …, each with a different artist. Tracks with 0 frames are marked as left out."""
    tracks = range(10, 10 + len(genres))
    index = pd.DataFrame({"track_id": tracks, "artist_id": tracks, "genre": genres, "split": splits, "frames": frames})
    used = index["frames"] > 0
    seconds = (index["frames"] * 512 / 22050).round(3)
    decoder = np.where(used, "libsndfile", "")
    index = index.assign(cut=False, decoder=decoder, decoded=seconds, length=seconds, same_as="")
    index = index.assign(rate=22050, channels=1, bit_rate=353, bandwidth=10_000, loudness=-20.0)
    index = index.assign(left_out=np.where(used, "", "too short"))
    empty = {name: kind() for name, kind in store.TYPES.items() if name not in index}
    return index.assign(**empty)[store.COLUMNS]


def sources(track_ids: Iterable[int], member: str = "", start: float = 0) -> pd.DataFrame:
    """The columns of data/tracks.csv that say where the clips of these tracks are."""
    return pd.DataFrame({"track_id": list(track_ids), "member": member, "start": float(start)})


def write_store(data: Path, levels: np.ndarray, index: pd.DataFrame, description: Description) -> None:
    """Write a store with `levels` (tracks, frames, bins) and the index into the folder `data`."""
    folder = data / description.representation
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / store.LEVELS, levels)
    store.write_description(folder / store.DESCRIPTION, description)
    store.write_index(data / store.INDEX, index)


def create_checkout(path: Path, epochs: int = 2, seed: int = 0) -> Project:
    """Create a folder with parameters for two small networks and with stores of random levels.

    Args:
        epochs: number of epochs of the birnn. The cnn has two, and an SVM head.
        seed: seed of the random levels.
    """
    path.mkdir(parents=True, exist_ok=True)
    values = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    cnn, birnn = values["models"]["cnn"], values["models"]["birnn"]
    cnn |= {"channels": [4, 4], "pools": [8, 8], "dense": 8, "epochs": 2, "crops_per_track": 2}
    birnn |= {"epochs": epochs}
    values["train"] |= {"runs": 2, "crops_per_track": 2, "mixup": 1.0, "max_pitch_shift": 3}
    (path / "params.yaml").write_text(dump(values))
    project = Project(path, path / "home")
    write_stores(project, seed)
    return project


def write_stores(project: Project, seed: int = 0) -> None:
    """Write stores of random levels that match the parameters."""
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
    """Run a stage in the test process, where its imports are already loaded."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(project.path)
        patched.setattr(sys, "argv", [f"src/{name}.py", key])
        patched.setattr(signal, "signal", lambda *_: None)
        patched.setitem(os.environ, "FMA_WORKERS", "1")  # in this process, where a test may have replaced functions
        stage.run_for_system(name, "models", main)


def refusal(project: Project, name: str, key: str, main: Callable[[Params, str], None]) -> str:
    """The error in one line that ends a stage, without the name of the stage."""
    with pytest.raises(SystemExit) as end:
        run_stage(project, name, key, main)
    message = str(end.value.code)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{name}@{key}: ")
    return message.removeprefix(f"{name}@{key}: ")

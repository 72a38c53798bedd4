"""How fast training is, beside the least that the network needs and an ordinary DataLoader.

    python benchmarks/training.py [--models cnn birnn] [--tracks 64] [--turns 5] [--output FILE.json]

compute     the same batches, prepared beforehand on the device: nothing but the network's own work
loader      a DataLoader over the stored spectrograms: workers, pinned memory, each item cropped and standardised there
ours        what the stage `train` runs: batches are cut out, augmented and standardised on the device

They take turns; each turn is an epoch of `train.crops` segments a track, of as many batches as `train` takes (for
compute and loader, no more than --batches), of a store of random levels made for this. On a GPU use --tracks 19922,
FMA medium's, and more shared memory (/dev/shm) than 2 × --workers batches take. On a CPU all run on one thread, as a
run of `train` does; the loader's workers have the other cores.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from fma_genre import models, params, spectrogram, store
from fma_genre.device import devices, make_deterministic
from fma_genre.segments import Clips, Normalisation
from fma_genre.training import Batch, Settings, learning_rates, prepare, train_epoch

PARAMETERS = params.load(ROOT / "params.yaml")
DEVICE = devices()[0]
GENRES = 16  # or as many as there are tracks
DISTINCT = 64  # tracks: the rows of the store repeat them


def main() -> None:
    arguments = parse(sys.argv[1:])
    report: dict[str, Any] = {"machine": machine()}
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            report[model] = measure(model, Path(folder), arguments)
        print(model, *(f"{key}: {value}" for key, value in report[model].items()), sep="\n  ", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(PARAMETERS["models"]))
    parser.add_argument("--tracks", type=int, default=64, help="training tracks of the store (default %(default)s)")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batches", type=int, default=32, help="of compute and loader in a turn, at most")
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="of the DataLoader")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    return parser.parse_args(arguments)


def measure(model: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Medians over the turns, after one that is not counted."""
    representation = params.representation(PARAMETERS, PARAMETERS["models"][model]["representation"])
    settings = Settings(**params.training_settings(PARAMETERS, model))
    path = synthesise(folder, representation, arguments.tracks)
    make_deterministic(0)
    clips = Clips.load(folder, representation, DEVICE)["training"]
    start = time.perf_counter()
    normalisation = clips.normalisation(settings.coefficients)
    normalising = seconds_since(start)
    count = settings.batches_of_epoch(arguments.tracks)
    few = min(count, arguments.batches)
    prepared = list(itertools.islice(prepare(clips, normalisation, settings), few))
    size = len(prepared[0][0])
    loader = load(path, clips, normalisation, size, few, arguments.workers)
    contenders: dict[str, tuple[int, int, Callable[[], Iterator[Batch]]]] = {  # batches and segments of a turn
        "compute": (few, sum(len(targets) for _, targets in prepared), lambda: iter(prepared)),
        "loader": (few, few * size, lambda: (copied(batch) for batch in loader)),
        "ours": (count, arguments.tracks * settings.crops, lambda: prepare(clips, normalisation, settings)),
    }
    network = build(model, clips)
    optimiser = torch.optim.AdamW(network.parameters(), settings.lr, fused=True)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(arguments.turns + 1):
        for name, (batches, segments, source) in contenders.items():
            schedule = itertools.islice(learning_rates(settings, count, 1), batches)
            start = time.perf_counter()
            train_epoch(network, source(), settings, optimiser, schedule)
            rate = segments / seconds_since(start)
            if turn:
                rates[name].append(rate)
    prepared.clear()
    rates_of_epoch = learning_rates(settings, count, 1)
    batches_of_epoch = prepare(clips, normalisation, settings)
    peak = peak_memory(lambda: train_epoch(network, batches_of_epoch, settings, optimiser, rates_of_epoch))
    arrays = {name: np.array(values) for name, values in rates.items()}
    return {
        "segments a batch": size,
        "segments/s": {name: round(float(np.median(values))) for name, values in arrays.items()},
        "ours / compute": ratio(arrays["ours"] / arrays["compute"]),
        "ours / loader": ratio(arrays["ours"] / arrays["loader"]),
        "epoch, s": round(float(np.median(arguments.tracks * settings.crops / arrays["ours"])), 2),
        "normalisation, s": round(normalising, 2),
        "peak memory, GB": round(peak / 1e9, 2),
    }


def synthesise(folder: Path, representation: dict[str, Any], tracks: int) -> Path:
    """A store of random levels whose index says that all is for training."""
    frames = spectrogram.frame_count(*(representation[key] for key in ("seconds", "sample_rate", "hop")))
    path = folder / f"{representation['representation']}.npy"
    shape = (DISTINCT, frames, spectrogram.bins(representation))
    levels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    store.create(path, (tracks, *shape[1:]))
    for row in range(tracks):
        store.write(path, row, levels[row % DISTINCT])
    numbers = np.arange(tracks)
    columns = {"row": numbers, "track_id": numbers, "artist_id": numbers, "genre": numbers % GENRES}
    store.write_index(folder / "index.csv", pd.DataFrame(columns).assign(split="training", frames=frames))
    return path


class Items(Dataset[tuple[Tensor, Tensor]]):
    """A random segment of a track, standardised: what is usually written."""

    def __init__(self, path: Path, clips: Clips, normalisation: Normalisation) -> None:
        self.path, self.segment, self.classes = path, clips.segment, len(clips.classes)
        self.lengths, self.labels = clips.lengths.cpu().numpy(), clips.labels.cpu()
        self.normalisation = normalisation.to(torch.device("cpu"))
        self.levels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, track: int) -> tuple[Tensor, Tensor]:
        if self.levels is None:  # opened by each worker
            self.levels = store.rows(self.path)
        start = int(torch.randint(int(self.lengths[track]) - self.segment + 1, ()))
        segment = torch.from_numpy(self.levels[track, start : start + self.segment].copy())
        return self.normalisation(segment), one_hot(self.labels[track], self.classes).float()


def load(
    path: Path, clips: Clips, normalisation: Normalisation, batch: int, batches: int, workers: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Of just as many batches as a turn takes: none is prepared for the next turn while another contender runs."""
    items = Items(path, clips, normalisation)
    sampler = torch.utils.data.RandomSampler(items, replacement=True, num_samples=batch * batches)
    pin = DEVICE.type == "cuda"
    return DataLoader(
        items, batch, sampler=sampler, num_workers=workers, pin_memory=pin, persistent_workers=workers > 0
    )


def copied(batch: Batch) -> Batch:
    segments, targets = (part.to(DEVICE, non_blocking=True) for part in batch)
    return segments, targets


def build(model: str, clips: Clips) -> nn.Module:
    architecture = params.architecture(PARAMETERS, model)
    bins, classes = clips.levels.shape[2], len(clips.classes)
    return models.build(model, architecture, bins=bins, frames=clips.segment, classes=classes).to(DEVICE)


def seconds_since(start: float) -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_memory(epoch: Callable[[], object]) -> float:
    """Bytes that PyTorch holds of a GPU in an epoch of our loop; of a CPU, those of this process so far."""
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        epoch()
        return torch.cuda.max_memory_reserved()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def ratio(values: np.ndarray) -> float:
    return round(float(np.median(values)), 3)


def machine() -> dict[str, Any]:
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else platform.machine()
    return {"device": name, "cores": os.cpu_count(), "torch": torch.__version__}


if __name__ == "__main__":
    main()

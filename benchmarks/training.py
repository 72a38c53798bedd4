"""Benchmark of the training: segments per second, compared with an upper bound and with a PyTorch DataLoader.

    python benchmarks/training.py [--models cnn prcnn] [--tracks 64] [--batch-sizes 64 512] [--output FILE.json]

By default, the models are those of params.yaml; models of related.yaml can be named.

Programs:

    network alone    train on batches that were prepared beforehand: only the network itself is timed
    DataLoader       train on batches of a DataLoader, whose workers crop and encode each segment on the CPU
    training loop    the stage `train`: batches are cropped, augmented and encoded on the device

The programs take turns on a store of random levels. A turn of the training loop is an epoch. A turn of the others has
up to --batches batches of the same size.

On a GPU, use --tracks 19922, the number of training tracks in FMA medium. /dev/shm must have room for 2 × --workers
batches. On a CPU, training runs on one thread, as in the stage `train`. The DataLoader's workers use the other cores.
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
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

import related
from fma_genre import store
from fma_genre.common import params
from fma_genre.common.params import Model, Params, Train
from fma_genre.features import waveform
from fma_genre.features.frames import frame_count
from fma_genre.learning import build
from fma_genre.learning.acceleration import record_graphs
from fma_genre.learning.build import FrontEnd
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import devices, make_deterministic
from fma_genre.learning.training import Batch, batches_per_epoch, learning_rates, make_optimiser, prepare, train_epoch
from fma_genre.store import Store, open_store

DEVICE = devices()[0]
GENRES = 16  # number of genres; fewer if there are fewer tracks
DISTINCT_TRACKS = 64  # tracks with different levels; further tracks repeat these levels


def all_models() -> Params:
    """The parameters of params.yaml, with all models of related.yaml."""
    content, others = params.read(ROOT / related.PARAMS), related.read_related(ROOT / related.RELATED)
    return related.check(content, related.select(others, others.systems, content))


PARAMETERS = all_models()
MODELS = list(params.load(ROOT / related.PARAMS).models)  # by default


def main() -> None:
    arguments = parse(sys.argv[1:])
    report: dict[str, Any] = {"machine": machine()}
    for model, batch_size in itertools.product(arguments.models, arguments.batch_sizes):
        settings = replace(
            PARAMETERS.models[model].train,
            batch_size=batch_size,
            precision=arguments.precision,
            cuda_graphs=arguments.cuda_graphs,
        )
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(model, settings, Path(folder), arguments)
        report.setdefault(model, {})[f"batch of {batch_size}"] = figures
        print(
            f"{model}, batch of {batch_size}",
            *(f"{key}: {value}" for key, value in figures.items()),
            sep="\n  ",
            flush=True,
        )
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=PARAMETERS.models)
    parser.add_argument("--tracks", type=int, default=64, help="training tracks in the store (default %(default)s)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 512], help="segments per batch")
    parser.add_argument("--precision", default=PARAMETERS.train.precision, help="float32 or bfloat16")
    parser.add_argument("--cuda-graphs", action="store_true", help="record the training step")
    parser.add_argument("--turns", type=int, default=5, help="turns of each program (default %(default)s)")
    parser.add_argument(
        "--batches", type=int, default=32, help="limit of batches in a turn without the loop (default %(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, default=min(8, os.cpu_count() or 1), help="DataLoader workers (default %(default)s)"
    )
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    return parser.parse_args(arguments)


def measure(key: str, settings: Train, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train with each program in turn; return medians over the turns. The first turn is an uncounted warm-up."""
    model = PARAMETERS.models[key]
    network_arguments, front_end_arguments = build.read_arguments(model, f"models.{key}")
    synthetic = synthesise(folder, model.representation, arguments.tracks)
    make_deterministic(0)
    clips = Clips.load(synthetic, "training", settings.segment_frames, DEVICE)
    start = time.perf_counter()
    front_end = build.fit_front_end(model.front_end, front_end_arguments, clips)
    fitting = seconds_since(start)

    count, size = batches_per_epoch(settings, clips.pool_sizes())
    limited = min(count, arguments.batches)
    prepared = list(itertools.islice(prepare(clips, front_end, settings), limited))
    loader = make_loader(synthetic, clips, front_end, size, limited, arguments.workers)
    # Number of batches and segments in a turn, and a function that returns the batches:
    programs: dict[str, tuple[int, int, Callable[[], Iterator[Batch]]]] = {
        "network alone": (limited, limited * size, lambda: iter(prepared)),
        "DataLoader": (limited, limited * size, lambda: (to_device(batch) for batch in loader)),
        "training loop": (count, count * size, lambda: prepare(clips, front_end, settings)),
    }
    network = build_network(model, network_arguments, clips)
    record_graphs(network, (size, settings.segment_frames, clips.levels.shape[2]), settings)
    optimiser = make_optimiser(network, settings)
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(arguments.turns + 1):
        for name, (batches, segments, source) in programs.items():
            schedule = itertools.islice(learning_rates(settings, count, 1), batches)
            start = time.perf_counter()
            train_epoch(network, source(), settings, optimiser, schedule)
            rate = segments / seconds_since(start)
            if turn:
                rates[name].append(rate)
    prepared.clear()
    rates_of_epoch = learning_rates(settings, count, 1)
    batches_of_epoch = prepare(clips, front_end, settings)
    peak = peak_memory(lambda: train_epoch(network, batches_of_epoch, settings, optimiser, rates_of_epoch))
    arrays = {name: np.array(values) for name, values in rates.items()}
    return {
        "precision": settings.precision,
        "CUDA graphs": settings.cuda_graphs and DEVICE.type == "cuda",
        "segments per second": {name: round(float(np.median(values))) for name, values in arrays.items()},
        "training loop / network alone": ratio(arrays["training loop"] / arrays["network alone"]),
        "training loop / DataLoader": ratio(arrays["training loop"] / arrays["DataLoader"]),
        "epoch, s": round(float(np.median(count * size / arrays["training loop"])), 2),
        "fit of the front end, s": round(fitting, 2),
        "peak memory, GB": round(peak / 1e9, 2),
    }


def synthesise(folder: Path, representation: str, tracks: int) -> Store:
    """Write and open a store of random levels or samples. All tracks are training tracks."""
    genres = [f"genre {track % GENRES:02}" for track in range(tracks)]
    description = related.describe_input(PARAMETERS, representation, sorted(set(genres)))
    frames = clip_frames(representation)
    shape = (frames, len(description.frequencies))
    levels = np.random.default_rng(0).integers(0, 256, (DISTINCT_TRACKS, *shape), dtype=np.uint8)

    path = folder / representation
    path.mkdir()
    store.create_array(path / store.LEVELS, (tracks, *shape))
    for row in range(tracks):
        store.write_row(path / store.LEVELS, row, levels[row % DISTINCT_TRACKS])
    store.write_description(path / store.DESCRIPTION, description)
    np.save(path / store.FRAMES, np.full(tracks, frames))  # only stores of waveforms have this file
    index = pd.DataFrame({"track_id": range(tracks), "artist_id": range(tracks), "genre": genres})
    index = index.assign(split="training", frames=frames)
    empty = {name: kind() for name, kind in store.TYPES.items() if name not in index}
    store.write_index(folder / store.INDEX, index.assign(**empty))
    return open_store(representation, folder)


def clip_frames(representation: str) -> int:
    """Number of frames in a clip of full length."""
    if settings := PARAMETERS.waveforms.get(representation):
        return waveform.WaveformEncoder.of(settings).shape[0]
    spectrograms = PARAMETERS.spectrograms
    return frame_count(spectrograms.seconds, spectrograms.sample_rate, spectrograms.hop)


class RandomSegments(Dataset[tuple[Tensor, Tensor]]):
    """An ordinary PyTorch data set: each item is a random segment of a track, encoded by the front end."""

    def __init__(self, path: Path, clips: Clips, front_end: FrontEnd) -> None:
        self.path, self.segment, self.classes = path, clips.segment_frames, len(clips.classes)
        self.lengths, self.labels = clips.lengths.cpu().numpy(), clips.labels.cpu()
        self.front_end = build.move(front_end, torch.device("cpu"))
        self.levels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, track: int) -> tuple[Tensor, Tensor]:
        if self.levels is None:  # each worker opens the file itself
            self.levels = store.map_array(self.path)
        start = int(torch.randint(int(self.lengths[track]) - self.segment + 1, ()))
        segment = torch.from_numpy(self.levels[track, start : start + self.segment].copy())
        inputs = self.front_end.decode(self.front_end.encode(segment))
        return inputs, one_hot(self.labels[track], self.classes).float()


def make_loader(
    synthetic: Store, clips: Clips, front_end: FrontEnd, batch_size: int, batches: int, workers: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Create a DataLoader with exactly the batches of a turn, so that it is idle while another program runs."""
    segments = RandomSegments(synthetic.folder / store.LEVELS, clips, front_end)
    sampler = torch.utils.data.RandomSampler(segments, replacement=True, num_samples=batch_size * batches)
    pin = DEVICE.type == "cuda"
    return DataLoader(
        segments, batch_size, sampler=sampler, num_workers=workers, pin_memory=pin, persistent_workers=workers > 0
    )


def to_device(batch: Batch) -> Batch:
    segments, targets = batch
    return segments.to(DEVICE, non_blocking=True), targets.to(DEVICE, non_blocking=True)


def build_network(model: Model, arguments: Mapping[str, Any], clips: Clips) -> nn.Module:
    shape = {"bins": clips.levels.shape[2], "frames": clips.segment_frames, "classes": len(clips.classes)}
    return build.build_network(model.network, arguments, model.network, **shape).to(DEVICE)


def seconds_since(start: float) -> float:
    """Seconds since `start`, once the GPU has finished its work."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_memory(epoch: Callable[[], object]) -> float:
    """Peak memory in bytes: reserved by PyTorch during an epoch on a GPU, or used by this process so far on a CPU."""
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

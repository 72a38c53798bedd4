"""Benchmark of the stage evaluate: time and memory, compared with the forward passes of its networks.

    python benchmarks/evaluation.py [--models cnn prcnn] [--tracks 5078] [--turns 3] [--output FILE.json]

By default, the models are those of params.yaml; models of related.yaml can be named.

Programs:

    networks alone    forward passes of all runs on batches that were prepared beforehand, a thread for each core
    stage             the work of the stage `evaluate`: read the store, predict, write predictions and metrics

The programs take turns, each in a process of its own, and predict the same number of segments. The store has random
levels. By default, it has as many validation and test tracks as FMA medium. It has just been written, so it is in the
page cache unless it takes more memory than is free. The networks are untrained.
"""

import argparse
import itertools
import json
import math
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import evaluate
from fma_genre import store
from fma_genre.common.files import write_json
from fma_genre.common.workers import worker_count
from fma_genre.learning import build, checkpoint
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import make_deterministic
from fma_genre.learning.inference import batch_size
from fma_genre.learning.svm_head import LinearSVM
from fma_genre.results import metrics, predictions
from fma_genre.store import Store, open_store
from training import DEVICE, MODELS, PARAMETERS, build_network, machine, ratio, seconds_since, synthesise

MEDIUM = {"validation": 2505, "test": 2573}  # tracks in FMA medium
PREPARED = 2048  # number of prepared segments, which are repeated
FITTED = 64  # tracks on which the front end is fitted


@dataclass(frozen=True)
class Usage:
    """Time and memory of a program for all segments."""

    seconds: float
    cpu_seconds: float  # of all threads
    memory: int  # peak of the resident memory in bytes


def main() -> None:
    arguments = parse(sys.argv[1:])
    report: dict[str, Any] = {"machine": machine() | {"threads": worker_count()}, "tracks": arguments.tracks}
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            report[model] = measure(model, Path(folder), arguments)
        print(model, *(f"{key}: {value}" for key, value in report[model].items()), sep="\n  ", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=PARAMETERS.models)
    parser.add_argument(
        "--tracks", type=int, default=sum(MEDIUM.values()), help="validation and test tracks (default %(default)s)"
    )
    parser.add_argument("--turns", type=int, default=3, help="turns of each program (default %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    return parser.parse_args(arguments)


def measure(key: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run each program in turn; return medians over the turns. The first turn is an uncounted warm-up."""
    spectrograms = write_store(key, folder, arguments.tracks)
    write_model(key, folder, spectrograms)
    segments = count_segments(key, spectrograms)
    programs = {"networks alone": run_networks, "stage": run_stage}
    usages: dict[str, list[Usage]] = {name: [] for name in programs}
    for turn in range(arguments.turns + 1):
        for name, program in programs.items():
            with ProcessPoolExecutor(1, get_context("spawn")) as executor:
                usage = executor.submit(program, key, folder).result()
            if turn:
                usages[name].append(usage)

    seconds = {name: np.array([usage.seconds for usage in turns]) for name, turns in usages.items()}
    cpu_seconds = {name: np.array([usage.cpu_seconds for usage in turns]) for name, turns in usages.items()}
    return {
        "runs": PARAMETERS.models[key].train.runs,
        "segments": segments,
        "seconds": {name: ratio(values) for name, values in seconds.items()},
        "segments per second": {name: round(float(np.median(segments / values))) for name, values in seconds.items()},
        "stage / networks alone": ratio(seconds["stage"] / seconds["networks alone"]),
        "cores in use": {name: ratio(cpu_seconds[name] / seconds[name]) for name in programs},
        "peak memory of the stage, GB": round(max(usage.memory for usage in usages["stage"]) / 1e9, 2),
    }


# Inputs. ----------------------------------------------------------------------------------------------------------


def write_store(key: str, folder: Path, tracks: int) -> Store:
    """Write and open a store of random levels whose tracks are split between validation and test as in FMA medium."""
    representation = PARAMETERS.models[key].representation
    index = synthesise(folder, representation, tracks).index
    is_validation = np.arange(tracks) < round(tracks * MEDIUM["validation"] / sum(MEDIUM.values()))
    store.write_index(folder / store.INDEX, index.assign(split=np.where(is_validation, "validation", "test")))
    return open_store(representation, folder)


def write_model(key: str, folder: Path, spectrograms: Store) -> None:
    """Write untrained networks, with random SVM heads if the model has SVM heads."""
    model = PARAMETERS.models[key]
    network_arguments, front_end_arguments = build.read_arguments(model, f"models.{key}")
    settings = checkpoint.Settings(
        key,
        model.network,
        network_arguments,
        model.front_end,
        front_end_arguments,
        model.train,
        spectrograms.description,
    )
    clips = Clips.load(spectrograms, "test", model.train.segment_frames, torch.device("cpu"))
    some = clips.read(torch.arange(min(FITTED, len(clips.labels))))
    front_end = build.fit_front_end(model.front_end, front_end_arguments, some)
    checkpoint.save(model_folder(folder), settings, front_end)
    for seed in settings.seeds:
        make_deterministic(seed)
        network = build_network(model, network_arguments, clips)
        checkpoint.save_run(model_folder(folder), seed, network, random_head(network) if model.svm_head else None)


def random_head(network: nn.Module) -> LinearSVM:
    """An SVM head with random weights."""
    *_, linear = (layer for layer in network.modules() if isinstance(layer, nn.Linear))
    weights = np.random.default_rng(0).normal(size=(linear.in_features, linear.out_features))
    return LinearSVM(weights.astype(np.float32), np.zeros(linear.out_features, np.float32))


def model_folder(folder: Path) -> Path:
    return folder / "model"


def count_segments(key: str, spectrograms: Store) -> int:
    """Number of segments of all tracks."""
    length = PARAMETERS.models[key].train.segment_frames
    return sum(math.ceil(frames / length) for frames in spectrograms.used["frames"])


# Programs. --------------------------------------------------------------------------------------------------------


def run_networks(key: str, folder: Path) -> Usage:
    """Run all networks on prepared batches, which are repeated until there are as many segments as in the store."""
    make_deterministic(seed=0)
    settings, front_end = checkpoint.load(model_folder(folder))
    networks = [checkpoint.load_run(model_folder(folder), settings, seed)[0].to(DEVICE) for seed in settings.seeds]
    front_end = build.move(front_end, DEVICE)
    size, shape = batch_size(DEVICE), (PREPARED, settings.train.segment_frames, settings.bins)
    levels = torch.randint(256, shape, dtype=torch.uint8, device=DEVICE)
    prepared = [front_end.decode(front_end.encode(batch)) for batch in levels.split(size)]

    segments = count_segments(key, open_store(PARAMETERS.models[key].representation, folder))
    batches = list(itertools.islice(itertools.cycle(prepared), math.ceil(segments / size)))
    batches[-1] = batches[-1][: (segments - 1) % size + 1]
    parallel = Parallel(n_jobs=worker_count() if DEVICE.type == "cpu" else 1, prefer="threads")
    return usage_of(lambda: parallel(delayed(forward)(networks, batch) for batch in batches))


@torch.inference_mode()
def forward(networks: Sequence[nn.Module], segments: Tensor) -> None:
    """Compute the probabilities of segments (segments, frames, bins) with every network."""
    for network in networks:
        network(segments).softmax(dim=1)


def run_stage(key: str, folder: Path) -> Usage:
    """Predict all tracks of the store, and write predictions and metrics."""
    make_deterministic(seed=0)
    spectrograms = open_store(PARAMETERS.models[key].representation, folder)
    settings, front_end = checkpoint.load(model_folder(folder))

    def work() -> None:
        predicted = evaluate.predict_all(
            model_folder(folder), settings, build.move(front_end, DEVICE), spectrograms, DEVICE
        )
        predictions.write(folder / "predictions.npz", predicted)
        write_json(folder / "metrics.json", metrics.summarise(predicted, spectrograms.index))

    return usage_of(work)


def usage_of(work: Callable[[], object]) -> Usage:
    start, cpu_start = time.perf_counter(), time.process_time()
    work()
    return Usage(seconds_since(start), time.process_time() - cpu_start, peak_memory())


def peak_memory() -> int:
    """Peak of this process's resident memory in bytes. Unlike ru_maxrss, it does not include the parent's memory."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


if __name__ == "__main__":
    main()

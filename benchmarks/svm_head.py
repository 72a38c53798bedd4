"""Benchmark of the SVM head: seconds for all values of C, beside scikit-learn's LinearSVC, and until a signal ends it.

    python benchmarks/svm_head.py [--reference-c 0.001] [--turns 3] [--output FILE.json]

By default, the data have the size of FMA medium: 19,922 training tracks of 16 unbalanced genres, with 1,024 features.
The features are synthetic. Like those of a network, they are correlated and never negative, and the genres overlap.

The head is fitted on a GPU or, without one, on one thread of a CPU, as in the stage `train`. Two heads are also fitted
at the same time, each in its own process, like those of two runs. LinearSVC needs minutes for each value of C and runs
once for each value of --reference-c. The processes that get a signal are those of the stage: a parent and two workers
that fit heads.
"""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}

import numpy as np
from joblib import Parallel, delayed
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from fma_genre.common import params
from fma_genre.common.workers import run_in_workers
from fma_genre.learning import svm_head
from fma_genre.learning.device import devices, make_deterministic
from training import machine

CANDIDATES = params.load(ROOT / "params.yaml").models["cnn"].svm_head or ()
SPLITS = {"training": 19922, "validation": 2505, "test": 2573}  # number of tracks in FMA medium
TRACKS = (5681, 5050, 1801, 1761, 1215, 1045, 945, 814, 495, 408, 306, 142, 94, 94, 58, 13)  # of each genre, training
SIGNALS = {"SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}
MOMENTS = (0.05, 0.35, 0.65, 0.95)  # when a signal is sent, as shares of the seconds for all values of C
WORKERS = 2

Sample = tuple[np.ndarray, np.ndarray]  # features (tracks, features) and labels (tracks,)


def main() -> None:
    arguments = parse(sys.argv[1:])
    size = arguments.tracks, arguments.features
    if arguments.endless:
        fit_forever(*size)
    data = synthesise(*size)
    report: dict[str, Any] = {"machine": machine(), "size": describe(data)}
    show(report, "s for all values of C", measure(data, arguments.turns))
    show(report, "LinearSVC", [compare(data, c) for c in arguments.reference_c])
    alone = report["s for all values of C"]["alone"]["elapsed"]
    show(report, "s until a signal ends it", {name: seconds_to_end(name, *size, alone) for name in SIGNALS})
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=SPLITS["training"], help="training tracks (default %(default)s)")
    parser.add_argument("--features", type=int, default=1024, help="number of features (default %(default)s)")
    parser.add_argument(
        "--reference-c", nargs="*", type=float, default=[0.001], help="values of C for LinearSVC (default 0.001)"
    )
    parser.add_argument("--turns", type=int, default=3, help="repetitions; the median counts (default %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--endless", action="store_true", help="fit heads until a signal ends the process")
    return parser.parse_args(arguments)


def show(report: dict[str, Any], key: str, value: Any) -> None:
    report[key] = value
    print(f"{key}: {json.dumps(value)}", flush=True)


# Data. ------------------------------------------------------------------------------------------------------------


def synthesise(tracks: int, features: int) -> dict[str, Sample]:
    """Make features of the tracks of each split: averages over segments, each seen by a random network of two layers.

    Args:
        tracks: number of training tracks.
        features: number of features per track.
    """
    generator = np.random.default_rng(0)
    share = np.array(TRACKS) / sum(TRACKS)
    centres = generator.normal(0, 0.5, (len(TRACKS), 48))
    first = generator.normal(0, 48**-0.5, (48, 256))
    second, bias = generator.normal(0, (2 / 256) ** 0.5, (256, features)), generator.normal(-0.7, 0.7, features)

    def of_labels(labels: np.ndarray) -> Sample:
        hidden = centres[labels] + generator.normal(0, 1.5, (len(labels), 48))
        mean = np.zeros((len(labels), features), np.float32)
        for _ in range(6):
            middle = np.maximum((hidden + generator.normal(size=hidden.shape)) @ first, 0)
            mean += np.maximum(middle @ second + bias + generator.normal(0, 0.1, mean.shape), 0) / 6
        return mean, labels

    counts = np.maximum(1, (share * tracks).astype(int))
    counts[0] += tracks - counts.sum()
    training = generator.permutation(np.repeat(np.arange(len(TRACKS)), counts))
    others = {split: generator.choice(len(TRACKS), SPLITS[split], p=share) for split in ("validation", "test")}
    return {split: of_labels(labels) for split, labels in {"training": training, **others}.items()}


def describe(data: dict[str, Sample]) -> dict[str, Any]:
    features, labels = data["training"]
    tracks, width = features.shape
    return {"training tracks": tracks, "features": width, "genres": int(labels.max()) + 1, "C": list(CANDIDATES)}


# Seconds and accuracy. --------------------------------------------------------------------------------------------


def measure(data: dict[str, Sample], turns: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of one fit alone, and of the slower one of fits at the same time.

    On a machine with other work, the CPU time tells how long the fit would take without it.
    """
    alone = [seconds_of_fit(data, CANDIDATES) for _ in range(turns)]
    parallel = Parallel(n_jobs=WORKERS, max_nbytes=None)
    parallel(delayed(seconds_of_fit)(data, CANDIDATES[:1]) for _ in range(WORKERS))  # starts the workers
    pairs = [parallel(delayed(seconds_of_fit)(data, CANDIDATES) for _ in range(WORKERS)) for _ in range(turns)]
    together = [tuple(np.max(pair, axis=0)) for pair in pairs]
    return {"alone": medians(alone), f"{WORKERS} at the same time": medians(together)}


def seconds_of_fit(data: dict[str, Sample], candidates: Sequence[float]) -> tuple[float, float]:
    """Return the seconds of a fit, and those of CPU time."""
    make_deterministic(0)
    start, start_cpu = time.perf_counter(), time.process_time()
    svm_head.fit(data["training"], data["validation"], candidates, devices()[0])
    return time.perf_counter() - start, time.process_time() - start_cpu


def compare(data: dict[str, Sample], c: float) -> dict[str, Any]:
    """Fit the head and LinearSVC with one value of C, one after the other, and compare them on the test tracks."""
    features, labels = data["test"]
    start = time.perf_counter()
    head = svm_head.fit(data["training"], data["validation"], [c], devices()[0])
    between = time.perf_counter()
    reference = make_pipeline(StandardScaler(), LinearSVC(C=c, dual="auto", random_state=0, max_iter=5000))
    reference.fit(*data["training"])
    seconds = {"head": between - start, "LinearSVC": time.perf_counter() - between}

    predicted = {"head": head.predict(features), "LinearSVC": reference.predict(features)}
    accuracies = {name: float((found == labels).mean()) for name, found in predicted.items()}
    return {
        "C": c,
        "s": {name: round(value, 1) for name, value in seconds.items()},
        "LinearSVC / head": round(seconds["LinearSVC"] / seconds["head"], 1),
        "accuracy, %": {name: round(100 * value, 2) for name, value in accuracies.items()},
        "difference, points": round(100 * (accuracies["head"] - accuracies["LinearSVC"]), 2),
    }


def medians(seconds: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return the median of the first and of the second values in each pair."""
    elapsed, cpu = np.median(seconds, axis=0)
    return {"elapsed": round(float(elapsed), 1), "CPU time": round(float(cpu), 1)}


# Signals. ---------------------------------------------------------------------------------------------------------


def seconds_to_end(name: str, tracks: int, features: int, alone: float) -> list[float]:
    """Return the seconds from the signal until the last process has ended, for signals at several moments of a fit."""
    command = [sys.executable, __file__, "--endless", "--tracks", str(tracks), "--features", str(features)]
    return [round(_seconds_to_end(name, command, share * alone), 2) for share in MOMENTS]


def _seconds_to_end(name: str, command: list[str], delay: float) -> float:
    with subprocess.Popen(command, stdout=PIPE, stderr=DEVNULL, start_new_session=True) as process:
        assert process.stdout
        process.stdout.readline()
        time.sleep(delay)
        start = time.perf_counter()
        if name == "SIGTERM":
            process.terminate()
        else:
            os.killpg(process.pid, SIGNALS[name])  # a terminal sends Ctrl-C to all processes
        process.stdout.read()  # ends when no process can write any more, workers included
        process.wait()
        return time.perf_counter() - start


def fit_forever(tracks: int, features: int) -> None:
    """Fit heads in workers as the stage `train` does, until a signal ends this process."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore Ctrl-C
    parallel = Parallel(n_jobs=WORKERS, return_as="generator_unordered")
    sizes = itertools.chain([(100, 2)] * WORKERS, itertools.repeat((tracks, features)))  # first, small fits
    for _ in run_in_workers(parallel, (delayed(fit_noise)(*size) for size in sizes), lambda: ""):
        print("the workers have started", flush=True)


def fit_noise(tracks: int, features: int) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(tracks) % len(TRACKS)
    sample = generator.random((tracks, features), np.float32), labels
    seconds_of_fit({"training": sample, "validation": sample}, CANDIDATES)


if __name__ == "__main__":
    main()

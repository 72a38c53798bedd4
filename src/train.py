"""Stage train: train a model's runs, one network per seed; write models/<key>.

While it trains, it writes its learning curve to plots/training/<key>.csv and metrics/training/<key>.json.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock
from joblib import Parallel, delayed
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from fma_genre.common import files, stage
from fma_genre.common.errors import InputError
from fma_genre.common.params import Candidates, Model, Params
from fma_genre.common.workers import run_in_workers, worker_count
from fma_genre.learning import build, checkpoint, svm_head
from fma_genre.learning.build import FrontEnd
from fma_genre.learning.clips import Clips, pool_sizes, track_bytes
from fma_genre.learning.device import devices, make_deterministic
from fma_genre.learning.inference import predict
from fma_genre.learning.training import Epoch, batches_per_epoch, train
from fma_genre.store import Store, check_current, open_store


@dataclass(frozen=True)
class Job:
    """Settings, data and folders that all runs of a model share."""

    settings: checkpoint.Settings
    store: Store
    svm_head: Candidates | None
    scratch: Path  # scratch folder: checkpoints and learning curves of unfinished runs
    folder: Path  # the trained model's folder, under its temporary name


def main(params: Params, key: str) -> None:
    model = params.models[key]
    network_arguments, front_end_arguments = build.read_arguments(model, f"models.{key}")
    store = open_store(model.representation)
    check_current(store, params)
    check_recipe(model, store, f"models.{key}")
    settings = checkpoint.Settings(
        key, model.network, network_arguments, model.front_end, front_end_arguments, model.train, store.description
    )
    checkpoint.check_size(settings)  # fail before any work if the network cannot be built for this input
    print(describe_updates(settings, store), flush=True)

    inputs = [asdict(settings), store.identity, devices()[0].type]
    with stage.scratch(f"train@{key}", inputs) as scratch, files.atomic(Path("models") / key) as folder:
        folder.mkdir()
        train_all(Job(settings, store, model.svm_head, scratch, folder))


def check_recipe(model: Model, store: Store, where: str) -> None:
    """Raise InputError for a pitch shift of bins without frequencies, or for segments longer than the clips."""
    shift, frames, longest = model.train.max_pitch_shift, model.train.segment_frames, store.levels.shape[1]
    if shift and not store.description.has_frequencies:
        expected = f"0, since {model.representation} has no frequencies to shift"
        raise InputError(f"{where}.max_pitch_shift: expected {expected}, found {shift:g}")
    if frames > longest:
        expected = f"at most {longest}, the frames of {store.description.seconds:g} s of {model.representation}"
        raise InputError(f"{where}.segment_frames: expected {expected}, found {frames}")


def describe_updates(settings: checkpoint.Settings, store: Store) -> str:
    """The number of optimiser steps per run in one line."""
    pools = pool_sizes(len(store.tracks("training")), track_bytes(store))
    epochs, (count, size) = settings.train.epochs, batches_per_epoch(settings.train, pools)
    schedule = f"{epochs} epochs × {count} batches of {size} segments"
    return f"{settings.key}: {schedule} = {epochs * count} updates per run"


def train_all(job: Job) -> None:
    """Train the runs in parallel: one per GPU at a time or, without a GPU, one per core.

    On a CPU, small networks train faster in parallel processes than one by one with several threads.
    """
    seeds, available = job.settings.seeds, devices()
    count = min(len(seeds), len(available) if available[0].type == "cuda" else worker_count())
    tasks = (delayed(train_some)(job, seeds[first::count], available[first % len(available)]) for first in range(count))
    parallel = Parallel(n_jobs=count, return_as="generator")
    for _ in run_in_workers(parallel, tasks, lambda: "`dvc repro` resumes each run after its last finished epoch"):
        pass


def train_some(job: Job, seeds: list[int], device: torch.device) -> None:
    """Train one worker's share of the runs, one after another."""
    make_deterministic(seeds[0])
    if device.type == "cuda":
        torch.cuda.set_device(device)  # otherwise, code without an explicit device would also use the first GPU
    frames = job.settings.train.segment_frames
    training, validation = (Clips.load(job.store, split, frames, device) for split in ("training", "validation"))
    front_end = fit_front_end(job, training)
    for seed in seeds:
        try:
            train_one(job, seed, training, validation, front_end)
        except torch.OutOfMemoryError as error:
            raise InputError(f"seed {seed}: out of memory on {device}: lower train.batch_size") from error


def fit_front_end(job: Job, training: Clips) -> FrontEnd:
    """Fit the front end, which is the same for all runs: the first worker fits it, and the others read it."""
    settings, path = job.settings, job.scratch / "front_end.safetensors"
    with FileLock(path.with_suffix(".lock")):
        if not is_intact(path):
            fitted = build.fit_front_end(settings.front_end, settings.front_end_arguments, training)
            files.write_bytes(path, save(build.tensors_of(build.move(fitted, torch.device("cpu")))))
    return build.move(build.restore_front_end(settings.front_end, load_file(path)), training.labels.device)


def is_intact(path: Path) -> bool:
    """Return whether a file of tensors can be read. It may be missing, or damaged by a power cut."""
    try:
        load_file(path)
    except (OSError, SafetensorError):
        return False
    return True


def train_one(job: Job, seed: int, training: Clips, validation: Clips, front_end: FrontEnd) -> None:
    """Train and save the network of one seed, with its SVM head if the model has one."""
    make_deterministic(seed)
    settings = job.settings
    network = settings.build().to(training.labels.device)

    state = job.scratch / f"seed{seed}.pt"
    on_epoch = partial(record, job, seed)
    position = settings.seeds.index(seed)
    history = train(network, training, validation, front_end, settings.train, state, on_epoch, position)

    on_epoch(history)  # `train` does not call it if the training was already complete
    head = fit_svm_head(network, training, validation, front_end, job.svm_head) if job.svm_head else None
    checkpoint.save_run(job.folder, seed, network, head)
    if position == 0:  # all runs have the same front end, and may end at the same time, so only one writes it
        checkpoint.save(job.folder, settings, build.move(front_end, torch.device("cpu")))
    accuracy = f"validation accuracy {history[-1].validation_accuracy:.3f} after {len(history)} epochs"
    print(f"{settings.key}, seed {seed}: {accuracy}", flush=True)


def record(job: Job, seed: int, history: list[Epoch]) -> None:
    """Write the learning curve, and the validation accuracy at its end, for users to watch during training."""
    with FileLock(job.scratch / "curve.lock"):
        files.write_text(job.scratch / f"seed{seed}.json", json.dumps([asdict(epoch) for epoch in history]))
        curve = learning_curve(json.loads(path.read_text()) for path in sorted(job.scratch.glob("seed*.json")))
        files.write_text(Path(f"plots/training/{job.settings.key}.csv"), curve.to_csv(lineterminator="\n"))
        files.write_json(Path(f"metrics/training/{job.settings.key}.json"), latest(curve))


def learning_curve(runs: Iterable[list[dict[str, float]]]) -> pd.DataFrame:
    """Means over the runs that have reached each epoch, and the standard deviation of validation accuracy, by epoch."""
    epochs = pd.concat(map(pd.DataFrame, runs)).groupby("epoch")
    curve = epochs.mean()
    curve["validation_accuracy_std"] = epochs["validation_accuracy"].std().fillna(0)
    return curve.round(6)


def latest(curve: pd.DataFrame) -> dict[str, float]:
    """The validation accuracy after the latest epoch, for `dvc exp show`: a mean over the runs that have reached it.

    There is no other key, because each key is a column of `dvc exp show`.
    """
    return {"validation_accuracy": curve["validation_accuracy"].iloc[-1]}


def fit_svm_head(
    network: nn.Module, training: Clips, validation: Clips, front_end: FrontEnd, candidates: Candidates
) -> svm_head.LinearSVM:
    """Fit an SVM head on the network's features, averaged over each track; choose C on the validation tracks."""
    training_sample, validation_sample = (
        (predict(network, clips, front_end).track_features.numpy(), clips.labels.cpu().numpy())
        for clips in (training, validation)
    )
    return svm_head.fit(training_sample, validation_sample, candidates, training.labels.device)


if __name__ == "__main__":
    stage.run_for_system("train", "models", main)

"""Stage train: a model's runs, one a seed, into models/<model>; their learning curve into plots/training."""

import stage

import functools
import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock
from joblib import Parallel, cpu_count, delayed
from torch import nn

from fma_genre import InputError, checkpoint, files, params, svm
from fma_genre.device import devices, make_deterministic
from fma_genre.inference import predict
from fma_genre.segments import Clips, Normalisation
from fma_genre.training import Epoch, Settings, train
from fma_genre.workers import share

SPECTROGRAMS = Path("data/spectrograms")


@dataclass(frozen=True)
class Job:
    """What the runs of a model have in common."""

    description: checkpoint.Settings
    settings: Settings
    candidates: list[float]  # for C of the SVM head; none without one
    work: Path  # where unfinished work is kept
    folder: Path  # where the model is put together

    def run(self, seed: int, device: torch.device) -> Normalisation:
        """Trains and saves one network, and its SVM head."""
        make_deterministic(seed)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # else what names no device would open the first one too
        clips = Clips.load(SPECTROGRAMS, self.description.input, device)
        training, validation = clips["training"], clips["validation"]
        normalisation = training.normalisation(self.settings.coefficients)
        network = self.description.build().to(device)
        state, note = self.work / f"seed{seed}.safetensors", functools.partial(self.note, seed)
        position = self.description.seeds.index(seed)
        try:
            history = train(network, training, validation, normalisation, self.settings, state, note, position)
        except torch.OutOfMemoryError as error:
            advice = "lower train.batch_size, or raise train.batches"
            raise InputError(f"seed {seed}: out of memory on {device}: {advice}") from error
        note(history)  # a training that had ended before has no epoch to report
        head = fit_svm(network, training, validation, normalisation, self.candidates) if self.candidates else None
        checkpoint.save_run(self.folder, seed, network, head)
        accuracy = f"validation accuracy {history[-1].validation_accuracy:.3f} after {len(history)} epochs"
        print(f"{self.description.model}, seed {seed}: {accuracy}", flush=True)
        return normalisation.to(torch.device("cpu"))

    def run_all(self, seeds: list[int], device: torch.device) -> Normalisation:
        *_, normalisation = (self.run(seed, device) for seed in seeds)
        return normalisation

    def note(self, seed: int, history: list[Epoch]) -> None:
        """Writes the learning curve as it is now: it can be looked at while the runs go on."""
        with FileLock(self.work / "curve.lock"):
            files.write_text(self.work / f"seed{seed}.json", json.dumps([asdict(epoch) for epoch in history]))
            runs = [json.loads(path.read_text()) for path in sorted(self.work.glob("seed*.json"))]
            files.write_text(Path(f"plots/training/{self.description.model}.csv"), learning_curve(runs))


def main(parameters: dict[str, Any], model: str) -> None:
    stage.forget("spectrograms")
    settings = Settings(**params.training_settings(parameters, model))
    section = parameters["models"][model]
    representation = params.representation(parameters, section["representation"])
    training = Clips.load(SPECTROGRAMS, representation, torch.device("cpu"))["training"]
    description = checkpoint.Settings(
        model=model,
        architecture=params.architecture(parameters, model),
        classes=training.classes,
        input=representation,
        training=asdict(settings),
        seeds=[settings.seed + run for run in range(settings.runs)],
    )
    description.build()  # what the network refuses is said before the work, not after
    places = devices()
    # A run a GPU; on CPUs, a run a core: networks of this size gain more from that than from threads.
    jobs = min(settings.runs, cpu_count() if places[0].type == "cpu" else len(places))
    inputs = [vars(description), identity(SPECTROGRAMS / f"{section['representation']}.npy"), places[0].type]
    with stage.work(f"train@{model}", inputs) as work, files.whole(Path("models") / model) as folder:
        folder.mkdir()
        job = Job(description, settings, section.get("svm", []), work, folder)
        shares = (description.seeds[first::jobs] for first in range(jobs))
        tasks = (delayed(job.run_all)(seeds, place) for seeds, place in zip(shares, itertools.cycle(places)))
        parallel = Parallel(n_jobs=jobs, return_as="generator")
        normalisations = list(share(parallel, tasks, lambda: "the next run goes on after each run's last epoch"))
        checkpoint.save(folder, description, normalisations[0])  # the same for all


def identity(spectrograms: Path) -> list[object]:
    """Tells spectrograms from others without reading them all; a copy of the same may count as another."""
    status = spectrograms.stat()
    return [status.st_size, status.st_mtime_ns, spectrograms.with_name("index.csv").read_text(encoding="utf-8")]


def fit_svm(
    network: nn.Module, training: Clips, validation: Clips, normalisation: Normalisation, candidates: list[float]
) -> svm.LinearSVM:
    """The SVM head on the network's features of whole tracks."""
    features, validation_features = (
        predict(network, clips, normalisation).track_features().numpy() for clips in (training, validation)
    )
    labels, validation_labels = (clips.labels.cpu().numpy() for clips in (training, validation))
    return svm.fit((features, labels), (validation_features, validation_labels), candidates)


def learning_curve(runs: Iterable[list[dict[str, float]]]) -> str:
    """A line an epoch: mean over the runs that are so far, and the standard deviation of the accuracy."""
    epochs = pd.concat(map(pd.DataFrame, runs)).groupby("epoch")
    curve = epochs.mean()
    curve["validation_accuracy_std"] = epochs["validation_accuracy"].std().fillna(0)
    return curve.round(6).to_csv(lineterminator="\n")


if __name__ == "__main__":
    stage.run_for_model("train", main)

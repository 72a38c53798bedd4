"""Stage train: a model's runs, one a seed, into models/<model>; their learning curve into plots/training."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, cpu_count, delayed
from torch import nn

import stage
from fma_genre import checkpoint, files, params, svm
from fma_genre.device import device, make_deterministic
from fma_genre.inference import predict
from fma_genre.segments import Clips, Normalisation
from fma_genre.training import Settings, train

SPECTROGRAMS = Path("data/spectrograms")


def main(parameters: dict[str, Any], model: str) -> None:
    stage.forget("spectrograms")
    settings = Settings(**params.training_settings(parameters, model))
    representation = params.representation(parameters, parameters["models"][model]["representation"])
    training = load_clips(representation, torch.device("cpu"))["training"]
    description = checkpoint.Settings(
        model=model,
        architecture=params.architecture(parameters, model),
        bins=training.levels.shape[2],
        frames=training.segment,
        classes=training.classes,
        input=representation,
        training=asdict(settings),
        seeds=[settings.seed + run for run in range(settings.runs)],
    )
    description.build()  # what the network refuses is said before the work, not after
    candidates = parameters["models"][model].get("svm", [])
    # On CPUs, a run a core; on a GPU, one after the other.
    jobs = min(settings.runs, cpu_count()) if device().type == "cpu" else 1
    with files.whole(Path("models") / model) as folder:
        folder.mkdir()
        work = delayed(run)
        tasks = (work(description, settings, candidates, seed, folder) for seed in description.seeds)
        curves, normalisations = zip(*Parallel(n_jobs=jobs)(tasks), strict=True)
        checkpoint.save(folder, description, normalisations[0])  # the same for all
    files.write_text(Path(f"plots/training/{model}.csv"), learning_curve(curves))


def run(
    description: checkpoint.Settings, settings: Settings, candidates: list[float], seed: int, folder: Path
) -> tuple[pd.DataFrame, Normalisation]:
    """Trains and saves one network, and its SVM head if there are candidates for C; its learning curve."""
    make_deterministic(seed)
    clips = load_clips(description.input, device())
    training, validation = clips["training"], clips["validation"]
    normalisation = training.normalisation()
    network = description.build().to(device())
    history = train(network, training, validation, normalisation, settings, seed)
    head = fit_svm(network, training, validation, normalisation, candidates) if candidates else None
    checkpoint.save_run(folder, seed, network, head)
    best = min(history, key=lambda epoch: (-epoch.validation_accuracy, epoch.validation_loss))
    accuracy = f"validation accuracy {best.validation_accuracy:.3f} in epoch {best.epoch} of {len(history)}"
    print(f"{description.model}, seed {seed}: {accuracy}", flush=True)
    return pd.DataFrame(map(vars, history)), normalisation.to(torch.device("cpu"))


def fit_svm(
    network: nn.Module, training: Clips, validation: Clips, normalisation: Normalisation, candidates: list[float]
) -> svm.LinearSVM:
    """The SVM head on the network's features of whole tracks."""
    features, validation_features = (
        predict(network, clips, normalisation).track_features().numpy() for clips in (training, validation)
    )
    labels, validation_labels = (clips.labels.cpu().numpy() for clips in (training, validation))
    return svm.fit((features, labels), (validation_features, validation_labels), candidates)


def load_clips(representation: Mapping[str, Any], device: torch.device) -> dict[str, Clips]:
    return Clips.load(SPECTROGRAMS, representation["representation"], representation["segment_frames"], device)


def learning_curve(curves: Iterable[pd.DataFrame]) -> str:
    """A line an epoch: mean over the runs, and the standard deviation of the accuracy."""
    epochs = pd.concat(curves).groupby("epoch")
    curve = epochs.mean()
    curve["validation_accuracy_std"] = epochs["validation_accuracy"].std().fillna(0)
    return curve.round(6).to_csv(lineterminator="\n")


if __name__ == "__main__":
    stage.run_for_model("train", main)

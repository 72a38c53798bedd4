"""Stage evaluate: a model's runs on the test tracks, into metrics/<model>.json, tables and pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import stage
from fma_genre import checkpoint, files, metrics, plotting, store
from fma_genre.device import devices, make_deterministic
from fma_genre.inference import predict
from fma_genre.segments import Clips, Normalisation

SPECTROGRAMS = Path("data/spectrograms")


@dataclass(frozen=True)
class Run:
    """One trained network on the test tracks."""

    probabilities: np.ndarray  # (tracks, classes)
    segments_right: np.ndarray  # (segments,) bool
    svm_labels: np.ndarray | None  # (tracks,)

    @property
    def labels(self) -> np.ndarray:
        return self.probabilities.argmax(axis=1)


def main(params: dict[str, Any], model: str) -> None:
    stage.forget(f"train@{model}")
    make_deterministic(seed=0)
    folder = Path("models") / model
    settings, normalisation = checkpoint.load(folder)
    clips = Clips.load(SPECTROGRAMS, settings.input, devices()[0])["test"]
    index = store.read_index(SPECTROGRAMS / "index.csv")
    test = index[index["split"] == "test"]
    runs = evaluate_runs(folder, settings, normalisation, clips)
    actual = clips.labels.cpu().numpy()
    ensemble = np.mean([run.probabilities for run in runs], axis=0).argmax(axis=1)

    matrices = np.array([metrics.confusion(actual, run.labels, len(settings.classes)) for run in runs])
    results = {"dataset": params["dataset"], "representation": settings.input["representation"], "n_test": len(test)}
    results |= summarise(matrices, runs, actual, ensemble)
    results["parameters"] = sum(weights.numel() for weights in settings.build().parameters())
    files.write_json(Path(f"metrics/{model}.json"), results)

    genres = by_genre(matrices, settings.classes, index)
    write_csv(f"plots/predictions/{model}.csv", predictions(test, settings, runs, ensemble))
    write_csv(f"plots/genres/{model}.csv", genres)
    colour = plotting.colours(params["models"])[model]
    plotting.save(plotting.genres({model: genres}, {model: colour}), Path(f"plots/genres/{model}.svg"))
    matrix = metrics.confusion(actual, ensemble, len(settings.classes))
    plotting.save(plotting.confusion(matrix, settings.classes, model), Path(f"plots/confusion/{model}.svg"))
    print(f"{model}: accuracy {results['accuracy']:.3f} on {len(test)} test tracks, F1 {results['f1']:.3f}")


def evaluate_runs(folder: Path, settings: checkpoint.Settings, normalisation: Normalisation, clips: Clips) -> list[Run]:
    labels = clips.labels.cpu()
    runs = []
    for seed in settings.seeds:
        network, svm = checkpoint.load_run(folder, settings, seed)
        prediction = predict(network.to(devices()[0]), clips, normalisation.to(devices()[0]))
        segments_right = prediction.probabilities.argmax(dim=1) == labels[prediction.tracks]
        svm_labels = svm.predict(prediction.track_features().numpy()) if svm else None
        runs.append(Run(prediction.track_probabilities().numpy(), segments_right.numpy(), svm_labels))
    return runs


def summarise(matrices: np.ndarray, runs: list[Run], actual: np.ndarray, ensemble: np.ndarray) -> dict[str, float]:
    """Means over the runs of single networks, from their confusion matrices (runs, classes, classes)."""
    scores = metrics.scores(matrices)
    summary = {name: float(scores[name].mean()) for name in metrics.METRICS}
    summary["accuracy_std"] = metrics.deviation(scores["accuracy"])
    summary["segment_accuracy"] = float(np.mean([run.segments_right.mean() for run in runs]))
    summary["ensemble_accuracy"] = float((ensemble == actual).mean())
    svm_accuracies = [(run.svm_labels == actual).mean() for run in runs if run.svm_labels is not None]
    return summary | ({"svm_accuracy": float(np.mean(svm_accuracies))} if svm_accuracies else {})


def by_genre(matrices: np.ndarray, classes: list[str], index: pd.DataFrame) -> pd.DataFrame:
    """A line a genre, largest first: means over the runs, so that the columns' means are the macro metrics."""
    table = pd.DataFrame({"genre": classes})
    for name, values in metrics.by_class(matrices).items():
        table[name] = values.mean(axis=0)
    for split in ("training", "test"):
        counts = index["genre"][index["split"] == split].value_counts()
        table[f"n_{split}"] = counts.reindex(classes, fill_value=0).to_numpy()
    return table.sort_values(["n_training", "genre"], ascending=[False, True])


def predictions(
    test: pd.DataFrame, settings: checkpoint.Settings, runs: list[Run], ensemble: np.ndarray
) -> pd.DataFrame:
    """A line a track: its genre, what the ensemble says, and what each run (and its SVM head) says."""
    classes = np.array(settings.classes)
    table = test[["track_id", "artist_id"]].assign(actual=test["genre"], predicted=classes[ensemble])
    for seed, run in zip(settings.seeds, runs, strict=True):
        table[f"seed{seed}"] = classes[run.labels]
        if run.svm_labels is not None:
            table[f"svm{seed}"] = classes[run.svm_labels]
    return table


def write_csv(path: str, table: pd.DataFrame) -> None:
    files.write_text(Path(path), table.round(6).to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    stage.run_for_model("evaluate", main)

"""Stage evaluate: a model's runs on the test tracks, into metrics/<model>.json, tables and a picture."""

import stage

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fma_genre import checkpoint, files, metrics, plotting, store
from fma_genre.device import devices, make_deterministic
from fma_genre.frequencies import centres
from fma_genre.inference import predict
from fma_genre.segments import Clips, Normalisation

SPECTROGRAMS = Path("data/spectrograms")


@dataclass(frozen=True)
class Run:
    """One trained network on the test tracks."""

    segments: np.ndarray  # probabilities (segments, classes)
    tracks: np.ndarray  # their means (tracks, classes)
    svm_labels: np.ndarray | None  # (tracks,)

    @property
    def labels(self) -> np.ndarray:
        return self.tracks.argmax(axis=1)


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
    probabilities = np.mean([run.tracks for run in runs], axis=0)
    ensemble = probabilities.argmax(axis=1)
    matrices = np.array([metrics.confusion(actual, run.labels, len(settings.classes)) for run in runs])

    results = {"dataset": params["dataset"], "representation": settings.input["representation"], "n_test": len(test)}
    results |= summarise(matrices, runs, actual, clips.even_segments()[0].cpu().numpy())
    results["ensemble_accuracy"] = float((ensemble == actual).mean())
    results |= svm_accuracy(runs, actual)
    results["parameters"] = sum(weights.numel() for weights in settings.build().parameters())
    files.write_json(Path(f"metrics/{model}.json"), results)
    write_csv(f"plots/predictions/{model}.csv", predictions(test, settings, runs, ensemble))
    write_csv(f"plots/genres/{model}.csv", by_genre(matrices, settings.classes, index))
    segments = np.mean([run.segments for run in runs], axis=0)
    shown = examples(clips, test["track_id"].to_numpy(), probabilities, segments, settings)
    figure = plotting.votes(
        shown, settings.classes, centres(settings.input), plotting.colours(params["models"])[model],
        f"{model}: how the segments of a clip vote (the darker, the surer)",
    )  # fmt: skip
    plotting.save(figure, Path(f"plots/votes/{model}.svg"))
    print(f"{model}: accuracy {results['accuracy']:.3f} on {len(test)} test tracks, F1 {results['f1']:.3f}")


def evaluate_runs(folder: Path, settings: checkpoint.Settings, normalisation: Normalisation, clips: Clips) -> list[Run]:
    device = clips.labels.device
    runs = []
    for seed in settings.seeds:
        network, svm = checkpoint.load_run(folder, settings, seed)
        prediction = predict(network.to(device), clips, normalisation.to(device))
        svm_labels = svm.predict(prediction.track_features().numpy()) if svm else None
        runs.append(Run(prediction.probabilities.numpy(), prediction.track_probabilities().numpy(), svm_labels))
    return runs


def summarise(matrices: np.ndarray, runs: list[Run], actual: np.ndarray, tracks: np.ndarray) -> dict[str, float]:
    """Means over the runs of single networks, from their confusion matrices (runs, classes, classes).

    Args:
        tracks: whose each segment is (segments,).
    """
    scores = metrics.scores(matrices)
    summary = {name: float(scores[name].mean()) for name in metrics.METRICS}
    summary["accuracy_std"] = metrics.deviation(scores["accuracy"])
    right = [(run.segments.argmax(axis=1) == actual[tracks]).mean() for run in runs]
    return summary | {"segment_accuracy": float(np.mean(right))}


def svm_accuracy(runs: list[Run], actual: np.ndarray) -> dict[str, float]:
    accuracies = [(run.svm_labels == actual).mean() for run in runs if run.svm_labels is not None]
    return {"svm_accuracy": float(np.mean(accuracies))} if accuracies else {}


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


def examples(
    clips: Clips, names: np.ndarray, probabilities: np.ndarray, segments: np.ndarray, settings: checkpoint.Settings
) -> list[plotting.Votes]:
    """The ensemble's surest hit, its closest call and its surest mistake, as far as there are such.

    Args:
        names: of the tracks (tracks,).
        probabilities: of the tracks (tracks, classes).
        segments: of their segments (segments, classes).
    """
    actual = clips.labels.cpu().numpy()
    right, sureness = probabilities.argmax(axis=1) == actual, probabilities.max(axis=1)
    lead = sureness - np.sort(probabilities)[:, -2:-1].sum(axis=1)
    chosen = {
        "Surest hit": np.where(right, sureness, 0).argmax() if right.any() else None,
        "Closest call": lead.argmin(),
        "Surest mistake": np.where(right, 0, sureness).argmax() if not right.all() else None,
    }
    tracks, starts = (part.cpu().numpy() for part in clips.even_segments())
    frame = settings.input["hop"] / settings.input["sample_rate"]  # seconds
    shown = []
    for kind, track in chosen.items():
        if track is not None:
            genres = [plotting.label(settings.classes[k]) for k in (actual[track], probabilities[track].argmax())]
            length = int(clips.lengths[track])
            shown.append(
                plotting.Votes(
                    f"{kind}: {genres[0]} {names[track]}, named {genres[1]} with {100 * sureness[track]:.0f} %",
                    clips.levels[clips.rows[track].to(clips.levels.device), :length].cpu().numpy(),
                    starts[tracks == track] * frame,
                    segments[tracks == track],
                    length * frame,
                )
            )
    return shown


def write_csv(path: str, table: pd.DataFrame) -> None:
    files.write_text(Path(path), table.round(6).to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    stage.run_for_model("evaluate", main)

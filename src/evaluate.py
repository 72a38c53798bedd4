"""Stage evaluate: a model's predictions of validation and test tracks, and its metrics."""

from pathlib import Path

import numpy as np
import torch

from fma_genre.common import files, stage
from fma_genre.common.errors import InputError
from fma_genre.common.params import Params
from fma_genre.learning import build, checkpoint
from fma_genre.learning.build import FrontEnd
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import devices, make_deterministic
from fma_genre.learning.inference import predict
from fma_genre.results import metrics, predictions
from fma_genre.results.predictions import Example, Predictions, SplitPredictions
from fma_genre.store import check_current, open_store


def main(params: Params, key: str) -> None:
    make_deterministic(seed=0)
    folder = Path("models") / key
    settings, front_end = checkpoint.load(folder)
    if settings.key != key:
        raise InputError(f"{folder}: expected the model {key}, found {settings.key}: `dvc repro` trains it")
    store = open_store(params.models[key].representation)
    check_current(store, params)
    checkpoint.check_store(folder, settings, store.description)

    device = devices()[0]
    clips = Clips.load(store, settings.train.segment_frames, device)
    found = predict_all(folder, settings, build.move(front_end, device), clips, store.index["track_id"].to_numpy())
    predictions.write(Path(f"data/predictions/{key}.npz"), found)
    results = metrics.summarise(found, store.index)
    files.write_json(Path(f"metrics/{key}.json"), results)
    print(f"{key}: accuracy {results['accuracy']:.3f} on {results['n_test']} test tracks, F1 {results['f1']:.3f}")


def predict_all(
    folder: Path, settings: checkpoint.Settings, front_end: FrontEnd, clips: dict[str, Clips], track_ids: np.ndarray
) -> Predictions:
    """Predictions of every run for the validation and test tracks.

    Args:
        track_ids: of all tracks of the store (tracks,).
    """
    seeds = settings.seeds
    runs = [checkpoint.load_run(folder, settings, seed) for seed in seeds]
    networks = [network.to(clips["test"].labels.device) for network, _ in runs]
    heads = [head for _, head in runs if head]
    validation, test = (
        predict_split(networks, heads, front_end, clips[name], track_ids) for name in predictions.SPLITS
    )
    facts = {
        "network": settings.network,
        "representation": settings.store.representation,
        "front_end": settings.front_end,
        "segment_frames": settings.train.segment_frames,
        "parameters": sum(weights.numel() for weights in networks[0].parameters()),
    }
    assert test.probabilities is not None
    ensemble = np.mean(test.probabilities, axis=0)
    frequencies, examples = np.array(settings.store.frequencies), choose_examples(clips["test"], ensemble)
    dataset, classes = settings.store.dataset, list(settings.store.classes)
    return Predictions(dataset, classes, seeds, validation, test, facts, frequencies, examples)


def predict_split(
    networks: list[torch.nn.Module],
    heads: list[checkpoint.LinearSVM],
    front_end: FrontEnd,
    clips: Clips,
    track_ids: np.ndarray,
) -> SplitPredictions:
    """Predictions of every network for some clips; `heads` has an SVM head of each network, or none."""
    found = [predict(network, clips, front_end) for network in networks]
    probabilities = np.array([prediction.track_probabilities().numpy() for prediction in found])
    features = [prediction.track_features().numpy() for prediction in found]
    tracks, starts = (part.cpu().numpy() for part in clips.even_segments())
    return SplitPredictions(
        tracks=track_ids[clips.rows.cpu().numpy()],
        labels=probabilities.argmax(axis=2),
        probabilities=probabilities,
        segment_probabilities=np.array([prediction.probabilities.numpy() for prediction in found]),
        segment_tracks=tracks,
        segment_starts=starts * clips.description.hop / clips.description.sample_rate,
        svm_head_labels=np.array([head.predict(x) for head, x in zip(heads, features, strict=True)]) if heads else None,
    )


def choose_examples(clips: Clips, probabilities: np.ndarray) -> list[Example]:
    """The surest hit, the closest call and the surest mistake, where there are any.

    Args:
        probabilities: of the ensemble (tracks, classes).
    """
    right = probabilities.argmax(axis=1) == clips.labels.cpu().numpy()
    sureness = probabilities.max(axis=1)
    lead = sureness - np.sort(probabilities)[:, -2:-1].sum(axis=1)

    chosen = {}
    if right.any():
        chosen["Surest hit"] = np.where(right, sureness, 0).argmax()
    chosen["Closest call"] = lead.argmin()
    if not right.all():
        chosen["Surest mistake"] = np.where(right, 0, sureness).argmax()
    return [make_example(kind, int(track), clips) for kind, track in chosen.items()]


def make_example(kind: str, track: int, clips: Clips) -> Example:
    length, row = int(clips.lengths[track]), clips.rows[track].to(clips.levels.device)
    picture = predictions.thumbnail(clips.levels[row, :length].cpu().numpy())
    return Example(kind, track, picture, length * clips.description.hop / clips.description.sample_rate)


if __name__ == "__main__":
    stage.run_for_system("evaluate", "models", main)
